//! The worker's way to the broker: orders in, reports and heartbeats out, in their order.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    time::Duration,
};

use dags::ids::{ShardId, WorkerId};
use engine::execution::Registered;
use futures::{StreamExt as _, stream::FuturesUnordered};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicRejectOptions},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{held::Told, watch::Watch};
use crate::{
    broker::{self, Sent, Session},
    clock,
    fleet::wire::{self, Beat, Down, News, Up},
    seldom::Seldom,
};

/// Deliveries that may be unacknowledged.
const PREFETCH: u16 = 64;
/// Messages that may wait for the broker's confirmation: few, so that reports that come meanwhile go together with the next.
const UNCONFIRMED_MAX: usize = 2;
/// Waits between two tries to reach the broker.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Messages from the broker that may wait; those to it wait where reports can still be added to them.
const WAITING_MAX: usize = 64;

/// What a worker says.
#[derive(Debug, Clone)]
pub(super) enum Out {
    /// Sent until the broker has it.
    Reports(Vec<Told>),
    /// Sent once: the next one says more.
    Beat(Beat),
}

/// Carries both directions.
pub(super) struct Link {
    url: String,
    worker: WorkerId,
    shard: ShardId,
    /// That the worker is this one.
    proof: String,
    sender: mpsc::Sender<Out>,
    outgoing: mpsc::Receiver<Out>,
    orders: mpsc::Sender<Down>,
    /// What was read and waits for room.
    read: VecDeque<Down>,
    /// Reports that the broker didn't take.
    again: VecDeque<Vec<Told>>,
    watch: Watch,
    /// Reports that are on their way to it, by number.
    under_way: BTreeMap<u64, Vec<Told>>,
    sent: u64,
}

/// A message on its way, by its number if it holds reports, and what became of it.
type Publish = Pin<Box<dyn Future<Output = (u64, Result<Sent, lapin::Error>)> + Send>>;
type Publishing = FuturesUnordered<Publish>;

enum Turn {
    Stop,
    Out(Out),
    Room,
    Delivery(Option<Result<Box<Delivery>, lapin::Error>>),
    Published(u64, Result<Sent, lapin::Error>),
}

impl Link {
    pub(super) fn new(
        url: String,
        worker: WorkerId,
        registered: &Registered,
        watch: Watch,
    ) -> (Self, mpsc::Receiver<Down>) {
        let (sender, outgoing) = mpsc::channel(1);
        let (orders, received) = mpsc::channel(WAITING_MAX);
        let link = Self {
            url,
            worker,
            shard: registered.shard,
            proof: registered.proof.clone(),
            sender,
            outgoing,
            orders,
            read: VecDeque::new(),
            again: VecDeque::new(),
            watch,
            under_way: BTreeMap::new(),
            sent: 0,
        };
        (link, received)
    }

    pub(super) fn sender(&self) -> mpsc::Sender<Out> {
        self.sender.clone()
    }

