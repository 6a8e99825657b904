//! A modelled executor: takes a dispatch once, runs its members for a while, reports until it is confirmed.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{DispatchId, ExecutorName},
    time::Span,
};
use engine::dispatch::{Dispatch, End, News, Outcome, Report};

use crate::rng::Rng;

/// One member of a dispatch.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) ended: bool,
    /// Reports that aren't confirmed yet.
    pub(crate) unconfirmed: Vec<Report>,
}

/// A dispatch that the executor holds.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) dispatch: Dispatch,
    pub(crate) members: Vec<Member>,
    /// Tells a job from an earlier one of the same dispatch, which the executor has forgotten.
    pub(crate) serial: u64,
    /// It came from a driver that was no longer the owner: its successor may have given it up already, and finds and ends
    /// it when it looks around.
    pub(crate) late: bool,
}

impl Job {
    pub(crate) fn is_live(&self) -> bool {
        self.members.iter().any(|member| !member.ended)
    }
}

#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) name: ExecutorName,
    pub(crate) slots: u32,
    pub(crate) up: bool,
    pub(crate) jobs: BTreeMap<DispatchId, Job>,
    /// Hand-overs that wait until it is up again, and whose shell they come from.
    pub(crate) waiting: Vec<(u64, Dispatch)>,
}

/// What all executors have claimed, ever: a dispatch starts once.
pub(crate) type Claims = BTreeSet<DispatchId>;

/// How an attempt of a task ends, at random.
pub(crate) fn random_end(rng: &mut Rng, calm: bool) -> End {
    let outcome = match rng.below(if calm { 30 } else { 24 }) {
        0 | 1 => Outcome::Failed,
        2 => Outcome::FailedForGood,
        3 => Outcome::TimedOut,
        4 => Outcome::Skipped,
        5 => Outcome::Reschedule { after: Span(rng.micros(30)) },
        6 => Outcome::NotStarted,
        7 => Outcome::Lost,
        8 if !calm => Outcome::Killed,
        _ => Outcome::Success,
    };
    end(rng, outcome)
}

pub(crate) fn end(rng: &mut Rng, outcome: Outcome) -> End {
    let success = outcome == Outcome::Success;
    End {
        reason: (!success).then(|| "so it happened".to_owned()),
        exit_code: success.then_some(0),
        duration: Span(1),
        result: success.then(|| engine::dispatch::ResultRef::Inline(serde_json::json!(1))),
        mapped_length: (success && !rng.mill(30))
            .then(|| if rng.mill(20) { 3_000 } else { rng.below(5) as u32 }),
        outcome,
    }
}

/// The report that a member started.
pub(crate) fn started(id: DispatchId, member: u32) -> Report {
    let news = News::Started { host: "h".to_owned(), pid: None };
    Report { dispatch: id, member, seq: 1, news }
}

/// The report that a member ended.
pub(crate) fn ended(id: DispatchId, member: u32, end: End) -> Report {
    Report { dispatch: id, member, seq: 2, news: News::Ended(end) }
}
