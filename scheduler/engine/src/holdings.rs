//! Comparing what executors hold with what they should hold.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{DispatchId, ExecutorName},
    time::{Span, Timestamp},
};

use crate::{
    blame::BusyWith,
    dispatch::{End, Held, Outcome},
    engine::{Engine, Holder},
    figures::Repair,
    question::Ask,
    run::TiRef,
    state::TaskState,
};

impl Engine {
    /// What an executor holds now: what it should hold and doesn't is lost, what it holds and shouldn't is ended.
    ///
    /// Dispatches that were handed over at `as_of` (the engine's clock when the executor was asked) or later are left alone.
    pub fn holdings(&mut self, executor: &ExecutorName, held: &[Held], as_of: Timestamp) {
        let held: BTreeSet<(DispatchId, u32)> = held.iter().map(|held| (held.id, held.member)).collect();
        let mut lost = Vec::new();
        for (attempt, Holder { at, n, since }) in &self.attempts {
            let ti = &self.run(at.run).tis[at.ti as usize];
            let Some(live) = &ti.live else { continue };
            let id = DispatchId { attempt: *attempt, n: *n };
            if !ti.state.holds_slots() || live.executor.as_ref() != Some(executor) || *since >= as_of {
                continue;
            }
            let ended = |member: u32| live.gang.as_ref().is_some_and(|gang| gang.has_ended(member));
            let missing: Vec<u32> = (0..live.members)
                .filter(|member| !held.contains(&(id, *member)) && !ended(*member))
                .collect();
            if !missing.is_empty() {
                lost.push((id, *at, live.members, missing));
            }
        }
        for (id, at, members, missing) in lost {
            self.for_run(at.run);
            if members > 1 {
                self.members_missing(at, id, members, &missing);
                continue;
            }
            let ti = &self.run(at.run).tis[at.ti as usize];
            let queued = ti.state == TaskState::Queued;
            let taken_back = ti.live.as_ref().is_some_and(|live| live.taken_back || live.gives_way.is_some());
            if queued {
                // It never got there: whoever was to hand it over died, or still waits for what it needs. But what its
                // executor was told to end, that will say so, whether it ever came or not.
                if !taken_back {
                    self.hand_over_lost(at);
                }
                continue;
            }
            self.tally.repair(Repair::Lost);
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
        self.busy_with = BusyWith::Nobody;
        let gone: Vec<(DispatchId, u32)> = self
            .ending
            .iter()
            .filter(|(_, ending)| ending.executor == *executor && ending.since < as_of)
            .flat_map(|(id, ending)| ending.open.iter().map(|member| (*id, *member)))
            .filter(|key| !held.contains(key))
            .collect();
        for (id, member) in gone {
            self.member_gone(id, member);
        }
        let mut others: BTreeMap<DispatchId, u32> = BTreeMap::new();
        for (id, member) in held {
            let most = others.entry(id).or_default();
            *most = (*most).max(member + 1);
        }
        for (id, members) in others {
            let current = self.attempts.get(&id.attempt).is_some_and(|holder| holder.n == id.n);
            if current {
                continue;
            }
            let why = "it is no longer current";
            if let Some(ending) = self.ending.get(&id) {
                let members = ending.members;
                self.kill(id, members, executor.clone(), why);
            } else {
                self.tally.repair(Repair::EndedStranger);
                self.end_stranger(id, members, executor.clone(), why);
            }
        }
    }

    /// Ends what was admitted long ago and hasn't started: its executor can't be reached, or never got to it. When its end
    /// is confirmed the attempt goes back to the queue, a few times; then it fails.
    pub fn take_back_overdue(&mut self) {
        let mut overdue = Vec::new();
        for (attempt, Holder { at, n, .. }) in &self.attempts {
            let ti = &self.run(at.run).tis[at.ti as usize];
            let Some(live) = ti.live.as_deref().filter(|_| ti.state == TaskState::Queued) else { continue };
            let since = live.queued_at.filter(|since| since.after(self.config.queued_max) <= self.now);
            if let (Some(_), Some(executor)) = (since, &live.executor) {
                overdue.push((DispatchId { attempt: *attempt, n: *n }, *at, live.members, executor.clone()));
            }
        }
        for (id, at, members, executor) in overdue {
            if !std::mem::replace(&mut self.run_mut(at.run).tis[at.ti as usize].live().taken_back, true) {
                self.tally.repair(Repair::TakenBack);
            }
            let why = format!("no executor started it within {}", self.config.queued_max);
            self.kill(id, members, executor, &why);
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
            TaskState::Queued | TaskState::Running => {
                let (attempt, n, running) =
                    (self.attempt_id(at), ti.dispatch_n, ti.state == TaskState::Running);
                self.attempts.insert(attempt, Holder { at, n, since: Timestamp::MIN });
                // A gang that fails isn't made whole any more.
                if !self.end_failing_gang_again(at, DispatchId { attempt, n }) && !running {
                    self.hand_over(at);
                }
            }
            TaskState::Restarting => {
                let live = ti.live.as_ref();
                let (executor, members) =
                    live.map_or((None, 1), |live| (live.executor.clone(), live.members));
                let (attempt, n) = (self.attempt_id(at), ti.dispatch_n);
                self.attempts.insert(attempt, Holder { at, n, since: Timestamp::MIN });
                if let Some(executor) = executor {
                    self.kill(DispatchId { attempt, n }, members, executor, "cleared while it ran");
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
