//! `GET /dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}`

use axum::Json;
use dags::ids::{DagId, RunName, TaskId};
use migrations::policy::{Action, Kind};
use migrations::store::result;
use serde_json::Value;

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
    v2::{
        dag_runs::find,
        xcom::{KEY, XCom, value, view},
    },
};

/// What may be asked.
pub(crate) struct Wanted;

impl Parameters for Wanted {
    const ALL: &'static [Parameter] = &[
        Parameter::one::<i32>("map_index", "The map index, -1 if absent."),
        Parameter::one::<bool>("deserialize", "Changes nothing: results are JSON."),
        Parameter::one::<bool>("stringify", "Whether the value is shown as text; so it is if absent."),
    ];
}

/// What a task instance returned. With `stringify`, which is the default, as text.
pub(crate) async fn get(
    access: Access,
    Named((dag_id, run, task, key)): Named<(DagId, RunName, TaskId, String)>,
    query: Asked<Wanted>,
) -> Result<Json<XCom>, Error> {
    let may = access.authorize(Resource::dag(Kind::Result, &dag_id), Action::Read).await?;
    let map_index = query.read("map_index")?.unwrap_or(-1);
    let run = find(&may, &dag_id, &run).await?;
    let row = result::get(may.db(), may.scope, run.run, &task, map_index).await?.filter(|_| key == KEY);
    let row = row.ok_or_else(|| {
        Error::NotFound(format!("`{task}` of run `{}` has no value `{key}` now", run.run_name))
    })?;
    let found = value(&may, &row).await?;
    let shown = match found {
        Value::String(text) => Value::String(text),
        other if query.flag("stringify")?.unwrap_or(true) => Value::String(other.to_string()),
        other => other,
    };
    Ok(Json(XCom { value: Some(shown), ..view(&may, &run, &row).await? }))
}
