//! An attempt's life: admission, reports, answers, ends, retries, and being ended by hand.

use std::sync::Arc;

use dags::{
    ids::{DispatchId, ExecutorName},
    time::{Span, Timestamp},
};

use crate::{
    backoff::{Policy, retry_delay},
    dispatch::{Dispatch, End, Kill, News, Outcome, Report},
    engine::{Answer, Ask, Ending, Engine, Fate, Holder, Timer},
    run::{TiRef, flag},
    state::TaskState,
    transition::Event,
};

impl Engine {
    /// Admits what fits, best first.
    pub(crate) fn admit(&mut self) {
        while self.budget > 0 {
            let Some((lane, pending)) = self.queue.pop() else {
                self.queue.changed = false;
                return;
            };
            let at = pending.at;
            let run = self.run_mut(at.run);
            run.window.remove(&pending);
            if self.over_own_limit(at, pending) {
                self.refill(at.run);
                continue;
            }
            let run = self.run_mut(at.run);
            run.tis[at.ti as usize].unset(flag::PENDING);
            run.active += 1;
            if !self.apply(at, Event::Admit, None) {
                self.run_mut(at.run).active -= 1;
                continue;
            }
            let ticket = self.queue.take(lane);
            let executor = self.queue.executor_of(lane).clone();
            let now = self.now;
            let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
            ti.dispatch_n += 1;
            let live = ti.live();
            live.ticket = Some(ticket);
            live.queued_at = Some(now);
            live.executor = Some(executor);
            (live.seq, live.members_done) = (0, 0);
            self.hand_over(at);
        }
    }

    /// Sets an instance aside whose task has as many active instances as it may.
    fn over_own_limit(&mut self, at: TiRef, pending: crate::queue::Pending) -> bool {
        let run = self.run_mut(at.run);
        let task = run.tis[at.ti as usize].task;
        let plan = run.plan.clone();
        let model = plan.model(task);
        if let Some(most) = model.max_active_per_run {
            let limited = run.limited.entry(task).or_default();
            if limited.active >= most {
                limited.parked.insert(pending);
                return true;
            }
        }
        if let Some(most) = model.max_active {
            let dag = run.dag as usize;
            let limited = self.dags[dag].limited.entry(model.task_id.clone()).or_default();
            if limited.active >= most {
                limited.parked.insert(pending);
                return true;
            }
        }
        false
    }

    /// Hands the current dispatch to its executor (again: the other side ignores a repeat).
    pub(crate) fn hand_over(&mut self, at: TiRef) {
        let attempt = self.attempt_id(at);
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let model = run.plan.model(ti.task);
        let executor = ti.live.as_ref().and_then(|live| live.executor.clone());
        let started = ti.live.as_ref().and_then(|live| live.started_at);
        let dispatch = Dispatch {
            id: DispatchId { attempt, n: ti.dispatch_n },
            tenant: run.row.tenant,
            run: run.row.run,
            dag_id: run.row.dag_id.clone(),
            run_name: run.row.run_name.clone(),
            version: run.row.version.clone(),
            bundle: run.row.bundle.clone(),
            task_id: model.task_id.clone(),
            map_index: ti.map_index,
            try_number: ti.try_number,
            members: model.gang.max(1),
            executor: executor.unwrap_or_else(|| self.config.default_executor.clone()),
            timeout: model.timeout,
            waited: started.map_or(Span::ZERO, |started| self.now.since(started)),
        };
        let n = dispatch.id.n;
        self.attempts.insert(attempt, Holder { at, n });
        self.out.effects.dispatches.push(dispatch);
    }

    /// News about a dispatch.
    pub fn report(&mut self, report: &Report) -> Fate {
        let id = report.dispatch;
        if self.ending.contains_key(&id) {
            if matches!(report.news, News::Ended(_)) {
                self.confirm_end(id);
            }
            return Fate::Taken;
        }
        let Some(Holder { at, n }) = self.attempts.get(&id.attempt).copied() else { return Fate::Stale };
        if n != id.n || n == 0 {
            return Fate::Stale;
        }
        let members = self.model_of(at.run, self.run(at.run).tis[at.ti as usize].task).gang.max(1);
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        if !ti.state.holds_slots() {
            return Fate::Stale;
        }
        if members == 1 {
            let live = ti.live();
            if report.seq <= live.seq {
                return Fate::Repeat;
            }
            live.seq = report.seq;
        }
        match &report.news {
            News::Started { .. } => self.started(at),
            News::Ended(end) => self.attempt_ended(at, end, members),
        }
        Fate::Taken
    }

