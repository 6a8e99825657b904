//! A modelled fleet: what its owner knows of it, the broker, and the table of claims. The workers themselves are in `worker.rs`.
//!
//! Orders are numbered, lost, doubled and late; heartbeats are numbered and overtake each other. Whoever claims a dispatch first
//! keeps it, a worker or, once that is lost, the owner.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{AttemptId, DispatchId, ExecutorName, WorkerId},
    time::Timestamp,
};
use engine::{
    dispatch::{Dispatch, Kill, Outcome, Receipt, Report, Withdrawal, Withdrawn},
    driver::Input,
    fleet::{HeldThere, WorkerNews, WorkerSpec},
    state::TaskState,
};

use crate::{
    worker::{Answer, Worker},
    world::{Event, Outcomes, World},
};

/// The executor that has workers.
pub(crate) const FLEET: &str = "fleet";
/// Orders that a worker hasn't seen for this long were lost.
const UNSEEN_MAX: i64 = 5_000_000;
/// Shells look at the clock at least as often.
const LOOK: i64 = 2_500_000;

/// Who may start a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claimant {
    Worker(WorkerId),
    /// Nobody: it was withdrawn.
    Owner,
}

/// What a worker is told.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    Start(Box<Dispatch>),
    Kill { id: DispatchId, members: u32 },
    Confirm { id: DispatchId, member: u32 },
    Sync,
}

/// What a worker says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Beat {
    pub(crate) n: u64,
    /// The owner's epoch and the number of the newest message from it.
    pub(crate) seen: (i64, u64),
    pub(crate) held: Vec<HeldThere>,
    pub(crate) draining: bool,
    pub(crate) leaving: bool,
}

#[derive(Debug)]
pub(crate) enum FleetEvent {
    /// The shell looks at the clock.
    Look,
    /// An owner hears workers from now on.
    Hear {
        owner: u64,
    },
    /// The broker works again.
    BrokerUp,
    /// A further worker starts.
    Join {
        slots: u32,
    },
    /// A worker reaches the broker again.
    Uncut {
        worker: WorkerId,
    },
    Orders {
        worker: WorkerId,
        mark: (i64, u64),
        orders: Vec<Order>,
    },
    /// It is time for a worker's next heartbeat.
    BeatDue {
        worker: WorkerId,
    },
    Heard {
        worker: WorkerId,
        beat: Box<Beat>,
    },
    Said {
        worker: WorkerId,
        reports: Vec<Report>,
    },
    LookedUp {
        owner: u64,
        worker: WorkerId,
    },
    /// A worker's question whether it may start a dispatch arrives, and the answer to it.
    Asked {
        worker: WorkerId,
        id: DispatchId,
    },
    Answered {
        worker: WorkerId,
        id: DispatchId,
        answer: Answer,
    },
    Starts {
        worker: WorkerId,
        id: DispatchId,
        member: u32,
    },
    Ends {
        worker: WorkerId,
        id: DispatchId,
        member: u32,
        outcome: Option<Outcome>,
    },
    /// An owner's withdrawals arrive at the database.
    Withdraw {
        owner: u64,
        withdrawals: Vec<Withdrawal>,
    },
}

impl FleetEvent {
    /// Whether it happens all the time.
    pub(crate) fn is_routine(&self) -> bool {
        matches!(self, Self::Look | Self::BeatDue { .. } | Self::Heard { .. })
    }
}

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) name: ExecutorName,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    /// Workers that may be heard, also some that are dead.
    registered: BTreeMap<WorkerId, WorkerSpec>,
    claims: BTreeMap<DispatchId, Claimant>,
    /// Members that ended by themselves.
    ends: BTreeSet<(DispatchId, u32)>,
    /// Attempts of a single member that had their effect.
    effects: BTreeSet<AttemptId>,
    /// Whether the broker carries anything.
    pub(crate) broker: bool,
    born: u128,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self {
            name: ExecutorName::parse(FLEET).unwrap(),
            workers: BTreeMap::new(),
            registered: BTreeMap::new(),
            claims: BTreeMap::new(),
            ends: BTreeSet::new(),
            effects: BTreeSet::new(),
            broker: true,
            born: 0,
        }
    }

    /// A member came to its end by itself: that happens once, and of an attempt's effects there is one.
    pub(crate) fn ended(&mut self, dispatch: &Dispatch, member: u32, outcome: &Outcome) -> Outcomes {
        let id = dispatch.id;
        if !self.ends.insert((id, member)) {
            return Err(format!("member {member} of {id} ran twice"));
        }
        let effect = !matches!(outcome, Outcome::Killed | Outcome::NotStarted | Outcome::Reschedule { .. });
        // A gang that was killed in part runs again as a whole.
        if effect && dispatch.members == 1 && !self.effects.insert(id.attempt) {
            return Err(format!("attempt {} of `{}` had its effect twice", id.attempt, dispatch.task_id));
        }
        Ok(())
    }

    /// No attempt runs on two workers at a time.
    pub(crate) fn one_at_a_time(&self) -> Outcomes {
        let mut seen = BTreeMap::new();
        for (worker, at) in &self.workers {
            for (id, _) in at.held.iter().filter(|(_, held)| held.runs()) {
                if let Some(other) = seen.insert(id.attempt, (worker, id)) {
                    return Err(format!("{other:?} and {:?} run at once", (worker, id)));
                }
            }
        }
        Ok(())
    }
}

