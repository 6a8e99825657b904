//! `GET /dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries`

use axum::Json;
use dags::ids::{DagId, RunName, TaskId};
use migrations::policy::{Action, Kind};
use migrations::store::result;

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
    list::page,
    list::{PAGE_LIMIT, PAGE_OFFSET},
    v2::{
        dag_runs::find,
        xcom::{KEY, XComCollection, view},
    },
};

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        Parameter::one::<i32>("map_index", "Only the result of that map index."),
        Parameter::one::<String>("xcom_key", "Only results of that name."),
    ];
}

/// What a task returned, by map index, without the values.
pub(crate) async fn list(
    access: Access,
    Named((dag_id, run, task)): Named<(DagId, RunName, TaskId)>,
    query: Asked<Filter>,
) -> Result<Json<XComCollection>, Error> {
    let may = access.authorize(Resource::dag(Kind::Result, &dag_id), Action::Read).await?;
    let run = find(&may, &dag_id, &run).await?;
    let mut rows = result::of_task(may.db(), may.scope, run.run, &task).await?;
    if let Some(map_index) = query.read::<i32>("map_index")? {
        rows.retain(|row| row.map_index == map_index);
    }
    if query.text("xcom_key").is_some_and(|key| key != KEY) {
        rows.clear();
    }
    let page = page(rows, query.window()?, false);
    let mut xcom_entries = Vec::with_capacity(page.rows.len());
    for row in &page.rows {
        xcom_entries.push(view(&may, &run, row).await?);
    }
    Ok(Json(XComCollection { xcom_entries, total_entries: page.total }))
}
