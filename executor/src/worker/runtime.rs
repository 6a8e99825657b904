//! The worker's loop: one task that owns all that the worker holds.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use dags::{
    ids::{DispatchId, ExecutorName, WorkerId},
    time::Span,
};
use engine::{
    dispatch::{Kill, News, Outcome, Report},
    execution::{Answer, Ticket},
    fleet::Stage,
};
use plugins::context::AttemptContext;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Options,
    held::{Dispatched, list},
    jobs::{Done, Jobs},
    link::Out,
    runner::Runner,
    watch::Watch,
};
use crate::{
    clock,
    fleet::wire::{Beat, Down, Mark, Order, Proved},
};

/// The time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How often running members' logs are looked at.
const LOOK_AT_LOGS: Duration = Duration::from_secs(1);
/// Tickets that are asked about at once, and how many such requests are under way.
const TICKETS_AT_ONCE: usize = 64;
const ASKS_AT_ONCE: usize = 4;
/// Reports of one message.
const REPORTS_AT_ONCE: usize = 500;
/// The grace of what is given back when a drain has taken too long.
const DRAIN_GRACE: Span = Span::seconds(10);
/// How long the end of what was given back may take to be confirmed.
const LAST_WORDS_MAX: Duration = Duration::from_secs(30);

/// What a worker does all the time.
pub(super) struct Runtime {
    jobs: Jobs,
    outgoing: mpsc::Sender<Out>,
    drain_max: Duration,
    held: BTreeMap<DispatchId, Dispatched>,
    /// The newest orders that are known.
    seen: Mark,
    /// Heartbeats so far.
    beats: u64,
    to_ask: VecDeque<Ticket>,
    asking: usize,
    tasks: JoinSet<Done>,
    outbox: VecDeque<Out>,
    /// Reports that go with the next message.
    reports: Vec<Proved>,
    draining: bool,
    leaving: bool,
    gave_back: bool,
    watch: Watch,
}

enum Turn {
    Stop,
    Orders(Down),
    Report(Report),
    Done(Done),
    Room,
    Beat,
    Logs,
    Drain,
    DrainOver,
}

impl Runtime {
    pub(super) fn new(
        options: &Options,
        worker: WorkerId,
        runner: Runner,
        outgoing: mpsc::Sender<Out>,
    ) -> Self {
        let jobs = Jobs {
            worker,
            api: options.api.clone(),
            runner,
            bundles: options.data.join("bundles"),
            results: options.data.join("run").join(worker.to_string()).join("objects"),
            fetching: Arc::default(),
        };
        Self {
            jobs,
            outgoing,
            drain_max: options.drain_max,
            held: BTreeMap::new(),
            seen: Mark::default(),
            beats: 0,
            to_ask: VecDeque::new(),
            asking: 0,
            tasks: JoinSet::new(),
            outbox: VecDeque::new(),
            reports: Vec::new(),
            draining: false,
            leaving: false,
            gave_back: false,
            watch: options.watch.clone(),
        }
    }

    /// Works until everything has ended after `drain`, or until `cancel`.
    pub(super) async fn work(
        mut self,
        mut orders: mpsc::Receiver<Down>,
        mut reports: mpsc::Receiver<Report>,
        drain: CancellationToken,
        cancel: CancellationToken,
    ) {
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut logs = tokio::time::interval(LOOK_AT_LOGS);
        logs.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut drain_over = None;
        loop {
            self.ask();
            self.pack();
            if self.is_over() {
                return;
            }
            let give_back = drain_over;
            let turn = tokio::select! {
                () = cancel.cancelled() => Turn::Stop,
                down = orders.recv() => down.map_or(Turn::Stop, Turn::Orders),
                report = reports.recv() => report.map_or(Turn::Stop, Turn::Report),
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => match done {
                    Ok(done) => Turn::Done(done),
                    Err(error) => {
                        tracing::error!(%error, "a job of the worker broke off");
                        Turn::Done(Done::Nothing)
                    }
                },
                room = self.outgoing.reserve(), if !self.outbox.is_empty() => match room {
                    Ok(room) => {
                        if let Some(out) = self.outbox.pop_front() {
                            room.send(out);
                        }
                        Turn::Room
                    }
                    Err(_) => Turn::Stop,
                },
                _ = beat.tick() => Turn::Beat,
                _ = logs.tick() => Turn::Logs,
                () = drain.cancelled(), if !self.draining => Turn::Drain,
                () = until(give_back), if give_back.is_some() => Turn::DrainOver,
            };
            match turn {
                Turn::Stop => return,
                Turn::Orders(down) => self.obey(down),
                Turn::Report(report) => {
                    self.report(report);
                    while self.reports.len() < REPORTS_AT_ONCE
                        && let Ok(report) = reports.try_recv()
                    {
                        self.report(report);
                    }
                }
                Turn::Done(done) => self.done(done),
                Turn::Room => {}
                Turn::Beat => {
                    self.repeat(false);
                    self.beat();
                }
                Turn::Logs => self.look_at_logs(),
                Turn::Drain => {
                    tracing::info!(held = self.held.len(), "draining: nothing new is taken");
                    self.draining = true;
                    drain_over = Some(clock::monotonic() + self.drain_max);
                    self.beat();
                }
                Turn::DrainOver if self.gave_back => {
                    tracing::warn!("nobody confirms what has ended: the worker leaves all the same");
                    return;
                }
                Turn::DrainOver => {
                    drain_over = Some(clock::monotonic() + LAST_WORDS_MAX);
                    self.give_back();
                }
            }
        }
    }

