//! What one attempt is given: everything that its supervisor needs to run it, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use dags::{
    ids::{DagId, DispatchId, RunName, TaskId, TenantId},
    model::{Gpu, Pod},
    time::{Span, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::policy::Policy;

/// The context of one attempt.
///
/// It comes from the service by the dispatch's token (or in process), never from the broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptContext {
    /// The dispatch that this is for.
    pub dispatch: DispatchId,
    /// Which member of the gang, 0 for an ordinary task.
    pub member: u32,
    /// How many members the gang has.
    pub members: u32,
    /// Whose attempt it is.
    pub tenant: TenantId,
    /// The task.
    pub task: TaskContext,
    /// The run.
    pub run: RunContext,
    /// The folder of the bundle that the run is pinned to, unpacked and read-only.
    pub bundle_dir: PathBuf,
    /// The results of direct upstream tasks, by task: a value, or a list in index order for a mapped one.
    pub outputs: BTreeMap<TaskId, Value>,
    /// The values of the mapped variables for this index.
    pub map: Map<String, Value>,
    /// Variables that the task's expressions name.
    pub variables: BTreeMap<String, Value>,
    /// Those of the variables whose values are secret: masked wherever they are shown.
    #[serde(default)]
    pub secret_variables: BTreeSet<String>,
    /// Connections that the task names. Secret: never logged.
    pub connections: BTreeMap<String, Connection>,
    /// What the attempt may reach.
    #[serde(default)]
    pub policy: Policy,
}

/// The task's own part of the context, from the DAG version that the run is pinned to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskContext {
    /// The task's name.
    pub task_id: TaskId,
    /// The mapped index, -1 for an ordinary task.
    pub map_index: i32,
    /// Which try this is, from 1.
    pub try_number: u32,
    /// How many tries there may be.
    pub max_tries: u32,
    /// How long ago this try first started; more than zero after a reschedule or deferral.
    #[serde(default)]
    pub waited: Span,
    /// The operator's name.
    pub operator: String,
    /// The operator's parameters; templates are still text.
    pub args: Map<String, Value>,
    /// The names of the parameters to render.
    pub templated: Vec<String>,
    /// Environment variables; templates are still text.
    pub env: BTreeMap<String, String>,
    /// How long the attempt may run.
    pub timeout: Option<Span>,
    /// Memory limit in bytes, 0 for none.
    pub memory_bytes: u64,
    /// CPU limit in thousandths, 0 for none.
    pub cpu_milli: u64,
    /// GPUs, for executors that find them for each attempt.
    #[serde(default)]
    pub gpu: Option<Gpu>,
    /// What its pod is to be like, if it runs in one.
    #[serde(default)]
    pub pod: Option<Pod>,
}

/// The run's part of the context: what templates see under Airflow's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunContext {
    /// The DAG's name.
    pub dag_id: DagId,
    /// The run's name.
    pub run_name: RunName,
    /// `scheduled`, `manual`, `backfill` or `asset_triggered`.
    pub run_type: String,
    /// What the run stands for.
    pub logical_date: Option<Timestamp>,
    /// Where its data interval starts.
    pub data_interval_start: Option<Timestamp>,
    /// Where its data interval ends.
    pub data_interval_end: Option<Timestamp>,
    /// When it was due.
    pub run_after: Timestamp,
    /// The successful run before this one, by the dates that they stand for, if the task may ask for it.
    #[serde(default)]
    pub previous: Option<PreviousRun>,
    /// For a run that assets made, if the task may ask for them: the events that it stands for, by asset, oldest first.
    /// Of more than [`ASSET_EVENTS_MAX`] the oldest are left out.
    #[serde(default)]
    pub asset_events: BTreeMap<String, Vec<AssetEvent>>,
    /// How much of its data a run that only tries things out should take, in whatever the task counts; nothing for all of it.
    #[serde(default)]
    pub sample: Option<u64>,
    /// The DAG's time zone.
    pub timezone: String,
    /// The run's parameters, complete with defaults.
    pub params: Map<String, Value>,
    /// What the caller passed.
    pub conf: Map<String, Value>,
}

/// How many events of assets a run is told about.
pub const ASSET_EVENTS_MAX: u64 = 1_000;

/// What is told of the successful run before a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousRun {
    /// What it stood for.
    pub logical_date: Option<Timestamp>,
    /// Where its data interval started.
    pub data_interval_start: Option<Timestamp>,
    /// Where its data interval ended.
    pub data_interval_end: Option<Timestamp>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// An update of an asset, as templates see it. The names are Airflow's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssetEvent {
    /// When it happened.
    pub timestamp: Timestamp,
    /// Whatever the producer wants consumers to see.
    pub extra: Map<String, Value>,
    /// The DAG of the task that made it; none if no task did, or if its run is gone.
    pub source_dag_id: Option<String>,
    /// Its run.
    pub source_run_id: Option<String>,
    /// The task.
    pub source_task_id: Option<String>,
    /// Its map index, -1 if there is none.
    pub source_map_index: i32,
}

/// A connection, complete with its secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// `postgres`, `sqlite`, `http`, ...
    pub conn_type: String,
    /// The host.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The database or path.
    pub schema: Option<String>,
    /// The user.
    pub login: Option<String>,
    /// The password. Secret.
    pub password: Option<String>,
    /// Everything else. Secret.
    pub extra: Map<String, Value>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("conn_type", &self.conn_type).finish_non_exhaustive()
    }
}
