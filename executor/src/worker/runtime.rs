//! The worker's loop: one task that owns all that the worker holds.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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
    bundles::Bundles,
    held::{Dispatched, Told, list},
    jobs::{Done, Jobs, NotStarted, Why},
    link::Out,
    runner::Runner,
    watch::Watch,
};
use crate::{
    clock,
    fleet::wire::{Beat, Down, Mark, Order},
};

mod leaving;

/// The time between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How often a worker makes sure that it still may be one, in heartbeats.
const LOOKS_EACH: u32 = 2;
/// How often running members' logs are looked at.
const LOOK_AT_LOGS: Duration = Duration::from_secs(1);
/// Tickets that are asked about at once, and how many such requests are under way. A request is sent at once if none is, and
/// beside others only if it is full: under load that makes few requests of many tickets, each of which costs a commit.
const TICKETS_AT_ONCE: usize = 64;
const ASKS_AT_ONCE: usize = 4;
/// Reports of one message, and their bytes: one that is larger than that goes alone.
const REPORTS_AT_ONCE: usize = 500;
const MESSAGE_BYTES: usize = 1 << 20;
/// The grace of what is given back when a drain has taken too long, or a gang couldn't be started whole.
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
    /// Tickets whose answer was "later": each is asked about alone, so that it holds up no other.
    to_ask_alone: VecDeque<Ticket>,
    asking: usize,
    /// Those of `to_ask_alone` that are being asked about.
    asking_alone: BTreeSet<DispatchId>,
    tasks: JoinSet<Done>,
    outbox: VecDeque<Out>,
    /// The bytes of the reports in the outbox's last message.
    packed: usize,
    /// Reports that go with the next message.
    reports: Vec<Told>,
    draining: bool,
    drain_over: Option<Instant>,
    leaving: bool,
    gave_back: bool,
    watch: Watch,
    /// Why it can't do its work, if it can't.
    unable: Option<String>,
    /// Heartbeats until the worker is looked at; none while it is.
    look_in: Option<u32>,
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
            bundles: Arc::new(Bundles::new(options.data.join("bundles"))),
            results: options.data.join("run").join(worker.to_string()).join("objects"),
        };
        Self {
            jobs,
            outgoing,
            drain_max: options.drain_max,
            held: BTreeMap::new(),
            seen: Mark::default(),
            beats: 0,
            to_ask: VecDeque::new(),
            to_ask_alone: VecDeque::new(),
            asking: 0,
            asking_alone: BTreeSet::new(),
            tasks: JoinSet::new(),
            outbox: VecDeque::new(),
            packed: 0,
            reports: Vec::new(),
            draining: false,
            drain_over: None,
            leaving: false,
            gave_back: false,
            watch: options.watch.clone(),
            unable: None,
            look_in: Some(LOOKS_EACH),
        }
    }

    /// Works until everything has ended after `drain`, or until `cancel`. Returns why it stopped by itself, if it did.
    pub(super) async fn work(
        mut self,
        mut orders: mpsc::Receiver<Down>,
        mut reports: mpsc::Receiver<Report>,
        drain: CancellationToken,
        cancel: CancellationToken,
    ) -> Option<String> {
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut logs = tokio::time::interval(LOOK_AT_LOGS);
        logs.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.ask();
            self.pack();
            if self.is_over() {
                return self.unable;
            }
            let give_back = self.drain_over;
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
                Turn::Stop => return self.unable,
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
                    self.look();
                    self.repeat(false);
                    self.beat();
                }
                Turn::Logs => self.look_at_logs(),
                Turn::Drain => {
                    tracing::info!(held = self.held.len(), "draining: nothing new is taken");
                    self.drain(self.drain_max);
                }
                Turn::DrainOver if self.gave_back => {
                    tracing::warn!("nobody confirms what has ended: the worker leaves all the same");
                    return self.unable;
                }
                Turn::DrainOver => {
                    self.drain_over = Some(clock::monotonic() + LAST_WORDS_MAX);
                    self.give_back();
                }
            }
        }
    }

    /// Asks about the next tickets, if there are any.
    fn ask(&mut self) {
        while self.asking < ASKS_AT_ONCE {
            let n = self.to_ask.len().min(TICKETS_AT_ONCE);
            let beside_others = self.asking > self.asking_alone.len();
            let tickets: Vec<Ticket> = if n == TICKETS_AT_ONCE || (n > 0 && !beside_others) {
                self.to_ask.drain(..n).collect()
            } else if self.asking_alone.len() < ASKS_AT_ONCE / 2
                && let Some(ticket) = self.to_ask_alone.pop_front()
            {
                // Those that answer "later" leave room for the others.
                self.asking_alone.insert(ticket.dispatch);
                vec![ticket]
            } else {
                return;
            };
            self.asking += 1;
            self.tasks.spawn(self.jobs.clone().ask(tickets));
        }
    }

    /// A request whose first ticket is this one has its answer.
    fn asked(&mut self, first: Option<DispatchId>) {
        self.asking -= 1;
        if let Some(id) = first {
            self.asking_alone.remove(&id);
        }
    }

    /// Puts reports that have come together into one message, as far as it may be that long; also with those that still wait.
    fn pack(&mut self) {
        for report in std::mem::take(&mut self.reports) {
            let more = report.bytes();
            match self.outbox.back_mut() {
                Some(Out::Reports(part))
                    if part.len() < REPORTS_AT_ONCE && self.packed + more <= MESSAGE_BYTES =>
                {
                    self.packed += more;
                    part.push(report);
                }
                _ => {
                    self.packed = more;
                    self.outbox.push_back(Out::Reports(vec![report]));
                }
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
            let id = ticket.dispatch;
            free.insert(Dispatched::new(ticket.clone()));
            if self.unable.is_some() {
                self.hand_back(id);
            } else {
                self.to_ask.push_back(ticket);
            }
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
        } else if let Some(starting) = &dispatched.starting {
            // What comes of the start says what there is to end.
            starting.cancel();
        } else {
            // It is still to be claimed, or never came: it will never start.
            self.to_ask.retain(|ticket| ticket.dispatch != id);
            self.to_ask_alone.retain(|ticket| ticket.dispatch != id);
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
        let token = dispatched.token.clone();
        let Some(member) = dispatched.members.get_mut(&number) else { return };
        match &report.news {
            News::Started { .. } => {
                if member.started.is_none() {
                    member.started = Some(report.clone());
                    self.reports.push(member.say(report, &dispatched.proof));
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
                self.asked(answers.first().map(|(id, _)| *id));
                for (id, answer) in answers {
                    self.answer(id, answer);
                }
            }
            Done::Refused(ids, error) => {
                self.asked(ids.first().copied());
                self.refused(&ids, &error);
            }
            Done::Again(id) => {
                let Some(known) = self.held.get(&id).filter(|known| known.stage() == Stage::Taken) else {
                    return;
                };
                if self.unable.is_some() {
                    self.hand_back(id);
                } else {
                    self.to_ask_alone.extend(known.ticket.clone());
                }
            }
            Done::Started(id, bundle, outcome) => {
                if let Some(dispatched) = self.held.get_mut(&id) {
                    dispatched.bundle = bundle;
                }
                self.started(id, outcome);
            }
            Done::Unable(why) => self.give_up(why, true),
            Done::Looked(refused) => {
                self.look_in = Some(LOOKS_EACH);
                if let Some(error) = refused {
                    self.refused(&[], &error);
                }
            }
            Done::Logged { dispatch: id, member: number, next, over } => {
                let Some(dispatched) = self.held.get_mut(&id) else { return };
                let token = dispatched.token.clone();
                let Some(member) = dispatched.members.get_mut(&number) else { return };
                member.log_next = member.log_next.max(next);
                (member.logging, member.log_over) = (false, over);
                if let Some(report) = member.ended.clone().filter(|_| !member.told) {
                    member.logging = true;
                    let from = member.log_next;
                    self.tasks.spawn(self.jobs.clone().end(token, report, from));
                }
            }
            Done::Ended(report) => {
                let now = clock::monotonic();
                let Some(dispatched) = self.held.get_mut(&report.dispatch) else { return };
                if let Some(member) = dispatched.members.get_mut(&report.member) {
                    member.ended = Some((*report).clone());
                    member.logging = false;
                    member.tell(now);
                    self.reports.push(member.say(*report, &dispatched.proof));
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
                let end = CancellationToken::new();
                dispatched.token = Some(go.token.clone());
                dispatched.starting = Some(end.clone());
                self.tasks.spawn(self.jobs.clone().start(*go, end));
            }
            Answer::Taken => {
                // The owner may have died before it sent the same try elsewhere; its successor knows nothing of that.
                let reports =
                    dispatched.end_all(id, &Outcome::Killed, "it was given to nobody before its worker came");
                self.reports.extend(reports);
            }
            Answer::Gone => {
                tracing::debug!(attempt = %id.attempt, dispatch = %id, "a dispatch is no longer ours to run");
                self.held.remove(&id);
            }
            Answer::Later { reason } => {
                let wait = dispatched.wait();
                tracing::warn!(dispatch = %id, reason, "a dispatch can't be looked up now; asking again");
                self.tasks.spawn(self.jobs.clone().wait(id, wait));
            }
            Answer::Missing { reason } => {
                let reports = dispatched.end_all(id, &Outcome::NotStarted, &reason);
                self.reports.extend(reports);
            }
        }
    }

    fn started(&mut self, id: DispatchId, outcome: Result<(), NotStarted>) {
        let Some(dispatched) = self.held.get_mut(&id) else { return };
        dispatched.starting = None;
        let killed = dispatched.killed.clone();
        let Err(NotStarted { handed, why }) = outcome else {
            dispatched.submitted = true;
            if let Some((grace, reason)) = killed {
                let members = dispatched.members.len() as u32;
                self.end_submitted(id, members, grace, reason);
            }
            return;
        };
        let unable = match &why {
            Why::Unable(why) => Some(why.clone()),
            Why::Ended | Why::Failed(_) => None,
        };
        if let Some(why) = unable {
            self.give_up(why, true);
        }
        let Some(dispatched) = self.held.get_mut(&id) else { return };
        let (outcome, reason) = match (&killed, why) {
            (Some((_, reason)), _) => (Outcome::Killed, reason.clone()),
            (None, Why::Ended) => (Outcome::Killed, "its start was ended".to_owned()),
            (None, Why::Unable(reason)) => (Outcome::Killed, reason),
            (None, Why::Failed(reason)) => (Outcome::NotStarted, reason),
        };
        let reports = dispatched.end_from(handed, id, &outcome, &reason);
        self.reports.extend(reports);
        if handed > 0 {
            dispatched.submitted = true;
            let grace = killed.map_or(DRAIN_GRACE, |(grace, _)| grace);
            self.end_submitted(id, handed, grace, reason);
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
                if member.started.is_some() && member.ended.is_none() && !member.logging && !member.log_over {
                    member.logging = true;
                    let (jobs, token, from) = (self.jobs.clone(), token.clone(), member.log_next);
                    self.tasks.spawn(jobs.log(token, *id, *number, from));
                }
            }
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
