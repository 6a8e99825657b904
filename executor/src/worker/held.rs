//! What a worker holds: every dispatch from the order that brought it to the confirmation of its end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dags::{ids::DispatchId, time::Span};
use engine::{
    dispatch::{End, News, Outcome, Report},
    execution::Ticket,
    fleet::{HeldThere, Stage},
};

use crate::fleet::wire::Proved;

/// A report is sent again if it isn't confirmed for this long; each time the wait doubles up to the second value.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));

/// The number of a report about a member that never ran.
const NEVER_RAN: u32 = u32::MAX;

/// One dispatch.
#[derive(Debug)]
pub(super) struct Dispatched {
    pub(super) proof: String,
    /// Opens what belongs to the attempt; none before it was claimed.
    pub(super) token: Option<String>,
    /// Whether it was handed to whoever runs it.
    pub(super) submitted: bool,
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
    sent: Option<(Instant, Duration)>,
}

impl Dispatched {
    pub(super) fn new(ticket: &Ticket) -> Self {
        Self {
            proof: ticket.proof.clone(),
            token: None,
            submitted: false,
            killed: None,
            members: (0..ticket.members.max(1)).map(|member| (member, Member::default())).collect(),
        }
    }

    /// One that is ended before anything is known of it but its id.
    pub(super) fn never(proof: String, members: u32) -> Self {
        let members = (0..members.max(1)).map(|member| (member, Member::default())).collect();
        Self { proof, token: None, submitted: false, killed: None, members }
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

    /// All members that haven't ended end like this, without ever having run.
    pub(super) fn end_all(&mut self, id: DispatchId, outcome: &Outcome, reason: &str) -> Vec<Proved> {
        let mut reports = Vec::new();
        for (number, member) in &mut self.members {
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
            reports.push(Proved { report, proof: self.proof.clone() });
        }
        reports
    }

    /// Reports that may be told and aren't confirmed: all of them, or those that have waited for long.
    pub(super) fn unconfirmed(&mut self, now: Instant, all: bool) -> Vec<Proved> {
        let mut reports = Vec::new();
        for member in self.members.values_mut().filter(|member| !member.confirmed) {
            let due = member.sent.is_none_or(|(at, wait)| now.duration_since(at) >= wait);
            let ended = member.ended.as_ref().filter(|_| member.told);
            // The start alone is told again to a new owner only: heartbeats say the same.
            if !(all || due && ended.is_some()) {
                continue;
            }
            let told = member.started.iter().chain(ended).cloned();
            reports.extend(told.map(|report| Proved { report, proof: self.proof.clone() }));
            let wait = member.sent.map_or(AGAIN.0, |(_, wait)| AGAIN.1.min(wait * 2));
            member.sent = Some((now, wait));
        }
        reports
    }
}

impl Member {
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
