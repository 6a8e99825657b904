//! `GET /dags/{dag_id}/tasks/{task_id}`

use axum::Json;
use dags::ids::{DagId, TaskId};
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
    v2::{
        dags::find,
        tasks::{TaskView, view},
    },
};

/// One task of a DAG's newest version.
pub(crate) async fn get(
    access: Access,
    Named((dag_id, task)): Named<(DagId, TaskId)>,
) -> Result<Json<TaskView>, Error> {
    let may = access.authorize(Resource::dag(Kind::Dag, &dag_id), Action::Read).await?;
    let found = find(&may, &dag_id).await?;
    let model = found.model()?;
    let found = model.tasks.iter().find(|known| known.task_id == task).map(|found| view(model, found));
    found.map(Json).ok_or_else(|| Error::NotFound(format!("`{dag_id}` has no task `{task}`")))
}
