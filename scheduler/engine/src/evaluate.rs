//! Deciding whether an instance may start, is left out, or waits.

use std::sync::Arc;

use dags::time::Timestamp;

use crate::{
    engine::{Engine, Limited},
    fleet::Needs,
    plan::{EngineTask, TaskIdx},
    question::{Ask, Question},
    queue::Pending,
    run::{RunIdx, TiRef, flag},
    state::{RunState, TaskState},
    transition::Event,
    trigger_rule::{Upstream, Verdict, verdict},
    work::RunWork,
};

/// A verdict with its reason, where that isn't plain.
type Decision = (Verdict, Option<Arc<str>>);

impl Engine {
    /// Decides the instances of one unit. Returns what is left if the budget runs out.
    pub(crate) fn decide_unit(&mut self, run: RunIdx, task: TaskIdx, unit: u32) -> Option<RunWork> {
        let range = self.run(run).unit_instances(task, unit);
        if range.len() == 1 {
            self.consider(TiRef { run, ti: range.start });
            return None;
        }
        self.decide_task(run, task, 0)
    }

    /// Decides the instances of a task, but for the first `done`. Returns what is left if the budget runs out.
    pub(crate) fn decide_task(&mut self, run: RunIdx, task: TaskIdx, done: u32) -> Option<RunWork> {
        let span = self.run(run).spans[task as usize];
        if span.units == 1 && span.len > 1 && self.decision(run, task, span.first_unit).0 == Verdict::Wait {
            return None;
        }
        for done in done..span.len {
            if self.budget == 0 {
                return Some(RunWork::Task { task, done });
            }
            self.consider(TiRef { run, ti: span.first + done });
        }
        None
    }

