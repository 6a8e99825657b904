//! The fenced commit: what it writes, what it refuses, and what a repeat does.

use std::task::Poll;

use dags::{
    ids::{RunName, ShardId, TenantId},
    time::Timestamp,
};
use engine::{
    command::{ActivatedDag, Command, Refusal, Trigger},
    dispatch::ResultRef,
    journal::{Commit, Journal as _, Load, Position},
    rows::{Batch, EventRow, InboxOutcome, ResultRow, RunType},
    state::{RunState, TaskState},
};
use migrations::store::{
    Window, audit, bundle, inbox,
    inbox::Progress,
    run::{self, RunFilter},
    task_instance,
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
    a_withdrawn_request_takes_its_effects_along,
    runs_are_loaded_by_name_date_and_identity,
    a_snapshot_names_a_missing_model,
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
    let Commit::Conflict(why) = journal.commit(&second).await else { panic!("the batch went through") };
    assert!(why.contains("task a[-1]") && why.contains("expected running, found none"), "{why}");
    assert_eq!(journal.snapshot().await.unwrap(), before);
    let good = Batch { tasks: vec![to(&task, TaskState::Queued)], ..batch(2) };
    assert_eq!(journal.commit(&good).await, Commit::Done);
}

async fn a_missing_row_refuses_the_whole_batch(test: TestDb) {
    let mut journal = owned(&test.db, "one").await;
    let run = fixture::run(TenantId::DEFAULT, "d", "never made");
    let change = engine::rows::Changed { before: RunState::Running, row: run };
    let Commit::Conflict(why) = journal.commit(&Batch { runs: vec![change], ..batch(1) }).await else {
        panic!("the batch went through")
    };
    assert!(why.contains("never made") && why.contains("found no row"), "{why}");
    assert_eq!(journal.position().await.unwrap().batch, 0);
}

async fn a_batch_out_of_order_is_refused(test: TestDb) {
    let mut journal = owned(&test.db, "one").await;
    let Commit::Conflict(why) = journal.commit(&batch(2)).await else { panic!("the batch went through") };
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

async fn a_withdrawn_request_takes_its_effects_along(test: TestDb) {
    let db = &test.db;
    fixture::store_version(db, scope(), "d", "one").await;
    let mut journal = owned(db, "one").await;
    let ticket = inbox::insert(db, scope(), "ann", &trigger("r1"), None).await.unwrap();
    assert_eq!(journal.inbox(&[], 10).await.unwrap().rows.len(), 1);
    assert!(inbox::withdraw(db, scope(), ticket.id).await.unwrap());
    let (mut batch, ..) = first_batch();
    batch.inbox.push(InboxOutcome { id: ticket.id, outcome: Ok(serde_json::Value::Null) });
    let Commit::Conflict(why) = journal.commit(&batch).await else {
        panic!("a withdrawn request had effects")
    };
    assert!(why.contains("withdrawn"), "{why}");
    assert_eq!(run::list(db, scope(), &RunFilter::default(), Window::default()).await.unwrap().total, 0);
    assert_eq!(audit::list(db, scope(), Window::default()).await.unwrap().total, 0);
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
    let why = journal.snapshot().await.unwrap_err().to_string();
    assert!(why.contains("v1:d-one") && why.contains("isn't there"), "{why}");
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
