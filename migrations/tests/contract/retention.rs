//! What isn't kept any more: which runs those are, and how they go.

use std::sync::Arc;

use dags::{
    ids::{AttemptId, RunId, ShardId, TenantId},
    time::Timestamp,
};
use engine::{
    dispatch::ResultRef,
    journal::{Commit, Journal as _},
    rows::{AttemptRow, Batch, QuarantineRow, RETIRED, ResultRow, RunRow, RunType, Subject, TaskRow},
    state::{RunState, TaskState},
};
use migrations::{
    ShardScope,
    store::{
        retention::{self, Place},
        tenant,
    },
};

use crate::{
    fixture::{self, OTHER},
    support::{TestDb, on_both},
};

on_both!(
    old_runs_are_found_but_not_those_that_others_look_at,
    a_marked_run_goes_bit_by_bit_and_nothing_else_does,
    policies_are_of_tenants,
    only_the_owner_deletes,
    what_is_over_goes_too,
);

const SCOPE: ShardScope = ShardScope::maintenance(ShardId::DEFAULT);
const DAY: i64 = 24 * 3_600 * 1_000_000;

/// A finished run of that day.
fn old(dag: &str, name: &str, day: i64, run_type: RunType) -> RunRow {
    let run = fixture::run(TenantId::DEFAULT, dag, name);
    let at = Timestamp(day * DAY);
    RunRow {
        run_type,
        state: RunState::Success,
        logical_date: Some(at),
        run_after: at,
        ended_at: Some(at),
        ..run
    }
}

async fn found(test: &TestDb, before: i64) -> Vec<RunId> {
    let mut found = Vec::new();
    let mut from = Place::START;
    loop {
        // A small page, so that several are needed.
        let (old, next) =
            retention::old(&test.db, SCOPE, TenantId::DEFAULT, Timestamp(before * DAY), from, 2)
                .await
                .unwrap();
        found.extend(old.into_iter().map(|old| old.run));
        let Some(next) = next else { return found };
        from = next;
    }
}

async fn old_runs_are_found_but_not_those_that_others_look_at(test: TestDb) {
    let mut journal = fixture::owned(&test.db, "one").await;
    let scheduled = |name: &str, day| old("d", name, day, RunType::Scheduled);
    let days = [("r1", 1), ("r2", 2), ("r3", 3), ("r4", 4)].map(|(name, day)| scheduled(name, day));
    let manual = old("d", "m5", 5, RunType::Manual);
    // Of another DAG: a run that isn't finished, with finished ones on both sides.
    let others =
        [("a", 1), ("b", 2), ("d", 4), ("e", 5)].map(|(name, day)| old("e", name, day, RunType::Scheduled));
    let open = RunRow { state: RunState::Running, ended_at: None, ..old("e", "c", 3, RunType::Scheduled) };
    let dateless = RunRow { logical_date: None, ..old("f", "only", 1, RunType::AssetTriggered) };
    let mut new_runs = days.to_vec();
    new_runs.extend([manual.clone(), open, dateless.clone()]);
    new_runs.extend(others.clone());
    let batch = Batch { new_runs, ..fixture::batch(1) };
    assert_eq!(journal.commit(&batch).await, Commit::Done);

    let mut wanted = vec![days[0].run, days[1].run, days[2].run, others[0].run, dateless.run];
    let mut seen = found(&test, 100).await;
    wanted.sort_unstable();
    seen.sort_unstable();
    assert_eq!(
        seen, wanted,
        "the newest that isn't manual and the newest of all stay, and so does what lies just before an open run or after it"
    );
    let mut seen = found(&test, 3).await;
    seen.sort_unstable();
    let mut wanted = vec![days[0].run, days[1].run, others[0].run, dateless.run];
    wanted.sort_unstable();
    assert_eq!(seen, wanted, "only what has ended before");
}

