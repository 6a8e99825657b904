//! Carrying a transition out: the state, what it counts for, what follows from it. Every change of state goes through here.

use std::sync::Arc;

use crate::{
    engine::{Engine, Fault, Limited},
    plan::TaskIdx,
    rows::{AttemptRow, TaskRow},
    run::{Run, RunIdx, Step, Ti, TiIdx, TiRef, flag},
    state::TaskState,
    transition::{self, Event},
    work::RunWork,
};

/// Whether an instance in this state will move without anything else in its run.
fn moves(state: TaskState) -> bool {
    match state {
        TaskState::Scheduled
        | TaskState::Queued
        | TaskState::Running
        | TaskState::Restarting
        | TaskState::UpForRetry
        | TaskState::UpForReschedule
        | TaskState::Deferred
        | TaskState::AwaitingInput => true,
        TaskState::None
        | TaskState::Success
        | TaskState::Failed
        | TaskState::Skipped
        | TaskState::UpstreamFailed
        | TaskState::Removed => false,
    }
}

/// Whether an instance in this state may go on by itself at an instant that it names.
fn sleeps(state: TaskState) -> bool {
    match state {
        TaskState::UpForRetry
        | TaskState::UpForReschedule
        | TaskState::Deferred
        | TaskState::AwaitingInput => true,
        TaskState::None
        | TaskState::Scheduled
        | TaskState::Queued
        | TaskState::Running
        | TaskState::Restarting
        | TaskState::Success
        | TaskState::Failed
        | TaskState::Skipped
        | TaskState::UpstreamFailed
        | TaskState::Removed => false,
    }
}

impl Engine {
    /// Notes that an instance's row changed.
    pub(crate) fn touch(&mut self, at: TiRef) {
        let run = self.run_mut(at.run);
        let ti = &mut run.tis[at.ti as usize];
        if !ti.has(flag::DIRTY) {
            ti.set(flag::DIRTY);
            run.dirty_tis.push(at.ti);
        }
        self.list_run(at.run);
    }

    /// Carries out one transition. A pair that must not happen is noted as a fault and changes nothing.
    pub(crate) fn apply(&mut self, at: TiRef, event: Event, reason: Option<Arc<str>>) -> bool {
        let now = self.now;
        let run = self.runs[at.run as usize]
            .as_deref_mut()
            .expect("invariant: a run that is referred to is in memory");
        let ti = &mut run.tis[at.ti as usize];
        let from = ti.state;
        let to = match transition::next(from, event) {
            Ok(to) => to,
            Err(refused) => {
                let (tenant, dag_id, run) = (run.row.tenant, run.row.dag_id.clone(), run.row.run);
                let task = self.task_name(at);
                self.out.effects.faults.push(Fault { tenant, dag_id, run, task, refused });
                return false;
            }
        };
        if from == to {
            return true;
        }
        self.transitions += 1;
        self.budget = self.budget.saturating_sub(1);
        ti.state = to;
        let step = Step { ti: at.ti, to, try_number: ti.try_number, at: now, reason: reason.clone() };
        if ti.live.is_some() || reason.is_some() || to.is_finished() {
            let live = ti.live();
            live.reason = reason;
            if !sleeps(to) {
                live.wake_at = None;
            }
            if to.is_finished() {
                live.ended_at = Some(now);
            }
        }
        let task = ti.task;
        run.steps.push(step);
        match (moves(from), moves(to)) {
            (false, true) => run.moving += 1,
            (true, false) => run.moving -= 1,
            (true, true) | (false, false) => {}
        }
        if from.is_finished() {
            count(run, at.ti, from, -1);
        }
        if to.is_finished() {
            count(run, at.ti, to, 1);
        }
        self.touch(at);
        self.count_limits(at.run, task, from, to);
        if from == TaskState::Deferred {
            self.unwatch(at);
        }
        if from == TaskState::AwaitingInput {
            let attempt = self.attempt_id(at);
            self.inputs.remove(&attempt);
        }
        if from == TaskState::Deferred || to == TaskState::Deferred {
            let run = self.run(at.run);
            let (tenant, model) = (run.row.tenant, run.plan.model(task));
            let (pool, slots) = (model.pool.clone(), i64::from(model.pool_slots));
            self.queue.count_deferred(tenant, &pool, if to == TaskState::Deferred { slots } else { -slots });
        }
        if event == Event::Fail {
            // Before what follows is looked at: that is skipped, too. What a person marks as failed ends nothing else.
            self.fail_fast(at);
        }
        if to.is_finished() {
            self.ended(at, to);
        }
        true
    }

    /// What follows from an instance's end, apart from its run's counters.
    fn ended(&mut self, at: TiRef, state: TaskState) {
        self.push_work(at.run, RunWork::Below { ti: at.ti, edge: 0, unit: 0 });
        let run = self.run(at.run);
        let task = run.tis[at.ti as usize].task;
        let plan = run.plan.clone();
        if plan.tasks[task as usize].is_source {
            for repeated in plan.repeats.of(task) {
                self.push_work(at.run, RunWork::Expand { task: *repeated });
            }
        }
        // Which tasks are looked at is for the versions of the later runs to say.
        if !self.run(at.run).followers.is_empty() {
            self.past_moved(at.run, task);
        }
        let model = plan.model(task);
        if state == TaskState::Success && !model.outlets.is_empty() {
            self.emit_assets(at);
        }
        self.notify_task(at, state);
        let dag = self.run(at.run).dag;
        self.news(dag, false);
    }

