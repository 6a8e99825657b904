//! A modelled worker: asks whether it may start what it is sent, runs members for a while, says so until it is confirmed.

use std::collections::{BTreeMap, btree_map::Entry};

use dags::ids::{DispatchId, WorkerId};
use engine::{
    dispatch::{Dispatch, News, Outcome, Report},
    fleet::{HeldThere, Stage},
};

use crate::{
    executor::{end, ended, random_end, started},
    fleet::{Beat, FleetEvent, Order},
    world::{Event, Outcomes, World},
};

/// The time between two heartbeats.
const HEARTBEAT: i64 = 2_000_000;
/// An end that isn't confirmed for this long is said again.
const AGAIN: i64 = 5_000_000;
/// How long a drained worker lets its attempts run.
const DRAIN_MAX: i64 = 30_000_000;
/// The number of a report about a member that never ran.
const NEVER_RAN: u32 = u32::MAX;

/// The answer to "may I start it?".
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Go,
    Taken,
    Gone,
    /// It isn't a worker any more.
    Refused,
}

#[derive(Debug, Default)]
pub(crate) struct Worker {
    pub(crate) held: BTreeMap<DispatchId, Held>,
    seen: (i64, u64),
    beats: u64,
    /// Nothing comes or goes through the broker.
    pub(crate) cut: bool,
    /// Until when what runs may go on.
    draining: Option<i64>,
}

/// A dispatch that it holds.
#[derive(Debug)]
pub(crate) struct Held {
    /// None if it was ended before it came.
    dispatch: Option<Dispatch>,
    /// It may start.
    claimed: bool,
    killed: bool,
    members: BTreeMap<u32, Member>,
}

#[derive(Debug, Default)]
struct Member {
    started: bool,
    end: Option<Report>,
    confirmed: bool,
    sent: i64,
}

impl Held {
    fn new(dispatch: Option<Dispatch>, members: u32) -> Self {
        let members = (0..members).map(|member| (member, Member::default())).collect();
        Self { dispatch, claimed: false, killed: false, members }
    }

    fn stage(&self) -> Stage {
        if self.members.values().all(|member| member.end.is_some()) {
            Stage::Ended
        } else if self.members.values().any(|member| member.started) {
            Stage::Started
        } else {
            Stage::Taken
        }
    }

    pub(crate) fn runs(&self) -> bool {
        self.members.values().any(|member| member.started && member.end.is_none())
    }
}

impl World {
    /// A worker says something through the broker.
    fn says(&mut self, worker: WorkerId, reports: Vec<Report>) {
        if reports.is_empty() || self.worker(worker, |worker| worker.cut) != Some(false) {
            return;
        }
        for delay in self.carried() {
            let reports = reports.clone();
            self.after(delay, Event::Fleet(FleetEvent::Said { worker, reports }));
        }
    }

    pub(crate) fn obey(&mut self, worker: WorkerId, mark: (i64, u64), orders: Vec<Order>) {
        let Some(known) = self.fleet.as_mut().and_then(|fleet| fleet.workers.get_mut(&worker)) else {
            return;
        };
        if known.cut || mark.0 < known.seen.0 {
            return;
        }
        let new_owner = mark.0 > known.seen.0;
        known.seen = known.seen.max(mark);
        for order in orders {
            match order {
                Order::Start(dispatch) => self.take(worker, *dispatch),
                Order::Kill { id, members } => self.kill_there(worker, id, members),
                Order::Confirm { id, member } => {
                    self.worker(worker, |worker| worker.confirmed(id, member)).unwrap_or(());
                }
                Order::Sync => self.beat(worker, false),
            }
        }
        if new_owner {
            self.repeat(worker, true);
            self.beat(worker, false);
        }
    }

    fn take(&mut self, worker: WorkerId, dispatch: Dispatch) {
        let (id, members) = (dispatch.id, dispatch.members);
        let fresh = self.worker(worker, |worker| match worker.held.entry(id) {
            Entry::Vacant(free) => {
                free.insert(Held::new(Some(dispatch), members));
                true
            }
            Entry::Occupied(_) => false,
        });
        if fresh == Some(true) {
            self.ask(worker, id);
        }
    }

    /// Asks the task API whether it may start a dispatch, until there is an answer.
    fn ask(&mut self, worker: WorkerId, id: DispatchId) {
        let delay = self.latency();
        self.after(delay, Event::Fleet(FleetEvent::Asked { worker, id }));
    }

