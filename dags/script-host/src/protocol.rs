//! The messages, as `PROTOCOL.md` describes them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{fault::Fault, node::Node, sandbox::InForce};

/// The number of this protocol. Both sides refuse any other.
pub const FORMAT: u32 = 1;

/// The first message to a child.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`FORMAT`].
    pub format: u32,
    /// What a script may use.
    #[serde(default)]
    pub limits: Limits,
    /// The words of the DAG language.
    #[serde(default)]
    pub language: Words,
}

/// What a script may use. Fields that are absent have the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Address space of the process in bytes.
    pub memory_bytes: u64,
    /// Processor time per request in seconds.
    pub cpu_seconds: u64,
    /// Wall-clock time per request in milliseconds; the caller has a timeout of its own.
    pub time_ms: u64,
    /// Steps of a script.
    pub operations: u64,
    /// How deep functions may call each other.
    pub call_depth: usize,
    /// How deep expressions may nest; half of it inside of functions.
    pub expression_depth: usize,
    /// Bytes of one text.
    pub string_bytes: usize,
    /// Items of one list, with all inside of it.
    pub array_items: usize,
    /// Pairs of one object, with all inside of it.
    pub map_items: usize,
    /// Variables at one time.
    pub variables: usize,
    /// Functions that a script defines.
    pub functions: usize,
    /// Modules that a script imports, directly and indirectly.
    pub modules: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            cpu_seconds: 5,
            time_ms: 8_000,
            operations: 10_000_000,
            call_depth: 48,
            expression_depth: 48,
            string_bytes: 1 << 20,
            array_items: 100_000,
            map_items: 100_000,
            variables: 1_000,
            functions: 500,
            modules: 32,
        }
    }
}

/// The words of the DAG language: the script host knows none of them by itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Words {
    /// The catalog; only names and main fields matter here.
    pub operators: Vec<Operator>,
    /// Keys of a DAG.
    pub dag_keys: Vec<String>,
    /// Keys of a task besides operators.
    pub task_keys: Vec<String>,
    /// Keys of a group.
    pub group_keys: Vec<String>,
}

/// One operator of the catalog. Whatever else the catalog says is skipped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Operator {
    /// The key that authors write.
    pub name: String,
    /// What it does, in one line.
    #[serde(default)]
    pub doc: String,
    /// The parameter that a bare value fills.
    #[serde(default)]
    pub main: Option<String>,
}

/// The answer to [`Hello`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// [`FORMAT`].
    pub format: u32,
    /// The program's version.
    pub version: String,
    /// What confines the process now.
    pub sandbox: InForce,
}

/// Any later message to a child.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// [`FORMAT`].
    pub format: u32,
    /// Chosen by the caller, repeated in the answer.
    pub id: u64,
    /// What is asked for.
    pub body: Body,
}

/// What a message to a child carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Body {
    /// A Rhai DAG file to document trees.
    Compile {
        /// For messages.
        path: String,
        /// The file's text.
        text: String,
    },
    /// A Rhai script to its result.
    Run {
        /// For messages.
        path: String,
        /// The script.
        text: String,
        /// Its variables: an object.
        context: Value,
    },
    /// One expression to its value.
    Eval {
        /// With or without braces.
        expression: String,
        /// What it may name: an object.
        context: Value,
    },
    /// Templates to their values.
    Render {
        /// The texts; lists and objects are walked.
        fields: Vec<Field>,
        /// What they may name: an object.
        context: Value,
    },
    /// The answer to [`Reply::Need`].
    Module {
        /// The module's text, or none if there is no such module.
        text: Option<String>,
        /// Why there is none.
        #[serde(default)]
        reason: Option<String>,
    },
}

/// Something to render.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// A text, or a list or object with texts inside.
    pub source: Value,
    /// Whether it is code, where values must be harmless or quoted.
    #[serde(default)]
    pub code: bool,
}

/// Any later message from a child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// [`FORMAT`].
    pub format: u32,
    /// Of the request.
    pub id: u64,
    /// Processor time of the process since its start, in microseconds.
    pub cpu_us: u64,
    /// The answer itself.
    pub reply: Reply,
}

/// What a message from a child carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Of `compile`: a tree per DAG.
    Trees {
        /// The trees.
        trees: Vec<Node>,
        /// What the script printed.
        printed: Vec<String>,
    },
    /// Of `run` and `eval`.
    Value {
        /// The result.
        value: Value,
        /// What the script printed.
        #[serde(default)]
        printed: Vec<String>,
    },
    /// Of `render`: one per field.
    Values(Vec<Rendered>),
    /// The script can't be evaluated.
    Fault(Fault),
    /// A piece of an answer that is larger than a frame: its JSON text, cut up. `joined` follows.
    Part {
        /// The next piece.
        text: String,
    },
    /// The pieces so far are the answer.
    Joined {
        /// Their bytes in all.
        bytes: usize,
    },
    /// The script imports this module; answer with `module`, then the real answer follows.
    Need {
        /// Its name: letters, digits, `_` and `-`.
        module: String,
    },
}

/// A rendered field.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rendered {
    /// The result.
    Value(Value),
    /// Why there is none.
    Fault(Fault),
}
