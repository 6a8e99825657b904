//! The store of a simulation: it forgets what nobody will ask for, and counts the rest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use std::sync::Arc;

use dags::{
    ids::{DagId, DagVersion, ExecutorName, PoolName, RunId, RunName, TaskId, TenantId},
    model::Dag,
    time::{Span, Timestamp},
};
use engine::{
    command::{Command, InboxRow},
    journal::{Commit, Inbox, Load, Loaded},
    map::FixedMap,
    rows::{Batch, RunRow, Snapshot, TaskRow},
    state::{RunState, TaskState},
};
use serde_json::Value;

use super::{EXECUTOR, scenario::Scenario, usage::Usage};
use crate::clockwork::Store;

/// How many finished runs of a DAG are kept for those who look back.
const PAST_RUNS: usize = 8;
/// What is shorter than this is no wait.
const WAIT_MIN: Span = Span::seconds(1);

/// A run that is over, or was when the simulation ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunFact {
    /// The DAG's place in the scenario.
    pub(super) dag: u32,
    pub(super) due: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) state: RunState,
}

/// A task instance that ended.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Instance {
    /// The DAG.
    pub dag: String,
    /// The run.
    pub run: String,
    /// When the run was due.
    pub due: Timestamp,
    /// The task.
    pub task: String,
    /// Which instance of a mapped task; -1 for any other.
    pub index: i32,
    /// Its state at the end.
    pub state: &'static str,
    /// How many tries it had.
    pub tries: u32,
    /// When its last try started.
    pub starts: Option<Timestamp>,
    /// When it ended.
    pub ends: Option<Timestamp>,
    /// For what its last try waited, if it waited for a second or longer.
    pub waited_for: Option<Arc<str>>,
    /// How many seconds.
    pub waited: f64,
}

/// A task instance that waits for admission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waiting {
    pub(super) tenant: TenantId,
    pub(super) run: RunId,
    pub(super) dag_id: DagId,
    pub(super) run_name: RunName,
    pub(super) task: TaskId,
    pub(super) index: i32,
}

/// What waited, by DAG and cause: how often, how long in all, and the longest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waited {
    pub(super) count: u64,
    pub(super) total: Span,
    pub(super) longest: Span,
}

type Key = (RunId, TaskId, i32);

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    now: Timestamp,
    pub(super) versions: BTreeMap<DagVersion, Arc<Dag>>,
    inbox: BTreeMap<i64, InboxRow>,
    requests: i64,
    places: BTreeMap<(TenantId, DagId), u32>,
    /// DAGs whose tasks look at the run before.
    look_back: BTreeSet<(TenantId, DagId)>,
    live: FixedMap<RunId, RunRow>,
    /// Task instances of runs of DAGs that look back.
    tasks: BTreeMap<Key, TaskRow>,
    past: BTreeMap<(TenantId, DagId), VecDeque<RunRow>>,
    /// Runs that tasks of other DAGs made or wait for.
    watched: BTreeSet<(TenantId, DagId)>,
    pub(super) by_name: BTreeMap<(TenantId, DagId, RunName), RunRow>,
    by_date: BTreeMap<(TenantId, DagId, Timestamp), RunName>,
    pub(super) made: BTreeMap<Key, Value>,
    pub(super) runs: Vec<RunFact>,
    pub(super) instances: u64,
    pub(super) attempts: u64,
    pub(super) failed_tries: u64,
    pub(super) fresh: Vec<Waiting>,
    causes: BTreeMap<Key, Arc<str>>,
    /// The causes of tasks whose instances began to wait at `last_at`, for others of them that begin at the same instant.
    last: BTreeMap<(RunId, TaskId), Arc<str>>,
    last_at: Timestamp,
    pub(super) waits: BTreeMap<(u32, Arc<str>), Waited>,
    pub(super) executors: BTreeMap<ExecutorName, Usage>,
    pub(super) pools: BTreeMap<(TenantId, PoolName), Usage>,
    pub(super) deadlines: Vec<(TenantId, DagId, RunName, Timestamp)>,
    /// Every task instance that ended, if somebody wants to know.
    pub(super) list: Option<Vec<Instance>>,
    /// For what listed instances waited.
    waited_for: BTreeMap<Key, (Arc<str>, Span)>,
    /// Those that the service decides now.
    by_service: BTreeSet<Key>,
    /// Requests that were refused.
    pub(super) refused: Vec<String>,
    default: ExecutorName,
    trigger_tasks: BTreeSet<(TenantId, DagId, TaskId)>,
}

