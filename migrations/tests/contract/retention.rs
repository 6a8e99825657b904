//! What isn't kept any more: which runs those are, and how they go.

use std::sync::Arc;

use dags::{
    ids::{AttemptId, RunId, ShardId, TenantId},
    time::Timestamp,
};
use engine::{
    dispatch::ResultRef,
    journal::{Commit, Journal as _},
    rows::{AttemptRow, Batch, DagRow, QuarantineRow, RETIRED, ResultRow, RunRow, RunType, Subject, TaskRow},
    state::{RunState, TaskState},
};
use migrations::{
    Db, ShardScope,
    store::{
        bundle::{self, NewBundle, NewVersion},
        doctor,
        retention::{self, Place, bundles},
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
    what_nothing_names_goes,
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

    let ids: [fn(u8) -> String; 2] = [|n| format!("x'{n:032x}'"), |n| format!("'{n:032x}'")];
    let id = ids[usize::from(matches!(test.db, Db::Postgres(_)))];
    let hash = if matches!(test.db, Db::Postgres(_)) { "'\\x01'" } else { "x'01'" };
    test.sql(&format!("INSERT INTO worker_credential VALUES ({}, {hash}, 'p', 'm', '{{}}', 1, NULL)", id(1)))
        .await;
    for (n, ended, lost) in [(2, "5", "NULL"), (3, "NULL", "5"), (4, "NULL", "NULL"), (5, "NULL", "9")] {
        let credential = id(1);
        test.sql(&format!(
            "INSERT INTO worker VALUES ({}, {credential}, 'm', 'fleet', '{{}}', '{{}}', '0', 1, {ended}, {lost})",
            id(n)
        ))
        .await;
    }
    assert_eq!(retention::delete_leftovers(&test.db, fence, Timestamp(6), 1).await.unwrap(), 1);
    assert_eq!(retention::delete_leftovers(&test.db, fence, Timestamp(6), 10).await.unwrap(), 1);
    assert_eq!(test.number("SELECT COUNT(*) FROM worker").await, 2, "those that are there or may come back");
}

async fn what_nothing_names_goes(test: TestDb) {
    let db = &test.db;
    let mut journal = fixture::owned(db, "one").await;
    let store = async |digest: &str, versions: &[(&str, &str)]| {
        let new = NewBundle {
            digest: fixture::bundle_id(digest),
            bytes: 1,
            files: 1,
            created_by: None,
            versions: versions
                .iter()
                .map(|(dag, doc)| NewVersion {
                    version: fixture::version(dag, doc),
                    model: fixture::model(dag, doc),
                    source: "a.yaml".to_owned(),
                })
                .collect(),
        };
        bundle::store(db, fixture::scope(), &new).await.unwrap();
    };
    // `d` had four versions: a run has the second, the DAG has the third, nothing has the others. `gone` isn't there any more.
    store("b1", &[("d", "one"), ("gone", "one")]).await;
    store("b2", &[("d", "two")]).await;
    store("b3", &[("d", "three")]).await;
    store("b4", &[("d", "four")]).await;
    store("b5", &[("d", "three")]).await;
    let run = RunRow {
        version: fixture::version("d", "two"),
        bundle: fixture::bundle_id("b2"),
        ..old("d", "r1", 1, RunType::Scheduled)
    };
    let dag = DagRow { bundle: fixture::bundle_id("b5"), ..fixture::dag(TenantId::DEFAULT, "d", "three") };
    let batch = Batch { dags: vec![dag], new_runs: vec![run.clone()], ..fixture::batch(1) };
    assert_eq!(journal.commit(&batch).await, Commit::Done);
    let numbers = async || -> Vec<(String, u32)> {
        let dags = [fixture::dag_id("d"), fixture::dag_id("gone")];
        let found = bundle::numbered(db, fixture::scope(), &dags).await.unwrap();
        let of = |dag: &str, doc: &str| fixture::version(dag, doc);
        let named = ["one", "two", "three", "four"];
        found
            .into_iter()
            .map(|known| {
                let doc = named.iter().find(|doc| of(known.dag_id.as_str(), doc) == known.version).unwrap();
                (format!("{} {doc}", known.dag_id), known.number)
            })
            .collect()
    };
    let all = [("d one", 1), ("d two", 2), ("d three", 3), ("d four", 4), ("gone one", 1)]
        .map(|(v, n)| (v.to_owned(), n));
    let mut found = numbers().await;
    found.sort_by_key(|(name, number)| (name.starts_with("gone"), *number));
    assert_eq!(found, all);

    let (fence, far) = (journal.fence(), Timestamp(i64::MAX));
    let waiting = "INSERT INTO inbox (shard_id, tenant_id, kind, format, payload, actor, created_at)
        SELECT shard_id, id, 'activate_bundle', 1, '{}', 'ann', 5 FROM tenant WHERE name = 'default'";
    test.sql(waiting).await;
    assert_eq!(bundles::delete_versions(db, fence, far, 10).await.unwrap(), 0, "one waits to be activated");
    assert_eq!(bundles::delete_bundles(db, fence, far, 10).await.unwrap(), []);
    test.sql("UPDATE inbox SET taken_in_batch = 1, outcome = '{}'").await;
    assert_eq!(bundles::delete_versions(db, fence, Timestamp(5), 10).await.unwrap(), 0, "just stored");
    assert_eq!(bundles::delete_versions(db, fence, far, 1).await.unwrap(), 1);
    assert_eq!(bundles::delete_versions(db, fence, far, 10).await.unwrap(), 1);
    assert_eq!(bundles::delete_versions(db, fence, far, 10).await.unwrap(), 0);
    let mut found = numbers().await;
    found.sort_by_key(|(_, number)| *number);
    assert_eq!(found, all[1..4], "numbers stay, and the newest one does");
    assert_eq!(bundles::delete_bundles(db, fence, Timestamp(5), 10).await.unwrap(), [], "just stored");
    let gone = bundles::delete_bundles(db, fence, far, 10).await.unwrap();
    assert_eq!(gone, [fixture::bundle_id("b1")], "b3 and b4 are what versions came from");
    assert!(!bundles::has_bundle(db, &gone[0]).await.unwrap());
    assert!(bundles::has_bundle(db, &fixture::bundle_id("b4")).await.unwrap());

    // What is stored again has a new number and counts from then on.
    let cutoff = db.now().await.unwrap();
    store("b1", &[("d", "one")]).await;
    store("b4", &[("d", "four")]).await;
    assert_eq!(bundles::delete_bundles(db, fence, cutoff, 10).await.unwrap(), []);
    assert!(numbers().await.contains(&("d one".to_owned(), 5)));
    assert_eq!(bundles::delete_versions(db, fence, cutoff, 10).await.unwrap(), 0, "`four` was stored again");
    journal.lease().release().await.unwrap();
    assert_eq!(bundles::delete_versions(db, fence, far, 10).await.unwrap(), 0, "not ours any more");
    assert_eq!(bundles::delete_bundles(db, fence, far, 10).await.unwrap(), []);
    let findings = doctor::examine(db).await.unwrap();
    assert_eq!(findings, []);
}
