//! Comparing what executors hold with what they should hold.

use std::collections::BTreeSet;

use dags::{
    ids::{DispatchId, ExecutorName},
    time::{Span, Timestamp},
};

use crate::{
    dispatch::{End, Outcome},
    engine::{Engine, Holder},
    question::Ask,
    run::TiRef,
    state::TaskState,
};

impl Engine {
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
