//! The fenced commit: what it writes, what it refuses, and what a repeat does.

use std::task::Poll;

use dags::{
    ids::{RunId, RunName, ShardId, TenantId},
    time::{Span, Timestamp},
};
use engine::{
    Config, Engine,
    command::{ActivatedDag, Base, Command, Refusal, Trigger},
    dispatch::{End, Outcome, ResultRef},
    journal::{Commit, Conflict, Journal as _, Load, Position},
    rows::{
        Batch, ContinuationRow, EventRow, InboxOutcome, MemberRow, QuarantineRow, ResultRow, RunRow, RunType,
        Subject, TaskRow,
    },
    state::{RunState, TaskState},
};
use migrations::{
    Db,
    store::{
        Window, audit, bundle, inbox,
        inbox::Progress,
        run::{self, RunFilter},
        task_instance,
    },
};

use crate::{
    fixture::{self, batch, first_batch, owned, scope, to},
    support::{TestDb, on_both},
};

on_both!(
    a_repeat_after_an_unknown_outcome_changes_nothing,
    a_wrong_state_refuses_the_whole_batch,
    a_missing_row_refuses_the_whole_batch,
    a_batch_out_of_order_is_refused,
    a_broken_constraint_is_a_conflict_and_not_retried,
    a_cancelled_commit_writes_nothing,
    every_state_and_type_comes_back,
    texts_with_nul_are_stored,
    requests_are_taken_once_with_outcome_and_audit,
    the_last_bundle_of_a_batch_is_active,
    a_withdrawn_request_takes_its_effects_along,
    a_request_that_cant_be_read_holds_up_nobody,
    members_of_gangs_come_back,
    work_of_an_unknown_format_says_both_numbers,
    runs_are_loaded_by_name_date_and_identity,
    a_snapshot_names_a_missing_model,
    a_broken_row_is_named_and_the_rest_is_read,
    a_conflict_names_its_culprit,
    what_is_quarantined_is_left_out_until_it_is_released,
    extreme_numbers_come_back,
);

async fn a_repeat_after_an_unknown_outcome_changes_nothing(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (mut batch, run, _) = first_batch();
    batch.events.push(EventRow {
        tenant: run.tenant,
        run: run.run,
        dag_id: run.dag_id.clone(),
        at: batch.now,
        transitions: Vec::new(),
    });
    assert_eq!(journal.position().await.unwrap(), Position { ours: true, batch: 0 });
    assert_eq!(journal.commit(&batch).await, Commit::Done);
    assert_eq!(journal.position().await.unwrap(), Position { ours: true, batch: 1 });
    // As if the first answer had been lost.
    assert_eq!(journal.commit(&batch).await, Commit::Done);
    assert_eq!(journal.position().await.unwrap(), Position { ours: true, batch: 1 });
    assert_eq!(test.number("SELECT count(*) FROM event").await, 1);
    assert_eq!(test.number("SELECT count(*) FROM run").await, 1);
}

async fn a_wrong_state_refuses_the_whole_batch(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (first, run, task) = first_batch();
    assert_eq!(journal.commit(&first).await, Commit::Done);
    let before = journal.snapshot().await.unwrap();
    let mut wrong = to(&task, TaskState::Queued);
    wrong.before = TaskState::Running;
    let second = Batch {
        new_tasks: vec![fixture::task(&run, "b", -1)],
        tasks: vec![wrong],
        dags: vec![fixture::dag(TenantId::DEFAULT, "e", "one")],
        ..batch(2)
    };
    let Commit::Conflict(Conflict { what: why, .. }) = journal.commit(&second).await else {
        panic!("the batch went through")
    };
    assert!(why.contains("task a[-1]") && why.contains("expected running, found none"), "{why}");
    assert_eq!(journal.snapshot().await.unwrap(), before);
    let good = Batch { tasks: vec![to(&task, TaskState::Queued)], ..batch(2) };
    assert_eq!(journal.commit(&good).await, Commit::Done);
}

async fn a_missing_row_refuses_the_whole_batch(test: TestDb) {
    let mut journal = owned(&test.db, "one").await;
    let run = fixture::run(TenantId::DEFAULT, "d", "never made");
    let change = engine::rows::Changed { before: RunState::Running, row: run };
    let Commit::Conflict(Conflict { what: why, .. }) =
        journal.commit(&Batch { runs: vec![change], ..batch(1) }).await
    else {
        panic!("the batch went through")
    };
    assert!(why.contains("never made") && why.contains("found no row"), "{why}");
    assert_eq!(journal.position().await.unwrap().batch, 0);
}

