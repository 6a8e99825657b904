//! Every call that the command line makes, one function each.

use hyper::Method;

use super::{Call, Client, ClientError};
use crate::{
    v1::alerts::AlertCollection,
    v2::{
        assets::{AssetCollection, AssetEvent, AssetEventBody, AssetEventCollection},
        backfills::{Backfill, BackfillBody, BackfillCollection},
        connections::{Connection, ConnectionBody, ConnectionCollection},
        dag_runs::{ClearRunBody, DagRun, DagRunCollection, DagRunPatch, TriggerBody},
        dags::{Dag, DagCollection, DagDetails, DagPatch},
        event_logs::EventLogCollection,
        hitl_details::{HitlAnswer, HitlAnswered, HitlDetailCollection},
        import_errors::ImportErrorCollection,
        monitor::{Health, Version},
        pools::{Pool, PoolBody, PoolCollection, PoolPatch},
        task_instances::{
            ClearBody, Log, TaskInstance, TaskInstanceCollection, TaskInstancePatch, waiting::WaitingAnswer,
        },
        tasks::TaskCollection,
        variables::{Variable, VariableBody, VariableCollection},
        xcom::XCom,
    },
};

type Answer<T> = Result<T, ClientError>;

/// Which page of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slice {
    /// How many at most; the service gives 100 at once.
    pub limit: Option<u64>,
    /// How many to leave out at the start.
    pub offset: Option<u64>,
}

/// Which DAGs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DagQuery {
    /// Only those whose name has this text in it.
    pub contains: Option<String>,
    /// Only paused ones, or only others.
    pub paused: Option<bool>,
    /// Also those that the newest bundle no longer has.
    pub with_stale: bool,
}

/// Which runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// Of this DAG; of all if absent.
    pub dag_id: Option<String>,
    /// In one of these states.
    pub states: Vec<String>,
    /// Of one of these types.
    pub run_types: Vec<String>,
}

fn get<'a>(segments: impl IntoIterator<Item = &'a str>) -> Call {
    Call::new(Method::GET, segments)
}

fn paged(call: Call, slice: Slice) -> Call {
    call.with("limit", slice.limit).with("offset", slice.offset)
}

impl Client {
    /// What tasks of a DAG, or of all with `~`, ask people, newest first.
    pub async fn questions(
        &self,
        dag: &str,
        answered: Option<bool>,
        slice: Slice,
    ) -> Answer<HitlDetailCollection> {
        let call = get(["dags", dag, "dagRuns", "~", "hitlDetails"]).with("response_received", answered);
        self.send(paged(call, slice)).await
    }

    /// Answers what a task instance asks.
    pub async fn answer(
        &self,
        dag: &str,
        run: &str,
        task: &str,
        map_index: i32,
        body: &HitlAnswer,
    ) -> Answer<HitlAnswered> {
        let index = map_index.to_string();
        let path = ["dags", dag, "dagRuns", run, "taskInstances", task, &index, "hitlDetails"];
        self.send(Call::new(Method::PATCH, path).body(body)).await
    }

    /// Alerts, newest first; in one delivery state if asked for.
    pub async fn alerts(&self, state: Option<&str>, slice: Slice) -> Answer<AlertCollection> {
        self.send(paged(Call::own(Method::GET, ["alerts"]).with("state", state), slice)).await
    }

    /// Which release the service is.
    pub async fn version(&self) -> Answer<Version> {
        self.send(get(["version"])).await
    }

    /// How the service is.
    pub async fn health(&self) -> Answer<Health> {
        self.send(get(["monitor", "health"])).await
    }

    /// DAGs by name.
    pub async fn dags(&self, query: &DagQuery, slice: Slice) -> Answer<DagCollection> {
        let call = get(["dags"])
            .with("dag_id_pattern", query.contains.as_ref())
            .with("paused", query.paused)
            .with("exclude_stale", query.with_stale.then_some(false));
        self.send(paged(call, slice)).await
    }

    /// Everything about one DAG.
    pub async fn dag(&self, dag: &str) -> Answer<DagDetails> {
        self.send(get(["dags", dag, "details"])).await
    }

    /// Pauses a DAG or lets it go on.
    pub async fn pause_dag(&self, dag: &str, is_paused: bool) -> Answer<Dag> {
        self.send(Call::new(Method::PATCH, ["dags", dag]).body(&DagPatch { is_paused })).await
    }

    /// Forgets a DAG that has no unfinished run.
    pub async fn delete_dag(&self, dag: &str) -> Answer<()> {
        self.done(Call::new(Method::DELETE, ["dags", dag])).await
    }

    /// The tasks of a DAG's newest version.
    pub async fn tasks(&self, dag: &str) -> Answer<TaskCollection> {
        self.send(get(["dags", dag, "tasks"])).await
    }

    /// Runs, those that are due last first.
    pub async fn runs(&self, query: &RunQuery, slice: Slice) -> Answer<DagRunCollection> {
        let mut call = get(["dags", query.dag_id.as_deref().unwrap_or("~"), "dagRuns"]);
        for state in &query.states {
            call = call.with("state", Some(state));
        }
        for kind in &query.run_types {
            call = call.with("run_type", Some(kind));
        }
        self.send(paged(call, slice)).await
    }

