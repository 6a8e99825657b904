//! An attempt's life: admission, reports, answers, ends, retries, and being ended by hand.

use std::{collections::BTreeSet, sync::Arc};

use dags::{
    ids::{DispatchId, ExecutorName},
    time::{Span, Timestamp},
};

use crate::{
    backoff::{Policy, retry_delay},
    dispatch::{Dispatch, End, Kill, News, Outcome, Report},
    engine::{Answer, Ask, Ending, Engine, Fate, Holder, Timer},
    queue::{Holds, Ticket},
    rows::{ContinuationRow, ResultRow, RunRow},
    run::{TiRef, flag},
    state::TaskState,
    transition::Event,
    work::RunWork,
};

/// A dispatch that is being ended, as it is stored.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct StoredEnding {
    id: DispatchId,
    holds: Holds,
}

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
            (live.seq, live.gang) = (0, None);
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
        let (started, queued) =
            ti.live.as_ref().map_or((None, None), |live| (live.started_at, live.queued_at));
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
        let Some(Holder { at, n, .. }) = self.attempts.get(&id.attempt).copied() else { return Fate::Stale };
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
            News::Ended(end) if members == 1 => self.attempt_ended(at, end),
            News::Ended(end) => return self.member_ended(at, id, report.member, members, end),
        }
        Fate::Taken
    }

    /// A member of a gang ended. The attempt ends with its last member; the first failure ends the others.
    fn member_ended(&mut self, at: TiRef, id: DispatchId, member: u32, members: u32, end: &End) -> Fate {
        if member >= members {
            return Fate::Stale;
        }
        let live = self.run_mut(at.run).tis[at.ti as usize].live();
        let executor = live.executor.clone();
        let gang = live.gang.get_or_insert_default();
        if !gang.ended.insert(member) {
            return Fate::Held;
        }
        if member == 0 {
            gang.first = Some(end.clone());
        }
        let fails = end.outcome != Outcome::Success && gang.failure.is_none();
        if fails {
            gang.failure = Some(end.clone());
        }
        if gang.ended.len() < members as usize {
            if let (true, Some(executor)) = (fails, executor) {
                self.kill(id, executor, "another member of its gang ended");
            }
            return Fate::Held;
        }
        if let Some(gang) = live.gang.take()
            && let Some(end) = gang.failure.or(gang.first)
        {
            self.attempt_ended(at, &end);
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

    fn attempt_ended(&mut self, at: TiRef, end: &End) {
        if self.run(at.run).tis[at.ti as usize].state == TaskState::Queued
            && end.outcome != Outcome::NotStarted
        {
            self.started(at);
        }
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        let live = ti.live();
        live.gang = None;
        live.exit_code = end.exit_code;
        live.mapped_length = end.mapped_length;
        self.release(at);
        let reason: Option<Arc<str>> = end.reason.as_deref().map(Into::into);
        let attempt = self.attempt_id(at);
        self.attempts.swap_remove(&attempt);
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
                let kept = reason.unwrap_or_else(|| "its executor ended it".into());
                if self.apply(at, Event::Requeue, Some(kept)) {
                    self.enqueue(at);
                }
            }
        }
    }

    fn succeeded(&mut self, at: TiRef, end: &End) {
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
    fn store_result(&mut self, at: TiRef, end: &End) {
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
            Answer::Follow(chosen) => self.follow(at, &chosen),
            Answer::Stop { direct } => self.stop(at, direct),
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
        self.fail_fast(at);
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
        let (ticket, executor, gang) = (live.ticket.take(), live.executor.clone(), live.gang.take());
        let attempt = self.attempt_id(at);
        let since = self.attempts.swap_remove(&attempt).map_or(Timestamp::MIN, |holder| holder.since);
        if ticket.is_some() {
            self.run_mut(at.run).active -= 1;
            self.refill(at.run);
        }
        if let (Some(ticket), Some(executor)) = (ticket, executor) {
            let ended = gang.map(|gang| gang.ended).unwrap_or_default();
            let id = DispatchId { attempt, n };
            self.end_dispatch(id, Some(ticket), &ended, executor, why);
            if let Some(ending) = self.ending.get_mut(&id) {
                ending.since = since;
            }
        }
    }

    pub(crate) fn close_question(&mut self, at: TiRef) {
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        if ti.has(flag::ASKING) {
            ti.unset(flag::ASKING);
            let attempt = self.attempt_of(at, true);
            self.run_mut(at.run).moving -= 1;
            self.attempts.swap_remove(&attempt);
        }
    }

    /// Ends a dispatch whose instance goes on without it. What it holds stays taken until its end is confirmed.
    fn end_dispatch(
        &mut self,
        id: DispatchId,
        ticket: Option<Ticket>,
        ended: &BTreeSet<u32>,
        executor: ExecutorName,
        why: &str,
    ) {
        let mut row = 0;
        let mut members = 1;
        if let Some(ticket) = ticket {
            row = self.next_continuation;
            self.next_continuation += 1;
            let holds = self.queue.describe(ticket);
            members = holds.members;
            let work = serde_json::json!({ "ending": StoredEnding { id, holds } });
            self.out.continuations.insert(row, ContinuationRow { id: row, work: Some(work) });
        }
        let members = (0..members).filter(|member| !ended.contains(member)).collect();
        let since = Timestamp::MIN;
        self.ending.insert(id, Ending { ticket, executor: executor.clone(), since, members, row });
        self.kill(id, executor, why);
    }

    /// What was being ended when the process ended still holds what it held.
    pub(crate) fn restore_ending(&mut self, row: i64, StoredEnding { id, holds }: StoredEnding) {
        let Holds { tenant, pool, executor, slots, members } = holds;
        let lane = self.queue.lane(tenant, &pool, &executor, slots, members);
        let ticket = Some(self.queue.take(lane));
        let (since, members) = (Timestamp::MIN, (0..members).collect());
        let ending = Ending { ticket, executor: executor.clone(), since, members, row };
        self.ending.insert(id, ending);
        self.kill(id, executor, "it was being ended before the restart");
    }

    fn kill(&mut self, id: DispatchId, executor: ExecutorName, why: &str) {
        let kill = Kill { id, executor, grace: self.config.kill_grace, reason: why.to_owned() };
        self.out.effects.kills.push(kill);
    }

    fn member_gone(&mut self, id: DispatchId, member: u32) {
        let Some(ending) = self.ending.get_mut(&id) else { return };
        ending.members.remove(&member);
        if ending.members.is_empty() {
            self.confirm_end(id);
        }
    }

    fn confirm_end(&mut self, id: DispatchId) {
        let Some(Ending { ticket, row, .. }) = self.ending.remove(&id) else { return };
        if let Some(ticket) = ticket {
            self.queue.release(ticket);
        }
        if row != 0 {
            self.out.continuations.insert(row, ContinuationRow { id: row, work: None });
        }
    }

    /// Brings an instance back to the start; a running one is ended first.
    pub(crate) fn clear_one(&mut self, at: TiRef, by: Option<Arc<str>>) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let retries = run.plan.model(ti.task).retries;
        let (task, state, tries) = (ti.task, ti.state, ti.try_number);
        let unexpanded = ti.map_index == -1 && run.plan.tasks[task as usize].mapped;
        let has_ticket = ti.live.as_ref().is_some_and(|live| live.ticket.is_some());
        if state == TaskState::None {
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
                    self.kill(DispatchId { attempt, n }, executor, "cleared while it ran");
                }
            }
        } else {
            self.let_go(at, "cleared");
            // What waits for a retry was kept when its try failed.
            if tries > 0 && state != TaskState::UpForRetry {
                self.archive(at, if state.is_finished() { state } else { TaskState::Failed });
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
            ti.max_tries = tries + retries;
            if unexpanded {
                self.push_work(at.run, RunWork::Expand { task });
            }
        }
        self.touch(at);
    }

    /// What an executor holds now: what it should hold and doesn't is lost, what it holds and shouldn't is ended.
    ///
    /// Dispatches that were handed over at `as_of` (the engine's clock when the executor was asked) or later are left alone.
    pub fn holdings(&mut self, executor: &ExecutorName, held: &[DispatchId], as_of: Timestamp) {
        let held: BTreeSet<DispatchId> = held.iter().copied().collect();
        let mut lost = Vec::new();
        for (attempt, Holder { at, n, since }) in &self.attempts {
            let ti = &self.run(at.run).tis[at.ti as usize];
            let Some(live) = &ti.live else { continue };
            let id = DispatchId { attempt: *attempt, n: *n };
            if ti.state.holds_slots()
                && live.executor.as_ref() == Some(executor)
                && *since < as_of
                && !held.contains(&id)
            {
                lost.push((id, *at));
            }
        }
        for (_, at) in lost {
            if self.run(at.run).tis[at.ti as usize].state == TaskState::Queued {
                // It never got there: whoever was to hand it over died, or still waits for what it needs.
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
            self.attempt_ended(at, &end);
        }
        let gone: Vec<DispatchId> = self
            .ending
            .iter()
            .filter(|(id, ending)| ending.executor == *executor && ending.since < as_of && !held.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.confirm_end(id);
        }
        for id in held {
            let current = self.attempts.get(&id.attempt).is_some_and(|holder| holder.n == id.n);
            if current {
                continue;
            }
            let why = "it is no longer current";
            if self.ending.contains_key(&id) {
                self.kill(id, executor.clone(), why);
            } else {
                self.end_dispatch(id, None, &BTreeSet::new(), executor.clone(), why);
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
                self.attempts.insert(attempt, Holder { at, n, since: Timestamp::MAX });
                self.ask(at, Ask::Task, DispatchId { attempt, n });
            }
            TaskState::Queued => self.hand_over(at),
            TaskState::Running => {
                let (attempt, n) = (self.attempt_id(at), ti.dispatch_n);
                self.attempts.insert(attempt, Holder { at, n, since: Timestamp::MIN });
            }
            TaskState::Restarting => {
                let executor = ti.live.as_ref().and_then(|live| live.executor.clone());
                let (attempt, n) = (self.attempt_id(at), ti.dispatch_n);
                self.attempts.insert(attempt, Holder { at, n, since: Timestamp::MIN });
                if let Some(executor) = executor {
                    self.kill(DispatchId { attempt, n }, executor, "cleared while it ran");
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