    /// Asks about the next tickets, if there are any.
    fn ask(&mut self) {
        while self.asking < ASKS_AT_ONCE && !self.to_ask.is_empty() {
            let n = self.to_ask.len().min(TICKETS_AT_ONCE);
            let tickets: Vec<Ticket> = self.to_ask.drain(..n).collect();
            self.asking += 1;
            self.tasks.spawn(self.jobs.clone().ask(tickets));
        }
    }

    /// Puts reports that have come together into one message.
    fn pack(&mut self) {
        if !self.reports.is_empty() {
            let reports = std::mem::take(&mut self.reports);
            for part in reports.chunks(REPORTS_AT_ONCE) {
                self.outbox.push_back(Out::Reports(part.to_vec()));
            }
        }
    }

    /// Whether a drained worker has said its last word.
    fn is_over(&mut self) -> bool {
        if self.draining && self.held.is_empty() && self.tasks.is_empty() && !self.leaving {
            self.leaving = true;
            self.beat();
        }
        // The channel holds what the link hasn't taken.
        self.leaving && self.outbox.is_empty() && self.outgoing.capacity() == self.outgoing.max_capacity()
    }

    fn beat(&mut self) {
        self.pack();
        // A newer one says more than one that waits.
        self.outbox.retain(|out| !matches!(out, Out::Beat(_)));
        let (draining, leaving) = (self.draining, self.leaving);
        self.beats += 1;
        let (n, seen, held) = (self.beats, self.seen, list(&self.held));
        let of = |stage| held.iter().filter(|held| held.stage == stage).count();
        self.watch.say(|glance| {
            glance.draining = draining;
            (glance.taken, glance.started, glance.ended) =
                (of(Stage::Taken), of(Stage::Started), of(Stage::Ended));
        });
        self.outbox.push_back(Out::Beat(Beat { n, seen, held, draining, leaving }));
    }

    fn obey(&mut self, Down { mark, orders, .. }: Down) {
        if mark.epoch < self.seen.epoch {
            // Of an owner that has a successor.
            return;
        }
        let new_owner = mark.epoch > self.seen.epoch;
        self.seen = self.seen.max(mark);
        let mut sync = false;
        for order in orders {
            match order {
                Order::Start(ticket) => self.start(ticket),
                Order::Kill { dispatch, members, grace, reason, proof } => {
                    self.kill(dispatch, members, grace, reason, proof);
                }
                Order::Confirm { dispatch, member } => self.confirm(dispatch, member),
                Order::Sync => sync = true,
            }
        }
        if new_owner {
            self.repeat(true);
        }
        if new_owner || sync {
            self.beat();
        }
    }

    fn start(&mut self, ticket: Ticket) {
        if let std::collections::btree_map::Entry::Vacant(free) = self.held.entry(ticket.dispatch) {
            free.insert(Dispatched::new(&ticket));
            self.to_ask.push_back(ticket);
        }
    }

    fn kill(&mut self, id: DispatchId, members: u32, grace: Span, reason: String, proof: String) {
        let dispatched = self.held.entry(id).or_insert_with(|| Dispatched::never(proof, members));
        if dispatched.stage() == Stage::Ended {
            return;
        }
        dispatched.killed = Some((grace, reason.clone()));
        if dispatched.submitted {
            let members = dispatched.members.len() as u32;
            self.end_submitted(id, members, grace, reason);
        } else if dispatched.token.is_none() {
            // It is still to be claimed, or never came: it will never start.
            self.to_ask.retain(|ticket| ticket.dispatch != id);
            let reports = dispatched.end_all(id, &Outcome::Killed, &reason);
            self.reports.extend(reports);
        }
    }

    fn end_submitted(&mut self, id: DispatchId, members: u32, grace: Span, reason: String) {
        let executor: Result<ExecutorName, _> = "local".parse();
        if let Ok(executor) = executor {
            let kill = Kill { id, members, executor, worker: None, grace, reason };
            self.tasks.spawn(self.jobs.clone().kill(kill));
        }
    }

    fn confirm(&mut self, id: DispatchId, member: u32) {
        let Some(dispatched) = self.held.get_mut(&id) else { return };
        let submitted = dispatched.submitted;
        if let Some(member) = dispatched.members.get_mut(&member).filter(|member| member.told) {
            member.confirmed = true;
        }
        let over = dispatched.is_confirmed();
        if submitted {
            self.tasks.spawn(self.jobs.clone().forget(id, member));
        }
        if over {
            self.held.remove(&id);
        }
    }

