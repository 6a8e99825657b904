//! Tasks of a DAG's newest version.

use dags::{
    model::{Dag, Task},
    time::{Span, Timestamp},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub(crate) mod get;
pub(crate) mod list;

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskView {
    /// Its name, with its groups' names in front.
    pub task_id: Option<String>,
    /// The same.
    pub task_display_name: Option<String>,
    /// Who answers for the DAG.
    pub owner: Option<String>,
    /// The DAG's.
    pub start_date: Option<Timestamp>,
    /// The DAG's.
    pub end_date: Option<Timestamp>,
    /// When it may start.
    pub trigger_rule: Option<String>,
    /// Whether it waits for its own success in the previous run.
    pub depends_on_past: bool,
    /// Whether it also waits for its direct downstream tasks there.
    pub wait_for_downstream: bool,
    /// How many times a failed attempt is repeated.
    pub retries: Option<f64>,
    /// The queue, a constraint on the worker.
    pub queue: Option<String>,
    /// The pool.
    pub pool: Option<String>,
    /// The slots that it takes there.
    pub pool_slots: Option<f64>,
    /// How long an attempt may run.
    pub execution_timeout: Option<TimeDelta>,
    /// The wait before the first retry.
    pub retry_delay: Option<TimeDelta>,
    /// What the wait is multiplied with from one retry to the next.
    pub retry_exponential_backoff: f64,
    /// Its own priority.
    pub priority_weight: Option<f64>,
    /// How the priority grows with its neighbours'.
    pub weight_rule: Option<String>,
    /// Colours are the console's.
    pub ui_color: Option<String>,
    /// Colours are the console's.
    pub ui_fgcolor: Option<String>,
    /// Parameters that hold an expression.
    pub template_fields: Option<Vec<String>>,
    /// Direct downstream tasks.
    pub downstream_task_ids: Option<Vec<String>>,
    /// Its doc.
    pub doc_md: Option<String>,
    /// The operator.
    pub operator_name: Option<String>,
    /// Parameters belong to the DAG.
    pub params: Option<Map<String, Value>>,
    /// The operator again, where Airflow has a class.
    pub class_ref: Option<Value>,
    /// Whether it is repeated over values.
    pub is_mapped: Option<bool>,
    /// None.
    pub extra_links: Vec<String>,
}

/// A length of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimeDelta {
    /// `TimeDelta`.
    #[serde(rename = "__type")]
    pub kind: String,
    /// Whole days.
    pub days: i64,
    /// Whole seconds of the rest.
    pub seconds: i64,
    /// The rest.
    pub microseconds: i64,
}

/// All tasks of a DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskCollection {
    /// The tasks.
    pub tasks: Vec<TaskView>,
    /// How many there are.
    pub total_entries: u64,
}

fn delta(span: Span) -> TimeDelta {
    const DAY: i64 = 86_400_000_000;
    TimeDelta {
        kind: "TimeDelta".to_owned(),
        days: span.0 / DAY,
        seconds: span.0 % DAY / 1_000_000,
        microseconds: span.0 % 1_000_000,
    }
}

fn view(dag: &Dag, task: &Task) -> TaskView {
    let downstream = dag.tasks.iter().filter(|other| other.needs.contains(&task.task_id));
    TaskView {
        task_id: Some(task.task_id.to_string()),
        task_display_name: Some(task.task_id.to_string()),
        owner: dag.owner.clone(),
        start_date: dag.start_date,
        end_date: dag.end_date,
        trigger_rule: Some(task.trigger_rule.to_string()),
        depends_on_past: task.depends_on_past,
        wait_for_downstream: task.wait_for_downstream,
        retries: Some(f64::from(task.retries)),
        queue: task.queue.clone(),
        pool: Some(task.pool.to_string()),
        pool_slots: Some(f64::from(task.pool_slots)),
        execution_timeout: task.timeout.map(delta),
        retry_delay: Some(delta(task.retry_delay)),
        retry_exponential_backoff: task.retry_backoff,
        priority_weight: Some(f64::from(task.priority)),
        weight_rule: Some(task.weight_rule.to_string()),
        ui_color: None,
        ui_fgcolor: None,
        template_fields: Some(task.templated.iter().cloned().collect()),
        downstream_task_ids: Some(downstream.map(|other| other.task_id.to_string()).collect()),
        doc_md: task.doc.clone(),
        operator_name: Some(task.operator.clone()),
        params: Some(Map::new()),
        class_ref: Some(json!({ "module_path": "updraft", "class_name": task.operator })),
        is_mapped: Some(task.map.is_some()),
        extra_links: Vec::new(),
    }
}
