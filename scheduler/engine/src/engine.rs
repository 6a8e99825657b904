//! The engine: everything that is scheduled, in memory, as one value.
//!
//! Events come in by [`Engine::advance`], [`Engine::request`], [`Engine::report`], [`Engine::answer`], [`Engine::loaded`] and
//! [`Engine::holdings`]; each does a little at once and leaves the rest as work. [`Engine::step`] does a bounded part of the
//! work; [`Engine::cut`] takes what changed as one batch, with the effects that may leave the process once it is stored.
//! Work is proportional to what changed: a finished instance touches its successors, nothing scans what exists.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    sync::Arc,
};

use dags::{
    ids::{
        AttemptId, DagId, DagVersion, DispatchId, ExecutorName, PoolName, RunId, RunName, TaskId, TenantId,
    },
    model::Dag,
    time::{Span, Timestamp},
    timetable::{Planned, Timetable},
};

use crate::{
    blame::BusyWith,
    command::InboxRow,
    dispatch::{Dispatch, Kill, Receipt, Withdrawal},
    journal::Load,
    map::FixedMap,
    plan::{Plan, TaskIdx},
    question::{MakeRun, Question},
    queue::{Queue, Ticket},
    quota::Counted,
    rows::{
        AlertRow, AssetEventRow, AttemptRow, BackfillRow, Broken, ContinuationRow, DagRow, EventRow,
        InboxOutcome, InputRow, MemberKey, MemberRow, PendingAssetRow, PoolRow, QuarantineRow, QuotaNode,
        QuotaRow, ResultRow,
    },
    run::{Run, RunIdx, TiRef},
    transition::Refused,
};

/// What can be set about an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Transitions per step and so, roughly, per batch.
    pub step_transitions: usize,
    /// The most instances that a task may be expanded to.
    pub map_length_max: u32,
    /// The executor of tasks that name none.
    pub default_executor: ExecutorName,
    /// The slots of a tenant's `default_pool` if nobody set them; -1 for no limit.
    pub default_pool_slots: i32,
    /// The time between TERM and KILL.
    pub kill_grace: Span,
    /// How long a dispatch may be queued without a start before its attempt goes back to the queue.
    pub queued_max: Span,
    /// How often an attempt goes back for that; the next time it fails.
    pub requeues_max: u32,
    /// A worker that isn't heard for this long is lost.
    pub worker_lease: Span,
    /// What runs on an executor that the service hasn't had for this long is lost.
    pub executor_missing: Span,
    /// What waits for this long gets what becomes free kept for it, while quotas are set.
    pub hold_after: Span,
}

impl Config {
    /// The defaults, with this executor for tasks that name none.
    pub fn new(default_executor: ExecutorName) -> Self {
        Self {
            step_transitions: 2_000,
            map_length_max: 1_024,
            default_executor,
            default_pool_slots: 128,
            kill_grace: Span::seconds(30),
            queued_max: Span::seconds(600),
            requeues_max: 2,
            worker_lease: Span::seconds(15),
            executor_missing: Span::seconds(60),
            hold_after: Span::seconds(300),
        }
    }
}

/// What may leave the process once the batch is stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// Attempts to hand over.
    pub dispatches: Vec<Dispatch>,
    /// Dispatches to end.
    pub kills: Vec<Kill>,
    /// Dispatches of lost workers that nobody may start any more.
    pub withdrawals: Vec<Withdrawal>,
    /// Members of gangs whose end their executor may forget.
    pub confirms: Vec<Receipt>,
    /// Workers that are lost or said goodbye.
    pub gone: Vec<(ExecutorName, dags::ids::WorkerId)>,
    /// Questions to answer.
    pub questions: Vec<Question>,
    /// Pairs of state and event that must not happen: bugs, to be logged. Nothing was written for them.
    pub faults: Vec<Fault>,
    /// What is left alone from now on: somebody must look at it.
    pub quarantined: Vec<Broken>,
    /// Something was released: the engine is to be built again, with it.
    pub rebuild: bool,
}

/// Something that must not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whose run it is.
    pub tenant: TenantId,
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run: RunId,
    /// The task and map index.
    pub task: (TaskId, i32),
    /// The pair.
    pub refused: Refused,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It changed something, or confirmed what was known.
    Taken,
    /// It is about a dispatch that isn't current.
    Stale,
    /// It was here before.
    Repeat,
    /// The member of a gang ended. Its executor keeps that until the gang is over, which [`Effects::confirms`] says.
    Held,
}

