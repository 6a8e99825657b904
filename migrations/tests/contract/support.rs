//! A database for each test.

use std::{future::Future, panic};

use migrations::{Db, Role};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// Makes two tests of each function, one for each database.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() { crate::support::sqlite(super::$name).await; })+
        }
        mod postgres {
            $(#[tokio::test] async fn $name() { crate::support::postgres(super::$name).await; })+
        }
    };
}
pub(crate) use on_both;

/// The server for the tests.
#[expect(clippy::disallowed_methods, reason = "the one setting of the tests")]
pub(crate) fn postgres_url() -> String {
    std::env::var("UPDRAFT_TEST_POSTGRES_URL").expect(
        "UPDRAFT_TEST_POSTGRES_URL isn't set: these tests need a PostgreSQL server; run `make test`, or start one with \
         `cargo xtask services up postgres` and set the variable to its URL",
    )
}

/// A database that is empty but for its schema, with the URL to open it again.
#[derive(Clone)]
pub(crate) struct TestDb {
    pub(crate) db: Db,
    pub(crate) url: String,
}

/// Runs a test on a new SQLite file.
pub(crate) async fn sqlite<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(TestDb) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("updraft.db").display());
    let db = opened(&url).await;
    test(TestDb { db: db.clone(), url }).await;
    db.close().await;
}

/// Runs a test in a new schema, and drops the schema whatever became of the test.
pub(crate) async fn postgres<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(TestDb) -> F) {
    let server = postgres_url();
    let schema = format!("t_{}", uuid::Uuid::now_v7().simple());
    let mut admin = PgConnection::connect(&server).await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await.unwrap();
    let separator = if server.contains('?') { '&' } else { '?' };
    let url = format!("{server}{separator}options[search_path]={schema}");
    let db = opened(&url).await;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(test(TestDb { db: db.clone(), url }));
    let ended = tasks.join_next().await.unwrap();
    db.close().await;
    admin.execute("SET lock_timeout = '5s'").await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"))).await.unwrap();
    if let Err(failed) = ended {
        panic::resume_unwind(failed.into_panic());
    }
}

async fn opened(url: &str) -> Db {
    let db = Db::connect(url, Role::Owner).await.unwrap();
    migrations::migrate::up(&db).await.unwrap();
    db
}

impl TestDb {
    /// Runs a text that no part of the crate has, to look or to break something on purpose.
    pub(crate) async fn sql(&self, text: &str) {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            connection.execute(sqlx::AssertSqlSafe(text.to_owned())).await.unwrap();
            connection.close().await.unwrap();
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            connection.execute(sqlx::AssertSqlSafe(text.to_owned())).await.unwrap();
            connection.close().await.unwrap();
        }
    }

    /// The one number that a text reads.
    pub(crate) async fn number(&self, text: &str) -> i64 {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::query_scalar(sqlx::AssertSqlSafe(text.to_owned())).fetch_one(&mut connection).await.unwrap()
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sqlx::AssertSqlSafe(text.to_owned())).fetch_one(&mut connection).await.unwrap()
        }
    }
}
