//! `GET /dags/{dag_id}/history`: what happened to the last runs of a DAG and to their tasks.

use std::collections::BTreeMap;

use axum::Json;
use dags::{
    ids::{DagId, RunId, RunName, TaskId},
    time::Timestamp,
};
use engine::rows::{EventRow, Transition};
use migrations::{
    policy::{Action, Kind},
    store::{
        Window, event,
        run::{self, RunFilter},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Permit, Resource},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
};

/// Runs whose history is told together.
const RUNS: u64 = 25;
/// The most steps of one answer.
const STEPS_MAX: usize = 500;

/// A step of a run or of a task of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// The run.
    pub run_id: RunName,
    /// The task; none for the run itself.
    pub task_id: Option<TaskId>,
    /// The map index, -1 for an ordinary task and for the run.
    pub map_index: i32,
    /// The try; 0 where there is none.
    pub try_number: u32,
    /// The state after it.
    pub state: String,
    /// Why, where that isn't plain.
    pub reason: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// The DAG's last runs, the newest first.
    pub runs: Vec<RunName>,
    /// Steps of these, or of the one that was asked for, the latest first; at most 500.
    pub items: Vec<Step>,
    /// Whether there were more.
    pub truncated: bool,
}

/// What may be asked.
pub(crate) struct OfWhich;

impl Parameters for OfWhich {
    const ALL: &'static [Parameter] = &[Parameter::one::<RunName>("run", "Only this run, of any age.")];
}

/// `GET /dags/{dag_id}/history?run=`: of the last 25 runs, or of one of any age. Without the right to read tasks only the runs'
/// own steps.
pub(crate) async fn get(
    access: Access,
    Named(dag_id): Named<DagId>,
    query: Asked<OfWhich>,
) -> Result<Json<History>, Error> {
    let may = access.authorize(Resource::dag(Kind::Run, &dag_id), Action::Read).await?;
    let (db, scope) = (may.db(), may.scope);
    let filter = RunFilter { dag_id: Some(dag_id.clone()), ..RunFilter::default() };
    let last = run::list(db, scope, &filter, Window { limit: RUNS, offset: 0 }).await?.rows;
    let wanted = match query.read::<RunName>("run")? {
        None => last.clone(),
        Some(name) => {
            let found = run::by_name(db, scope, &dag_id, &name).await?;
            vec![found.ok_or_else(|| Error::NotFound(format!("`{dag_id}` has no run `{name}`")))?]
        }
    };
    let names: BTreeMap<RunId, RunName> = wanted.iter().map(|run| (run.run, run.run_name.clone())).collect();
    let ids: Vec<RunId> = names.keys().copied().collect();
    // An event has a step at least.
    let events = event::of_runs(db, scope, &ids, STEPS_MAX as u64 + 1).await?;
    let tasks = Permit { visible: access.seen(Kind::Task), ..may.clone() };
    let sees_tasks = tasks.sees(dag_id.as_str()).await?;
    let mut truncated = events.len() > STEPS_MAX;
    let mut items: Vec<Step> = Vec::new();
    for EventRow { run, transitions, .. } in events {
        let Some(name) = names.get(&run) else { continue };
        let seen = transitions.into_iter().rev().filter(|step| sees_tasks || step.task.is_none());
        items.extend(seen.map(|transition| step(name, transition)));
    }
    truncated |= items.len() > STEPS_MAX;
    items.truncate(STEPS_MAX);
    Ok(Json(History { runs: last.into_iter().map(|run| run.run_name).collect(), items, truncated }))
}

fn step(run: &RunName, Transition { task, to, try_number, at, reason }: Transition) -> Step {
    let (task_id, map_index) = task.map_or((None, -1), |(task, index)| (Some(task), index));
    Step {
        at,
        run_id: run.clone(),
        task_id,
        map_index,
        try_number,
        state: to.to_string(),
        reason: reason.map(|reason| reason.to_string()),
    }
}
