//! A small builder of DAGs with sensible defaults.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{DagId, ExecutorName, GroupId, PoolName, TaskId},
    model::{
        AssetCondition, Dag, FORMAT, Group, Jitter, Map, MapSource, Missed, OnGap, OnOverlap, Resources,
        Runner, Schedule, Task, TimetableKind, TriggerRule, WeightRule, When,
    },
    time::{Span, Timestamp},
};

/// A task's name.
pub(crate) fn task_id(name: &str) -> TaskId {
    TaskId::parse(name).unwrap()
}

/// An instant from its text.
pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// So many seconds.
pub(crate) const fn secs(n: i64) -> Span {
    Span::seconds(n)
}

/// So many minutes.
pub(crate) const fn mins(n: i64) -> Span {
    Span::seconds(n * 60)
}

/// So many hours.
pub(crate) const fn hours(n: i64) -> Span {
    Span::seconds(n * 3600)
}

/// A DAG under construction.
#[derive(Debug, Clone)]
pub(crate) struct DagBuilder(pub(crate) Dag);

/// A DAG that runs only when asked to.
pub(crate) fn dag(name: &str) -> DagBuilder {
    DagBuilder(Dag {
        format: FORMAT,
        dag_id: DagId::parse(name).unwrap(),
        doc: None,
        owner: None,
        tags: BTreeSet::new(),
        schedule: Schedule {
            when: When::Never,
            timezone: "UTC".to_owned(),
            timetable: TimetableKind::Trigger,
            on_gap: OnGap::Shift,
            on_overlap: OnOverlap::Last,
            missed: Missed::Latest,
            max_lateness: None,
        },
        start_date: None,
        end_date: None,
        params: BTreeMap::new(),
        max_active_runs: 16,
        max_active_tasks: 1_000,
        max_consecutive_failed_runs: 0,
        fail_fast: false,
        run_timeout: None,
        on_failure: Vec::new(),
        on_success: Vec::new(),
        deadlines: Vec::new(),
        groups: Vec::new(),
        tasks: Vec::new(),
        files: BTreeMap::new(),
        plugins: BTreeMap::new(),
    })
}

impl DagBuilder {
    pub(crate) fn task(mut self, task: TaskBuilder) -> Self {
        self.0.tasks.push(task.0);
        self
    }

    pub(crate) fn tasks(mut self, tasks: impl IntoIterator<Item = TaskBuilder>) -> Self {
        self.0.tasks.extend(tasks.into_iter().map(|task| task.0));
        self
    }

    /// A group; `map` makes it repeat.
    pub(crate) fn group(mut self, name: &str, parent: Option<&str>, map: Option<Map>) -> Self {
        self.0.groups.push(Group {
            group_id: GroupId::parse(name).unwrap(),
            parent: parent.map(|parent| GroupId::parse(parent).unwrap()),
            doc: None,
            map,
        });
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Dag)) -> Self {
        change(&mut self.0);
        self
    }

    pub(crate) fn when(self, when: When) -> Self {
        self.with(|dag| dag.schedule.when = when)
    }

    pub(crate) fn cron(self, expression: &str) -> Self {
        self.when(When::Crons(vec![expression.to_owned()]))
    }

    pub(crate) fn missed(self, missed: Missed) -> Self {
        self.with(|dag| dag.schedule.missed = missed)
    }

    pub(crate) fn starts(self, date: &str) -> Self {
        self.with(|dag| dag.start_date = Some(at(date)))
    }

    pub(crate) fn ends(self, date: &str) -> Self {
        self.with(|dag| dag.end_date = Some(at(date)))
    }

    pub(crate) fn max_active_runs(self, n: u32) -> Self {
        self.with(|dag| dag.max_active_runs = n)
    }

    pub(crate) fn max_active_tasks(self, n: u32) -> Self {
        self.with(|dag| dag.max_active_tasks = n)
    }

    pub(crate) fn fail_fast(self) -> Self {
        self.with(|dag| dag.fail_fast = true)
    }

    pub(crate) fn run_timeout(self, timeout: Span) -> Self {
        self.with(|dag| dag.run_timeout = Some(timeout))
    }

    /// On any one asset of these names.
    pub(crate) fn on_any_asset<const N: usize>(self, names: [&str; N]) -> Self {
        let assets = names.map(|name| AssetCondition::Asset(name.to_owned()));
        self.when(When::Assets(AssetCondition::Any(assets.into())))
    }

    /// On all assets of these names.
    pub(crate) fn on_all_assets<const N: usize>(self, names: [&str; N]) -> Self {
        let assets = names.map(|name| AssetCondition::Asset(name.to_owned()));
        self.when(When::Assets(AssetCondition::All(assets.into())))
    }

    /// The model: groups, tasks and what they need in the order in which compilation leaves them.
    pub(crate) fn build(mut self) -> Dag {
        let setups: BTreeSet<TaskId> =
            self.0.tasks.iter().flat_map(|task| task.teardown_of.iter().cloned()).collect();
        for task in &mut self.0.tasks {
            task.setup = setups.contains(&task.task_id);
            task.needs.sort();
            task.needs.dedup();
        }
        self.0.tasks.sort_by(|a, b| a.task_id.cmp(&b.task_id));
        self.0.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        self.0
    }
}

