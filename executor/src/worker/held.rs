//! What a worker holds: every dispatch from the order that brought it to the confirmation of its end.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use dags::{ids::DispatchId, time::Span};
use engine::{
    dispatch::{End, News, Outcome, Report},
    execution::Ticket,
    fleet::{HeldThere, Stage},
};
use tokio_util::sync::CancellationToken;

use crate::fleet::wire::{self, Proved};

/// A report is sent again if it isn't confirmed for this long; each time the wait doubles up to the second value.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// The number of a report about a member that never ran.
const NEVER_RAN: u32 = u32::MAX;
/// Waits between two questions about a ticket whose answer was "later".
const LATER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// One dispatch.
#[derive(Debug)]
pub(super) struct Dispatched {
    pub(super) proof: String,
    /// What to ask about; none if it was ended before it came.
    pub(super) ticket: Option<Ticket>,
    /// How long to wait before it is asked about once more.
    later: Duration,
    /// Opens what belongs to the attempt; none before it was claimed.
    pub(super) token: Option<String>,
    /// Ends the start that is under way.
    pub(super) starting: Option<CancellationToken>,
    /// Whether members were handed to whoever runs them.
    pub(super) submitted: bool,
    /// Keeps its bundle from being removed.
    pub(super) bundle: Option<Arc<File>>,
    /// The owner wants it ended, for that reason.
    pub(super) killed: Option<(Span, String)>,
    pub(super) members: BTreeMap<u32, Member>,
}

/// One member.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) started: Option<Report>,
    pub(super) ended: Option<Report>,
    /// Whether its log and result are stored, so that its end may be told.
    pub(super) told: bool,
    pub(super) confirmed: bool,
    /// Where its log goes on, and whether a piece of it is under way.
    pub(super) log_next: u64,
    pub(super) logging: bool,
    /// The service takes nothing more of its log.
    pub(super) log_over: bool,
    sent: Option<(Instant, Duration)>,
    /// The newest copy of its report that is still on its way to the broker.
    copy: Weak<()>,
}

/// A report on its way to the broker. As long as it is, no other copy of it is made.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) proved: Proved,
    _copy: Arc<()>,
}

impl Told {
    /// Its length in a message.
    pub(super) fn bytes(&self) -> usize {
        wire::write(&self.proved).len()
    }
}

