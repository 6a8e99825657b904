//! An attempt's life: admission, reports, answers, ends, retries, and being ended by hand.

use std::sync::Arc;

use dags::{
    ids::DispatchId,
    time::{Span, Timestamp},
};

use crate::{
    backoff::{Policy, retry_delay},
    dispatch::{Dispatch, End, News, Outcome, Report},
    engine::{Engine, Fate, Holder, Timer},
    format::Format,
    question::Answer,
    rows::{ResultRow, RunRow},
    run::{TiRef, flag},
    state::TaskState,
    transition::Event,
};

impl Engine {
    /// Admits what fits, best first.
    pub(crate) fn admit(&mut self) {
        if self.queue.sharing.is_some() {
            self.admit_shared();
            return;
        }
        while self.budget > 0 {
            let Some((lane, pending)) = self.queue.pop() else {
                self.queue.changed = false;
                return;
            };
            let at = pending.at;
            self.for_run(at.run);
            let run = self.run_mut(at.run);
            run.window.remove(&pending);
            if self.over_own_limit(at, pending) {
                self.refill(at.run);
                // Where one limit held it back, the other one's place is for somebody else.
                let task = self.run(at.run).tis[at.ti as usize].task;
                self.pass_on(at.run, task);
                continue;
            }
            self.admit_one(at, lane, 0);
        }
    }

    /// An instance is admitted, as that workload of the resource pool if there is one; false if it can't be.
    pub(crate) fn admit_one(&mut self, at: TiRef, lane: u32, work: u64) -> bool {
        let run = self.run_mut(at.run);
        run.tis[at.ti as usize].unset(flag::PENDING);
        run.active += 1;
        if !self.apply(at, Event::Admit, None) {
            self.run_mut(at.run).active -= 1;
            return false;
        }
        let ticket = self.queue.take(lane, work);
        let executor = self.queue.executor_of(lane).clone();
        let now = self.now;
        let attempt = self.attempt_id(at);
        let n = self.run(at.run).tis[at.ti as usize].dispatch_n + 1;
        let worker = self.queue.place(lane, DispatchId { attempt, n }, None, now);
        let run = self.run_mut(at.run);
        let ti = &mut run.tis[at.ti as usize];
        let members = run.plan.model(ti.task).gang.max(1);
        ti.dispatch_n = n;
        let live = ti.live();
        live.worker = worker;
        live.ticket = Some(ticket);
        live.queued_at = Some(now);
        live.executor = Some(executor);
        (live.seq, live.gang, live.host, live.taken_back, live.gives_way) = (0, None, None, false, None);
        live.members = members;
        self.hand_over(at);
        true
    }

    /// Sets an instance aside whose task has as many active instances as it may.
    pub(crate) fn over_own_limit(&mut self, at: TiRef, pending: crate::queue::Pending) -> bool {
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
        let worker = ti.live.as_ref().and_then(|live| live.worker);
        let (started, queued) =
            ti.live.as_ref().map_or((None, None), |live| (live.started_at, live.queued_at));
        let members = ti.live.as_ref().map_or(1, |live| live.members);
        let dispatch = Dispatch {
            format: Format,
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
            members,
            executor: executor.unwrap_or_else(|| self.config.default_executor.clone()),
            worker,
            timeout: model.timeout,
            // As of its admission, so that it is the same if it is handed over again.
            waited: started.map_or(Span::ZERO, |started| queued.unwrap_or(self.now).since(started)),
        };
        let n = dispatch.id.n;
        self.attempts.insert(attempt, Holder { at, n, since: Timestamp::MAX });
        self.out.effects.dispatches.push(dispatch);
    }

    /// These dispatches leave the process now.
    pub fn handed_over(&mut self, dispatches: &[Dispatch]) {
        let now = self.now;
        for Dispatch { id, .. } in dispatches {
            if let Some(holder) = self.attempts.get_mut(&id.attempt).filter(|holder| holder.n == id.n) {
                holder.since = now;
            } else if let Some(ending) = self.ending.get_mut(id) {
                ending.since = now;
            }
        }
    }

    /// News about a dispatch.
    pub fn report(&mut self, report: &Report) -> Fate {
        let id = report.dispatch;
        if self.ending.contains_key(&id) {
            if matches!(report.news, News::Ended(_)) {
                self.member_gone(id, report.member);
            }
            return Fate::Taken;
        }
        let Some(Holder { at, n, since }) = self.attempts.get(&id.attempt).copied() else {
            return Fate::Stale;
        };
        if n != id.n || n == 0 {
            return Fate::Stale;
        }
        self.for_run(at.run);
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        if !ti.state.holds_slots() {
            return Fate::Stale;
        }
        let live = ti.live();
        if live.members > 1 {
            let members = live.members;
            return self.member_report(at, members, report);
        }
        if report.seq <= live.seq {
            return Fate::Repeat;
        }
        live.seq = report.seq;
        match &report.news {
            News::Started { host, .. } => {
                // Before a restart it wasn't measured.
                if since != Timestamp::MIN && since != Timestamp::MAX {
                    self.tally.start(self.now.since(since));
                }
                self.started(at, Some(host.as_str().into()));
            }
            News::Ended(end) => self.attempt_ended(at, end),
        }
        Fate::Taken
    }

    pub(crate) fn started(&mut self, at: TiRef, host: Option<Arc<str>>) {
        let now = self.now;
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        if ti.state == TaskState::Queued {
            let live = ti.live();
            live.started_at = live.started_at.or(Some(now));
            live.host = host;
            self.apply(at, Event::Start, None);
        }
    }

