//! Steps of the schema over a database that is in use: what is stored stays, up and down, and those who write go on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use dags::{
    ids::{ShardId, TenantId},
    time::Timestamp,
};
use engine::{
    journal::{Commit, Journal as _},
    rows::{AssetEventRow, Batch, EventRow, RunRow},
};
use migrations::{
    Db, Role, migrate,
    policy::Visible,
    store::{
        Window,
        asset::{self, EventFilter},
        audit::{self, AuditEntry},
        bundle,
        event::{self, EventCursor},
        tenant,
    },
};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    fixture::{self, batch, clock, owned, scope},
    support::{self, TestDb, on_both},
};

on_both!(what_is_stored_stays, a_step_that_broke_off_is_done_again);

/// The schema's number before the logs were partitioned.
const BEFORE: u32 = 10;
const DAY: i64 = 24 * 3_600 * 1_000_000;

async fn back(db: &Db) {
    migrate::down(db, migrate::newest() - BEFORE).await.unwrap();
    assert_eq!(migrate::schema_number(db).await.unwrap(), BEFORE);
}

fn event_of(run: &RunRow, at: Timestamp) -> EventRow {
    EventRow { tenant: run.tenant, run: run.run, dag_id: run.dag_id.clone(), at, transitions: Vec::new() }
}

fn asset_event(run: &RunRow, at: Timestamp) -> AssetEventRow {
    AssetEventRow {
        tenant: run.tenant,
        asset: "a".into(),
        at,
        source: Some((run.run, fixture::task_id("a"), -1)),
        extra: Arc::default(),
    }
}

/// A batch whose entries lie at different times, also far from now.
fn entries(number: u64, run: &RunRow, now: Timestamp) -> Batch {
    let ats = [5, 6, now.0, now.0 + 40 * DAY].map(|at| Timestamp(at + number as i64));
    Batch {
        events: ats.iter().map(|at| event_of(run, *at)).collect(),
        asset_events: ats.iter().map(|at| asset_event(run, *at)).collect(),
        ..batch(number)
    }
}

/// All that the logs say, through the queries that show it.
#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<(EventCursor, EventRow)>,
    assets: Vec<(i64, AssetEventRow)>,
    audit: Vec<AuditEntry>,
    versions: BTreeMap<String, u32>,
}

async fn see(db: &Db) -> Seen {
    let all = Window { limit: 1_000, offset: 0 };
    let assets = asset::events(db, scope(), &Visible::all(), &EventFilter::default(), all).await.unwrap();
    let versions = bundle::numbered(db, scope(), &[fixture::dag_id("d")]).await.unwrap();
    Seen {
        events: event::since(db, scope(), ShardId::DEFAULT, EventCursor::default(), 1_000).await.unwrap(),
        assets: assets.rows,
        audit: audit::list(db, audit::PLATFORM, all).await.unwrap().rows,
        versions: versions.into_iter().map(|known| (known.version.to_string(), known.number)).collect(),
    }
}

