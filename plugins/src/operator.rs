//! How an attempt becomes a program to run or an answer.

use std::{
    collections::BTreeMap,
    path::PathBuf,
};

use dags::time::Span;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::AttemptContext;

/// What is to happen next with an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Become this program; [`exited`] reads its exit code.
    Exec(Exec),
    /// It has ended.
    Done(Finished),
}

/// A program to become.
#[derive(Debug, Clone, PartialEq)]
pub struct Exec {
    /// The program, a path or a name to look up in `PATH`.
    pub program: String,
    /// Its arguments, without its own name.
    pub args: Vec<String>,
    /// Variables to set on top of the environment that the supervisor gives.
    pub env: BTreeMap<String, String>,
    /// The folder to run in; the attempt's own if absent.
    pub cwd: Option<PathBuf>,
    /// Files to write first, readable by their owner only.
    pub files: Vec<(PathBuf, Vec<u8>)>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// The outcome.
    pub outcome: Outcome,
    /// What it returned; a file at [`Dirs::result_file`] counts only if this is absent.
    #[serde(default)]
    pub result: Option<Value>,
}

/// The outcome of an attempt, seen by its operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did what it should.
    Success,
    /// It didn't; the task's retries apply.
    Failed {
        /// Why, in a sentence for people.
        reason: String,
    },
    /// It didn't, and repeating it is pointless.
    FailedForGood {
        /// Why, in a sentence for people.
        reason: String,
    },
    /// It asks to be skipped.
    Skipped {
        /// Why, in a sentence for people.
        reason: String,
    },
    /// It asks to be called again, in the same try.
    Reschedule {
        /// After this long.
        after: Span,
    },
}

/// The folders of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// The attempt's own folder, empty, writable, gone when it has ended.
    pub work: PathBuf,
    /// Where the result is written as JSON; `$UPDRAFT_RESULT` for programs.
    pub result_file: PathBuf,
}

impl Dirs {
    /// Where a program may write the reason of its failure; `$UPDRAFT_REASON`.
    pub fn reason_file(&self) -> PathBuf {
        self.work.join(".updraft").join("reason")
    }
}

/// Why an attempt couldn't be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Neither built in nor a plugin of the bundle.
    #[error("operator `{0}` is neither built in nor a plugin of the bundle")]
    UnknownOperator(String),
}

impl Failure {
    /// Whether a retry would meet the same.
    pub fn for_good(&self) -> bool {
        true
    }
}

/// Plans the program that runs the task.
pub fn prepare(ctx: &AttemptContext, dirs: &Dirs) -> Result<Step, Failure> {
    let (Some(command), "bash") = (ctx.task.args.get("command").and_then(Value::as_str), &*ctx.task.operator) else {
        return Err(Failure::UnknownOperator(ctx.task.operator.clone()));
    };
    let mut env: BTreeMap<String, String> = ctx.task.env.clone();
    env.insert("UPDRAFT_RESULT".to_owned(), dirs.result_file.to_string_lossy().into_owned());
    env.insert("UPDRAFT_REASON".to_owned(), dirs.reason_file().to_string_lossy().into_owned());
    env.insert("UPDRAFT_WORK".to_owned(), dirs.work.to_string_lossy().into_owned());
    Ok(Step::Exec(Exec {
        program: "bash".to_owned(),
        args: ["--noprofile", "--norc", "-e", "-o", "pipefail", "-c", command].map(str::to_owned).into(),
        env,
        cwd: Some(ctx.bundle_dir.clone()),
        files: vec![(dirs.work.join(".updraft").join("keep"), Vec::new())],
    }))
}

/// The outcome of a program that [`prepare`] planned; `code` is 128 + n for signal n.
pub fn exited(_ctx: &AttemptContext, dirs: &Dirs, code: i32) -> Outcome {
    let said = std::fs::read_to_string(dirs.reason_file()).ok().map(|text| text.trim().to_owned());
    match code {
        0 => Outcome::Success,
        99 => Outcome::Skipped { reason: "exited with code 99".to_owned() },
        _ => Outcome::Failed { reason: said.unwrap_or_else(|| format!("exited with code {code}")) },
    }
}
