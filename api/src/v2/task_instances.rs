//! Task instances and their tries.

use std::sync::Arc;

use dags::{
    ids::{AttemptId, DagId, RunName, TaskId},
    model::{Dag, Task},
    time::Timestamp,
};
use engine::{
    rows::{RunRow, TaskRow},
    state::TaskState,
};
use migrations::store::task_instance;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    access::Permit,
    error::Error,
    v2::{
        dag_runs::{self, duration},
        dag_versions::{DagVersion, Versions},
        select,
    },
};

pub(crate) mod clear;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod patch;
pub(crate) mod tries;
pub mod waiting;

pub use clear::{ClearBody, TaskRef};
pub use logs::{Log, LogEvent};
pub use patch::TaskInstancePatch;

/// A task instance with one of its tries: the current one unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskInstance {
    /// The identity of the try.
    pub id: AttemptId,
    /// The task.
    pub task_id: String,
    /// The DAG.
    pub dag_id: String,
    /// The run.
    pub dag_run_id: String,
    /// The index of a mapped task's instance, -1 for an ordinary task.
    pub map_index: i32,
    /// What the run stands for.
    pub logical_date: Option<Timestamp>,
    /// When the run was due.
    pub run_after: Timestamp,
    /// When the try started.
    pub start_date: Option<Timestamp>,
    /// When the try ended.
    pub end_date: Option<Timestamp>,
    /// How long it took, in seconds.
    pub duration: Option<f64>,
    /// Its state; none if nothing is decided yet.
    pub state: Option<TaskState>,
    /// The try, 0 before the first.
    pub try_number: u32,
    /// The last try that retries allow.
    pub max_tries: u32,
    /// The same as `task_id`.
    pub task_display_name: String,
    /// The same as `dag_id`.
    pub dag_display_name: String,
    /// Unknown here; the log says it.
    pub hostname: Option<String>,
    /// Unknown.
    pub unixname: Option<String>,
    /// The pool.
    pub pool: String,
    /// The slots that it takes there.
    pub pool_slots: u32,
    /// The queue, a constraint on the worker.
    pub queue: Option<String>,
    /// Its effective priority.
    pub priority_weight: Option<i32>,
    /// The operator.
    pub operator: Option<String>,
    /// The same.
    pub operator_name: Option<String>,
    /// When the current dispatch was admitted.
    pub queued_when: Option<Timestamp>,
    /// When the try was first scheduled.
    pub scheduled_when: Option<Timestamp>,
    /// Unknown here.
    pub pid: Option<u32>,
    /// The executor.
    pub executor: Option<String>,
    /// `{}`: what an attempt needs is part of the task.
    pub executor_config: String,
    /// Task instances have no notes.
    pub note: Option<String>,
    /// The index as text, for a mapped one.
    pub rendered_map_index: Option<String>,
    /// Rendering happens where the attempt runs.
    #[serde(default)]
    pub rendered_fields: Map<String, Value>,
    /// Deferral is the engine's own.
    pub trigger: Option<Value>,
    /// There is none.
    pub triggerer_job: Option<Value>,
    /// The version that the run is pinned to.
    pub dag_version: Option<DagVersion>,
    /// Why it is in this state, where that isn't plain: our addition.
    #[serde(default)]
    pub reason: Option<String>,
    /// The exit code of the last attempt that had one: our addition.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// When something happens by itself, the next retry for instance: our addition.
    #[serde(default)]
    pub wake_at: Option<Timestamp>,
}

/// A page of task instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskInstanceCollection {
    /// The task instances.
    pub task_instances: Vec<TaskInstance>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// A task instance with what is needed to show it.
pub(crate) struct Found {
    pub(crate) run: RunRow,
    pub(crate) model: Arc<Dag>,
    pub(crate) versions: Versions,
    pub(crate) row: TaskRow,
}

impl Found {
    pub(crate) fn view(&self) -> TaskInstance {
        view(&self.run, &self.model, &self.versions, &self.row)
    }
}

/// That task instance, or not found.
pub(crate) async fn find(
    may: &Permit,
    dag_id: &DagId,
    run: &RunName,
    task: &TaskId,
    map_index: i32,
) -> Result<Found, Error> {
    let run = dag_runs::find(may, dag_id, run).await?;
    let row = task_instance::get(may.db(), may.scope, run.run, task, map_index).await?;
    let model = select::model(may, &run).await?;
    let row = row.ok_or_else(|| {
        let index = if map_index < 0 { String::new() } else { format!(" with map index {map_index}") };
        let known = model.tasks.iter().any(|known| known.task_id == *task);
        let hint = match (known, map_index) {
            (true, ..=-1) => format!(": it is mapped, so name one of its instances, such as `{task}[0]`"),
            _ => String::new(),
        };
        Error::NotFound(format!("run `{}` has no task instance of `{task}`{index}{hint}", run.run_name))
    })?;
    let versions = Versions::of(may, std::slice::from_ref(dag_id)).await?;
    Ok(Found { run, model, versions, row })
}

/// All instances of some runs of one DAG.
pub(crate) async fn collection(
    may: &Permit,
    found: Vec<(RunRow, Arc<Dag>, Vec<TaskRow>)>,
) -> Result<TaskInstanceCollection, Error> {
    let dags: Vec<DagId> = found.first().map(|(run, ..)| run.dag_id.clone()).into_iter().collect();
    let versions = Versions::of(may, &dags).await?;
    let task_instances: Vec<TaskInstance> = found
        .iter()
        .flat_map(|(run, model, rows)| rows.iter().map(|row| view(run, model, &versions, row)))
        .collect();
    Ok(TaskInstanceCollection { total_entries: task_instances.len() as u64, task_instances })
}

pub(crate) fn view(run: &RunRow, model: &Dag, versions: &Versions, row: &TaskRow) -> TaskInstance {
    let task: Option<&Task> = model.tasks.iter().find(|task| task.task_id == row.task);
    let operator = task.map(|task| task.operator.clone());
    TaskInstance {
        id: row.attempt(),
        task_id: row.task.to_string(),
        dag_id: run.dag_id.to_string(),
        dag_run_id: run.run_name.to_string(),
        map_index: row.map_index,
        logical_date: run.logical_date,
        run_after: run.run_after,
        start_date: row.started_at,
        end_date: row.ended_at,
        duration: duration(row.started_at, row.ended_at),
        state: Some(row.state).filter(|state| *state != TaskState::None),
        try_number: row.try_number,
        max_tries: row.max_tries,
        task_display_name: row.task.to_string(),
        dag_display_name: run.dag_id.to_string(),
        hostname: row.host.as_deref().map(str::to_owned),
        unixname: None,
        pool: row.pool.to_string(),
        pool_slots: row.pool_slots,
        queue: task.and_then(|task| task.queue.clone()),
        priority_weight: Some(row.weight),
        operator: operator.clone(),
        operator_name: operator,
        queued_when: row.queued_at,
        scheduled_when: row.scheduled_at,
        pid: None,
        executor: row.executor.as_ref().map(ToString::to_string),
        executor_config: "{}".to_owned(),
        note: None,
        rendered_map_index: (row.map_index >= 0).then(|| row.map_index.to_string()),
        rendered_fields: Map::new(),
        trigger: None,
        triggerer_job: None,
        dag_version: versions.view(&run.dag_id, &run.version),
        reason: row.reason.as_deref().map(str::to_owned),
        exit_code: row.exit_code,
        wake_at: row.wake_at,
    }
}