/// A DAG in memory.
#[derive(Debug)]
pub(crate) struct DagState {
    pub(crate) row: DagRow,
    pub(crate) plan: Arc<Plan>,
    pub(crate) timetable: Option<Timetable>,
    pub(crate) next: Option<Planned>,
    /// Unfinished runs, and finished ones that are still in memory.
    pub(crate) runs: BTreeMap<RunName, RunIdx>,
    /// Runs that wait to start: backfill runs last, then by age.
    pub(crate) queued: BTreeSet<(bool, Timestamp, u64, RunIdx)>,
    /// Running runs, without those of backfills.
    pub(crate) running: u32,
    /// Queued and running runs, without those of backfills.
    pub(crate) active: u32,
    /// The next scheduled run is due and waits for room under `max_active_runs`.
    pub(crate) held: bool,
    /// Whether it is on the list of DAGs to look at.
    pub(crate) has_work: bool,
    /// Active instances of tasks that have a limit over all runs.
    pub(crate) limited: BTreeMap<TaskId, Limited>,
    pub(crate) deleted: bool,
    /// Its tenant is suspended.
    pub(crate) suspended: bool,
    pub(crate) dirty: bool,
    /// Grows with every change of the schedule; timers of before are void.
    pub(crate) generation: u32,
    /// When a task instance or a run of it ended last, since the engine was built.
    pub(crate) news: Timestamp,
}

impl DagState {
    /// Whether its runs stand still, but for what is running: it is paused, its tenant is suspended, or the newest bundle no
    /// longer has it.
    pub(crate) fn halted(&self) -> bool {
        self.row.paused || self.suspended || self.row.stale
    }
}

/// Instances of a task with a limit of its own.
#[derive(Debug, Default)]
pub(crate) struct Limited {
    pub(crate) active: u32,
    pub(crate) parked: BTreeSet<crate::queue::Pending>,
}

/// Something that happens at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// An instance's `wake_at`.
    Ti { at: TiRef, seq: u64 },
    /// A run's `run_after`.
    RunDue { run: RunIdx, seq: u64 },
    /// A run's timeout.
    RunTimeout { run: RunIdx, seq: u64, generation: u32 },
    /// A run's deadline number `n`.
    Deadline { run: RunIdx, seq: u64, generation: u32, n: u32 },
    /// A DAG's next scheduled run.
    Dag { dag: u32, generation: u32 },
    /// The end of a worker's lease may have come.
    Fleet { executor: u32 },
    /// Somebody may have waited so long that room is kept for it, or what is kept may be free for others.
    Admission,
}

/// Who a dispatch belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder {
    pub(crate) at: TiRef,
    pub(crate) n: u32,
    /// When the hand-over was let out; [`Timestamp::MAX`] while it wasn't.
    pub(crate) since: Timestamp,
}

/// A dispatch that is being ended and whose instance went on without it.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) ticket: Option<Ticket>,
    /// By what it counts against the limits of its task and user until its end is confirmed.
    pub(crate) counted: Counted,
    pub(crate) executor: ExecutorName,
    /// As of [`Holder`].
    pub(crate) since: Timestamp,
    pub(crate) members: u32,
    /// Members that haven't ended.
    pub(crate) open: BTreeSet<u32>,
    /// Its number in the table of continuations: what it holds survives a crash.
    pub(crate) row: i64,
}

/// What is to be written and done, apart from what runs and instances hold themselves.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) effects: Effects,
    pub(crate) attempts: Vec<AttemptRow>,
    pub(crate) members: BTreeMap<MemberKey, MemberRow>,
    pub(crate) results: Vec<ResultRow>,
    /// Instances of tasks that a run no longer has since it was moved to another version.
    pub(crate) removed_tasks: Vec<crate::rows::Changed<crate::state::TaskState, crate::rows::TaskRow>>,
    /// The same, of instances that weren't stored before.
    pub(crate) removed_new_tasks: Vec<crate::rows::TaskRow>,
    pub(crate) pools: Vec<PoolRow>,
    pub(crate) deleted_pools: Vec<(TenantId, PoolName)>,
    pub(crate) deleted_runs: Vec<(TenantId, RunId)>,
    pub(crate) deleted_dags: Vec<(TenantId, DagId)>,
    pub(crate) asset_events: Vec<AssetEventRow>,
    pub(crate) pending_assets: Vec<PendingAssetRow>,
    pub(crate) consumed_assets: Vec<(TenantId, DagId)>,
    pub(crate) backfills: BTreeMap<(TenantId, i64), BackfillRow>,
    pub(crate) inbox: Vec<InboxOutcome>,
    pub(crate) alerts: Vec<AlertRow>,
    pub(crate) inputs: Vec<InputRow>,
    pub(crate) continuations: BTreeMap<i64, ContinuationRow>,
    pub(crate) quarantine: Vec<QuarantineRow>,
    /// Quotas that are set, or, without a row, are no more.
    pub(crate) quotas: BTreeMap<QuotaNode, Option<QuotaRow>>,
    /// History of runs that aren't in memory.
    pub(crate) events: Vec<EventRow>,
}