    fn started(&mut self, at: TiRef) {
        let now = self.now;
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        if ti.state == TaskState::Queued {
            let live = ti.live();
            live.started_at = live.started_at.or(Some(now));
            self.apply(at, Event::Start, None);
        }
    }

    fn attempt_ended(&mut self, at: TiRef, end: &End, members: u32) {
        if self.run(at.run).tis[at.ti as usize].state == TaskState::Queued
            && end.outcome != Outcome::NotStarted
        {
            self.started(at);
        }
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        let live = ti.live();
        if end.outcome == Outcome::Success && members > 1 {
            live.members_done += 1;
            if live.members_done < members {
                return;
            }
        }
        live.exit_code = end.exit_code;
        live.mapped_length = end.mapped_length;
        self.release(at);
        let reason: Option<Arc<str>> = end.reason.as_deref().map(Into::into);
        let attempt = self.attempt_id(at);
        if end.outcome != (Outcome::Killed)
            || self.run(at.run).tis[at.ti as usize].state == TaskState::Restarting
        {
            self.attempts.swap_remove(&attempt);
        }
        if self.run(at.run).tis[at.ti as usize].state == TaskState::Restarting {
            self.archive(at, TaskState::Failed);
            if self.apply(at, Event::Retry, Some("cleared while it ran".into())) {
                let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
                ti.set(flag::DUE);
                self.consider(at);
            }
            return;
        }
        match &end.outcome {
            Outcome::Success => self.succeeded(at, end),
            Outcome::Skipped => {
                self.apply(at, Event::Skip, reason);
            }
            Outcome::Reschedule { after } => {
                if self.apply(at, Event::Reschedule, reason) {
                    self.sleep_until(at, self.now.after(*after));
                }
            }
            Outcome::FailedForGood => self.failed(at, false, reason),
            Outcome::Failed | Outcome::TimedOut | Outcome::Lost | Outcome::NotStarted => {
                self.failed(at, true, reason)
            }
            // We asked for this without giving the instance up: it goes back to the queue.
            Outcome::Killed => {
                let kept = reason.unwrap_or_else(|| "its executor ended it".into());
                if self.apply(at, Event::Requeue, Some(kept)) {
                    self.enqueue(at);
                }
            }
        }
    }

    fn succeeded(&mut self, at: TiRef, end: &End) {
        let ti = &self.run(at.run).tis[at.ti as usize];
        let source = self.run(at.run).plan.tasks[ti.task as usize].is_source;
        let most = self.config.map_length_max;
        match end.mapped_length {
            Some(length) if source && length > most => {
                let reason = format!(
                    "its result has {length} elements, and tasks are repeated over it: at most {most} are allowed"
                );
                self.failed(at, false, Some(reason.into()));
            }
            None if source => {
                let reason = "tasks are repeated over its result, but that is neither a list nor an object";
                self.failed(at, false, Some(reason.into()));
            }
            Some(_) | None => {
                self.apply(at, Event::Succeed, None);
            }
        }
    }

