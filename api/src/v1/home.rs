//! `GET /home`: what needs somebody now, what runs, what comes next, in one answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::Json;
use dags::{
    ids::{DagId, DagVersion, RunId, RunName, TaskId},
    model::{Dag, DeadlineFrom},
    run_name::RunType,
    time::{Span, Timestamp},
};
use engine::{
    rows::RunRow,
    state::{RunState, TaskState},
};
use migrations::{
    policy::Kind,
    store::{
        Window, bundle,
        overview::{self, Bar},
        run::{self, RunFilter, RunOrder},
        shard,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Permit},
    error::Error,
    extract::{Asked, Nothing},
    v1::{
        dags::STRIP,
        workers::{self, Workers},
    },
};

/// How long a failed run needs somebody.
const FAILED_FOR: Span = Span::seconds(24 * 3600);
/// How far ahead runs are shown.
const AHEAD: Span = Span::seconds(24 * 3600);
/// Rows of each list.
const ROWS: u64 = 30;
/// Failed tasks that are read to name one for each run.
const FAILED_TASKS_MAX: u64 = 500;

/// What is shown first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Home {
    /// The database's clock.
    pub now: Timestamp,
    /// Runs that failed within a day and that no later success of their DAG has made up for; the last first.
    pub failed: Vec<FailedRun>,
    /// How many runs failed within a day.
    pub failed_total: u64,
    /// Questions that nobody has answered.
    pub asked: Vec<OpenQuestion>,
    /// Runs that aren't finished; those that are due last first.
    pub running: Vec<OpenRun>,
    /// How many there are.
    pub running_total: u64,
    /// Task instances of unfinished runs, by state.
    pub open: BTreeMap<TaskState, u64>,
    /// Automated runs of the next day.
    pub coming: Vec<Coming>,
    /// Whether a scheduler looks after the tenant.
    pub scheduler: Scheduler,
    /// How the workers are that may run the tenant's attempts.
    pub workers: Workers,
}

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedRun {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_id: RunName,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why, where the run itself says it.
    pub reason: Option<String>,
    /// The task that failed first, if one may see it.
    pub task: Option<FailedTask>,
    /// How many task instances failed.
    pub failed_tasks: u64,
}

/// A task that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedTask {
    /// The task.
    pub task_id: TaskId,
    /// Its map index, -1 for an ordinary task.
    pub map_index: i32,
    /// The try.
    pub try_number: u32,
    /// Why.
    pub reason: Option<String>,
    /// The exit code, if there was one.
    pub exit_code: Option<i32>,
}

/// A question to people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenQuestion {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_id: RunName,
    /// The task.
    pub task_id: TaskId,
    /// Its map index, -1 for an ordinary task.
    pub map_index: i32,
    /// The question.
    pub subject: String,
    /// When it was asked.
    pub created_at: Timestamp,
    /// Until when an answer is waited for.
    pub respond_by: Option<Timestamp>,
}

/// A run that isn't finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenRun {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_id: RunName,
    /// Its state.
    pub state: RunState,
    /// Why it exists.
    pub run_type: RunType,
    /// When it is due.
    pub run_after: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// Its task instances by state, as far as one may see them.
    pub tasks: BTreeMap<TaskState, u64>,
    /// How long its DAG's last successful runs took, the middle one of them, in seconds.
    pub usual_seconds: Option<f64>,
    /// Until when it should be done: the next deadline of its DAG that isn't over, or the last one that is.
    pub deadline: Option<Timestamp>,
}

/// A run that is to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Coming {
    /// The DAG.
    pub dag_id: DagId,
    /// When it is due.
    pub run_after: Timestamp,
}

/// Who looks after the tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scheduler {
    /// Whether somebody does.
    pub owned: bool,
    /// Until when the present or last lease is or was good.
    pub until: Timestamp,
}

