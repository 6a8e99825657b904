//! A run as a session shows it.

use std::time::Duration;

use dags::{
    graph::Graph,
    ids::{DagId, RunName},
    model::Dag,
    time::Timestamp,
};
use engine::{
    rows::{RunRow, TaskRow},
    state::{RunState, TaskState},
};

use super::reuse::Plan;
use crate::test_run::{node::in_order, progress::label};

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its DAG.
    pub dag: DagId,
    /// Its name.
    pub name: RunName,
    /// Its state.
    pub state: RunState,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Why it ended as it did, where that isn't plain.
    pub reason: Option<String>,
    /// Its task instances, each after all that it needs.
    pub instances: Vec<Instance>,
}

/// A task instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Its row.
    pub row: TaskRow,
    /// Its name: `load`, `load[3]`.
    pub label: String,
    /// How many tasks come before it at least.
    pub depth: usize,
    /// Whether it isn't run since nothing has changed.
    pub unchanged: bool,
}

impl Run {
    /// From what is stored.
    pub fn of(dag: &Dag, run: &RunRow, rows: Vec<TaskRow>, plan: &Plan) -> Self {
        let graph = Graph::of(dag);
        let depths = graph.depths();
        let depth_of = |row: &TaskRow| {
            let n = dag.tasks.iter().position(|task| task.task_id == row.task);
            n.and_then(|n| depths.get(n)).copied().unwrap_or_default()
        };
        let instance = |row: TaskRow| Instance {
            label: label(row.task.as_str(), row.map_index),
            depth: depth_of(&row),
            // A second try is one that somebody asked for.
            unchanged: row.try_number <= 1 && plan.ends.contains_key(&(row.task.clone(), row.map_index)),
            row,
        };
        Self {
            dag: run.dag_id.clone(),
            name: run.run_name.clone(),
            state: run.state,
            began: run.started_at.unwrap_or(run.created_at),
            ended: run.ended_at,
            reason: run.reason.as_deref().map(str::to_owned),
            instances: in_order(dag, rows).into_iter().map(instance).collect(),
        }
    }

    /// How long it has taken, or takes so far.
    pub fn length(&self, now: Timestamp) -> Duration {
        self.ended.unwrap_or(now).since(self.began).to_std()
    }

    /// How many instances weren't run.
    pub fn unchanged(&self) -> usize {
        self.instances.iter().filter(|instance| instance.unchanged).count()
    }
}

impl Instance {
    /// How long it has run, or runs so far; none if it doesn't run.
    pub fn length(&self, now: Timestamp) -> Option<Duration> {
        let started = self.row.started_at.filter(|_| !self.unchanged)?;
        match (self.row.ended_at, self.row.state) {
            (Some(ended), _) => Some(ended.since(started).to_std()),
            (None, TaskState::Running | TaskState::Restarting) => Some(now.since(started).to_std()),
            (None, _) => None,
        }
    }

    /// What there is to say about its state.
    pub fn note(&self) -> String {
        if self.unchanged {
            return "unchanged".to_owned();
        }
        let tries =
            if self.row.try_number > 1 { format!("try {}", self.row.try_number) } else { String::new() };
        let parts = [tries.as_str(), self.row.reason.as_deref().unwrap_or_default()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }
}
