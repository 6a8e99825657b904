//! What the contract has and this service hasn't: empty collections where nothing can be in them, and a clear 501 for the
//! rest. All of it passes the gate like everything else.

use axum::Json;
use migrations::policy::Kind;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{access::Access, describe::Absent, error::Error, routes::Routes};

/// An operation that isn't there.
macro_rules! absent {
    ($what:literal) => {
        async |_access: Access| Absent($what)
    };
}

/// A collection that nothing can be in, for whoever may read that kind.
macro_rules! empty {
    ($kind:ident, $key:ident) => {{
        #[derive(Serialize, JsonSchema)]
        #[schemars(inline)]
        struct Collection {
            $key: Vec<Value>,
            total_entries: u64,
        }
        async |access: Access| {
            access.list(Kind::$kind).await?;
            Ok::<_, Error>(Json(Collection { $key: Vec::new(), total_entries: 0 }))
        }
    }};
}

/// What is configured is the operator's own.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Configuration {
    sections: Vec<Value>,
}

/// The routes of all that.
pub(crate) fn add(routes: Routes) -> Routes {
    let run = "/dags/{dag_id}/dagRuns/{dag_run_id}";
    let task = format!("{run}/taskInstances/{{task_id}}");
    let store = format!("{task}/state-store");
    let routes = routes
        .get("/assets/aliases", empty!(Asset, asset_aliases))
        .get("/assets/aliases/{asset_alias_id}", absent!("an asset alias"))
        .post("/assets/{asset_id}/materialize", absent!("materializing an asset"))
        .get("/assets/{asset_id}/queuedEvents", absent!("the list of queued events"))
        .delete("/assets/{asset_id}/queuedEvents", absent!("deleting queued events"))
        .get("/assets/{asset_id}/state-store", absent!("the state of an asset"))
        .delete("/assets/{asset_id}/state-store", absent!("the state of an asset"))
        .get("/assets/{asset_id}/state-store/{key}", absent!("the state of an asset"))
        .put("/assets/{asset_id}/state-store/{key}", absent!("the state of an asset"))
        .delete("/assets/{asset_id}/state-store/{key}", absent!("the state of an asset"))
        // `airflowctl` deletes under paths that the contract hasn't got.
        .delete("/assets/dags/{dag_id}/queuedEvents", absent!("deleting queued events"))
        .delete("/assets/dags/{dag_id}/assets/{asset_id}/queuedEvents", absent!("deleting queued events"))
        .get("/dags/{dag_id}/assets/queuedEvents", absent!("the list of queued events"))
        .delete("/dags/{dag_id}/assets/queuedEvents", absent!("deleting queued events"))
        .get("/dags/{dag_id}/assets/{asset_id}/queuedEvents", absent!("the list of queued events"))
        .delete("/dags/{dag_id}/assets/{asset_id}/queuedEvents", absent!("deleting queued events"))
        // `test`, `enqueue-test` and `defaults`; a path of their own would hide connections of these names.
        .post("/connections/{connection_id}", absent!("testing connections and making default ones"))
        .get("/config", async |access: Access| {
            access.list(Kind::Dag).await?;
            Ok::<_, Error>(Json(Configuration { sections: Vec::new() }))
        })
        .get("/config/section/{section}/option/{option}", absent!("reading the configuration"))
        .get("/dagWarnings", empty!(Dag, dag_warnings))
        .get("/jobs", empty!(Dag, jobs))
        .get("/plugins", empty!(Dag, plugins))
        .get("/plugins/importErrors", empty!(Dag, import_errors))
        .get("/providers", empty!(Dag, providers))
        .put("/parseDagFile/{file_token}", absent!("parsing a file on demand"))
        .patch("/dags", absent!("pausing several DAGs at once"))
        .post("/dags/{dag_id}/favorite", absent!("marking favourites"))
        .post("/dags/{dag_id}/unfavorite", absent!("marking favourites"));
    routes
        .patch("/dags/{dag_id}/dagRuns", absent!("changing several runs at once"))
        .post("/dags/{dag_id}/clearDagRuns", absent!("clearing several runs at once"))
        .post("/dags/{dag_id}/clearPartitions", absent!("clearing partitions"))
        .patch(&format!("{run}/taskInstances"), absent!("changing several task instances at once"))
        // `list`; a path of its own would hide a task of that name.
        .post(&task, absent!("listing task instances by a body"))
        .patch(&format!("{run}/taskGroupInstances/{{group_id}}"), absent!("changing a task group"))
        .patch(&format!("{run}/taskGroupInstances/{{group_id}}/dry_run"), absent!("changing a task group"))
        .delete(&task, absent!("deleting a task instance"))
        .patch(&format!("{task}/dry_run"), absent!("the dry run of a change"))
        .patch(&format!("{task}/{{map_index}}/dry_run"), absent!("the dry run of a change"))
        .get(&format!("{task}/links"), absent!("links of an operator"))
        .get(&format!("{task}/externalLogUrl/{{try_number}}"), absent!("logs at another address"))
        .post(&format!("{task}/xcomEntries"), absent!("writing a result from outside"))
        .patch(&format!("{task}/xcomEntries/{{xcom_key}}"), absent!("writing a result from outside"))
        .delete(&format!("{task}/xcomEntries/{{xcom_key}}"), absent!("deleting a result"))
        .get(&store, absent!("the state of a task"))
        .delete(&store, absent!("the state of a task"))
        .get(&format!("{store}/{{key}}"), absent!("the state of a task"))
        .put(&format!("{store}/{{key}}"), absent!("the state of a task"))
        .patch(&format!("{store}/{{key}}"), absent!("the state of a task"))
        .delete(&format!("{store}/{{key}}"), absent!("the state of a task"))
}
