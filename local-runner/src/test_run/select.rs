//! Which tasks run, and how the others end.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    glob,
    graph::Graph,
    ids::TaskId,
    model::{Dag, Runner, Task},
    suggest,
};
use scheduler::executors::Mock;
use serde_json::Value;

use super::{
    Request,
    recording::{self, Recording},
};
use crate::Error;

/// How the tasks end that aren't run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chosen {
    /// What `--mock` says.
    pub(crate) mocked: BTreeMap<TaskId, Mock>,
    /// What `--task`, `--from` and `--until` leave out.
    pub(crate) left_out: BTreeSet<TaskId>,
    /// What isn't run since its executor is a stub here.
    pub(crate) stubbed: BTreeSet<TaskId>,
    /// What ends as it was recorded.
    pub(crate) replayed: BTreeSet<TaskId>,
    /// The recording that they are taken from.
    pub(crate) recording: Option<Recording>,
    /// Tasks that are recorded and aren't there any more.
    pub(crate) gone: Vec<String>,
}

/// Which tasks of the DAG are run for a request.
pub(super) fn choose(dag: &Dag, request: &Request, recording: Option<Recording>) -> Result<Chosen, Error> {
    let mut chosen = Chosen::default();
    for (pattern, end) in &request.mocks {
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
    let wanted = wanted(dag, request)?;
    let names = dag.tasks.iter().enumerate();
    let mut unwanted: BTreeSet<TaskId> = match &wanted {
        Some(wanted) => {
            names.filter(|(n, _)| !wanted.contains(n)).map(|(_, task)| task.task_id.clone()).collect()
        }
        None => BTreeSet::new(),
    };
    unwanted.retain(|task| !chosen.mocked.contains_key(task));
    let stubbed = stubbed(dag, &request.executors)?;
    chosen.stubbed = stubbed.into_iter().filter(|task| !chosen.mocked.contains_key(task)).collect();
    if let Some(recording) = recording {
        let (usable, gone) = recording::usable(&recording, dag)?;
        chosen.gone = gone;
        for task in &dag.tasks {
            let name = &task.task_id;
            // What is asked for is run; without a wish whatever is recorded isn't.
            let aside = wanted.is_none() || unwanted.contains(name) || chosen.stubbed.contains(name);
            if !aside || chosen.mocked.contains_key(name) || !usable.contains(name) {
                continue;
            }
            unwanted.remove(name);
            chosen.stubbed.remove(name);
            if !recording::decides_again(task) {
                chosen.replayed.insert(name.clone());
            }
        }
        chosen.recording = Some(recording);
    }
    chosen.stubbed.retain(|task| !unwanted.contains(task));
    chosen.left_out = unwanted;
    Ok(chosen)
}

/// The tasks that `--task`, or `--from` and `--until`, ask for; nothing if none of them is there.
fn wanted(dag: &Dag, request: &Request) -> Result<Option<BTreeSet<usize>>, Error> {
    let all = |option: &str, patterns: &[String]| {
        let mut found = BTreeSet::new();
        for pattern in patterns {
            found.extend(matching(dag, option, pattern)?);
        }
        Ok::<_, Error>(found)
    };
    if !request.tasks.is_empty() {
        return Ok(Some(all("--task", &request.tasks)?));
    }
    if request.from.is_empty() && request.until.is_empty() {
        return Ok(None);
    }
    let graph = Graph::of(dag);
    let (from, until) = (all("--from", &request.from)?, all("--until", &request.until)?);
    let every: BTreeSet<usize> = (0..dag.tasks.len()).collect();
    let after = if from.is_empty() { every.clone() } else { graph.from(&from) };
    let before = if until.is_empty() { every } else { graph.until(&until) };
    let wanted: BTreeSet<usize> = after.intersection(&before).copied().collect();
    if wanted.is_empty() {
        return Err(Error::usage(
            format!(
                "no task of `{}` lies between `--from {}` and `--until {}`",
                dag.dag_id,
                request.from.join(" "),
                request.until.join(" ")
            ),
            "the tasks of `--until` must come after those of `--from`: `updraft show` draws the DAG",
        ));
    }
    Ok(Some(wanted))
}

/// The tasks whose executor `--executor` makes a stub.
fn stubbed(dag: &Dag, executors: &[(String, String)]) -> Result<BTreeSet<TaskId>, Error> {
    let of = |task: &Task| task.executor.as_ref().map_or(super::EXECUTOR, |name| name.as_str()).to_owned();
    let known: BTreeSet<String> =
        dag.tasks.iter().filter(|task| task.runner == Runner::Executor).map(of).collect();
    let mut stubbed = BTreeSet::new();
    for (name, how) in executors {
        if !known.contains(name) {
            let names = || known.iter().map(String::as_str);
            let help = suggest::did_you_mean(name, names())
                .unwrap_or_else(|| format!("its tasks are for {}", suggest::list(names(), "and")));
            return Err(Error::usage(
                format!("no task of `{}` is for the executor `{name}`", dag.dag_id),
                help,
            ));
        }
        match how.as_str() {
            "process" => {}
            "stub" => {
                let tasks = dag.tasks.iter().filter(|task| task.runner == Runner::Executor);
                stubbed.extend(tasks.filter(|task| of(task) == *name).map(|task| task.task_id.clone()));
            }
            _ => {
                return Err(Error::usage(
                    format!("`--executor {name}={how}`: there is no such way to run tasks here"),
                    "`process` runs them on this machine, `stub` ends them as `--replay` or `--mock` says, or well",
                ));
            }
        }
    }
    Ok(stubbed)
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
