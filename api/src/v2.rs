//! Airflow's REST API v2 over our tables: one folder per resource, one file per verb, all routes in [`router`].
//!
//! Types of answers and bodies are public, because the client reads and writes the same ones. What Airflow has and a
//! single node hasn't gets a plausible value; our own additions are extra keys, which clients of the contract ignore.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    response::IntoResponse as _,
    routing::{get, post, put},
};

use crate::{error::Error, own, state::Api};

pub mod assets;
pub mod backfills;
pub mod connections;
pub mod dag_runs;
pub mod dag_versions;
pub mod dags;
pub mod event_logs;
pub mod hitl_details;
pub mod monitor;
pub mod pools;
mod select;
pub mod task_instances;
pub mod tasks;
pub mod variables;
pub mod xcom;

/// The largest body.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Every route, declared here and nowhere else.
pub(crate) fn router(api: Api) -> Router {
    let run = "/dags/{dag_id}/dagRuns/{dag_run_id}";
    let task = format!("{run}/taskInstances/{{task_id}}");
    let routes = Router::new()
        .route("/version", get(monitor::version::version))
        .route("/monitor/health", get(monitor::health::health))
        .route("/dags", get(dags::list::list))
        .route("/dags/{dag_id}", get(dags::get::get).patch(dags::patch::patch).delete(dags::delete::delete))
        .route("/dags/{dag_id}/details", get(dags::details::details))
        .route("/dags/{dag_id}/release", post(dags::release::release))
        .route("/dags/{dag_id}/tasks", get(tasks::list::list))
        .route("/dags/{dag_id}/tasks/{task_id}", get(tasks::get::get))
        .route("/dags/{dag_id}/dagVersions", get(dag_versions::list))
        .route("/dags/{dag_id}/dagVersions/{version_number}", get(dag_versions::get))
        .route("/dags/{dag_id}/clearTaskInstances", post(task_instances::clear::clear))
        .route("/dags/{dag_id}/dagRuns", get(dag_runs::list::list).post(dag_runs::post::post))
        .route(run, get(dag_runs::get::get).patch(dag_runs::patch::patch).delete(dag_runs::delete::delete))
        .route(&format!("{run}/clear"), post(dag_runs::clear::clear))
        .route(&format!("{run}/release"), post(dag_runs::release::release))
        .route(&format!("{run}/wait"), get(dag_runs::wait::wait))
        .route(&format!("{run}/taskInstances"), get(task_instances::list::list))
        .route(&task, get(task_instances::get::get).patch(task_instances::patch::patch))
        .route(
            &format!("{task}/{{map_index}}"),
            get(task_instances::get::get_mapped).patch(task_instances::patch::patch_mapped),
        )
        .route(&format!("{run}/hitlDetails"), get(hitl_details::list))
        .route(
            &format!("{task}/{{map_index}}/hitlDetails"),
            get(hitl_details::get).patch(hitl_details::patch),
        )
        .route(&format!("{task}/{{map_index}}/hitlDetails/tries/{{try_number}}"), get(hitl_details::of_try))
        .route(&format!("{task}/listMapped"), get(task_instances::list::list_mapped))
        .route(&format!("{task}/tries"), get(task_instances::tries::list))
        .route(&format!("{task}/tries/{{task_try_number}}"), get(task_instances::tries::get))
        .route(&format!("{task}/{{map_index}}/tries"), get(task_instances::tries::list_mapped))
        .route(
            &format!("{task}/{{map_index}}/tries/{{task_try_number}}"),
            get(task_instances::tries::get_mapped),
        )
        .route(&format!("{task}/logs/{{try_number}}"), get(task_instances::logs::logs))
        .route(&format!("{task}/xcomEntries"), get(xcom::list::list))
        .route(&format!("{task}/xcomEntries/{{xcom_key}}"), get(xcom::get::get))
        .route("/pools", get(pools::list::list).post(pools::post::post))
        .route(
            "/pools/{pool_name}",
            get(pools::get::get).patch(pools::patch::patch).delete(pools::delete::delete),
        )
        .route("/variables", get(variables::list::list).post(variables::post::post))
        .route(
            "/variables/{variable_key}",
            get(variables::get::get).patch(variables::patch::patch).delete(variables::delete::delete),
        )
        .route("/connections", get(connections::list::list).post(connections::post::post))
        .route(
            "/connections/{connection_id}",
            get(connections::get::get).patch(connections::patch::patch).delete(connections::delete::delete),
        )
        .route("/backfills", get(backfills::list::list).post(backfills::post::post))
        .route("/backfills/{backfill_id}", get(backfills::get::get))
        // `airflowctl` posts what the contract puts.
        .route("/backfills/{backfill_id}/pause", put(backfills::change::pause).post(backfills::change::pause))
        .route(
            "/backfills/{backfill_id}/unpause",
            put(backfills::change::unpause).post(backfills::change::unpause),
        )
        .route(
            "/backfills/{backfill_id}/cancel",
            put(backfills::change::cancel).post(backfills::change::cancel),
        )
        .route("/assets", get(assets::list::list))
        .route("/assets/{asset_id}", get(assets::get::get))
        .route("/assets/events", get(assets::events::list).post(assets::events::post))
        .route("/eventLogs", get(event_logs::list))
        .route("/eventLogs/{event_log_id}", get(event_logs::get));
    Router::new()
        .nest("/api/v2", routes)
        .nest("/api/updraft/v1", own::routes())
        .fallback(|| async { Error::NotFound("Not Found".to_owned()) })
        .method_not_allowed_fallback(|| async {
            let body = axum::Json(serde_json::json!({ "detail": "Method Not Allowed" }));
            (axum::http::StatusCode::METHOD_NOT_ALLOWED, body).into_response()
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}
