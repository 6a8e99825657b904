//! `PATCH /dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}[/{map_index}]`

use axum::Json;
use dags::ids::{DagId, RunName, TaskId};
use engine::{
    command::{Command, Selection},
    state::TaskState,
};
use migrations::policy::{Action, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Permit, Resource},
    error::Error,
    extract::{Asked, Body, Named, Params},
    list::Masked,
    v2::{
        dag_runs::no_note,
        select::{self, Runs},
        task_instances::{TaskInstanceCollection, collection},
    },
};

/// A change of task instances by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TaskInstancePatch {
    /// `success`, `failed` or `skipped`.
    pub new_state: Option<TaskState>,
    /// Task instances have no notes.
    pub note: Option<String>,
    /// Also everything upstream.
    pub include_upstream: bool,
    /// Also everything downstream.
    pub include_downstream: bool,
    /// Also in runs of later logical dates.
    pub include_future: bool,
    /// Also in runs of earlier logical dates.
    pub include_past: bool,
}

/// Marks all instances of a task.
pub(crate) async fn patch(
    access: Access,
    Named((dag_id, run, task)): Named<(DagId, RunName, TaskId)>,
    query: Asked<Masked>,
    Body(patch): Body<TaskInstancePatch>,
) -> Result<Json<TaskInstanceCollection>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Change).await?;
    mark(&may, dag_id, run, (task, None), &query, patch).await
}

/// Marks one instance of a mapped task.
pub(crate) async fn patch_mapped(
    access: Access,
    Named((dag_id, run, task, map_index)): Named<(DagId, RunName, TaskId, i32)>,
    query: Asked<Masked>,
    Body(patch): Body<TaskInstancePatch>,
) -> Result<Json<TaskInstanceCollection>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Change).await?;
    mark(&may, dag_id, run, (task, Some(map_index)), &query, patch).await
}

/// Answers with everything that was marked, as it is now.
async fn mark(
    may: &Permit,
    dag_id: DagId,
    run: RunName,
    task: (TaskId, Option<i32>),
    query: &Params,
    patch: TaskInstancePatch,
) -> Result<Json<TaskInstanceCollection>, Error> {
    query.mask(&["new_state"])?;
    no_note(patch.note.as_ref())?;
    let state = patch
        .new_state
        .ok_or_else(|| Error::BadRequest("there is nothing to change: set `new_state`".to_owned()))?;
    let runs =
        Runs { name: Some(run), past: patch.include_past, future: patch.include_future, ..Runs::default() };
    let mut marked = Vec::new();
    for row in select::runs(may, &dag_id, runs).await? {
        let select = Selection {
            dag_id: dag_id.clone(),
            run_name: row.run_name.clone(),
            tasks: vec![task.clone()],
            upstream: patch.include_upstream,
            downstream: patch.include_downstream,
        };
        let model = select::model(may, &row).await?;
        // Before anything is changed, so that a task that isn't there is an error.
        if select::affected(may, &row, &model, &select, |_| true).await?.is_empty() {
            let (task, index) = &task;
            let index = index.map_or(String::new(), |index| format!(" with map index {index}"));
            return Err(Error::NotFound(format!(
                "run `{}` has no instance of `{task}`{index}",
                row.run_name
            )));
        }
        may.request(Command::MarkTasks { select: select.clone(), state }).await?;
        let after = select::affected(may, &row, &model, &select, |_| true).await?;
        marked.push((row, model, after));
    }
    Ok(Json(collection(may, marked).await?))
}
