//! What is still to be done, and doing a bounded part of it.
//!
//! A run's work is done in order, so that what was begun about it is seen through before the next request; runs with work
//! take turns, so that a run of 100,000 instances doesn't hold up the others.

use dags::{ids::TaskId, time::Timestamp};

use crate::{
    blame::BusyWith,
    engine::{Engine, Timer},
    plan::TaskIdx,
    run::{RunIdx, TiIdx, TiRef, flag},
    state::TaskState,
    transition::Event,
};

/// A piece of work of one run.
#[derive(Debug, Clone)]
pub(crate) enum RunWork {
    /// Store and look at the first instances of tasks from here on.
    Create { next: TaskIdx },
    /// Look at what comes after an instance that ended, from this edge and unit on.
    Below { ti: TiIdx, edge: u32, unit: u32 },
    /// Look at every undecided instance, from here on.
    Everything { next: TiIdx },
    /// Store a task's instances, but for the first `done`.
    Store { task: TaskIdx, done: u32 },
    /// Look at a task's undecided instances, but for the first `done`.
    Task { task: TaskIdx, done: u32 },
    /// Give a mapped task its instances.
    Expand { task: TaskIdx },
    /// Bring instances to an end or back to the start, one after the other.
    Bulk(Bulk),
}

/// One change of many instances.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Bulk {
    /// Its number in the table of continuations, while it is there.
    pub(crate) id: i64,
    pub(crate) kind: BulkKind,
    /// What is left to do, last first.
    pub(crate) list: Vec<(TaskId, i32)>,
    pub(crate) by: Option<std::sync::Arc<str>>,
    pub(crate) reason: Option<std::sync::Arc<str>>,
}

/// What happens to each instance of a [`Bulk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum BulkKind {
    Clear,
    MarkSuccess,
    MarkFailed,
    MarkSkipped,
    /// The end of a run: running ones fail, the others are skipped; teardowns are left alone.
    FailFast,
    /// A run's timeout: everything unfinished is skipped.
    SkipUnfinished,
    /// A run marked as failed: running ones fail, the others are skipped; teardowns are left alone.
    EndFailed,
}

impl Engine {
    /// Whether there is work to do without a new event.
    pub fn has_work(&self) -> bool {
        !self.busy_runs.is_empty()
            || !self.busy_dags.is_empty()
            || !self.lost.is_empty()
            || self.queue.changed
            || self.deadline().is_some_and(|at| at <= self.now)
    }

    /// Does a bounded part of the work: about as many transitions as the configuration says.
    pub fn step(&mut self) {
        self.budget = self.config.step_transitions;
        self.fire();
        while self.budget > 0 {
            if !self.lost.is_empty() {
                self.budget -= 1;
                self.let_one_be_lost();
            } else if let Some(run) = self.busy_runs.pop_front() {
                self.for_run(run);
                self.run_step(run);
            } else if let Some(dag) = self.busy_dags.pop_front() {
                self.dags[dag as usize].has_work = false;
                self.budget -= 1;
                self.for_dag(dag);
                self.look_at_dag(dag);
            } else if self.queue.changed {
                self.busy_with = BusyWith::Nobody;
                self.admit();
            } else {
                break;
            }
        }
        self.busy_with = BusyWith::Nobody;
    }

    pub(crate) fn push_work(&mut self, run: RunIdx, work: RunWork) {
        let state = self.run_mut(run);
        state.work.push_back(work);
        if !std::mem::replace(&mut state.has_work, true) {
            self.busy_runs.push_back(run);
        }
    }

    /// Works on one run until its work or a share of the budget is used up.
    fn run_step(&mut self, run: RunIdx) {
        let floor = self.budget.saturating_sub((self.config.step_transitions / 4).max(1));
        while self.budget > floor {
            let Some(work) = self.run_mut(run).work.pop_front() else {
                self.settle(run);
                if !self.run(run).work.is_empty() {
                    continue;
                }
                self.run_mut(run).has_work = false;
                // What is listed is let go when it is stored.
                if !self.run(run).listed {
                    self.let_run_go(run);
                }
                return;
            };
            self.budget = self.budget.saturating_sub(1);
            if let Some(rest) = self.do_work(run, work) {
                self.run_mut(run).work.push_front(rest);
            }
        }
        self.busy_runs.push_back(run);
    }