    /// Runs until it is cancelled; what waits to be said then is lost.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let (mut failures, mut said) = (0_u32, Seldom::default());
        while !cancel.is_cancelled() {
            let name = format!("updraft worker {}", self.worker);
            let opened = tokio::select! {
                () = cancel.cancelled() => return,
                opened = Session::open(&self.url, &name) => opened,
            };
            let ended = match opened {
                Ok(session) => {
                    failures = 0;
                    said.over();
                    // Whatever is waited for must hold up neither the end nor the next session.
                    let ended = tokio::select! {
                        () = cancel.cancelled() => Ok(()),
                        error = session.broken() => Err(error),
                        ended = Box::pin(self.converse(&session)) => ended,
                    };
                    session.close().await;
                    // Nobody knows whether the broker has these.
                    self.again.extend(std::mem::take(&mut self.under_way).into_values());
                    ended
                }
                Err(error) => Err(error),
            };
            let Err(error) = ended else { return };
            self.watch.say(|glance| glance.broker = Err(error.to_string()));
            said.session_ended(&error.to_string(), failures);
            let wait = BACKOFF.1.min(BACKOFF.0 * 2_u32.pow(failures.min(8)));
            failures += 1;
            if tokio::time::timeout(wait, cancel.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    async fn converse(&mut self, session: &Session) -> Result<(), broker::Error> {
        session.ensure_shard(self.shard).await?;
        let mut consumer = session.read_worker(self.worker, PREFETCH).await?;
        self.watch.say(|glance| glance.broker = Ok(true));
        let mut publishing = Publishing::new();
        loop {
            while publishing.len() < UNCONFIRMED_MAX
                && let Some(reports) = self.again.pop_front()
            {
                let publish = self.publish(&session.publish, Out::Reports(reports));
                publishing.push(publish);
            }
            let room = publishing.len() < UNCONFIRMED_MAX;
            let turn = tokio::select! {
                out = self.outgoing.recv(), if room => out.map_or(Turn::Stop, Turn::Out),
                Some((n, sent)) = publishing.next(), if !publishing.is_empty() => Turn::Published(n, sent),
                given = give(&self.orders, &mut self.read), if !self.read.is_empty() =>
                    if given { Turn::Room } else { Turn::Stop },
                delivery = consumer.next(), if self.read.is_empty() => Turn::Delivery(delivery.map(|delivery| delivery.map(Box::new))),
            };
            match turn {
                Turn::Stop => return Ok(()),
                Turn::Room => {}
                Turn::Out(out) => {
                    let publish = self.publish(&session.publish, out);
                    publishing.push(publish);
                }
                Turn::Delivery(Some(Ok(delivery))) => self.take(&delivery).await?,
                Turn::Delivery(Some(Err(error))) => return Err(error.into()),
                Turn::Delivery(None) => return Err(broker::Error::Closed),
                Turn::Published(n, Ok(Sent::Stored)) => {
                    self.under_way.remove(&n);
                }
                Turn::Published(n, Ok(Sent::Nowhere)) => {
                    self.again.extend(self.under_way.remove(&n));
                    // The shard's queue is gone, or the broker is full.
                    session.ensure_shard(self.shard).await?;
                    clock::sleep(BACKOFF.0).await;
                }
                Turn::Published(_, Err(error)) => return Err(error.into()),
            }
        }
    }

    fn publish(&mut self, channel: &Channel, out: Out) -> Publish {
        let (channel, queue) = (channel.clone(), broker::shard_queue(self.shard));
        self.sent += 1;
        let n = self.sent;
        let news = match out {
            Out::Reports(reports) => {
                let proved = reports.iter().map(|told| told.proved.clone()).collect();
                self.under_way.insert(n, reports);
                News::Reports(proved)
            }
            Out::Beat(beat) => News::Beat(beat),
        };
        let up = Up { format: wire::FORMAT, worker: self.worker, proof: self.proof.clone(), news };
        Box::pin(async move {
            let payload = wire::write(&up);
            (n, broker::publish(&channel, &queue, &payload, true).await)
        })
    }

    async fn take(&mut self, delivery: &Delivery) -> Result<(), broker::Error> {
        match wire::read::<Down>(&delivery.data) {
            Ok(down) => {
                self.read.push_back(down);
                delivery.acker.ack(BasicAckOptions::default()).await?;
            }
            Err(error) => {
                tracing::error!(%error, "a message to the worker goes to the dead-letter queue");
                delivery.acker.reject(BasicRejectOptions { requeue: false }).await?;
            }
        }
        Ok(())
    }
}

/// Hands on what was read as soon as there is room; false if nobody receives it any more.
async fn give(orders: &mpsc::Sender<Down>, read: &mut VecDeque<Down>) -> bool {
    let Ok(room) = orders.reserve().await else { return false };
    if let Some(down) = read.pop_front() {
        room.send(down);
    }
    true
}
