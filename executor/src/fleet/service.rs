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
    Beat, Command, Event, Options, Sharing, believe,
    hearing::Hearing,
    lock,
    receipts::{Ack, Deliveries},
    wire::{self, Down, Echo, Incoming, Mark, News, Order, Proved, Up},
};
use crate::{
    broker::{self, Sent, Session},
    clock,
    contract::Error,
    seldom::Seldom,
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
/// Workers that said goodbye and are remembered: what they said before may come again, and they never return.
const LEFT_MAX: usize = 1_000;
/// How long the numbers of a worker are kept that isn't one of ours, or no longer is: longer than the broker keeps
/// a message from being delivered again.
const SILENT_MAX: Duration = Duration::from_hours(1);

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
    hearing: Hearing,
    /// Workers that said goodbye, oldest first.
    left: VecDeque<WorkerId>,
    /// The highest number of a message to a worker that was forgotten: should it return, none is used twice.
    numbers: u64,
}

/// What we know of a worker.
#[derive(Debug, Default)]
struct Peer {
    /// The number of the newest message to it.
    n: u64,
    /// The number of its newest heartbeat, and when it came.
    beat: u64,
    heard: Option<Instant>,
    /// What goes with the next message, and when the oldest dispatch in it was let out.
    orders: Vec<Order>,
    oldest: Option<Timestamp>,
    busy: bool,
    /// Messages that it hasn't seen as far as we know.
    unseen: VecDeque<Unseen>,
    /// Its newest heartbeat that answers to us.
    held: Option<(u64, Vec<HeldThere>)>,
}

impl Peer {
    /// One whose messages are numbered from there.
    fn new(n: u64) -> Self {
        Self { n, ..Self::default() }
    }
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

/// Messages under way: to a worker, or to ourselves.
type Publishing =
    FuturesUnordered<Pin<Box<dyn Future<Output = (Option<WorkerId>, Result<Sent, lapin::Error>)> + Send>>>;

enum Turn {
    Commands(usize),
    Delivery(Option<Result<Box<Delivery>, lapin::Error>>),
    Published(Option<WorkerId>, Result<Sent, lapin::Error>),
    Look,
}

/// Nobody receives events any more.
struct Unheard;

impl Service {
    pub(super) fn new(
        options: Options,
        shared: Sharing,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            hearing: Hearing::new(options.epoch),
            options,
            shared,
            commands,
            events,
            peers: BTreeMap::new(),
            deliveries: Deliveries::default(),
            origins: BTreeMap::new(),
            lists: Vec::new(),
            left: VecDeque::new(),
            numbers: 0,
        }
    }