async fn what_is_stored_stays(test: TestDb) {
    let db = &test.db;
    back(db).await;
    for doc in ["one", "two"] {
        // As the release before wrote them.
        let (text, version) =
            (serde_json::to_string(&*fixture::model("d", doc)).unwrap(), fixture::version("d", doc));
        test.sql(&format!(
            "INSERT INTO dag_version (tenant_id, dag_id, version, format, model, created_at, bundle, source)
             SELECT id, 'd', '{version}', 1, '{text}', 7, 'b1', 'd.yaml' FROM tenant WHERE name = 'default'"
        ))
        .await;
    }
    let mut journal = owned(db, "one").await;
    let now = clock();
    let run = fixture::run(TenantId::DEFAULT, "d", "r1");
    let first = Batch { new_runs: vec![run.clone()], ..entries(1, &run, now) };
    assert_eq!(journal.commit(&first).await, Commit::Done);
    assert_eq!(journal.commit(&entries(2, &run, now)).await, Commit::Done);
    let denied = async |what: &str| audit::denied(db, audit::PLATFORM, "ann", what).await.unwrap();
    denied("one").await;
    denied("two").await;

    migrate::up(db).await.unwrap();
    let before = see(db).await;
    assert_eq!((before.events.len(), before.assets.len(), before.audit.len()), (8, 8, 2));
    let numbers: Vec<u32> = before.versions.values().copied().collect();
    assert_eq!(numbers, [1, 2]);
    // The same owner goes on, in the next batch and with the next number.
    assert_eq!(journal.commit(&entries(3, &run, now)).await, Commit::Done);
    denied("three").await;
    let after = see(db).await;
    assert_eq!(after.events[..8], before.events);
    assert_eq!(after.audit[1..], before.audit);
    assert_eq!(after.audit[0].id, before.audit[0].id + 1);
    assert_eq!((after.events.len(), after.assets.len()), (12, 12));

    back(db).await;
    let mut counts = Vec::new();
    for table in ["event", "audit", "asset_event", "dag_version"] {
        counts.push(test.number(&format!("SELECT COUNT(*) FROM {table}")).await);
    }
    assert_eq!(counts, [12, 3, 12, 2]);
    assert_eq!(journal.commit(&entries(4, &run, now)).await, Commit::Done);
    denied("four").await;
    migrate::up(db).await.unwrap();
    let last = see(db).await;
    assert_eq!(last.events[..12], after.events);
    assert_eq!(last.audit[1..], after.audit);
    assert_eq!(last.audit[0].id, after.audit[0].id + 1);
    assert_eq!(last.versions, before.versions);
    assert!(tenant::by_name(db, "default").await.unwrap().is_some());
}

async fn a_step_that_broke_off_is_done_again(test: TestDb) {
    // Everything was done but noting that it was.
    test.sql("DELETE FROM seaql_migrations WHERE version LIKE 'm0011%'").await;
    assert_eq!(migrate::schema_number(&test.db).await.unwrap(), BEFORE);
    migrate::up(&test.db).await.unwrap();
    migrate::check(&test.db).await.unwrap();
    back(&test.db).await;
    if let Db::Postgres(_) = test.db {
        // An index that wasn't finished, and a bound of long ago.
        test.sql(
            "CREATE UNIQUE INDEX event_before_pkey ON event (shard_id, batch, n, at);
             ALTER TABLE event ADD CONSTRAINT event_bound CHECK (at < 1796083200000000) NOT VALID;
             ALTER TABLE bundle ADD COLUMN stored_at bigint;",
        )
        .await;
    }
    migrate::up(&test.db).await.unwrap();
    let mut journal = owned(&test.db, "one").await;
    let run = fixture::run(TenantId::DEFAULT, "d", "r1");
    let first = Batch { new_runs: vec![run.clone()], ..entries(1, &run, clock()) };
    assert_eq!(journal.commit(&first).await, Commit::Done);
}

#[tokio::test]
async fn who_commits_during_the_step_goes_on_and_a_long_reader_holds_it_up_only() {
    support::postgres(|test: TestDb| async move {
        back(&test.db).await;
        let mut journal = owned(&test.db, "one").await;
        let run = fixture::run(TenantId::DEFAULT, "d", "r1");
        let now = clock();
        let first = Batch { new_runs: vec![run.clone()], ..entries(1, &run, now) };
        assert_eq!(journal.commit(&first).await, Commit::Done);
        let mut reader = PgConnection::connect(&test.url).await.unwrap();
        reader.execute("BEGIN; SELECT COUNT(*) FROM event").await.unwrap();
        let done = AtomicBool::new(false);
        let other = Db::connect(&test.url, Role::Owner).await.unwrap();
        let migrating = async {
            migrate::up(&other).await.unwrap();
            done.store(true, Ordering::Relaxed);
        };
        let committing = async {
            let (mut number, began, mut longest) = (1, clock(), 0);
            while !done.load(Ordering::Relaxed) {
                number += 1;
                let since = clock();
                assert_eq!(journal.commit(&entries(number, &run, now)).await, Commit::Done);
                longest = longest.max(clock().0 - since.0);
                if clock().0 - began.0 > 3_000_000 {
                    reader.execute("ROLLBACK").await.unwrap();
                }
            }
            (number, longest)
        };
        let ((), (number, longest)) = tokio::join!(migrating, committing);
        assert!(longest < 2_000_000, "an owner waits for a lock for 2 s at most: {longest}");
        let events = event::of_run(&test.db, scope(), run.run).await.unwrap();
        assert_eq!(events.len() as u64, 4 * number);
        other.close().await;
    })
    .await;
}