/// What an owner knows of its workers, beside its driver.
#[derive(Debug, Default)]
pub(crate) struct Link {
    hearing: bool,
    peers: BTreeMap<WorkerId, Peer>,
    /// Who reported a member last.
    origins: BTreeMap<(DispatchId, u32), WorkerId>,
    left: BTreeSet<WorkerId>,
}

#[derive(Debug, Default)]
struct Peer {
    n: u64,
    beat: u64,
    unseen: Vec<Unseen>,
}

#[derive(Debug)]
struct Unseen {
    n: u64,
    /// When the dispatches in it were let out.
    since: Option<Timestamp>,
    sent: i64,
}

impl World {
    pub(crate) fn is_fleet(&self, name: &ExecutorName) -> bool {
        self.fleet.as_ref().is_some_and(|fleet| fleet.name == *name)
    }

    pub(crate) fn fleet_event(&mut self, event: FleetEvent) -> Outcomes {
        match event {
            FleetEvent::Look => {
                self.after(LOOK, Event::Fleet(FleetEvent::Look));
                self.feed_current(Input::Tick)
            }
            FleetEvent::Hear { owner } => self.hear(owner),
            FleetEvent::BrokerUp => self.broker_is_up(),
            FleetEvent::Join { slots } => {
                self.join(slots);
                Ok(())
            }
            FleetEvent::Uncut { worker } => {
                self.worker(worker, |worker| worker.cut = false);
                Ok(())
            }
            FleetEvent::Orders { worker, mark, orders } => {
                self.obey(worker, mark, orders);
                Ok(())
            }
            FleetEvent::BeatDue { worker } => {
                self.beat_is_due(worker);
                Ok(())
            }
            FleetEvent::Heard { worker, beat } => self.heard(worker, *beat),
            FleetEvent::Said { worker, reports } => self.said(worker, reports),
            FleetEvent::LookedUp { owner, worker } => {
                let spec = self.fleet.as_ref().and_then(|fleet| fleet.registered.get(&worker)).cloned();
                spec.map_or(Ok(()), |spec| self.news(owner, WorkerNews::Joined(spec)))
            }
            FleetEvent::Asked { worker, id } => {
                self.asked(worker, id);
                Ok(())
            }
            FleetEvent::Answered { worker, id, answer } => {
                self.answered(worker, id, answer);
                Ok(())
            }
            FleetEvent::Starts { worker, id, member } => self.member_starts(worker, id, member),
            FleetEvent::Ends { worker, id, member, outcome } => self.member_ends(worker, id, member, outcome),
            FleetEvent::Withdraw { owner, withdrawals } => {
                self.withdraw(owner, &withdrawals);
                Ok(())
            }
        }
    }

    pub(crate) fn worker<T>(&mut self, worker: WorkerId, then: impl FnOnce(&mut Worker) -> T) -> Option<T> {
        self.fleet.as_mut()?.workers.get_mut(&worker).map(then)
    }

    fn news(&mut self, owner: u64, news: WorkerNews) -> Outcomes {
        let Some(fleet) = &self.fleet else { return Ok(()) };
        let name = fleet.name.clone();
        self.feed(owner, Input::Worker(name, news))
    }

