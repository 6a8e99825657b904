//! The service behind the handle: one task that owns everything between the shell and the broker.
//!
//! To each worker one message is under way at a time; what comes meanwhile goes with the next, so a burst becomes few
//! messages and their order is kept.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    time::{Duration, Instant},
};

use dags::{
    ids::{DispatchId, WorkerId},
    time::Timestamp,
};
use engine::{
    dispatch::{Dispatch, Held, Kill},
    driver::Receipt,
    execution::Ticket,
    fleet::{HeldThere, Stage},
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicRejectOptions},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Beat, Command, Event, Options, Sharing, lock,
    receipts::{Ack, Deliveries},
    wire::{self, Down, Mark, News, Order, Proved, Up},
};
use crate::{
    broker::{self, Sent, Session},
    clock,
    contract::Error,
};

/// Deliveries that may be unacknowledged.
const PREFETCH: u16 = 256;
/// Orders of one message.
const ORDERS_MAX: usize = 500;
/// Waits between two tries to reach the broker.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Orders that a worker hasn't seen for this long were lost on the way: a further one brings that to light.
const UNSEEN_MAX: Duration = Duration::from_secs(5);
/// How long workers may take to say what they hold.
const LIST_MAX: Duration = Duration::from_secs(10);
/// How often deadlines are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Commands that are taken before something else gets its turn.
const COMMANDS_AT_ONCE: usize = 256;

/// Carries commands, reports and heartbeats.
#[derive(Debug)]
pub struct Service {
    options: Options,
    shared: Sharing,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    peers: BTreeMap<WorkerId, Peer>,
    deliveries: Deliveries,
    /// Which worker reported a member last, for confirmations that name no report.
    origins: BTreeMap<(DispatchId, u32), WorkerId>,
    lists: Vec<Listing>,
}

/// What we know of a worker.
#[derive(Debug, Default)]
struct Peer {
    /// The number of the newest message to it.
    n: u64,
    /// What goes with the next message, and when the oldest dispatch in it was let out.
    orders: Vec<Order>,
    oldest: Option<Timestamp>,
    busy: bool,
    /// Messages that it hasn't seen as far as we know.
    unseen: VecDeque<Unseen>,
    /// Its newest heartbeat that answers to us.
    held: Option<(u64, Vec<HeldThere>)>,
}

#[derive(Debug)]
struct Unseen {
    n: u64,
    oldest: Option<Timestamp>,
    sent: Instant,
}

/// Somebody waits to know what all workers hold.
#[derive(Debug)]
struct Listing {
    /// The message that each must have seen.
    until: BTreeMap<WorkerId, u64>,
    deadline: Instant,
    reply: oneshot::Sender<Result<Vec<Held>, Error>>,
}

type Publishing =
    FuturesUnordered<Pin<Box<dyn Future<Output = (WorkerId, Result<Sent, lapin::Error>)> + Send>>>;

enum Turn {
    Commands(usize),
    Delivery(Option<Result<Box<Delivery>, lapin::Error>>),
    Published(WorkerId, Result<Sent, lapin::Error>),
    Look,
}