/// Everything that is scheduled, in memory.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) now: Timestamp,
    pub(crate) dags: Vec<DagState>,
    pub(crate) dag_index: BTreeMap<(TenantId, DagId), u32>,
    pub(crate) plans: BTreeMap<DagVersion, Arc<Plan>>,
    pub(crate) runs: Vec<Option<Box<Run>>>,
    pub(crate) free_runs: Vec<RunIdx>,
    pub(crate) run_seq: u64,
    pub(crate) attempts: FixedMap<AttemptId, Holder>,
    pub(crate) ending: BTreeMap<DispatchId, Ending>,
    /// Dispatches of lost workers that haven't been dealt with.
    pub(crate) lost: VecDeque<crate::fleet::Lost>,
    /// Those of which it is being found out whether their worker had claimed them.
    pub(crate) withdrawing: BTreeMap<DispatchId, crate::fleet::Lost>,
    pub(crate) queue: Queue,
    pub(crate) timers: BinaryHeap<Reverse<(Timestamp, Timer)>>,
    pub(crate) busy_runs: VecDeque<RunIdx>,
    pub(crate) busy_dags: VecDeque<u32>,
    pub(crate) dirty_runs: Vec<RunIdx>,
    pub(crate) dirty_dags: Vec<u32>,
    pub(crate) budget: usize,
    pub(crate) out: Out,
    pub(crate) loads: Vec<Load>,
    pub(crate) awaited: BTreeMap<Load, Awaited>,
    /// Runs that left memory while others were being read: what was read may be older than that.
    pub(crate) left: Vec<Left>,
    pub(crate) assets: crate::assets::Assets,
    pub(crate) backfills: BTreeMap<(TenantId, i64), crate::backfill::State>,
    pub(crate) last_backfill: BTreeMap<TenantId, i64>,
    pub(crate) next_continuation: i64,
    /// Questions to people that are open.
    pub(crate) inputs: BTreeMap<AttemptId, InputRow>,
    /// Who waits for news of which DAG.
    pub(crate) watchers: crate::watch::Watchers,
    /// How many runs the tasks of a tenant may still start now.
    pub(crate) rates: BTreeMap<TenantId, crate::chain::Rate>,
    /// Tenants of whom nothing starts.
    pub(crate) suspended: BTreeSet<TenantId>,
    pub(crate) quarantined_dags: BTreeMap<(TenantId, DagId), Arc<str>>,
    /// Pools whose rows can't be read, and why.
    pub(crate) unreadable_pools: BTreeMap<(TenantId, PoolName), Arc<str>>,
    /// Unfinished backfills whose rows can't be read, and why.
    pub(crate) unreadable_backfills: BTreeMap<(TenantId, i64), Arc<str>>,
    /// Whom it works for now.
    pub(crate) busy_with: BusyWith,
    /// Transitions made, ever: for figures.
    pub(crate) transitions: u64,
    pub(crate) tally: crate::figures::Tally,
    pub(crate) watched: crate::repair::Watched,
}

/// A run that left memory, and the loads that were asked for before.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) tenant: TenantId,
    pub(crate) run: RunId,
    pub(crate) dag_id: DagId,
    pub(crate) name: RunName,
    pub(crate) date: Option<Timestamp>,
    pub(crate) asked: BTreeSet<Load>,
}

/// Who waits for a run that is being loaded.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    pub(crate) requests: Vec<InboxRow>,
    pub(crate) pasts: Vec<(RunIdx, u64)>,
    pub(crate) backfills: Vec<(TenantId, i64)>,
    /// Tasks that want to make a run.
    pub(crate) tasks: Vec<(DispatchId, MakeRun)>,
}

