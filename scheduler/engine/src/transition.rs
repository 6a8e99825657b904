//! The one function that decides every pair of task state and event.
//!
//! ```text
//! none ──schedule──► scheduled ──admit──► queued ──start──► running ──succeed──► success
//!   │                    ▲ ▲                 │                 │ ├──fail──────► failed
//!   ├─skip────► skipped  │ └────requeue──────┴────────────────┤ ├──skip──────► skipped
//!   ├─block───► upstream_failed                               │ ├──retry─────► up_for_retry ──schedule──► scheduled
//!   └─defer───► deferred ─┘◄──────────────────────────────────┤ └──reschedule► up_for_reschedule ─schedule─► scheduled
//!                                                             └──await───► awaiting_input ────schedule─► scheduled
//! ```

use crate::state::TaskState;

/// What can happen to a task instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Its dependencies are met, or its next call or try is due.
    Schedule,
    /// It was admitted: slots and a place are its own.
    Admit,
    /// An executor or the engine began to run it.
    Start,
    /// It did what it should.
    Succeed,
    /// It failed and isn't tried again.
    Fail,
    /// It failed and is tried again later.
    Retry,
    /// It asked to be called again, in the same try.
    Reschedule,
    /// It waits for something and holds nothing.
    Defer,
    /// It waits for people and holds nothing.
    Await,
    /// It gives its place back and waits for admission again, in the same try.
    Requeue,
    /// It is left out.
    Skip,
    /// Something upstream failed.
    Block,
    /// It was cleared.
    Clear,
    /// Its task or map index is gone.
    Remove,
    /// A person said that it succeeded.
    MarkSuccess,
    /// A person, or the end of its run, said that it failed.
    MarkFailed,
    /// A person, or the end of its run, said that it is left out.
    MarkSkipped,
}

impl Event {
    /// Every event.
    pub const ALL: &'static [Self] = &[
        Self::Schedule,
        Self::Admit,
        Self::Start,
        Self::Succeed,
        Self::Fail,
        Self::Retry,
        Self::Reschedule,
        Self::Defer,
        Self::Await,
        Self::Requeue,
        Self::Skip,
        Self::Block,
        Self::Clear,
        Self::Remove,
        Self::MarkSuccess,
        Self::MarkFailed,
        Self::MarkSkipped,
    ];
}

/// A pair that must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task instance in state {state} can't {event:?}")]
pub struct Refused {
    /// The state.
    pub state: TaskState,
    /// The event.
    pub event: Event,
}

