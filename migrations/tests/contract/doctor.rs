//! What `updraft doctor` asks the database: nothing is found in one that is whole, and each break is.

use std::collections::BTreeSet;

use dags::ids::AttemptId;
use engine::journal::{Commit, Journal as _};
use migrations::store::doctor;

use crate::{
    fixture,
    support::{TestDb, on_both},
};

on_both!(a_whole_database_has_no_findings, every_break_is_found, every_attempt_is_told);

/// A database with a DAG, a run and a task instance.
async fn filled(test: &TestDb) {
    fixture::store_version(&test.db, fixture::scope(), "d", "one").await;
    let mut journal = fixture::owned(&test.db, "one").await;
    let (batch, ..) = fixture::first_batch();
    assert_eq!(journal.commit(&batch).await, Commit::Done);
    journal.lease().release().await.unwrap();
}

async fn found(test: &TestDb) -> BTreeSet<&'static str> {
    doctor::examine(&test.db).await.unwrap().into_iter().map(|finding| finding.what).collect()
}

async fn a_whole_database_has_no_findings(test: TestDb) {
    assert_eq!(doctor::examine(&test.db).await.unwrap(), [], "an empty one");
    filled(&test).await;
    assert_eq!(doctor::examine(&test.db).await.unwrap(), []);
}