    fn report(&mut self, report: Report) {
        let (id, number) = (report.dispatch, report.member);
        let Some(dispatched) = self.held.get_mut(&id) else {
            // Confirmed before its supervisor was told, or given up: the supervisor may forget it.
            if matches!(report.news, News::Ended(_)) {
                self.tasks.spawn(self.jobs.clone().forget(id, number));
            }
            return;
        };
        let proof = dispatched.proof.clone();
        let token = dispatched.token.clone();
        let Some(member) = dispatched.members.get_mut(&number) else { return };
        match &report.news {
            News::Started { .. } => {
                if member.started.is_none() {
                    member.started = Some(report.clone());
                    self.reports.push(Proved { report, proof });
                }
            }
            News::Ended(_) => {
                if member.ended.is_none() {
                    member.ended = Some(report.clone());
                    if !member.logging {
                        member.logging = true;
                        let from = member.log_next;
                        self.tasks.spawn(self.jobs.clone().end(token, report, from));
                    }
                }
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Nothing => {}
            Done::Asked(answers) => {
                self.asking -= 1;
                for (id, answer) in answers {
                    self.answer(id, answer);
                }
            }
            Done::Started(id, outcome) => self.started(id, outcome),
            Done::Logged(id, number, next) => {
                let Some(dispatched) = self.held.get_mut(&id) else { return };
                let token = dispatched.token.clone();
                let Some(member) = dispatched.members.get_mut(&number) else { return };
                member.log_next = member.log_next.max(next);
                member.logging = false;
                if let Some(report) = member.ended.clone().filter(|_| !member.told) {
                    member.logging = true;
                    let from = member.log_next;
                    self.tasks.spawn(self.jobs.clone().end(token, report, from));
                }
            }
            Done::Ended(report) => {
                let now = clock::monotonic();
                let Some(dispatched) = self.held.get_mut(&report.dispatch) else { return };
                let proof = dispatched.proof.clone();
                if let Some(member) = dispatched.members.get_mut(&report.member) {
                    member.ended = Some((*report).clone());
                    member.logging = false;
                    member.tell(now);
                    self.reports.push(Proved { report: *report, proof });
                }
            }
        }
    }

    fn answer(&mut self, id: DispatchId, answer: Answer<AttemptContext>) {
        let Some(dispatched) = self.held.get_mut(&id).filter(|known| known.stage() == Stage::Taken) else {
            return;
        };
        match answer {
            Answer::Go(go) => {
                dispatched.token = Some(go.token.clone());
                self.tasks.spawn(self.jobs.clone().start(*go));
            }
            Answer::Taken | Answer::Gone => {
                tracing::debug!(attempt = %id.attempt, dispatch = %id, "a dispatch is no longer ours to run");
                self.held.remove(&id);
            }
            Answer::Missing { reason } => {
                let reports = dispatched.end_all(id, &Outcome::NotStarted, &reason);
                self.reports.extend(reports);
            }
        }
    }

    fn started(&mut self, id: DispatchId, outcome: Result<(), String>) {
        let Some(dispatched) = self.held.get_mut(&id) else { return };
        match outcome {
            Ok(()) => {
                dispatched.submitted = true;
                if let Some((grace, reason)) = dispatched.killed.clone() {
                    let members = dispatched.members.len() as u32;
                    self.end_submitted(id, members, grace, reason);
                }
            }
            Err(reason) => {
                let outcome = if dispatched.killed.is_some() { Outcome::Killed } else { Outcome::NotStarted };
                let reports = dispatched.end_all(id, &outcome, &reason);
                self.reports.extend(reports);
            }
        }
    }

    fn repeat(&mut self, all: bool) {
        let now = clock::monotonic();
        for dispatched in self.held.values_mut() {
            self.reports.extend(dispatched.unconfirmed(now, all));
        }
    }

    fn look_at_logs(&mut self) {
        for (id, dispatched) in &mut self.held {
            let Some(token) = dispatched.token.clone().filter(|_| dispatched.submitted) else { continue };
            for (number, member) in &mut dispatched.members {
                if member.started.is_some() && member.ended.is_none() && !member.logging {
                    member.logging = true;
                    let (jobs, token, from) = (self.jobs.clone(), token.clone(), member.log_next);
                    self.tasks.spawn(jobs.log(token, *id, *number, from));
                }
            }
        }
    }

    /// A drain has taken too long: what still runs goes back to the queue.
    fn give_back(&mut self) {
        self.gave_back = true;
        let running: Vec<DispatchId> = self
            .held
            .iter()
            .filter(|(_, dispatched)| dispatched.stage() != Stage::Ended)
            .map(|(id, _)| *id)
            .collect();
        tracing::warn!(
            attempts = running.len(),
            "the drain has taken too long: attempts are ended and given back"
        );
        for id in running {
            let Some(known) = self.held.get(&id) else { continue };
            let (members, proof) = (known.members.len() as u32, known.proof.clone());
            self.kill(id, members, DRAIN_GRACE, "its worker is being stopped".to_owned(), proof);
        }
    }
}

/// Waits for an instant; for ever if there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => clock::sleep(at.saturating_duration_since(clock::monotonic())).await,
        None => std::future::pending().await,
    }
}
