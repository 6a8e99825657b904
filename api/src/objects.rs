//! What lies outside of the database: logs of attempts and large results. Whoever starts the service says where.

use std::{future::Future, pin::Pin};

use dags::{
    ids::{DispatchId, ExecutorName, TenantId},
    time::Span,
};
use engine::execution::Waits;
use serde::{Deserialize, Serialize};

/// Whose log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOf {
    /// Whose attempt it is.
    pub tenant: TenantId,
    /// The dispatch; an attempt that was handed over several times has a log for each.
    pub dispatch: DispatchId,
    /// The member of a gang, 0 for an ordinary task.
    pub member: u32,
    /// The executor that has or had it.
    pub executor: Option<ExecutorName>,
    /// Whether the dispatch is over as far as the engine knows.
    pub over: bool,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The task's standard output.
    Stdout,
    /// The task's standard error.
    Stderr,
    /// Whoever ran the attempt.
    Supervisor,
}

/// One line of a log, or a part of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How long after the dispatch's start it was read.
    pub at: Span,
    /// Where it came from.
    pub stream: Stream,
    /// What it says.
    pub text: String,
    /// Whether the stream's next line continues this one.
    pub continues: bool,
}

/// A piece of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogChunk {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// Where to go on reading.
    pub next: u64,
    /// Whether nothing will follow `next`.
    pub complete: bool,
}

/// Why something outside of the database can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectsError {
    /// It isn't there: never was, or its time is over.
    #[error("there is nothing stored")]
    Missing,
    /// No such place in the log.
    #[error("the log has no line at offset {0}: go on where the last piece ended")]
    Offset(u64),
    /// It can't be read now.
    #[error("it can't be read at present: {0}")]
    Unavailable(String),
}

/// Where logs and large results are.
pub trait Objects: Send + Sync + 'static {
    /// A piece of a log from `offset` on: 0, or where an earlier piece ended. A log that hasn't begun is an empty piece.
    fn log(&self, of: &LogOf, offset: u64) -> impl Future<Output = Result<LogChunk, ObjectsError>> + Send;

    /// The JSON text of a large result.
    fn result(
        &self,
        tenant: TenantId,
        digest: &str,
    ) -> impl Future<Output = Result<Vec<u8>, ObjectsError>> + Send;

    /// What an attempt waits for that its executor has taken and that hasn't begun, if something is known to hold it.
    fn waits(&self, of: &LogOf) -> impl Future<Output = Result<Option<Waits>, ObjectsError>> + Send;
}

type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, ObjectsError>> + Send + 'a>>;

/// [`Objects`] without its type.
pub(crate) trait AnyObjects: Send + Sync {
    fn log<'a>(&'a self, of: &'a LogOf, offset: u64) -> Later<'a, LogChunk>;
    fn result<'a>(&'a self, tenant: TenantId, digest: &'a str) -> Later<'a, Vec<u8>>;
    fn waits<'a>(&'a self, of: &'a LogOf) -> Later<'a, Option<Waits>>;
}

impl<T: Objects> AnyObjects for T {
    fn log<'a>(&'a self, of: &'a LogOf, offset: u64) -> Later<'a, LogChunk> {
        Box::pin(Objects::log(self, of, offset))
    }
    fn result<'a>(&'a self, tenant: TenantId, digest: &'a str) -> Later<'a, Vec<u8>> {
        Box::pin(Objects::result(self, tenant, digest))
    }
    fn waits<'a>(&'a self, of: &'a LogOf) -> Later<'a, Option<Waits>> {
        Box::pin(Objects::waits(self, of))
    }
}
