//! The steps of the schema.

use dags::ids::{ShardId, TenantId};
use migrations::{Db, Error, Role, migrate, store::tenant};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::support::{TestDb, on_both};

on_both!(
    up_down_up_leaves_the_same_schema,
    a_newer_schema_is_refused_with_both_numbers,
    an_empty_database_needs_migrate,
    the_default_tenant_and_shard_have_the_known_ids,
    two_processes_may_migrate_at_once,
);

/// The schema in words.
async fn schema(test: &TestDb) -> Vec<String> {
    if let Some(path) = test.url.strip_prefix("sqlite:") {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let text =
            "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_master ORDER BY type, name";
        sqlx::query_scalar(text).fetch_all(&mut connection).await.unwrap()
    } else {
        let mut connection = PgConnection::connect(&test.url).await.unwrap();
        let text = "
            SELECT concat_ws(' ', 'column', table_name, ordinal_position, column_name, data_type, is_nullable,
                collation_name, column_default, is_identity)
            FROM information_schema.columns WHERE table_schema = current_schema()
            UNION ALL SELECT concat_ws(' ', 'index', indexdef) FROM pg_indexes WHERE schemaname = current_schema()
            UNION ALL SELECT concat_ws(' ', 'constraint', conrelid::regclass, pg_get_constraintdef(oid))
            FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
            UNION ALL SELECT concat_ws(' ', 'table', relname, reloptions)
            FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
            ORDER BY 1";
        sqlx::query_scalar(text).fetch_all(&mut connection).await.unwrap()
    }
}

async fn up_down_up_leaves_the_same_schema(test: TestDb) {
    let full = schema(&test).await;
    assert!(full.iter().any(|line| line.contains("task_instance")), "{full:?}");
    assert!(migrate::status(&test.db).await.unwrap().iter().all(|step| step.applied));
    migrate::down(&test.db, migrate::newest()).await.unwrap();
    let empty = schema(&test).await;
    assert!(
        empty.iter().all(|line| line.contains("seaql_migrations") || line.contains("sqlite_sequence")),
        "{empty:?}"
    );
    assert!(migrate::status(&test.db).await.unwrap().iter().all(|step| !step.applied));
    migrate::up(&test.db).await.unwrap();
    assert_eq!(schema(&test).await, full);
    migrate::up(&test.db).await.unwrap();
    migrate::check(&test.db).await.unwrap();
}

async fn a_newer_schema_is_refused_with_both_numbers(test: TestDb) {
    test.sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m0900_later', 0)").await;
    let refused = migrate::check(&test.db).await.unwrap_err();
    assert!(matches!(refused, Error::SchemaTooNew { database: 900, binary } if binary == migrate::newest()));
    assert!(refused.to_string().contains("900"), "{refused}");
    assert!(matches!(migrate::up(&test.db).await, Err(Error::SchemaTooNew { .. })));
}

async fn an_empty_database_needs_migrate(test: TestDb) {
    migrate::down(&test.db, migrate::newest()).await.unwrap();
    let refused = migrate::check(&test.db).await.unwrap_err();
    assert!(refused.to_string().contains("run `updraft migrate`"), "{refused}");
}

async fn the_default_tenant_and_shard_have_the_known_ids(test: TestDb) {
    let found = tenant::by_name(&test.db, "default").await.unwrap().unwrap();
    assert_eq!((found.id, found.shard), (TenantId::DEFAULT, ShardId::DEFAULT));
    assert!(found.created_at.since(crate::fixture::clock()).0 < 1_000_000);
    assert!(crate::fixture::clock().since(found.created_at).0 < 60_000_000);
}

async fn two_processes_may_migrate_at_once(test: TestDb) {
    migrate::down(&test.db, migrate::newest()).await.unwrap();
    if let Db::Sqlite(_) = test.db {
        // One process opens a file once; its one writer does one after the other.
        let (one, two) = tokio::join!(migrate::up(&test.db), migrate::up(&test.db));
        assert!(one.is_ok() || two.is_ok());
    } else {
        let second = Db::connect(&test.url, Role::Owner).await.unwrap();
        let (one, two) = tokio::join!(migrate::up(&test.db), migrate::up(&second));
        one.unwrap();
        two.unwrap();
        second.close().await;
    }
    migrate::check(&test.db).await.unwrap();
}

#[tokio::test]
async fn a_sqlite_file_is_ours_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/updraft.db");
    let db = Db::connect(&format!("sqlite:{}", path.display()), Role::Service).await.unwrap();
    migrate::up(&db).await.unwrap();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
    db.close().await;
    for url in ["sqlite:", "sqlite::memory:", "mysql://u:secret@h/d", "postgres://h:x/d"] {
        let refused = Db::connect(url, Role::Service).await.unwrap_err();
        assert!(matches!(refused, Error::Url { .. } | Error::BadUrl { .. }), "{url}: {refused}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
}
