//! The steps of the schema: up, down, status, and whether this binary can serve a database.
//!
//! A step has a number, and the schema's number is that of its newest step. Steps are forward compatible within one
//! release: expand in one, move, contract in the next. See `m0001_first` for how one is written whose text is
//! long, `m0003_chain_depth` for a short one.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbBackend, DbErr};
use sea_orm_migration::{
    MigrationName, MigrationTrait, MigratorTrait, SchemaManager, async_trait::async_trait,
};
use sqlx::Connection as _;

use crate::{
    db::Db,
    error::{Doing as _, Error},
};

mod m0001_first;
mod m0002_identity;
mod m0003_chain_depth;
mod m0004_alert;
mod m0005_input_request;
mod m0006_workers;
mod m0007_retention;
mod m0008_quota;
mod m0009_asset_window;
mod m0010_import_error;
mod m0011_partitions;

/// How long a second process waits for the one that is migrating.
const WAIT_FOR_OTHER: Duration = Duration::from_mins(1);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

struct Steps;

impl MigratorTrait for Steps {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_first::STEP),
            Box::new(m0002_identity::Step),
            Box::new(m0003_chain_depth::STEP),
            Box::new(m0004_alert::STEP),
            Box::new(m0005_input_request::STEP),
            Box::new(m0006_workers::STEP),
            Box::new(m0007_retention::STEP),
            Box::new(m0008_quota::STEP),
            Box::new(m0009_asset_window::STEP),
            Box::new(m0010_import_error::STEP),
            Box::new(m0011_partitions::Step),
        ]
    }
}

/// A step whose texts say everything about it.
struct Texts {
    name: &'static str,
    postgres: &'static str,
    sqlite: &'static str,
    /// The same for both databases.
    down: &'static str,
}

impl MigrationName for Texts {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait]
impl MigrationTrait for Texts {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let text = match connection.get_database_backend() {
            DbBackend::Sqlite => self.sqlite,
            _ => self.postgres,
        };
        connection.execute_unprepared(text).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(self.down).await.map(drop)
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// A step and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepStatus {
    /// Its name, such as `m0001_first`.
    pub name: String,
    /// Whether it was applied.
    pub applied: bool,
}

/// The number of the newest step that this binary knows.
pub fn newest() -> u32 {
    Steps::migrations().iter().filter_map(|step| number(step.name())).max().unwrap_or(0)
}

/// Applies every step that is missing; refuses a schema that is newer than this binary.
///
/// Use connections of [`crate::Role::Owner`]: a step may take longer than a request may. A second process that does
/// the same waits for the first.
pub async fn up(db: &Db) -> Result<(), Error> {
    if let Err(newer @ Error::SchemaTooNew { .. }) = check(db).await {
        return Err(newer);
    }
    alone(db, async { Steps::up(db.write(), None).await.doing("apply the steps of the schema") }).await
}

/// Takes back the newest `steps` steps, with everything that is stored in what they made.
pub async fn down(db: &Db, steps: u32) -> Result<(), Error> {
    alone(db, async { Steps::down(db.write(), Some(steps)).await.doing("take back steps of the schema") })
        .await
}

/// Every step that this binary knows, oldest first. Needs no right to change anything.
pub async fn status(db: &Db) -> Result<Vec<StepStatus>, Error> {
    let applied = applied(db).await?;
    let steps = Steps::migrations();
    Ok(steps
        .iter()
        .map(|step| StepStatus {
            name: step.name().to_owned(),
            applied: applied.iter().any(|a| a == step.name()),
        })
        .collect())
}

/// Whether this binary can serve the database: the numbers must be equal.
pub async fn check(db: &Db) -> Result<(), Error> {
    let (database, binary) = (schema_number(db).await?, newest());
    match database.cmp(&binary) {
        std::cmp::Ordering::Greater => Err(Error::SchemaTooNew { database, binary }),
        std::cmp::Ordering::Less => Err(Error::SchemaTooOld { database, binary }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

/// The number of the database's schema, 0 for an empty database.
pub async fn schema_number(db: &Db) -> Result<u32, Error> {
    Ok(applied(db).await?.iter().filter_map(|name| number(name)).max().unwrap_or(0))
}

async fn applied(db: &Db) -> Result<Vec<String>, Error> {
    let doing = "read the schema's number";
    let manager = sea_orm_migration::SchemaManager::new(db.read());
    if !manager.has_table("seaql_migrations").await.doing(doing)? {
        return Ok(Vec::new());
    }
    let backend = db.read().get_database_backend();
    let text = "SELECT version FROM seaql_migrations ORDER BY version";
    let rows = db.read().query_all_raw(sea_orm::Statement::from_string(backend, text)).await.doing(doing)?;
    rows.iter().map(|row| row.try_get("", "version").doing(doing)).collect()
}

/// `m0012_title` has number 12.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix('m')?.split('_').next()?.parse().ok()
}

/// Keeps other processes from migrating the same schema meanwhile. SQLite's one writer does that by itself.
async fn alone<T>(db: &Db, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let Db::Postgres(postgres) = db else { return work.await };
    let doing = "wait for another process that changes the schema";
    let mut lock = sqlx::PgConnection::connect_with(&postgres.options).await.doing(doing)?;
    // Whoever waits in a statement holds a snapshot, for which a step that makes an index concurrently would wait.
    let free = "SELECT pg_try_advisory_lock(1967352911, hashtext(current_schema()))";
    let waiting = async {
        while !sqlx::query_scalar(free).fetch_one(&mut lock).await? {
            pause(LOOK).await;
        }
        Ok(())
    };
    let waited = tokio::time::timeout(WAIT_FOR_OTHER, waiting).await;
    waited.unwrap_or(Err(sqlx::Error::PoolTimedOut)).doing(doing)?;
    let done = work.await;
    // The lock ends with its connection, whatever became of the work.
    lock.close().await.doing("give back the schema's lock")?;
    done
}

#[expect(clippy::disallowed_methods, reason = "locks that are polled; see why there")]
async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_without_a_gap() {
        let numbers: Vec<_> = Steps::migrations().iter().map(|step| number(step.name())).collect();
        let expected: Vec<_> = (1..=numbers.len() as u32).map(Some).collect();
        assert_eq!(numbers, expected);
    }
}