    /// Counts instances of tasks that have limits of their own.
    pub(crate) fn count_limits(&mut self, run: RunIdx, task: TaskIdx, from: TaskState, to: TaskState) {
        if from.is_active() == to.is_active() {
            return;
        }
        let delta = if to.is_active() { 1 } else { -1 };
        let model = self.model_of(run, task);
        let (of_dag, of_run) = (model.max_active.is_some(), model.max_active_per_run.is_some());
        let change = |limited: &mut Limited| limited.active = limited.active.saturating_add_signed(delta);
        if of_run {
            change(self.run_mut(run).limited.entry(task).or_default());
        }
        if of_dag {
            let (dag, name) = (self.run(run).dag, self.model_of(run, task).task_id.clone());
            change(self.dags[dag as usize].limited.entry(name).or_default());
        }
        if delta < 0 {
            self.pass_on(run, task);
        }
    }

    /// Keeps a try that is over and will have a successor, once: a try that was kept is no longer scheduled.
    pub(crate) fn archive(&mut self, at: TiRef, state: TaskState) {
        let run = self.run(at.run);
        let mut row = task_row(run, &run.tis[at.ti as usize]);
        if row.scheduled_at.is_none() {
            return;
        }
        row.state = state;
        row.ended_at = row.ended_at.or(Some(self.now));
        self.out.attempts.push(AttemptRow { row });
        self.run_mut(at.run).tis[at.ti as usize].scheduled_at = None;
        self.touch(at);
    }
}

/// Counts an instance's outcome for everything that looks at it.
pub(crate) fn count(run: &mut Run, ti: TiIdx, state: TaskState, delta: i32) {
    let plan = run.plan.clone();
    let task = run.tis[ti as usize].task;
    run.unfinished = run.unfinished.saturating_add_signed(-delta);
    let failed = matches!(state, TaskState::Failed | TaskState::UpstreamFailed);
    if plan.tasks[task as usize].leaf && failed {
        run.failed_leaves = run.failed_leaves.saturating_add_signed(delta);
    }
    for down in plan.downs.of(task) {
        for unit in run.units_below(ti, *down) {
            let up = &mut run.units[unit as usize].up;
            let field = match state {
                TaskState::Success => &mut up.success,
                TaskState::Failed => &mut up.failed,
                TaskState::Skipped => &mut up.skipped,
                TaskState::UpstreamFailed => &mut up.upstream_failed,
                TaskState::Removed => &mut up.removed,
                TaskState::None
                | TaskState::Scheduled
                | TaskState::Queued
                | TaskState::Running
                | TaskState::Restarting
                | TaskState::UpForRetry
                | TaskState::UpForReschedule
                | TaskState::Deferred
                | TaskState::AwaitingInput => continue,
            };
            *field = field.saturating_add_signed(delta);
        }
    }
    for down in plan.covered_by.of(task) {
        for unit in run.units_below(ti, *down) {
            let open = &mut run.units[unit as usize].setups.scope_unfinished;
            *open = open.saturating_add_signed(-delta);
        }
    }
    for down in plan.serves.of(task) {
        let direct = plan.ups.of(*down).contains(&task);
        for unit in run.units_below(ti, *down) {
            let teardown = plan.tasks[*down as usize].teardown;
            run.units[unit as usize].count_setup(state, direct, teardown, delta);
        }
    }
    for down in plan.repeats.of(task) {
        for unit in run.units_below(ti, *down) {
            let unit = &mut run.units[unit as usize];
            unit.sources_open = unit.sources_open.saturating_add_signed(-delta);
            if failed {
                unit.sources_failed = unit.sources_failed.saturating_add_signed(delta);
            }
            // The results of a repeated task are the list without those that were skipped.
            if matches!(state, TaskState::Skipped | TaskState::Removed) && !plan.tasks[task as usize].mapped {
                unit.sources_skipped = unit.sources_skipped.saturating_add_signed(delta);
            }
        }
    }
}

/// The row of an instance as it is now.
pub(crate) fn task_row(run: &Run, ti: &Ti) -> TaskRow {
    let model = run.plan.model(ti.task);
    let live = ti.live.as_deref();
    TaskRow {
        tenant: run.row.tenant,
        run: run.row.run,
        task: model.task_id.clone(),
        map_index: ti.map_index,
        state: ti.state,
        try_number: ti.try_number,
        max_tries: ti.max_tries,
        dispatch_n: ti.dispatch_n,
        preempted: u32::from(ti.preempted),
        requeued: u32::from(ti.requeued),
        scheduled_at: ti.scheduled_at,
        queued_at: live.and_then(|live| live.queued_at),
        started_at: live.and_then(|live| live.started_at),
        ended_at: live.and_then(|live| live.ended_at),
        wake_at: live.and_then(|live| live.wake_at),
        executor: live.and_then(|live| live.executor.clone()),
        members: live.map(|live| live.members).filter(|members| *members > 0).unwrap_or(model.gang.max(1)),
        host: live.and_then(|live| live.host.clone()),
        worker: live.and_then(|live| live.worker),
        pool: model.pool.clone(),
        pool_slots: model.pool_slots,
        weight: run.plan.tasks[ti.task as usize].weight,
        reason: live.and_then(|live| live.reason.clone()),
        exit_code: live.and_then(|live| live.exit_code),
        mapped_length: live.and_then(|live| live.mapped_length),
        skips: live.and_then(|live| live.skips.clone()),
        marked_by: live.and_then(|live| live.marked_by.clone()),
    }
}
