//! Building what an attempt is given: the one place that turns rows and models into an [`AttemptContext`].

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{TaskId, TenantId},
    model::{Dag, Map as TaskMap, MapSource, Task},
    time::Span,
};
use engine::{
    dispatch::{Dispatch, ResultRef},
    rows::RunRow,
};
use plugins::{
    context::{AttemptContext, PreviousRun, RunContext, TaskContext},
    mapping, needs,
    policy::Policy,
};
use serde_json::{Map, Value};

use crate::{
    facts::{self, Facts},
    objects::Objects,
    traces,
};

/// Where programs look for the span that they run in.
const TRACEPARENT: &str = "TRACEPARENT";
/// Where they find how much of their data to take.
const SAMPLE: &str = "UPDRAFT_SAMPLE";

/// Why an attempt can't be given what it needs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something couldn't be looked up; trying again may help.
    #[error(transparent)]
    Facts(#[from] facts::Error),
    /// It names something that isn't there, or its run is gone. Trying again without a change doesn't help.
    #[error("{0}")]
    Missing(String),
}

/// What is asked for: a task instance of a run.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its run.
    pub run: dags::ids::RunId,
    /// The version that the run was pinned to when this was asked for.
    pub version: &'a dags::ids::DagVersion,
    /// The task.
    pub task_id: &'a TaskId,
    /// The map index.
    pub map_index: i32,
    /// The try.
    pub try_number: u32,
    /// The dispatch that it is for.
    pub dispatch: dags::ids::DispatchId,
    /// How long ago the try first started.
    pub waited: Span,
}

impl<'a> From<&'a Dispatch> for Wanted<'a> {
    fn from(dispatch: &'a Dispatch) -> Self {
        Self {
            tenant: dispatch.tenant,
            run: dispatch.run,
            version: &dispatch.version,
            task_id: &dispatch.task_id,
            map_index: dispatch.map_index,
            try_number: dispatch.try_number,
            dispatch: dispatch.id,
            waited: dispatch.waited,
        }
    }
}

/// The context of member 0 of one member; the caller sets others.
pub async fn build<F: Facts>(
    facts: &F,
    objects: &Objects,
    policy: &Policy,
    wanted: Wanted<'_>,
) -> Result<AttemptContext, Error> {
    let gone = || Error::Missing(format!("run {} is gone", wanted.run));
    let (row, dag) = facts.run(wanted.tenant, wanted.run, wanted.version).await?.ok_or_else(gone)?;
    let task = find(&dag, wanted.task_id)
        .ok_or_else(|| Error::Missing(format!("version {} has no task `{}`", row.version, wanted.task_id)))?;
    let bundle_dir = objects.bundle(&row.bundle);
    let read = |path: &str| std::fs::read_to_string(bundle_dir.join(path)).ok();
    let needed = needs::of(task, read).map_err(|error| Error::Missing(error.to_string()))?;
    let outputs = outputs(facts, objects, &dag, task, &needed, wanted).await?;
    let map = mapped(&dag, task, &outputs.whole, wanted.map_index)?;
    let variables = facts.variables(wanted.tenant, &needed.variables).await?;
    if let Some(name) = needed.variables.iter().find(|name| !variables.contains_key(*name)) {
        return Err(Error::Missing(format!(
            "there is no variable `{name}`: set it with `updraft variables set {name}`"
        )));
    }
    let connections = facts.connections(wanted.tenant, &needed.connections).await?;
    if let Some(name) = needed.connections.iter().find(|name| !connections.contains_key(*name)) {
        let help = format!("set it with `updraft connections set {name}`");
        return Err(Error::Missing(format!("there is no connection `{name}`: {help}")));
    }
    let mut run = run_context(&row, &dag);
    run.sample = facts.sample();
    if needed.previous
        && let Some(date) = row.logical_date
    {
        run.previous = facts.previous_success(wanted.tenant, &row.dag_id, date).await?.as_ref().map(previous);
    }
    if needed.asset_events
        && let (Some(window), Some(condition)) = (row.asset_window, dag.schedule.when.assets())
    {
        run.asset_events = facts.asset_events(wanted.tenant, &condition.names(), window).await?;
    }
    Ok(AttemptContext {
        dispatch: wanted.dispatch,
        member: 0,
        members: task.gang.max(1),
        tenant: wanted.tenant,
        policy: policy.clone(),
        task: TaskContext {
            task_id: task.task_id.clone(),
            map_index: wanted.map_index,
            try_number: wanted.try_number,
            max_tries: task.retries + 1,
            operator: task.operator.clone(),
            args: task.args.clone(),
            templated: task.templated.iter().cloned().collect(),
            env: env(task, wanted, run.sample),
            timeout: task.timeout,
            waited: wanted.waited,
            memory_bytes: task.resources.memory_bytes,
            cpu_milli: task.resources.cpu_milli,
            gpu: task.resources.gpu.clone(),
            pod: task.pod.clone(),
        },
        run,
        bundle_dir,
        outputs: outputs.shown,
        map,
        secret_variables: variables
            .iter()
            .filter(|(_, variable)| variable.secret)
            .map(|(name, _)| name.clone())
            .collect(),
        variables: variables.into_iter().map(|(name, variable)| (name, variable.value)).collect(),
        connections,
    })
}