    /// One run.
    pub async fn run(&self, dag: &str, run: &str) -> Answer<DagRun> {
        self.send(get(["dags", dag, "dagRuns", run])).await
    }

    /// Makes a run. The same key again makes no second one.
    pub async fn trigger(&self, dag: &str, body: &TriggerBody, key: Option<&str>) -> Answer<DagRun> {
        let mut call = Call::new(Method::POST, ["dags", dag, "dagRuns"]).body(body);
        if let Some(key) = key {
            call = call.header("idempotency-key", key.to_owned());
        }
        self.send(call).await
    }

    /// Sets the state of a run by hand.
    pub async fn mark_run(&self, dag: &str, run: &str, patch: &DagRunPatch) -> Answer<DagRun> {
        self.send(Call::new(Method::PATCH, ["dags", dag, "dagRuns", run]).body(patch)).await
    }

    /// Runs everything of a run again. With `dry_run` use [`Client::would_clear_run`].
    pub async fn clear_run(&self, dag: &str, run: &str, body: &ClearRunBody) -> Answer<DagRun> {
        self.send(Call::new(Method::POST, ["dags", dag, "dagRuns", run, "clear"]).body(body)).await
    }

    /// What [`Client::clear_run`] would clear.
    pub async fn would_clear_run(
        &self,
        dag: &str,
        run: &str,
        body: &ClearRunBody,
    ) -> Answer<TaskInstanceCollection> {
        let body = ClearRunBody { dry_run: true, ..body.clone() };
        self.send(Call::new(Method::POST, ["dags", dag, "dagRuns", run, "clear"]).body(&body)).await
    }

    /// Works again with a quarantined run.
    pub async fn release_run(&self, dag: &str, run: &str) -> Answer<DagRun> {
        self.send(Call::new(Method::POST, ["dags", dag, "dagRuns", run, "release"])).await
    }

    /// Works again with a quarantined DAG.
    pub async fn release_dag(&self, dag: &str) -> Answer<()> {
        self.done(Call::new(Method::POST, ["dags", dag, "release"])).await
    }

    /// Forgets a finished run.
    pub async fn delete_run(&self, dag: &str, run: &str) -> Answer<()> {
        self.done(Call::new(Method::DELETE, ["dags", dag, "dagRuns", run])).await
    }

    /// Task instances of a run by task and map index.
    pub async fn task_instances(
        &self,
        dag: &str,
        run: &str,
        states: &[String],
        slice: Slice,
    ) -> Answer<TaskInstanceCollection> {
        let mut call = get(["dags", dag, "dagRuns", run, "taskInstances"]);
        for state in states {
            call = call.with("state", Some(state));
        }
        self.send(paged(call, slice)).await
    }

    /// One task instance.
    pub async fn task_instance(
        &self,
        dag: &str,
        run: &str,
        task: &str,
        map_index: i32,
    ) -> Answer<TaskInstance> {
        let index = map_index.to_string();
        self.send(get(["dags", dag, "dagRuns", run, "taskInstances", task, &index])).await
    }

    /// What holds a task instance.
    pub async fn waiting(&self, dag: &str, run: &str, task: &str, map_index: i32) -> Answer<WaitingAnswer> {
        let index = map_index.to_string();
        self.send(get(["dags", dag, "dagRuns", run, "taskInstances", task, &index, "waiting"])).await
    }

    /// The tries of a task instance, oldest first.
    pub async fn tries(
        &self,
        dag: &str,
        run: &str,
        task: &str,
        map_index: i32,
    ) -> Answer<TaskInstanceCollection> {
        let index = map_index.to_string();
        self.send(get(["dags", dag, "dagRuns", run, "taskInstances", task, &index, "tries"])).await
    }

    /// Runs task instances again, or only says which.
    pub async fn clear_tasks(&self, dag: &str, body: &ClearBody) -> Answer<TaskInstanceCollection> {
        self.send(Call::new(Method::POST, ["dags", dag, "clearTaskInstances"]).body(body)).await
    }

    /// Sets the state of task instances by hand.
    pub async fn mark_task(
        &self,
        dag: &str,
        run: &str,
        task: &str,
        map_index: Option<i32>,
        patch: &TaskInstancePatch,
    ) -> Answer<TaskInstanceCollection> {
        let index = map_index.map(|index| index.to_string());
        let segments = ["dags", dag, "dagRuns", run, "taskInstances", task];
        let segments = segments.into_iter().chain(index.as_deref());
        self.send(Call::new(Method::PATCH, segments).body(patch)).await
    }

    /// A piece of the log of a try: from the start, or from where the token of an earlier piece says.
    pub async fn log(
        &self,
        dag: &str,
        run: &str,
        (task, map_index): (&str, i32),
        try_number: u32,
        token: Option<&str>,
    ) -> Answer<Log> {
        let number = try_number.to_string();
        let call = get(["dags", dag, "dagRuns", run, "taskInstances", task, "logs", &number])
            .with("map_index", Some(map_index))
            .with("token", token);
        self.send(call).await
    }

