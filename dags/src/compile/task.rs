//! One task: its operator, its own fields, and `defaults` where it says nothing.

use std::collections::BTreeSet;

use serde_json::Map as JsonMap;

use super::{
    Context, TASK_KEYS, context::allowed, keys, map::MapDraft, object::Object, operator::Args,
    policy::Policy, references::Found,
};
use crate::{
    diagnostic::{Draft, code},
    ids::{PoolName, TaskId},
    model::{Runner, Task, TriggerRule},
    suggest,
    time::Span,
    tree::{ByteRange, Entry, Node},
};

/// As in Airflow.
const RETRY_DELAY: Span = Span::seconds(300);
const GANG_MAX: u32 = 4_096;
const OUTLETS_MAX: usize = 1_000;

/// A task and what can only be checked when all tasks are known.
pub(super) struct TaskDraft<'n> {
    pub(super) task: Task,
    pub(super) at: ByteRange,
    pub(super) needs: Vec<(&'n str, ByteRange)>,
    pub(super) teardown_of: Vec<(&'n str, ByteRange)>,
    pub(super) map: Option<MapDraft<'n>>,
    /// Whether it has a map that couldn't be read.
    pub(super) map_broken: bool,
    pub(super) targets: Vec<(&'n str, ByteRange)>,
    pub(super) found: Vec<Found>,
    pub(super) files: Vec<(String, &'n Node)>,
}

impl Context<'_, '_> {
    pub(super) fn task<'n>(&mut self, entry: &'n Entry, defaults: &Policy) -> Option<TaskDraft<'n>> {
        let id = match entry.key.text.parse::<TaskId>() {
            Ok(id) => Some(id),
            Err(error) => {
                let message = format!("the task name {error}");
                let help = allowed(&entry.key.text);
                self.push(Draft::error(code::DAG_NAME, message).at(entry.key.span, "this name").help(help));
                None
            }
        };
        let object = self.task_object(entry)?;
        let operators = self.operators(&object, entry);
        let mut found = Vec::new();
        let catalog = self.catalog;
        let args = operators
            .and_then(|(operator, entry)| Some((operator, self.operator(catalog.get(operator)?, entry))));
        let policy = self.policy(&object);
        if let Some(env) = object.get("env") {
            self.expressions(env, "env", false, &mut found);
        }
        let when = object.get("when").and_then(|node| self.condition(node, "when", &mut found));
        let names = |context: &mut Self, key: &str| -> Vec<(&'n str, ByteRange)> {
            let Some(node) = object.get(key) else { return Vec::new() };
            let texts = context.texts(node, key, "a task's name or a list of task names");
            texts.into_iter().map(|(name, node)| (name, node.span)).collect()
        };
        let needs = names(self, "needs");
        let teardown_of = names(self, "teardown_of");
        let errors = self.reporter.errors();
        let map =
            object.entry("map").filter(|_| object.get("map").is_some()).and_then(|entry| self.map(entry));
        let map_broken = self.reporter.errors() > errors;

        let wanted = policy.wanted.or(defaults.wanted).unwrap_or_default();
        let pod_at = policy.pod_at.or(defaults.pod_at);
        let task = self.assemble(id?, &object, policy, defaults, when, !teardown_of.is_empty());
        let (operator, args) = args?;
        let Args { args, templated, found: in_args, targets, files } = args;
        found.extend(in_args);
        let (runner, operator) = (self.catalog.get(operator)?.runner, operator.to_owned());
        let task = Task { operator, args, runner, templated, ..task };
        self.check_offer(&task, &object, wanted);
        self.check_pod(&task, &object, pod_at);
        Some(TaskDraft {
            task,
            at: entry.key.span,
            needs,
            teardown_of,
            map,
            map_broken,
            targets,
            found,
            files,
        })
    }

    fn task_object<'n>(&mut self, entry: &'n Entry) -> Option<Object<'n>> {
        let of = "an operator and perhaps `needs`, `retries` and so on";
        if let (Some(text), Some(_)) = (entry.value.as_str(), self.catalog.get("bash")) {
            let start: String = text.lines().next().unwrap_or_default().chars().take(40).collect();
            let help = format!("say what does it: `{}: {{ bash: \"{start}\" }}`", entry.key.text);
            self.expected(&entry.value, &entry.key.text, of, Some(help));
            return None;
        }
        self.open_object(&entry.value, &entry.key.text, of)
    }

    /// Finds the one operator key and reports every unknown one.
    fn operators<'n>(&mut self, object: &Object<'n>, task: &Entry) -> Option<(&'n str, &'n Entry)> {
        let mut found: Vec<&'n Entry> = Vec::new();
        let mut unknown: Vec<&'n Entry> = Vec::new();
        for entry in object.entries() {
            let key = entry.key.text.as_str();
            if TASK_KEYS.contains(&key) {
                self.known_key(&entry.key, &entry.value, "a task", TASK_KEYS);
            } else if self.catalog.get(key).is_some() {
                found.push(entry);
            } else {
                unknown.push(entry);
            }
        }
        // A task with one unknown key and no operator, or with another system's operator: that key was meant.
        let alone = found.is_empty() && unknown.len() == 1;
        for entry in &unknown {
            self.unknown_task_key(entry, alone);
        }
        let theirs = |entry: &&Entry| {
            let key = entry.key.text.as_str();
            OPERATOR_WORDS.contains(&key) || FOREIGN_OPERATORS.iter().any(|(theirs, ..)| *theirs == key)
        };
        let meant = alone || unknown.iter().any(theirs);
        match found.as_slice() {
            [one] => return Some((one.key.text.as_str(), one)),
            [] if meant => {}
            [] => {
                let names = suggest::list(self.catalog.names(), "or");
                self.push(
                    Draft::error(code::DAG_OPERATOR, format!("task `{}` has no operator", task.key.text))
                        .at(task.key.span, "what should it do?")
                        .help(format!("add one of {names}")),
                );
            }
            [first, second, ..] => {
                let message = format!(
                    "task `{}` has {} operators: {}",
                    task.key.text,
                    found.len(),
                    suggest::list(found.iter().map(|entry| entry.key.text.as_str()), "and")
                );
                self.push(
                    Draft::error(code::DAG_OPERATOR, message)
                        .at(second.key.span, "and this")
                        .at(first.key.span, "this")
                        .help(
                            "a task does one thing: make it two tasks, one of which `needs` the other"
                                .to_owned(),
                        ),
                );
            }
        }
        None
    }

    fn unknown_task_key(&mut self, entry: &Entry, meant_as_operator: bool) {
        let key = entry.key.text.as_str();
        if let Some((_, operator, parameter)) = FOREIGN_OPERATORS.iter().find(|(theirs, ..)| *theirs == key)
            && self.catalog.get(operator).is_some()
        {
            self.push(
                Draft::error(code::DAG_OPERATOR, format!("there is no operator or key `{key}`"))
                    .at(entry.key.span, "unknown")
                    .help(format!("write `{operator}:`{parameter}")),
            );
            return;
        }
        if OPERATOR_WORDS.contains(&key) {
            let value = entry.value.as_str().unwrap_or_default();
            let ours =
                FOREIGN_OPERATORS.iter().find(|(theirs, ..)| *theirs == value).map(|(_, ours, _)| *ours);
            let ours = ours.or(self.catalog.get(value).map(|_| value)).unwrap_or("bash");
            self.push(
                Draft::error(code::DAG_OPERATOR, format!("a task has no key `{key}`"))
                    .at(entry.key.span, "unknown")
                    .help(format!(
                        "what a task does is a key of its own: `{ours}: ...` instead of `{key}: ...`"
                    )),
            );
            return;
        }
        let catalog = self.catalog;
        let known = || TASK_KEYS.iter().copied().chain(catalog.names());
        let help = keys::foreign(key)
            .filter(|(_, ours, _)| TASK_KEYS.contains(ours))
            .map(|(_, ours, note)| format!("write `{ours}`{note}"))
            .or_else(|| self.reporter.did_you_mean(key, known()));
        let (code, message) = if meant_as_operator && help.is_none() {
            (code::DAG_OPERATOR, format!("there is no operator `{key}`"))
        } else {
            (code::DAG_UNKNOWN_KEY, format!("a task has no key `{key}`"))
        };
        let help = help.unwrap_or_else(|| {
            if meant_as_operator {
                format!("operators are {}", suggest::list(catalog.names(), "and"))
            } else {
                format!("known keys are {}", suggest::list(TASK_KEYS.iter().copied(), "and"))
            }
        });
        self.push(Draft::error(code, message).at(entry.key.span, "unknown").help(help));
    }

    fn assemble(
        &mut self,
        task_id: TaskId,
        object: &Object<'_>,
        own: Policy,
        defaults: &Policy,
        when: Option<String>,
        teardown: bool,
    ) -> Task {
        let get = |key: &str| object.get(key);
        // A teardown has a rule of its own, which `defaults` is not meant to change.
        let own_rule = own.trigger_rule;
        let policy = own.or(defaults);
        let trigger_rule =
            if teardown { own_rule.or(Some(TriggerRule::AllDoneSetupSuccess)) } else { policy.trigger_rule };
        let on_failure_fail_run =
            get("on_failure_fail_run").and_then(|n| self.flag(n, "on_failure_fail_run")).unwrap_or(false);
        if on_failure_fail_run && !teardown {
            let at = object.entry("on_failure_fail_run").map_or(object.span, |entry| entry.key.span);
            self.push(
                Draft::warning(code::DAG_TEARDOWN, "`on_failure_fail_run` has no effect here")
                    .at(at, "only a failed teardown can leave a run successful")
                    .help("remove the line, or add `teardown_of`".to_owned()),
            );
        }
        if let (Some(delay), Some(most)) = (policy.retry_delay, policy.max_retry_delay)
            && delay > most
            && let Some(node) = get("max_retry_delay").or_else(|| get("retry_delay"))
        {
            self.refused(
                node,
                "max_retry_delay",
                format_args!("is {most}, less than `retry_delay`, which is {delay}"),
            );
        }
        Task {
            task_id,
            doc: get("doc").and_then(|n| self.text(n, "doc")).map(str::to_owned),
            operator: String::new(),
            args: JsonMap::new(),
            runner: Runner::default(),
            templated: BTreeSet::new(),
            needs: Vec::new(),
            group: None,
            trigger_rule: trigger_rule.unwrap_or_default(),
            retries: policy.retries.unwrap_or(0),
            retry_delay: policy.retry_delay.unwrap_or(RETRY_DELAY),
            retry_backoff: policy.retry_backoff.unwrap_or(0.0),
            retry_jitter: policy.retry_jitter.unwrap_or_default(),
            max_retry_delay: policy.max_retry_delay,
            timeout: policy.timeout,
            pool: policy.pool.unwrap_or_else(default_pool),
            pool_slots: policy.pool_slots.unwrap_or(1),
            priority: policy.priority.unwrap_or(1),
            weight_rule: policy.weight_rule.unwrap_or_default(),
            depends_on_past: policy.depends_on_past.unwrap_or(false),
            wait_for_downstream: policy.wait_for_downstream.unwrap_or(false),
            wait_for_past_before_skipping: policy.wait_for_past_before_skipping.unwrap_or(false),
            max_active: policy.max_active,
            max_active_per_run: policy.max_active_per_run,
            executor: policy.executor,
            queue: policy.queue,
            resources: policy.resources.unwrap_or_default(),
            pod: policy.pod,
            gang: get("gang").and_then(|n| self.count(n, "gang", 1, GANG_MAX)).unwrap_or(1),
            preemptible: policy.preemptible.unwrap_or(true),
            env: policy.env.unwrap_or_default(),
            when,
            outlets: get("outlets").map(|n| self.outlets(n)).unwrap_or_default(),
            map: None,
            setup: false,
            teardown_of: Vec::new(),
            on_failure_fail_run,
            notify: policy.notify.unwrap_or_default(),
        }
    }

    fn outlets(&mut self, node: &Node) -> Vec<String> {
        let texts = self.texts(node, "outlets", "an asset's name or a list of names");
        if texts.len() > OUTLETS_MAX {
            self.refused(node, "outlets", format_args!("may name at most {OUTLETS_MAX} assets"));
        }
        let mut outlets: Vec<String> = texts.into_iter().map(|(name, _)| name.to_owned()).collect();
        outlets.sort();
        outlets.dedup();
        outlets
    }
}

fn default_pool() -> PoolName {
    PoolName::parse("default_pool").expect("invariant: a constant that follows the grammar")
}

/// Keys under which other systems name an operator.
const OPERATOR_WORDS: &[&str] = &["operator", "type", "kind", "uses", "action"];

/// Other systems' ways to say what a task does: their key, our operator, and what else to know.
const FOREIGN_OPERATORS: &[(&str, &str, &str)] = &[
    ("bash_command", "bash", ""),
    ("command", "bash", ""),
    ("cmd", "bash", ""),
    ("run", "bash", ""),
    ("shell", "bash", ""),
    ("script", "bash", ""),
    ("python_callable", "python", " with the code or `python: { file: ... }`"),
    ("BashOperator", "bash", ""),
    ("PythonOperator", "python", ""),
    ("EmptyOperator", "empty", " `{}`"),
    ("dummy", "empty", " `{}`"),
    ("noop", "empty", " `{}`"),
    ("query", "sql", ""),
    ("switch", "branch", ""),
];
