//! Which results of the last run are still good.
//!
//! A task has a **key**: the hash of its model, of its parameters, of the files that it may read and of its upstreams' keys. Its
//! result is reused if it has the key that it had when it last ran, if it ended well then, and if all its upstreams are
//! reused as well. What counts is the last time that it ran and not any earlier one: tasks leave things outside that nobody
//! can bring back, so an edit that is taken back runs the task once more.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use dags::{
    bundle::File,
    graph::Graph,
    ids::{DagId, DispatchId, RunName, TaskId},
    model::{Dag, Runner, Task},
    time::Span,
};
use engine::{
    dispatch::{Dispatch, End, Outcome},
    rows::{ResultRow, TaskRow},
    state::TaskState,
};
use scheduler::{compile::is_dag_file, executors::Answers};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// What a task's result depends on.
pub type Key = [u8; 32];
/// The keys of a DAG's tasks.
pub type Keys = BTreeMap<TaskId, Key>;

/// What people write, and tasks hardly ever.
const CODE: [&str; 13] =
    ["py", "sh", "bash", "sql", "rhai", "yaml", "yml", "toml", "js", "ts", "r", "jinja", "j2"];
/// What other programs read in, whoever names it besides.
const IMPORTED: [&str; 6] = ["py", "sh", "bash", "r", "js", "jar"];

/// What of a folder several tasks depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Files that no task names: any of them may read them.
    unnamed: Key,
    /// Files of plugins.
    plugins: Key,
}

impl Shared {
    /// What tasks of these DAGs, which are all of the folder, share. What tasks have `written` themselves doesn't count.
    pub fn of<'a>(
        dags: impl IntoIterator<Item = &'a Dag>,
        files: &[File],
        written: &BTreeSet<String>,
    ) -> Self {
        let named = named(dags);
        // What one task names another may import.
        let shared = |path: &str| is_unnamed(path, &named) || is_imported(path);
        let unnamed = |path: &str| shared(path) && !written.contains(path);
        Self { unnamed: digest(files, unnamed), plugins: digest(files, is_plugin) }
    }
}

/// Files that changed from `before` to `now` and that a task may have written: no DAG names them, and nobody writes code that way.
pub fn perhaps_written<'a, 'f>(
    dags: impl IntoIterator<Item = &'a Dag>,
    before: &[File],
    now: &'f [File],
) -> Vec<&'f str> {
    let named = named(dags);
    let before: BTreeMap<&str, &[u8; 32]> =
        before.iter().map(|file| (file.path.as_str(), &file.sha256)).collect();
    now.iter()
        .filter(|file| before.get(file.path.as_str()) != Some(&&file.sha256))
        .map(|file| file.path.as_str())
        .filter(|path| is_unnamed(path, &named) && !is_code(path))
        .collect()
}

fn named<'a>(dags: impl IntoIterator<Item = &'a Dag>) -> BTreeSet<&'a str> {
    dags.into_iter().flat_map(|dag| dag.files.keys()).map(String::as_str).collect()
}

fn is_plugin(path: &str) -> bool {
    path.split('/').next() == Some(plugins::user::FOLDER)
}

fn is_unnamed(path: &str, named: &BTreeSet<&str>) -> bool {
    let known = is_dag_file(path) || dags::dag_test::is_test_file(path) || is_plugin(path);
    !known && !named.contains(path)
}

fn is_code(path: &str) -> bool {
    ends_in(path, &CODE)
}

fn is_imported(path: &str) -> bool {
    ends_in(path, &IMPORTED) && !is_plugin(path)
}

fn ends_in(path: &str, extensions: &[&str]) -> bool {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| extensions.contains(&extension))
}

fn digest(files: &[File], wanted: impl Fn(&str) -> bool) -> Key {
    let mut hash = Sha256::new();
    for file in files.iter().filter(|file| wanted(&file.path)) {
        hash.update(file.path.as_bytes());
        hash.update([0, u8::from(file.executable)]);
        hash.update(file.sha256);
    }
    hash.finalize().into()
}

/// The keys of a DAG's tasks for a run with these parameters.
pub fn keys(dag: &Dag, conf: &Map<String, Value>, shared: &Shared) -> Keys {
    let mut keys = Keys::new();
    for n in Graph::of(dag).order(dag) {
        let task = &dag.tasks[n];
        let mut hash = Sha256::new();
        let mut add = |value: Value| hash.update(value.to_string());
        add(json!([dag.params, conf]));
        add(json!(outcome_of(task)));
        for group in groups(dag, task) {
            add(json!(group.map));
        }
        let mut named = BTreeSet::new();
        for value in task.args.values() {
            paths(value, dag, &mut named);
        }
        for path in named {
            add(json!([path, dag.files.get(path)]));
        }
        if let Some(plugin) = dag.plugins.get(&task.operator) {
            add(json!([plugin, shared.plugins]));
        }
        hash.update(shared.unnamed);
        for need in &task.needs {
            hash.update(keys.get(need).copied().unwrap_or_default());
        }
        keys.insert(task.task_id.clone(), hash.finalize().into());
    }
    keys
}

/// The task without what makes no difference to its result.
fn outcome_of(task: &Task) -> Task {
    Task {
        doc: None,
        notify: Vec::new(),
        retries: 0,
        retry_delay: Span::ZERO,
        retry_backoff: 0.0,
        retry_jitter: Default::default(),
        max_retry_delay: None,
        pool_slots: 1,
        priority: 0,
        weight_rule: Default::default(),
        max_active: None,
        max_active_per_run: None,
        on_failure_fail_run: false,
        ..task.clone()
    }
}

