//! What can hold a task instance, with the numbers that decide.

use dags::{
    ids::{DagId, ExecutorName, PoolName, RunName, TaskId},
    model::TriggerRule,
    time::Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sharing::CapKind;

/// What can hold a task instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Limit {
    /// The tenant is suspended: nothing of it starts.
    TenantSuspended,
    /// The DAG is paused.
    DagPaused,
    /// The newest bundle doesn't have the DAG.
    DagStale,
    /// The run, or its whole DAG, is left alone because its rows can't be worked with.
    Quarantined {
        /// Why.
        reason: String,
        /// Whether it is the whole DAG.
        whole_dag: bool,
    },
    /// The run isn't due.
    RunDue {
        /// When it is.
        run_after: Timestamp,
    },
    /// The run waits for others of its DAG.
    MaxActiveRuns {
        /// How many are running.
        running: u32,
        /// How many may.
        limit: u32,
        /// How many queued runs start before this one.
        ahead: u32,
    },
    /// The run waits for others of its backfill, or the backfill is paused.
    Backfill {
        /// Its number.
        id: i64,
        /// Whether it is paused.
        paused: bool,
        /// How many of its runs are running.
        running: u32,
        /// How many may.
        limit: u32,
    },
    /// Tasks upstream haven't ended as the trigger rule wants.
    Upstream {
        /// The rule.
        rule: TriggerRule,
        /// Direct upstream instances that ended.
        done: u32,
        /// All direct upstream instances.
        total: u32,
        /// The tasks that it waits for, setups and, for a teardown, the work before it included. At most 20.
        waits_for: Vec<Unfinished>,
    },
    /// It isn't known over how many values the task is repeated.
    Expansion {
        /// The tasks whose results say so and that haven't ended.
        waits_for: Vec<Unfinished>,
    },
    /// The same task of the run before hasn't ended well.
    Past {
        /// The run before, if it is known yet.
        run_name: Option<RunName>,
        /// The tasks there that must succeed or be skipped.
        tasks: Vec<TaskId>,
    },
    /// A question about its condition, or the task itself, isn't answered yet.
    Question,
    /// It is tried again, called again or looked at again then.
    Until {
        /// When.
        at: Timestamp,
    },
    /// It was cleared while it ran, and its attempt hasn't ended.
    Ending,
    /// The run has as many active tasks as it may.
    MaxActiveTasks {
        /// Active ones.
        active: u32,
        /// Those that are let into the queue before it.
        queued: u32,
        /// The limit.
        limit: u32,
    },
    /// The task has as many active instances as it may.
    MaxActive {
        /// Active ones.
        active: u32,
        /// The limit.
        limit: u32,
        /// Whether instances of all runs count, or of this one only.
        all_runs: bool,
    },
    /// The pool has too few free slots.
    Pool {
        /// The pool.
        name: PoolName,
        /// Its slots, -1 without limit; none if there is no such pool.
        total: Option<i32>,
        /// Slots taken.
        used: i64,
        /// Slots taken by instances that wait without running, if the pool counts those.
        deferred: i64,
        /// Slots that are free; less than nothing after the pool was made smaller.
        free: i64,
        /// Slots that the instance asks for.
        asked: u32,
    },
    /// The executor has too little room.
    Executor {
        /// The executor.
        name: ExecutorName,
        /// What it may run at once; none if it isn't there.
        slots: Option<u32>,
        /// What it runs.
        used: u32,
        /// What the instance asks for.
        asked: u32,
    },
    /// No worker of the executor has room for it.
    Workers {
        /// The executor.
        executor: ExecutorName,
        /// The queue that the worker must serve.
        queue: String,
        /// Workers that are there.
        workers: u32,
        /// Of these, serving the queue and the tenant.
        serving: u32,
        /// Of these, large enough when nothing runs there.
        large_enough: u32,
        /// Of these, taking something new.
        open: u32,
    },
    /// A quota is used up, or never suffices.
    Quota {
        /// The tenant or cohort whose quota it is.
        node: String,
        /// The executor.
        executor: String,
        /// What is counted.
        resource: String,
        /// What the instance asks for.
        wanted: i64,
        /// What is used.
        used: i64,
        /// The most that may be used.
        limit: i64,
        /// The tenant's own task instances that use the most of it.
        held_by: Vec<HeldBy>,
        /// What the largest users among other tenants use.
        others: i64,
    },
    /// The tenant has as many task instances handed over as it, a user or a group of users may have at once.
    Tasks {
        /// Whose limit it is.
        of: CapKind,
        /// The user or group.
        name: Option<String>,
        /// How many are handed over.
        active: i64,
        /// How many may be.
        limit: i64,
    },
    /// Its executor has taken it and can't begin it yet.
    Begin {
        /// The executor.
        executor: ExecutorName,
    },
    /// Others are being ended so that it can run.
    Victims {
        /// How many.
        count: usize,
    },
    /// What is free is kept for a task that waited too long, or that others gave way to.
    Reserved {
        /// Whether it is one of the same tenant.
        own: bool,
    },
    /// It stands in the queue.
    Queue {
        /// How many of the same tenant go before it.
        ahead: usize,
        /// From then on what becomes free is kept for it, if it still waits; none without quotas, or if it is so already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept_from: Option<Timestamp>,
    },
}

/// A task instance that uses what another waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldBy {
    /// Its DAG.
    pub dag_id: DagId,
    /// Its run.
    pub run_name: RunName,
    /// Its task.
    pub task_id: TaskId,
    /// Which instance of a mapped task; -1 for any other.
    pub map_index: i32,
    /// How much it uses.
    pub amount: i64,
}

/// A task whose instances haven't all ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unfinished {
    /// The task.
    pub task: TaskId,
    /// Its instances that count and haven't ended.
    pub open: u32,
    /// Its instances that count.
    pub total: u32,
}