    /// What a task instance returned.
    pub async fn result(&self, dag: &str, run: &str, task: &str, map_index: i32) -> Answer<XCom> {
        let path = ["dags", dag, "dagRuns", run, "taskInstances", task, "xcomEntries", "return_value"];
        self.send(get(path).with("map_index", Some(map_index)).with("stringify", Some(false))).await
    }

    /// Pools by name.
    pub async fn pools(&self, slice: Slice) -> Answer<PoolCollection> {
        self.send(paged(get(["pools"]), slice)).await
    }

    /// Files of DAGs that can't be used as they are now.
    pub async fn import_errors(&self, slice: Slice) -> Answer<ImportErrorCollection> {
        self.send(paged(get(["importErrors"]), slice)).await
    }

    /// Makes a pool.
    pub async fn make_pool(&self, body: &PoolBody) -> Answer<Pool> {
        self.send(Call::new(Method::POST, ["pools"]).body(body)).await
    }

    /// Changes a pool.
    pub async fn change_pool(&self, name: &str, patch: &PoolPatch) -> Answer<Pool> {
        self.send(Call::new(Method::PATCH, ["pools", name]).body(patch)).await
    }

    /// Deletes a pool.
    pub async fn delete_pool(&self, name: &str) -> Answer<()> {
        self.done(Call::new(Method::DELETE, ["pools", name])).await
    }

    /// Variables by name.
    pub async fn variables(&self, slice: Slice) -> Answer<VariableCollection> {
        self.send(paged(get(["variables"]), slice)).await
    }

    /// One variable.
    pub async fn variable(&self, name: &str) -> Answer<Variable> {
        self.send(get(["variables", name])).await
    }

    /// Makes a variable.
    pub async fn make_variable(&self, body: &VariableBody) -> Answer<Variable> {
        self.send(Call::new(Method::POST, ["variables"]).body(body)).await
    }

    /// Changes a variable.
    pub async fn change_variable(&self, body: &VariableBody) -> Answer<Variable> {
        self.send(Call::new(Method::PATCH, ["variables", &body.key]).body(body)).await
    }

    /// Deletes a variable.
    pub async fn delete_variable(&self, name: &str) -> Answer<()> {
        self.done(Call::new(Method::DELETE, ["variables", name])).await
    }

    /// Connections by name.
    pub async fn connections(&self, slice: Slice) -> Answer<ConnectionCollection> {
        self.send(paged(get(["connections"]), slice)).await
    }

    /// One connection, without its secrets.
    pub async fn connection(&self, name: &str) -> Answer<Connection> {
        self.send(get(["connections", name])).await
    }

    /// Makes a connection.
    pub async fn make_connection(&self, body: &ConnectionBody) -> Answer<Connection> {
        self.send(Call::new(Method::POST, ["connections"]).body(body)).await
    }

    /// Changes those fields of a connection.
    pub async fn change_connection(&self, body: &ConnectionBody, fields: &[&str]) -> Answer<Connection> {
        let call = Call::new(Method::PATCH, ["connections", &body.connection_id]).body(body);
        self.send(call.with("update_mask", Some(fields.join(",")))).await
    }

    /// Deletes a connection.
    pub async fn delete_connection(&self, name: &str) -> Answer<()> {
        self.done(Call::new(Method::DELETE, ["connections", name])).await
    }

    /// Backfills, the newest first.
    pub async fn backfills(&self, dag: Option<&str>, slice: Slice) -> Answer<BackfillCollection> {
        self.send(paged(get(["backfills"]).with("dag_id", dag), slice)).await
    }

    /// One backfill.
    pub async fn backfill(&self, id: i64) -> Answer<Backfill> {
        self.send(get(["backfills", &id.to_string()])).await
    }

    /// Makes runs for past dates.
    pub async fn make_backfill(&self, body: &BackfillBody) -> Answer<Backfill> {
        self.send(Call::new(Method::POST, ["backfills"]).body(body)).await
    }

    /// `pause`, `unpause` or `cancel`.
    pub async fn change_backfill(&self, id: i64, change: &str) -> Answer<Backfill> {
        self.send(Call::new(Method::PUT, ["backfills", &id.to_string(), change])).await
    }

    /// Assets by name.
    pub async fn assets(&self, contains: Option<&str>, slice: Slice) -> Answer<AssetCollection> {
        self.send(paged(get(["assets"]).with("name_pattern", contains), slice)).await
    }

    /// Events of assets, the newest first.
    pub async fn asset_events(&self, asset: Option<u64>, slice: Slice) -> Answer<AssetEventCollection> {
        self.send(paged(get(["assets", "events"]).with("asset_id", asset), slice)).await
    }

    /// Records that an asset was updated.
    pub async fn make_asset_event(&self, body: &AssetEventBody) -> Answer<AssetEvent> {
        self.send(Call::new(Method::POST, ["assets", "events"]).body(body)).await
    }

    /// The audit log, the newest first.
    pub async fn event_logs(&self, slice: Slice) -> Answer<EventLogCollection> {
        self.send(paged(get(["eventLogs"]), slice)).await
    }
}