/// The state after the event, or a refusal that names both.
#[expect(
    clippy::match_same_arms,
    clippy::unnested_or_patterns,
    reason = "events keep their own lines, so that one sees what each may do; a new state must be answered for all of them"
)]
pub const fn next(state: TaskState, event: Event) -> Result<TaskState, Refused> {
    use Event as E;
    use TaskState as S;
    let after = match (event, state) {
        (E::Schedule, S::None | S::UpForRetry | S::UpForReschedule | S::Deferred | S::AwaitingInput) => {
            S::Scheduled
        }
        (E::Admit, S::Scheduled) => S::Queued,
        (E::Start, S::Queued | S::Running) => S::Running,
        (E::Succeed, S::None | S::Running) => S::Success,
        (
            E::Fail,
            S::Queued | S::Running | S::Restarting | S::Deferred | S::AwaitingInput | S::UpForReschedule,
        ) => S::Failed,
        (
            E::Retry,
            S::Queued | S::Running | S::Restarting | S::Deferred | S::AwaitingInput | S::UpForReschedule,
        ) => S::UpForRetry,
        (E::Reschedule, S::Running) => S::UpForReschedule,
        (E::Defer, S::None | S::Running) => S::Deferred,
        (E::Await, S::Running) => S::AwaitingInput,
        (E::Requeue, S::Queued | S::Running) => S::Scheduled,
        (
            E::Skip,
            S::None | S::UpForRetry | S::Running | S::Deferred | S::AwaitingInput | S::UpForReschedule,
        ) => S::Skipped,
        (E::Block, S::None | S::UpForRetry | S::UpForReschedule) => S::UpstreamFailed,
        (E::Clear, S::Queued | S::Running | S::Restarting) => S::Restarting,
        (E::Clear, _) => S::None,
        (E::Remove, _) => S::Removed,
        (E::MarkSuccess, _) => S::Success,
        (E::MarkFailed, _) => S::Failed,
        (E::MarkSkipped, _) => S::Skipped,
        (E::Schedule, S::Scheduled | S::Queued | S::Running | S::Restarting)
        | (E::Schedule, S::Success | S::Failed | S::Skipped | S::UpstreamFailed | S::Removed)
        | (E::Admit, S::None | S::Queued | S::Running | S::Restarting | S::UpForRetry | S::UpForReschedule)
        | (
            E::Admit,
            S::Deferred
            | S::AwaitingInput
            | S::Success
            | S::Failed
            | S::Skipped
            | S::UpstreamFailed
            | S::Removed,
        )
        | (E::Start, S::None | S::Scheduled | S::Restarting | S::UpForRetry | S::UpForReschedule)
        | (
            E::Start,
            S::Deferred
            | S::AwaitingInput
            | S::Success
            | S::Failed
            | S::Skipped
            | S::UpstreamFailed
            | S::Removed,
        )
        | (E::Succeed, S::Scheduled | S::Queued | S::Restarting | S::UpForRetry | S::UpForReschedule)
        | (
            E::Succeed,
            S::Deferred
            | S::AwaitingInput
            | S::Success
            | S::Failed
            | S::Skipped
            | S::UpstreamFailed
            | S::Removed,
        )
        | (E::Fail | E::Retry, S::None | S::Scheduled | S::UpForRetry)
        | (E::Fail | E::Retry, S::Success | S::Failed | S::Skipped | S::UpstreamFailed | S::Removed)
        | (
            E::Reschedule,
            S::None | S::Scheduled | S::Queued | S::Restarting | S::UpForRetry | S::UpForReschedule,
        )
        | (
            E::Reschedule,
            S::Deferred
            | S::AwaitingInput
            | S::Success
            | S::Failed
            | S::Skipped
            | S::UpstreamFailed
            | S::Removed,
        )
        | (E::Defer, S::Scheduled | S::Queued | S::Restarting | S::UpForRetry | S::UpForReschedule)
        | (
            E::Defer,
            S::Deferred
            | S::AwaitingInput
            | S::Success
            | S::Failed
            | S::Skipped
            | S::UpstreamFailed
            | S::Removed,
        )
        | (
            E::Await,
            S::None | S::Scheduled | S::Queued | S::Restarting | S::UpForRetry | S::UpForReschedule,
        )
        | (
            E::Await,
            S::Deferred
            | S::AwaitingInput
            | S::Success
            | S::Failed
            | S::Skipped
            | S::UpstreamFailed
            | S::Removed,
        )
        | (E::Requeue, S::None | S::Scheduled | S::Restarting | S::UpForRetry | S::UpForReschedule)
        | (
            E::Requeue,
            S::Deferred
            | S::AwaitingInput
            | S::Success
            | S::Failed
            | S::Skipped
            | S::UpstreamFailed
            | S::Removed,
        )
        | (E::Skip, S::Scheduled | S::Queued | S::Restarting)
        | (E::Skip, S::Success | S::Failed | S::Skipped | S::UpstreamFailed | S::Removed)
        | (E::Block, S::Scheduled | S::Queued | S::Running | S::Restarting | S::Deferred)
        | (
            E::Block,
            S::AwaitingInput | S::Success | S::Failed | S::Skipped | S::UpstreamFailed | S::Removed,
        ) => {
            return Err(Refused { state, event });
        }
    };
    Ok(after)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn every_legal_pair() {
        let mut lines = String::new();
        for state in TaskState::ALL {
            let pairs: Vec<String> = Event::ALL
                .iter()
                .filter_map(|event| next(*state, *event).ok().map(|after| format!("{event:?} {after}")))
                .collect();
            writeln!(lines, "{state}: {}", pairs.join(", ")).unwrap();
        }
        insta::assert_snapshot!(lines, @r"
        none: Schedule scheduled, Succeed success, Defer deferred, Skip skipped, Block upstream_failed, Clear none, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        scheduled: Admit queued, Clear none, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        queued: Start running, Fail failed, Retry up_for_retry, Requeue scheduled, Clear restarting, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        running: Start running, Succeed success, Fail failed, Retry up_for_retry, Reschedule up_for_reschedule, Defer deferred, Await awaiting_input, Requeue scheduled, Skip skipped, Clear restarting, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        restarting: Fail failed, Retry up_for_retry, Clear restarting, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        up_for_retry: Schedule scheduled, Skip skipped, Block upstream_failed, Clear none, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        up_for_reschedule: Schedule scheduled, Fail failed, Retry up_for_retry, Skip skipped, Block upstream_failed, Clear none, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        deferred: Schedule scheduled, Fail failed, Retry up_for_retry, Skip skipped, Clear none, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        awaiting_input: Schedule scheduled, Fail failed, Retry up_for_retry, Skip skipped, Clear none, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        success: Clear none, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        failed: Clear none, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        skipped: Clear none, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        upstream_failed: Clear none, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        removed: Clear none, Remove removed, MarkSuccess success, MarkFailed failed, MarkSkipped skipped
        ");
    }

    #[test]
    fn nothing_starts_without_admission() {
        for state in TaskState::ALL {
            let may = matches!(state, TaskState::Queued | TaskState::Running);
            assert_eq!(next(*state, Event::Start).is_ok(), may, "{state}");
        }
    }
}
