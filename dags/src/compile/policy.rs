//! What a task shares with `defaults`: retries, limits, placement.

use std::collections::BTreeMap;

use super::{Context, object::Object, offers::Wanted};
use crate::{
    ids::{ExecutorName, PoolName},
    model::{Jitter, Pod, Resources, TaskNotify, TriggerRule, WeightRule},
    time::Span,
    tree::{ByteRange, Kind, Node},
};

const RETRIES_MAX: u32 = 1_000;
const SLOTS_MAX: u32 = 1_000_000;
const ENV_MAX: usize = 1_000;

/// What a task or `defaults` says; nothing where it says nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Policy {
    pub(super) trigger_rule: Option<TriggerRule>,
    pub(super) retries: Option<u32>,
    pub(super) retry_delay: Option<Span>,
    pub(super) retry_backoff: Option<f64>,
    pub(super) retry_jitter: Option<Jitter>,
    pub(super) max_retry_delay: Option<Span>,
    pub(super) timeout: Option<Span>,
    pub(super) pool: Option<PoolName>,
    pub(super) pool_slots: Option<u32>,
    pub(super) priority: Option<i32>,
    pub(super) weight_rule: Option<WeightRule>,
    pub(super) depends_on_past: Option<bool>,
    pub(super) wait_for_downstream: Option<bool>,
    pub(super) wait_for_past_before_skipping: Option<bool>,
    pub(super) max_active: Option<u32>,
    pub(super) max_active_per_run: Option<u32>,
    pub(super) executor: Option<ExecutorName>,
    pub(super) queue: Option<String>,
    pub(super) resources: Option<Resources>,
    pub(super) wanted: Option<Wanted>,
    pub(super) pod: Option<Pod>,
    /// Where `pod` is.
    pub(super) pod_at: Option<ByteRange>,
    pub(super) preemptible: Option<bool>,
    pub(super) env: Option<BTreeMap<String, String>>,
    pub(super) notify: Option<Vec<TaskNotify>>,
}

impl Policy {
    /// What the task says, else what the defaults say. Environment variables are joined name by name.
    pub(super) fn or(self, defaults: &Self) -> Self {
        let env = match (self.env, &defaults.env) {
            (Some(own), Some(common)) => {
                let mut env = common.clone();
                env.extend(own);
                Some(env)
            }
            (own, common) => own.or_else(|| common.clone()),
        };
        Self {
            trigger_rule: self.trigger_rule.or(defaults.trigger_rule),
            retries: self.retries.or(defaults.retries),
            retry_delay: self.retry_delay.or(defaults.retry_delay),
            retry_backoff: self.retry_backoff.or(defaults.retry_backoff),
            retry_jitter: self.retry_jitter.or(defaults.retry_jitter),
            max_retry_delay: self.max_retry_delay.or(defaults.max_retry_delay),
            timeout: self.timeout.or(defaults.timeout),
            pool: self.pool.or_else(|| defaults.pool.clone()),
            pool_slots: self.pool_slots.or(defaults.pool_slots),
            priority: self.priority.or(defaults.priority),
            weight_rule: self.weight_rule.or(defaults.weight_rule),
            depends_on_past: self.depends_on_past.or(defaults.depends_on_past),
            wait_for_downstream: self.wait_for_downstream.or(defaults.wait_for_downstream),
            wait_for_past_before_skipping: self
                .wait_for_past_before_skipping
                .or(defaults.wait_for_past_before_skipping),
            max_active: self.max_active.or(defaults.max_active),
            max_active_per_run: self.max_active_per_run.or(defaults.max_active_per_run),
            executor: self.executor.or_else(|| defaults.executor.clone()),
            queue: self.queue.or_else(|| defaults.queue.clone()),
            resources: self.resources.or_else(|| defaults.resources.clone()),
            wanted: self.wanted.or(defaults.wanted),
            pod: match (self.pod, &defaults.pod) {
                (Some(own), Some(common)) => Some(own.or(common)),
                (own, common) => own.or_else(|| common.clone()),
            },
            pod_at: self.pod_at.or(defaults.pod_at),
            preemptible: self.preemptible.or(defaults.preemptible),
            env,
            notify: self.notify.or_else(|| defaults.notify.clone()),
        }
    }
}