impl Dispatched {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self { proof: ticket.proof.clone(), ..Self::of(ticket.members, Some(ticket)) }
    }

    /// One that is ended before anything is known of it but its id.
    pub(super) fn never(proof: String, members: u32) -> Self {
        Self { proof, ..Self::of(members, None) }
    }

    fn of(members: u32, ticket: Option<Ticket>) -> Self {
        Self {
            proof: String::new(),
            ticket,
            later: LATER.0,
            token: None,
            starting: None,
            submitted: false,
            bundle: None,
            killed: None,
            members: (0..members.max(1)).map(|member| (member, Member::default())).collect(),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        if self.members.values().all(|member| member.ended.is_some()) {
            Stage::Ended
        } else if self.members.values().any(|member| member.started.is_some()) {
            Stage::Started
        } else {
            Stage::Taken
        }
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.members.values().all(|member| member.confirmed)
    }

    /// How long to wait before it is asked about again; longer each time.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.later;
        self.later = LATER.1.min(wait * 2);
        wait
    }

    /// All members from this one on that haven't ended end like this, without ever having run.
    pub(super) fn end_from(
        &mut self,
        first: u32,
        id: DispatchId,
        outcome: &Outcome,
        reason: &str,
    ) -> Vec<Told> {
        let mut reports = Vec::new();
        for (number, member) in self.members.range_mut(first..) {
            if member.ended.is_some() {
                continue;
            }
            let end = End {
                outcome: outcome.clone(),
                duration: Span::ZERO,
                exit_code: None,
                reason: Some(reason.to_owned()),
                result: None,
                mapped_length: None,
            };
            let report = Report::new(id, *number, NEVER_RAN, News::Ended(end));
            member.ended = Some(report.clone());
            member.told = true;
            reports.push(member.say(report, &self.proof));
        }
        reports
    }

    /// All members that haven't ended end like this, without ever having run.
    pub(super) fn end_all(&mut self, id: DispatchId, outcome: &Outcome, reason: &str) -> Vec<Told> {
        self.end_from(0, id, outcome, reason)
    }

    /// Reports that may be told and aren't confirmed: all of them, or those that have waited for long. What the broker hasn't
    /// taken yet isn't doubled: its wait begins when it has.
    pub(super) fn unconfirmed(&mut self, now: Instant, all: bool) -> Vec<Told> {
        let mut reports = Vec::new();
        for member in self.members.values_mut().filter(|member| !member.confirmed) {
            if member.copy.strong_count() > 0 {
                if member.told {
                    member.sent = Some((now, member.sent.map_or(AGAIN.0, |(_, wait)| wait)));
                }
                continue;
            }
            let due = member.sent.is_none_or(|(at, wait)| now.duration_since(at) >= wait);
            let ended = member.ended.clone().filter(|_| member.told);
            // The start alone is told again to a new owner only: heartbeats say the same.
            if !(all || due && ended.is_some()) {
                continue;
            }
            let copy = Arc::new(());
            member.copy = Arc::downgrade(&copy);
            let told = member.started.clone().into_iter().chain(ended);
            reports.extend(told.map(|report| Told {
                proved: Proved { report, proof: self.proof.clone() },
                _copy: copy.clone(),
            }));
            let wait = member.sent.map_or(AGAIN.0, |(_, wait)| AGAIN.1.min(wait * 2));
            member.sent = Some((now, wait));
        }
        reports
    }
}

impl Member {
    /// A report that is told now.
    pub(super) fn say(&mut self, report: Report, proof: &str) -> Told {
        let copy = Arc::new(());
        self.copy = Arc::downgrade(&copy);
        Told { proved: Proved { report, proof: proof.to_owned() }, _copy: copy }
    }

    /// The end is being told now.
    pub(super) fn tell(&mut self, now: Instant) {
        self.told = true;
        self.sent = Some((now, AGAIN.0));
    }
}

/// Everything, as a heartbeat lists it.
pub(super) fn list(held: &BTreeMap<DispatchId, Dispatched>) -> Vec<HeldThere> {
    held.iter()
        .map(|(id, dispatched)| HeldThere {
            id: *id,
            members: dispatched.members.len() as u32,
            stage: dispatched.stage(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use dags::ids::AttemptId;

    use super::*;
    use crate::clock;

    #[test]
    fn a_report_is_repeated_only_when_the_broker_has_taken_the_last_copy() {
        let attempt: AttemptId = "00000000-0000-8000-8000-000000000001".parse().unwrap();
        let id = DispatchId { attempt, n: 1 };
        let mut dispatched = Dispatched::never("proof".to_owned(), 1);
        let now = clock::monotonic();
        let waiting = dispatched.end_all(id, &Outcome::Killed, "gone");
        assert_eq!(waiting.len(), 1);
        let late = now + Duration::from_hours(1);
        assert!(dispatched.unconfirmed(late, false).is_empty(), "a copy waits for the broker");
        assert!(dispatched.unconfirmed(late, true).is_empty(), "a new owner will read that copy");
        drop(waiting);
        let first = dispatched.unconfirmed(late, true);
        assert_eq!(first.len(), 1);
        // The broker was away for long; the wait begins when it has the message.
        let later = late + Duration::from_hours(1);
        assert!(dispatched.unconfirmed(later, false).is_empty());
        drop(first);
        assert!(dispatched.unconfirmed(later + AGAIN.0, false).is_empty());
        assert_eq!(dispatched.unconfirmed(later + 2 * AGAIN.0, false).len(), 1);
    }
}