    /// A driver that has just become the owner learns that it has workers, and hears them soon.
    pub(crate) fn introduce_fleet(&mut self, owner: u64) -> Outcomes {
        let Some(fleet) = &self.fleet else { return Ok(()) };
        let name = fleet.name.clone();
        self.news(owner, WorkerNews::Deaf)?;
        if self.current == Some(owner) {
            self.feed(owner, Input::Executor(name, Some(u32::MAX)))?;
        }
        let delay = self.latency();
        self.after(delay, Event::Fleet(FleetEvent::Hear { owner }));
        Ok(())
    }

    fn hear(&mut self, owner: u64) -> Outcomes {
        let up = self.fleet.as_ref().is_some_and(|fleet| fleet.broker);
        let Some(known) = self.owners.iter_mut().find(|known| known.id == owner) else { return Ok(()) };
        if !up || std::mem::replace(&mut known.link.hearing, true) {
            return Ok(());
        }
        self.news(owner, WorkerNews::Hearing)
    }

    /// Nothing is carried any more, and the current owner notices.
    fn broker_is_down(&mut self) -> Outcomes {
        self.tally.count("broker down", 1);
        if let Some(fleet) = &mut self.fleet {
            fleet.broker = false;
        }
        for owner in &mut self.owners {
            owner.link.hearing = false;
        }
        let delay = self.rng.micros(40);
        self.after(delay, Event::Fleet(FleetEvent::BrokerUp));
        self.current.map_or(Ok(()), |owner| self.news(owner, WorkerNews::Deaf))
    }

    fn broker_is_up(&mut self) -> Outcomes {
        if let Some(fleet) = &mut self.fleet {
            fleet.broker = true;
        }
        self.current.map_or(Ok(()), |owner| self.hear(owner))
    }

    fn join(&mut self, slots: u32) {
        let Some(fleet) = &mut self.fleet else { return };
        self.tally.count("workers joined", 1);
        fleet.born += 1;
        let worker = WorkerId(uuid::Uuid::from_u128(fleet.born));
        let spec = WorkerSpec {
            worker,
            slots,
            cpu_milli: 64_000,
            memory_bytes: 1 << 40,
            gpus: BTreeMap::new(),
            custom: BTreeMap::new(),
            queues: BTreeSet::new(),
            tenants: None,
        };
        fleet.registered.insert(worker, spec);
        fleet.workers.insert(worker, Worker::default());
        self.after(1, Event::Fleet(FleetEvent::BeatDue { worker }));
    }

    /// Whether a message gets through, how often and when.
    pub(crate) fn carried(&mut self) -> Vec<i64> {
        if self.fleet.as_ref().is_some_and(|fleet| !fleet.broker) || self.rng.mill(self.weather.network) {
            self.tally.count("message lost", 1);
            return Vec::new();
        }
        let times = if self.rng.mill(self.weather.network) { 2 } else { 1 };
        (0..times).map(|_| self.latency()).collect()
    }

    /// Sends orders to a worker, as one message.
    fn order(&mut self, owner: u64, worker: WorkerId, orders: Vec<Order>) {
        let sent = self.clock;
        let Some(known) = self.owners.iter_mut().find(|known| known.id == owner) else { return };
        let starts = orders.iter().any(|order| matches!(order, Order::Start(_)));
        let since = starts.then(|| known.driver.engine().now());
        let peer = known.link.peers.entry(worker).or_default();
        peer.n += 1;
        peer.unseen.push(Unseen { n: peer.n, since, sent });
        let mark = (known.epoch, peer.n);
        for delay in self.carried() {
            let orders = orders.clone();
            self.after(delay, Event::Fleet(FleetEvent::Orders { worker, mark, orders }));
        }
    }

    /// Hands dispatches over to the workers that the engine chose.
    pub(crate) fn order_starts(&mut self, owner: u64, dispatches: Vec<Dispatch>) -> Outcomes {
        let mut orders: BTreeMap<WorkerId, Vec<Order>> = BTreeMap::new();
        for dispatch in dispatches {
            let Some(worker) = dispatch.worker else {
                return Err(format!("{} is let out to no worker", dispatch.id));
            };
            if dispatch.members > 1 {
                self.tally.count("gangs on workers", 1);
            }
            orders.entry(worker).or_default().push(Order::Start(Box::new(dispatch)));
        }
        for (worker, orders) in orders {
            self.order(owner, worker, orders);
        }
        Ok(())
    }