impl Ledger {
    pub(super) fn new(from: Timestamp, to: Timestamp, scenario: &Scenario) -> Self {
        let mut places = BTreeMap::new();
        let (mut look_back, mut watched, mut trigger_tasks) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (place, (tenant, dag)) in scenario.dags.iter().enumerate() {
            places.insert((*tenant, dag.dag_id.clone()), place as u32);
            for task in &dag.tasks {
                if task.depends_on_past || task.wait_for_downstream {
                    look_back.insert((*tenant, dag.dag_id.clone()));
                }
                if matches!(task.operator.as_str(), "trigger_dag" | "task_sensor")
                    && let Some(other) = task.args.get("dag_id").and_then(Value::as_str)
                    && let Ok(other) = DagId::parse(other)
                {
                    watched.insert((*tenant, other));
                }
                if task.operator == "trigger_dag" {
                    trigger_tasks.insert((*tenant, dag.dag_id.clone(), task.task_id.clone()));
                }
            }
        }
        let usage = || Usage::new(from, to);
        Self {
            now: from,
            versions: BTreeMap::new(),
            inbox: BTreeMap::new(),
            requests: 0,
            places,
            look_back,
            live: FixedMap::default(),
            tasks: BTreeMap::new(),
            past: BTreeMap::new(),
            watched,
            by_name: BTreeMap::new(),
            by_date: BTreeMap::new(),
            made: BTreeMap::new(),
            runs: Vec::new(),
            instances: 0,
            attempts: 0,
            failed_tries: 0,
            fresh: Vec::new(),
            causes: BTreeMap::new(),
            last: BTreeMap::new(),
            last_at: from,
            waits: BTreeMap::new(),
            executors: scenario.executors.iter().map(|(name, _)| (name.clone(), usage())).collect(),
            pools: scenario.pools.keys().map(|key| (key.clone(), usage())).collect(),
            deadlines: Vec::new(),
            list: None,
            waited_for: BTreeMap::new(),
            by_service: BTreeSet::new(),
            refused: Vec::new(),
            default: ExecutorName::parse(EXECUTOR).expect("invariant: a plain word is a name"),
            trigger_tasks,
        }
    }

    /// The run, while it isn't over.
    pub(super) fn live(&self, run: RunId) -> Option<&RunRow> {
        self.live.get(&run)
    }

    /// A run of a DAG that somebody waits for, by what it stands for.
    pub(super) fn at(&self, tenant: TenantId, dag_id: &DagId, date: Timestamp) -> Option<&RunRow> {
        let name = self.by_date.get(&(tenant, dag_id.clone(), date))?;
        self.by_name.get(&(tenant, dag_id.clone(), name.clone()))
    }

    /// Why another instance of the same task began to wait at this instant.
    pub(super) fn cause_of(&self, waiting: &Waiting) -> Option<Arc<str>> {
        let known = (self.last_at == self.now).then_some(&self.last)?;
        known.get(&(waiting.run, waiting.task.clone())).cloned()
    }

    /// It waits because of that.
    pub(super) fn waits_for(&mut self, waiting: Waiting, cause: Arc<str>) {
        if self.last_at != self.now {
            self.last_at = self.now;
            self.last.clear();
        }
        self.last.insert((waiting.run, waiting.task.clone()), cause.clone());
        self.causes.insert((waiting.run, waiting.task, waiting.index), cause);
    }

    /// Time goes on to the end, and what isn't over is counted as it is.
    pub(super) fn close(&mut self, to: Timestamp) {
        self.executors.values_mut().chain(self.pools.values_mut()).for_each(|usage| usage.pass(to));
        let open: Vec<RunRow> = self.live.values().cloned().collect();
        for row in open {
            self.count_run(&row);
        }
    }

    fn place(&self, row: &RunRow) -> u32 {
        self.places.get(&(row.tenant, row.dag_id.clone())).copied().unwrap_or_default()
    }

