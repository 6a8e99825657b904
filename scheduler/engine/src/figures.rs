//! Figures for metrics: what can be counted without looking at every task instance, and what is counted on the way.

use dags::{ids::ExecutorName, time::Span};
use serde::Serialize;

use crate::{
    engine::Engine,
    fleet::Fleet,
    queue::{Lane, Queue},
    state::RunState,
};

/// Starts that are kept until somebody takes them; more than that in between aren't measured.
const STARTS_MAX: usize = 8_192;

/// What holds a ready task instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its DAG is paused or stale.
    DagPaused,
    /// The limit of its run.
    MaxActiveTasks,
    /// A limit of its task.
    MaxActive,
    /// Its pool has too few free slots.
    Pool,
    /// There is no such pool.
    PoolMissing,
    /// Its executor has no room.
    Executor,
    /// There is no such executor.
    ExecutorMissing,
    /// No worker has room.
    Workers,
    /// Nothing: it is about to be admitted.
    Next,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::DagPaused,
        Self::MaxActiveTasks,
        Self::MaxActive,
        Self::Pool,
        Self::PoolMissing,
        Self::Executor,
        Self::ExecutorMissing,
        Self::Workers,
        Self::Next,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DagPaused => "dag_paused",
            Self::MaxActiveTasks => "max_active_tasks",
            Self::MaxActive => "max_active",
            Self::Pool => "pool",
            Self::PoolMissing => "pool_missing",
            Self::Executor => "executor",
            Self::ExecutorMissing => "executor_missing",
            Self::Workers => "workers",
            Self::Next => "next",
        }
    }
}

/// Something that the engine put right because whoever should have acted didn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// An executor didn't have what it should have started, and was given it again.
    HandedOverAgain,
    /// An executor had what isn't current, and was told to end it.
    EndedStranger,
    /// An executor didn't have what should be running: a lost try.
    Lost,
    /// No executor started it in time: it goes back to the queue.
    TakenBack,
    /// An executor hasn't said that something ended, and was told to end it once more.
    EndedAgain,
    /// The answer to a question didn't come, and it was asked once more.
    AskedAgain,
    /// Something slept longer than it said.
    Woken,
    /// What an executor held that isn't there any more was let go.
    LetGo,
}

impl Repair {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::HandedOverAgain,
        Self::EndedStranger,
        Self::Lost,
        Self::TakenBack,
        Self::EndedAgain,
        Self::AskedAgain,
        Self::Woken,
        Self::LetGo,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HandedOverAgain => "handed_over_again",
            Self::EndedStranger => "ended_stranger",
            Self::Lost => "lost",
            Self::TakenBack => "taken_back",
            Self::EndedAgain => "ended_again",
            Self::AskedAgain => "asked_again",
            Self::Woken => "woken",
            Self::LetGo => "let_go",
        }
    }
}

/// What was counted on the way. It decides nothing.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    starts: Vec<Span>,
    repairs: [u64; Repair::ALL.len()],
}

impl Tally {
    pub(crate) fn start(&mut self, after: Span) {
        if self.starts.len() < STARTS_MAX {
            self.starts.push(after);
        }
    }

    pub(crate) fn repair(&mut self, what: Repair) {
        self.repairs[what as usize] += 1;
    }
}

/// Figures of now.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Unfinished runs by state.
    pub runs: Vec<(RunState, usize)>,
    /// Ready task instances by what holds them, in the order of [`Cause::ALL`].
    pub waiting: Vec<(Cause, usize)>,
    /// Executors: how many attempts run there, and how many may.
    pub executors: Vec<(ExecutorName, u32, Option<u32>)>,
    /// Workers.
    pub workers: WorkerFigures,
    /// Dispatches that are being ended.
    pub ending: usize,
}

/// Figures of all workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WorkerFigures {
    /// That take something new.
    pub open: u32,
    /// That are about to end.
    pub draining: u32,
    /// That weren't heard for several heartbeats.
    pub silent: u32,
    /// That weren't heard since a restart.
    pub unknown: u32,
    /// Slots taken.
    pub used: u32,
    /// Slots of all that are known.
    pub slots: u32,
}

impl Engine {
    /// Figures of now. Looks at runs, DAGs and lanes of the queue, not at task instances.
    pub fn figures(&self) -> Figures {
        let mut waiting = [0_usize; Cause::ALL.len()];
        for lane in self.queue.lanes.iter().filter(|lane| !lane.pending.is_empty()) {
            waiting[hold_of_lane(&self.queue, lane) as usize] += lane.pending.len();
        }
        let mut runs = [0_usize; RunState::ALL.len()];
        for run in self.runs.iter().flatten().filter(|run| !run.row.state.is_finished()) {
            runs[run.row.state as usize] += 1;
            let halted = self.dags[run.dag as usize].halted();
            let parked = if halted { Cause::DagPaused } else { Cause::MaxActiveTasks };
            waiting[parked as usize] += run.parked.len();
            waiting[Cause::MaxActive as usize] +=
                run.limited.values().map(|limited| limited.parked.len()).sum::<usize>();
        }
        waiting[Cause::MaxActive as usize] += self
            .dags
            .iter()
            .flat_map(|dag| dag.limited.values())
            .map(|limited| limited.parked.len())
            .sum::<usize>();
        let mut workers = WorkerFigures::default();
        for fleet in self.queue.executors().filter_map(|executor| executor.fleet.as_ref()) {
            fleet.count(self.now, &mut workers);
        }
        let unfinished = RunState::ALL.iter().filter(|state| !state.is_finished());
        Figures {
            runs: unfinished.map(|state| (*state, runs[*state as usize])).collect(),
            waiting: Cause::ALL.into_iter().zip(waiting).collect(),
            executors: self
                .queue
                .executors()
                .map(|executor| {
                    let slots = match &executor.fleet {
                        Some(fleet) => Some(fleet.slots().min(executor.slots.unwrap_or(u32::MAX))),
                        None => executor.slots,
                    };
                    (executor.name.clone(), executor.used, slots)
                })
                .collect(),
            workers,
            ending: self.ending.len(),
        }
    }

    /// How long those took to start that were started since the last call, from their hand-over.
    pub fn take_starts(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.tally.starts)
    }

    /// How often each was put right since the engine was built, in the order of [`Repair::ALL`].
    pub fn repairs(&self) -> [u64; Repair::ALL.len()] {
        self.tally.repairs
    }
}

/// What holds the first of a lane, and so all of it.
fn hold_of_lane(queue: &Queue, lane: &Lane) -> Cause {
    let pool = &queue.pools[lane.key.pool as usize];
    let executor = &queue.executors[lane.key.executor as usize];
    if pool.row.is_none() {
        return Cause::PoolMissing;
    }
    if pool.open() < i64::from(lane.key.slots) {
        return Cause::Pool;
    }
    let Some(slots) = executor.slots else { return Cause::ExecutorMissing };
    if slots.saturating_sub(executor.used) < lane.key.members {
        return Cause::Executor;
    }
    let tenant = queue.tenants[lane.key.tenant as usize].id;
    let room = |fleet: &Fleet| fleet.choose(tenant, &lane.key.needs, lane.key.members).is_some();
    if executor.fleet.as_ref().is_some_and(|fleet| !room(fleet)) { Cause::Workers } else { Cause::Next }
}
