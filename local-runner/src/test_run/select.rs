//! Which tasks run, and how the others end.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    glob,
    ids::TaskId,
    model::{Dag, Runner},
    suggest,
};
use scheduler::executors::Mock;
use serde_json::Value;

use crate::Error;

/// How the tasks end that aren't run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Chosen {
    /// What `--mock` says.
    pub(crate) mocked: BTreeMap<TaskId, Mock>,
    /// What `--task` leaves out.
    pub(crate) left_out: BTreeSet<TaskId>,
}

/// Reads `--task` and `--mock` for a DAG.
pub(super) fn choose(dag: &Dag, tasks: &[String], mocks: &[(String, String)]) -> Result<Chosen, Error> {
    let mut chosen = Chosen::default();
    for (pattern, end) in mocks {
        let mock = read(pattern, end)?;
        for task in matching(dag, "--mock", pattern)? {
            let task = &dag.tasks[task];
            let decides = task.runner == Runner::Engine && task.operator != "empty";
            if decides && matches!(mock, Mock::Success(Some(_))) {
                return Err(Error::usage(
                    format!("`{}` is a `{}`, whose decision can't be given", task.task_id, task.operator),
                    "mock it with `success`, `failed` or `skipped`, or mock the tasks that it looks at",
                ));
            }
            chosen.mocked.insert(task.task_id.clone(), mock.clone());
        }
    }
    if !tasks.is_empty() {
        let mut run = BTreeSet::new();
        for pattern in tasks {
            run.extend(matching(dag, "--task", pattern)?);
        }
        let out = dag
            .tasks
            .iter()
            .enumerate()
            .filter(|(n, task)| !run.contains(n) && !chosen.mocked.contains_key(&task.task_id));
        chosen.left_out = out.map(|(_, task)| task.task_id.clone()).collect();
    }
    Ok(chosen)
}

fn read(task: &str, end: &str) -> Result<Mock, Error> {
    match end {
        "success" => Ok(Mock::Success(None)),
        "failed" => Ok(Mock::Failed),
        "skipped" => Ok(Mock::Skipped),
        json => serde_json::from_str::<Value>(json).map(|value| Mock::Success(Some(value))).map_err(|error| {
            Error::usage(
                format!("`--mock {task}={json}` is neither a state nor JSON: {error}"),
                "write `success`, `failed`, `skipped`, or the task's result as JSON; a text needs quotes: `'\"text\"'`",
            )
        }),
    }
}

fn matching(dag: &Dag, option: &str, pattern: &str) -> Result<Vec<usize>, Error> {
    let fits = |task: &TaskId| glob::fits(pattern, task.as_str());
    let found: Vec<usize> =
        dag.tasks.iter().enumerate().filter(|(_, task)| fits(&task.task_id)).map(|(n, _)| n).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<&str> = dag.tasks.iter().map(|task| task.task_id.as_str()).collect();
    let help = suggest::did_you_mean(pattern, names.iter().copied())
        .unwrap_or_else(|| format!("its tasks are {}", suggest::list(names.iter().copied().take(20), "and")));
    Err(Error::usage(format!("`{option} {pattern}` fits no task of `{}`", dag.dag_id), help))
}
