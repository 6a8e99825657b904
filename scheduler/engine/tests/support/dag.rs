//! DAG models for tests, built without a front end.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{DagId, DagVersion, GroupId, PoolName, TaskId},
    model::{
        Dag, Group, Jitter, Map, MapSource, Missed, OnGap, OnOverlap, Resources, Runner, Schedule, Task,
        TimetableKind, TriggerRule, WeightRule, When,
    },
    time::Span,
};

/// The task of that name.
pub(crate) fn task_id(name: &str) -> TaskId {
    TaskId::parse(name).unwrap()
}

/// The version with that number.
pub(crate) fn version(number: u32) -> DagVersion {
    DagVersion(format!("v1:{number}").into())
}

/// A task that an executor runs, with every default.
pub(crate) fn task(name: &str, needs: &[&str]) -> Task {
    Task {
        task_id: task_id(name),
        doc: None,
        operator: "bash".to_owned(),
        args: serde_json::Map::new(),
        runner: Runner::Executor,
        templated: BTreeSet::new(),
        needs: needs.iter().map(|name| task_id(name)).collect(),
        group: None,
        trigger_rule: TriggerRule::AllSuccess,
        retries: 0,
        retry_delay: Span::seconds(30),
        retry_backoff: 0.0,
        retry_jitter: Jitter::Deterministic,
        max_retry_delay: None,
        timeout: None,
        pool: PoolName::parse("default_pool").unwrap(),
        pool_slots: 1,
        priority: 1,
        weight_rule: WeightRule::Downstream,
        depends_on_past: false,
        wait_for_downstream: false,
        wait_for_past_before_skipping: false,
        max_active: None,
        max_active_per_run: None,
        executor: None,
        queue: None,
        resources: Resources::default(),
        pod: None,
        gang: 1,
        preemptible: true,
        env: BTreeMap::new(),
        when: None,
        outlets: Vec::new(),
        map: None,
        setup: false,
        teardown_of: Vec::new(),
        on_failure_fail_run: false,
        notify: Vec::new(),
    }
}

/// A task that the engine runs itself: `empty`, `branch`, `short_circuit`, `trigger_dag`, `time`.
pub(crate) fn engine_task(operator: &str, name: &str, needs: &[&str]) -> Task {
    Task { operator: operator.to_owned(), runner: Runner::Engine, ..task(name, needs) }
}

/// A task that cleans up after `setups`, which must be marked as such.
pub(crate) fn teardown(name: &str, needs: &[&str], setups: &[&str]) -> Task {
    Task {
        teardown_of: setups.iter().map(|name| task_id(name)).collect(),
        trigger_rule: TriggerRule::AllDoneSetupSuccess,
        ..task(name, needs)
    }
}

/// A group.
pub(crate) fn group(name: &str, parent: Option<&str>, map: Option<Map>) -> Group {
    let id = |name: &str| GroupId::parse(name).unwrap();
    Group { group_id: id(name), parent: parent.map(id), doc: None, map }
}

/// A DAG that only runs by hand, of these tasks; `needs` is put in order and setups are marked.
pub(crate) fn dag(name: &str, tasks: Vec<Task>) -> Dag {
    let mut dag = Dag {
        format: dags::model::FORMAT,
        dag_id: DagId::parse(name).unwrap(),
        doc: None,
        owner: None,
        tags: BTreeSet::new(),
        schedule: schedule(When::Never),
        start_date: None,
        end_date: None,
        params: BTreeMap::new(),
        max_active_runs: 16,
        max_active_tasks: 16,
        max_consecutive_failed_runs: 0,
        fail_fast: false,
        run_timeout: None,
        on_failure: Vec::new(),
        on_success: Vec::new(),
        deadlines: Vec::new(),
        groups: Vec::new(),
        tasks,
        files: BTreeMap::new(),
        plugins: BTreeMap::new(),
    };
    tidy(&mut dag);
    dag
}

/// A schedule in UTC with every default.
pub(crate) fn schedule(when: When) -> Schedule {
    Schedule {
        when,
        timezone: "UTC".to_owned(),
        timetable: TimetableKind::Trigger,
        on_gap: OnGap::Shift,
        on_overlap: OnOverlap::Last,
        missed: Missed::Latest,
        max_lateness: None,
    }
}

/// What the compiler sees to: what a task is repeated over and what a teardown cleans up after is upstream of it; lists
/// are sorted.
pub(crate) fn tidy(dag: &mut Dag) {
    let setups: BTreeSet<TaskId> = dag.tasks.iter().flat_map(|task| task.teardown_of.clone()).collect();
    for task in &mut dag.tasks {
        task.setup = setups.contains(&task.task_id);
        if let Some(map) = &task.map {
            task.needs.extend(outputs(map));
        }
        task.needs.extend(task.teardown_of.clone());
    }
    let mapped: Vec<(GroupId, Vec<TaskId>)> = dag
        .groups
        .iter()
        .filter_map(|group| Some((group.group_id.clone(), outputs(group.map.as_ref()?).collect())))
        .collect();
    for (group, sources) in mapped {
        let members: BTreeSet<TaskId> = dag
            .tasks
            .iter()
            .filter(|task| task.group.as_ref().is_some_and(|inner| is_in(dag, inner, &group)))
            .map(|task| task.task_id.clone())
            .collect();
        for task in &mut dag.tasks {
            if members.contains(&task.task_id) && !task.needs.iter().any(|up| members.contains(up)) {
                task.needs.extend(sources.clone());
            }
        }
    }
    for task in &mut dag.tasks {
        task.needs.sort();
        task.needs.dedup();
    }
    dag.tasks.sort_by(|a, b| a.task_id.cmp(&b.task_id));
    dag.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
}

fn outputs(map: &Map) -> impl Iterator<Item = TaskId> + '_ {
    map.over.iter().filter_map(|(_, source)| match source {
        MapSource::Output(task) => Some(task.clone()),
        MapSource::Literal(_) => None,
    })
}

/// Whether `inner` is `outer` or in it.
fn is_in(dag: &Dag, inner: &GroupId, outer: &GroupId) -> bool {
    let mut at = Some(inner.clone());
    while let Some(group) = at {
        if group == *outer {
            return true;
        }
        at = dag.groups.iter().find(|known| known.group_id == group).and_then(|known| known.parent.clone());
    }
    false
}
