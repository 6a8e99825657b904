//! `GET /dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances` and `.../{task_id}/listMapped`

use axum::Json;
use dags::ids::{DagId, RunName, TaskId};
use engine::state::TaskState;
use migrations::policy::{Action, Kind};
use migrations::store::task_instance::{self, TaskFilter};

use crate::{
    access::{Access, Permit, Resource},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters, Params},
    list::{ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
    v2::{
        dag_runs,
        dag_versions::Versions,
        select,
        task_instances::{TaskInstanceCollection, view},
    },
};

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        ORDER_BY,
        Parameter::many::<TaskState>(
            "state",
            "Only task instances in one of these states; `no_status` is `none`.",
        ),
        Parameter::one::<TaskId>("task_id", "Only instances of that task."),
    ];
}

/// What may be asked about the instances of one task.
pub(crate) struct OfTask;

impl Parameters for OfTask {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        ORDER_BY,
        Parameter::many::<TaskState>(
            "state",
            "Only task instances in one of these states; `no_status` is `none`.",
        ),
    ];
}

/// The task instances of a run by task and map index.
pub(crate) async fn list(
    access: Access,
    Named((dag_id, run)): Named<(DagId, RunName)>,
    query: Asked<Filter>,
) -> Result<Json<TaskInstanceCollection>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?;
    let task = query.words("task_id", |text| TaskId::parse(text).ok())?.pop();
    page(&may, dag_id, run, task, &query).await
}

/// The instances of one task by map index.
pub(crate) async fn list_mapped(
    access: Access,
    Named((dag_id, run, task)): Named<(DagId, RunName, TaskId)>,
    query: Asked<OfTask>,
) -> Result<Json<TaskInstanceCollection>, Error> {
    let may = access.authorize(Resource::dag(Kind::Task, &dag_id), Action::Read).await?;
    page(&may, dag_id, run, Some(task), &query).await
}

async fn page(
    may: &Permit,
    dag_id: DagId,
    run: RunName,
    task: Option<TaskId>,
    query: &Params,
) -> Result<Json<TaskInstanceCollection>, Error> {
    query.order(&["task_id", "map_index"])?;
    let states =
        query.words("state", |text| TaskState::parse(if text == "no_status" { "none" } else { text }))?;
    let run = dag_runs::find(may, &dag_id, &run).await?;
    let filter = TaskFilter { task, states };
    let page = task_instance::list(may.db(), may.scope, run.run, &filter, query.window()?).await?;
    let model = select::model(may, &run).await?;
    let versions = Versions::of(may, &[dag_id]).await?;
    let task_instances = page.rows.iter().map(|row| view(&run, &model, &versions, row)).collect();
    Ok(Json(TaskInstanceCollection { task_instances, total_entries: page.total }))
}