    fn count_run(&mut self, row: &RunRow) {
        let fact = RunFact {
            dag: self.place(row),
            due: row.run_after,
            started: row.started_at,
            ended: row.ended_at,
            state: row.state,
        };
        self.runs.push(fact);
    }

    fn waited(&mut self, dag: u32, cause: Arc<str>, span: Span) {
        let waited = self.waits.entry((dag, cause)).or_default();
        waited.count += 1;
        waited.total = Span(waited.total.0 + span.0);
        waited.longest = waited.longest.max(span);
    }

    fn write_run(&mut self, before: Option<RunState>, row: &RunRow) {
        // A run that may not start yet is made late, or made and queued.
        let begins = matches!(before, None | Some(RunState::Queued)) && row.state != RunState::Queued;
        if begins && let Some(started) = row.started_at {
            let waited = started.since(row.run_after);
            if waited >= WAIT_MIN {
                self.waited(self.place(row), "max_active_runs".into(), waited);
            }
        }
        let key = (row.tenant, row.dag_id.clone());
        if self.watched.contains(&key) {
            if let Some(date) = row.logical_date {
                self.by_date.insert((row.tenant, row.dag_id.clone(), date), row.run_name.clone());
            }
            self.by_name.insert((row.tenant, row.dag_id.clone(), row.run_name.clone()), row.clone());
        }
        if !row.state.is_finished() {
            self.live.insert(row.run, row.clone());
            return;
        }
        self.live.swap_remove(&row.run);
        self.count_run(row);
        if self.look_back.contains(&key) {
            let past = self.past.entry(key).or_default();
            past.push_back(row.clone());
            if past.len() > PAST_RUNS
                && let Some(gone) = past.pop_front()
            {
                self.tasks.retain(|(run, ..), _| *run != gone.run);
            }
        }
    }

    /// It waits no more.
    fn admitted(&mut self, row: &TaskRow) {
        let key = (row.run, row.task.clone(), row.map_index);
        let cause = self.causes.remove(&key);
        let (Some(from), Some(to)) = (row.scheduled_at, row.queued_at) else { return };
        let waited = to.since(from);
        if waited < WAIT_MIN {
            return;
        }
        let cause = cause.unwrap_or_else(|| "unknown".into());
        if self.list.is_some() {
            self.waited_for.insert(key, (cause.clone(), waited));
        }
        let dag = self.live.get(&row.run).map(|run| self.place(run)).unwrap_or_default();
        self.waited(dag, cause, waited);
    }

    fn note(&mut self, row: &TaskRow) {
        let Some(run) = self.live.get(&row.run) else { return };
        let Some(list) = &mut self.list else { return };
        let waited = self.waited_for.remove(&(row.run, row.task.clone(), row.map_index));
        list.push(Instance {
            dag: run.dag_id.to_string(),
            run: run.run_name.to_string(),
            due: run.run_after,
            task: row.task.to_string(),
            index: row.map_index,
            state: row.state.as_str(),
            tries: row.try_number,
            starts: row.started_at,
            ends: row.ended_at,
            waited_for: waited.as_ref().map(|(cause, _)| cause.clone()),
            waited: waited.map_or(0.0, |(_, span)| (span.0 as f64 / 1e6).round()),
        });
    }