    pub(crate) fn order_kill(&mut self, owner: u64, kill: &Kill) {
        let Some(known) = self.owners.iter().find(|known| known.id == owner) else { return };
        let members = (kill.id, 0)..=(kill.id, u32::MAX);
        let origin = || known.link.origins.range(members).next().map(|(_, worker)| *worker);
        if let Some(worker) = kill.worker.or_else(origin) {
            self.order(owner, worker, vec![Order::Kill { id: kill.id, members: kill.members }]);
        }
    }

    pub(crate) fn order_confirm(&mut self, owner: u64, receipt: &Receipt) {
        let Receipt { dispatch: id, member, .. } = *receipt;
        let Some(known) = self.owners.iter_mut().find(|known| known.id == owner) else { return };
        if let Some(worker) = known.link.origins.remove(&(id, member)) {
            self.order(owner, worker, vec![Order::Confirm { id, member }]);
        }
    }

    /// Workers are lost or said goodbye.
    pub(crate) fn forget_workers(&mut self, owner: u64, gone: &[(ExecutorName, WorkerId)]) {
        self.tally.count("workers gone", gone.len() as u64);
        let Some(known) = self.owners.iter_mut().find(|known| known.id == owner) else { return };
        for (_, worker) in gone {
            if let Some(peer) = known.link.peers.get_mut(worker) {
                peer.unseen.clear();
            }
            known.link.origins.retain(|_, from| from != worker);
        }
    }

    fn said(&mut self, worker: WorkerId, reports: Vec<Report>) -> Outcomes {
        let current = self.current;
        let Some(known) = self.owners.iter_mut().find(|known| Some(known.id) == current) else {
            return Ok(());
        };
        if !known.link.hearing {
            return Ok(());
        }
        for report in &reports {
            known.link.origins.insert((report.dispatch, report.member), worker);
        }
        self.feed_current(Input::Reports(reports))
    }

    fn heard(&mut self, worker: WorkerId, beat: Beat) -> Outcomes {
        let (current, clock) = (self.current, self.clock);
        let Some(known) = self.owners.iter_mut().find(|known| Some(known.id) == current) else {
            return Ok(());
        };
        let (owner, epoch, now) = (known.id, known.epoch, known.driver.engine().now());
        if !known.link.hearing || known.link.left.contains(&worker) {
            return Ok(());
        }
        let peer = known.link.peers.entry(worker).or_default();
        if beat.n <= peer.beat {
            return Ok(());
        }
        peer.beat = beat.n;
        let (as_of, sync) = if beat.seen.0 == epoch {
            peer.unseen.retain(|unseen| unseen.n > beat.seen.1);
            let lost = peer.unseen.first().is_some_and(|unseen| clock - unseen.sent > UNSEEN_MAX);
            (peer.unseen.iter().filter_map(|unseen| unseen.since).min().unwrap_or(now), lost)
        } else {
            (Timestamp::MIN, true)
        };
        if beat.leaving {
            known.link.left.insert(worker);
            known.link.peers.remove(&worker);
            return self.news(owner, WorkerNews::Left(worker));
        }
        let name = &self.fleet.as_ref().expect("somebody was heard").name;
        let is_known = known.driver.engine().knows_worker(name, worker);
        if sync {
            self.order(owner, worker, vec![Order::Sync]);
        }
        if is_known {
            let Beat { held, draining, .. } = beat;
            return self.news(owner, WorkerNews::Heard { worker, held, as_of, draining });
        }
        let delay = self.soon();
        self.after(delay, Event::Fleet(FleetEvent::LookedUp { owner, worker }));
        Ok(())
    }

