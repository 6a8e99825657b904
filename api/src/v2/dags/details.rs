//! `GET /dags/{dag_id}/details`

use std::sync::Arc;

use axum::Json;
use dags::{
    ids::DagId,
    model::{Dag, Missed},
};
use engine::state::RunState;
use migrations::policy::{Action, Kind};
use migrations::store::{
    Window,
    run::{self, RunFilter},
};
use serde_json::{Map, Value, json};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
    v2::{
        dag_versions::Versions,
        dags::{DagDetails, expression, find, iso, view},
    },
};

/// Everything about one DAG.
pub(crate) async fn details(access: Access, Named(dag_id): Named<DagId>) -> Result<Json<DagDetails>, Error> {
    let may = access.authorize(Resource::dag(Kind::Dag, &dag_id), Action::Read).await?;
    let found = find(&may, &dag_id).await?;
    let versions = Versions::of(&may, std::slice::from_ref(&dag_id)).await?;
    let active = RunFilter {
        dag_id: Some(dag_id.clone()),
        states: vec![RunState::Queued, RunState::Running],
        ..RunFilter::default()
    };
    let active = run::list(may.db(), may.scope, &active, Window { limit: 0, offset: 0 }).await?.total;
    let model = found.model().ok();
    let params =
        |model: &Arc<Dag>| model.params.iter().map(|(name, schema)| (name.clone(), param(schema))).collect();
    Ok(Json(DagDetails {
        dag: view(&found),
        catchup: model.is_some_and(|model| model.schedule.missed == Missed::All),
        dag_run_timeout: model.and_then(|model| model.run_timeout).map(iso),
        asset_expression: model.and_then(|model| expression(&model.schedule.when)),
        doc_md: model.and_then(|model| model.doc.clone()),
        start_date: model.and_then(|model| model.start_date),
        end_date: model.and_then(|model| model.end_date),
        is_paused_upon_creation: None,
        params: model.map(params),
        render_template_as_native_obj: false,
        template_search_path: None,
        timezone: model.map(|model| model.schedule.timezone.clone()),
        last_parsed: None,
        default_args: None,
        rerun_with_latest_version: None,
        owner_links: Some(Map::new()),
        is_favorite: false,
        active_runs_count: active,
        concurrency: model.map_or(0, |model| model.max_active_tasks),
        latest_dag_version: versions.view(&dag_id, &found.row.version),
    }))
}

fn param(schema: &Value) -> Value {
    json!({
        "value": schema.get("default"),
        "description": schema.get("description"),
        "schema": schema,
    })
}
