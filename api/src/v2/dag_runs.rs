//! Runs.

use dags::{
    ids::{DagId, RunName},
    run_name::RunType,
    time::Timestamp,
};
use engine::{rows::RunRow, state::RunState};
use migrations::store::run;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    access::Permit,
    error::Error,
    trace,
    v2::{
        dag_versions::{DagVersion, Versions},
        dags::find as find_dag,
    },
};

pub(crate) mod batch;
pub(crate) mod clear;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod post;
pub(crate) mod release;
pub(crate) mod wait;

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DagRun {
    /// Its name.
    pub dag_run_id: String,
    /// The DAG.
    pub dag_id: String,
    /// What it stands for.
    pub logical_date: Option<Timestamp>,
    /// When it was last queued.
    pub queued_at: Option<Timestamp>,
    /// When it started.
    pub start_date: Option<Timestamp>,
    /// When it ended.
    pub end_date: Option<Timestamp>,
    /// How long it took, in seconds.
    pub duration: Option<f64>,
    /// Where its data interval starts.
    pub data_interval_start: Option<Timestamp>,
    /// Where its data interval ends.
    pub data_interval_end: Option<Timestamp>,
    /// When it is or was due.
    pub run_after: Timestamp,
    /// Unknown: nothing decides about runs in rounds.
    pub last_scheduling_decision: Option<Timestamp>,
    /// What made it.
    pub run_type: RunType,
    /// Its state.
    pub state: RunState,
    /// By which way it was asked for.
    pub triggered_by: Option<String>,
    /// Who asked for it.
    pub triggering_user_name: Option<String>,
    /// What the caller passed.
    pub conf: Option<Map<String, Value>>,
    /// A note for people.
    pub note: Option<String>,
    /// The version that it is pinned to.
    pub dag_versions: Vec<DagVersion>,
    /// The bundle that it is pinned to.
    pub bundle_version: Option<String>,
    /// The same as `dag_id`.
    pub dag_display_name: String,
    /// None.
    pub partition_key: Option<String>,
    /// None.
    pub partition_date: Option<Timestamp>,
    /// Why it ended as it did, where that isn't plain: our addition.
    #[serde(default)]
    pub reason: Option<String>,
    /// How often it was cleared: our addition.
    #[serde(default)]
    pub clear_number: u32,
}

/// A page of runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DagRunCollection {
    /// The runs.
    pub dag_runs: Vec<DagRun>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// A run that is asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerBody {
    /// Its name; made from the date if absent.
    #[serde(default)]
    pub dag_run_id: Option<String>,
    /// Follows from date and timetable; may not be set.
    #[serde(default)]
    pub data_interval_start: Option<Timestamp>,
    /// Follows from date and timetable; may not be set.
    #[serde(default)]
    pub data_interval_end: Option<Timestamp>,
    /// What it stands for. The key must be there, `null` is allowed.
    #[serde(deserialize_with = "Option::deserialize")]
    pub logical_date: Option<Timestamp>,
    /// When it may start; now if absent.
    #[serde(default)]
    pub run_after: Option<Timestamp>,
    /// Parameters and whatever else the caller passes.
    #[serde(default)]
    pub conf: Option<Map<String, Value>>,
    /// A note for people.
    #[serde(default)]
    pub note: Option<String>,
    /// There are no partitions.
    #[serde(default)]
    pub partition_key: Option<String>,
}

/// A change of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DagRunPatch {
    /// `success` or `failed`: unfinished tasks follow; `queued`: it goes on.
    #[serde(default)]
    pub state: Option<RunState>,
    /// Notes are set when a run is made.
    #[serde(default)]
    pub note: Option<String>,
}

/// A run that is to run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClearRunBody {
    /// Only say what would be cleared.
    pub dry_run: bool,
    /// Only what failed.
    pub only_failed: bool,
    /// Not supported: `run_on_latest_version` creates what is new.
    pub only_new: bool,
    /// Move the run to the DAG's newest version.
    pub run_on_latest_version: Option<bool>,
    /// Notes are set when a run is made.
    pub note: Option<String>,
}

impl Default for ClearRunBody {
    fn default() -> Self {
        Self { dry_run: true, only_failed: false, only_new: false, run_on_latest_version: None, note: None }
    }
}

/// The run of that name, or not found.
pub(crate) async fn find(may: &Permit, dag_id: &DagId, name: &RunName) -> Result<RunRow, Error> {
    match run::by_name(may.db(), may.scope, dag_id, name).await? {
        Some(found) => Ok(found),
        None => {
            find_dag(may, dag_id).await?;
            Err(Error::NotFound(format!("`{dag_id}` has no run `{name}`")))
        }
    }
}

/// One run, as it is now.
pub(crate) async fn read(may: &Permit, dag_id: &DagId, name: &RunName) -> Result<DagRun, Error> {
    let row = find(may, dag_id, name).await?;
    trace::about(&row);
    let versions = Versions::of(may, std::slice::from_ref(dag_id)).await?;
    Ok(view(&row, &versions))
}

pub(crate) fn view(row: &RunRow, versions: &Versions) -> DagRun {
    DagRun {
        dag_run_id: row.run_name.to_string(),
        dag_id: row.dag_id.to_string(),
        logical_date: row.logical_date,
        queued_at: Some(row.queued_at),
        start_date: row.started_at,
        end_date: row.ended_at,
        duration: duration(row.started_at, row.ended_at),
        data_interval_start: row.interval.map(|interval| interval.0),
        data_interval_end: row.interval.map(|interval| interval.1),
        run_after: row.run_after,
        last_scheduling_decision: None,
        run_type: row.run_type,
        state: row.state,
        triggered_by: Some(way(row).to_owned()),
        triggering_user_name: row.triggered_by.as_deref().map(str::to_owned),
        conf: Some((*row.conf).clone()),
        note: row.note.as_deref().map(str::to_owned),
        dag_versions: versions.view(&row.dag_id, &row.version).into_iter().collect(),
        bundle_version: Some(row.bundle.to_string()),
        dag_display_name: row.dag_id.to_string(),
        partition_key: None,
        partition_date: None,
        reason: row.reason.as_deref().map(str::to_owned),
        clear_number: row.clear_number,
    }
}

fn way(row: &RunRow) -> &'static str {
    match row.run_type {
        RunType::Scheduled => "timetable",
        RunType::Backfill => "backfill",
        RunType::AssetTriggered => "asset",
        // A task that asked is named by its DAG and run; no user has a slash in the name.
        RunType::Manual if row.triggered_by.as_deref().is_some_and(|by| by.contains('/')) => "operator",
        RunType::Manual => "rest_api",
    }
}

/// Seconds between two instants, once both are there.
pub(crate) fn duration(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<f64> {
    Some(to?.since(from?).0 as f64 / 1e6)
}

/// What is true of all notes but those of new runs.
pub(crate) fn no_note(note: Option<&String>) -> Result<(), Error> {
    match note {
        Some(_) => Err(Error::unsupported("`note`", "a note is given when a run is triggered")),
        None => Ok(()),
    }
}
