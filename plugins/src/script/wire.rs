//! Our side of the protocol: frames and messages.

use dags::{
    catalog::Catalog,
    compile::{DAG_KEYS, GROUP_KEYS, TASK_KEYS},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::error::Fault;

/// The number of the protocol.
pub(super) const FORMAT: u32 = 1;
/// The largest frame in bytes, without its length.
pub(super) const FRAME_BYTES_MAX: usize = 8 << 20;
/// The largest answer in bytes, over several frames.
pub(super) const ANSWER_BYTES_MAX: usize = 32 << 20;

/// What a script may use. Fields are absent where the program's default holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Address space in bytes; 256 MiB by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor time per request in seconds; 5 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
    /// Wall-clock time of a script, by the child's own count, in milliseconds. By default four
    /// fifths of the pool's timeout, so that the script hears where it was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// Steps of a script; ten million by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<u64>,
}

/// The words of the DAG language that scripts get as functions and methods.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Language {
    /// The catalog's JSON form: a list of operators.
    pub operators: Value,
    /// Keys of a DAG.
    pub dag_keys: Vec<String>,
    /// Keys of a task besides operators.
    pub task_keys: Vec<String>,
    /// Keys of a group.
    pub group_keys: Vec<String>,
}

impl Language {
    /// The language with the operators of that catalog.
    pub fn of(catalog: &Catalog) -> Self {
        let operators = catalog.iter().map(|operator| {
            // Scripts need names only; the compiler checks parameters, with the schemas, for both front ends.
            serde_json::json!({ "name": operator.name, "doc": operator.doc, "main": operator.main })
        });
        let own = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        Self {
            operators: operators.collect(),
            dag_keys: own(DAG_KEYS),
            task_keys: own(TASK_KEYS),
            group_keys: own(GROUP_KEYS),
        }
    }
}

/// What the kernel confines a child by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct InForce {
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// Whether files and ports are closed.
    pub landlock: Landlock,
    /// Which limits of the process are set.
    pub limits: Vec<String>,
    /// Why something isn't in force.
    #[serde(default)]
    pub missing: Vec<String>,
}

/// How much of Landlock the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Landlock {
    /// Everything that the child asks for.
    Full,
    /// An older version of it.
    Partial,
    /// Nothing.
    None,
}

#[derive(Debug, Serialize)]
pub(super) struct Hello<'a> {
    pub(super) format: u32,
    pub(super) limits: &'a Limits,
    pub(super) language: &'a Language,
}

#[derive(Debug, Deserialize)]
pub(super) struct Ready {
    pub(super) format: u32,
    pub(super) version: String,
    pub(super) sandbox: InForce,
}

#[derive(Debug, Serialize)]
pub(super) struct Envelope<'a> {
    pub(super) format: u32,
    pub(super) id: u64,
    pub(super) body: &'a Body<'a>,
}

/// A request, or the module that a child asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Body<'a> {
    Compile { path: &'a str, text: &'a str },
    Run { path: &'a str, text: &'a str, context: &'a Value },
    Eval { expression: &'a str, context: &'a Value },
    Render { fields: &'a [Field], context: &'a Value },
    Module { text: Option<&'a str>, reason: Option<&'a str> },
}

/// Something to render.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// A text, or a list or object with texts inside.
    pub source: Value,
    /// Whether it is code, where values must be harmless or quoted.
    pub code: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) format: u32,
    pub(super) id: u64,
    pub(super) cpu_us: u64,
    pub(super) reply: Reply,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Trees { trees: Vec<Box<RawValue>>, printed: Vec<String> },
    Value { value: Value, printed: Vec<String> },
    Values(Vec<Rendered>),
    Fault(Fault),
    Part { text: String },
    Joined { bytes: usize },
    Need { module: String },
}

impl Reply {
    /// The kind, for messages about the protocol.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Trees { .. } => "trees",
            Self::Value { .. } => "value",
            Self::Values(_) => "values",
            Self::Fault(_) => "fault",
            Self::Part { .. } => "part",
            Self::Joined { .. } => "joined",
            Self::Need { .. } => "need",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rendered {
    Value(Value),
    Fault(Fault),
}

/// A message that may not be sent or received.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("a frame of {0} bytes; at most {FRAME_BYTES_MAX} are allowed")]
    TooLarge(usize),
    #[error("the pipe broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("the stream ended")]
    Ended,
    #[error("not a message: {0}")]
    Json(#[from] serde_json::Error),
}

/// A message as bytes with its length in front.
pub(super) fn encode(message: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(Error::TooLarge(length));
    }
    bytes[..4].copy_from_slice(&u32::try_from(length).map_err(|_| Error::TooLarge(length))?.to_be_bytes());
    Ok(bytes)
}

/// Writes what [`encode`] made.
pub(super) async fn write(output: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Error> {
    output.write_all(bytes).await?;
    Ok(output.flush().await?)
}

/// Reads one frame's bytes.
pub(super) async fn read(input: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Error> {
    let length = match input.read_u32().await {
        Ok(length) => length as usize,
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Err(Error::Ended),
        Err(e) => return Err(e.into()),
    };
    if length > FRAME_BYTES_MAX {
        return Err(Error::TooLarge(length));
    }
    let mut bytes = Vec::new();
    input.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(Error::Ended);
    }
    Ok(bytes)
}

/// Whether bytes are one JSON value at all; used to tell a broken answer from an unexpected one.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}
