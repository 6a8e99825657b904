//! Rows with sensible contents.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use dags::{
    ids::{BundleId, DagId, DagVersion, RunId, RunName, ShardId, TaskId, TenantId},
    model::Dag,
    time::{Span, Timestamp},
};
use engine::{
    rows::{Batch, Changed, DagRow, RunRow, RunType, TaskRow},
    state::{RunState, TaskState},
};
use migrations::{
    Db, TenantScope,
    journal::{self, DbJournal},
    store::bundle::{self, NewBundle, NewVersion},
};

pub(crate) const TTL: Span = Span::seconds(30);
pub(crate) const OTHER: TenantId = TenantId(uuid::Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0077));

pub(crate) fn scope() -> TenantScope {
    TenantScope::new(TenantId::DEFAULT)
}

/// This machine's clock, as the shell has it.
#[expect(clippy::disallowed_methods, reason = "the test is the shell")]
pub(crate) fn clock() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64)
}

pub(crate) fn dag_id(name: &str) -> DagId {
    DagId::parse(name).unwrap()
}

pub(crate) fn task_id(name: &str) -> TaskId {
    TaskId::parse(name).unwrap()
}

pub(crate) async fn owned(db: &Db, owner: &str) -> DbJournal {
    journal::acquire(db, ShardId::DEFAULT, owner, TTL, &clock).await.unwrap()
}

/// A DAG without tasks: the database doesn't look inside.
pub(crate) fn model(name: &str, doc: &str) -> Arc<Dag> {
    let text = serde_json::json!({
        "format": 1, "dag_id": name, "doc": doc, "owner": null, "tags": [], "start_date": null, "end_date": null,
        "schedule": {
            "when": "never", "timezone": "UTC", "timetable": "trigger", "on_gap": "shift", "on_overlap": "last",
            "missed": "latest", "max_lateness": null
        },
        "params": {}, "max_active_runs": 16, "max_active_tasks": 16, "max_consecutive_failed_runs": 0,
        "fail_fast": false, "run_timeout": null, "on_failure": [], "on_success": [], "deadlines": [], "groups": [],
        "tasks": [], "files": {}, "plugins": {}
    });
    Arc::new(serde_json::from_value(text).unwrap())
}

pub(crate) fn version(name: &str, doc: &str) -> DagVersion {
    DagVersion(format!("v1:{name}-{doc}").into())
}

pub(crate) fn bundle_id(text: &str) -> BundleId {
    BundleId(text.into())
}

/// Stores the model of a DAG, as a service does before it asks the engine to activate it.
pub(crate) async fn store_version(db: &Db, scope: TenantScope, name: &str, doc: &str) {
    let new = NewBundle {
        digest: bundle_id("b1"),
        bytes: 10,
        files: 1,
        created_by: Some("ann".to_owned()),
        versions: vec![NewVersion {
            version: version(name, doc),
            model: model(name, doc),
            source: format!("{name}.yaml"),
        }],
    };
    bundle::store(db, scope, &new).await.unwrap();
}

pub(crate) fn dag(tenant: TenantId, name: &str, doc: &str) -> DagRow {
    DagRow {
        tenant,
        dag_id: dag_id(name),
        version: version(name, doc),
        bundle: bundle_id("b1"),
        paused: false,
        stale: false,
        cursor: None,
        next: None,
        reserved: std::collections::BTreeSet::new(),
        listening_since: None,
        failed_in_row: 0,
    }
}

pub(crate) fn run(tenant: TenantId, dag: &str, name: &str) -> RunRow {
    let (dag_id, run_name) = (dag_id(dag), RunName::parse(name).unwrap());
    RunRow {
        tenant,
        run: RunId::derive(tenant, &dag_id, &run_name, 1_000),
        run_name,
        run_type: RunType::Manual,
        version: version(dag, "one"),
        dag_id,
        bundle: bundle_id("b1"),
        state: RunState::Running,
        logical_date: None,
        interval: None,
        run_after: Timestamp(1_000),
        created_at: Timestamp(1_000),
        queued_at: Timestamp(1_000),
        started_at: Some(Timestamp(2_000)),
        ended_at: None,
        conf: Arc::default(),
        reason: None,
        note: None,
        clear_number: 0,
        created_tasks: 1,
        backfill: None,
        triggered_by: Some("ann".into()),
        chain_depth: 3,
        asset_window: None,
    }
}

pub(crate) fn task(run: &RunRow, name: &str, map_index: i32) -> TaskRow {
    TaskRow {
        tenant: run.tenant,
        run: run.run,
        task: task_id(name),
        map_index,
        state: TaskState::None,
        try_number: 0,
        max_tries: 1,
        dispatch_n: 0,
        preempted: 0,
        requeued: 0,
        scheduled_at: None,
        queued_at: None,
        started_at: None,
        ended_at: None,
        wake_at: None,
        executor: None,
        members: 1,
        host: None,
        pool: "default_pool".parse().unwrap(),
        pool_slots: 1,
        weight: 1,
        reason: None,
        exit_code: None,
        mapped_length: None,
        skips: None,
        marked_by: None,
        worker: None,
    }
}

pub(crate) fn batch(number: u64) -> Batch {
    Batch { number, now: Timestamp(number as i64 * 10), ..Batch::default() }
}

/// A batch that makes a DAG with a run of one task `a`.
pub(crate) fn first_batch() -> (Batch, RunRow, TaskRow) {
    let run = run(TenantId::DEFAULT, "d", "r1");
    let task = task(&run, "a", -1);
    let batch = Batch {
        dags: vec![dag(TenantId::DEFAULT, "d", "one")],
        new_runs: vec![run.clone()],
        new_tasks: vec![task.clone()],
        ..batch(1)
    };
    (batch, run, task)
}

pub(crate) fn to(row: &TaskRow, state: TaskState) -> Changed<TaskState, TaskRow> {
    Changed { before: row.state, row: TaskRow { state, ..row.clone() } }
}
