//! Where the engine's batches go: the fenced group commit, and everything that the engine is rebuilt from.
//!
//! One [`DbJournal`] is one term of ownership of a shard. Each commit is one transaction that starts with an UPDATE of
//! the shard's row: the row's lock orders it against a takeover, its predicate refuses it once the epoch has changed.
//! [`lease`] takes a shard over and keeps it, `write` holds the set-based statements, `read` the way back.

use dags::time::Timestamp;
use engine::{
    journal::{Commit, Conflict, Inbox, Journal, Load, Loaded, Position},
    rows::{Batch, Fence, Snapshot, Subject},
};
use sqlx::{Connection as _, PgConnection};

use crate::{
    columns::Tx,
    db::{Db, Postgres},
    error::Error,
    journal::write::Refused,
    scope::ShardScope,
};

pub mod lease;
mod read;
mod write;

pub use lease::{Lease, acquire};

/// The engine's journal in a database, for one term of ownership of one shard.
#[derive(Debug)]
pub struct DbJournal {
    db: Db,
    fence: Fence,
    /// The connection that commits; PostgreSQL only, made again after it broke. Its backend is on record in the
    /// shard's row, so that a successor can end it.
    connection: Option<PgConnection>,
}

impl DbJournal {
    /// The shard and our epoch.
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// The scope of everything that this term may read.
    pub const fn scope(&self) -> ShardScope {
        ShardScope::new(self.fence.shard)
    }

    /// What keeps the shard ours. It uses connections of its own, so it can be renewed while a commit is under way.
    pub fn lease(&self) -> Lease {
        Lease::new(self.db.clone(), self.fence)
    }

    async fn commit_sqlite(&self, pool: &sqlx::SqlitePool, batch: &Batch) -> Commit {
        let mut transaction = match pool.begin_with("BEGIN IMMEDIATE").await {
            Ok(transaction) => transaction,
            Err(why) => return Commit::Failed(format!("can't begin the transaction: {why}")),
        };
        let written = write::batch(&mut Tx::Sqlite(&mut transaction), self.fence, batch).await;
        match written {
            Ok(()) => match transaction.commit().await {
                Ok(()) => Commit::Done,
                Err(why) => not_committed(&why),
            },
            Err(refused) => {
                if let Err(why) = transaction.rollback().await {
                    tracing::warn!(error = %why, "failed to roll back; the connection does it when it is used again");
                }
                self.refused(refused, batch).await
            }
        }
    }

    /// The connection is ours alone while it commits and is kept only if all went well: a broken or cancelled commit drops
    /// it, and the server rolls back.
    async fn commit_postgres(&mut self, postgres: &Postgres, batch: &Batch) -> Commit {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match lease::on_record(postgres, self.fence).await {
                Ok(connection) => connection,
                Err(Error::Fenced { .. }) => return Commit::Fenced,
                Err(why) => return Commit::Failed(format!("no connection to commit with: {}", chain(&why))),
            },
        };
        let mut transaction = match connection.begin().await {
            Ok(transaction) => transaction,
            Err(why) => return Commit::Failed(format!("can't begin the transaction: {why}")),
        };
        let written = write::batch(&mut Tx::Postgres(&mut transaction), self.fence, batch).await;
        match written {
            Ok(()) => match transaction.commit().await {
                Ok(()) => {
                    self.connection = Some(connection);
                    Commit::Done
                }
                Err(why) => not_committed(&why),
            },
            Err(refused) => {
                match transaction.rollback().await {
                    Ok(()) => self.connection = Some(connection),
                    Err(why) => {
                        tracing::debug!(error = %why, "failed to roll back; the connection is dropped");
                    }
                }
                self.refused(refused, batch).await
            }
        }
    }

    /// What a statement's refusal means. Its transaction was rolled back or died with its connection.
    async fn refused(&self, refused: Refused, batch: &Batch) -> Commit {
        match refused {
            Refused::NotOurs => self.not_ours(batch).await,
            Refused::Count { doing, expected, touched } => {
                let differing = match write::differing(&self.db, batch).await {
                    Ok(keys) if keys.is_empty() => {
                        "every row is as expected now; is one in the batch twice?".to_owned()
                    }
                    Ok(keys) => keys.join("; "),
                    Err(why) => format!("which rows differ can't be read: {}", chain(&why)),
                };
                let number = batch.number;
                let what =
                    format!("batch {number}: {doing} touched {touched} of {expected} rows: {differing}");
                Commit::Conflict(Conflict { what, culprits: self.culprits(batch).await })
            }
            Refused::Statement { doing, source } => {
                let message = format!("batch {}: failed to {doing}: {source}", batch.number);
                if is_bug(&source) {
                    Commit::Conflict(Conflict { what: message, culprits: self.culprits(batch).await })
                } else {
                    Commit::Failed(message)
                }
            }
        }
    }

    /// The runs and DAGs whose part of a refused batch the database refuses by itself, too. Every part is tried and rolled
    /// back. Only done when a batch was refused, so it may take its time.
    async fn culprits(&self, batch: &Batch) -> Vec<Subject> {
        let mut culprits = Vec::new();
        for (subject, part) in batch.parts() {
            match self.probe(&part).await {
                Ok(()) => {}
                Err(Refused::Statement { source, .. }) if !is_bug(&source) => {
                    tracing::warn!(error = %source, "who is to blame for a refused batch can't be found out");
                    return Vec::new();
                }
                Err(_) => culprits.push(subject),
            }
        }
        culprits
    }

    async fn probe(&self, part: &Batch) -> Result<(), Refused> {
        let failed = |source| Refused::Statement { doing: "try a part of a batch", source };
        match &self.db {
            Db::Sqlite(sqlite) => {
                let mut transaction = sqlite.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
                let written = write::rows(&mut Tx::Sqlite(&mut transaction), self.fence, part).await;
                transaction.rollback().await.map_err(failed)?;
                written
            }
            Db::Postgres(postgres) => {
                let mut transaction = postgres.pool.begin().await.map_err(failed)?;
                let written = write::rows(&mut Tx::Postgres(&mut transaction), self.fence, part).await;
                transaction.rollback().await.map_err(failed)?;
                written
            }
        }
    }

    /// The fence matched no row. The epoch may have changed; or this very batch is there already, when the answer to its
    /// first commit came too late for [`Journal::position`] to see it.
    async fn not_ours(&self, batch: &Batch) -> Commit {
        match read::shard(&self.db, self.fence.shard, read::Lock::No).await {
            Ok(Some(row)) if row.epoch != self.fence.epoch => Commit::Fenced,
            Ok(Some(row)) if row.batch as u64 == batch.number => Commit::Done,
            Ok(Some(row)) => Commit::Conflict(Conflict::new(format!(
                "batch {} can't follow batch {}, the shard's last one",
                batch.number, row.batch
            ))),
            Ok(None) => Commit::Fenced,
            Err(why) => {
                Commit::Failed(format!("the fence held the batch back and can't be read: {}", chain(&why)))
            }
        }
    }
}