    pub(crate) fn attempt_ended(&mut self, at: TiRef, end: &End) {
        if self.run(at.run).tis[at.ti as usize].state == TaskState::Queued
            && end.outcome != Outcome::NotStarted
        {
            self.started(at, None);
        }
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        let n = ti.dispatch_n;
        let live = ti.live();
        let gang = live.gang.take();
        live.exit_code = end.exit_code;
        live.mapped_length = end.mapped_length;
        self.release(at);
        let reason: Option<Arc<str>> = end.reason.as_deref().map(Into::into);
        let attempt = self.attempt_id(at);
        self.attempts.swap_remove(&attempt);
        if let Some(gang) = gang {
            self.confirm_members(DispatchId { attempt, n }, &gang);
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
                self.failed(at, true, reason);
            }
            // We asked for this without giving the instance up: it goes back to the queue.
            Outcome::Killed => {
                let mut kept = reason.unwrap_or_else(|| "its executor ended it".into());
                let most = self.config.requeues_max;
                let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
                if let Some(why) = ti.live().gives_way.take() {
                    kept = why;
                    ti.preempted = ti.preempted.saturating_add(1);
                } else if ti.live().taken_back {
                    if u32::from(ti.requeued) >= most {
                        self.apply(at, Event::Fail, Some(kept));
                        return;
                    }
                    ti.requeued += 1;
                }
                if self.apply(at, Event::Requeue, Some(kept)) {
                    self.enqueue(at);
                }
            }
        }
    }

    /// A task that the engine ran itself is done and returned this.
    pub(crate) fn returned(&mut self, at: TiRef, value: serde_json::Value) {
        let end = End::success(Some(value));
        self.run_mut(at.run).tis[at.ti as usize].live().mapped_length = end.mapped_length;
        self.succeeded(at, &end);
    }

    pub(crate) fn succeeded(&mut self, at: TiRef, end: &End) {
        let ti = &self.run(at.run).tis[at.ti as usize];
        let plan = &self.run(at.run).plan.tasks[ti.task as usize];
        // What is repeated over a task that is repeated itself takes the list of its results, whatever each of them is.
        let source = plan.is_source && !plan.mapped;
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
                self.store_result(at, end);
                self.apply(at, Event::Succeed, None);
            }
        }
    }

    /// What an attempt returned is stored together with its success.
    pub(crate) fn store_result(&mut self, at: TiRef, end: &End) {
        let Some(value) = end.result.clone() else { return };
        let attempt = self.attempt_id(at);
        let (task, map_index) = self.task_name(at);
        let RunRow { tenant, run, .. } = self.run(at.run).row;
        self.out.results.push(ResultRow { tenant, run, task, map_index, attempt, value });
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
            let n = run.tis[at.ti as usize].dispatch_n;
            let id = DispatchId { attempt: self.attempt_id(at), n };
            self.queue.unplace(ticket, id);
            self.queue.release(ticket);
            self.refill(at.run);
        }
    }

    /// The answer to a question.
    pub fn answer(&mut self, id: DispatchId, answer: Answer) -> Fate {
        let Some(Holder { at, n, .. }) = self.attempts.get(&id.attempt).copied() else { return Fate::Stale };
        if n != id.n {
            return Fate::Stale;
        }
        self.for_run(at.run);
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
        if !matches!(answer, Answer::Trigger(_)) {
            self.attempts.swap_remove(&id.attempt);
        }
        match answer {
            Answer::Trigger(trigger) => self.trigger_from_task(id, *trigger, None),
            Answer::Done | Answer::Holds(_) => {
                self.apply(at, Event::Succeed, None);
            }
            Answer::Return(value) => self.returned(at, value),
            Answer::Follow(chosen) => self.follow(at, &chosen),
            Answer::Stop { direct } => self.stop(at, direct),
            Answer::Again(when) => {
                if self.apply(at, Event::Defer, None) {
                    self.sleep_until(at, when.max(self.now.after(Span::millis(1))));
                }
            }
            Answer::Watch(watch) => self.watch(at, watch),
            Answer::Ask(ask) => self.ask_people(at, *ask),
            Answer::Skip(reason) => {
                self.apply(at, Event::Skip, Some(reason.into()));
            }
            Answer::Error(reason) => self.failed(at, true, Some(reason.into())),
            Answer::FailForGood(reason) => self.failed(at, false, Some(reason.into())),
        }
        Fate::Taken
    }

    pub(crate) fn answer_when(&mut self, at: TiRef, answer: Answer) {
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
            | Answer::Return(_)
            | Answer::Follow(_)
            | Answer::Stop { .. }
            | Answer::Trigger(_)
            | Answer::Again(_)
            | Answer::Watch(_)
            | Answer::Ask(_)
            | Answer::Skip(_) => self.fail_when(at, "its `when` got an answer of another kind"),
            Answer::Error(reason) | Answer::FailForGood(reason) => self.fail_when(at, &reason),
        }
    }

    /// A condition that can't be evaluated is an error of the DAG: the task fails, visibly, without a try.
    pub(crate) fn fail_when(&mut self, at: TiRef, reason: &str) {
        self.fail_fast(at);
        self.apply(at, Event::MarkFailed, Some(format!("its `when` can't be evaluated: {reason}").into()));
    }

    pub(crate) fn follow(&mut self, at: TiRef, chosen: &[dags::ids::TaskId]) {
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

    pub(crate) fn stop(&mut self, at: TiRef, direct: bool) {
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
            self.go_on(at);
        }
    }

    /// Lets a scheduled instance start where its task runs now: its run may have moved to a version where that is elsewhere.
    pub(crate) fn go_on(&mut self, at: TiRef) {
        let run = self.run(at.run);
        let task = run.tis[at.ti as usize].task;
        if run.plan.tasks[task as usize].engine.is_some() {
            self.run_in_engine(at);
        } else {
            self.enqueue(at);
        }
    }
}
