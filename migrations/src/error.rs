//! What can go wrong between us and the database.

use sea_orm::{DbErr, RuntimeErr};
use sqlx::postgres::PgDatabaseError;

/// Why the database couldn't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is neither `sqlite:PATH` nor `postgres://...`.
    #[error("can't use {url:?} as a database: write `sqlite:PATH` or `postgres://user@host/database`")]
    Url {
        /// The URL without its password.
        url: String,
    },
    /// The URL looks right but its driver can't read it.
    #[error("can't read the database's URL {url:?}")]
    BadUrl {
        /// The URL without its password.
        url: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// There is no connection.
    #[error(
        "can't open the database {url:?}: check that it runs, that it may be reached and that the user may log in"
    )]
    Open {
        /// The URL without its password.
        url: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The folder or file of a SQLite database can't be made.
    #[error("can't make the database file {path:?}")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A statement failed.
    #[error("failed to {doing}")]
    Statement {
        /// What we were doing.
        doing: &'static str,
        /// Why.
        #[source]
        source: DbErr,
    },
    /// A row that this release can't understand.
    #[error("table {table} holds a row that this release can't read: {what}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column and its value, or what is missing.
        what: String,
    },
    /// The schema was made by a newer release.
    #[error(
        "the database's schema has number {database}, this binary knows numbers up to {binary}: start the newer release"
    )]
    SchemaTooNew {
        /// The number of the database's newest step.
        database: u32,
        /// The number of the newest step that we know.
        binary: u32,
    },
    /// The schema lacks steps.
    #[error("the database's schema has number {database}, this binary needs {binary}: run `updraft migrate`")]
    SchemaTooOld {
        /// The number of the database's newest step.
        database: u32,
        /// The number that we need.
        binary: u32,
    },
    /// Somebody else owns the shard and their lease isn't over.
    #[error("shard {shard} is owned by {owner:?} for another {remaining}")]
    Owned {
        /// The shard.
        shard: dags::ids::ShardId,
        /// The present owner.
        owner: String,
        /// The rest of their lease, by the database's clock.
        remaining: dags::time::Span,
    },
    /// No such shard.
    #[error("there is no shard {shard} in the database")]
    NoShard {
        /// The shard.
        shard: dags::ids::ShardId,
    },
    /// The lease was lost.
    #[error("shard {shard} has another owner now")]
    Fenced {
        /// The shard.
        shard: dags::ids::ShardId,
    },
    /// Our clock and the database's differ.
    #[error(
        "this machine's clock is {skew} {direction} the database's: at most 1s is allowed, correct the clock"
    )]
    Clock {
        /// By how much.
        skew: dags::time::Span,
        /// `ahead of` or `behind`.
        direction: &'static str,
    },
    /// A secret can't be sealed or opened.
    #[error(transparent)]
    Seal(#[from] crate::seal::SealError),
    /// A request with that idempotency key is there, but it asks for something else.
    #[error("idempotency key {key:?} was used for another request: choose a new key")]
    KeyReused {
        /// The key.
        key: String,
    },
}

impl Error {
    /// Whether the same may work a little later, because the database or the way to it was at fault and not what is stored.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Owned { .. } | Self::Clock { .. } => true,
            Self::Statement { source, .. } => !matches!(source, DbErr::Type(_) | DbErr::Json(_)),
            Self::Url { .. }
            | Self::BadUrl { .. }
            | Self::File { .. }
            | Self::Corrupt { .. }
            | Self::SchemaTooNew { .. }
            | Self::SchemaTooOld { .. }
            | Self::NoShard { .. }
            | Self::Fenced { .. }
            | Self::Seal(_)
            | Self::KeyReused { .. } => false,
        }
    }

    /// Whether the database's server isn't there, isn't up yet or has no room: whoever has the right settings waits for it.
    pub fn is_away(&self) -> bool {
        let source = match self {
            Self::Open { source, .. } => source,
            Self::Statement { source: DbErr::ConnectionAcquire(_), .. } => return true,
            Self::Statement { source, .. } => match beneath(source) {
                Some(source) => source,
                None => return false,
            },
            _ => return false,
        };
        match source {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                if error.try_downcast_ref::<PgDatabaseError>().is_some() {
                    // Connections break, the server has no room (also for connections), or it stops or starts.
                    ["08", "53", "57P"].iter().any(|class| code.starts_with(class))
                } else {
                    // The primary code is in the low byte: 5 busy, 10 the file can't be read or written, 13 full.
                    code.parse::<u32>().is_ok_and(|code| [5, 10, 13].contains(&(code & 0xff)))
                }
            }
            // That is how a connection looks that is closed before the server has said anything.
            sqlx::Error::Protocol(what) => what.contains("response from SSLRequest: 0x00"),
            _ => false,
        }
    }

    pub(crate) fn corrupt(table: &'static str, what: impl Into<String>) -> Self {
        Self::Corrupt { table, what: what.into() }
    }
}

/// The driver's own error.
fn beneath(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(source))
        | DbErr::Exec(RuntimeErr::SqlxError(source))
        | DbErr::Query(RuntimeErr::SqlxError(source)) => Some(source),
        _ => None,
    }
}

/// Whether a statement gave up waiting for a lock that somebody else has.
pub(crate) fn lock_timed_out(error: &DbErr) -> bool {
    let code =
        beneath(error).and_then(sqlx::Error::as_database_error).and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "55P03")
}

/// Says what we were doing when a statement failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, DbErr> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Statement { doing, source })
    }
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Statement {
            doing,
            source: DbErr::Query(RuntimeErr::SqlxError(source.into())),
        })
    }
}
