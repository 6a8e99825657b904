//! Airflow's REST API v2 over our tables: one folder per resource, one file per verb, all routes in [`router`].
//!
//! Types of answers and bodies are public, because the client reads and writes the same ones. What Airflow has and a
//! single node hasn't gets a plausible value; our own additions are extra keys, which clients of the contract ignore.

use crate::routes::Routes;

pub mod assets;
pub mod backfills;
pub mod connections;
pub mod dag_runs;
pub mod dag_sources;
pub mod dag_stats;
pub mod dag_versions;
pub mod dags;
mod elsewhere;
pub mod event_logs;
pub mod hitl_details;
pub mod import_errors;
pub mod monitor;
pub mod pools;
pub(crate) mod select;
pub mod task_instances;
pub mod tasks;
pub mod variables;
pub mod xcom;

/// Every route, declared here and nowhere else.
pub(crate) fn router() -> Routes {
    let run = "/dags/{dag_id}/dagRuns/{dag_run_id}";
    let task = format!("{run}/taskInstances/{{task_id}}");
    let routes = Routes::default()
        .get("/version", monitor::version::version)
        .get("/monitor/health", monitor::health::health)
        .get("/dags", dags::list::list)
        .get("/dagStats", dag_stats::list)
        .get("/dagTags", dags::tags::tags)
        .get("/dags/{dag_id}", dags::get::get)
        .patch("/dags/{dag_id}", dags::patch::patch)
        .delete("/dags/{dag_id}", dags::delete::delete)
        .get("/dags/{dag_id}/details", dags::details::details)
        .post("/dags/{dag_id}/release", dags::release::release)
        .get("/dags/{dag_id}/tasks", tasks::list::list)
        .get("/dags/{dag_id}/tasks/{task_id}", tasks::get::get)
        .get("/dags/{dag_id}/dagVersions", dag_versions::list)
        .get("/dags/{dag_id}/dagVersions/{version_number}", dag_versions::get)
        .get("/dagSources/{dag_id}", dag_sources::get)
        .post("/dags/{dag_id}/clearTaskInstances", task_instances::clear::clear)
        .get("/dags/{dag_id}/dagRuns", dag_runs::list::list)
        .post("/dags/{dag_id}/dagRuns", dag_runs::post::post)
        .get(run, dag_runs::get::get)
        // `list`; a path of its own would hide a run of that name.
        .post(run, dag_runs::batch::batch)
        .only_as("list")
        .patch(run, dag_runs::patch::patch)
        .delete(run, dag_runs::delete::delete)
        .post(&format!("{run}/clear"), dag_runs::clear::clear)
        .post(&format!("{run}/release"), dag_runs::release::release)
        .get(&format!("{run}/wait"), dag_runs::wait::wait)
        .get(&format!("{run}/taskInstances"), task_instances::list::list)
        .get(&task, task_instances::get::get)
        .patch(&task, task_instances::patch::patch)
        .get(&format!("{task}/{{map_index}}"), task_instances::get::get_mapped)
        .patch(&format!("{task}/{{map_index}}"), task_instances::patch::patch_mapped)
        .get(&format!("{run}/hitlDetails"), hitl_details::list)
        .get(&format!("{task}/{{map_index}}/hitlDetails"), hitl_details::get)
        .patch(&format!("{task}/{{map_index}}/hitlDetails"), hitl_details::patch)
        .get(&format!("{task}/{{map_index}}/hitlDetails/tries/{{try_number}}"), hitl_details::of_try)
        .get(&format!("{task}/listMapped"), task_instances::list::list_mapped)
        .get(&format!("{task}/tries"), task_instances::tries::list)
        .get(&format!("{task}/tries/{{task_try_number}}"), task_instances::tries::get)
        .get(&format!("{task}/{{map_index}}/tries"), task_instances::tries::list_mapped)
        .get(&format!("{task}/dependencies"), task_instances::waiting::dependencies)
        .get(&format!("{task}/{{map_index}}/dependencies"), task_instances::waiting::dependencies_mapped)
        .get(&format!("{task}/{{map_index}}/waiting"), task_instances::waiting::waiting)
        .get(&format!("{task}/{{map_index}}/tries/{{task_try_number}}"), task_instances::tries::get_mapped)
        .get(&format!("{task}/logs/{{try_number}}"), task_instances::logs::logs)
        .get(&format!("{task}/xcomEntries"), xcom::list::list)
        .get(&format!("{task}/xcomEntries/{{xcom_key}}"), xcom::get::get)
        .get("/pools", pools::list::list)
        .post("/pools", pools::post::post)
        .get("/pools/{pool_name}", pools::get::get)
        .patch("/pools/{pool_name}", pools::patch::patch)
        .delete("/pools/{pool_name}", pools::delete::delete)
        .get("/variables", variables::list::list)
        .post("/variables", variables::post::post)
        .get("/variables/{variable_key}", variables::get::get)
        .patch("/variables/{variable_key}", variables::patch::patch)
        .delete("/variables/{variable_key}", variables::delete::delete)
        .get("/connections", connections::list::list)
        .post("/connections", connections::post::post)
        .get("/connections/{connection_id}", connections::get::get)
        .patch("/connections/{connection_id}", connections::patch::patch)
        .delete("/connections/{connection_id}", connections::delete::delete)
        .get("/backfills", backfills::list::list)
        .post("/backfills", backfills::post::post)
        .post("/backfills/dry_run", backfills::dry_run::post)
        .get("/backfills/{backfill_id}", backfills::get::get)
        // `airflowctl` posts what the contract puts.
        .put("/backfills/{backfill_id}/pause", backfills::change::pause)
        .post("/backfills/{backfill_id}/pause", backfills::change::pause)
        .put("/backfills/{backfill_id}/unpause", backfills::change::unpause)
        .post("/backfills/{backfill_id}/unpause", backfills::change::unpause)
        .put("/backfills/{backfill_id}/cancel", backfills::change::cancel)
        .post("/backfills/{backfill_id}/cancel", backfills::change::cancel)
        .get("/importErrors", import_errors::list)
        .get("/importErrors/{import_error_id}", import_errors::get)
        .get("/assets", assets::list::list)
        .get("/assets/{asset_id}", assets::get::get)
        .get("/assets/events", assets::events::list)
        .post("/assets/events", assets::events::post)
        .get("/dags/{dag_id}/dagRuns/{dag_run_id}/upstreamAssetEvents", assets::events::of_run)
        .get("/eventLogs", event_logs::list)
        .get("/eventLogs/{event_log_id}", event_logs::get);
    elsewhere::add(routes)
}