/// The task's environment, with the span that its program runs in if somebody wants to see that, and the size of the sample.
fn env(task: &Task, wanted: Wanted<'_>, sample: Option<u64>) -> BTreeMap<String, String> {
    let mut env = task.env.clone();
    if let Some(sample) = sample {
        env.entry(SAMPLE.to_owned()).or_insert_with(|| sample.to_string());
    }
    if let Some(parent) = traces::traceparent(wanted.run, wanted.dispatch.attempt) {
        env.entry(TRACEPARENT.to_owned()).or_insert(parent);
    }
    env
}

fn find<'d>(dag: &'d Dag, task: &TaskId) -> Option<&'d Task> {
    let at = dag.tasks.binary_search_by(|known| known.task_id.cmp(task)).ok()?;
    Some(&dag.tasks[at])
}

/// What templates see of a run.
pub fn run_context(row: &RunRow, dag: &Dag) -> RunContext {
    let mut params: Map<String, Value> = dag
        .params
        .iter()
        .map(|(name, schema)| (name.clone(), schema.get("default").cloned().unwrap_or(Value::Null)))
        .collect();
    for (name, value) in row.conf.iter() {
        if params.contains_key(name) {
            params.insert(name.clone(), value.clone());
        }
    }
    RunContext {
        dag_id: row.dag_id.clone(),
        run_name: row.run_name.clone(),
        run_type: row.run_type.as_str().to_owned(),
        logical_date: row.logical_date,
        data_interval_start: row.interval.map(|interval| interval.0),
        data_interval_end: row.interval.map(|interval| interval.1),
        run_after: row.run_after,
        previous: None,
        asset_events: BTreeMap::new(),
        sample: None,
        timezone: dag.schedule.timezone.clone(),
        params,
        conf: (*row.conf).clone(),
    }
}

fn previous(row: &RunRow) -> PreviousRun {
    PreviousRun {
        logical_date: row.logical_date,
        data_interval_start: row.interval.map(|interval| interval.0),
        data_interval_end: row.interval.map(|interval| interval.1),
        started_at: row.started_at,
        ended_at: row.ended_at,
    }
}

struct Outputs {
    /// What expressions see: for a task that repeats together with this one, the value of the same index.
    shown: BTreeMap<TaskId, Value>,
    /// The same with lists for all mapped tasks: what this one may be repeated over.
    whole: BTreeMap<TaskId, Value>,
}

