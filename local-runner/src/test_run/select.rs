//! Which tasks run, and how the others end.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::TaskId,
    model::{Dag, Runner},
    suggest,
};
use scheduler::executors::Mock;
use serde_json::Value;

use crate::Error;

/// How the tasks end that aren't run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chosen {
    /// What `--mock` says.
    pub(super) mocked: BTreeMap<TaskId, Mock>,
    /// What `--task` leaves out.
    pub(super) left_out: BTreeSet<TaskId>,
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
    let fits = |task: &TaskId| matches(pattern.as_bytes(), task.as_str().as_bytes());
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

/// Whether a name fits a pattern, in which `*` stands for any characters and `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match &mut star {
                // The last star takes one character more.
                Some((at, taken)) => {
                    *taken += 1;
                    (p, n) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        let fits = |pattern: &str, name: &str| matches(pattern.as_bytes(), name.as_bytes());
        assert!(fits("load", "load") && !fits("load", "load_eu") && !fits("load", "reload"));
        assert!(
            fits("load_*", "load_eu")
                && fits("*_eu", "load_eu")
                && fits("*", "x")
                && fits("l*d*u", "load_eu")
        );
        assert!(fits("load_??", "load_eu") && !fits("load_?", "load_eu") && !fits("", "x"));
        assert!(!fits("a*b*c", "abcd") && fits("a**d", "abcd"));
    }
}
