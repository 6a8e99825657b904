//! The engine at a glance, for `/debug/state`: counts, never names of what people made but for pools and executors.

use dags::{
    ids::{ExecutorName, PoolName, TenantId},
    time::Timestamp,
};
use serde::Serialize;

use crate::{
    engine::Engine,
    state::{RunState, TaskState},
};

/// What an engine has in memory and does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// Its clock.
    pub now: Timestamp,
    /// When something happens by itself, if nothing else does before.
    pub deadline: Option<Timestamp>,
    /// DAGs.
    pub dags: usize,
    /// Paused or stale ones among them.
    pub dags_halted: usize,
    /// Runs in memory by state, in the order of [`RunState::ALL`].
    pub runs: Vec<(RunState, usize)>,
    /// Task instances in memory by state, in the order of [`TaskState::ALL`], without those that there are none of.
    pub instances: Vec<(TaskState, usize)>,
    /// Instances in the queue.
    pub queued: usize,
    /// Scheduled instances that a limit of their run or task, or a pause, keeps out of the queue.
    pub parked: usize,
    /// Dispatches that are being ended and still hold what they held.
    pub ending: usize,
    /// Timers, void ones included.
    pub timers: usize,
    /// Runs with work to do.
    pub busy_runs: usize,
    /// Runs that are being read.
    pub loading: usize,
    /// Kinds of asset events that consumers haven't used yet.
    pub pending_assets: usize,
    /// Transitions since the engine was built.
    pub transitions: u64,
    /// Pools.
    pub pools: Vec<PoolUse>,
    /// Executors.
    pub executors: Vec<ExecutorUse>,
    /// Pool slots that each tenant holds.
    pub held: Vec<(TenantId, u64)>,
}

/// A pool's numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolUse {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: PoolName,
    /// Its slots, -1 without limit; none if tasks name it and it doesn't exist.
    pub slots: Option<i32>,
    /// Slots taken.
    pub used: i64,
    /// Slots of instances that wait without running.
    pub deferred: i64,
    /// Instances in the queue that ask for slots.
    pub waiting: u32,
}

/// An executor's numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExecutorUse {
    /// Its name.
    pub name: ExecutorName,
    /// What it may run at once; none if tasks name it and it isn't there.
    pub slots: Option<u32>,
    /// What it runs.
    pub used: u32,
}

impl Engine {
    /// The engine at a glance. Looks at everything in memory: for people, not for a loop.
    pub fn overview(&self) -> Overview {
        let runs: Vec<&crate::run::Run> = self.runs.iter().flatten().map(AsRef::as_ref).collect();
        let mut states = [0_usize; TaskState::ALL.len()];
        for ti in runs.iter().flat_map(|run| &run.tis).filter(|ti| !ti.has(crate::run::flag::DEAD)) {
            states[ti.state as usize] += 1;
        }
        let pending =
            runs.iter().flat_map(|run| &run.tis).filter(|ti| ti.has(crate::run::flag::PENDING)).count();
        let queued = runs.iter().map(|run| run.window.len()).sum();
        Overview {
            now: self.now,
            deadline: self.deadline(),
            dags: self.dag_index.len(),
            dags_halted: self.dags.iter().filter(|dag| !dag.deleted && dag.halted()).count(),
            runs: RunState::ALL
                .iter()
                .map(|state| (*state, runs.iter().filter(|run| run.row.state == *state).count()))
                .collect(),
            instances: TaskState::ALL.iter().copied().zip(states).filter(|(_, count)| *count > 0).collect(),
            queued,
            parked: pending - queued,
            ending: self.ending.len(),
            timers: self.timers.len(),
            busy_runs: self.busy_runs.len(),
            loading: self.awaited.len(),
            pending_assets: (0..self.dags.len() as u32)
                .filter_map(|dag| self.pending_for(dag))
                .map(std::collections::BTreeMap::len)
                .sum(),
            transitions: self.transitions,
            pools: self
                .queue
                .pools()
                .map(|pool| PoolUse {
                    tenant: pool.tenant,
                    name: pool.name.clone(),
                    slots: pool.row.as_ref().map(|row| row.slots),
                    used: pool.used,
                    deferred: pool.deferred,
                    waiting: pool.waiting,
                })
                .collect(),
            executors: self
                .queue
                .executors()
                .map(|executor| ExecutorUse {
                    name: executor.name.clone(),
                    slots: executor.slots,
                    used: executor.used,
                })
                .collect(),
            held: self.queue.held().collect(),
        }
    }
}
