//! `GET /dags/{dag_id}/tasks`

use axum::Json;
use dags::ids::DagId;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
    list::ORDER_BY,
    v2::{
        dags::find,
        tasks::{TaskCollection, view},
    },
};

/// What may be asked.
pub(crate) struct Order;

impl Parameters for Order {
    const ALL: &'static [Parameter] = &[ORDER_BY];
}

/// The tasks of a DAG's newest version by name.
pub(crate) async fn list(
    access: Access,
    Named(dag_id): Named<DagId>,
    query: Asked<Order>,
) -> Result<Json<TaskCollection>, Error> {
    let may = access.authorize(Resource::dag(Kind::Dag, &dag_id), Action::Read).await?;
    let descending = query.order(&["task_id", "-task_id"])? == Some("-task_id");
    let found = find(&may, &dag_id).await?;
    let model = found.model()?;
    let mut tasks: Vec<_> = model.tasks.iter().map(|task| view(model, task)).collect();
    if descending {
        tasks.reverse();
    }
    Ok(Json(TaskCollection { total_entries: tasks.len() as u64, tasks }))
}
