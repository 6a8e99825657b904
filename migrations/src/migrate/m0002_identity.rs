//! Accounts, tokens, groups, roles and grants; the state of a tenant.

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait::async_trait};

pub(super) struct Step;

/// In the order in which they can be dropped.
const DROP: &str = "
DROP TABLE role_grant; DROP TABLE role; DROP TABLE group_member; DROP TABLE account_group; DROP TABLE token;
DROP TABLE account; ALTER TABLE tenant DROP COLUMN policy_epoch; ALTER TABLE tenant DROP COLUMN state;";

impl MigrationName for Step {
    fn name(&self) -> &'static str {
        "m0002_identity"
    }
}

#[async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let text = match connection.get_database_backend() {
            DbBackend::Sqlite => include_str!("m0002_identity.sqlite.sql"),
            _ => include_str!("m0002_identity.postgres.sql"),
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
