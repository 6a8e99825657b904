//! The logs as a whole: events, the audit log, asset events. On PostgreSQL each is partitioned by month; months are made ahead,
//! and a month goes at once. SQLite's rows go some at a time.

use dags::time::Timestamp;
use engine::rows::Fence;
use sea_orm::{ConnectionTrait as _, Statement, TransactionTrait as _, Value};

use crate::{
    db::Db,
    error::{Doing as _, Error},
};

/// Months for which there are partitions ahead of the present one.
const MONTHS_AHEAD: i32 = 3;
/// A log that can't be had within this is left for another time: whoever waits for all of it holds up those who write.
const LOCK_MAX: &str = "SET LOCAL lock_timeout = '50ms'";

/// A log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// What happened to runs.
    Events,
    /// Who changed what.
    Audit,
    /// What happened to assets.
    AssetEvents,
}

impl Log {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Events, Self::Audit, Self::AssetEvents];

    /// Its table.
    pub const fn table(self) -> &'static str {
        match self {
            Self::Events => "event",
            Self::Audit => "audit",
            Self::AssetEvents => "asset_event",
        }
    }

    /// Deletes some rows of the oldest: for SQLite from the table, for PostgreSQL from the partition of those that have no
    /// other. Rows lie in the order in which they were written.
    const fn delete(self) -> (&'static str, &'static str) {
        match self {
            Self::Events => (
                "DELETE FROM event WHERE rowid IN (SELECT rowid FROM event ORDER BY shard_id, batch, n LIMIT ?2) AND at < ?1
                  AND EXISTS (SELECT 1 FROM shard WHERE id = ?3 AND epoch = ?4)",
                "DELETE FROM event_default WHERE ctid = ANY (ARRAY(SELECT ctid FROM event_default WHERE at < $1 LIMIT $2))
                  AND EXISTS (SELECT 1 FROM shard WHERE id = $3 AND epoch = $4)",
            ),
            Self::Audit => (
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT ?2) AND at < ?1
                  AND EXISTS (SELECT 1 FROM shard WHERE id = ?3 AND epoch = ?4)",
                "DELETE FROM audit_default WHERE ctid = ANY (ARRAY(SELECT ctid FROM audit_default WHERE at < $1 LIMIT $2))
                  AND EXISTS (SELECT 1 FROM shard WHERE id = $3 AND epoch = $4)",
            ),
            Self::AssetEvents => (
                "DELETE FROM asset_event WHERE rowid IN (SELECT rowid FROM asset_event ORDER BY shard_id, batch, n LIMIT ?2)
                  AND at < ?1 AND EXISTS (SELECT 1 FROM shard WHERE id = ?3 AND epoch = ?4)",
                "DELETE FROM asset_event_default WHERE ctid = ANY (
                    ARRAY(SELECT ctid FROM asset_event_default WHERE at < $1 LIMIT $2))
                  AND EXISTS (SELECT 1 FROM shard WHERE id = $3 AND epoch = $4)",
            ),
        }
    }
}

/// Makes the partitions for this month and the next ones, and says how many were missing.
pub async fn make_ahead(db: &Db) -> Result<u32, Error> {
    if let Db::Sqlite(_) = db {
        return Ok(0);
    }
    let doing = "make the partitions of the next months";
    let mut made = 0;
    for log in Log::ALL {
        let values = [log.table().into(), MONTHS_AHEAD.into()];
        made += call(db, doing, "SELECT updraft_partitions_ahead($1, $2) AS n", values).await?.unsigned_abs();
    }
    Ok(made)
}

/// What became of the oldest month of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Month {
    /// It is gone.
    Dropped,
    /// It is kept, or there is none.
    Kept,
    /// Somebody reads the log: it can't go now.
    Held,
}

/// Drops the oldest month of a log as a whole, if it lies before an instant. Those who write wait for 50 ms at most.
pub async fn drop_month(db: &Db, log: Log, before: Timestamp) -> Result<Month, Error> {
    if let Db::Sqlite(_) = db {
        return Ok(Month::Kept);
    }
    let doing = "drop a month of a log that isn't kept any more";
    let values = [log.table().into(), before.0.into()];
    Ok(match call(db, doing, "SELECT updraft_drop_partition($1, $2) AS n", values).await? {
        0 => Month::Kept,
        1.. => Month::Dropped,
        ..0 => Month::Held,
    })
}

async fn call(db: &Db, doing: &'static str, text: &str, values: [Value; 2]) -> Result<i32, Error> {
    let backend = db.write().get_database_backend();
    let transaction = db.write().begin().await.doing(doing)?;
    transaction.execute_unprepared(LOCK_MAX).await.doing(doing)?;
    let called = transaction.query_one_raw(Statement::from_sql_and_values(backend, text, values)).await;
    let n: Option<i32> = called.doing(doing)?.map(|row| row.try_get("", "n")).transpose().doing(doing)?;
    transaction.commit().await.doing(doing)?;
    Ok(n.unwrap_or(0))
}

/// Deletes at most `limit` rows of a log that are older than an instant and can't go with a month, and says how many; 0 when
/// we don't own the shard any more.
pub async fn delete_some(
    db: &Db,
    fence: Fence,
    log: Log,
    before: Timestamp,
    limit: u32,
) -> Result<u64, Error> {
    let doing = "delete from a log what isn't kept any more";
    let (sqlite, postgres) = log.delete();
    let values: [Value; 4] =
        [before.0.into(), i64::from(limit).into(), fence.shard.0.into(), fence.epoch.into()];
    let backend = db.write().get_database_backend();
    let statement = Statement::from_sql_and_values(backend, db.pick(sqlite, postgres), values);
    Ok(db.write().execute_raw(statement).await.doing(doing)?.rows_affected())
}
