//! A run in memory: its task instances, and the counters by which a finished one touches its successors only.
//!
//! The instances of one task lie side by side ([`Span`]). Counters belong to a **unit**: one per task, or one per instance
//! where a mapped group makes instance i depend on instance i. A mapped task outside of a group has many instances and
//! one unit, so that 100,000 instances don't count the same upstream 100,000 times.

use std::{collections::BTreeSet, sync::Arc};

use dags::{
    ids::{ExecutorName, TaskId, WorkerId},
    time::Timestamp,
};

use crate::{
    plan::{Plan, TaskIdx},
    queue::Ticket,
    rows::{RunRow, TaskRow, Transition},
    state::TaskState,
    trigger_rule::{Setups, Upstream},
};

/// The index of a run in memory.
pub(crate) type RunIdx = u32;
/// The index of a task instance in its run.
pub(crate) type TiIdx = u32;

/// A task instance in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TiRef {
    pub(crate) run: RunIdx,
    pub(crate) ti: TiIdx,
}

/// What is remembered of a task instance besides its state; set bits are rare but for `STORED`.
pub(crate) mod flag {
    /// The database has a row.
    pub(crate) const STORED: u8 = 1;
    /// It is on the run's list of changed instances.
    pub(crate) const DIRTY: u8 = 2;
    /// Its retry or next call is due; its dependencies are looked at again.
    pub(crate) const DUE: u8 = 4;
    /// A question about its `when` is open.
    pub(crate) const ASKING: u8 = 8;
    /// Its `when` was true.
    pub(crate) const WHEN_HOLDS: u8 = 16;
    /// It waits in a queue for admission or is parked before one.
    pub(crate) const PENDING: u8 = 32;
    /// It was replaced by another instance of the same task when the task was expanded.
    pub(crate) const DEAD: u8 = 64;
    /// It waits for the same task of the previous run.
    pub(crate) const WAITS_FOR_PAST: u8 = 128;
}

/// One task instance.
#[derive(Debug)]
pub(crate) struct Ti {
    pub(crate) task: TaskIdx,
    pub(crate) map_index: i32,
    pub(crate) state: TaskState,
    /// The state that the database has, if it has a row.
    pub(crate) stored: TaskState,
    pub(crate) flags: u8,
    pub(crate) preempted: u8,
    pub(crate) requeued: u8,
    pub(crate) try_number: u32,
    pub(crate) max_tries: u32,
    pub(crate) dispatch_n: u32,
    pub(crate) scheduled_at: Option<Timestamp>,
    /// What only an instance that was admitted, or came to something without that, has: many wait, few run.
    pub(crate) live: Option<Box<Live>>,
}

/// What an instance has from its admission on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live {
    pub(crate) queued_at: Option<Timestamp>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) executor: Option<ExecutorName>,
    /// The members of the current dispatch, from its admission on.
    pub(crate) members: u32,
    /// Where it runs; of a gang, where its first member runs.
    pub(crate) host: Option<Arc<str>>,
    /// The worker, where the executor has several.
    pub(crate) worker: Option<WorkerId>,
    pub(crate) reason: Option<Arc<str>>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) mapped_length: Option<u32>,
    /// The tasks that its decision skips.
    pub(crate) skips: Option<Arc<[TaskId]>>,
    pub(crate) marked_by: Option<Arc<str>>,
    /// What it holds between admission and confirmed end.
    pub(crate) ticket: Option<Ticket>,
    /// The last report's number by which repeats are known.
    pub(crate) seq: u32,
    /// It hasn't started for so long that its executor was told to end it.
    pub(crate) taken_back: bool,
    /// It is being ended so that another can run, and why.
    pub(crate) gives_way: Option<Arc<str>>,
    /// What is known of the members of a gang, from the first report on.
    pub(crate) gang: Option<Box<crate::gang::Gang>>,
}

impl Ti {
    pub(crate) fn new(task: TaskIdx, map_index: i32, retries: u32) -> Self {
        Self {
            task,
            map_index,
            state: TaskState::None,
            stored: TaskState::None,
            flags: 0,
            preempted: 0,
            requeued: 0,
            try_number: 0,
            max_tries: retries,
            dispatch_n: 0,
            scheduled_at: None,
            live: None,
        }
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u8) {
        self.flags |= flag;
    }

    pub(crate) fn unset(&mut self, flag: u8) {
        self.flags &= !flag;
    }

    pub(crate) fn live(&mut self) -> &mut Live {
        self.live.get_or_insert_default()
    }

    /// Whether a decision about it is still to be made.
    pub(crate) fn undecided(&self) -> bool {
        match self.state {
            TaskState::None => true,
            TaskState::UpForRetry | TaskState::UpForReschedule => self.has(flag::DUE),
            TaskState::Scheduled
            | TaskState::Queued
            | TaskState::Running
            | TaskState::Restarting
            | TaskState::Deferred
            | TaskState::AwaitingInput
            | TaskState::Success
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::UpstreamFailed
            | TaskState::Removed => false,
        }
    }
}

