//! The first step: every table, and the default tenant on the default shard.

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

pub(super) struct Step;

/// In the order in which they can be dropped.
const DROP: &str = "
DROP TABLE connection; DROP TABLE variable; DROP TABLE continuation; DROP TABLE backfill; DROP TABLE pending_asset;
DROP TABLE asset_event; DROP TABLE pool; DROP TABLE audit; DROP TABLE inbox; DROP TABLE event; DROP TABLE result;
DROP TABLE attempt_claim; DROP TABLE member; DROP TABLE attempt; DROP TABLE task_instance; DROP TABLE run; DROP TABLE dag;
DROP TABLE dag_version; DROP TABLE bundle; DROP TABLE tenant_key; DROP TABLE tenant; DROP TABLE shard;";

impl MigrationName for Step {
    fn name(&self) -> &'static str {
        "m0001_first"
    }
}

#[async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let text = match connection.get_database_backend() {
            DbBackend::Sqlite => include_str!("m0001_first.sqlite.sql"),
            _ => include_str!("m0001_first.postgres.sql"),
        };
        connection.execute_unprepared(text).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(DROP).await.map(drop)
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
