//! What can go wrong for an author, with what to do about it.

use std::{io, path::PathBuf};

/// Why a command of the authors' loop can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder can't be used.
    #[error("failed to {doing} {path}")]
    Path {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The folder of the DAG can't become a bundle.
    #[error(transparent)]
    Bundle(#[from] scheduler::bundle::Error),
    /// The command line asks for something that can't be.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to write instead.
        help: Option<String>,
    },
    /// The file has errors; they were collected.
    #[error("{file} can't be used: it has {errors} {}", if *.errors == 1 { "error" } else { "errors" })]
    Broken {
        /// The file.
        file: String,
        /// How many.
        errors: usize,
    },
    /// The service can't be reached, or said no.
    #[error(transparent)]
    Service(#[from] api::client::ClientError),
    /// The machine refused something that a test run can't do without.
    #[error("failed to {doing}: {why}")]
    Machine {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        why: String,
    },
}

impl Error {
    /// A mistake of the command line.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: Some(help.into()) }
    }

    /// Something that can't be read or written.
    pub fn path(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path { doing, path, source }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Usage { help, .. } => help.as_deref(),
            Self::Bundle(_) => Some("leave files out with `.updraftignore`, or name a smaller folder"),
            Self::Path { .. } | Self::Broken { .. } | Self::Service(_) | Self::Machine { .. } => None,
        }
    }

    /// Whether the command line is to blame: exit code 2.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage { .. })
    }
}
