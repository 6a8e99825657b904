//! A modelled executor: takes a dispatch once, runs its members for a while, reports until it is confirmed.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use dags::{
    ids::{DispatchId, ExecutorName},
    time::{Span, Timestamp},
};
use engine::dispatch::{Dispatch, End, Held, Kill, News, Outcome, Receipt, Report};

use crate::{
    rng::Rng,
    world::{Event, World},
};

/// One member of a dispatch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Member {
    pub(crate) ended: bool,
    /// It was ended before it came, so it never ran.
    pub(crate) never_ran: bool,
    /// Reports that aren't confirmed yet.
    pub(crate) unconfirmed: Vec<Report>,
}

/// A dispatch that the executor holds.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) dispatch: Dispatch,
    /// Those that have come.
    pub(crate) members: BTreeMap<u32, Member>,
    /// It was killed: who comes late doesn't start.
    pub(crate) killed: bool,
    /// Tells a job from an earlier one of the same dispatch, which the executor has forgotten.
    pub(crate) serial: u64,
    /// It came from a driver that was no longer the owner: its successor may have given it up already, and finds and ends
    /// it when it looks around.
    pub(crate) late: bool,
}

impl Job {
    pub(crate) fn is_live(&self) -> bool {
        self.members.values().any(|member| !member.ended)
    }

    pub(crate) fn held(&self, id: DispatchId) -> Vec<Held> {
        let held = |(member, known): (&u32, &Member)| Held {
            id,
            member: *member,
            since: Timestamp(0),
            ended: known.ended,
        };
        self.members.iter().map(held).collect()
    }
}

#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) name: ExecutorName,
    pub(crate) slots: u32,
    pub(crate) up: bool,
    /// Grows when it loses its memory.
    pub(crate) life: u64,
    pub(crate) jobs: BTreeMap<DispatchId, Job>,
    /// Hand-overs that wait until it is up again, and whose shell they come from.
    pub(crate) waiting: Vec<(u64, Dispatch, u32)>,
}

impl Executor {
    /// A report is durable: it is forgotten, and with the last one its member.
    pub(crate) fn confirmed(&mut self, receipt: &Receipt) {
        let Some(job) = self.jobs.get_mut(&receipt.dispatch) else { return };
        if let Some(member) = job.members.get_mut(&receipt.member) {
            // A gang's member keeps its end, and says it to a new owner, until that is confirmed as one.
            let kept = |report: &Report| matches!(report.news, News::Ended(_)) && !receipt.ended;
            member.unconfirmed.retain(|report| !receipt.ended && (report.seq != receipt.seq || kept(report)));
            if member.ended && member.unconfirmed.is_empty() {
                job.members.remove(&receipt.member);
            }
        }
        if job.members.is_empty() {
            self.jobs.remove(&receipt.dispatch);
        }
    }
}

/// What all executors have claimed, ever: a member of a dispatch starts once.
pub(crate) type Claims = BTreeSet<(DispatchId, u32)>;

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
    Report::new(id, member, 1, news)
}

/// The report that a member ended.
pub(crate) fn ended(id: DispatchId, member: u32, end: End) -> Report {
    Report::new(id, member, 2, News::Ended(end))
}

impl World {
    /// Sends what isn't confirmed, and again later.
    pub(crate) fn send(&mut self, executor: usize, id: DispatchId, serial: u64) {
        if !self.executors[executor].up {
            self.after(1_000_000, Event::Send { executor, id, serial });
            return;
        }
        let Some(job) = self.job(executor, id, serial) else { return };
        let of = |member: &Member| (member.unconfirmed.clone(), member.never_ran);
        let reports: Vec<(Report, bool)> = job
            .members
            .values()
            .map(of)
            .flat_map(|(reports, never_ran)| reports.into_iter().map(move |report| (report, never_ran)))
            .collect();
        let life = self.executors[executor].life;
        if reports.is_empty() {
            return;
        }
        for (report, never_ran) in reports {
            let lost = self.rng.mill(self.weather.network);
            let times = if self.rng.mill(self.weather.network) { 2 } else { 1 };
            if lost {
                self.tally.count("report lost", 1);
                continue;
            }
            if times == 2 {
                self.tally.count("report doubled", 1);
            }
            for _ in 0..times {
                let delay = self.latency();
                let of = never_ran.then_some((executor, life));
                self.after(delay, Event::Report { report: Box::new(report.clone()), of });
            }
        }
        let delay = self.rng.within(2_000_000, 6_000_000);
        self.after(delay, Event::Send { executor, id, serial });
    }

    pub(crate) fn kill(&mut self, kill: &Kill) {
        let Some(executor) = self.executors.iter().position(|known| known.name == kill.executor) else {
            return;
        };
        if !self.executors[executor].up {
            return;
        }
        // What it has never seen it remembers, so that it doesn't start when it comes.
        let Some(dispatch) = self.sent.get(&kill.id).cloned() else { return };
        self.serial += 1;
        let fresh = self.serial;
        let job = self.executors[executor].jobs.entry(kill.id).or_insert_with(|| Job {
            dispatch,
            members: BTreeMap::new(),
            killed: true,
            serial: fresh,
            late: false,
        });
        let serial = job.serial;
        job.killed = true;
        for member in 0..kill.members {
            let Some(job) = self.executors[executor].jobs.get_mut(&kill.id) else { return };
            if let Entry::Vacant(free) = job.members.entry(member) {
                // It never came, and must not start when it does.
                free.insert(Member { never_ran: true, ..Member::default() });
                self.end(executor, kill.id, serial, member, Some(Outcome::Killed));
                continue;
            }
            let delay = self.rng.micros(10);
            // Some end as they would have anyway, just then.
            let outcome = (!self.rng.mill(200)).then_some(Outcome::Killed);
            self.after(delay, Event::End { executor, id: kill.id, serial, member, outcome });
        }
    }
}
