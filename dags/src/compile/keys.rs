//! The keys of the language, in one place: the compiler, the JSON Schema and the suggestions read them.

/// The keys of a DAG.
pub const DAG_KEYS: &[&str] = &[
    "dag",
    "doc",
    "owner",
    "tags",
    "schedule",
    "start_date",
    "end_date",
    "params",
    "defaults",
    "max_active_runs",
    "max_active_tasks",
    "max_consecutive_failed_runs",
    "fail_fast",
    "run_timeout",
    "on_failure",
    "on_success",
    "deadline",
    "tasks",
    "groups",
];

/// The keys of a task that `defaults` may set as well.
pub(crate) const POLICY_KEYS: &[&str] = &[
    "trigger_rule",
    "retries",
    "retry_delay",
    "retry_backoff",
    "retry_jitter",
    "max_retry_delay",
    "timeout",
    "pool",
    "pool_slots",
    "priority",
    "weight_rule",
    "depends_on_past",
    "wait_for_downstream",
    "wait_for_past_before_skipping",
    "max_active",
    "max_active_per_run",
    "executor",
    "queue",
    "resources",
    "pod",
    "preemptible",
    "env",
    "notify",
];

/// The keys of a task beside its operator.
pub const TASK_KEYS: &[&str] = &[
    "doc",
    "needs",
    "trigger_rule",
    "retries",
    "retry_delay",
    "retry_backoff",
    "retry_jitter",
    "max_retry_delay",
    "timeout",
    "pool",
    "pool_slots",
    "priority",
    "weight_rule",
    "depends_on_past",
    "wait_for_downstream",
    "wait_for_past_before_skipping",
    "max_active",
    "max_active_per_run",
    "executor",
    "queue",
    "resources",
    "pod",
    "gang",
    "preemptible",
    "env",
    "when",
    "outlets",
    "map",
    "teardown_of",
    "on_failure_fail_run",
    "notify",
];

/// The keys of a group.
pub const GROUP_KEYS: &[&str] = &["tasks", "parent", "map", "doc"];

/// Other systems' words: theirs, ours, and what else to know.
const FOREIGN: &[(&str, &str, &str)] = &[
    ("dag_id", "dag", ""),
    ("name", "dag", ""),
    ("id", "dag", ""),
    ("schedule_interval", "schedule", ""),
    ("cron", "schedule", ""),
    ("on", "schedule", ""),
    ("timezone", "schedule", ": `schedule: { cron: ..., timezone: ... }`"),
    ("default_args", "defaults", ""),
    ("default", "defaults", ""),
    ("dagrun_timeout", "run_timeout", ""),
    ("max_active_tis", "max_active_tasks", ""),
    ("concurrency", "max_active_tasks", ""),
    ("max_consecutive_failed_dag_runs", "max_consecutive_failed_runs", ""),
    ("on_failure_callback", "on_failure", ": `on_failure: { notify: route }`"),
    ("on_success_callback", "on_success", ": `on_success: { notify: route }`"),
    ("sla", "deadline", ": `deadline: { within: 2h, notify: route }`"),
    ("description", "doc", ""),
    ("doc_md", "doc", ""),
    ("steps", "tasks", ""),
    ("jobs", "tasks", ""),
    ("task_groups", "groups", ""),
    ("depends", "needs", ""),
    ("depends_on", "needs", ""),
    ("dependencies", "needs", ""),
    ("upstream", "needs", ""),
    ("after", "needs", ""),
    ("execution_timeout", "timeout", ""),
    ("timeout_seconds", "timeout", " with a unit: `timeout: 20m`"),
    ("priority_weight", "priority", ""),
    ("retry_exponential_backoff", "retry_backoff", ", a factor such as 2"),
    ("max_active_tis_per_dag", "max_active", ""),
    ("task_concurrency", "max_active", ""),
    ("max_active_tis_per_dagrun", "max_active_per_run", ""),
    ("if", "when", ""),
    ("run_if", "when", ""),
    ("then", "run", ""),
    ("condition", "when", ""),
    ("environment", "env", ""),
    ("expand", "map", ""),
    ("matrix", "map", ""),
    ("foreach", "map", ""),
    ("with_items", "map", ""),
    ("is_teardown", "teardown_of", ", the name of the task that it cleans up after"),
    ("crontab", "cron", ""),
    ("interval", "every", ""),
    ("tz", "timezone", ""),
    ("mem", "memory", ""),
    ("cpus", "cpu", ""),
    ("gpus", "gpu", ""),
    ("nodeSelector", "node_selector", ""),
    ("serviceAccountName", "service_account", ""),
    ("service_account_name", "service_account", ""),
    ("container_image", "image", ""),
    ("executor_config", "pod", ": `pod: { image: ... }`"),
    ("pod_override", "pod", ": `pod: { image: ... }`"),
];

/// What a key of another system is called here.
pub(super) fn foreign(key: &str) -> Option<(&'static str, &'static str, &'static str)> {
    FOREIGN.iter().find(|(theirs, ..)| *theirs == key).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_key_of_tasks() {
        assert!(POLICY_KEYS.iter().all(|key| TASK_KEYS.contains(key)));
    }
}
