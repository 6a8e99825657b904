//! `GET /tasks`: task instances of unfinished runs over all DAGs, for lists of what runs and what waits.

use axum::Json;
use dags::{
    ids::{DagId, RunName, TaskId},
    time::Timestamp,
};
use engine::{
    rows::{RunRow, TaskRow},
    state::TaskState,
};
use migrations::{policy::Kind, store::overview};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    error::Error,
    extract::{Asked, Parameter, Parameters},
    v1::Items,
    v1::dags::{LIMIT, page_size},
};

/// A task instance of an unfinished run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenTask {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_id: RunName,
    /// The task.
    pub task_id: TaskId,
    /// Its map index, -1 for an ordinary task.
    pub map_index: i32,
    /// Its state.
    pub state: TaskState,
    /// The try.
    pub try_number: u32,
    /// Its pool.
    pub pool: String,
    /// The slots that it takes there.
    pub pool_slots: u32,
    /// Its effective priority.
    pub priority: i32,
    /// The executor, once it was chosen.
    pub executor: Option<String>,
    /// Where it runs.
    pub host: Option<String>,
    /// When its dependencies were met.
    pub scheduled_at: Option<Timestamp>,
    /// When it was handed over.
    pub queued_at: Option<Timestamp>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When something happens by itself.
    pub wake_at: Option<Timestamp>,
    /// Why it is in this state, where that isn't plain.
    pub reason: Option<String>,
}

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] =
        &[Parameter::many::<TaskState>("state", "Only task instances in one of these states."), LIMIT];
}

/// `GET /tasks?state=&limit=`: in the order of the queue: the highest priority first, then the earliest date of a run.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<Items<OpenTask>>, Error> {
    let may = access.list(Kind::Task).await?;
    let states = query.words("state", TaskState::parse)?;
    let states = if states.is_empty() { TaskState::ALL.to_vec() } else { states };
    let limit = page_size(&query)?;
    let found = overview::active(may.db(), may.scope, &may.visible, &states, limit).await?;
    Ok(Items::all(found.into_iter().map(view)))
}

fn view((run, task): (RunRow, TaskRow)) -> OpenTask {
    OpenTask {
        dag_id: run.dag_id,
        run_id: run.run_name,
        task_id: task.task,
        map_index: task.map_index,
        state: task.state,
        try_number: task.try_number,
        pool: task.pool.to_string(),
        pool_slots: task.pool_slots,
        priority: task.weight,
        executor: task.executor.map(|executor| executor.to_string()),
        host: task.host.as_deref().map(str::to_owned),
        scheduled_at: task.scheduled_at,
        queued_at: task.queued_at,
        started_at: task.started_at,
        wake_at: task.wake_at,
        reason: task.reason.as_deref().map(str::to_owned),
    }
}