impl Service {
    pub(super) fn new(
        options: Options,
        shared: Sharing,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            options,
            shared,
            commands,
            events,
            peers: BTreeMap::new(),
            deliveries: Deliveries::default(),
            origins: BTreeMap::new(),
            lists: Vec::new(),
        }
    }

    /// Runs until it is cancelled, or nobody receives what comes.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut failures = 0_u32;
        while !cancel.is_cancelled() && !self.events.is_closed() {
            let name = format!("updraft scheduler {}", self.options.shard);
            let opened = tokio::select! {
                () = cancel.cancelled() => return,
                opened = Session::open(&self.options.url, &name) => opened,
            };
            let ended = match opened {
                Ok(session) => {
                    failures = 0;
                    // A recovery that is waited for must not hold up the end.
                    let ended = tokio::select! {
                        () = cancel.cancelled() => Ok(()),
                        ended = Box::pin(self.converse(&session)) => ended,
                    };
                    session.close().await;
                    ended
                }
                Err(error) => Err(error),
            };
            if ended.is_ok() {
                return;
            }
            if let Err(error) = ended {
                lock(&self.shared).hearing = Err(error.to_string());
                tracing::warn!(%error, failures, "the session with the broker ended; trying again");
            }
            self.lose_session();
            if self.events.send(Event::Deaf).await.is_err() {
                return;
            }
            let wait = BACKOFF.1.min(BACKOFF.0 * 2_u32.pow(failures.min(8)));
            failures += 1;
            if tokio::time::timeout(wait, cancel.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    async fn converse(&mut self, session: &Session) -> Result<(), broker::Error> {
        let mut consumer = session.read_shard(self.options.shard, PREFETCH).await?;
        lock(&self.shared).hearing = Ok(());
        if self.events.send(Event::Hearing).await.is_err() {
            return Ok(());
        }
        let mut publishing = Publishing::new();
        let mut batch = Vec::with_capacity(COMMANDS_AT_ONCE);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.publish(&session.publish, &mut publishing);
            let turn = tokio::select! {
                n = self.commands.recv_many(&mut batch, COMMANDS_AT_ONCE) => Turn::Commands(n),
                Some((worker, sent)) = publishing.next(), if !publishing.is_empty() => Turn::Published(worker, sent),
                delivery = consumer.next() => Turn::Delivery(delivery.map(|delivery| delivery.map(Box::new))),
                _ = look.tick() => Turn::Look,
            };
            match turn {
                Turn::Commands(0) => return Ok(()),
                Turn::Commands(_) => {
                    for command in batch.drain(..) {
                        self.command(command);
                    }
                    self.acknowledge(&session.consume).await?;
                }
                Turn::Delivery(Some(Ok(delivery))) => {
                    if self.deliver(&delivery).await? {
                        return Ok(());
                    }
                    self.acknowledge(&session.consume).await?;
                }
                Turn::Delivery(Some(Err(error))) => {
                    lock(&self.shared).hearing = Err(error.to_string());
                    if self.events.send(Event::Deaf).await.is_err() {
                        return Ok(());
                    }
                    session.consume.wait_for_recovery(error).await?;
                    // What wasn't acknowledged comes again under other numbers.
                    self.deliveries.forget();
                    lock(&self.shared).hearing = Ok(());
                    if self.events.send(Event::Hearing).await.is_err() {
                        return Ok(());
                    }
                }
                Turn::Delivery(None) => return Err(broker::Error::Closed),
                Turn::Published(worker, sent) => self.published(session, worker, sent).await?,
                Turn::Look => self.look(),
            }
        }
    }

    fn lose_session(&mut self) {
        self.deliveries.forget();
        for peer in self.peers.values_mut() {
            peer.busy = false;
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Dispatch(dispatches) => {
                // It leaves the queue of what is on its way only when it has its place among the orders.
                let since = lock(&self.shared).waiting.front().copied();
                for dispatch in dispatches {
                    self.start(dispatch, since);
                }
                lock(&self.shared).waiting.pop_front();
            }
            Command::Kill(kill) => {
                let members = (kill.id, 0)..=(kill.id, u32::MAX);
                let known =
                    kill.worker.or_else(|| self.origins.range(members).next().map(|(_, worker)| *worker));
                let Some(worker) = known else {
                    tracing::warn!(attempt = %kill.id.attempt, dispatch = %kill.id, "no worker is known for a dispatch that is to be ended");
                    return;
                };
                let proof = self.options.keys.proof(kill.id, worker);
                let Kill { id: dispatch, members, grace, reason, .. } = kill;
                let order = Order::Kill { dispatch, members, grace, reason, proof };
                self.order(worker, order);
            }
            Command::Settle(receipts) => {
                for Receipt { dispatch, member, seq, ended } in receipts {
                    if ended {
                        // With its end everything that was said of it before is settled.
                        let from = self.deliveries.settle_member(dispatch, member);
                        self.confirm(dispatch, member, from);
                    } else {
                        self.deliveries.settle((dispatch, member, seq));
                    }
                }
            }
            Command::Confirm { dispatch, member } => {
                let from = self.deliveries.settle_member(dispatch, member);
                lock(&self.shared).remember(dispatch);
                self.confirm(dispatch, member, from);
            }
            Command::Joined(spec) => {
                self.peers.entry(spec.worker).or_default();
                lock(&self.shared).workers.insert(spec.worker, spec);
            }
            Command::List(reply) => {
                let workers: Vec<WorkerId> = lock(&self.shared).workers.keys().copied().collect();
                let mut until = BTreeMap::new();
                for worker in workers {
                    // Its number is that of the next message, behind all orders that wait.
                    let peer = self.peers.entry(worker).or_default();
                    peer.orders.push(Order::Sync);
                    let further = peer.orders.len().div_ceil(ORDERS_MAX) as u64;
                    until.insert(worker, peer.n + further);
                }
                self.lists.push(Listing { until, deadline: clock::monotonic() + LIST_MAX, reply });
                self.answer_lists();
            }
        }
    }

    fn start(&mut self, dispatch: Dispatch, since: Option<Timestamp>) {
        let Some(worker) = dispatch.worker else {
            tracing::error!(
                tenant.id = %dispatch.tenant, dag.id = %dispatch.dag_id, run.id = %dispatch.run,
                task.id = %dispatch.task_id, attempt = %dispatch.id.attempt, dispatch = %dispatch.id,
                "a dispatch has no worker"
            );
            return;
        };
        let ticket = Ticket {
            dispatch: dispatch.id,
            members: dispatch.members,
            tenant: dispatch.tenant,
            run: dispatch.run,
            version: dispatch.version,
            task: dispatch.task_id,
            map_index: dispatch.map_index,
            try_number: dispatch.try_number,
            proof: self.options.keys.proof(dispatch.id, worker),
        };
        let peer = self.peers.entry(worker).or_default();
        peer.oldest = peer.oldest.into_iter().chain(since).min();
        peer.orders.push(Order::Start(ticket));
    }

    fn order(&mut self, worker: WorkerId, order: Order) {
        self.peers.entry(worker).or_default().orders.push(order);
    }

    fn confirm(&mut self, dispatch: DispatchId, member: u32, from: Option<WorkerId>) {
        if let Some(worker) = from.or_else(|| self.origins.get(&(dispatch, member)).copied()) {
            self.order(worker, Order::Confirm { dispatch, member });
        }
        self.origins.remove(&(dispatch, member));
    }

    /// Sends to every worker for which something waits and nothing is under way.
    fn publish(&mut self, channel: &Channel, publishing: &mut Publishing) {
        let epoch = self.options.epoch;
        for (worker, peer) in &mut self.peers {
            if peer.busy || peer.orders.is_empty() {
                continue;
            }
            let rest = peer.orders.split_off(peer.orders.len().min(ORDERS_MAX));
            let orders = std::mem::replace(&mut peer.orders, rest);
            peer.n += 1;
            peer.busy = true;
            let oldest = if peer.orders.is_empty() { peer.oldest.take() } else { peer.oldest };
            peer.unseen.push_back(Unseen { n: peer.n, oldest, sent: clock::monotonic() });
            let down = Down { format: wire::FORMAT, mark: Mark { epoch, n: peer.n }, orders };
            let (channel, queue, worker) = (channel.clone(), broker::worker_queue(*worker), *worker);
            publishing.push(Box::pin(async move {
                let payload = wire::write(&down);
                (worker, broker::publish(&channel, &queue, &payload, false).await)
            }));
        }
    }

    async fn published(
        &mut self,
        session: &Session,
        worker: WorkerId,
        sent: Result<Sent, lapin::Error>,
    ) -> Result<(), broker::Error> {
        if let Some(peer) = self.peers.get_mut(&worker) {
            peer.busy = false;
        }
        match sent {
            Ok(Sent::Stored) => lock(&self.shared).counts.published += 1,
            // The worker's queue is gone, or the message with its connection: heartbeats will tell what is missing.
            Ok(Sent::Nowhere) => lock(&self.shared).counts.unroutable += 1,
            Err(error) => {
                tracing::warn!(%error, "a message to a worker may be lost");
                session.publish.wait_for_recovery(error).await?;
            }
        }
        Ok(())
    }

    /// Takes a delivery. True if nobody receives events any more.
    async fn deliver(&mut self, delivery: &Delivery) -> Result<bool, broker::Error> {
        let tag = delivery.delivery_tag;
        let Up { worker, news, .. } = match wire::read(&delivery.data) {
            Ok(up) => up,
            Err(error) => {
                tracing::error!(%error, "a message to the scheduler goes to the dead-letter queue");
                lock(&self.shared).counts.dead += 1;
                delivery.acker.reject(BasicRejectOptions { requeue: false }).await?;
                return Ok(false);
            }
        };
        let event = match news {
            News::Reports(reports) => {
                let reports = self.proved(worker, reports);
                let keys: Vec<_> = reports.iter().map(|r| (r.dispatch, r.member, r.seq)).collect();
                self.deliveries.came(tag, worker, &keys);
                self.origins.extend(keys.iter().map(|(dispatch, member, _)| ((*dispatch, *member), worker)));
                Event::Reports(reports)
            }
            News::Beat(beat) => {
                self.deliveries.came(tag, worker, &[]);
                Event::Beat(self.beat(worker, beat))
            }
        };
        Ok(self.events.send(event).await.is_err())
    }

    fn proved(&mut self, worker: WorkerId, reports: Vec<Proved>) -> Vec<engine::dispatch::Report> {
        let keys = &self.options.keys;
        let all = reports.len();
        let proved: Vec<_> = reports
            .into_iter()
            .filter(|proved| keys.is_proof(proved.report.dispatch, worker, &proved.proof))
            .map(|proved| proved.report)
            .collect();
        if proved.len() < all {
            tracing::error!(%worker, unproved = all - proved.len(), "a worker reported dispatches that aren't its own");
            lock(&self.shared).counts.unproved += (all - proved.len()) as u64;
        }
        proved
    }

    fn beat(&mut self, worker: WorkerId, beat: wire::Beat) -> Beat {
        let wire::Beat { seen, held, draining, leaving } = beat;
        let peer = self.peers.entry(worker).or_default();
        let as_of = if seen.epoch == self.options.epoch {
            peer.unseen.retain(|unseen| unseen.n > seen.n);
            peer.held = Some((seen.n, held.clone()));
            let lost = peer.unseen.front().is_some_and(|unseen| unseen.sent.elapsed() > UNSEEN_MAX);
            if lost && peer.orders.is_empty() {
                peer.orders.push(Order::Sync);
            }
            let shared = lock(&self.shared);
            let under_way = peer.unseen.iter().filter_map(|unseen| unseen.oldest);
            let waiting = shared.waiting.front().copied();
            under_way.chain(peer.oldest).chain(waiting).chain([shared.now]).min().unwrap_or(Timestamp::MIN)
        } else {
            // It answers to a former owner: once it knows us, it says what counts.
            if peer.orders.is_empty() && !peer.busy {
                peer.orders.push(Order::Sync);
            }
            Timestamp::MIN
        };
        if leaving {
            self.peers.remove(&worker);
            lock(&self.shared).workers.remove(&worker);
        }
        self.answer_lists();
        Beat { worker, held, as_of, draining, leaving }
    }

    fn look(&mut self) {
        let now = clock::monotonic();
        for listing in self.lists.extract_if(.., |listing| listing.deadline <= now) {
            let error = Error::Unavailable("not all workers say what they hold".to_owned());
            // Nobody waits any more if the caller was cancelled.
            let _ = listing.reply.send(Err(error));
        }
    }

    fn answer_lists(&mut self) {
        let peers = &self.peers;
        let known = |(worker, until): (&WorkerId, &u64)| match peers.get(worker) {
            Some(peer) => peer.held.as_ref().is_some_and(|(n, _)| n >= until),
            None => true,
        };
        for listing in self.lists.extract_if(.., |listing| listing.until.iter().all(known)) {
            let mut held = Vec::new();
            for worker in listing.until.keys() {
                let there = peers.get(worker).and_then(|peer| peer.held.as_ref());
                let there = there.iter().flat_map(|(_, held)| held);
                held.extend(there.flat_map(|held| {
                    let HeldThere { id, members, stage } = *held;
                    (0..members).map(move |member| Held {
                        id,
                        member,
                        since: clock::wall(),
                        ended: stage == Stage::Ended,
                    })
                }));
            }
            let _ = listing.reply.send(Ok(held));
        }
    }

    async fn acknowledge(&mut self, channel: &Channel) -> Result<(), broker::Error> {
        for ack in self.deliveries.acks() {
            let (tag, multiple) = match ack {
                Ack::Until(tag) => (tag, true),
                Ack::One(tag) => (tag, false),
            };
            if let Err(error) = channel.basic_ack(tag, BasicAckOptions { multiple }).await {
                // Whatever isn't acknowledged comes again, and is known then.
                tracing::debug!(%error, "a delivery could not be acknowledged");
                channel.wait_for_recovery(error).await?;
                self.deliveries.forget();
                return Ok(());
            }
        }
        Ok(())
    }
}