    fn write_task(&mut self, before: TaskState, row: &TaskRow) {
        let held = before.holds_slots();
        let holds = row.state.holds_slots();
        if held != holds {
            let sign = if holds { 1 } else { -1 };
            // What the service decides by itself, such as a branch, has neither a slot nor a place.
            let key = (row.run, row.task.clone(), row.map_index);
            let by_service = if holds {
                row.executor.is_none() && self.by_service.insert(key)
            } else {
                self.by_service.remove(&key)
            };
            let executor = row.executor.as_ref().unwrap_or(&self.default);
            if let Some(usage) = self.executors.get_mut(executor).filter(|_| !by_service) {
                usage.add(self.now, sign * i64::from(row.members.max(1)));
            }
            if let Some(usage) = self.pools.get_mut(&(row.tenant, row.pool.clone())).filter(|_| !by_service) {
                usage.add(self.now, sign * i64::from(row.pool_slots));
            }
        }
        if row.state.is_finished() && !before.is_finished() {
            self.instances += 1;
            self.attempts += u64::from(row.try_number);
            self.note(row);
        }
        if matches!(row.state, TaskState::Failed | TaskState::UpForRetry) {
            self.failed_tries += 1;
        }
        if row.state == TaskState::Scheduled {
            if let Some(run) = self.live.get(&row.run) {
                self.fresh.push(Waiting {
                    tenant: row.tenant,
                    run: row.run,
                    dag_id: run.dag_id.clone(),
                    run_name: run.run_name.clone(),
                    task: row.task.clone(),
                    index: row.map_index,
                });
            }
        } else if before == TaskState::Scheduled {
            self.admitted(row);
        }
        let looked_at = !self.look_back.is_empty()
            && self
                .live
                .get(&row.run)
                .is_some_and(|run| self.look_back.contains(&(run.tenant, run.dag_id.clone())));
        if looked_at {
            self.tasks.insert((row.run, row.task.clone(), row.map_index), row.clone());
        }
    }
}

impl Store for Ledger {
    fn snapshot(&self) -> Snapshot {
        Snapshot { now: self.now, ..Snapshot::default() }
    }

    fn write(&mut self, batch: &Batch) -> Commit {
        self.now = batch.now;
        for row in &batch.new_runs {
            self.write_run(None, row);
        }
        for row in &batch.new_tasks {
            self.write_task(TaskState::None, row);
        }
        for changed in &batch.tasks {
            self.write_task(changed.before, &changed.row);
        }
        for changed in &batch.runs {
            self.write_run(Some(changed.before), &changed.row);
        }
        if !self.trigger_tasks.is_empty() {
            for row in &batch.results {
                let Some(run) = self.live.get(&row.run) else { continue };
                let of = (run.tenant, run.dag_id.clone(), row.task.clone());
                if self.trigger_tasks.contains(&of)
                    && let engine::dispatch::ResultRef::Inline(value) = &row.value
                {
                    self.made.insert((row.run, row.task.clone(), row.map_index), value.clone());
                }
            }
        }
        for outcome in &batch.inbox {
            self.inbox.remove(&outcome.id);
            if let Err(refusal) = &outcome.outcome {
                self.refused.push(refusal.message.clone());
            }
        }
        Commit::Done
    }

    fn find(&self, load: Load) -> Loaded {
        let found = match &load {
            Load::Before(tenant, dag_id, date) => {
                let past = self.past.get(&(*tenant, dag_id.clone()));
                let before =
                    past.into_iter().flatten().filter(|row| row.logical_date.is_some_and(|at| at < *date));
                before.max_by_key(|row| row.logical_date)
            }
            Load::Run(tenant, dag_id, name) => self.by_name.get(&(*tenant, dag_id.clone(), name.clone())),
            Load::At(tenant, dag_id, date) => self.at(*tenant, dag_id, *date),
            Load::ById(run) => self.past.values().flatten().find(|row| row.run == *run),
        };
        let run = found.and_then(|row| {
            let first = TaskId::parse("-").ok()?;
            let tasks = self.tasks.range((row.run, first, i32::MIN)..);
            let tasks =
                tasks.take_while(|((run, ..), _)| *run == row.run).map(|(_, row)| row.clone()).collect();
            Some((row.clone(), tasks, self.versions.get(&row.version)?.clone()))
        });
        Loaded::new(load, run)
    }

    fn request(&mut self, tenant: TenantId, actor: &str, command: Command) {
        self.requests += 1;
        let row = InboxRow { id: self.requests, tenant, actor: actor.to_owned(), command };
        self.inbox.insert(row.id, row);
    }

    fn requests(&self, skip: &[i64], limit: usize) -> Inbox {
        let rows: Vec<InboxRow> =
            self.inbox.values().filter(|row| !skip.contains(&row.id)).take(limit).cloned().collect();
        let named = rows.iter().filter_map(|row| match &row.command {
            Command::ActivateBundle { dags, .. } => Some(dags),
            _ => None,
        });
        let versions = named
            .flatten()
            .filter_map(|dag| Some((dag.version.clone(), self.versions.get(&dag.version)?.clone())))
            .collect();
        Inbox { rows, refused: Vec::new(), versions }
    }
}
