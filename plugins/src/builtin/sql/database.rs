//! Runs SQL on the database of a connection, whichever it is.

use std::time::Duration;

use serde_json::Value;

use super::{postgres, rows::Sink, sqlite};
use crate::operator::{Failure, Job, block_on};

/// What went wrong while a query ran; shown to the author, so it holds no part of the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    /// No connection came about.
    #[error("failed to connect: {0}")]
    Connect(String),
    /// The database refused the query.
    #[error("{0}")]
    Query(String),
    /// It took too long.
    #[error("the query took longer than its timeout and was ended")]
    Timeout,
    /// The rows can't go where they should.
    #[error("{0}")]
    Rows(String),
}

/// A query and what goes with it.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) operator: &'static str,
    pub(super) connection: &'a str,
    pub(super) text: &'a str,
    pub(super) parameters: &'a [Value],
    pub(super) timeout: Duration,
}

impl Query<'_> {
    /// Runs it and gives each row to the sink. Returns how many rows it changed.
    ///
    /// The outer error is one of preparation: a connection that can't be used, a script that isn't allowed.
    pub(super) fn run(&self, job: &Job<'_>, sink: &mut dyn Sink) -> Result<Result<u64, Problem>, Failure> {
        let connection = job.connection(self.connection)?;
        match connection.conn_type.as_str() {
            "postgres" | "postgresql" => {
                let plan = postgres::Plan::new(self, job, connection)?;
                block_on(limited(self.timeout, plan.run(sink)))
            }
            "sqlite" => {
                let plan = sqlite::Plan::new(self, job, connection)?;
                block_on(limited(self.timeout, plan.run(sink)))
            }
            other => Err(Failure::Connection {
                name: self.connection.to_owned(),
                why: format!("is of type `{other}`: SQL operators know `postgres` and `sqlite`"),
            }),
        }
    }

    pub(super) fn invalid(&self, why: impl Into<String>) -> Failure {
        Failure::Invalid { operator: self.operator.to_owned(), why: why.into() }
    }

    pub(super) fn wrong_connection(&self, why: impl Into<String>) -> Failure {
        Failure::Connection { name: self.connection.to_owned(), why: why.into() }
    }
}

async fn limited(
    timeout: Duration,
    work: impl Future<Output = Result<u64, Problem>>,
) -> Result<u64, Problem> {
    // The database ends the statement itself at the timeout; this is for one that doesn't answer any more.
    tokio::time::timeout(timeout + Duration::from_secs(1), work).await.unwrap_or(Err(Problem::Timeout))
}

/// An error of the driver in words that hold nothing of the connection but what the database itself said.
pub(super) fn explain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(e) => match e.code() {
            Some(code) => format!("{} (code {code})", e.message()),
            None => e.message().to_owned(),
        },
        sqlx::Error::Io(e) => format!("the connection broke: {}", e.kind()),
        sqlx::Error::Tls(_) => "the TLS handshake failed".to_owned(),
        sqlx::Error::Configuration(_) => "the connection's options can't be used".to_owned(),
        sqlx::Error::Protocol(_) => "the other side doesn't speak the database's protocol".to_owned(),
        sqlx::Error::WorkerCrashed => "the database's thread ended".to_owned(),
        other => other.to_string(),
    }
}
