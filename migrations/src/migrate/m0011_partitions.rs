//! What keeping and forgetting need: the logs by month, and when bundles and versions of DAGs were stored last.
//!
//! On PostgreSQL the logs (events, audit, asset events) become partitioned, so that what isn't kept goes a month at once. What is
//! there becomes the first partition as it is: nothing is copied, and writing is held up for moments only. Each text is a
//! transaction of its own, and all may be repeated if a former try broke off. SQLite has no partitions.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

use crate::error::lock_timed_out;

pub(super) struct Step;

/// How often a table is tried that somebody holds: whoever writes to it waits behind us, so we don't wait for long at once.
const TRIES: u32 = 60;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

const FUNCTIONS: &str = include_str!("m0011_partitions.functions.sql");
const DOWN: &str = include_str!("m0011_partitions.down.sql");
const COLUMNS: &str = "
    SET LOCAL lock_timeout = '300ms';
    ALTER TABLE bundle ADD COLUMN IF NOT EXISTS stored_at bigint;
    ALTER TABLE dag_version ADD COLUMN IF NOT EXISTS stored_at bigint, ADD COLUMN IF NOT EXISTS number integer;
    UPDATE dag_version AS v SET number = n.number FROM (
        SELECT tenant_id, dag_id, version,
          row_number() OVER (PARTITION BY tenant_id, dag_id ORDER BY created_at, version) AS number FROM dag_version) AS n
      WHERE v.tenant_id = n.tenant_id AND v.dag_id = n.dag_id AND v.version = n.version AND v.number IS NULL;";
const SQLITE: &str = "
    ALTER TABLE bundle ADD COLUMN stored_at INTEGER;
    ALTER TABLE dag_version ADD COLUMN stored_at INTEGER;
    ALTER TABLE dag_version ADD COLUMN number INTEGER;
    UPDATE dag_version AS v SET number = n.number FROM (
        SELECT tenant_id, dag_id, version,
          row_number() OVER (PARTITION BY tenant_id, dag_id ORDER BY created_at, version) AS number FROM dag_version) AS n
      WHERE v.tenant_id = n.tenant_id AND v.dag_id = n.dag_id AND v.version = n.version;
    CREATE INDEX run_bundle ON run (tenant_id, bundle);
    CREATE INDEX run_version ON run (tenant_id, version);";
const SQLITE_THERE: &str = "SELECT 1 AS one FROM sqlite_master WHERE name = 'run_bundle'";
const SQLITE_DOWN: &str = "
    DROP INDEX run_version;
    DROP INDEX run_bundle;
    ALTER TABLE dag_version DROP COLUMN number;
    ALTER TABLE dag_version DROP COLUMN stored_at;
    ALTER TABLE bundle DROP COLUMN stored_at;";

/// An index that is made beside those who write to its table, and quickly where nobody can be writing.
struct Index {
    /// Whether there is anything.
    any: &'static str,
    /// Takes away what a former try left.
    clear: &'static str,
    beside: &'static str,
    alone: &'static str,
}

/// A log: whether it is partitioned, the index that it needs as a partition, and the texts that make it one.
struct Log {
    done: &'static str,
    index: Index,
    bound: &'static str,
    swap: &'static str,
}

/// How what no run names is found.
const OF_RUNS: [Index; 2] = [
    Index {
        any: "SELECT 1 AS one FROM run LIMIT 1",
        clear: "DROP INDEX CONCURRENTLY IF EXISTS run_bundle",
        beside: "CREATE INDEX CONCURRENTLY run_bundle ON run (tenant_id, bundle)",
        alone: "CREATE INDEX run_bundle ON run (tenant_id, bundle)",
    },
    Index {
        any: "SELECT 1 AS one FROM run LIMIT 1",
        clear: "DROP INDEX CONCURRENTLY IF EXISTS run_version",
        beside: "CREATE INDEX CONCURRENTLY run_version ON run (tenant_id, version)",
        alone: "CREATE INDEX run_version ON run (tenant_id, version)",
    },
];

