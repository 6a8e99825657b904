//! The names that authors use: Airflow's, built from the facts of one attempt.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::instant::Instant;

/// The facts of one attempt that its templates can see. Instants are RFC 3339 texts.
#[derive(Clone, Default)]
pub struct RunFacts {
    /// The DAG's name.
    pub dag_id: String,
    /// The run's name.
    pub run_id: String,
    /// `scheduled`, `manual`, `backfill` or `asset_triggered`.
    pub run_type: String,
    /// What the run stands for.
    pub logical_date: Option<String>,
    /// Where its data interval starts.
    pub data_interval_start: Option<String>,
    /// Where its data interval ends.
    pub data_interval_end: Option<String>,
    /// When it was due.
    pub run_after: Option<String>,
    /// The successful run before this one, by the dates that they stand for.
    pub previous: Option<PreviousRun>,
    /// For a run that assets made: the name of each asset with its events, the oldest first.
    pub asset_events: Map<String, Value>,
    /// The task's name, empty where there is none.
    pub task_id: String,
    /// Which try it is, from 1.
    pub try_number: u32,
    /// How many tries there may be.
    pub max_tries: u32,
    /// The mapped index, -1 for an ordinary task.
    pub map_index: i32,
    /// How much of its data a run that only tries things out should take; nothing for all of it.
    pub sample: Option<u64>,
    /// The run's parameters.
    pub params: Map<String, Value>,
    /// What the run's creator passed.
    pub conf: Map<String, Value>,
    /// The values of the mapped variables.
    pub map: Map<String, Value>,
    /// Results of upstream tasks.
    pub outputs: Map<String, Value>,
    /// Variables that the texts name.
    pub variables: BTreeMap<String, Value>,
    /// Connections that the texts name, each an object with `host`, `password` and so on.
    pub connections: Map<String, Value>,
}

/// What templates see of the successful run before a run.
#[derive(Debug, Clone, Default)]
pub struct PreviousRun {
    /// What it stood for.
    pub logical_date: Option<String>,
    /// Where its data interval started.
    pub data_interval_start: Option<String>,
    /// Where its data interval ended.
    pub data_interval_end: Option<String>,
    /// When it started.
    pub started_at: Option<String>,
    /// When it ended.
    pub ended_at: Option<String>,
}

impl std::fmt::Debug for RunFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Variables, connections and results may be secret.
        f.debug_struct("RunFacts")
            .field("dag_id", &self.dag_id)
            .field("run_id", &self.run_id)
            .field("task_id", &self.task_id)
            .finish_non_exhaustive()
    }
}

fn formatted(at: Option<&Instant>, format: &str) -> Value {
    at.and_then(|at| at.strftime(format).ok()).map_or(Value::Null, Value::from)
}

/// Builds the context that [`crate::Templates`] take.
///
/// `ds`, `ts` and their likes come from the logical date, else from `run_after`, so that they always exist.
pub fn airflow_context(facts: &RunFacts) -> Value {
    let at = facts.logical_date.as_deref().or(facts.run_after.as_deref()).and_then(Instant::parse);
    let at = at.as_ref();
    let ti = json!({
        "dag_id": facts.dag_id,
        "run_id": facts.run_id,
        "task_id": facts.task_id,
        "try_number": facts.try_number,
        "max_tries": facts.max_tries,
        "map_index": facts.map_index,
    });
    let nothing = PreviousRun::default();
    let previous = facts.previous.as_ref().unwrap_or(&nothing);
    let var: (Map<String, Value>, Map<String, Value>) = (
        facts.variables.iter().map(|(name, value)| (name.clone(), as_text(value))).collect(),
        facts.variables.iter().map(|(name, value)| (name.clone(), parsed(value))).collect(),
    );
    json!({
        "ds": formatted(at, "%Y-%m-%d"),
        "ds_nodash": formatted(at, "%Y%m%d"),
        "ts": at.map(Instant::isoformat),
        "ts_nodash": formatted(at, "%Y%m%dT%H%M%S"),
        "ts_nodash_with_tz": formatted(at, "%Y%m%dT%H%M%S+0000"),
        "logical_date": facts.logical_date,
        "data_interval_start": facts.data_interval_start,
        "data_interval_end": facts.data_interval_end,
        "run_after": facts.run_after,
        "run_id": facts.run_id,
        "dag": { "dag_id": facts.dag_id },
        "task": { "task_id": facts.task_id },
        "dag_run": {
            "dag_id": facts.dag_id,
            "run_id": facts.run_id,
            "run_type": facts.run_type,
            "logical_date": facts.logical_date,
            "data_interval_start": facts.data_interval_start,
            "data_interval_end": facts.data_interval_end,
            "run_after": facts.run_after,
            "conf": facts.conf,
        },
        "ti": ti,
        "task_instance": ti,
        "task_instance_key_str": format!(
            "{}__{}__{}",
            facts.dag_id,
            facts.task_id,
            formatted(at, "%Y%m%d").as_str().unwrap_or_default()
        ),
        "params": facts.params,
        "sample": facts.sample,
        "map": facts.map,
        "map_index": facts.map_index,
        "outputs": facts.outputs,
        "var": { "value": var.0, "json": var.1 },
        "conn": facts.connections,
        "test_mode": false,
        "prev_logical_date_success": previous.logical_date,
        "prev_data_interval_start_success": previous.data_interval_start,
        "prev_data_interval_end_success": previous.data_interval_end,
        "prev_start_date_success": previous.started_at,
        "prev_end_date_success": previous.ended_at,
        "triggering_asset_events": facts.asset_events,
    })
}

fn as_text(value: &Value) -> Value {
    match value {
        Value::String(_) => value.clone(),
        other => Value::String(other.to_string()),
    }
}

fn parsed(value: &Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        other => other.clone(),
    }
}
