//! `POST /dags/{dag_id}/clearTaskInstances`

use axum::Json;
use dags::{
    ids::{DagId, RunName, TaskId},
    time::Timestamp,
};
use engine::command::{Clear, Command, Selection};
use migrations::policy::{Action, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Body, Named},
    v2::{
        dag_runs::no_note,
        select::{self, Runs},
        task_instances::{TaskInstanceCollection, collection},
    },
};

/// Task instances that are to run again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClearBody {
    /// Only say what would be cleared.
    pub dry_run: bool,
    /// Without a run: runs of logical dates from here on.
    pub start_date: Option<Timestamp>,
    /// Without a run: runs of logical dates up to here.
    pub end_date: Option<Timestamp>,
    /// Only what failed.
    pub only_failed: bool,
    /// Only what is running.
    pub only_running: bool,
    /// Runs always go on.
    pub reset_dag_runs: bool,
    /// The tasks, each as a name or as name and map index; all of them if absent.
    pub task_ids: Option<Vec<TaskRef>>,
    /// The run.
    pub dag_run_id: Option<String>,
    /// Also everything upstream.
    pub include_upstream: bool,
    /// Also everything downstream.
    pub include_downstream: bool,
    /// Also in runs of later logical dates.
    pub include_future: bool,
    /// Also in runs of earlier logical dates.
    pub include_past: bool,
    /// Move the runs to the DAG's newest version.
    pub run_on_latest_version: Option<bool>,
    /// Refuse if one of them is running.
    pub prevent_running_task: bool,
    /// Task instances have no notes.
    pub note: Option<String>,
}

impl Default for ClearBody {
    fn default() -> Self {
        Self {
            dry_run: true,
            start_date: None,
            end_date: None,
            only_failed: true,
            only_running: false,
            reset_dag_runs: true,
            task_ids: None,
            dag_run_id: None,
            include_upstream: false,
            include_downstream: false,
            include_future: false,
            include_past: false,
            run_on_latest_version: None,
            prevent_running_task: false,
            note: None,
        }
    }
}

/// A task with all its instances or one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TaskRef {
    /// All instances.
    All(TaskId),
    /// One instance of a mapped task.
    One(TaskId, i32),
}

/// Runs task instances again, or only says which would be. Answers with all of them; with `dry_run` as they are,
/// otherwise as they have become.
pub(crate) async fn clear(
    access: Access,
    Named(dag_id): Named<DagId>,
    Body(body): Body<ClearBody>,
) -> Result<Json<TaskInstanceCollection>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Change).await?;
    no_note(body.note.as_ref())?;
    if !body.reset_dag_runs {
        return Err(Error::unsupported("`reset_dag_runs: false`", "a run with cleared tasks always goes on"));
    }
    let tasks: Vec<(TaskId, Option<i32>)> = body.task_ids.iter().flatten().map(task).collect();
    let mut cleared = Vec::new();
    for row in select::runs(&may, &dag_id, runs(&body)?).await? {
        let select = Selection {
            dag_id: dag_id.clone(),
            run_name: row.run_name.clone(),
            tasks: tasks.clone(),
            upstream: body.include_upstream,
            downstream: body.include_downstream,
        };
        let clear = Clear {
            select,
            only_failed: body.only_failed,
            only_running: body.only_running,
            run_on_latest_version: body.run_on_latest_version.unwrap_or_default(),
        };
        let model = select::model(&may, &row).await?;
        let rows = select::affected(&may, &row, &model, &clear.select, |state| clear.takes(state)).await?;
        if body.prevent_running_task
            && let Some(busy) = rows.iter().find(|task| task.state.holds_slots())
        {
            let message = format!("`{}` of run `{}` is {}", busy.task, row.run_name, busy.state);
            return Err(Error::Conflict(message));
        }
        cleared.push((row, model, rows, clear));
    }
    let mut answer = Vec::new();
    for (row, model, rows, clear) in cleared {
        if body.dry_run || rows.is_empty() {
            answer.push((row, model, rows));
            continue;
        }
        may.request(Command::Clear(clear.clone())).await?;
        let keys: Vec<(TaskId, i32)> = rows.iter().map(|task| (task.task.clone(), task.map_index)).collect();
        let now = select::affected(&may, &row, &model, &clear.select, |_| true).await?;
        let now =
            now.into_iter().filter(|task| keys.contains(&(task.task.clone(), task.map_index))).collect();
        answer.push((row, model, now));
    }
    Ok(Json(collection(&may, answer).await?))
}

fn task(task: &TaskRef) -> (TaskId, Option<i32>) {
    match task {
        TaskRef::All(task) => (task.clone(), None),
        TaskRef::One(task, index) => (task.clone(), Some(*index)),
    }
}

fn runs(body: &ClearBody) -> Result<Runs, Error> {
    let name = body.dag_run_id.as_deref().map(|name| {
        RunName::parse(name)
            .map_err(|why| Error::value("body", "dag_run_id", format!("{name:?} {why}"), name))
    });
    let name = name.transpose()?;
    if name.is_none() && (body.include_past || body.include_future) {
        let message = "`include_past` and `include_future` go out from a run: name it in `dag_run_id`";
        return Err(Error::BadRequest(message.to_owned()));
    }
    if name.is_some() && (body.start_date.is_some() || body.end_date.is_some()) {
        let message = "either `dag_run_id` or `start_date` and `end_date` say which runs, not both";
        return Err(Error::BadRequest(message.to_owned()));
    }
    if name.is_none() && body.start_date.is_none() && body.end_date.is_none() {
        let message = "say which runs: `dag_run_id`, or `start_date` and `end_date`";
        return Err(Error::BadRequest(message.to_owned()));
    }
    Ok(Runs {
        name,
        past: body.include_past,
        future: body.include_future,
        from: body.start_date,
        to: body.end_date,
    })
}
