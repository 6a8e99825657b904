//! The operators that the engine carries out itself: branches, triggers, waits for times and other DAGs.
//!
//! They never run as an attempt. The scheduler reads these structs from a task's `args`, after `updraft-script` has
//! rendered the templated ones, and answers the engine's question.

use dags::{ids::DagId, time::Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::schema;

/// Does nothing. A place where branches meet or a fan-out starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// Chooses which of the tasks directly behind it go on; the others are skipped.
///
/// The first case whose expression holds is followed; a case with `else` and no `when` comes last and is followed if
/// none held. If none held and there is no `else`, all tasks behind it are skipped. What is skipped further downstream follows
/// from trigger rules: a task where branches meet again needs `trigger_rule: none_failed_min_one_success`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// The cases, tried in order.
    #[schemars(length(min = 1))]
    pub cases: Vec<Case>,
}

/// One case of a branch: `{ when: "{{ ... }}", run: tasks }` or `{ else: tasks }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["when", "run"]}, {"required": ["else"]}]))]
pub struct Case {
    /// The condition, a template that is one whole expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The task or tasks to follow if the condition holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Names>,
    /// The task or tasks to follow if no condition held.
    #[serde(skip_serializing_if = "Option::is_none", rename = "else")]
    pub otherwise: Option<Names>,
}

/// A name or a list of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Names {
    /// One name.
    One(String),
    /// Several names.
    Several(Vec<String>),
}

impl Names {
    /// The names.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// Goes on only if a condition holds; otherwise everything downstream is skipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShortCircuit {
    /// The condition, a template that is one whole expression.
    pub when: String,
    /// Skip all tasks downstream, whatever their trigger rules say; `false` skips the direct ones and lets rules decide
    /// about the rest.
    #[serde(default = "yes")]
    pub ignore_downstream_rules: bool,
}

/// Starts a run of another DAG.
///
/// The result is `{ dag_id, run_id, state }`. The state is that of the run when the task was done: `success` if the task
/// waited, `queued` for a run that it made and didn't wait for. A task that waits holds no slot and fails when the run
/// fails; a retry starts another run.
///
/// Runs may start each other over ten links, then the next `trigger_dag` fails: a DAG that starts itself stops by itself.
/// Where several tenants share an installation, the tasks of one may start 600 runs a minute; more of them wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerDag {
    /// The DAG, of the same tenant.
    #[schemars(with = "String")]
    pub dag_id: DagId,
    /// What the run gets as its parameters.
    #[serde(default)]
    pub conf: Map<String, Value>,
    /// The run's name; made from the time if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// What the run stands for; nothing if absent. An RFC 3339 time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant")]
    pub logical_date: Option<String>,
    /// What happens if a run of that name or logical date exists.
    #[serde(default)]
    pub if_exists: IfExists,
    /// Wait for the run's end: its success is the task's, its failure too.
    #[serde(default)]
    pub wait: bool,
    /// With `wait`: how long, from the try's start, before the task fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub timeout: Option<Span>,
}

/// What happens if the run to trigger exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfExists {
    /// The task fails.
    #[default]
    Fail,
    /// The task is skipped.
    Skip,
    /// The existing run stands for the new one: a task that waits waits for it, and `conf` isn't used.
    Use,
}

/// Waits for a time. It takes no executor slot while it waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["at"]}, {"required": ["after"]}]))]
pub struct TimeSensor {
    /// The time: RFC 3339 (`2026-01-01T06:00:00Z`), or a time of day (`06:30`) in the DAG's zone on the day on which
    /// the run was due. A time that has passed doesn't wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::moment")]
    pub at: Option<String>,
    /// So long after the end of the run's data interval; after the time at which the run was due if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub after: Option<Span>,
}

/// Waits for a run, or some tasks of a run, of another DAG. It takes no executor slot while it waits.
///
/// Without `offset` it waits for the run with the same logical date. It fails at once when one of the awaited ends in
/// one of `failed_states`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSensor {
    /// The DAG, of the same tenant.
    #[schemars(with = "String")]
    pub dag_id: DagId,
    /// The task or tasks; the run as a whole if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Names>,
    /// Wait for the run whose logical date lies this much earlier than this run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub offset: Option<Span>,
    /// States that end the wait with success.
    #[serde(default = "success")]
    pub states: Vec<String>,
    /// States that fail the sensor.
    #[serde(default = "failed")]
    pub failed_states: Vec<String>,
    /// Fail at once if the DAG or task doesn't exist, instead of waiting for it to be deployed.
    #[serde(default = "yes")]
    pub check_existence: bool,
    /// How long to wait before the sensor fails, without retries.
    #[serde(default = "crate::builtin::sensor::week")]
    #[schemars(schema_with = "schema::duration")]
    pub timeout: Span,
    /// Be skipped instead of failed when the time is over.
    #[serde(default)]
    pub soft_fail: bool,
}

const fn yes() -> bool {
    true
}

fn success() -> Vec<String> {
    vec!["success".to_owned()]
}

fn failed() -> Vec<String> {
    vec!["failed".to_owned(), "upstream_failed".to_owned()]
}