    /// Does some of it and returns what is left.
    fn do_work(&mut self, run: RunIdx, work: RunWork) -> Option<RunWork> {
        match work {
            RunWork::Create { next } => self.create_tasks(run, next),
            RunWork::Below { ti, edge, unit } => self.look_below(run, ti, edge, unit),
            RunWork::Everything { next } => self.look_at_everything(run, next),
            RunWork::Task { task, done } => self.decide_task(run, task, done),
            RunWork::Expand { task } => self.expand(run, task),
            RunWork::Store { task, done } => self.store_instances(run, task, done),
            RunWork::Bulk(bulk) => self.bulk(run, bulk),
        }
    }

    fn create_tasks(&mut self, run: RunIdx, mut next: TaskIdx) -> Option<RunWork> {
        let plan = self.run(run).plan.clone();
        while (next as usize) < plan.tasks.len() {
            if self.budget == 0 {
                return Some(RunWork::Create { next });
            }
            let span = self.run(run).spans[next as usize];
            self.budget -= 1;
            self.touch(TiRef { run, ti: span.first });
            if span.len > 1 {
                self.push_work(run, RunWork::Store { task: next, done: 1 });
            }
            next += 1;
            let state = self.run_mut(run);
            state.row.created_tasks = next;
            self.touch_run(run);
            if let Some(rest) = self.decide_task(run, next - 1, 0) {
                self.push_work(run, rest);
            }
        }
        None
    }

    fn look_below(&mut self, run: RunIdx, ti: TiIdx, mut edge: u32, mut from: u32) -> Option<RunWork> {
        let plan = self.run(run).plan.clone();
        let task = self.run(run).tis[ti as usize].task;
        if self.run(run).tis[ti as usize].has(flag::DEAD) {
            // It has another place since its task was expanded: everything below looks again.
            self.push_work(run, RunWork::Everything { next: 0 });
            return None;
        }
        let lists = [plan.downs.of(task), plan.covered_by.of(task), plan.serves.of(task)];
        let total: usize = lists.iter().map(|list| list.len()).sum();
        while (edge as usize) < total {
            let mut at = edge as usize;
            let mut down = None;
            for list in lists {
                if at < list.len() {
                    down = Some(list[at]);
                    break;
                }
                at -= list.len();
            }
            let Some(down) = down else { break };
            let units = self.run(run).units_below(ti, down);
            for unit in units.start.max(from)..units.end {
                if self.budget == 0 {
                    return Some(RunWork::Below { ti, edge, unit });
                }
                self.budget = self.budget.saturating_sub(usize::from(unit > units.start));
                if let Some(rest) = self.decide_unit(run, down, unit) {
                    self.push_work(run, rest);
                }
            }
            from = 0;
            edge += 1;
        }
        self.wake_deciders(run, task);
        None
    }

    /// A short circuit skips what isn't its direct successor too.
    fn wake_deciders(&mut self, run: RunIdx, task: TaskIdx) {
        let plan = self.run(run).plan.clone();
        if !crate::plan::stops_all(plan.model(task)) {
            return;
        }
        for down in plan.closure(plan.downs.of(task), &plan.downs) {
            self.push_work(run, RunWork::Task { task: down, done: 0 });
        }
    }

    fn look_at_everything(&mut self, run: RunIdx, next: TiIdx) -> Option<RunWork> {
        let mut ti = next;
        while (ti as usize) < self.run(run).tis.len() {
            if self.budget == 0 {
                return Some(RunWork::Everything { next: ti });
            }
            self.consider(TiRef { run, ti });
            ti += 1;
            if ti.is_multiple_of(64) {
                self.budget = self.budget.saturating_sub(1);
            }
        }
        None
    }

    fn bulk(&mut self, run: RunIdx, mut bulk: Bulk) -> Option<RunWork> {
        while let Some((task, map_index)) = bulk.list.pop() {
            if self.budget == 0 {
                bulk.list.push((task, map_index));
                return Some(RunWork::Bulk(bulk));
            }
            self.budget -= 1;
            let state = self.run(run);
            let Some(index) = state.plan.find(&task) else { continue };
            let found = state.instances(index).find(|ti| state.tis[*ti as usize].map_index == map_index);
            match found {
                Some(ti) => self.bulk_one(TiRef { run, ti }, &bulk),
                // It was expanded meanwhile: what was meant for it is meant for all of its instances.
                None if map_index == -1 => {
                    let indexes = state.instances(index).map(|ti| state.tis[ti as usize].map_index);
                    bulk.list.extend(indexes.map(|map_index| (task.clone(), map_index)));
                }
                None => {}
            }
        }
        if bulk.id != 0 {
            self.out.continuations.insert(bulk.id, crate::rows::ContinuationRow::done(bulk.id));
        }
        if bulk.kind == BulkKind::Clear {
            self.push_work(run, RunWork::Everything { next: 0 });
        }
        None
    }