const LOGS: [Log; 3] = [
    Log {
        done: "SELECT 1 AS one FROM pg_class WHERE oid = to_regclass('event') AND relkind = 'p'",
        index: Index {
            any: "SELECT 1 AS one FROM event LIMIT 1",
            clear: "DROP INDEX CONCURRENTLY IF EXISTS event_before_pkey",
            beside: "CREATE UNIQUE INDEX CONCURRENTLY event_before_pkey ON event (shard_id, batch, n, at)",
            alone: "CREATE UNIQUE INDEX event_before_pkey ON event (shard_id, batch, n, at)",
        },
        bound: "CALL updraft_bound('event')",
        swap: include_str!("m0011_partitions.event.sql"),
    },
    Log {
        done: "SELECT 1 AS one FROM pg_class WHERE oid = to_regclass('audit') AND relkind = 'p'",
        index: Index {
            any: "SELECT 1 AS one FROM audit LIMIT 1",
            clear: "DROP INDEX CONCURRENTLY IF EXISTS audit_before_pkey",
            beside: "CREATE UNIQUE INDEX CONCURRENTLY audit_before_pkey ON audit (id, at)",
            alone: "CREATE UNIQUE INDEX audit_before_pkey ON audit (id, at)",
        },
        bound: "CALL updraft_bound('audit')",
        swap: include_str!("m0011_partitions.audit.sql"),
    },
    Log {
        done: "SELECT 1 AS one FROM pg_class WHERE oid = to_regclass('asset_event') AND relkind = 'p'",
        index: Index {
            any: "SELECT 1 AS one FROM asset_event LIMIT 1",
            clear: "DROP INDEX CONCURRENTLY IF EXISTS asset_event_before_pkey",
            beside: "CREATE UNIQUE INDEX CONCURRENTLY asset_event_before_pkey ON asset_event (shard_id, batch, n, at)",
            alone: "CREATE UNIQUE INDEX asset_event_before_pkey ON asset_event (shard_id, batch, n, at)",
        },
        bound: "CALL updraft_bound('asset_event')",
        swap: include_str!("m0011_partitions.asset_event.sql"),
    },
];

impl MigrationName for Step {
    fn name(&self) -> &'static str {
        "m0011_partitions"
    }
}

#[async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Sqlite {
            return if is_there(manager, SQLITE_THERE).await? {
                Ok(())
            } else {
                at_once(manager, SQLITE).await
            };
        }
        patiently(manager, &[COLUMNS]).await?;
        for index in &OF_RUNS {
            index.make(manager).await?;
        }
        patiently(manager, &[FUNCTIONS]).await?;
        for log in &LOGS {
            // A former try may have come this far.
            if is_there(manager, log.done).await? {
                continue;
            }
            log.index.make(manager).await?;
            patiently(manager, &[log.bound]).await?;
            patiently(manager, &[log.swap]).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (there, text) = match manager.get_database_backend() {
            DbBackend::Sqlite => (SQLITE_THERE, SQLITE_DOWN),
            _ => ("SELECT 1 AS one FROM pg_class WHERE oid = to_regclass('run_bundle')", DOWN),
        };
        if is_there(manager, there).await? { at_once(manager, text).await } else { Ok(()) }
    }

    /// An index can't be made beside those who write within a transaction.
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

impl Index {
    async fn make(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let text = if is_there(manager, self.any).await? { self.beside } else { self.alone };
        patiently(manager, &[self.clear, text]).await
    }
}

async fn is_there(manager: &SchemaManager<'_>, text: &str) -> Result<bool, DbErr> {
    let asked = Statement::from_string(manager.get_database_backend(), text);
    Ok(manager.get_connection().query_one_raw(asked).await?.is_some())
}

/// Does it in one transaction.
async fn at_once(manager: &SchemaManager<'_>, text: &str) -> Result<(), DbErr> {
    let within = manager.begin().await?;
    within.get_connection().execute_unprepared(text).await?;
    within.commit().await
}

/// Does one after the other, all of it again as long as somebody holds what is needed.
async fn patiently(manager: &SchemaManager<'_>, texts: &[&str]) -> Result<(), DbErr> {
    let mut tries = 0;
    loop {
        match all(manager, texts).await {
            Err(error) if tries < TRIES && lock_timed_out(&error) => {
                tries += 1;
                super::pause(PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn all(manager: &SchemaManager<'_>, texts: &[&str]) -> Result<(), DbErr> {
    for text in texts {
        manager.get_connection().execute_unprepared(text).await?;
    }
    Ok(())
}