/// `GET /home`
pub(crate) async fn get(access: Access, _: Asked<Nothing>) -> Result<Json<Home>, Error> {
    let may = access.list(Kind::Run).await?;
    let tasks = access.seen(Kind::Task);
    let (db, scope) = (may.db(), may.scope);
    let now = db.now().await?;
    let visible = Some(may.visible.clone());
    let failed = RunFilter {
        states: vec![RunState::Failed],
        ended_from: Some(now.before(FAILED_FOR)),
        order: RunOrder::EndedAt,
        visible: visible.clone(),
        ..RunFilter::default()
    };
    let open =
        RunFilter { states: vec![RunState::Queued, RunState::Running], visible, ..RunFilter::default() };
    let window = Window { limit: ROWS, offset: 0 };
    let failed = run::list(db, scope, &failed, window).await?;
    let open = run::list(db, scope, &open, window).await?;
    let dags: BTreeSet<DagId> = failed.rows.iter().chain(&open.rows).map(|run| run.dag_id.clone()).collect();
    let dags: Vec<DagId> = dags.into_iter().collect();
    let strips = overview::strips(db, scope, &dags, STRIP).await?;
    let strip = |dag: &DagId| strips.get(dag).map(Vec::as_slice).unwrap_or_default();
    let unmended: Vec<RunRow> =
        failed.rows.into_iter().filter(|run| !is_made_up_for(run, strip(&run.dag_id))).collect();
    let ids: Vec<RunId> = open.rows.iter().map(|run| run.run).collect();
    let versions = open.rows.iter().map(|run| (run.dag_id.clone(), run.version.clone())).collect();
    let models: BTreeMap<(DagId, DagVersion), Arc<Dag>> = bundle::some_versions(db, scope, &versions)
        .await?
        .into_iter()
        .map(|of| ((of.dag_id, of.version), of.model))
        .collect();
    let mut counts = overview::counts(db, scope, &ids, &tasks).await?;
    let running = open.rows.iter().map(|run| OpenRun {
        dag_id: run.dag_id.clone(),
        run_id: run.run_name.clone(),
        state: run.state,
        run_type: run.run_type,
        run_after: run.run_after,
        started_at: run.started_at,
        tasks: counts.remove(&run.run).unwrap_or_default(),
        usual_seconds: usual(strip(&run.dag_id)),
        deadline: models
            .get(&(run.dag_id.clone(), run.version.clone()))
            .and_then(|dag| deadline(dag, run, now)),
    });
    let ownership = shard::ownership(db, scope).await?;
    let coming = overview::coming(db, scope, &access.seen(Kind::Dag), now.after(AHEAD), ROWS).await?;
    Ok(Json(Home {
        now,
        running: running.collect(),
        running_total: open.total,
        failed: with_tasks(&access, &may, unmended).await?,
        failed_total: failed.total,
        asked: asked(&access, &may).await?,
        open: overview::open(db, scope, &tasks).await?,
        coming: coming.into_iter().map(|(dag_id, run_after)| Coming { dag_id, run_after }).collect(),
        scheduler: Scheduler { owned: ownership.owned, until: ownership.expires_at },
        workers: workers::of_tenant(db, scope.tenant()).await?,
    }))
}

/// Whether a run of the DAG that was due later has succeeded.
fn is_made_up_for(run: &RunRow, strip: &[Bar]) -> bool {
    strip.iter().any(|bar| bar.state == RunState::Success && bar.run_after > run.run_after)
}

/// Until when a run should be done.
fn deadline(dag: &Dag, run: &RunRow, now: Timestamp) -> Option<Timestamp> {
    let ends = dag.deadlines.iter().filter_map(|deadline| {
        let from = match deadline.from {
            DeadlineFrom::Scheduled => run.run_after,
            DeadlineFrom::Queued => run.queued_at,
            DeadlineFrom::Started => run.started_at?,
        };
        Some(from.after(deadline.within))
    });
    let ends: BTreeSet<Timestamp> = ends.collect();
    ends.range(now..).next().or_else(|| ends.last()).copied()
}

/// The middle one of the times that the successful runs of a strip took.
fn usual(strip: &[Bar]) -> Option<f64> {
    let mut took: Vec<i64> = strip
        .iter()
        .filter(|bar| bar.state == RunState::Success)
        .filter_map(|bar| Some(bar.ended_at?.since(bar.started_at?).0))
        .collect();
    took.sort_unstable();
    took.get(took.len() / 2).map(|micros| *micros as f64 / 1e6)
}

async fn with_tasks(access: &Access, may: &Permit, runs: Vec<RunRow>) -> Result<Vec<FailedRun>, Error> {
    let ids: Vec<RunId> = runs.iter().map(|run| run.run).collect();
    let visible = access.seen(Kind::Task);
    let tasks = overview::failed(may.db(), may.scope, &ids, &visible, FAILED_TASKS_MAX).await?;
    let one = |run: RunRow| {
        let mut failed = tasks.iter().filter(|task| task.run == run.run).peekable();
        let first = failed.peek().copied();
        FailedRun {
            task: first.map(|task| FailedTask {
                task_id: task.task.clone(),
                map_index: task.map_index,
                try_number: task.try_number,
                reason: task.reason.as_deref().map(str::to_owned),
                exit_code: task.exit_code,
            }),
            failed_tasks: failed.count() as u64,
            dag_id: run.dag_id,
            run_id: run.run_name,
            ended_at: run.ended_at,
            reason: run.reason.as_deref().map(str::to_owned),
        }
    };
    Ok(runs.into_iter().map(one).collect())
}

async fn asked(access: &Access, may: &Permit) -> Result<Vec<OpenQuestion>, Error> {
    let found = overview::questions(may.db(), may.scope, &access.seen(Kind::Task), ROWS).await?;
    let one = |(run, row): (RunRow, engine::rows::InputRow)| OpenQuestion {
        dag_id: run.dag_id,
        run_id: run.run_name,
        task_id: row.task,
        map_index: row.map_index,
        subject: row.input.subject.clone(),
        created_at: row.created_at,
        respond_by: row.respond_by,
    };
    Ok(found.into_iter().map(one).collect())
}
