//! What came of a run, free of everything that differs from one time to the next.

use std::collections::{BTreeMap, BTreeSet};

use dags::time::{Span, Timestamp};
use engine::{
    rows::{AlertRow, RunRow},
    state::{RunState, TaskState},
};
use serde_json::{Map, Value, json};

/// The most task instances that a story tells of.
const STORY_LINES: usize = 40;

/// What came of a run.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) run: RunRow,
    /// In an order in which the tasks can run.
    pub(super) tasks: Vec<SeenTask>,
    pub(super) alerts: Vec<AlertRow>,
    /// Assets that were updated, in order.
    pub(super) assets: Vec<String>,
    /// Why the run goes no further, if it doesn't end.
    pub(super) stuck: Option<String>,
    /// The times of the next scheduled runs.
    pub(super) next_runs: Result<Vec<Timestamp>, String>,
}

/// What came of a task instance.
#[derive(Debug, Clone)]
pub(super) struct SeenTask {
    pub(super) task: String,
    pub(super) index: i32,
    /// Whether the task is repeated, so that indexes mean something.
    pub(super) mapped: bool,
    pub(super) state: TaskState,
    pub(super) tries: u32,
    pub(super) reason: Option<String>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) result: Option<Value>,
    /// The parameter that the operator's short form fills.
    pub(super) main: Option<String>,
    /// The operator's parameters, if somebody wanted to know.
    pub(super) rendered: Option<Result<Map<String, Value>, String>>,
    /// What a branch followed.
    pub(super) follows: Option<Vec<String>>,
    /// The last lines that it wrote, if it ran and failed.
    pub(super) log: Vec<String>,
}

impl SeenTask {
    /// `task` or `task[3]`.
    pub(super) fn label(&self) -> String {
        if self.mapped && self.index >= 0 {
            format!("{}[{}]", self.task, self.index)
        } else {
            self.task.clone()
        }
    }

    /// Why it ended so, with what it wrote.
    pub(super) fn why(&self) -> Option<String> {
        let mut lines: Vec<String> = self.reason.iter().cloned().collect();
        lines.extend(self.log.iter().map(|line| format!("| {line}")));
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

impl Seen {
    /// The run's state as a test sees it: one that goes no further is `running`.
    pub(super) fn state(&self) -> RunState {
        self.run.state
    }

    /// How long after the run's start, in whole seconds: each batch of the engine takes a microsecond.
    pub(super) fn since_start(&self, at: Option<Timestamp>) -> Option<Span> {
        let span = at?.since(self.run.started_at?);
        Some(Span(span.0 - span.0.rem_euclid(1_000_000)))
    }

    pub(super) fn duration(&self) -> Option<Span> {
        self.since_start(self.run.ended_at)
    }

    /// The instances of tasks of that name.
    pub(super) fn of<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s SeenTask> {
        self.tasks.iter().filter(move |task| task.task == name)
    }

    /// What happened, for people.
    pub(super) fn story(&self) -> Vec<String> {
        let width = self.tasks.iter().map(|task| task.label().len()).max().unwrap_or(0).min(40);
        let mut lines: Vec<String> = self
            .tasks
            .iter()
            .take(STORY_LINES)
            .map(|task| {
                let when = match (self.since_start(task.started_at), self.since_start(task.ended_at)) {
                    (Some(from), Some(to)) => format!("  {from} to {to}"),
                    (Some(from), None) => format!("  from {from}"),
                    (None, _) => String::new(),
                };
                let tries = if task.tries > 1 { format!(", {} tries", task.tries) } else { String::new() };
                let why = task.reason.as_deref().map(|why| format!("  {why}")).unwrap_or_default();
                format!("{:width$}  {}{tries}{when}{why}", task.label(), task.state)
            })
            .collect();
        if self.tasks.len() > STORY_LINES {
            lines.push(format!("and {} more", self.tasks.len() - STORY_LINES));
        }
        if let Some(stuck) = &self.stuck {
            lines.push(format!("the run goes no further: {stuck}"));
        }
        lines
    }

    /// Everything, as scripts and snapshots see it.
    pub(super) fn to_json(&self) -> Value {
        let names: BTreeSet<&str> = self.tasks.iter().map(|task| task.task.as_str()).collect();
        let tasks: BTreeMap<&str, Value> =
            names.into_iter().map(|name| (name, self.task_json(name))).collect();
        json!({
            "run": {
                "state": self.state().as_str(),
                "reason": self.run.reason,
                "seconds": self.duration().map(seconds),
            },
            "tasks": tasks,
            "alerts": self.alerts.iter().map(alert_json).collect::<Vec<_>>(),
            "assets": self.assets,
        })
    }

    fn task_json(&self, name: &str) -> Value {
        let instances: Vec<&SeenTask> = self.of(name).collect();
        match instances.as_slice() {
            [one] if one.index < 0 => self.instance_json(one),
            several => {
                let states: BTreeSet<&str> = several.iter().map(|one| one.state.as_str()).collect();
                let state = if let [state] = states.iter().copied().collect::<Vec<_>>()[..] {
                    state
                } else {
                    "mixed"
                };
                json!({
                    "state": state,
                    "result": several.iter().map(|one| one.result.clone()).collect::<Vec<_>>(),
                    "instances": several.iter().map(|one| self.instance_json(one)).collect::<Vec<_>>(),
                })
            }
        }
    }

    fn instance_json(&self, task: &SeenTask) -> Value {
        let mut value = json!({
            "state": task.state.as_str(),
            "tries": task.tries,
            "result": task.result,
            "reason": task.reason,
            "starts": self.since_start(task.started_at).map(seconds),
            "ends": self.since_start(task.ended_at).map(seconds),
        });
        if let Some(Ok(rendered)) = &task.rendered {
            value["rendered"] = Value::Object(rendered.clone());
        }
        if let Some(follows) = &task.follows {
            value["follows"] = json!(follows);
        }
        value
    }
}

fn seconds(span: Span) -> i64 {
    span.0 / 1_000_000
}

/// An alert as tests name it.
pub(super) fn alert_json(alert: &AlertRow) -> Value {
    let mut value = json!({"kind": alert.what.as_str(), "to": &*alert.route});
    if let Some((task, ..)) = &alert.task {
        value["task"] = json!(task.as_str());
    }
    value
}

#[cfg(test)]
mod tests {
    use engine::rows::AlertKind;

    use super::*;

    #[test]
    fn tests_name_states_and_alerts_as_the_engine_does() {
        let states: Vec<&str> = TaskState::ALL.iter().map(|state| state.as_str()).collect();
        assert_eq!(states, dags::dag_test::TASK_STATES);
        assert!(dags::dag_test::RUN_STATES.iter().all(|state| RunState::parse(state).is_some()));
        let kinds: Vec<&str> = AlertKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(kinds, dags::dag_test::ALERT_KINDS);
    }
}