    pub(crate) fn answered(&mut self, worker: WorkerId, id: DispatchId, answer: Answer) {
        if self.rng.mill(self.weather.network) {
            // The answer is lost, and it asks again.
            self.ask(worker, id);
            return;
        }
        let waits = |held: &Held| held.stage() == Stage::Taken && !held.claimed;
        let members = self.worker(worker, |worker| {
            let held = worker.held.get_mut(&id).filter(|held| waits(held))?;
            held.claimed = matches!(answer, Answer::Go);
            Some(held.members.len() as u32)
        });
        let Some(Some(members)) = members else { return };
        match answer {
            Answer::Go => {
                for member in 0..members {
                    let delay = self.latency();
                    self.after(delay, Event::Fleet(FleetEvent::Starts { worker, id, member }));
                }
            }
            Answer::Taken => self.never_run(worker, id),
            Answer::Gone => {
                self.worker(worker, |worker| worker.held.remove(&id));
            }
            Answer::Refused => {
                self.never_run(worker, id);
                self.drain(worker);
            }
        }
    }

    pub(crate) fn member_starts(&mut self, worker: WorkerId, id: DispatchId, member: u32) -> Outcomes {
        let starts = self.worker(worker, |worker| {
            let held = worker.held.get_mut(&id).filter(|held| !held.killed)?;
            let known = held.members.get_mut(&member).filter(|member| member.end.is_none())?;
            (!std::mem::replace(&mut known.started, true)).then_some(())
        });
        if starts.flatten().is_none() {
            return Ok(());
        }
        // Heartbeats say it as well.
        if !self.rng.mill(100) {
            self.says(worker, vec![started(id, member)]);
        }
        let delay = self.rng.micros(40);
        self.after(delay, Event::Fleet(FleetEvent::Ends { worker, id, member, outcome: None }));
        self.fleet.as_ref().map_or(Ok(()), crate::fleet::Fleet::one_at_a_time)
    }

    pub(crate) fn member_ends(
        &mut self,
        worker: WorkerId,
        id: DispatchId,
        member: u32,
        outcome: Option<Outcome>,
    ) -> Outcomes {
        let news = match outcome {
            Some(outcome) => end(&mut self.rng, outcome),
            None => random_end(&mut self.rng, self.calm),
        };
        let clock = self.clock;
        let report = ended(id, member, news.clone());
        let dispatch = self.worker(worker, |worker| {
            let held = worker.held.get_mut(&id)?;
            let known = held.members.get_mut(&member).filter(|member| member.end.is_none())?;
            known.end = Some(report.clone());
            known.sent = clock;
            held.dispatch.clone()
        });
        let Some(Some(dispatch)) = dispatch else { return Ok(()) };
        self.says(worker, vec![report]);
        self.fleet.as_mut().map_or(Ok(()), |fleet| fleet.ended(&dispatch, member, &news.outcome))
    }

    /// Members that haven't ended are ended without ever having run.
    fn never_run(&mut self, worker: WorkerId, id: DispatchId) {
        let (news, clock) = (end(&mut self.rng, Outcome::Killed), self.clock);
        let reports = self.worker(worker, |worker| {
            let mut reports = Vec::new();
            let open = worker.held.get_mut(&id).map(|held| held.members.iter_mut());
            for (number, member) in open.into_iter().flatten().filter(|(_, member)| member.end.is_none()) {
                let report = Report::new(id, *number, NEVER_RAN, News::Ended(news.clone()));
                (member.end, member.sent) = (Some(report.clone()), clock);
                reports.push(report);
            }
            reports
        });
        self.says(worker, reports.unwrap_or_default());
    }

    fn kill_there(&mut self, worker: WorkerId, id: DispatchId, members: u32) {
        let running = self.worker(worker, |worker| {
            let held = worker.held.entry(id).or_insert_with(|| Held::new(None, members));
            held.killed = true;
            let running = held.members.iter().filter(|(_, member)| member.started && member.end.is_none());
            running.map(|(member, _)| *member).collect::<Vec<_>>()
        });
        let Some(running) = running else { return };
        for member in running.iter().copied() {
            let delay = self.rng.micros(10);
            // Some end as they would have anyway, just then.
            let outcome = (!self.rng.mill(200)).then_some(Outcome::Killed);
            self.after(delay, Event::Fleet(FleetEvent::Ends { worker, id, member, outcome }));
        }
        if running.is_empty() {
            self.never_run(worker, id);
        } else {
            let waiting = self.worker(worker, |worker| {
                let held = worker.held.get(&id)?;
                let waiting =
                    held.members.iter().filter(|(_, member)| !member.started && member.end.is_none());
                Some(waiting.map(|(member, _)| *member).collect::<Vec<_>>())
            });
            for member in waiting.flatten().unwrap_or_default() {
                let outcome = Some(Outcome::Killed);
                self.after(0, Event::Fleet(FleetEvent::Ends { worker, id, member, outcome }));
            }
        }
    }

