//! What is wrong with a file, where, and what to write instead.
//!
//! A user's mistake is a value: [`Diagnostic`] has a stable code, a message, labelled places and help. The API returns
//! it as JSON, the command line draws it (`render`, behind the feature of that name).

mod codes;
mod excerpt;
mod lines;
mod report;
mod reporter;

use serde::Serialize;

pub use codes::{CODES, code};
pub use lines::Lines;
pub use report::Report;
#[cfg(feature = "render")]
pub use report::render;
pub(crate) use reporter::{Draft, Reporter};

use crate::tree::ByteRange;

/// A file's name and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path within the bundle, as it is shown to people.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A source of that name and text.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

/// Whether a file can be used despite a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The DAG can't be used.
    Error,
    /// The DAG can be used; it probably doesn't do what its author wants.
    Warning,
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// A stable code, one of [`CODES`].
    pub code: &'static str,
    /// Whether the file can be used despite it.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The file.
    pub file: String,
    /// Where; the first is the main place.
    pub labels: Vec<Label>,
    /// What to write instead.
    pub help: Option<String>,
}

/// A place in the file and what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The bytes, cut at the end of the first line.
    pub span: ByteRange,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is there.
    pub text: String,
}