    /// Runs until it is cancelled, or nobody receives what comes.
    pub async fn run(mut self, cancel: CancellationToken) {
        let (mut failures, mut said) = (0_u32, Seldom::default());
        while !cancel.is_cancelled() && !self.events.is_closed() {
            let name = format!("updraft scheduler {}", self.options.shard);
            let opened = tokio::select! {
                () = cancel.cancelled() => return,
                opened = Session::open(&self.options.url, &name) => opened,
            };
            let (session, error) = match opened {
                Ok(session) => {
                    failures = 0;
                    said.over();
                    // Whatever is waited for must hold up neither the end nor the next session.
                    let ended = tokio::select! {
                        () = cancel.cancelled() => Ok(()),
                        error = session.broken() => Err(error),
                        ended = Box::pin(self.converse(&session)) => ended,
                    };
                    let Err(error) = ended else {
                        session.close().await;
                        return;
                    };
                    (Some(session), error)
                }
                Err(error) => (None, error),
            };
            let error = error.to_string();
            said.session_ended(&error, failures);
            let told = tokio::select! {
                () = cancel.cancelled() => return,
                told = self.lose_session() => told,
            };
            if told.is_err() {
                return;
            }
            lock(&self.shared).hearing = Err(error);
            if let Some(session) = session {
                session.close().await;
            }
            let wait = BACKOFF.1.min(BACKOFF.0 * 2_u32.pow(failures.min(8)));
            failures += 1;
            if tokio::time::timeout(wait, cancel.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    async fn converse(&mut self, session: &Session) -> Result<(), broker::Error> {
        let (shard, epoch) = (self.options.shard, self.options.epoch);
        let mut consumer = session.read_shard(shard, epoch, PREFETCH).await?;
        let mut publishing = Publishing::new();
        let mut batch = Vec::with_capacity(COMMANDS_AT_ONCE);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.publish(&session.publish, &mut publishing);
            let turn = tokio::select! {
                n = self.commands.recv_many(&mut batch, COMMANDS_AT_ONCE) => Turn::Commands(n),
                Some((to, sent)) = publishing.next(), if !publishing.is_empty() => Turn::Published(to, sent),
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
                    if self.deliver(&delivery).await?.is_err() {
                        return Ok(());
                    }
                    self.acknowledge(&session.consume).await?;
                }
                Turn::Delivery(Some(Err(error))) => return Err(error.into()),
                Turn::Delivery(None) => return Err(broker::Error::Closed),
                Turn::Published(to, sent) => self.published(to, sent)?,
                Turn::Look => {
                    if self.look().await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What wasn't acknowledged comes again under other numbers, and nobody can be heard.
    async fn lose_session(&mut self) -> Result<(), Unheard> {
        self.deliveries.forget();
        for peer in self.peers.values_mut() {
            peer.busy = false;
        }
        if self.hearing.lose() { self.tell(Event::Deaf).await } else { Ok(()) }
    }

    async fn tell(&self, event: Event) -> Result<(), Unheard> {
        match event {
            Event::Hearing => lock(&self.shared).hearing = Ok(()),
            Event::Deaf => {
                lock(&self.shared).hearing = Err("the broker doesn't pass on what was sent to it".to_owned());
            }
            _ => {}
        }
        self.events.send(event).await.map_err(|_| Unheard)
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
                self.confirm(dispatch, member, from);
            }
            Command::Joined(spec) => {
                self.peer(spec.worker);
                lock(&self.shared).workers.insert(spec.worker, spec);
            }
            Command::Lost(worker) => self.forget(worker),
            Command::List(reply) => {
                let workers: Vec<WorkerId> = lock(&self.shared).workers.keys().copied().collect();
                let mut until = BTreeMap::new();
                for worker in workers {
                    // Its number is that of the next message, behind all orders that wait.
                    let peer = self.peer(worker);
                    peer.orders.push(Order::Sync);
                    let further = peer.orders.len().div_ceil(ORDERS_MAX) as u64;
                    until.insert(worker, peer.n + further);
                }
                self.lists.push(Listing { until, deadline: clock::monotonic() + LIST_MAX, reply });
                self.answer_lists();
            }
        }
    }

    fn peer(&mut self, worker: WorkerId) -> &mut Peer {
        let numbers = self.numbers;
        self.peers.entry(worker).or_insert_with(|| Peer::new(numbers))
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
        let peer = self.peer(worker);
        peer.oldest = peer.oldest.into_iter().chain(since).min();
        peer.orders.push(Order::Start(ticket));
    }

    fn order(&mut self, worker: WorkerId, order: Order) {
        self.peer(worker).orders.push(order);
    }

    fn confirm(&mut self, dispatch: DispatchId, member: u32, from: Option<WorkerId>) {
        if let Some(worker) = from.or_else(|| self.origins.get(&(dispatch, member)).copied()) {
            self.order(worker, Order::Confirm { dispatch, member });
        }
        self.origins.remove(&(dispatch, member));
    }

    /// A worker isn't one of ours any more. Its numbers are kept: it may return.
    fn forget(&mut self, worker: WorkerId) {
        lock(&self.shared).workers.remove(&worker);
        if let Some(peer) = self.peers.get_mut(&worker) {
            peer.orders.clear();
            peer.unseen.clear();
            (peer.oldest, peer.held) = (None, None);
        }
        self.origins.retain(|_, from| *from != worker);
        for listing in &mut self.lists {
            listing.until.remove(&worker);
        }
        self.answer_lists();
    }

    /// Sends to every worker for which something waits and nothing is under way, and to ourselves.
    fn publish(&mut self, channel: &Channel, publishing: &mut Publishing) {
        let epoch = self.options.epoch;
        if let Some(echo) = self.hearing.due(clock::monotonic()) {
            let (channel, queue) = (channel.clone(), broker::shard_queue(self.options.shard));
            publishing.push(Box::pin(async move {
                let payload = wire::write(&Echo { format: wire::FORMAT, echo });
                (None, broker::publish(&channel, &queue, &payload, false).await)
            }));
        }
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
                (Some(worker), broker::publish(&channel, &queue, &payload, false).await)
            }));
        }
    }

    fn published(
        &mut self,
        to: Option<WorkerId>,
        sent: Result<Sent, lapin::Error>,
    ) -> Result<(), broker::Error> {
        if let Some(peer) = to.and_then(|worker| self.peers.get_mut(&worker)) {
            peer.busy = false;
        }
        match (sent?, to) {
            (Sent::Stored, Some(_)) => lock(&self.shared).counts.published += 1,
            (Sent::Stored, None) => {}
            // The worker's queue is gone, or the message with its connection: heartbeats will tell what is missing.
            (Sent::Nowhere, Some(_)) => lock(&self.shared).counts.unroutable += 1,
            // The shard's queue is gone.
            (Sent::Nowhere, None) => return Err(broker::Error::Closed),
        }
        Ok(())
    }

    /// Takes a delivery.
    async fn deliver(&mut self, delivery: &Delivery) -> Result<Result<(), Unheard>, broker::Error> {
        let tag = delivery.delivery_tag;
        let Up { worker, proof, news, .. } = match wire::read_incoming(&delivery.data) {
            Ok(Incoming::Up(up)) => up,
            Ok(Incoming::Echo(mark)) => {
                self.deliveries.came_empty(tag);
                let hearing = self.hearing.came(mark);
                return Ok(if hearing { self.tell(Event::Hearing).await } else { Ok(()) });
            }
            Err(error) => {
                tracing::error!(%error, "a message to the scheduler goes to the dead-letter queue");
                lock(&self.shared).counts.dead += 1;
                delivery.acker.reject(BasicRejectOptions { requeue: false }).await?;
                return Ok(Ok(()));
            }
        };
        if !self.options.keys.is_worker(worker, &proof) {
            tracing::error!(%worker, "a message in a worker's name that isn't its own goes to the dead-letter queue");
            lock(&self.shared).counts.unproved += 1;
            delivery.acker.reject(BasicRejectOptions { requeue: false }).await?;
            return Ok(Ok(()));
        }
        let event = match news {
            News::Reports(reports) => {
                let reports = self.proved(worker, reports).await;
                let keys: Vec<_> = reports.iter().map(|r| (r.dispatch, r.member, r.seq)).collect();
                self.deliveries.came(tag, worker, &keys);
                self.origins.extend(keys.iter().map(|(dispatch, member, _)| ((*dispatch, *member), worker)));
                Event::Reports { worker, reports }
            }
            News::Beat(beat) => {
                self.deliveries.came_empty(tag);
                let Some(beat) = self.beat(worker, beat) else { return Ok(Ok(())) };
                Event::Beat(beat)
            }
        };
        Ok(self.tell(event).await)
    }

    /// The reports that are about dispatches of the worker, as far as they are believed.
    async fn proved(&mut self, worker: WorkerId, reports: Vec<Proved>) -> Vec<engine::dispatch::Report> {
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
        believe::all(proved, self.options.kept.clone()).await
    }

    /// Takes a heartbeat. None if a newer one was here, or the worker's last word: it was delayed or delivered again, and
    /// says nothing about what the worker holds now.
    fn beat(&mut self, worker: WorkerId, beat: wire::Beat) -> Option<Beat> {
        let wire::Beat { n, seen, held, draining, leaving } = beat;
        if self.left.contains(&worker) {
            return None;
        }
        let numbers = self.numbers;
        let peer = self.peers.entry(worker).or_insert_with(|| Peer::new(numbers));
        if n <= peer.beat {
            return None;
        }
        (peer.beat, peer.heard) = (n, Some(clock::monotonic()));
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
            self.forget(worker);
            if let Some(peer) = self.peers.remove(&worker) {
                self.numbers = self.numbers.max(peer.n);
            }
            self.left.push_back(worker);
            if self.left.len() > LEFT_MAX {
                self.left.pop_front();
            }
        }
        self.answer_lists();
        Some(Beat { worker, held, as_of, draining, leaving })
    }

    fn forget_silent(&mut self, now: Instant) {
        let shared = lock(&self.shared);
        let numbers = &mut self.numbers;
        self.peers.retain(|worker, peer| {
            let idle = peer.orders.is_empty() && !peer.busy;
            let silent = peer.heard.is_none_or(|heard| now.duration_since(heard) > SILENT_MAX);
            let kept = !(idle && silent) || shared.workers.contains_key(worker);
            if !kept {
                *numbers = (*numbers).max(peer.n);
            }
            kept
        });
    }

    async fn look(&mut self) -> Result<(), Unheard> {
        let now = clock::monotonic();
        self.forget_silent(now);
        for listing in self.lists.extract_if(.., |listing| listing.deadline <= now) {
            let error = Error::Unavailable("not all workers say what they hold".to_owned());
            // Nobody waits any more if the caller was cancelled.
            let _ = listing.reply.send(Err(error));
        }
        if self.hearing.look(now) {
            tracing::warn!("nothing comes back from the broker: no worker counts as silent meanwhile");
            return self.tell(Event::Deaf).await;
        }
        Ok(())
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
            channel.basic_ack(tag, BasicAckOptions { multiple }).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dags::ids::ShardId;
    use plugins::token::Keys;

    use super::*;
    use crate::log::LogChunk;

    struct Nothing;

    impl super::super::Kept for Nothing {
        fn log(&self, _: DispatchId, _: u32, _: u64) -> std::io::Result<Option<LogChunk>> {
            Ok(None)
        }

        fn result(&self, _: DispatchId, _: &str) -> std::io::Result<Option<super::super::StoredResult>> {
            Ok(None)
        }
    }

    fn service() -> Service {
        let (keys, kept) = (Keys::new(&[7; 32]), Arc::new(Nothing));
        let options = Options { url: String::new(), shard: ShardId::DEFAULT, epoch: 3, keys, kept };
        let ((_, commands), (events, _)) = (mpsc::channel(1), mpsc::channel(1));
        let shared = Sharing::default();
        lock(&shared).now = Timestamp(100);
        Service::new(options, shared, commands, events)
    }

    fn worker() -> WorkerId {
        "00000000-0000-8000-8000-000000000001".parse().unwrap()
    }

    fn beat(n: u64, seen: u64) -> wire::Beat {
        let seen = Mark { epoch: 3, n: seen };
        wire::Beat { n, seen, held: Vec::new(), draining: false, leaving: false }
    }

    #[test]
    fn a_heartbeat_that_comes_late_or_again_says_nothing() {
        let mut service = service();
        assert_eq!(service.beat(worker(), beat(6, 0)).unwrap().as_of, Timestamp(100));
        assert!(service.beat(worker(), beat(8, 0)).is_some());
        assert_eq!(service.beat(worker(), beat(7, 0)), None, "it was on its way for longer");
        assert_eq!(service.beat(worker(), beat(8, 0)), None, "it was delivered again");
        assert!(service.beat(worker(), wire::Beat { leaving: true, ..beat(9, 0) }).unwrap().leaving);
        assert_eq!(service.beat(worker(), beat(10, 0)), None, "it said that it ends");
        assert!(service.peers.is_empty() && service.origins.is_empty());
    }

    #[test]
    fn a_worker_that_returns_gets_no_number_twice() {
        let mut service = service();
        let number = |service: &mut Service| {
            let peer = service.peer(worker());
            peer.n += 1;
            peer.n
        };
        assert_eq!((number(&mut service), number(&mut service)), (1, 2));
        service.forget(worker());
        service.forget_silent(clock::monotonic());
        assert!(service.peers.is_empty(), "it was never heard and isn't ours");
        assert_eq!(number(&mut service), 3);
        service.beat(worker(), beat(1, 3));
        service.forget_silent(clock::monotonic());
        assert_eq!(service.beat(worker(), beat(1, 3)), None, "what was heard isn't forgotten at once");
    }
}