    /// Whatever runs there dies, and its worker says so.
    pub(crate) fn supervisor_dies(&mut self, worker: WorkerId) {
        self.tally.count("supervisors died", 1);
        self.note(|| format!("the supervisor of {worker} dies"));
        let running = self.worker(worker, |worker| {
            let members = worker.held.iter().flat_map(|(id, held)| {
                let running =
                    held.members.iter().filter(|(_, member)| member.started && member.end.is_none());
                running.map(|(member, _)| (*id, *member))
            });
            members.collect::<Vec<_>>()
        });
        for (id, member) in running.unwrap_or_default() {
            let outcome = Some(Outcome::Lost);
            self.after(0, Event::Fleet(FleetEvent::Ends { worker, id, member, outcome }));
        }
    }

    /// Takes nothing new from now on, and leaves.
    pub(crate) fn drain(&mut self, worker: WorkerId) {
        let until = self.clock + DRAIN_MAX;
        self.worker(worker, |worker| *worker.draining.get_or_insert(until));
    }

    pub(crate) fn beat_is_due(&mut self, worker: WorkerId) {
        let clock = self.clock;
        let over = self.worker(worker, |worker| {
            let over = worker.draining.is_some_and(|until| until <= clock);
            let left: Vec<_> = worker.held.iter().filter(|(_, held)| over && !held.killed).collect();
            let left =
                left.into_iter().map(|(id, held)| (*id, held.members.len() as u32)).collect::<Vec<_>>();
            (left, worker.draining.is_some() && worker.held.is_empty())
        });
        let Some((left, leaves)) = over else { return };
        for (id, members) in left {
            self.kill_there(worker, id, members);
        }
        self.repeat(worker, false);
        self.beat(worker, leaves);
        if leaves {
            self.note(|| format!("{worker} leaves"));
            self.fleet.as_mut().map(|fleet| fleet.workers.remove(&worker));
        } else {
            self.after(HEARTBEAT, Event::Fleet(FleetEvent::BeatDue { worker }));
        }
    }

    fn beat(&mut self, worker: WorkerId, leaving: bool) {
        let beat = self.worker(worker, |worker| {
            worker.beats += 1;
            let held = worker.held.iter().map(|(id, held)| HeldThere {
                id: *id,
                members: held.members.len() as u32,
                stage: held.stage(),
            });
            let beat = Beat {
                n: worker.beats,
                seen: worker.seen,
                held: held.collect(),
                draining: worker.draining.is_some(),
                leaving,
            };
            (!worker.cut).then_some(beat)
        });
        let Some(Some(beat)) = beat else { return };
        for delay in self.carried() {
            let beat = Box::new(beat.clone());
            self.after(delay, Event::Fleet(FleetEvent::Heard { worker, beat }));
        }
    }

    /// Says again what isn't confirmed: all of it to a new owner, else ends that have waited for long.
    fn repeat(&mut self, worker: WorkerId, all: bool) {
        let clock = self.clock;
        let reports = self.worker(worker, |worker| {
            let mut reports = Vec::new();
            for (id, held) in &mut worker.held {
                for (number, member) in held.members.iter_mut().filter(|(_, member)| !member.confirmed) {
                    if all && member.started {
                        reports.push(started(*id, *number));
                    }
                    if let Some(end) = member.end.clone().filter(|_| all || clock - member.sent >= AGAIN) {
                        member.sent = clock;
                        reports.push(end);
                    }
                }
            }
            reports
        });
        self.says(worker, reports.unwrap_or_default());
    }
}

impl Worker {
    fn confirmed(&mut self, id: DispatchId, member: u32) {
        let Some(held) = self.held.get_mut(&id) else { return };
        if let Some(member) = held.members.get_mut(&member).filter(|member| member.end.is_some()) {
            member.confirmed = true;
        }
        if held.members.values().all(|member| member.confirmed) {
            self.held.remove(&id);
        }
    }
}
