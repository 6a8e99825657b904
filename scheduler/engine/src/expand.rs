//! Repeating tasks: how many instances a mapped task has, and giving it that many.

use dags::{
    ids::TaskId,
    model::{Map, MapSource},
};

use crate::{
    engine::Engine,
    plan::TaskIdx,
    run::{RunIdx, Ti, TiIdx, TiRef, Unit, flag},
    state::TaskState,
    transition::Event,
    work::RunWork,
};

/// Why a task has no number of instances yet, or never will.
enum Length {
    Known(u64),
    Open,
}

impl Engine {
    /// What it is repeated over is known: bring the number of instances in line. Returns what is left if the budget runs
    /// out.
    pub(crate) fn expand(&mut self, run: RunIdx, task: TaskIdx) -> Option<RunWork> {
        let span = self.run(run).spans[task as usize];
        if span.expanded {
            if !self.resize(run, task) {
                return Some(RunWork::Expand { task });
            }
        } else {
            let first = &self.run(run).tis[span.first as usize];
            if first.state == TaskState::None {
                self.expand_now(run, task);
            }
        }
        self.push_work(run, RunWork::Store { task, done: 0 });
        self.push_work(run, RunWork::Task { task, done: 0 });
        None
    }

    /// Has the rows of a task's instances stored that nothing else has touched yet, but for the first `done`.
    pub(crate) fn store_instances(&mut self, run: RunIdx, task: TaskIdx, done: u32) -> Option<RunWork> {
        let span = self.run(run).spans[task as usize];
        for done in done..span.len {
            if self.budget == 0 {
                return Some(RunWork::Store { task, done });
            }
            let ti = span.first + done;
            if self.run(run).tis[ti as usize].flags & (flag::STORED | flag::DIRTY) == 0 {
                self.budget -= 1;
                self.touch(TiRef { run, ti });
            }
        }
        None
    }

    /// Gives a task its instances if their number is known.
    pub(crate) fn expand_now(&mut self, run: RunIdx, task: TaskIdx) {
        let Length::Known(length) = self.length_of(run, task) else { return };
        let ti = self.run(run).spans[task as usize].first;
        let at = TiRef { run, ti };
        if length == 0 {
            self.apply(at, Event::Skip, Some("what it is repeated over is empty".into()));
            return;
        }
        if length > u64::from(self.config.map_length_max) {
            let most = self.config.map_length_max;
            let reason = format!("it would be repeated {length} times; at most {most} are allowed");
            self.fail_fast(at);
            self.apply(at, Event::MarkFailed, Some(reason.into()));
            return;
        }
        self.give_instances(run, task, length as u32);
    }

    fn give_instances(&mut self, run: RunIdx, task: TaskIdx, length: u32) {
        let state = self.run_mut(run);
        let plan = state.plan.clone();
        let retries = plan.model(task).retries;
        let grouped = plan.tasks[task as usize].scope.is_some();
        let old = state.spans[task as usize];
        let (first, first_unit, units);
        state.tis[old.first as usize].map_index = 0;
        if length == 1 {
            (first, first_unit, units) = (old.first, old.first_unit, 1);
        } else {
            first = state.tis.len() as TiIdx;
            let placeholder =
                std::mem::replace(&mut state.tis[old.first as usize], Ti::new(task, -1, retries));
            // The placeholder's row becomes that of instance 0; what is left in its place is never looked at again.
            let dead = &mut state.tis[old.first as usize];
            (dead.state, dead.stored, dead.flags) = (TaskState::Removed, TaskState::Removed, flag::DEAD);
            state.tis.push(placeholder);
            for index in 1..length {
                state.tis.push(Ti::new(task, index as i32, retries));
            }
            state.follow_move(old.first, 1, first);
            if grouped {
                first_unit = state.units.len() as u32;
                units = length;
                state.units.extend(std::iter::repeat_n(Unit::default(), length as usize));
            } else {
                (first_unit, units) = (old.first_unit, 1);
            }
            state.unfinished += length - 1;
        }
        state.spans[task as usize] =
            crate::run::Span { first, len: length, first_unit, units, expanded: true };
        let stored_placeholder = state.tis[first as usize].has(flag::STORED);
        if stored_placeholder {
            // The database knows it under index -1: that row goes, this one comes.
            state.tis[first as usize].unset(flag::STORED);
            state.renamed.push(plan.model(task).task_id.clone());
            // The others follow a step at a time: half-way is what a crash may leave.
            self.touch(TiRef { run, ti: first });
        }
        self.recount(run, task);
        self.expansion_known(run, task);
    }

    /// Everything that looks at a task counts its instances afresh.
    fn expansion_known(&mut self, run: RunIdx, task: TaskIdx) {
        let plan = self.run(run).plan.clone();
        for list in
            [plan.downs.of(task), plan.covered_by.of(task), plan.serves.of(task), plan.repeats.of(task)]
        {
            for down in list {
                self.recount(run, *down);
                self.push_work(run, RunWork::Task { task: *down, done: 0 });
            }
        }
    }