impl Journal for DbJournal {
    type Error = Error;

    async fn snapshot(&mut self) -> Result<Snapshot, Error> {
        read::snapshot(&self.db, self.scope()).await
    }

    async fn inbox(&mut self, skip: &[i64], limit: usize) -> Result<Inbox, Error> {
        read::inbox(&self.db, self.scope(), skip, limit).await
    }

    async fn load(&mut self, load: Load) -> Result<Loaded, Error> {
        read::load(&self.db, self.scope(), load).await
    }

    async fn commit(&mut self, batch: &Batch) -> Commit {
        match self.db.clone() {
            Db::Sqlite(sqlite) => self.commit_sqlite(&sqlite.writer, batch).await,
            Db::Postgres(postgres) => self.commit_postgres(&postgres, batch).await,
        }
    }

    /// Waits for a commit of ours that is still under way on the server, so that its answer is final.
    async fn position(&mut self) -> Result<Position, Error> {
        let row = read::shard(&self.db, self.fence.shard, read::Lock::Yes).await?;
        let row = row.ok_or(Error::NoShard { shard: self.fence.shard })?;
        Ok(Position { ours: row.epoch == self.fence.epoch, batch: row.batch as u64 })
    }
}

/// A COMMIT was sent and answered by an error, or not at all.
fn not_committed(why: &sqlx::Error) -> Commit {
    let message = format!("failed to commit: {why}");
    let Some(code) = why.as_database_error().and_then(sqlx::error::DatabaseError::code) else {
        return Commit::Unknown(message);
    };
    match code.as_ref() {
        // PostgreSQL: integrity, serialization and deadlock, all judged before the commit is written.
        _ if code.len() == 5 && code.starts_with("23") => Commit::Conflict(Conflict::new(message)),
        _ if code.len() == 5 && code.starts_with("40") && code != "40003" => Commit::Failed(message),
        // SQLite: another process writes or reads; the transaction is still open and is rolled back.
        "5" | "517" | "261" => Commit::Failed(message),
        _ => Commit::Unknown(message),
    }
}

/// Whether a statement failed because of what it says, so that sending it again can't help: a broken constraint, a
/// value that doesn't fit, a column that isn't there.
fn is_bug(why: &sqlx::Error) -> bool {
    match why {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            if database.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
                ["22", "23", "42"].iter().any(|class| code.starts_with(class))
            } else {
                // The primary code is in the low byte: 1 error, 19 constraint, 20 mismatch, 25 range.
                code.parse::<u32>().is_ok_and(|code| [1, 19, 20, 25].contains(&(code & 0xff)))
            }
        }
        sqlx::Error::Encode(_) | sqlx::Error::TypeNotFound { .. } | sqlx::Error::ColumnNotFound(_) => true,
        _ => false,
    }
}

/// An error with what caused it, for the log.
fn chain(why: &dyn std::error::Error) -> String {
    let mut text = why.to_string();
    let mut source = why.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// How far `local` is from the database's clock, when the database's was read between `before` and `after`.
fn check_clock(before: Timestamp, database: Timestamp, after: Timestamp) -> Result<(), Error> {
    let (skew, direction) = if database < before {
        (before.since(database), "ahead of")
    } else {
        (database.since(after), "behind")
    };
    if skew > lease::SKEW_MAX { Err(Error::Clock { skew, direction }) } else { Ok(()) }
}