async fn every_break_is_found(test: TestDb) {
    filled(&test).await;
    let sqlite = test.url.starts_with("sqlite:");
    // Each text breaks something that wasn't broken before; the words say what is found then.
    let breaks = [
        (
            "UPDATE run SET finished = NOT finished, state = 'success' WHERE run_name = 'r1'",
            &["task instances aren't finished, but their run is", "finished runs have no end"][..],
        ),
        ("UPDATE run SET quarantine = 'broken' WHERE run_name = 'r1'", &["runs are quarantined: nothing of them runs"]),
        ("UPDATE dag SET quarantine = 'broken'", &["DAGs are quarantined: nothing of them runs"]),
        ("UPDATE run SET backfill_id = 7, backfill_place = 1", &["runs belong to a backfill that isn't there"]),
        ("UPDATE run SET version = 'v1:gone'", &["runs are pinned to a version of their DAG that isn't stored"]),
        ("UPDATE run SET bundle = 'gone'", &["runs are pinned to a bundle that isn't stored"]),
        ("UPDATE dag SET version = 'v1:gone'", &["DAGs have a version that isn't stored"]),
        ("UPDATE dag SET bundle = 'gone'", &["DAGs have a bundle that isn't stored"]),
        ("UPDATE dag_version SET format = 99", &["versions of DAGs have a format that this release doesn't read"]),
        (
            "INSERT INTO result (tenant_id, run_id, task_id, map_index, attempt_id, value, bytes)
             SELECT tenant_id, run_id, 'nobody', -1, run_id, '1', 1 FROM run",
            // Its run is quarantined: what is left of it isn't looked at.
            &[],
        ),
        ("UPDATE run SET quarantine = NULL", &["results belong to no task instance"]),
        (
            "INSERT INTO event (shard_id, batch, n, tenant_id, run_id, dag_id, at, format, body)
             SELECT shard_id, 900, 0, id, id, 'd', 0, 99, '{}' FROM tenant",
            &[
                "entries of the history have a format that this release doesn't read",
                "entries of the history belong to no run",
            ],
        ),
        (
            "INSERT INTO inbox (shard_id, tenant_id, kind, format, payload, actor, created_at)
             SELECT shard_id, shard_id, 'trigger', 99, '{}', 'ann', 0 FROM tenant",
            &[
                "requests in the inbox have a format that this release doesn't read",
                "requests in the inbox belong to a tenant that isn't there",
            ],
        ),
        (
            "INSERT INTO pending_asset (tenant_id, dag_id, asset, at) SELECT id, 'nobody', 'a', 0 FROM tenant",
            &["asset events wait for a DAG that isn't there"],
        ),
        (
            "INSERT INTO backfill (tenant_id, id, dag_id, format, spec, paused, created_at, made)
             SELECT tenant_id, 9, 'd', 99, '{}', paused, 0, 0 FROM dag",
            &["backfills have a format that this release doesn't read"],
        ),
        (
            "INSERT INTO continuation (shard_id, id, format, work) SELECT id, 1, 99, '{}' FROM shard",
            &["pieces of work to continue have a format that this release doesn't read"],
        ),
        (
            "INSERT INTO member (tenant_id, run_id, task_id, map_index, try_number, dispatch_n, member, format)
             SELECT id, id, 'a', -1, 1, 1, 0, 99 FROM tenant",
            &[
                "members of gangs have a format that this release doesn't read",
                "members of gangs belong to no run",
            ],
        ),
        (
            "INSERT INTO input_request (tenant_id, attempt_id, run_id, task_id, map_index, try_number, format, input, created_at)
             SELECT id, id, id, 'a', -1, 1, 99, '{}', 0 FROM tenant",
            &[
                "questions to people have a format that this release doesn't read",
                "questions to people belong to no run",
            ],
        ),
        (
            "INSERT INTO attempt_claim (attempt_id, n, member, tenant_id, run_id, claimant, claimed_at, task_id, map_index)
             SELECT id, 1, 0, id, id, 'w', 0, 'a', -1 FROM tenant",
            &["claims of attempts belong to no run"],
        ),
        (
            if sqlite {
                "INSERT INTO variable (tenant_id, name, sealed, secret_version, updated_at, updated_by)
                 SELECT id, 'v', x'00', 1, 0, 'ann' FROM tenant"
            } else {
                "INSERT INTO variable (tenant_id, name, sealed, secret_version, updated_at, updated_by)
                 SELECT id, 'v', '\\x00', 1, 0, 'ann' FROM tenant"
            },
            &["variables are sealed with a key that isn't there"],
        ),
        (
            if sqlite {
                "INSERT INTO connection (tenant_id, name, conn_type, sealed, secret_version, updated_at, updated_by)
                 SELECT id, 'c', 'http', x'00', 1, 0, 'ann' FROM tenant"
            } else {
                "INSERT INTO connection (tenant_id, name, conn_type, sealed, secret_version, updated_at, updated_by)
                 SELECT id, 'c', 'http', '\\x00', 1, 0, 'ann' FROM tenant"
            },
            &["connections are sealed with a key that isn't there"],
        ),
        ("UPDATE task_instance SET worker_id = run_id, state = 'running'",
            &["active task instances are placed on a worker that was never registered"]),
        (
            "INSERT INTO attempt (tenant_id, run_id, task_id, map_index, try_number, state, max_tries, dispatch_n, preempted,
               requeued, members, pool, pool_slots, weight)
             SELECT id, id, 'a', -1, 1, 'failed', 1, 1, 0, 0, 1, 'p', 1, 1 FROM tenant",
            &["earlier tries belong to no run"],
        ),
        ("UPDATE dag SET tenant_id = (SELECT id FROM shard)", &["DAGs belong to a tenant that isn't there"]),
        (
            "UPDATE run SET finished = NOT finished, state = 'running'",
            &["unfinished runs have a DAG that isn't there"],
        ),
        (
            "UPDATE run SET tenant_id = (SELECT id FROM shard)",
            &[
                "runs belong to a tenant that isn't there",
                "task instances belong to no run",
                "results belong to no run",
            ],
        ),
    ];
    let mut before = found(&test).await;
    for (text, wanted) in breaks {
        test.sql(text).await;
        let now = found(&test).await;
        let new: BTreeSet<&str> = now.difference(&before).copied().collect();
        assert!(wanted.iter().all(|wanted| new.contains(wanted)), "after {text}: {new:?}, wanted {wanted:?}");
        before = now;
    }
    for finding in doctor::examine(&test.db).await.unwrap() {
        assert!(
            !finding.places.is_empty() && finding.places.iter().all(|place| !place.is_empty()),
            "{finding:?}"
        );
        assert!(!finding.todo.is_empty());
    }
}

async fn every_attempt_is_told(test: TestDb) {
    filled(&test).await;
    test.sql("UPDATE task_instance SET try_number = 2").await;
    let mut told = BTreeSet::new();
    doctor::each_attempt(&test.db, |attempt| {
        told.insert(attempt);
    })
    .await
    .unwrap();
    let (_, run, task) = fixture::first_batch();
    let wanted: BTreeSet<AttemptId> =
        (0..=2).map(|n| AttemptId::derive(run.run, &task.task, -1, n)).collect();
    assert_eq!(told, wanted);
    assert_eq!(doctor::bundles(&test.db).await.unwrap(), ["b1"]);
}
