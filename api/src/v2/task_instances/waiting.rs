//! Why a task instance isn't running: `.../taskInstances/{task_id}/{map_index}/waiting`, and with Airflow's words
//! `.../taskInstances/{task_id}[/{map_index}]/dependencies`.
//!
//! The engine answers, from the counters that decide; of what was handed over, the executor that has it.

use axum::Json;
use dags::ids::{DagId, DispatchId, RunName, TaskId};
use engine::{
    command::Command,
    execution::Waits,
    explain::{Hold, Limit, Waiting},
    rows::TaskRow,
    state::TaskState,
};
use migrations::policy::{Action, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Permit, Resource},
    error::Error,
    extract::Named,
    objects::LogOf,
    v2::task_instances::find,
};

/// What holds a task instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingAnswer {
    /// Its state.
    pub state: TaskState,
    /// What holds it; none if its executor has taken it and says of nothing that holds it, if it runs or is over.
    pub waiting: Option<Waiting>,
}

/// What holds a task instance, as Airflow lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DependencyCollection {
    /// One entry for each thing that holds it; empty if nothing does.
    pub dependencies: Vec<Dependency>,
}

/// One thing that holds a task instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dependency {
    /// Its kind, such as `pool`.
    pub name: String,
    /// The sentence, with what would free the instance.
    pub reason: String,
}

type Named4 = Named<(DagId, RunName, TaskId, i32)>;

/// What holds one instance, with the numbers.
pub(crate) async fn waiting(access: Access, Named(named): Named4) -> Result<Json<WaitingAnswer>, Error> {
    ask(&access, named).await.map(Json)
}

/// What holds an ordinary task's instance, in Airflow's form.
pub(crate) async fn dependencies(
    access: Access,
    Named((dag_id, run, task)): Named<(DagId, RunName, TaskId)>,
) -> Result<Json<DependencyCollection>, Error> {
    ask(&access, (dag_id, run, task, -1)).await.and_then(listed)
}

/// What holds one instance of a mapped task, in Airflow's form.
pub(crate) async fn dependencies_mapped(
    access: Access,
    Named(named): Named4,
) -> Result<Json<DependencyCollection>, Error> {
    ask(&access, named).await.and_then(listed)
}

async fn ask(
    access: &Access,
    (dag_id, run_name, task_id, map_index): (DagId, RunName, TaskId, i32),
) -> Result<WaitingAnswer, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?;
    let found = find(&may, &dag_id, &run_name, &task_id, map_index).await?;
    let state = found.row.state;
    if found.run.state.is_finished() {
        return Ok(WaitingAnswer { state, waiting: None });
    }
    let answer = may.request(Command::Explain { dag_id, run_name, task_id, map_index }).await?;
    let unreadable = |why: serde_json::Error| Error::Internal(format!("the engine's answer: {why}"));
    let quarantined: Option<Hold> =
        serde_json::from_value(answer["quarantined"].clone()).map_err(unreadable)?;
    let waiting: Option<Waiting> = match quarantined {
        // The engine doesn't look at it, not even to see its state.
        Some(hold) => Some(Waiting { state, holds: vec![hold] }),
        None => serde_json::from_value(answer["waiting"].clone()).map_err(unreadable)?,
    };
    let waiting = match waiting {
        None if state == TaskState::Queued => begins(&may, &found.row).await?,
        held => held,
    };
    // The engine may be further than the row that was read.
    Ok(WaitingAnswer { state: waiting.as_ref().map_or(state, |waiting| waiting.state), waiting })
}

/// What keeps the executor from beginning what it has taken, if it says so.
async fn begins(may: &Permit, row: &TaskRow) -> Result<Option<Waiting>, Error> {
    let Some(executor) = row.executor.clone() else { return Ok(None) };
    let dispatch = DispatchId { attempt: row.attempt(), n: row.dispatch_n };
    let of = LogOf { tenant: row.tenant, dispatch, member: 0, executor: Some(executor.clone()), over: false };
    let waits = may.state.objects.waits(&of).await?;
    Ok(waits.map(|Waits { says, frees }| Waiting {
        state: row.state,
        holds: vec![Hold { limit: Limit::Begin { executor }, says, frees }],
    }))
}

fn listed(answer: WaitingAnswer) -> Result<Json<DependencyCollection>, Error> {
    let holds = answer.waiting.map(|waiting| waiting.holds).unwrap_or_default();
    let dependencies = holds.into_iter().map(|hold| {
        let reason = format!("{}; it goes on when {}", hold.says, hold.frees);
        Ok(Dependency { name: kind(&hold.limit)?, reason })
    });
    Ok(Json(DependencyCollection { dependencies: dependencies.collect::<Result<_, Error>>()? }))
}

/// The kind of a limit as it is written in JSON.
fn kind(limit: &Limit) -> Result<String, Error> {
    let written = serde_json::to_value(limit).map_err(|why| Error::Internal(why.to_string()))?;
    Ok(written["kind"].as_str().unwrap_or_default().to_owned())
}