async fn a_batch_out_of_order_is_refused(test: TestDb) {
    let mut journal = owned(&test.db, "one").await;
    let Commit::Conflict(Conflict { what: why, .. }) = journal.commit(&batch(2)).await else {
        panic!("the batch went through")
    };
    assert!(why.contains("batch 2 can't follow batch 0"), "{why}");
    assert_eq!(journal.commit(&batch(1)).await, Commit::Done);
}

async fn a_broken_constraint_is_a_conflict_and_not_retried(test: TestDb) {
    let mut journal = owned(&test.db, "one").await;
    let one = fixture::run(TenantId::DEFAULT, "d", "r1");
    let mut same_name = one.clone();
    same_name.run = dags::ids::RunId::derive(one.tenant, &one.dag_id, &one.run_name, 2_000);
    let twice = Batch { new_runs: vec![one, same_name], ..batch(1) };
    assert!(matches!(journal.commit(&twice).await, Commit::Conflict(_)));
    assert_eq!(journal.commit(&batch(1)).await, Commit::Done);
}

async fn a_cancelled_commit_writes_nothing(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (first, _, task) = first_batch();
    {
        let mut commit = std::pin::pin!(journal.commit(&first));
        let polled = std::future::poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
    }
    assert_eq!(journal.position().await.unwrap(), Position { ours: true, batch: 0 });
    assert_eq!(journal.commit(&first).await, Commit::Done);
    assert_eq!(journal.snapshot().await.unwrap().runs[0].1, [task]);
}

async fn every_state_and_type_comes_back(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (mut first, template, _) = first_batch();
    first.new_runs.clear();
    first.new_tasks.clear();
    for state in RunState::ALL {
        for run_type in RunType::ALL {
            let mut run = fixture::run(TenantId::DEFAULT, "d", &format!("{state}-{}", run_type.as_str()));
            (run.state, run.run_type) = (*state, run_type);
            first.new_runs.push(run);
        }
    }
    for (state, index) in TaskState::ALL.iter().zip(0..) {
        let mut task = fixture::task(&template, "a", index);
        task.state = *state;
        first.new_tasks.push(task);
    }
    first.new_runs.push(template.clone());
    assert_eq!(journal.commit(&first).await, Commit::Done);
    let window = Window { limit: 1_000, offset: 0 };
    for run in &first.new_runs {
        let found = run::by_id(&test.db, scope(), run.run).await.unwrap();
        assert_eq!(found.as_ref(), Some(run));
    }
    let filter = task_instance::TaskFilter::default();
    let found = task_instance::list(&test.db, scope(), template.run, &filter, window).await.unwrap();
    assert_eq!(found.rows, first.new_tasks);
    assert_eq!(found.total, TaskState::ALL.len() as u64);
    // Each change from each state, in one batch.
    let changes = first.new_tasks.iter().map(|task| to(task, TaskState::Success)).collect();
    assert_eq!(journal.commit(&Batch { tasks: changes, ..batch(2) }).await, Commit::Done);
    let counts = task_instance::counts(&test.db, scope(), template.run).await.unwrap();
    assert_eq!(counts, [(TaskState::Success, TaskState::ALL.len() as u64)]);
}

