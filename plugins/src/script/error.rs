//! What can go wrong: the script's fault, or ours.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::wire::InForce;

/// An error of a script, template or expression, for its author.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What is wrong, lower case.
    pub message: String,
    /// What to write instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The file that it is in: the script or one of its modules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The bytes of the main file that are at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(usize, usize)>,
    /// The limit that was met, such as `operations`, `memory` or `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

impl Fault {
    pub(crate) fn limit(limit: &str, message: impl Into<String>) -> Self {
        Self { message: message.into(), limit: Some(limit.to_owned()), ..Self::default() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " ({file}:{line})")?,
            (Some(file), None) => write!(f, " ({file})")?,
            (None, Some(line)) => write!(f, " (line {line})")?,
            (None, None) => {}
        }
        if let Some(limit) = &self.limit {
            write!(f, " [limit: {limit}]")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// Why a script gave no value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The author must act; this includes every limit of operations, memory and time.
    #[error("{0}")]
    Fault(Box<Fault>),
    /// The installation lacks the program.
    #[error("the program `updraft-script` isn't at {0:?}: install it beside `updraft`, or set its path")]
    Missing(PathBuf),
    /// The program doesn't start.
    #[error("failed to start {0:?}")]
    Start(PathBuf, #[source] std::io::Error),
    /// The kernel confines too little for the policy.
    #[error(
        "scripts are off: the policy `{policy}` asks for more than this machine confines ({}); {help}",
        missing(.in_force)
    )]
    Sandbox {
        /// The configured policy.
        policy: &'static str,
        /// What is in force.
        in_force: Box<InForce>,
        /// What to do about it.
        help: &'static str,
    },
    /// The pipe to a child broke, and it left no reason.
    #[error("the script host ended without an answer: {0}")]
    Died(String),
    /// The child says something that it can't have been asked.
    #[error("the script host answers against the protocol: {0}")]
    Protocol(String),
    /// All children are busy.
    #[error("no script host became free within {0:?}: raise `children_max`")]
    Busy(Duration),
}

fn missing(in_force: &InForce) -> String {
    if in_force.missing.is_empty() { "seccomp or landlock".to_owned() } else { in_force.missing.join(", ") }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl Error {
    /// The author's fault, if it is one.
    pub fn fault(&self) -> Option<&Fault> {
        if let Self::Fault(fault) = self { Some(fault) } else { None }
    }
}
