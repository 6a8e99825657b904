//! Why an attempt couldn't be prepared.

use crate::template;

/// Why an attempt couldn't be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Neither built in nor a plugin of the bundle.
    #[error("operator `{0}` is neither built in nor a plugin of the bundle")]
    UnknownOperator(String),
    /// The engine carries it out; it never runs as an attempt.
    #[error("operator `{0}` is carried out by the engine and can't run as an attempt")]
    EngineOperator(String),
    /// A template failed.
    #[error("failed to render `{field}`: {source}")]
    Render {
        /// The parameter, variable or file.
        field: String,
        /// Why.
        #[source]
        source: template::Error,
    },
    /// The rendered parameters don't fit the operator.
    #[error("the parameters of `{operator}` don't fit after rendering: {source}")]
    Params {
        /// The operator.
        operator: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The rendered parameters contradict each other or name what can't be.
    #[error("`{operator}` can't run: {why}")]
    Invalid {
        /// The operator.
        operator: String,
        /// What is wrong and what to write instead.
        why: String,
    },
    /// The plugin of the operator can't be used.
    #[error("the plugin of operator `{operator}` can't be used: {why}")]
    Plugin {
        /// The operator.
        operator: String,
        /// What is wrong.
        why: String,
    },
    /// The connection isn't there for this task.
    #[error("connection `{0}` isn't available to this task: create it, or grant it to the DAG")]
    NoConnection(String),
    /// A connection lacks something or is of another type.
    #[error("connection `{name}` {why}")]
    Connection {
        /// The connection.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A path that leaves its folder.
    #[error("`{0}` must be a relative path that stays inside of its folder")]
    Outside(String),
    /// A file couldn't be read or written.
    #[error("failed to open `{path}`: {source}")]
    File {
        /// The file, as the author named it.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something of the machine that Updraft itself needs.
    #[error("failed to {what}: {source}")]
    Machine {
        /// What we were doing.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Failure {
    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownOperator(_) => "operator.unknown",
            Self::EngineOperator(_) => "operator.engine",
            Self::Render { .. } => "template.render",
            Self::Params { .. } => "operator.params",
            Self::Invalid { .. } => "operator.invalid",
            Self::Plugin { .. } => "operator.plugin",
            Self::NoConnection(_) => "connection.missing",
            Self::Connection { .. } => "connection.invalid",
            Self::Outside(_) => "file.outside",
            Self::File { .. } => "file.open",
            Self::Machine { .. } => "attempt.machine",
        }
    }

    /// Whether a retry would meet the same: the DAG version, the bundle and the run's parameters don't change
    /// from one try to the next, connections and machines may.
    pub fn for_good(&self) -> bool {
        match self {
            Self::UnknownOperator(_)
            | Self::EngineOperator(_)
            | Self::Params { .. }
            | Self::Invalid { .. }
            | Self::Plugin { .. }
            | Self::Outside(_) => true,
            Self::Render { .. }
            | Self::NoConnection(_)
            | Self::Connection { .. }
            | Self::File { .. }
            | Self::Machine { .. } => false,
        }
    }
}