    fn bulk_one(&mut self, at: TiRef, bulk: &Bulk) {
        let ti = &self.run(at.run).tis[at.ti as usize];
        let state = ti.state;
        let teardown = self.run(at.run).plan.tasks[ti.task as usize].teardown;
        let (by, reason) = (bulk.by.clone(), bulk.reason.clone());
        let running = matches!(state, TaskState::Running | TaskState::Restarting);
        let event = match bulk.kind {
            BulkKind::Clear => return self.clear_one(at, by),
            BulkKind::MarkSuccess => Event::MarkSuccess,
            BulkKind::MarkFailed => Event::MarkFailed,
            BulkKind::FailFast | BulkKind::EndFailed if teardown || state.is_finished() => return,
            BulkKind::FailFast | BulkKind::EndFailed if running => Event::MarkFailed,
            BulkKind::SkipUnfinished if state.is_finished() => return,
            BulkKind::MarkSkipped | BulkKind::FailFast | BulkKind::EndFailed | BulkKind::SkipUnfinished => {
                Event::MarkSkipped
            }
        };
        self.end_by_hand(at, event, by, reason);
    }

    /// Stores what is left of a run's changes of many instances, so that a crash doesn't lose them.
    pub(crate) fn save_bulks(&mut self, run: RunIdx) {
        let state = self.runs[run as usize]
            .as_deref_mut()
            .expect("invariant: a run that is referred to is in memory");
        for work in &mut state.work {
            let RunWork::Bulk(bulk) = work else { continue };
            if bulk.id == 0 {
                bulk.id = self.next_continuation;
                self.next_continuation += 1;
            }
            let work = serde_json::json!({ "run": state.row.run, "bulk": bulk });
            self.out.continuations.insert(bulk.id, crate::rows::ContinuationRow::new(bulk.id, work));
        }
    }

    /// Starts a change of many instances.
    pub(crate) fn start_bulk(&mut self, run: RunIdx, mut bulk: Bulk) {
        bulk.list.reverse();
        self.push_work(run, RunWork::Bulk(bulk));
        // What a batch doesn't get to is stored with it.
        self.list_run(run);
    }

    /// What is due becomes work.
    pub(crate) fn fire(&mut self) {
        let mut left = self.config.step_transitions;
        while left > 0
            && let Some(std::cmp::Reverse((when, _))) = self.timers.peek()
            && *when <= self.now
        {
            left -= 1;
            if let Some(std::cmp::Reverse((when, timer))) = self.timers.pop() {
                self.fire_one(when, timer);
            }
        }
    }

    fn fire_one(&mut self, when: Timestamp, timer: Timer) {
        match timer {
            Timer::Ti { at, seq } => {
                if self.is_run(at.run, seq) {
                    self.for_run(at.run);
                    self.wake(at, when);
                }
            }
            Timer::RunDue { run, seq } => {
                if self.is_run(run, seq) {
                    self.dag_work(self.run(run).dag);
                }
            }
            Timer::RunTimeout { run, seq, generation } => {
                if self.is_run(run, seq) && self.run(run).generation == generation {
                    self.for_run(run);
                    self.time_out_run(run);
                }
            }
            Timer::Deadline { run, seq, generation, n } => {
                if self.is_run(run, seq) && self.run(run).generation == generation {
                    self.for_run(run);
                    self.miss_deadline(run, n);
                }
            }
            Timer::Admission => self.queue.changed = true,
            Timer::Fleet { executor } => self.look_at_leases(executor),
            Timer::Dag { dag, generation } => {
                if self.dags[dag as usize].generation == generation {
                    self.dag_work(dag);
                }
            }
        }
    }

    /// An instance's time has come: its retry or next call is due, or its wait is over.
    fn wake(&mut self, at: TiRef, when: Timestamp) {
        // Instances change places when their task is expanded or their run moved; their timers are set again then.
        let Some(ti) = self.run_mut(at.run).tis.get_mut(at.ti as usize) else { return };
        if ti.live.as_ref().and_then(|live| live.wake_at) != Some(when) || ti.has(flag::DUE) {
            return;
        }
        match ti.state {
            TaskState::UpForRetry | TaskState::UpForReschedule => {
                ti.set(flag::DUE);
                self.consider(at);
            }
            TaskState::Deferred => self.resume(at),
            TaskState::AwaitingInput => self.input_overdue(at),
            TaskState::None
            | TaskState::Scheduled
            | TaskState::Queued
            | TaskState::Running
            | TaskState::Restarting
            | TaskState::Success
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::UpstreamFailed
            | TaskState::Removed => {}
        }
    }
}