impl Awaited {
    /// Whether only the outcome of the run matters.
    pub(crate) fn only_pasts(&self) -> bool {
        self.requests.is_empty() && self.backfills.is_empty() && self.tasks.is_empty()
    }
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now: Timestamp(0),
            dags: Vec::new(),
            dag_index: BTreeMap::new(),
            plans: BTreeMap::new(),
            runs: Vec::new(),
            free_runs: Vec::new(),
            run_seq: 0,
            attempts: FixedMap::default(),
            ending: BTreeMap::new(),
            lost: VecDeque::new(),
            withdrawing: BTreeMap::new(),
            queue: Queue::default(),
            timers: BinaryHeap::new(),
            busy_runs: VecDeque::new(),
            busy_dags: VecDeque::new(),
            dirty_runs: Vec::new(),
            dirty_dags: Vec::new(),
            budget: 0,
            out: Out::default(),
            loads: Vec::new(),
            awaited: BTreeMap::new(),
            left: Vec::new(),
            assets: crate::assets::Assets::default(),
            backfills: BTreeMap::new(),
            last_backfill: BTreeMap::new(),
            next_continuation: 1,
            inputs: BTreeMap::new(),
            watchers: crate::watch::Watchers::default(),
            rates: BTreeMap::new(),
            suspended: BTreeSet::new(),
            quarantined_dags: BTreeMap::new(),
            unreadable_pools: BTreeMap::new(),
            unreadable_backfills: BTreeMap::new(),
            busy_with: BusyWith::Nobody,
            transitions: 0,
            tally: crate::figures::Tally::default(),
            watched: crate::repair::Watched::default(),
        }
    }

    /// The engine's clock, which never runs back.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// How many transitions of task instances it made since it was built.
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Runs that are in memory.
    pub fn runs_in_memory(&self) -> usize {
        self.runs.iter().flatten().count()
    }

    /// The instant at which something happens by itself, if nothing else does before.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// How many attempts an executor may run at once; none if it isn't there.
    pub fn set_executor(&mut self, name: &ExecutorName, slots: Option<u32>) {
        self.queue.executor_mut(name).slots = slots;
    }

    /// Runs that must be read before something can go on; each is asked for once.
    pub fn take_loads(&mut self) -> Vec<Load> {
        std::mem::take(&mut self.loads)
    }

    /// Time passes. What is due becomes work, at most a step's worth at once.
    pub fn advance(&mut self, now: Timestamp) {
        let before = self.now;
        self.now = before.max(now);
        self.queue.now = self.now;
        self.was_away(before);
        self.fire();
    }

    pub(crate) fn run(&self, run: RunIdx) -> &Run {
        self.runs[run as usize].as_deref().expect("invariant: a run that is referred to is in memory")
    }

    pub(crate) fn run_mut(&mut self, run: RunIdx) -> &mut Run {
        self.runs[run as usize].as_deref_mut().expect("invariant: a run that is referred to is in memory")
    }

    /// The run, if it is still the one that was meant.
    pub(crate) fn is_run(&self, run: RunIdx, seq: u64) -> bool {
        self.runs.get(run as usize).and_then(Option::as_deref).is_some_and(|known| known.seq == seq)
    }

    pub(crate) fn find_dag(&self, tenant: TenantId, dag_id: &DagId) -> Option<u32> {
        self.dag_index.get(&(tenant, dag_id.clone())).copied()
    }

    pub(crate) fn plan(&mut self, version: &DagVersion, dag: &Arc<Dag>) -> Arc<Plan> {
        self.plans
            .entry(version.clone())
            .or_insert_with(|| Arc::new(Plan::new(version.clone(), dag.clone())))
            .clone()
    }

    pub(crate) fn touch_dag(&mut self, dag: u32) {
        let state = &mut self.dags[dag as usize];
        if !std::mem::replace(&mut state.dirty, true) {
            self.dirty_dags.push(dag);
        }
    }

    /// Puts a run on the list of those with something to write.
    pub(crate) fn list_run(&mut self, run: RunIdx) {
        if !std::mem::replace(&mut self.run_mut(run).listed, true) {
            self.dirty_runs.push(run);
        }
    }

    /// Notes that a run's own row changed.
    pub(crate) fn touch_run(&mut self, run: RunIdx) {
        self.run_mut(run).dirty = true;
        self.list_run(run);
    }

    pub(crate) fn dag_work(&mut self, dag: u32) {
        if !std::mem::replace(&mut self.dags[dag as usize].has_work, true) {
            self.busy_dags.push_back(dag);
        }
    }

    pub(crate) fn at(&mut self, when: Timestamp, timer: Timer) {
        self.timers.push(Reverse((when, timer)));
    }

    pub(crate) fn ask_load(&mut self, load: Load) -> &mut Awaited {
        if !self.awaited.contains_key(&load) {
            self.loads.push(load.clone());
        }
        self.awaited.entry(load).or_default()
    }

    pub(crate) fn task_name(&self, at: TiRef) -> (TaskId, i32) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        (run.plan.model(ti.task).task_id.clone(), ti.map_index)
    }

    /// The identity of an instance's current attempt.
    pub(crate) fn attempt_id(&self, at: TiRef) -> AttemptId {
        self.attempt_of(at, false)
    }

    /// The identity of an instance's current attempt or of the `next` one, which questions about its `when` carry.
    pub(crate) fn attempt_of(&self, at: TiRef, next: bool) -> AttemptId {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let number = ti.try_number + u32::from(next);
        AttemptId::derive(run.row.run, &run.plan.model(ti.task).task_id, ti.map_index, number)
    }

    pub(crate) fn model_of(&self, run: RunIdx, task: TaskIdx) -> &dags::model::Task {
        self.run(run).plan.model(task)
    }
}