    /// What it is repeated over has another length than last time: surplus instances go, missing ones come. False if the
    /// budget ran out before.
    fn resize(&mut self, run: RunIdx, task: TaskIdx) -> bool {
        let Length::Known(length) = self.length_of(run, task) else { return true };
        let length = length.min(u64::from(self.config.map_length_max)) as u32;
        let span = self.run(run).spans[task as usize];
        for ti in span.first..span.first + span.len {
            let index = ti - span.first;
            let removed = self.run(run).tis[ti as usize].state == TaskState::Removed;
            let at = TiRef { run, ti };
            if self.budget == 0 {
                return false;
            }
            if index >= length && !removed {
                self.end_by_hand(at, Event::Remove, None, Some("its index no longer exists".into()));
            } else if index < length && removed {
                self.start_over(at, None);
            }
        }
        if length > span.len {
            let state = self.run_mut(run);
            let retries = state.plan.model(task).retries;
            let grouped = state.plan.tasks[task as usize].scope.is_some();
            let first = state.tis.len() as TiIdx;
            // The instances of a task lie side by side, so the old ones move along.
            for ti in span.first..span.first + span.len {
                let mut dead = Ti::new(task, -1, retries);
                (dead.state, dead.stored, dead.flags) = (TaskState::Removed, TaskState::Removed, flag::DEAD);
                let moved = std::mem::replace(&mut state.tis[ti as usize], dead);
                state.tis.push(moved);
            }
            state.follow_move(span.first, span.len, first);
            for index in span.len..length {
                state.tis.push(Ti::new(task, index as i32, retries));
            }
            state.unfinished += length - span.len;
            let (first_unit, units) = if grouped {
                let first_unit = state.units.len() as u32;
                state.units.extend(std::iter::repeat_n(Unit::default(), length as usize));
                (first_unit, length)
            } else {
                (span.first_unit, 1)
            };
            state.spans[task as usize] =
                crate::run::Span { first, len: length, first_unit, units, expanded: true };
            self.moved(run, span.first, span.len, first);
            self.recount(run, task);
            self.expansion_known(run, task);
        }
        true
    }

    /// Instances have new places: whatever refers to them follows.
    fn moved(&mut self, run: RunIdx, from: TiIdx, len: u32, to: TiIdx) {
        let seq = self.run(run).seq;
        let (mut waiting, mut wakes) = (Vec::new(), Vec::new());
        for k in 0..len {
            let ti = &mut self.run_mut(run).tis[(to + k) as usize];
            if ti.has(flag::PENDING) {
                waiting.push(k);
            }
            if let Some(when) = ti.live.as_ref().and_then(|live| live.wake_at) {
                wakes.push((when, k));
            }
        }
        for ti in to..to + len {
            let known = &self.run(run).tis[ti as usize];
            let asking = known.has(flag::ASKING);
            if asking || known.state.holds_slots() {
                let attempt = self.attempt_of(TiRef { run, ti }, asking);
                if let Some(holder) = self.attempts.get_mut(&attempt) {
                    holder.at.ti = ti;
                }
            }
        }
        for (when, k) in wakes {
            self.at(when, crate::engine::Timer::Ti { at: TiRef { run, ti: to + k }, seq });
        }
        for k in waiting {
            let old = TiRef { run, ti: from + k };
            self.requeue_moved(old, TiRef { run, ti: to + k });
        }
    }

    /// Whether it is known how many instances a task has.
    pub(crate) fn has_length(&self, run: RunIdx, task: TaskIdx) -> bool {
        matches!(self.length_of(run, task), Length::Known(_))
    }

    /// How many instances a task has: the product over its own map and its groups'.
    fn length_of(&self, run: RunIdx, task: TaskIdx) -> Length {
        let state = self.run(run);
        let plan = &state.plan;
        let mut total = 1_u64;
        let mut multiply = |map: &Map| match self.map_length(run, map) {
            Some(length) => {
                total = total.saturating_mul(length);
                true
            }
            None => false,
        };
        if let Some(map) = &plan.model(task).map
            && !multiply(map)
        {
            return Length::Open;
        }
        let mut at = plan.tasks[task as usize].scope;
        while let Some(scope) = at {
            if !multiply(&plan.scopes[scope as usize].map) {
                return Length::Open;
            }
            at = plan.scopes[scope as usize].parent;
        }
        Length::Known(total)
    }

    fn map_length(&self, run: RunIdx, map: &Map) -> Option<u64> {
        let mut lengths = Vec::with_capacity(map.over.len());
        for (_, source) in &map.over {
            lengths.push(match source {
                MapSource::Literal(values) => values.len() as u64,
                MapSource::Output(task) => self.output_length(run, task)?,
            });
        }
        Some(if map.zip { lengths.into_iter().min().unwrap_or(0) } else { lengths.into_iter().product() })
    }

    /// The number of elements of a task's result; for a repeated task the number of its instances that succeeded.
    fn output_length(&self, run: RunIdx, task: &TaskId) -> Option<u64> {
        let state = self.run(run);
        let task = state.plan.find(task)?;
        let mut succeeded = 0;
        let mut length = None;
        for ti in state.instances(task) {
            let ti = &state.tis[ti as usize];
            if !ti.state.is_finished() || matches!(ti.state, TaskState::Failed | TaskState::UpstreamFailed) {
                return None;
            }
            if ti.state == TaskState::Success {
                succeeded += 1;
                length = ti.live.as_ref().and_then(|live| live.mapped_length);
            }
        }
        if state.plan.tasks[task as usize].mapped {
            return Some(succeeded);
        }
        length.map(u64::from)
    }
}