    /// An attempt failed: another try, or the end.
    pub(crate) fn failed(&mut self, at: TiRef, may_retry: bool, reason: Option<Arc<str>>) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let model = run.plan.model(ti.task);
        if !(may_retry && ti.max_tries > 0 && ti.try_number <= ti.max_tries) {
            self.apply(at, Event::Fail, reason);
            return;
        }
        let policy = Policy {
            delay: model.retry_delay,
            multiplier: model.retry_backoff,
            max_delay: model.max_retry_delay,
            jitter: model.retry_jitter,
        };
        let wait = retry_delay(&policy, &run.row.dag_id, &model.task_id, run.row.logical_date, ti.try_number);
        self.run_mut(at.run).tis[at.ti as usize].live().ended_at = Some(self.now);
        let now = self.now;
        if self.apply(at, Event::Retry, reason) {
            self.run_mut(at.run).tis[at.ti as usize].live().ended_at = Some(now);
            self.archive(at, TaskState::Failed);
            self.sleep_until(at, now.after(wait.max(Span(1))));
            self.notify_retry(at);
        }
    }

    pub(crate) fn sleep_until(&mut self, at: TiRef, when: Timestamp) {
        let seq = self.run(at.run).seq;
        self.run_mut(at.run).tis[at.ti as usize].live().wake_at = Some(when);
        self.touch(at);
        self.at(when, Timer::Ti { at, seq });
    }

    /// Gives back what an instance holds.
    pub(crate) fn release(&mut self, at: TiRef) {
        let run = self.run_mut(at.run);
        let ticket = run.tis[at.ti as usize].live.as_mut().and_then(|live| live.ticket.take());
        if let Some(ticket) = ticket {
            run.active -= 1;
            self.queue.release(ticket);
            self.refill(at.run);
        }
    }

    /// The answer to a question.
    pub fn answer(&mut self, id: DispatchId, answer: Answer) -> Fate {
        let Some(Holder { at, n }) = self.attempts.get(&id.attempt).copied() else { return Fate::Stale };
        if n != id.n {
            return Fate::Stale;
        }
        let ti = &self.run(at.run).tis[at.ti as usize];
        if n == 0 {
            if !ti.has(flag::ASKING) {
                return Fate::Stale;
            }
            self.attempts.swap_remove(&id.attempt);
            self.answer_when(at, answer);
            return Fate::Taken;
        }
        if ti.state != TaskState::Running || ti.live.as_ref().is_some_and(|live| live.ticket.is_some()) {
            return Fate::Stale;
        }
        self.attempts.swap_remove(&id.attempt);
        match answer {
            Answer::Done | Answer::Holds(_) => {
                self.apply(at, Event::Succeed, None);
            }
            Answer::Follow(chosen) => self.follow(at, &chosen),
            Answer::Stop { direct } => self.stop(at, direct),
            Answer::Trigger(trigger) => self.trigger_from_task(at, &trigger),
            Answer::Again(when) => {
                if self.apply(at, Event::Defer, None) {
                    self.sleep_until(at, when.max(self.now.after(Span::millis(1))));
                }
            }
            Answer::Skip(reason) => {
                self.apply(at, Event::Skip, Some(reason.into()));
            }
            Answer::Error(reason) => self.failed(at, true, Some(reason.into())),
        }
        Fate::Taken
    }

    fn answer_when(&mut self, at: TiRef, answer: Answer) {
        let run = self.run_mut(at.run);
        run.moving -= 1;
        let ti = &mut run.tis[at.ti as usize];
        ti.unset(flag::ASKING);
        match answer {
            Answer::Holds(true) => {
                ti.set(flag::WHEN_HOLDS);
                self.consider(at);
            }
            Answer::Holds(false) => {
                self.apply(at, Event::Skip, Some("its `when` is false".into()));
            }
            Answer::Done
            | Answer::Follow(_)
            | Answer::Stop { .. }
            | Answer::Trigger(_)
            | Answer::Again(_)
            | Answer::Skip(_) => self.fail_when(at, "its `when` got an answer of another kind"),
            Answer::Error(reason) => self.fail_when(at, &reason),
        }
    }

    /// A condition that can't be evaluated is an error of the DAG: the task fails, visibly, without a try.
    fn fail_when(&mut self, at: TiRef, reason: &str) {
        self.apply(at, Event::MarkFailed, Some(format!("its `when` can't be evaluated: {reason}").into()));
    }

    fn follow(&mut self, at: TiRef, chosen: &[dags::ids::TaskId]) {
        let run = self.run(at.run);
        let task = run.tis[at.ti as usize].task;
        let downs = run.plan.downs.of(task);
        let names = |task: &u32| run.plan.model(*task).task_id.clone();
        if let Some(stranger) = chosen.iter().find(|id| !downs.iter().any(|down| names(down) == **id)) {
            let reason = format!("it chose `{stranger}`, which isn't directly downstream of it");
            self.failed(at, false, Some(reason.into()));
            return;
        }
        let skips: Arc<[_]> = downs.iter().map(names).filter(|id| !chosen.contains(id)).collect();
        self.run_mut(at.run).tis[at.ti as usize].live().skips = Some(skips);
        self.apply(at, Event::Succeed, None);
    }

    fn stop(&mut self, at: TiRef, direct: bool) {
        let run = self.run(at.run);
        let task = run.tis[at.ti as usize].task;
        let downs = run.plan.downs.of(task);
        let all = if direct { downs.to_vec() } else { run.plan.closure(downs, &run.plan.downs) };
        let skips: Arc<[_]> = all
            .iter()
            .filter(|down| !run.plan.tasks[**down as usize].teardown)
            .map(|down| run.plan.model(*down).task_id.clone())
            .collect();
        self.run_mut(at.run).tis[at.ti as usize].live().skips = Some(skips);
        self.apply(at, Event::Succeed, None);
    }

    /// A wait is over: the engine looks again.
    pub(crate) fn resume(&mut self, at: TiRef) {
        if self.apply(at, Event::Schedule, None) {
            self.run_in_engine(at);
        }
    }

    /// Ends an instance by hand or with its run. What runs is killed; its slots stay taken until its end is confirmed.
    pub(crate) fn end_by_hand(
        &mut self,
        at: TiRef,
        event: Event,
        by: Option<Arc<str>>,
        reason: Option<Arc<str>>,
    ) {
        let why = reason.clone().unwrap_or_else(|| "marked by hand".into());
        self.let_go(at, &why);
        self.run_mut(at.run).tis[at.ti as usize].live().marked_by = by;
        self.apply(at, event, reason);
        self.touch(at);
    }

    /// Detaches an instance from its queue place, question or dispatch.
    fn let_go(&mut self, at: TiRef, why: &str) {
        self.dequeue(at);
        self.close_question(at);
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        if !ti.state.holds_slots() {
            return;
        }
        let n = ti.dispatch_n;
        let live = ti.live();
        let (ticket, executor) = (live.ticket.take(), live.executor.clone());
        let attempt = self.attempt_id(at);
        self.attempts.swap_remove(&attempt);
        if ticket.is_some() {
            self.run_mut(at.run).active -= 1;
            self.refill(at.run);
        }
        if let (Some(ticket), Some(executor)) = (ticket, executor) {
            self.end_dispatch(DispatchId { attempt, n }, Some(ticket), executor, why);
        }
    }

    fn close_question(&mut self, at: TiRef) {
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        if ti.has(flag::ASKING) {
            ti.unset(flag::ASKING);
            ti.try_number += 1;
            let attempt = self.attempt_id(at);
            let run = self.run_mut(at.run);
            run.tis[at.ti as usize].try_number -= 1;
            run.moving -= 1;
            self.attempts.swap_remove(&attempt);
        }
    }

    fn end_dispatch(
        &mut self,
        id: DispatchId,
        ticket: Option<crate::queue::Ticket>,
        executor: ExecutorName,
        why: &str,
    ) {
        self.ending.insert(id, Ending { ticket, executor: executor.clone() });
        let kill = Kill { id, executor, grace: self.config.kill_grace, reason: why.to_owned() };
        self.out.effects.kills.push(kill);
    }

    fn confirm_end(&mut self, id: DispatchId) {
        if let Some(Ending { ticket: Some(ticket), .. }) = self.ending.remove(&id) {
            self.queue.release(ticket);
        }
    }

    /// Brings an instance back to the start; a running one is ended first.
    pub(crate) fn clear_one(&mut self, at: TiRef, by: Option<Arc<str>>) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let retries = run.plan.model(ti.task).retries;
        let (state, tries) = (ti.state, ti.try_number);
        let has_ticket = ti.live.as_ref().is_some_and(|live| live.ticket.is_some());
        if state == TaskState::None && !ti.has(flag::ASKING) {
            return;
        }
        if state.holds_slots() && has_ticket {
            if state != TaskState::Restarting {
                let attempt = self.attempt_id(at);
                let live = self.run_mut(at.run).tis[at.ti as usize].live();
                let executor = live.executor.clone();
                live.marked_by.clone_from(&by);
                self.apply(at, Event::Clear, Some("cleared while it ran".into()));
                let n = self.run(at.run).tis[at.ti as usize].dispatch_n;
                if let Some(executor) = executor {
                    let grace = self.config.kill_grace;
                    let reason = "cleared while it ran".to_owned();
                    let kill = Kill { id: DispatchId { attempt, n }, executor, grace, reason };
                    self.out.effects.kills.push(kill);
                }
            }
        } else {
            self.let_go(at, "cleared");
            if tries > 0 && (state.is_finished() || state == TaskState::Running) {
                self.archive(at, state);
            }
            // A task that the engine was about to run holds nothing that must be waited for.
            let event = if state.holds_slots() { Event::Requeue } else { Event::Clear };
            if event == Event::Requeue {
                self.apply(at, Event::Requeue, None);
            }
            self.apply(at, Event::Clear, None);
            let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
            ti.unset(flag::DUE | flag::WHEN_HOLDS);
            let live = ti.live();
            *live = crate::run::Live { marked_by: by, ..Default::default() };
        }
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        ti.max_tries = tries + retries;
        self.touch(at);
    }

    /// What an executor holds now: what it should hold and doesn't is lost, what it holds and shouldn't is ended.
    ///
    /// Dispatches that were handed over after `as_of` (the engine's clock when the executor was asked) are left alone.
    pub fn holdings(&mut self, executor: &ExecutorName, held: &[DispatchId], as_of: Timestamp) {
        let held: std::collections::BTreeSet<DispatchId> = held.iter().copied().collect();
        let mut lost = Vec::new();
        for (attempt, Holder { at, n }) in &self.attempts {
            let ti = &self.run(at.run).tis[at.ti as usize];
            let Some(live) = &ti.live else { continue };
            let id = DispatchId { attempt: *attempt, n: *n };
            let old = live.queued_at.is_some_and(|queued| queued < as_of);
            if ti.state.holds_slots()
                && live.executor.as_ref() == Some(executor)
                && old
                && !held.contains(&id)
            {
                lost.push((id, *at));
            }
        }
        for (_, at) in lost {
            if self.run(at.run).tis[at.ti as usize].state == TaskState::Queued {
                // It never got there: the process that was to hand it over may have died before it did.
                self.hand_over(at);
                continue;
            }
            let end = End {
                outcome: Outcome::Lost,
                duration: Span::ZERO,
                exit_code: None,
                reason: Some("the executor no longer knows it".into()),
                result: None,
                mapped_length: None,
            };
            self.attempt_ended(at, &end, 1);
        }
        let gone: Vec<DispatchId> = self
            .ending
            .iter()
            .filter(|(id, ending)| ending.executor == *executor && !held.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.confirm_end(id);
        }
        for id in held {
            let current = self.attempts.get(&id.attempt).is_some_and(|holder| holder.n == id.n);
            if !current {
                let ticket = self.ending.remove(&id).and_then(|ending| ending.ticket);
                self.end_dispatch(id, ticket, executor.clone(), "it is no longer current");
            }
        }
    }

    /// Asks again for everything that was handed over or asked and whose confirmation isn't known, after a restart.
    pub(crate) fn hand_over_again(&mut self, at: TiRef) {
        let ti = &self.run(at.run).tis[at.ti as usize];
        let engine = self.run(at.run).plan.tasks[ti.task as usize].engine.is_some();
        match ti.state {
            TaskState::Running if engine => {
                let (attempt, n) = (self.attempt_id(at), ti.dispatch_n);
                self.attempts.insert(attempt, Holder { at, n });
                self.ask(at, Ask::Task, DispatchId { attempt, n });
            }
            TaskState::Queued => self.hand_over(at),
            TaskState::Running => {
                let (attempt, n) = (self.attempt_id(at), ti.dispatch_n);
                self.attempts.insert(attempt, Holder { at, n });
            }
            TaskState::Restarting => {
                let executor = ti.live.as_ref().and_then(|live| live.executor.clone());
                let (attempt, n) = (self.attempt_id(at), ti.dispatch_n);
                self.attempts.insert(attempt, Holder { at, n });
                if let Some(executor) = executor {
                    let grace = self.config.kill_grace;
                    let reason = "cleared while it ran".to_owned();
                    self.out.effects.kills.push(Kill {
                        id: DispatchId { attempt, n },
                        executor,
                        grace,
                        reason,
                    });
                }
            }
            TaskState::None
            | TaskState::Scheduled
            | TaskState::UpForRetry
            | TaskState::UpForReschedule
            | TaskState::Deferred
            | TaskState::AwaitingInput
            | TaskState::Success
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::UpstreamFailed
            | TaskState::Removed => {}
        }
    }
}