impl Context<'_, '_> {
    pub(super) fn policy(&mut self, object: &Object<'_>) -> Policy {
        let get = |key: &str| object.get(key);
        Policy {
            trigger_rule: get("trigger_rule").and_then(|n| self.choice(n, "trigger_rule", TriggerRule::ALL)),
            retries: get("retries").and_then(|n| self.count(n, "retries", 0, RETRIES_MAX)),
            retry_delay: get("retry_delay").and_then(|n| self.span(n, "retry_delay")),
            // A factor of 1 changes nothing, as 0 does.
            retry_backoff: get("retry_backoff")
                .and_then(|n| self.number(n, "retry_backoff", 0.0, 100.0))
                .map(|factor| if (factor - 1.0).abs() < f64::EPSILON { 0.0 } else { factor }),
            retry_jitter: get("retry_jitter").and_then(|n| self.choice(n, "retry_jitter", Jitter::ALL)),
            max_retry_delay: get("max_retry_delay").and_then(|n| self.some_span(n, "max_retry_delay")),
            timeout: get("timeout").and_then(|n| self.some_span(n, "timeout")),
            pool: get("pool").and_then(|n| self.name(n, "pool")),
            pool_slots: get("pool_slots").and_then(|n| self.count(n, "pool_slots", 1, SLOTS_MAX)),
            priority: get("priority")
                .and_then(|n| self.whole(n, "priority", i64::from(i32::MIN), i64::from(i32::MAX)))
                .map(|priority| priority as i32),
            weight_rule: get("weight_rule").and_then(|n| self.choice(n, "weight_rule", WeightRule::ALL)),
            depends_on_past: get("depends_on_past").and_then(|n| self.flag(n, "depends_on_past")),
            wait_for_downstream: get("wait_for_downstream").and_then(|n| self.flag(n, "wait_for_downstream")),
            wait_for_past_before_skipping: get("wait_for_past_before_skipping")
                .and_then(|n| self.flag(n, "wait_for_past_before_skipping")),
            max_active: get("max_active").and_then(|n| self.count(n, "max_active", 1, u32::MAX)),
            max_active_per_run: get("max_active_per_run")
                .and_then(|n| self.count(n, "max_active_per_run", 1, u32::MAX)),
            executor: get("executor").and_then(|n| self.executor(n)),
            queue: get("queue").and_then(|n| self.queue(n)),
            resources: get("resources").and_then(|n| self.resources(n)),
            wanted: get("resources").map(Wanted::of),
            pod: get("pod").and_then(|n| self.pod(n)),
            pod_at: get("pod").map(|n| n.span),
            preemptible: get("preemptible").and_then(|n| self.flag(n, "preemptible")),
            env: get("env").map(|n| self.env(n)),
            notify: get("notify").map(|n| self.task_notifies(n)),
        }
    }

    fn queue(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node, "queue")?;
        self.warn_if_expression(text, node, "queue");
        if text.is_empty() || text.len() > crate::ids::NAME_BYTES_MAX {
            self.refused(node, "queue", "must have 1 to 250 bytes");
            return None;
        }
        Some(text.to_owned())
    }

    fn env(&mut self, node: &Node) -> BTreeMap<String, String> {
        let entries = self.pairs(node, "env", "a group of `NAME: value` pairs");
        if entries.len() > ENV_MAX {
            self.refused(node, "env", format_args!("may have at most {ENV_MAX} variables"));
        }
        let mut env = BTreeMap::new();
        for entry in entries {
            let name = &entry.key.text;
            if name.is_empty() || name.contains(['=', '\0']) {
                let message = format!("`{name}` can't be the name of an environment variable");
                self.push(
                    crate::diagnostic::Draft::error(crate::diagnostic::code::DAG_NAME, message)
                        .at(entry.key.span, "this name"),
                );
                continue;
            }
            let value = match &entry.value.kind {
                // There is only one way to write a whole number.
                Kind::Int(number) => Some(number.to_string()),
                Kind::Null => {
                    self.no_value(&entry.key);
                    None
                }
                _ => self.text(&entry.value, name).map(str::to_owned),
            };
            env.extend(value.map(|value| (name.clone(), value)));
        }
        env
    }
}
