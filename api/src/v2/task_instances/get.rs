//! `GET /dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}` and `.../{map_index}`

use axum::Json;
use dags::ids::{DagId, RunName, TaskId};
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
    v2::task_instances::{TaskInstance, find},
};

/// The instance of an ordinary task.
pub(crate) async fn get(
    access: Access,
    Named((dag_id, run, task)): Named<(DagId, RunName, TaskId)>,
) -> Result<Json<TaskInstance>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?;
    Ok(Json(find(&may, &dag_id, &run, &task, -1).await?.view()))
}

/// One instance of a mapped task.
pub(crate) async fn get_mapped(
    access: Access,
    Named((dag_id, run, task, map_index)): Named<(DagId, RunName, TaskId, i32)>,
) -> Result<Json<TaskInstance>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?;
    Ok(Json(find(&may, &dag_id, &run, &task, map_index).await?.view()))
}