fn groups<'d>(dag: &'d Dag, task: &Task) -> Vec<&'d dags::model::Group> {
    let mut found = Vec::new();
    let mut next = task.group.as_ref();
    while let Some(group) = next.and_then(|id| dag.groups.iter().find(|group| group.group_id == *id)) {
        next = group.parent.as_ref();
        found.push(group);
    }
    found
}

/// The files that a value names.
fn paths<'v>(value: &'v Value, dag: &Dag, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::String(text) if dag.files.contains_key(text) => _ = found.insert(text),
        Value::Array(list) => list.iter().for_each(|value| paths(value, dag, found)),
        Value::Object(map) => map.values().for_each(|value| paths(value, dag, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// How a task ended when it ran last.
#[derive(Debug, Clone)]
struct Known {
    key: Key,
    /// How its instances ended that ended well.
    ends: BTreeMap<i32, End>,
    /// Whether all of them did.
    whole: bool,
}

/// What is known of the runs of a session.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<(DagId, TaskId), Known>);

/// What a run needn't do again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// How these instances end without running.
    pub ends: BTreeMap<(TaskId, i32), End>,
    /// Tasks of which nothing runs, also those that the engine carries out itself.
    pub tasks: BTreeSet<TaskId>,
}

impl Memory {
    /// Takes note of how a run of the DAG went, or goes.
    pub fn learn(&mut self, dag: &Dag, keys: &Keys, rows: &[TaskRow], results: &[ResultRow]) {
        for task in &dag.tasks {
            let Some(key) = keys.get(&task.task_id) else { continue };
            let rows: Vec<&TaskRow> = rows.iter().filter(|row| row.task == task.task_id).collect();
            let well = |row: &&TaskRow| matches!(row.state, TaskState::Success | TaskState::Skipped);
            let whole = !rows.is_empty() && rows.iter().all(well);
            let ran = rows.iter().any(|row| row.started_at.is_some());
            if !whole && !ran {
                // It didn't come to it: what was there before is there still.
                continue;
            }
            let by_executor = |row: &&TaskRow| {
                task.runner == Runner::Executor && row.started_at.is_some() && row.marked_by.is_none()
            };
            let ended = rows.iter().copied().filter(well).filter(by_executor);
            let ends = ended.map(|row| (row.map_index, end_of(row, results))).collect();
            let known = Known { key: *key, ends, whole };
            self.0.insert((dag.dag_id.clone(), task.task_id.clone()), known);
        }
    }

    /// The same tasks have other keys now, since what isn't theirs was counted in the old ones.
    pub fn rekey(&mut self, dag: &DagId, old: &Keys, new: &Keys) {
        for (task, key) in new {
            if let Some(known) = self.0.get_mut(&(dag.clone(), task.clone()))
                && Some(&known.key) == old.get(task)
            {
                known.key = *key;
            }
        }
    }

    /// Forgets the results of a DAG.
    pub fn forget(&mut self, dag: &DagId) {
        self.0.retain(|(of, _), _| of != dag);
    }

    /// What a run of the DAG needn't do again.
    pub fn plan(&self, dag: &Dag, keys: &Keys) -> Plan {
        let mut plan = Plan::default();
        for n in Graph::of(dag).order(dag) {
            let task = &dag.tasks[n];
            let name = (dag.dag_id.clone(), task.task_id.clone());
            let Some(known) = self.0.get(&name).filter(|known| keys.get(&name.1) == Some(&known.key)) else {
                continue;
            };
            if !task.needs.iter().all(|need| plan.tasks.contains(need)) {
                continue;
            }
            let ends = known.ends.iter().map(|(index, end)| ((task.task_id.clone(), *index), end.clone()));
            plan.ends.extend(ends);
            if known.whole {
                plan.tasks.insert(task.task_id.clone());
            }
        }
        plan
    }
}

fn end_of(row: &TaskRow, results: &[ResultRow]) -> End {
    let skipped = row.state == TaskState::Skipped;
    let result = results
        .iter()
        .find(|result| result.task == row.task && result.map_index == row.map_index)
        .filter(|result| result.attempt == row.attempt());
    End {
        outcome: if skipped { Outcome::Skipped } else { Outcome::Success },
        duration: Span::ZERO,
        exit_code: row.exit_code,
        reason: Some("unchanged".to_owned()),
        result: result.map(|result| result.value.clone()),
        mapped_length: row.mapped_length,
    }
}

/// Answers dispatches of runs that have a plan, each instance once: what is cleared runs.
#[derive(Debug, Default)]
pub struct Replays(Mutex<BTreeMap<(DagId, RunName), Replay>>);

#[derive(Debug)]
struct Replay {
    plan: Plan,
    answered: BTreeMap<(TaskId, i32), DispatchId>,
}

impl Replays {
    /// A run that will begin.
    pub fn expect(&self, dag: DagId, run: RunName, plan: Plan) {
        self.lock().insert((dag, run), Replay { plan, answered: BTreeMap::new() });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(DagId, RunName), Replay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers for Replays {
    fn end(&self, dispatch: &Dispatch) -> Option<End> {
        let mut known = self.lock();
        let replay = known.get_mut(&(dispatch.dag_id.clone(), dispatch.run_name.clone()))?;
        let instance = (dispatch.task_id.clone(), dispatch.map_index);
        let end = replay.plan.ends.get(&instance)?.clone();
        let answered = replay.answered.entry(instance).or_insert(dispatch.id);
        (*answered == dispatch.id).then_some(end)
    }
}

#[cfg(test)]
mod tests;
