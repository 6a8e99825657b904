//! The logs: partitions ahead on PostgreSQL, whole months that go, and rows that go on SQLite.

use dags::{ids::TenantId, time::Timestamp};
use engine::{
    journal::{Commit, Journal as _},
    rows::{Batch, EventRow, RunRow},
};
use migrations::{
    Db,
    store::{
        event,
        log::{self, Log, Month},
    },
};

use crate::{
    fixture,
    support::{TestDb, on_both},
};

on_both!(
    old_entries_go_and_new_ones_stay,
    months_are_made_ahead_and_entries_that_have_none_are_kept,
    the_events_of_a_run_go_with_it_and_no_others,
);

const DAY: i64 = 24 * 3_600 * 1_000_000;

/// An entry about a run of its own.
fn entry(name: &str, at: Timestamp) -> (RunRow, EventRow) {
    let run = fixture::run(TenantId::DEFAULT, "d", name);
    let event = EventRow {
        tenant: run.tenant,
        run: run.run,
        dag_id: run.dag_id.clone(),
        at,
        transitions: Vec::new(),
    };
    (run, event)
}

async fn audit(test: &TestDb, at: &str) {
    test.sql(&format!(
        "INSERT INTO audit (at, tenant_id, actor, kind, payload, outcome)
         SELECT {at}, id, 'ann', 'x', '{{}}', '{{}}' FROM tenant WHERE name = 'default'"
    ))
    .await;
}

async fn old_entries_go_and_new_ones_stay(test: TestDb) {
    let mut journal = fixture::owned(&test.db, "one").await;
    let now = test.db.now().await.unwrap();
    // The first ones lie in what was there before there were months.
    let instants = [Timestamp(5), Timestamp(6), now, Timestamp(now.0 + DAY)];
    let entries: Vec<_> = instants.iter().enumerate().map(|(n, at)| entry(&format!("r{n}"), *at)).collect();
    let batch = Batch {
        new_runs: entries.iter().map(|entry| entry.0.clone()).collect(),
        events: entries.iter().map(|entry| entry.1.clone()).collect(),
        ..fixture::batch(1)
    };
    assert_eq!(journal.commit(&batch).await, Commit::Done);
    for at in [5, 6, now.0] {
        audit(&test, &at.to_string()).await;
    }
    if let Db::Postgres(_) = test.db {
        // On PostgreSQL a month goes only as a whole: what was there before isn't over yet.
        assert_eq!(log::drop_month(&test.db, Log::Events, now).await.unwrap(), Month::Kept);
        let far = Timestamp(now.0 + 70 * DAY);
        let mut dropped = 0;
        while log::drop_month(&test.db, Log::Events, far).await.unwrap() == Month::Dropped {
            dropped += 1;
        }
        assert!((1..=4).contains(&dropped), "{dropped}");
        assert_eq!(test.number("SELECT COUNT(*) FROM event").await, 0);
        assert_eq!(test.number("SELECT COUNT(*) FROM audit").await, 3, "another log isn't touched");
        return;
    }
    let fence = journal.fence();
    let before = Timestamp(now.0 - DAY);
    assert_eq!(log::delete_some(&test.db, fence, Log::Events, before, 1).await.unwrap(), 1);
    assert_eq!(log::delete_some(&test.db, fence, Log::Events, before, 10).await.unwrap(), 1);
    assert_eq!(log::delete_some(&test.db, fence, Log::Events, before, 10).await.unwrap(), 0);
    assert_eq!(log::delete_some(&test.db, fence, Log::Audit, before, 10).await.unwrap(), 2);
    assert_eq!(log::delete_some(&test.db, fence, Log::AssetEvents, before, 10).await.unwrap(), 0);
    journal.lease().release().await.unwrap();
    let far = Timestamp(now.0 + 70 * DAY);
    assert_eq!(
        log::delete_some(&test.db, fence, Log::Events, far, 10).await.unwrap(),
        0,
        "not ours any more"
    );
    assert_eq!(test.number("SELECT COUNT(*) FROM event").await, 2);
    assert_eq!(test.number("SELECT COUNT(*) FROM audit").await, 1);
}

async fn months_are_made_ahead_and_entries_that_have_none_are_kept(test: TestDb) {
    let mut journal = fixture::owned(&test.db, "one").await;
    let now = test.db.now().await.unwrap();
    let far = Timestamp(now.0 + 400 * DAY);
    let (run, event) = entry("late", far);
    let batch = Batch { new_runs: vec![run.clone()], events: vec![event.clone()], ..fixture::batch(1) };
    assert_eq!(journal.commit(&batch).await, Commit::Done);
    assert_eq!(event::of_run(&test.db, fixture::scope(), run.run).await.unwrap(), [event]);
    assert_eq!(log::make_ahead(&test.db).await.unwrap(), 0, "the schema's step has made them");
    let Db::Postgres(_) = test.db else { return };
    let months = "SELECT COUNT(*) FROM pg_inherits WHERE inhparent = 'audit'::regclass";
    let there = test.number(months).await;
    assert!(there >= 4, "{there}");
    // One that is missing is made again, and one that can't be had doesn't hinder the others.
    let drop = "DO $$ BEGIN
        EXECUTE 'DROP TABLE audit_' || to_char(to_timestamp(updraft_month(2) / 1000000) AT TIME ZONE 'UTC', 'YYYYMM');
        END $$";
    test.sql(drop).await;
    audit(&test, "updraft_month(2) + 5").await;
    assert_eq!(log::make_ahead(&test.db).await.unwrap(), 0, "its rows lie where those go that have no month");
    let fence = journal.fence();
    assert_eq!(log::delete_some(&test.db, fence, Log::Audit, far, 10).await.unwrap(), 1);
    assert_eq!(log::make_ahead(&test.db).await.unwrap(), 1);
    assert_eq!(test.number(months).await, there);
}

async fn the_events_of_a_run_go_with_it_and_no_others(test: TestDb) {
    use engine::rows::{QuarantineRow, RETIRED, Subject};
    use migrations::store::retention;
    let mut journal = fixture::owned(&test.db, "one").await;
    let now = test.db.now().await.unwrap();
    // In several partitions, each of which has a first row.
    let ats = [Timestamp(5), Timestamp(now.0 + 35 * DAY), Timestamp(now.0 + 400 * DAY)];
    let (mut gone, kept) = (entry("gone", now).0, entry("kept", now).0);
    gone.state = engine::state::RunState::Success;
    let about = |run: &RunRow, at| EventRow {
        tenant: run.tenant,
        run: run.run,
        dag_id: run.dag_id.clone(),
        at,
        transitions: Vec::new(),
    };
    let events = ats.iter().flat_map(|at| [about(&kept, *at), about(&gone, *at)]).collect();
    let subject = Subject::Run(TenantId::DEFAULT, gone.run);
    let batch = Batch {
        new_runs: vec![gone.clone(), kept.clone()],
        events,
        quarantine: vec![QuarantineRow { subject, reason: Some(RETIRED.into()) }],
        ..fixture::batch(1)
    };
    assert_eq!(journal.commit(&batch).await, Commit::Done);
    let fence = journal.fence();
    while retention::delete_some(&test.db, fence, gone.tenant, gone.run, 2).await.unwrap() > 0 {}
    assert_eq!(event::of_run(&test.db, fixture::scope(), gone.run).await.unwrap(), []);
    assert_eq!(event::of_run(&test.db, fixture::scope(), kept.run).await.unwrap().len(), 3);
}