async fn texts_with_nul_are_stored(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (mut first, _, _) = first_batch();
    first.new_runs[0].note = Some("a\0b".into());
    first.new_runs[0].conf = std::sync::Arc::new(serde_json::from_str(r#"{"k":"a\u0000b"}"#).unwrap());
    first.new_tasks[0].reason = Some("\0".into());
    assert_eq!(journal.commit(&first).await, Commit::Done);
    let found = journal.snapshot().await.unwrap().runs.remove(0);
    assert_eq!(found.0.note.as_deref(), Some("a\u{fffd}b"));
    assert_eq!(found.0.conf, first.new_runs[0].conf);
    assert_eq!(found.1[0].reason.as_deref(), Some("\u{fffd}"));
}

fn trigger(name: &str) -> Command {
    Command::Trigger(Trigger {
        dag_id: fixture::dag_id("d"),
        run_name: Some(RunName::parse(name).unwrap()),
        logical_date: None,
        run_after: None,
        conf: serde_json::Map::new(),
        note: None,
        chain_depth: 0,
    })
}

async fn requests_are_taken_once_with_outcome_and_audit(test: TestDb) {
    let db = &test.db;
    fixture::store_version(db, scope(), "d", "one").await;
    let mut journal = owned(db, "one").await;
    let activate = Command::ActivateBundle {
        bundle: fixture::bundle_id("b1"),
        base: Base::Any,
        dags: vec![ActivatedDag {
            dag_id: fixture::dag_id("d"),
            version: fixture::version("d", "one"),
            bundle: None,
            paused_upon_creation: false,
        }],
    };
    let first = inbox::insert(db, scope(), "ann", &activate, None).await.unwrap();
    let second = inbox::insert(db, scope(), "bob", &trigger("r1"), Some("key")).await.unwrap();
    assert!(first.new && second.new && first.shard == ShardId::DEFAULT);
    let again = inbox::insert(db, scope(), "bob", &trigger("r1"), Some("key")).await.unwrap();
    assert_eq!((again.id, again.new), (second.id, false));
    let other = inbox::insert(db, scope(), "bob", &trigger("r2"), Some("key")).await;
    assert!(matches!(other, Err(migrations::Error::KeyReused { .. })));

    let found = journal.inbox(&[], 10).await.unwrap();
    assert_eq!(found.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [first.id, second.id]);
    assert_eq!((&found.rows[0].command, &*found.rows[0].actor), (&activate, "ann"));
    assert_eq!(found.versions[&fixture::version("d", "one")], fixture::model("d", "one"));
    assert_eq!(journal.inbox(&[first.id], 10).await.unwrap().rows.len(), 1);
    assert_eq!(journal.inbox(&[], 1).await.unwrap().rows.len(), 1);

    let refusal = Refusal::new("dag.paused", "no");
    let outcomes = vec![
        InboxOutcome { id: first.id, outcome: Ok(serde_json::json!({"dags": 1})) },
        InboxOutcome { id: second.id, outcome: Err(refusal.clone()) },
    ];
    assert_eq!(inbox::progress(db, scope(), first.id).await.unwrap(), Progress::Waiting);
    assert_eq!(journal.commit(&Batch { inbox: outcomes, ..batch(1) }).await, Commit::Done);
    let taken = Progress::Taken { batch: 1, outcome: Err(refusal.clone()) };
    assert_eq!(inbox::progress(db, scope(), second.id).await.unwrap(), taken);
    assert!(journal.inbox(&[], 10).await.unwrap().rows.is_empty());
    assert!(!inbox::withdraw(db, scope(), first.id).await.unwrap());

    let log = audit::list(db, scope(), Window::default()).await.unwrap();
    assert_eq!(log.total, 2);
    assert_eq!((&*log.rows[0].actor, &*log.rows[0].kind, log.rows[0].batch), ("bob", "trigger", Some(1)));
    assert_eq!(log.rows[0].outcome, Err(refusal));
    assert_eq!(log.rows[1].payload, serde_json::to_value(&activate).unwrap());
    let activated = bundle::get(db, scope(), &fixture::bundle_id("b1")).await.unwrap().unwrap();
    assert_eq!(activated.activated_at, Some(Timestamp(10)));
    assert_eq!(inbox::forget_taken(db, Timestamp::MAX).await.unwrap(), 2);
    assert_eq!(inbox::progress(db, scope(), first.id).await.unwrap(), Progress::Gone);
}

async fn the_last_bundle_of_a_batch_is_active(test: TestDb) {
    let db = &test.db;
    fixture::store_version(db, scope(), "d", "one").await;
    let mut journal = owned(db, "one").await;
    let mut outcomes = Vec::new();
    for (name, outcome) in [
        ("b1", Ok(serde_json::Value::Null)),
        ("b3", Ok(serde_json::Value::Null)),
        ("b2", Ok(serde_json::Value::Null)),
        ("b4", Err(Refusal::new("bundle.overtaken", "no"))),
    ] {
        let digest = fixture::bundle_id(name);
        let new = bundle::NewBundle {
            digest: digest.clone(),
            bytes: 1,
            files: 1,
            created_by: Some(bundle::deployed_by("ann")),
            versions: Vec::new(),
        };
        bundle::store(db, scope(), &new).await.unwrap();
        let command = Command::ActivateBundle { bundle: digest, base: Base::Any, dags: Vec::new() };
        let id = inbox::insert(db, scope(), "ann", &command, None).await.unwrap().id;
        outcomes.push(InboxOutcome { id, outcome });
    }
    // `b1` was stored with the version, by nobody.
    assert_eq!(bundle::count_unused(db, scope()).await.unwrap(), 3);
    assert_eq!(journal.commit(&Batch { inbox: outcomes, ..batch(1) }).await, Commit::Done);
    let active = bundle::active(db, scope()).await.unwrap().unwrap();
    assert_eq!(active.digest, fixture::bundle_id("b2"));
    assert_eq!(bundle::count_unused(db, scope()).await.unwrap(), 2);
    let snapshot = journal.snapshot().await.unwrap();
    assert_eq!(snapshot.active_bundles[&TenantId::DEFAULT], fixture::bundle_id("b2"));
    let log = audit::latest(db, scope(), "activate_bundle", 2).await.unwrap();
    assert_eq!(log.iter().map(|entry| entry.outcome.is_ok()).collect::<Vec<_>>(), [false, true]);
}

async fn a_withdrawn_request_takes_its_effects_along(test: TestDb) {
    let db = &test.db;
    fixture::store_version(db, scope(), "d", "one").await;
    let mut journal = owned(db, "one").await;
    let ticket = inbox::insert(db, scope(), "ann", &trigger("r1"), None).await.unwrap();
    assert_eq!(journal.inbox(&[], 10).await.unwrap().rows.len(), 1);
    assert!(inbox::withdraw(db, scope(), ticket.id).await.unwrap());
    let (mut batch, ..) = first_batch();
    batch.inbox.push(InboxOutcome { id: ticket.id, outcome: Ok(serde_json::Value::Null) });
    let Commit::Conflict(Conflict { what: why, .. }) = journal.commit(&batch).await else {
        panic!("a withdrawn request had effects")
    };
    assert!(why.contains("withdrawn"), "{why}");
    assert_eq!(run::list(db, scope(), &RunFilter::default(), Window::default()).await.unwrap().total, 0);
    assert_eq!(audit::list(db, scope(), Window::default()).await.unwrap().total, 0);
}

async fn a_request_that_cant_be_read_holds_up_nobody(test: TestDb) {
    let db = &test.db;
    fixture::store_version(db, scope(), "d", "one").await;
    let mut journal = owned(db, "one").await;
    let mut ids = Vec::new();
    for name in ["newer", "broken", "strange", "fine"] {
        ids.push(inbox::insert(db, scope(), "ann", &trigger(name), None).await.unwrap().id);
    }
    let activate = Command::ActivateBundle {
        bundle: fixture::bundle_id("b1"),
        base: Base::Any,
        dags: vec![ActivatedDag {
            dag_id: fixture::dag_id("d"),
            version: fixture::version("d", "never stored"),
            bundle: None,
            paused_upon_creation: false,
        }],
    };
    ids.push(inbox::insert(db, scope(), "ann", &activate, None).await.unwrap().id);
    test.sql(&format!("UPDATE inbox SET format = 7 WHERE id = {}", ids[0])).await;
    test.sql(&format!("UPDATE inbox SET payload = '{{' WHERE id = {}", ids[1])).await;
    let strange = "{\"kind\":\"sing\"}";
    test.sql(&format!("UPDATE inbox SET kind = 'sing', payload = '{strange}' WHERE id = {}", ids[2])).await;

    let found = journal.inbox(&[], 10).await.unwrap();
    assert_eq!(found.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[3]], "the others go on");
    let codes: Vec<_> = found.refused.iter().map(|(id, refusal)| (*id, refusal.code.as_str())).collect();
    let expected = ["inbox.format", "inbox.unreadable", "inbox.unknown_kind", "dag_version.unreadable"];
    assert_eq!(codes, [ids[0], ids[1], ids[2], ids[4]].into_iter().zip(expected).collect::<Vec<_>>());

    // They are answered, so that their callers learn it and nobody reads them again.
    let outcome = |(id, refusal): (i64, Refusal)| InboxOutcome { id, outcome: Err(refusal) };
    let outcomes = found.refused.into_iter().map(outcome).collect();
    assert_eq!(journal.commit(&Batch { inbox: outcomes, ..batch(1) }).await, Commit::Done);
    let Progress::Taken { outcome: Err(refusal), .. } = inbox::progress(db, scope(), ids[0]).await.unwrap()
    else {
        panic!("it has no answer")
    };
    assert!(refusal.message.contains("format 7") && refusal.message.contains("format 1"), "{refusal}");
    assert_eq!(journal.inbox(&[], 10).await.unwrap().len(), 1);
    assert_eq!(audit::list(db, scope(), Window::default()).await.unwrap().total, 4);
}

async fn members_of_gangs_come_back(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (mut first, run, task) = first_batch();
    let started = MemberRow {
        tenant: run.tenant,
        run: run.run,
        task: task.task.clone(),
        map_index: -1,
        try_number: 1,
        dispatch_n: 1,
        member: 1,
        host: Some("gpu-7".into()),
        started_at: Some(Timestamp(5)),
        ended_at: None,
        end: None,
    };
    let other = MemberRow { member: 0, host: None, ..started.clone() };
    first.members = vec![other.clone(), started.clone()];
    assert_eq!(journal.commit(&first).await, Commit::Done);
    let end = End {
        outcome: Outcome::Failed,
        duration: Span(3),
        exit_code: Some(137),
        reason: Some("out of memory".to_owned()),
        result: None,
        mapped_length: None,
    };
    let ended = MemberRow { ended_at: Some(Timestamp(9)), end: Some(end), ..started };
    assert_eq!(journal.commit(&Batch { members: vec![ended.clone()], ..batch(2) }).await, Commit::Done);
    let expected = [other, ended];
    assert_eq!(journal.snapshot().await.unwrap().members, expected);
    let found = task_instance::members(&test.db, scope(), run.run, &task.task, -1).await.unwrap();
    assert_eq!(found, expected);
    assert_eq!(test.number("SELECT CAST(exit_code AS bigint) FROM member WHERE member = 1").await, 137);
    let gone = Batch { deleted_runs: vec![(run.tenant, run.run)], ..batch(3) };
    assert_eq!(journal.commit(&gone).await, Commit::Done);
    assert_eq!(test.number("SELECT count(*) FROM member").await, 0);
}

async fn work_of_an_unknown_format_says_both_numbers(test: TestDb) {
    let mut journal = owned(&test.db, "one").await;
    let work = ContinuationRow::new(1, serde_json::json!({}));
    assert_eq!(journal.commit(&Batch { continuations: vec![work], ..batch(1) }).await, Commit::Done);
    test.sql("UPDATE continuation SET format = 4").await;
    let snapshot = journal.snapshot().await.unwrap();
    let config = Config::new("local".parse().unwrap());
    let refused = Engine::restore(config, snapshot).unwrap_err();
    assert_eq!(refused.code, "restore.continuation");
    assert_eq!(refused.message, "work 1: a document has format 4, this release reads format 1");
}

async fn runs_are_loaded_by_name_date_and_identity(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (mut first, run, task) = first_batch();
    let mut dated = fixture::run(TenantId::DEFAULT, "d", "dated");
    (dated.logical_date, dated.state) = (Some(Timestamp(500)), RunState::Success);
    let mut older = fixture::run(TenantId::DEFAULT, "d", "older");
    (older.logical_date, older.state) = (Some(Timestamp(400)), RunState::Failed);
    first.new_runs.extend([older.clone(), dated.clone()]);
    assert_eq!(journal.commit(&first).await, Commit::Done);
    let (tenant, dag) = (TenantId::DEFAULT, fixture::dag_id("d"));
    let mut loaded = async |load: Load| {
        let answer = journal.load(load.clone()).await.unwrap();
        assert_eq!(answer.load, load);
        answer.run
    };
    let (found, tasks, model) = loaded(Load::ById(run.run)).await.unwrap();
    assert_eq!((found, tasks, model), (run.clone(), vec![task], fixture::model("d", "one")));
    let found = loaded(Load::Run(tenant, dag.clone(), run.run_name.clone())).await.unwrap();
    assert_eq!(found.0, run);
    let before = async |date: i64| Load::Before(tenant, fixture::dag_id("d"), Timestamp(date));
    assert_eq!(loaded(before(501).await).await.unwrap().0, dated);
    assert_eq!(loaded(before(500).await).await.unwrap().0, older);
    assert_eq!(loaded(before(400).await).await, None);
    assert_eq!(loaded(Load::At(tenant, dag.clone(), Timestamp(400))).await.unwrap().0, older);
    assert_eq!(loaded(Load::At(fixture::OTHER, dag, Timestamp(400))).await, None);
}

async fn a_snapshot_names_a_missing_model(test: TestDb) {
    let mut journal = owned(&test.db, "one").await;
    let (first, ..) = first_batch();
    assert_eq!(journal.commit(&first).await, Commit::Done);
    let snapshot = journal.snapshot().await.unwrap();
    assert!(snapshot.dags.is_empty() && snapshot.runs.is_empty());
    for broken in &snapshot.broken {
        let why = &broken.reason;
        assert!(why.contains("v1:d-one") && why.contains("isn't there"), "{why}");
    }
    assert_eq!(snapshot.broken.len(), 2, "the DAG and its run: {:?}", snapshot.broken);
}

/// Two runs of a DAG with a task `a` each.
fn two_runs() -> (Batch, [RunRow; 2], [TaskRow; 2]) {
    let (mut first, run, task) = first_batch();
    let other = fixture::run(TenantId::DEFAULT, "d", "r2");
    let other_task = fixture::task(&other, "a", -1);
    first.new_runs.push(other.clone());
    first.new_tasks.push(other_task.clone());
    (first, [run, other], [task, other_task])
}

async fn a_broken_row_is_named_and_the_rest_is_read(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (first, [run, other], _) = two_runs();
    assert_eq!(journal.commit(&first).await, Commit::Done);
    test.sql("UPDATE run SET conf = '{' WHERE run_name = 'r1'").await;
    let snapshot = journal.snapshot().await.unwrap();
    assert_eq!(snapshot.runs.iter().map(|(run, _)| run).collect::<Vec<_>>(), [&other]);
    let [broken] = &snapshot.broken[..] else { panic!("{:?}", snapshot.broken) };
    assert_eq!(broken.subject, Subject::Run(run.tenant, run.run));
    assert_eq!(broken.dag_id.as_ref(), Some(&run.dag_id));
    assert!(broken.reason.contains("table run"), "{}", broken.reason);
    // Whoever asks for it learns why, instead of asking for ever.
    let loaded = journal.load(Load::ById(run.run)).await.unwrap();
    assert!(loaded.quarantined.unwrap().reason.contains("table run"));

    test.sql("UPDATE run SET conf = '{}' WHERE run_name = 'r1'").await;
    test.sql("UPDATE task_instance SET pool = '' WHERE task_id = 'a'").await;
    let snapshot = journal.snapshot().await.unwrap();
    assert!(snapshot.runs.is_empty());
    assert!(snapshot.broken.iter().all(|broken| broken.reason.contains("table task_instance")));
    assert_eq!(snapshot.broken.len(), 2);

    test.sql("UPDATE dag_version SET format = 9").await;
    let snapshot = journal.snapshot().await.unwrap();
    assert!(snapshot.dags.is_empty());
    let dag = snapshot.broken.iter().find(|broken| matches!(broken.subject, Subject::Dag(..))).unwrap();
    assert!(dag.reason.contains("format 9") && dag.reason.contains("format 1"), "{}", dag.reason);
}

async fn a_conflict_names_its_culprit(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (first, [run, other], [task, other_task]) = two_runs();
    assert_eq!(journal.commit(&first).await, Commit::Done);
    let hex = run.run.0.simple();
    let of_run = match test.db {
        Db::Sqlite(_) => format!("hex(run_id) = upper('{hex}')"),
        Db::Postgres(_) => format!("run_id = '{hex}'"),
    };
    test.sql(&format!("UPDATE task_instance SET state = 'deferred' WHERE {of_run}")).await;
    let tasks = vec![to(&task, TaskState::Queued), to(&other_task, TaskState::Queued)];
    let Commit::Conflict(conflict) = journal.commit(&Batch { tasks, ..batch(2) }).await else {
        panic!("the batch went through")
    };
    assert_eq!(conflict.culprits, [Subject::Run(run.tenant, run.run)], "{conflict}");
    // A run that is there already can't be left alone; its DAG can.
    let twice = fixture::run(TenantId::DEFAULT, "d", "r1");
    let new_runs = vec![RunRow { run: RunId::derive(run.tenant, &run.dag_id, &run.run_name, 7), ..twice }];
    let tasks = vec![to(&other_task, TaskState::Queued)];
    let Commit::Conflict(conflict) = journal.commit(&Batch { new_runs, tasks, ..batch(2) }).await else {
        panic!("the batch went through")
    };
    assert_eq!(conflict.culprits, [Subject::Dag(run.tenant, run.dag_id.clone())], "{conflict}");
    let good = Batch { tasks: vec![to(&other_task, TaskState::Queued)], ..batch(2) };
    assert_eq!(journal.commit(&good).await, Commit::Done, "looking for it changed nothing");
    assert_eq!(journal.snapshot().await.unwrap().runs.iter().filter(|(r, _)| r.run == other.run).count(), 1);
}

async fn what_is_quarantined_is_left_out_until_it_is_released(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (first, [run, other], _) = two_runs();
    assert_eq!(journal.commit(&first).await, Commit::Done);
    test.sql("UPDATE run SET conf = '{' WHERE run_name = 'r1'").await;
    let subject = Subject::Run(run.tenant, run.run);
    let mark =
        |reason: Option<&str>| QuarantineRow { subject: subject.clone(), reason: reason.map(Into::into) };
    let marked = Batch { quarantine: vec![mark(Some("broken"))], ..batch(2) };
    assert_eq!(journal.commit(&marked).await, Commit::Done);
    let snapshot = journal.snapshot().await.unwrap();
    assert!(snapshot.broken.is_empty());
    assert_eq!(snapshot.runs.iter().map(|(run, _)| run).collect::<Vec<_>>(), [&other]);
    let shown = run::list(&test.db, scope(), &RunFilter::default(), Window::default()).await.unwrap();
    let reasons: Vec<_> = shown.rows.iter().map(|row| row.reason.as_deref()).collect();
    assert!(reasons.contains(&Some("quarantined: broken")), "people see it, whatever else the row holds");

    test.sql("UPDATE run SET conf = '{}' WHERE run_name = 'r1'").await;
    let released = Batch { quarantine: vec![mark(None)], ..batch(3) };
    assert_eq!(journal.commit(&released).await, Commit::Done);
    assert_eq!(journal.snapshot().await.unwrap().runs.len(), 2);

    let dag = Subject::Dag(run.tenant, run.dag_id.clone());
    let row = QuarantineRow { subject: dag, reason: Some("odd".into()) };
    assert_eq!(journal.commit(&Batch { quarantine: vec![row], ..batch(4) }).await, Commit::Done);
    let snapshot = journal.snapshot().await.unwrap();
    assert!(snapshot.dags.is_empty() && snapshot.runs.is_empty() && snapshot.broken.is_empty());
    assert_eq!(&*snapshot.quarantined_dags[&(run.tenant, run.dag_id)], "odd");
}

async fn extreme_numbers_come_back(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (mut first, run, task) = first_batch();
    first.now = Timestamp::MAX;
    first.new_runs[0].queued_at = Timestamp::MIN;
    first.new_runs[0].started_at = Some(Timestamp::MAX);
    first.new_tasks[0].weight = i32::MIN;
    first.new_tasks[0].map_index = i32::MAX;
    let value = serde_json::json!({"n": i64::MIN, "u": u64::MAX, "f": 0.1});
    first.results.push(ResultRow {
        tenant: run.tenant,
        run: run.run,
        task: task.task.clone(),
        map_index: i32::MAX,
        attempt: first.new_tasks[0].attempt(),
        value: ResultRef::Inline(value.clone()),
    });
    assert_eq!(journal.commit(&first).await, Commit::Done);
    let found = journal.snapshot().await.unwrap();
    assert_eq!(found.now, Timestamp::MAX);
    assert_eq!((&found.runs[0].0, &found.runs[0].1), (&first.new_runs[0], &first.new_tasks));
    let result =
        migrations::store::result::get(&test.db, scope(), run.run, &task.task, i32::MAX).await.unwrap();
    assert_eq!(result.unwrap().value, ResultRef::Inline(value));
}
