//! The logs (events, audit, asset events) by month on PostgreSQL, so that what isn't kept goes a month at once. What is there
//! becomes the first partition as it is: nothing is copied, and writing is held up for a moment only. SQLite has no partitions.

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

pub(super) struct Step;

const FUNCTIONS: &str = include_str!("m0009_partitions.functions.sql");
const DOWN: &str = include_str!("m0009_partitions.down.sql");

/// A log: its name, and the texts that make it partitioned, each a transaction of its own. All are repeated if a former try
/// broke off.
struct Log {
    name: &'static str,
    /// Whether there is anything, so that somebody may be writing.
    any: &'static str,
    /// Takes away what a former try left of the index.
    clear: &'static str,
    /// Makes the index that a partition needs: beside those who write, and quickly where nobody does.
    beside: &'static str,
    alone: &'static str,
    bound: &'static str,
    swap: &'static str,
}

const LOGS: [Log; 3] = [
    Log {
        name: "event",
        any: "SELECT 1 AS one FROM event LIMIT 1",
        clear: "DROP INDEX IF EXISTS event_before_pkey",
        beside: "CREATE UNIQUE INDEX CONCURRENTLY event_before_pkey ON event (shard_id, batch, n, at)",
        alone: "CREATE UNIQUE INDEX event_before_pkey ON event (shard_id, batch, n, at)",
        bound: "CALL updraft_bound('event')",
        swap: include_str!("m0009_partitions.event.sql"),
    },
    Log {
        name: "audit",
        any: "SELECT 1 AS one FROM audit LIMIT 1",
        clear: "DROP INDEX IF EXISTS audit_before_pkey",
        beside: "CREATE UNIQUE INDEX CONCURRENTLY audit_before_pkey ON audit (id, at)",
        alone: "CREATE UNIQUE INDEX audit_before_pkey ON audit (id, at)",
        bound: "CALL updraft_bound('audit')",
        swap: include_str!("m0009_partitions.audit.sql"),
    },
    Log {
        name: "asset_event",
        any: "SELECT 1 AS one FROM asset_event LIMIT 1",
        clear: "DROP INDEX IF EXISTS asset_event_before_pkey",
        beside: "CREATE UNIQUE INDEX CONCURRENTLY asset_event_before_pkey ON asset_event (shard_id, batch, n, at)",
        alone: "CREATE UNIQUE INDEX asset_event_before_pkey ON asset_event (shard_id, batch, n, at)",
        bound: "CALL updraft_bound('asset_event')",
        swap: include_str!("m0009_partitions.asset_event.sql"),
    },
];

impl MigrationName for Step {
    fn name(&self) -> &'static str {
        "m0009_partitions"
    }
}

#[async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if connection.get_database_backend() == DbBackend::Sqlite {
            return Ok(());
        }
        connection.execute_unprepared(FUNCTIONS).await?;
        for log in &LOGS {
            // A former try may have come this far.
            let text = "SELECT 1 AS one FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'p'";
            let asked = Statement::from_sql_and_values(DbBackend::Postgres, text, [log.name.into()]);
            if connection.query_one_raw(asked).await?.is_some() {
                continue;
            }
            let any = Statement::from_string(DbBackend::Postgres, log.any);
            let index = if connection.query_one_raw(any).await?.is_some() { log.beside } else { log.alone };
            for text in [log.clear, index, log.bound, log.swap] {
                connection.execute_unprepared(text).await?;
            }
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if connection.get_database_backend() == DbBackend::Sqlite {
            return Ok(());
        }
        connection.execute_unprepared(DOWN).await.map(drop)
    }

    /// An index can't be made beside those who write within a transaction.
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