async fn a_marked_run_goes_bit_by_bit_and_nothing_else_does(test: TestDb) {
    let mut journal = fixture::owned(&test.db, "one").await;
    let (gone, kept) = (old("d", "gone", 1, RunType::Scheduled), old("d", "kept", 2, RunType::Scheduled));
    let tasks = |run: &RunRow| -> Vec<TaskRow> {
        let done = |n| TaskRow {
            state: TaskState::Success,
            try_number: 2,
            dispatch_n: 3,
            ..fixture::task(run, "a", n)
        };
        (0..25).map(done).collect()
    };
    let attempts = |run: &RunRow| -> Vec<AttemptRow> {
        let failed = |n| TaskRow {
            state: TaskState::Failed,
            try_number: 1,
            dispatch_n: 1,
            ..fixture::task(run, "a", n)
        };
        (0..25).map(|n| AttemptRow { row: failed(n) }).collect()
    };
    let result = |run: &RunRow, n: i32, digest: &str| {
        let task = fixture::task_id("a");
        let attempt = AttemptId::derive(run.run, &task, n, 2);
        let value = ResultRef::Stored { digest: digest.to_owned(), bytes: 9 };
        ResultRow { tenant: run.tenant, run: run.run, task, map_index: n, attempt, value }
    };
    let batch = Batch {
        new_runs: vec![gone.clone(), kept.clone()],
        new_tasks: [tasks(&gone), tasks(&kept)].concat(),
        attempts: [attempts(&gone), attempts(&kept)].concat(),
        results: vec![result(&gone, 0, "aa"), result(&gone, 1, "bb"), result(&kept, 0, "bb")],
        ..fixture::batch(1)
    };
    assert_eq!(journal.commit(&batch).await, Commit::Done);
    let subject = Subject::Run(TenantId::DEFAULT, gone.run);
    let reason: Option<Arc<str>> = Some(RETIRED.into());
    let mark = Batch { quarantine: vec![QuarantineRow { subject, reason }], ..fixture::batch(2) };
    assert_eq!(journal.commit(&mark).await, Commit::Done);
    assert_eq!(retention::marked(&test.db, SCOPE, 10).await.unwrap(), [(TenantId::DEFAULT, gone.run)]);

    let mut tried = retention::tried(&test.db, TenantId::DEFAULT, gone.run, 100).await.unwrap();
    tried.sort_by_key(|tried| (tried.dispatches, tried.attempt));
    assert_eq!(tried.len(), 50);
    let last = AttemptId::derive(gone.run, &fixture::task_id("a"), 7, 2);
    assert!(tried.iter().any(|tried| tried.attempt == last && tried.dispatches == 3));
    assert_eq!(retention::digests(&test.db, TenantId::DEFAULT, gone.run).await.unwrap().len(), 2);

    let fence = journal.fence();
    let mut steps = 0;
    loop {
        let deleted = retention::delete_some(&test.db, fence, TenantId::DEFAULT, gone.run, 10).await.unwrap();
        assert!(deleted <= 10);
        // As long as there is a child, there is the run.
        let runs = test.number("SELECT COUNT(*) FROM run WHERE run_name = 'gone'").await;
        assert_eq!(runs, i64::from(deleted > 0));
        steps += 1;
        if deleted == 0 {
            break;
        }
    }
    assert!(steps > 6, "{steps}");
    for (table, left) in [("run", 1), ("task_instance", 25), ("attempt", 25), ("result", 1)] {
        let count = match table {
            "run" => test.number("SELECT COUNT(*) FROM run").await,
            "task_instance" => test.number("SELECT COUNT(*) FROM task_instance").await,
            "attempt" => test.number("SELECT COUNT(*) FROM attempt").await,
            _ => test.number("SELECT COUNT(*) FROM result").await,
        };
        assert_eq!(count, left, "{table}");
    }
    assert!(!retention::names(&test.db, "aa").await.unwrap());
    assert!(retention::names(&test.db, "bb").await.unwrap(), "the other run has the same result");
    assert!(retention::marked(&test.db, SCOPE, 10).await.unwrap().is_empty());
}

async fn policies_are_of_tenants(test: TestDb) {
    tenant::insert(&test.db, "test", OTHER, "other", ShardId::DEFAULT).await.unwrap();
    assert!(retention::set_policy(&test.db, "ann", OTHER, Some(30)).await.unwrap());
    let days =
        |kept: Vec<retention::Kept>| kept.into_iter().map(|kept| (kept.name, kept.days)).collect::<Vec<_>>();
    let policies = retention::policies(&test.db, SCOPE).await.unwrap();
    assert_eq!(days(policies), [("default".to_owned(), None), ("other".to_owned(), Some(30))]);
    assert!(retention::set_policy(&test.db, "ann", OTHER, None).await.unwrap());
    let policies = retention::policies(&test.db, SCOPE).await.unwrap();
    assert_eq!(days(policies), [("default".to_owned(), None), ("other".to_owned(), None)]);
    let nobody = TenantId(uuid::Uuid::from_u128(9));
    assert!(!retention::set_policy(&test.db, "ann", nobody, Some(1)).await.unwrap());
}

async fn only_the_owner_deletes(test: TestDb) {
    let mut journal = fixture::owned(&test.db, "one").await;
    let gone = old("d", "gone", 1, RunType::Scheduled);
    let subject = Subject::Run(TenantId::DEFAULT, gone.run);
    let batch = Batch {
        new_runs: vec![gone.clone()],
        new_tasks: vec![fixture::task(&gone, "a", -1)],
        quarantine: vec![QuarantineRow { subject, reason: Some(RETIRED.into()) }],
        ..fixture::batch(1)
    };
    assert_eq!(journal.commit(&batch).await, Commit::Done);
    let stale = journal.fence();
    journal.lease().release().await.unwrap();
    let _successor = fixture::owned(&test.db, "two").await;
    assert_eq!(retention::delete_some(&test.db, stale, gone.tenant, gone.run, 10).await.unwrap(), 0);
    assert_eq!(test.number("SELECT COUNT(*) FROM task_instance").await, 1);
    assert_eq!(test.number("SELECT COUNT(*) FROM run").await, 1);
}

async fn what_is_over_goes_too(test: TestDb) {
    let journal = fixture::owned(&test.db, "one").await;
    test.sql(
        "INSERT INTO inbox (shard_id, tenant_id, kind, format, payload, actor, created_at, taken_in_batch, outcome)
         SELECT shard_id, id, 'trigger', 1, '{}', 'ann', 5, 1, '{}' FROM tenant",
    )
    .await;
    test.sql(
        "INSERT INTO inbox (shard_id, tenant_id, kind, format, payload, actor, created_at)
         SELECT shard_id, id, 'trigger', 1, '{}', 'ann', 5 FROM tenant",
    )
    .await;
    let fence = journal.fence();
    assert_eq!(retention::delete_leftovers(&test.db, fence, Timestamp(5), 10).await.unwrap(), 0);
    assert_eq!(retention::delete_leftovers(&test.db, fence, Timestamp(6), 10).await.unwrap(), 1);
    assert_eq!(test.number("SELECT COUNT(*) FROM inbox").await, 1, "what nobody has taken stays");
}