    /// Looks at one instance and does what can be done with it now.
    pub(crate) fn consider(&mut self, at: TiRef) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        if !ti.undecided() || ti.has(flag::DEAD) {
            return;
        }
        let (task, asking) = (ti.task, ti.has(flag::ASKING));
        let ending = run.row.reason.is_some() && !run.plan.tasks[task as usize].teardown;
        if run.row.state != RunState::Running || ending || self.dags[run.dag as usize].halted() {
            return;
        }
        let (verdict, reason) = self.decision(at.run, task, self.run(at.run).unit_of(at.ti));
        match verdict {
            Verdict::Wait => {}
            Verdict::UpstreamFailed => {
                if self.past_allows_skip(at) {
                    self.close_question(at);
                    self.apply(at, Event::Block, reason);
                }
            }
            Verdict::Skip => {
                if self.past_allows_skip(at) {
                    // A branch decides at once, whether or not it is known by then if the task's `when` holds.
                    self.close_question(at);
                    self.apply(at, Event::Skip, reason);
                }
            }
            Verdict::Run if asking => {}
            Verdict::Run => self.may_run(at),
        }
    }

    /// What the rules say about a unit.
    fn decision(&self, run: RunIdx, task: TaskIdx, unit: u32) -> Decision {
        let state = self.run(run);
        let plan = &state.plan.tasks[task as usize];
        for decider in &plan.deciders {
            for ti in state.instances_above(task, unit, *decider) {
                let ti = &state.tis[ti as usize];
                let skips = ti.live.as_ref().and_then(|live| live.skips.as_ref());
                if ti.state == TaskState::Success
                    && skips.is_some_and(|skips| skips.contains(&state.plan.model(task).task_id))
                {
                    let decider = &state.plan.model(*decider).task_id;
                    return (Verdict::Skip, Some(format!("`{decider}` decided against it").into()));
                }
            }
        }
        let counters = &state.units[unit as usize];
        let placeholder = plan.mapped && !state.spans[task as usize].expanded;
        if placeholder {
            if counters.sources_failed > 0 {
                return (Verdict::UpstreamFailed, Some("what it is repeated over failed".into()));
            }
            if counters.sources_skipped > 0 {
                return (Verdict::Skip, Some("what it is repeated over was skipped".into()));
            }
            if counters.sources_open == 0 && !self.has_length(run, task) {
                // As after a source that was marked as successful by hand.
                return (
                    Verdict::UpstreamFailed,
                    Some("what it is repeated over has no known length".into()),
                );
            }
        }
        let upstream = Upstream { placeholder, ..counters.up };
        let verdict = verdict(plan.rule, &upstream, &counters.setups);
        match verdict {
            // The expansion itself looks again when it is done.
            Verdict::Run if placeholder => (Verdict::Wait, None),
            Verdict::Run if counters.sources_open > 0 => (Verdict::Wait, None),
            Verdict::Run | Verdict::Wait | Verdict::Skip | Verdict::UpstreamFailed => (verdict, None),
        }
    }

    /// Its rule allows it: what else must be true?
    fn may_run(&mut self, at: TiRef) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let (task, again) = (ti.task, ti.state != TaskState::None);
        if !again {
            if !self.past_allows(at) {
                return;
            }
            let run = self.run(at.run);
            let ti = &run.tis[at.ti as usize];
            if run.plan.model(task).when.is_some() && !ti.has(flag::WHEN_HOLDS) {
                self.ask_when(at);
                return;
            }
        }
        match self.run(at.run).plan.tasks[task as usize].engine {
            None => {
                if self.begin(at) {
                    self.enqueue(at);
                }
            }
            Some(EngineTask::Empty) => {
                self.next_try(at);
                let now = self.now;
                let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
                ti.scheduled_at = Some(now);
                ti.live().started_at = Some(now);
                self.apply(at, Event::Succeed, None);
            }
            Some(EngineTask::Ask) => {
                if self.begin(at) {
                    self.run_in_engine(at);
                }
            }
        }
    }

    /// Schedules it: a new try, or the same one going on after a reschedule.
    fn begin(&mut self, at: TiRef) -> bool {
        let now = self.now;
        if self.run(at.run).tis[at.ti as usize].state == TaskState::UpForReschedule {
            let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
            ti.unset(flag::DUE);
        } else {
            self.next_try(at);
            self.run_mut(at.run).tis[at.ti as usize].scheduled_at = Some(now);
        }
        self.apply(at, Event::Schedule, None)
    }

    fn next_try(&mut self, at: TiRef) {
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        ti.try_number += 1;
        ti.dispatch_n = 0;
        ti.preempted = 0;
        ti.requeued = 0;
        ti.unset(flag::DUE);
        ti.scheduled_at = None;
        let live = ti.live.take();
        debug_assert!(live.is_none_or(|live| live.ticket.is_none()), "an instance holds slots between tries");
    }

    fn ask_when(&mut self, at: TiRef) {
        let run = self.run_mut(at.run);
        run.moving += 1;
        let ti = &mut run.tis[at.ti as usize];
        ti.set(flag::ASKING);
        let attempt = self.attempt_of(at, true);
        self.attempts.insert(attempt, crate::engine::Holder { at, n: 0, since: Timestamp::MAX });
        self.ask(at, Ask::When, dags::ids::DispatchId { attempt, n: 0 });
    }

    /// Starts a task that the engine runs itself.
    pub(crate) fn run_in_engine(&mut self, at: TiRef) {
        let now = self.now;
        if !self.apply(at, Event::Admit, None) || !self.apply(at, Event::Start, None) {
            return;
        }
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        ti.dispatch_n += 1;
        let n = ti.dispatch_n;
        let live = ti.live();
        live.queued_at = Some(now);
        live.started_at = live.started_at.or(Some(now));
        let attempt = self.attempt_id(at);
        self.attempts.insert(attempt, crate::engine::Holder { at, n, since: Timestamp::MAX });
        self.ask(at, Ask::Task, dags::ids::DispatchId { attempt, n });
    }

    pub(crate) fn ask(&mut self, at: TiRef, ask: Ask, id: dags::ids::DispatchId) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let question = Question {
            id,
            ask,
            tenant: run.row.tenant,
            run: run.row.run,
            dag_id: run.row.dag_id.clone(),
            run_name: run.row.run_name.clone(),
            version: run.row.version.clone(),
            bundle: run.row.bundle.clone(),
            task_id: run.plan.model(ti.task).task_id.clone(),
            map_index: ti.map_index,
            try_number: ti.try_number + u32::from(ask == Ask::When),
            started_at: ti.live.as_ref().and_then(|live| live.started_at),
        };
        self.out.effects.questions.push(question);
    }

    /// Puts a scheduled instance into the queue, or aside if its run has enough there.
    pub(crate) fn enqueue(&mut self, at: TiRef) {
        self.enqueue_pending(self.run(at.run).pending(at));
    }

    pub(crate) fn enqueue_pending(&mut self, pending: Pending) {
        let halted = self.dags[self.run(pending.at.run).dag as usize].halted();
        let run = self.run_mut(pending.at.run);
        run.tis[pending.at.ti as usize].set(flag::PENDING);
        let limit = run.plan.dag().max_active_tasks.saturating_sub(run.active) as usize;
        if halted {
            run.parked.insert(pending);
        } else if run.window.len() < limit {
            run.window.insert(pending);
            self.put_in_lane(pending);
        } else if run.window.last().is_some_and(|last| pending < *last) {
            // It goes before one that is in the queue already: they change places.
            if let Some(last) = run.window.pop_last() {
                run.parked.insert(last);
                run.window.insert(pending);
                let lane = self.lane_of(last.at);
                self.queue.remove(lane, &last);
                self.put_in_lane(pending);
                let task = self.run(last.at.run).tis[last.at.ti as usize].task;
                self.pass_on(last.at.run, task);
            }
        } else {
            run.parked.insert(pending);
        }
    }

    fn put_in_lane(&mut self, pending: Pending) {
        let lane = self.lane_of(pending.at);
        self.queue.push(lane, pending);
        self.feed(pending);
    }

    pub(crate) fn lane_of(&mut self, at: TiRef) -> u32 {
        let run = self.runs[at.run as usize]
            .as_deref_mut()
            .expect("invariant: a run that is referred to is in memory");
        let task = run.tis[at.ti as usize].task;
        let known = run.lanes[task as usize];
        if known != u32::MAX {
            return known;
        }
        let model = run.plan.model(task);
        let executor = model.executor.as_ref().unwrap_or(&self.config.default_executor);
        let (slots, members, needs) = (model.pool_slots, model.gang.max(1), Needs::of(model));
        let lane = self.queue.lane(run.row.tenant, &model.pool, executor, slots, members, needs);
        run.lanes[task as usize] = lane;
        lane
    }

    /// An instance that waits has a new place: its entries follow.
    pub(crate) fn requeue_moved(&mut self, old: TiRef, new: TiRef) {
        let run = self.run(new.run);
        let task = run.tis[new.ti as usize].task;
        let after = run.pending(new);
        let before = Pending { at: old, ..after };
        let lane = self.lane_of(new);
        let run = self.run_mut(new.run);
        if run.window.remove(&before) {
            run.window.insert(after);
            self.queue.remove(lane, &before);
            self.queue.push(lane, after);
            self.feed(after);
            return;
        }
        let swap = |set: &mut std::collections::BTreeSet<Pending>| set.remove(&before) && set.insert(after);
        if swap(&mut run.parked) {
            return;
        }
        if run.limited.get_mut(&task).is_some_and(|limited| swap(&mut limited.parked)) {
            return;
        }
        let (dag, name) = (run.dag, run.plan.model(task).task_id.clone());
        if let Some(limited) = self.dags[dag as usize].limited.get_mut(&name) {
            swap(&mut limited.parked);
        }
    }

    /// Takes an instance out of wherever it waits for admission.
    pub(crate) fn dequeue(&mut self, at: TiRef) {
        let run = self.run_mut(at.run);
        let ti = &mut run.tis[at.ti as usize];
        if !ti.has(flag::PENDING) {
            return;
        }
        ti.unset(flag::PENDING);
        let task = ti.task;
        let pending = run.pending(at);
        if run.window.remove(&pending) {
            let lane = self.lane_of(at);
            self.queue.remove(lane, &pending);
            self.refill(at.run);
        } else if !run.parked.remove(&pending) {
            if let Some(limited) = run.limited.get_mut(&task) {
                limited.parked.remove(&pending);
            }
            let (dag, name) = (run.dag, run.plan.model(task).task_id.clone());
            if let Some(limited) = self.dags[dag as usize].limited.get_mut(&name) {
                limited.parked.remove(&pending);
            }
        }
        self.pass_on(at.run, task);
    }

    /// A task's own limits may have room: one instance that waits for them has its chance.
    pub(crate) fn pass_on(&mut self, run: RunIdx, task: TaskIdx) {
        let plan = self.run(run).plan.clone();
        let model = plan.model(task);
        let has_room = |limited: &Limited, most: Option<u32>| most.is_some_and(|most| limited.active < most);
        let of_run = self.run_mut(run).limited.get_mut(&task);
        let of_run = of_run.filter(|limited| has_room(limited, model.max_active_per_run));
        if let Some(pending) = of_run.and_then(|limited| limited.parked.pop_first()) {
            self.enqueue_pending(pending);
        }
        let dag = self.run(run).dag as usize;
        // An instance whose run has enough in the queue can't use it, but one of another run may.
        let mut full: Vec<RunIdx> = Vec::new();
        while let Some(limited) = self.dags[dag].limited.get_mut(&model.task_id)
            && has_room(limited, model.max_active)
            && let Some(pending) =
                limited.parked.iter().find(|pending| !full.contains(&pending.at.run)).copied()
        {
            limited.parked.remove(&pending);
            self.enqueue_pending(pending);
            if self.run(pending.at.run).window.contains(&pending) {
                return;
            }
            full.push(pending.at.run);
        }
    }

    /// Moves parked instances into the queue as far as the run's limit allows.
    pub(crate) fn refill(&mut self, run: RunIdx) {
        loop {
            let halted = self.dags[self.run(run).dag as usize].halted();
            let state = self.run_mut(run);
            let limit = state.plan.dag().max_active_tasks.saturating_sub(state.active) as usize;
            if halted || state.window.len() >= limit {
                return;
            }
            let Some(pending) = state.parked.pop_first() else { return };
            state.window.insert(pending);
            self.put_in_lane(pending);
        }
    }

    /// Takes all of a run's instances out of the queue, when its DAG is halted.
    pub(crate) fn park_all(&mut self, run: RunIdx) {
        let window = std::mem::take(&mut self.run_mut(run).window);
        for pending in window {
            let lane = self.lane_of(pending.at);
            self.queue.remove(lane, &pending);
            self.run_mut(run).parked.insert(pending);
        }
    }
}