async fn outputs<F: Facts>(
    facts: &F,
    objects: &Objects,
    dag: &Dag,
    task: &Task,
    needed: &needs::Needs,
    wanted: Wanted<'_>,
) -> Result<Outputs, Error> {
    let mut names: BTreeSet<&TaskId> = BTreeSet::new();
    if needed.all_outputs {
        names.extend(&task.needs);
    }
    for name in &needed.outputs {
        // A task of a group has dots in its name, and so has a path into a result: the longest name that fits counts.
        let mut longest =
            std::iter::successors(Some(name.as_str()), |path| path.rsplit_once('.').map(|(head, _)| head));
        let known = longest.find_map(|path| dag.tasks.iter().find(|t| t.task_id.as_str() == path));
        names.extend(known.map(|known| &known.task_id));
    }
    for map in maps(dag, task) {
        for (_, source) in &map.over {
            if let MapSource::Output(task) = source {
                names.insert(task);
            }
        }
    }
    let mut outputs = Outputs { shown: BTreeMap::new(), whole: BTreeMap::new() };
    for name in names {
        let Some(upstream) = find(dag, name) else { continue };
        let results = facts.results(wanted.tenant, wanted.run, name).await?;
        let mut values = Vec::with_capacity(results.len());
        for (index, value) in results {
            values.push((index, read(objects, value)?));
        }
        let repeated = maps(dag, upstream).next().is_some();
        if !repeated {
            if let Some((_, value)) = values.pop() {
                outputs.shown.insert(name.clone(), value.clone());
                outputs.whole.insert(name.clone(), value);
            } else {
                outputs.shown.insert(name.clone(), Value::Null);
            }
            continue;
        }
        let together = scope(dag, upstream).is_some() && scope(dag, upstream) == scope(dag, task);
        let own = values.iter().find(|(index, _)| together && *index == wanted.map_index);
        let own = own.map(|(_, value)| value.clone());
        let all = Value::Array(values.into_iter().map(|(_, value)| value).collect());
        outputs.shown.insert(name.clone(), if together { own.unwrap_or(Value::Null) } else { all.clone() });
        outputs.whole.insert(name.clone(), all);
    }
    Ok(outputs)
}

fn read(objects: &Objects, value: ResultRef) -> Result<Value, Error> {
    match value {
        ResultRef::Inline(value) => Ok(value),
        ResultRef::Stored { digest, .. } => {
            let text = objects
                .result(&digest)
                .map_err(|error| Error::Missing(format!("the result {digest} can't be read: {error}")))?;
            serde_json::from_slice(&text)
                .map_err(|error| Error::Missing(format!("the result {digest} is no JSON: {error}")))
        }
    }
}

/// The innermost mapped group around a task.
fn scope<'d>(dag: &'d Dag, task: &Task) -> Option<&'d dags::ids::GroupId> {
    groups(dag, task).find(|group| group.map.is_some()).map(|group| &group.group_id)
}

fn groups<'d>(dag: &'d Dag, task: &Task) -> impl Iterator<Item = &'d dags::model::Group> {
    let by_name = |id: &dags::ids::GroupId| dag.groups.iter().find(|group| group.group_id == *id);
    let first = task.group.as_ref().and_then(by_name);
    std::iter::successors(first, move |group| group.parent.as_ref().and_then(by_name)).take(dag.groups.len())
}

/// What a task is repeated over: its own map, then those of its groups from the inside out.
fn maps<'d>(dag: &'d Dag, task: &'d Task) -> impl Iterator<Item = &'d TaskMap> {
    task.map.iter().chain(groups(dag, task).filter_map(|group| group.map.as_ref()))
}

/// The values of the mapped variables for an index. Of nested maps the innermost varies fastest.
fn mapped(
    dag: &Dag,
    task: &Task,
    outputs: &BTreeMap<TaskId, Value>,
    map_index: i32,
) -> Result<Map<String, Value>, Error> {
    let mut values = Map::new();
    let Ok(mut rest) = u64::try_from(map_index) else { return Ok(values) };
    let wrong = |error: mapping::Error| Error::Missing(error.to_string());
    for map in maps(dag, task) {
        let length = mapping::length(map, outputs).map_err(wrong)?.max(1);
        for (name, value) in mapping::values(map, outputs, rest % length).map_err(wrong)? {
            values.entry(name).or_insert(value);
        }
        rest /= length;
    }
    Ok(values)
}
