//! `GET /dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}[/{map_index}]/tries[/{task_try_number}]`

use axum::Json;
use dags::ids::{DagId, RunName, TaskId};
use engine::rows::TaskRow;
use migrations::policy::{Action, Kind};
use migrations::store::task_instance;

use crate::{
    access::{Access, Permit, Resource},
    error::Error,
    extract::Named,
    v2::task_instances::{Found, TaskInstance, TaskInstanceCollection, find, view},
};

/// The tries of an ordinary task's instance, oldest first.
pub(crate) async fn list(
    access: Access,
    Named((dag_id, run, task)): Named<(DagId, RunName, TaskId)>,
) -> Result<Json<TaskInstanceCollection>, Error> {
    all(&access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?, dag_id, run, task, -1)
        .await
}

/// The tries of one instance of a mapped task, oldest first.
pub(crate) async fn list_mapped(
    access: Access,
    Named((dag_id, run, task, map_index)): Named<(DagId, RunName, TaskId, i32)>,
) -> Result<Json<TaskInstanceCollection>, Error> {
    all(
        &access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?,
        dag_id,
        run,
        task,
        map_index,
    )
    .await
}

async fn all(
    may: &Permit,
    dag_id: DagId,
    run: RunName,
    task: TaskId,
    map_index: i32,
) -> Result<Json<TaskInstanceCollection>, Error> {
    let found = find(may, &dag_id, &run, &task, map_index).await?;
    let tries = tries(may, &found).await?;
    let task_instances: Vec<TaskInstance> =
        tries.iter().map(|row| view(&found.run, &found.model, &found.versions, row)).collect();
    Ok(Json(TaskInstanceCollection { total_entries: task_instances.len() as u64, task_instances }))
}

/// One try of an ordinary task's instance.
pub(crate) async fn get(
    access: Access,
    Named((dag_id, run, task, number)): Named<(DagId, RunName, TaskId, u32)>,
) -> Result<Json<TaskInstance>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?;
    let found = find(&may, &dag_id, &run, &task, -1).await?;
    one(&may, found, number).await.map(|found| Json(found.view()))
}

/// One try of one instance of a mapped task.
pub(crate) async fn get_mapped(
    access: Access,
    Named((dag_id, run, task, map_index, number)): Named<(DagId, RunName, TaskId, i32, u32)>,
) -> Result<Json<TaskInstance>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?;
    let found = find(&may, &dag_id, &run, &task, map_index).await?;
    one(&may, found, number).await.map(|found| Json(found.view()))
}

/// The task instance as it was in that try.
pub(crate) async fn one(may: &Permit, found: Found, number: u32) -> Result<Found, Error> {
    let tries = tries(may, &found).await?;
    let row = tries.into_iter().find(|row| row.try_number == number).ok_or_else(|| {
        let TaskRow { task, try_number, .. } = &found.row;
        Error::NotFound(format!("`{task}` has no try {number}; its last one is {try_number}"))
    })?;
    Ok(Found { row, ..found })
}

/// All tries that have begun, the current one last.
async fn tries(may: &Permit, found: &Found) -> Result<Vec<TaskRow>, Error> {
    let TaskRow { run, task, map_index, .. } = &found.row;
    let earlier = task_instance::tries(may.db(), may.scope, *run, task, *map_index).await?;
    let mut tries: Vec<TaskRow> = earlier.into_iter().map(|attempt| attempt.row).collect();
    // What came between the two queries is in both.
    tries.retain(|row| row.try_number != found.row.try_number);
    if found.row.try_number > 0 {
        tries.push(found.row.clone());
    }
    Ok(tries)
}