/// A task under construction.
#[derive(Debug, Clone)]
pub(crate) struct TaskBuilder(pub(crate) Task);

/// A task for an executor.
pub(crate) fn bash(name: &str) -> TaskBuilder {
    operator(name, "bash", Runner::Executor)
}

/// A task that does nothing.
pub(crate) fn empty(name: &str) -> TaskBuilder {
    operator(name, "empty", Runner::Engine)
}

/// A task that follows some of its downstream tasks.
pub(crate) fn branch(name: &str) -> TaskBuilder {
    operator(name, "branch", Runner::Engine)
}

/// A task that may skip all that follows.
pub(crate) fn short_circuit(name: &str) -> TaskBuilder {
    operator(name, "short_circuit", Runner::Engine)
}

/// A sensor that the engine runs.
pub(crate) fn time_sensor(name: &str) -> TaskBuilder {
    operator(name, "time_sensor", Runner::Engine)
}

/// A task that makes a run of another DAG.
pub(crate) fn trigger_dag(name: &str) -> TaskBuilder {
    operator(name, "trigger_dag", Runner::Engine)
}

/// A task of any operator.
pub(crate) fn operator(name: &str, operator: &str, runner: Runner) -> TaskBuilder {
    TaskBuilder(Task {
        task_id: task_id(name),
        doc: None,
        operator: operator.to_owned(),
        args: serde_json::Map::new(),
        runner,
        templated: BTreeSet::new(),
        needs: Vec::new(),
        group: None,
        trigger_rule: TriggerRule::AllSuccess,
        retries: 0,
        retry_delay: secs(300),
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
    })
}

impl TaskBuilder {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Task)) -> Self {
        change(&mut self.0);
        self
    }

    pub(crate) fn needs<const N: usize>(self, names: [&str; N]) -> Self {
        self.with(|task| task.needs.extend(names.map(task_id)))
    }

    pub(crate) fn group(self, name: &str) -> Self {
        self.with(|task| task.group = Some(GroupId::parse(name).unwrap()))
    }

    pub(crate) fn rule(self, rule: TriggerRule) -> Self {
        self.with(|task| task.trigger_rule = rule)
    }

    pub(crate) fn retries(self, n: u32) -> Self {
        self.with(|task| task.retries = n)
    }

    pub(crate) fn retry_delay(self, delay: Span) -> Self {
        self.with(|task| task.retry_delay = delay)
    }

    pub(crate) fn pool(self, name: &str) -> Self {
        self.with(|task| task.pool = PoolName::parse(name).unwrap())
    }

    pub(crate) fn slots(self, n: u32) -> Self {
        self.with(|task| task.pool_slots = n)
    }

    /// A priority of its own, without its neighbours'.
    pub(crate) fn priority(self, n: i32) -> Self {
        self.with(|task| (task.priority, task.weight_rule) = (n, WeightRule::Absolute))
    }

    pub(crate) fn depends_on_past(self) -> Self {
        self.with(|task| task.depends_on_past = true)
    }

    /// Waits for its direct downstream tasks of the previous run, which includes its own past.
    pub(crate) fn wait_for_downstream(self) -> Self {
        self.with(|task| (task.depends_on_past, task.wait_for_downstream) = (true, true))
    }

    pub(crate) fn max_active(self, n: u32) -> Self {
        self.with(|task| task.max_active = Some(n))
    }

    pub(crate) fn max_active_per_run(self, n: u32) -> Self {
        self.with(|task| task.max_active_per_run = Some(n))
    }

    pub(crate) fn executor(self, name: &str) -> Self {
        self.with(|task| task.executor = Some(ExecutorName::parse(name).unwrap()))
    }

    pub(crate) fn gang(self, members: u32) -> Self {
        self.with(|task| task.gang = members)
    }

    /// An expression; what it comes to is for whoever answers the question.
    pub(crate) fn when(self, expression: &str) -> Self {
        self.with(|task| task.when = Some(expression.to_owned()))
    }

    pub(crate) fn outlets<const N: usize>(self, assets: [&str; N]) -> Self {
        self.with(|task| task.outlets.extend(assets.map(str::to_owned)))
    }

    pub(crate) fn map(self, map: Map) -> Self {
        self.with(|task| task.map = Some(map))
    }

    /// Makes it the teardown of these setups, which it then needs.
    pub(crate) fn teardown_of<const N: usize>(self, setups: [&str; N]) -> Self {
        self.with(|task| {
            task.teardown_of.extend(setups.map(task_id));
            task.needs.extend(setups.map(task_id));
            task.trigger_rule = TriggerRule::AllDoneSetupSuccess;
        })
    }
}

/// Repeated over so many known values.
pub(crate) fn times(n: usize) -> Map {
    product([MapSource::Literal((0..n).map(Into::into).collect())])
}

/// Repeated over a task's result, which it then must need.
pub(crate) fn over(name: &str) -> Map {
    product([MapSource::Output(task_id(name))])
}

/// Repeated over the product of several sources.
pub(crate) fn product<const N: usize>(sources: [MapSource; N]) -> Map {
    Map {
        over: sources.into_iter().enumerate().map(|(i, source)| (format!("v{i}"), source)).collect(),
        zip: false,
    }
}