/// Where the instances and units of a task lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) first: TiIdx,
    pub(crate) len: u32,
    pub(crate) first_unit: u32,
    pub(crate) units: u32,
    /// Whether a mapped task's number of instances is known.
    pub(crate) expanded: bool,
}

/// The counters by which one unit is decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) up: Upstream,
    pub(crate) setups: Setups,
    /// Sources of its expansion that haven't ended.
    pub(crate) sources_open: u32,
    /// Sources of its expansion that failed and were skipped.
    pub(crate) sources_failed: u32,
    /// See `sources_failed`.
    pub(crate) sources_skipped: u32,
}

impl Unit {
    /// Counts an instance of a setup, `direct`ly upstream or not, for a task or, with `teardown`, a teardown.
    pub(crate) fn count_setup(&mut self, state: TaskState, direct: bool, teardown: bool, delta: i32) {
        let setups = &mut self.setups;
        let add = |field: &mut u32| *field = field.saturating_add_signed(delta);
        if direct {
            match state {
                TaskState::Success => add(&mut setups.direct_success),
                TaskState::Skipped => add(&mut setups.direct_skipped),
                _ => {}
            }
        } else if !teardown {
            setups.unfinished = setups.unfinished.saturating_add_signed(-delta);
        }
        if !teardown {
            match state {
                TaskState::Failed | TaskState::UpstreamFailed => add(&mut setups.failed),
                TaskState::Skipped => add(&mut setups.skipped),
                _ => {}
            }
        }
    }
}

/// What a run knows of the run before it, for `depends_on_past`.
#[derive(Debug, Clone)]
pub(crate) enum Past {
    /// Not asked yet.
    Unknown,
    /// Asked; the answer is on its way.
    Loading,
    /// There is none.
    None,
    /// It is in memory.
    Run(RunIdx),
    /// It is over: the tasks of it that block.
    Over(Arc<BTreeSet<TaskId>>),
}

/// A run in memory.
#[derive(Debug)]
pub(crate) struct Run {
    /// The row, kept current but for what instances hold.
    pub(crate) row: RunRow,
    pub(crate) dag: u32,
    pub(crate) plan: Arc<Plan>,
    /// Grows with each run made: the tie-breaker of every order.
    pub(crate) seq: u64,
    pub(crate) stored: Option<crate::state::RunState>,
    /// It is on the list of runs with something to write.
    pub(crate) listed: bool,
    /// Its own row changed.
    pub(crate) dirty: bool,
    pub(crate) tis: Vec<Ti>,
    pub(crate) spans: Vec<Span>,
    pub(crate) units: Vec<Unit>,
    pub(crate) dirty_tis: Vec<TiIdx>,
    pub(crate) steps: Vec<Step>,
    pub(crate) extra: Vec<Transition>,
    /// Tasks whose row of index -1 became one of index 0.
    pub(crate) renamed: Vec<TaskId>,
    /// Rows of instances that the run's version doesn't have.
    pub(crate) gone: Vec<TaskRow>,
    /// Instances that aren't finished.
    pub(crate) unfinished: u32,
    /// Instances in a state from which something will happen without anything else in the run.
    pub(crate) moving: u32,
    /// Leaf instances that ended as failed or upstream_failed.
    pub(crate) failed_leaves: u32,
    /// Instances that hold slots.
    pub(crate) active: u32,
    /// Instances in the queue: together with the active ones no more than the run's limit.
    pub(crate) window: BTreeSet<crate::queue::Pending>,
    /// Instances that wait for the run's own limit.
    pub(crate) parked: BTreeSet<crate::queue::Pending>,
    /// The queue's lane of each task, `u32::MAX` until it is needed.
    pub(crate) lanes: Vec<u32>,
    /// Active instances of tasks that have a limit per run.
    pub(crate) limited: std::collections::BTreeMap<TaskIdx, crate::engine::Limited>,
    pub(crate) past: Past,
    /// Runs that look at this one for their past.
    pub(crate) followers: Vec<RunIdx>,
    pub(crate) work: std::collections::VecDeque<crate::work::RunWork>,
    pub(crate) has_work: bool,
    /// Grows when timers of the run become void.
    pub(crate) generation: u32,
}

/// A step of a task instance in this batch, as cheaply as it can be noted.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) ti: TiIdx,
    pub(crate) to: TaskState,
    pub(crate) try_number: u32,
    pub(crate) at: Timestamp,
    pub(crate) reason: Option<Arc<str>>,
}

impl Run {
    /// Instances have new places: what is noted about them follows.
    pub(crate) fn follow_move(&mut self, from: TiIdx, len: u32, to: TiIdx) {
        let work = self.work.iter_mut().filter_map(|work| match work {
            crate::work::RunWork::Below { ti, .. } => Some(ti),
            crate::work::RunWork::Create { .. }
            | crate::work::RunWork::Everything { .. }
            | crate::work::RunWork::Store { .. }
            | crate::work::RunWork::Task { .. }
            | crate::work::RunWork::Expand { .. }
            | crate::work::RunWork::Bulk(_) => None,
        });
        let steps = self.steps.iter_mut().map(|step| &mut step.ti);
        for ti in self.dirty_tis.iter_mut().chain(steps).chain(work) {
            if (from..from + len).contains(ti) {
                *ti = to + (*ti - from);
            }
        }
    }