    /// A worker asks whether it may start a dispatch.
    fn asked(&mut self, worker: WorkerId, id: DispatchId) {
        let row = self.sent.get(&id).and_then(|dispatch| {
            let key = (dispatch.run, dispatch.task_id.clone(), dispatch.map_index);
            let row = self.store.tasks.get(&key)?;
            let current = row.attempt() == id.attempt
                && row.dispatch_n == id.n
                && matches!(row.state, TaskState::Queued | TaskState::Running);
            current.then_some(row.worker)
        });
        let Some(fleet) = &mut self.fleet else { return };
        let answer = match row {
            _ if !fleet.registered.contains_key(&worker) => Answer::Refused,
            None => Answer::Gone,
            Some(place) => {
                let first = *fleet.claims.entry(id).or_insert(Claimant::Worker(worker));
                match first {
                    Claimant::Worker(first) if first == worker && place == Some(worker) => Answer::Go,
                    Claimant::Worker(first) if first == worker => Answer::Gone,
                    Claimant::Worker(_) | Claimant::Owner => Answer::Taken,
                }
            }
        };
        self.note(|| format!("    {answer:?}"));
        let delay = self.latency();
        self.after(delay, Event::Fleet(FleetEvent::Answered { worker, id, answer }));
    }

    /// The owner claims what lost workers were sent, unless they have.
    fn withdraw(&mut self, owner: u64, withdrawals: &[Withdrawal]) {
        let alive = self.owners.iter().any(|known| known.id == owner);
        if !alive && self.rng.mill(500) {
            return;
        }
        let Some(fleet) = &mut self.fleet else { return };
        let mut outcomes = Vec::new();
        for withdrawal in withdrawals {
            let id = withdrawal.id;
            let key = (withdrawal.run, withdrawal.task_id.clone(), withdrawal.map_index);
            let current = self.store.tasks.get(&key).is_some_and(|row| {
                row.attempt() == id.attempt
                    && row.dispatch_n == id.n
                    && matches!(row.state, TaskState::Queued | TaskState::Running)
            });
            let ours = current && *fleet.claims.entry(id).or_insert(Claimant::Owner) == Claimant::Owner;
            outcomes.push((id, if ours { Withdrawn::Unclaimed } else { Withdrawn::Claimed }));
        }
        let claimed = outcomes.iter().filter(|(_, outcome)| *outcome == Withdrawn::Claimed).count();
        self.tally.count("withdrawn", (outcomes.len() - claimed) as u64);
        self.tally.count("claimed before", claimed as u64);
        let delay = self.latency();
        self.after(delay, Event::Input { owner, input: Box::new(Input::Withdrawn(outcomes)) });
    }

    /// Something goes wrong with the fleet.
    pub(crate) fn fleet_fault(&mut self) -> Outcomes {
        let Some(fleet) = &self.fleet else { return Ok(()) };
        let workers: Vec<WorkerId> = fleet.workers.keys().copied().collect();
        let Some(worker) = self.rng.any(&workers).copied() else { return Ok(()) };
        let slots = self.rng.within(1, 8) as u32;
        match self.rng.below(8) {
            0 => {
                self.tally.count("workers died", 1);
                self.note(|| format!("{worker} dies"));
                self.fleet.as_mut().map(|fleet| fleet.workers.remove(&worker));
                let delay = self.rng.micros(40);
                self.after(delay, Event::Fleet(FleetEvent::Join { slots }));
            }
            1..=3 => {
                // It can't be heard, and may well reach the task API.
                self.tally.count("workers cut off", 1);
                self.note(|| format!("{worker} is cut off from the broker"));
                self.worker(worker, |worker| worker.cut = true);
                let delay = self.rng.within(1_000_000, 60_000_000);
                self.after(delay, Event::Fleet(FleetEvent::Uncut { worker }));
            }
            4 => return self.broker_is_down(),
            5 => {
                self.tally.count("workers drained", 1);
                self.note(|| format!("{worker} is drained"));
                self.drain(worker);
                self.after(0, Event::Fleet(FleetEvent::Join { slots }));
            }
            6 => {
                // Its credential is taken back, whatever it does at present.
                self.tally.count("workers revoked", 1);
                self.note(|| format!("{worker} may be no worker any more"));
                if let Some(fleet) = &mut self.fleet {
                    fleet.registered.remove(&worker);
                }
                self.after(0, Event::Fleet(FleetEvent::Join { slots }));
                if let Some(owner) = self.current {
                    return self.news(owner, WorkerNews::Left(worker));
                }
            }
            _ => self.supervisor_dies(worker),
        }
        Ok(())
    }

    /// All workers can be heard, and there is one for everything.
    pub(crate) fn calm_fleet(&mut self) -> Outcomes {
        let Some(fleet) = &mut self.fleet else { return Ok(()) };
        fleet.workers.values_mut().for_each(|worker| worker.cut = false);
        self.join(8);
        self.broker_is_up()
    }
}
