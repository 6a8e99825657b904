//! Random DAGs.

use dags::{
    ids::{ExecutorName, PoolName, TaskId},
    model::{
        AssetCondition, Dag, Deadline, DeadlineFrom, Map, MapSource, Missed, Notify, Task, TaskEvent,
        TaskNotify, TimetableKind, TriggerRule, WeightRule, When,
    },
    time::{Span, Timestamp},
};

use crate::{
    models::{dag, engine_task, group, task, teardown, tidy},
    rng::Rng,
};

/// Names of pools that histories create, change and delete.
pub(crate) const POOLS: [&str; 3] = ["default_pool", "narrow", "odd"];
/// Names of executors.
pub(crate) const EXECUTORS: [&str; 2] = ["local", "far"];
/// Names of assets.
pub(crate) const ASSETS: [&str; 3] = ["a", "b", "c"];

/// How rich the DAGs of a history are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) tasks: i64,
    /// Whether to use mapping, groups, setups, limits, gangs and everything else beyond plain tasks.
    pub(crate) rich: bool,
    pub(crate) schedules: bool,
    /// Whether there is an executor with workers, which most tasks use.
    pub(crate) fleet: bool,
}

fn names(tasks: &[Task]) -> Vec<String> {
    tasks.iter().map(|task| task.task_id.as_str().to_owned()).collect()
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// A DAG of that name whose runs start no earlier than around `epoch`.
pub(crate) fn random(rng: &mut Rng, name: &str, shape: Shape, epoch: Timestamp, others: &[String]) -> Dag {
    let count = rng.within(1, shape.tasks);
    let mut tasks: Vec<Task> = Vec::new();
    let groups = if shape.rich && rng.mill(350) { rng.within(1, 2) } else { 0 };
    for n in 0..count {
        let known = names(&tasks);
        let mut needs: Vec<String> = Vec::new();
        for _ in 0..rng.below(4) {
            if let Some(up) = rng.any(&known) {
                needs.push(up.clone());
            }
        }
        let name = format!("t{n:02}");
        tasks.push(random_task(rng, &name, &refs(&needs), shape));
    }
    if shape.rich {
        branch_somewhere(rng, &mut tasks, others);
        teardowns(rng, &mut tasks);
        maps(rng, &mut tasks);
    }
    let mut dag = dag(name, tasks);
    if groups > 0 {
        put_in_groups(rng, &mut dag, groups);
    }
    dag.max_active_tasks = if rng.mill(300) { rng.within(1, 3) as u32 } else { 16 };
    dag.max_active_runs = if rng.mill(300) { rng.within(1, 2) as u32 } else { 16 };
    if shape.rich {
        dag.fail_fast = rng.mill(120);
        dag.run_timeout = rng.mill(120).then(|| Span::seconds(rng.within(5, 200)));
        dag.max_consecutive_failed_runs = if rng.mill(60) { 2 } else { 0 };
        if rng.mill(60) {
            let within = Span::seconds(rng.within(1, 100));
            dag.deadlines.push(Deadline { from: DeadlineFrom::Queued, within, notify: "late".to_owned() });
            dag.on_failure.push(Notify { notify: "ops".to_owned() });
        }
    }
    if shape.schedules && rng.mill(600) {
        schedule(rng, &mut dag, epoch);
    }
    tidy(&mut dag);
    dag
}

fn random_task(rng: &mut Rng, name: &str, needs: &[&str], shape: Shape) -> Task {
    let mut task = match rng.below(10) {
        0 => engine_task("empty", name, needs),
        1 if shape.rich => engine_task("time", name, needs),
        _ => task(name, needs),
    };
    if rng.mill(400) {
        task.trigger_rule = rng.pick(TriggerRule::ALL).1;
    }
    if rng.mill(500) {
        task.retries = rng.within(0, 3) as u32;
        task.retry_delay = Span(rng.within(0, 20_000_000));
        task.retry_backoff = *rng.pick(&[0.0, 1.0, 2.0]);
    }
    task.priority = rng.within(-2, 5) as i32;
    task.weight_rule = rng.pick(WeightRule::ALL).1;
    if !shape.rich {
        return task;
    }
    if rng.mill(200) {
        task.pool = PoolName::parse(rng.word(&POOLS)).unwrap();
        task.pool_slots = rng.within(1, 2) as u32;
    }
    if rng.mill(if shape.fleet { 80 } else { 200 }) {
        task.executor = Some(ExecutorName::parse(rng.word(&EXECUTORS)).unwrap());
    }
    if rng.mill(80) {
        task.max_active = Some(rng.within(1, 2) as u32);
    }
    if rng.mill(80) {
        task.max_active_per_run = Some(rng.within(1, 2) as u32);
    }
    if rng.mill(130) {
        task.gang = rng.within(2, 3) as u32;
    }
    task.depends_on_past = rng.mill(80);
    task.wait_for_downstream = rng.mill(40);
    task.wait_for_past_before_skipping = rng.mill(60);
    if rng.mill(80) {
        task.when = Some("x > 1".to_owned());
    }
    if rng.mill(100) {
        task.outlets.push(rng.word(&ASSETS).to_owned());
    }
    if rng.mill(50) {
        task.notify.push(TaskNotify { on: rng.pick(TaskEvent::ALL).1, notify: "ops".to_owned() });
    }
    task
}

/// Turns some tasks that have something downstream into deciders, and some into triggers of other DAGs.
fn branch_somewhere(rng: &mut Rng, tasks: &mut [Task], others: &[String]) {
    let needed: Vec<TaskId> = tasks.iter().flat_map(|task| task.needs.clone()).collect();
    for task in tasks.iter_mut() {
        if needed.contains(&task.task_id) && rng.mill(150) {
            let operator = rng.pick(&["branch", "branch", "short_circuit"]);
            *task = Task {
                when: task.when.clone(),
                trigger_rule: task.trigger_rule,
                retries: task.retries,
                ..engine_task(operator, task.task_id.as_str(), &refs(&own(&task.needs)))
            };
        } else if !others.is_empty() && rng.mill(60) {
            let name = task.task_id.as_str().to_owned();
            *task =
                Task { retries: task.retries, ..engine_task("trigger_dag", &name, &refs(&own(&task.needs))) };
            task.args.insert("dag".to_owned(), rng.pick(others).clone().into());
        }
    }
}

fn own(ids: &[TaskId]) -> Vec<String> {
    ids.iter().map(|id| id.as_str().to_owned()).collect()
}

/// Adds tasks that clean up after earlier ones.
fn teardowns(rng: &mut Rng, tasks: &mut Vec<Task>) {
    if !rng.mill(250) {
        return;
    }
    for n in 0..rng.within(1, 2) {
        let known: Vec<String> = tasks
            .iter()
            .filter(|task| task.teardown_of.is_empty())
            .map(|task| task.task_id.as_str().to_owned())
            .collect();
        let setup = rng.pick(&known).clone();
        let mut needs = Vec::new();
        for _ in 0..rng.below(3) {
            needs.push(rng.pick(&known).clone());
        }
        let mut clean = teardown(&format!("z{n}"), &refs(&needs), &[&setup]);
        clean.on_failure_fail_run = rng.mill(200);
        tasks.push(clean);
    }
}

fn map_for(rng: &mut Rng, sources: &[String]) -> Map {
    let mut over = Vec::new();
    for n in 0..rng.within(1, 2) {
        let source = match rng.any(sources) {
            Some(source) if rng.mill(700) => MapSource::Output(TaskId::parse(source).unwrap()),
            Some(_) | None => MapSource::Literal((0..rng.below(4)).map(Into::into).collect()),
        };
        over.push((format!("v{n}"), source));
    }
    Map { over, zip: rng.mill(300) }
}

/// Repeats some tasks over literals or over what is upstream of them.
fn maps(rng: &mut Rng, tasks: &mut [Task]) {
    for n in 0..tasks.len() {
        let sources: Vec<String> = sources(&tasks[..n]);
        let plain = tasks[n].operator != "branch" && tasks[n].operator != "short_circuit";
        if plain && tasks[n].teardown_of.is_empty() && rng.mill(150) {
            tasks[n].map = Some(map_for(rng, &sources));
        }
    }
}

fn sources(tasks: &[Task]) -> Vec<String> {
    let runs = tasks.iter().filter(|task| task.operator == "bash" && task.teardown_of.is_empty());
    runs.map(|task| task.task_id.as_str().to_owned()).collect()
}

/// Puts the later tasks into groups, some of which are repeated.
fn put_in_groups(rng: &mut Rng, dag: &mut Dag, count: i64) {
    let tasks = dag.tasks.len() as i64;
    let mut first = rng.within(0, tasks - 1);
    for n in 0..count {
        let last = (first + rng.within(0, 3)).min(tasks - 1);
        if first >= tasks {
            break;
        }
        let name = format!("g{n}");
        let members = first as usize..=last as usize;
        let map = rng.mill(700).then(|| map_for(rng, &sources(&dag.tasks[..first as usize])));
        let plain = dag.tasks[members.clone()].iter().all(|task| task.map.is_none());
        let inner = rng.mill(300);
        dag.groups.push(group(&name, None, map.filter(|_| plain)));
        if inner {
            dag.groups.push(group(&format!("{name}.in"), Some(&name), None));
        }
        for (k, task) in dag.tasks[members].iter_mut().enumerate() {
            let group = if inner && k % 2 == 1 { format!("{name}.in") } else { name.clone() };
            task.group = Some(dags::ids::GroupId::parse(&group).unwrap());
        }
        first = last + 1;
    }
}

fn schedule(rng: &mut Rng, dag: &mut Dag, epoch: Timestamp) {
    let cron =
        |rng: &mut Rng| (*rng.pick(&["* * * * *", "*/2 * * * *", "*/5 * * * *", "0 * * * *"])).to_owned();
    let asset = |rng: &mut Rng| AssetCondition::Asset(rng.word(&ASSETS).to_owned());
    dag.schedule.when = match rng.below(8) {
        0 => When::Once,
        1 => When::Continuous,
        2 => When::Every(Span::seconds(rng.within(10, 300))),
        3 => When::Assets(asset(rng)),
        4 => When::Assets(AssetCondition::All(vec![asset(rng), asset(rng)])),
        5 => When::AssetsOrCrons { assets: asset(rng), crons: vec![cron(rng)] },
        _ => When::Crons((0..rng.within(1, 2)).map(|_| cron(rng)).collect()),
    };
    dag.schedule.timetable = rng.pick(TimetableKind::ALL).1;
    dag.schedule.missed = rng.pick(Missed::ALL).1;
    dag.schedule.max_lateness = rng.mill(200).then(|| Span::seconds(rng.within(1, 600)));
    dag.start_date = rng.mill(700).then(|| epoch.before(Span::seconds(rng.within(0, 900))));
    dag.end_date = rng.mill(150).then(|| epoch.after(Span::seconds(rng.within(0, 900))));
    if dag.max_active_runs > 4 {
        dag.max_active_runs = rng.within(1, 4) as u32;
    }
}

/// The same DAG after somebody edited it.
pub(crate) fn edited(rng: &mut Rng, dag: &Dag, shape: Shape) -> Dag {
    let mut dag = dag.clone();
    for _ in 0..rng.within(1, 3) {
        match rng.below(5) {
            0 if dag.tasks.len() > 1 => {
                let gone = dag.tasks.remove(rng.below(dag.tasks.len() as u64) as usize).task_id;
                let names_it = |map: &Option<Map>| {
                    map.iter()
                        .flat_map(|map| &map.over)
                        .any(|(_, source)| *source == MapSource::Output(gone.clone()))
                };
                for task in &mut dag.tasks {
                    task.needs.retain(|up| *up != gone);
                    task.teardown_of.retain(|setup| *setup != gone);
                    if names_it(&task.map) {
                        task.map = None;
                    }
                }
                for group in &mut dag.groups {
                    if names_it(&group.map) {
                        group.map = None;
                    }
                }
            }
            1 => {
                let name = format!("u{:02}", rng.below(6));
                if dag.tasks.iter().all(|task| task.task_id.as_str() != name) {
                    let known = names(&dag.tasks);
                    let needs: Vec<String> = rng.any(&known).cloned().into_iter().collect();
                    dag.tasks.push(random_task(rng, &name, &refs(&needs), shape));
                }
            }
            2 => dag.max_active_tasks = rng.within(1, 8) as u32,
            3 => dag.max_active_runs = rng.within(1, 4) as u32,
            _ => {
                let n = rng.below(dag.tasks.len() as u64) as usize;
                dag.tasks[n].retries = rng.below(3) as u32;
                dag.tasks[n].pool = PoolName::parse(rng.word(&POOLS)).unwrap();
            }
        }
    }
    tidy(&mut dag);
    dag
}

/// A DAG in a few lines, for timelines.
pub(crate) fn sketch(dag: &Dag) -> String {
    let mut lines = vec![format!(
        "      {:?} runs {} tasks {} fail_fast {} timeout {:?} start {:?} missed {}",
        dag.schedule.when,
        dag.max_active_runs,
        dag.max_active_tasks,
        dag.fail_fast,
        dag.run_timeout,
        dag.start_date,
        dag.schedule.missed
    )];
    for group in &dag.groups {
        lines.push(format!("      group {} in {:?} over {:?}", group.group_id, group.parent, group.map));
    }
    for task in &dag.tasks {
        lines.push(format!(
            "      {} {} {} needs {:?} retries {} group {:?} map {:?} teardown of {:?} past {} limits {:?} {:?} gang {} pool {}x{} when {:?}",
            task.task_id, task.operator, task.trigger_rule, task.needs, task.retries, task.group, task.map, task.teardown_of,
            task.depends_on_past || task.wait_for_downstream, task.max_active, task.max_active_per_run, task.gang, task.pool, task.pool_slots, task.when
        ));
    }
    lines.join("\n")
}