    /// An instance's entry in whatever waits for admission.
    pub(crate) fn pending(&self, at: TiRef) -> crate::queue::Pending {
        let ti = &self.tis[at.ti as usize];
        crate::queue::Pending {
            weight: std::cmp::Reverse(self.plan.tasks[ti.task as usize].weight),
            date: self.row.logical_date.unwrap_or(self.row.run_after),
            run_seq: self.seq,
            map_index: ti.map_index,
            at,
        }
    }

    /// The instances of a task.
    pub(crate) fn instances(&self, task: TaskIdx) -> std::ops::Range<TiIdx> {
        let span = self.spans[task as usize];
        span.first..span.first + span.len
    }

    /// The unit that decides an instance.
    pub(crate) fn unit_of(&self, ti: TiIdx) -> u32 {
        let task = self.tis[ti as usize].task;
        let span = self.spans[task as usize];
        if span.units == 1 { span.first_unit } else { span.first_unit + (ti - span.first) }
    }

    /// The instances that a unit decides.
    pub(crate) fn unit_instances(&self, task: TaskIdx, unit: u32) -> std::ops::Range<TiIdx> {
        let span = self.spans[task as usize];
        if span.units == 1 {
            span.first..span.first + span.len
        } else {
            let ti = span.first + (unit - span.first_unit);
            ti..ti + 1
        }
    }

    /// The units of `down` that the instance `ti` counts for.
    pub(crate) fn units_below(&self, ti: TiIdx, down: TaskIdx) -> std::ops::Range<u32> {
        let task = self.tis[ti as usize].task;
        self.related_units(task, ti, down)
    }

    fn related_units(&self, task: TaskIdx, ti: TiIdx, down: TaskIdx) -> std::ops::Range<u32> {
        let (from, to) = (self.spans[task as usize], self.spans[down as usize]);
        let all = to.first_unit..to.first_unit + to.units;
        if to.units == 1 || from.len == 1 && !from.expanded {
            return all;
        }
        let Some((inner, outer)) = self.shared_scope(task, down) else { return all };
        if !fits(from.len, to.units) || inner && outer && from.len != to.units {
            return all;
        }
        // Both repeat with a common group. `from` has len instances in that group's block order, `to` has units in its own.
        let at = ti - from.first;
        match (inner, outer) {
            (true, true) => {
                let unit = to.first_unit + at;
                unit..unit + 1
            }
            // `down` repeats deeper: a block of its units belongs to this instance.
            (false, true) => {
                let block = to.units / from.len.max(1);
                let first = to.first_unit + at * block;
                first..first + block
            }
            // `task` repeats deeper: its block belongs to one unit.
            (_, false) => {
                let block = (from.len / to.units.max(1)).max(1);
                let unit = to.first_unit + at / block;
                unit..unit + 1
            }
        }
    }

    /// Whether two tasks repeat with a common group; `(true, true)`: with the same innermost one,
    /// `(false, true)`: the second is deeper, `(true, false)`: the first is deeper.
    fn shared_scope(&self, a: TaskIdx, b: TaskIdx) -> Option<(bool, bool)> {
        if self.plan.same_scope(a, b) {
            return Some((true, true));
        }
        let chain = |task: TaskIdx| {
            std::iter::successors(self.plan.tasks[task as usize].scope, |s| {
                self.plan.scopes[*s as usize].parent
            })
        };
        let inner_a = self.plan.tasks[a as usize].scope?;
        let inner_b = self.plan.tasks[b as usize].scope?;
        if chain(b).any(|s| s == inner_a) {
            return Some((false, true));
        }
        if chain(a).any(|s| s == inner_b) {
            return Some((true, false));
        }
        None
    }

    /// The instances of `up` that count for a unit of `task`.
    pub(crate) fn instances_above(&self, task: TaskIdx, unit: u32, up: TaskIdx) -> std::ops::Range<TiIdx> {
        let (to, from) = (self.spans[task as usize], self.spans[up as usize]);
        let all = from.first..from.first + from.len;
        if to.units == 1 || from.len == 1 && !from.expanded {
            return all;
        }
        let Some(shared) = self.shared_scope(up, task) else { return all };
        if !fits(from.len, to.units) || shared == (true, true) && from.len != to.units {
            return all;
        }
        let at = unit - to.first_unit;
        match shared {
            (true, true) => from.first + at..from.first + at + 1,
            (false, true) => {
                let block = (to.units / from.len.max(1)).max(1);
                let ti = from.first + at / block;
                ti..ti + 1
            }
            (_, false) => {
                let block = from.len / to.units.max(1);
                from.first + at * block..from.first + (at + 1) * block
            }
        }
    }
}

/// Whether one is a multiple of the other. While the tasks of a group are being resized one after the other they don't
/// fit, and each instance counts for all units until they do.
fn fits(a: u32, b: u32) -> bool {
    let (less, more) = (a.min(b), a.max(b));
    less > 0 && more.is_multiple_of(less)
}
