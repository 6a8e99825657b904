//! The executor of a fleet of workers: carries dispatches to the worker that the engine chose, through the broker.
//!
//! [`open`] gives a [`FleetExecutor`], a handle that is cheap to clone, and a [`Service`], whose [`Service::run`] the caller
//! spawns. The broker only carries: nothing is lost with it that the database doesn't know, and what didn't arrive is sent
//! again when a heartbeat shows that the worker doesn't have it. What workers say comes as [`Event`]s, in their order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dags::{
    ids::{DispatchId, ShardId, WorkerId},
    time::Timestamp,
};
use engine::{
    dispatch::{Dispatch, Held, Kill, Report},
    driver::Receipt,
    fleet::{HeldThere, WorkerSpec},
};
use plugins::token::Keys;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::believe::believed;
pub use self::service::Service;
use crate::{
    contract::{Capacity, Error, Executor, Work},
    log::LogChunk,
};

mod believe;
mod hearing;
pub(crate) mod receipts;
mod service;
pub(crate) mod wire;

/// Commands that may wait for the service.
const COMMANDS_MAX: usize = 16_384;
/// Dispatches that were confirmed last: a repeat of one is refused without asking its worker.
const CONFIRMED_REMEMBERED: usize = 10_000;

/// A result that a dispatch stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredResult {
    /// Its length in bytes.
    pub bytes: u64,
    /// The number of its elements if it is a list or an object.
    pub mapped_length: Option<u32>,
}

/// Where logs and results of attempts are, once a worker has sent them.
pub trait Kept: Send + Sync + 'static {
    /// A piece of a log from `offset` on; none if there is nothing.
    fn log(&self, dispatch: DispatchId, member: u32, offset: u64) -> std::io::Result<Option<LogChunk>>;

    /// What is known of a result; none if this dispatch stored no such result.
    fn result(&self, dispatch: DispatchId, digest: &str) -> std::io::Result<Option<StoredResult>>;
}

/// The settings of a fleet.
#[derive(Clone)]
pub struct Options {
    /// The broker.
    pub url: String,
    /// Whose workers they are.
    pub shard: ShardId,
    /// The owner's number: grows from one owner of the shard to the next.
    pub epoch: u64,
    /// Proves what was sent to whom.
    pub keys: Keys,
    /// Logs and results.
    pub kept: Arc<dyn Kept>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("shard", &self.shard)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// What comes from the fleet.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Workers can be heard.
    Hearing,
    /// They can't. That is so at the start.
    Deaf,
    /// Reports; they come again until they are settled.
    Reports {
        /// The worker that sent them.
        worker: WorkerId,
        /// The reports.
        reports: Vec<Report>,
    },
    /// A worker's heartbeat.
    Beat(Beat),
}

/// A worker's heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    /// Which worker.
    pub worker: WorkerId,
    /// All that it holds.
    pub held: Vec<HeldThere>,
    /// What was let out before this, by the engine's clock, had reached the worker.
    pub as_of: Timestamp,
    /// Whether it takes nothing new.
    pub draining: bool,
    /// Whether it ends now.
    pub leaving: bool,
}

/// Counts for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that the broker has taken.
    pub published: u64,
    /// Messages that no queue took.
    pub unroutable: u64,
    /// Messages that could not be parsed and went to the dead-letter queue.
    pub dead: u64,
    /// Messages without a proof that the worker is the one it says, and reports without one that their dispatch was its.
    pub unproved: u64,
}

#[derive(Debug)]
enum Command {
    Dispatch(Vec<Dispatch>),
    Kill(Kill),
    Settle(Vec<Receipt>),
    Confirm { dispatch: DispatchId, member: u32 },
    Joined(WorkerSpec),
    Lost(WorkerId),
    List(oneshot::Sender<Result<Vec<Held>, Error>>),
}

/// What handles and service share.
#[derive(Debug)]
struct Shared {
    /// The engine's clock, as last told.
    now: Timestamp,
    /// When the dispatches were let out that are on their way to the service.
    waiting: VecDeque<Timestamp>,
    workers: BTreeMap<WorkerId, WorkerSpec>,
    confirmed: BTreeSet<DispatchId>,
    confirmed_order: VecDeque<DispatchId>,
    counts: Counts,
    /// Whether workers can be heard; if not, why, as far as it is known.
    hearing: Result<(), String>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            now: Timestamp::default(),
            waiting: VecDeque::new(),
            workers: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            confirmed_order: VecDeque::new(),
            counts: Counts::default(),
            hearing: Err("the broker hasn't been reached yet".to_owned()),
        }
    }
}

impl Shared {
    fn remember(&mut self, id: DispatchId) {
        if self.confirmed.insert(id) {
            self.confirmed_order.push_back(id);
            if self.confirmed_order.len() > CONFIRMED_REMEMBERED
                && let Some(old) = self.confirmed_order.pop_front()
            {
                self.confirmed.remove(&old);
            }
        }
    }
}

type Sharing = Arc<Mutex<Shared>>;

fn lock(shared: &Sharing) -> MutexGuard<'_, Shared> {
    // Nothing that holds the lock can leave it half-changed.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The executor of a fleet.
#[derive(Clone)]
pub struct FleetExecutor {
    commands: mpsc::Sender<Command>,
    shared: Sharing,
    kept: Arc<dyn Kept>,
}

impl std::fmt::Debug for FleetExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetExecutor").finish_non_exhaustive()
    }
}

/// Makes the executor. What workers say goes to `events`; nothing more is read from the broker while that is full.
pub fn open(options: Options, events: mpsc::Sender<Event>) -> (FleetExecutor, Service) {
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    let shared = Sharing::default();
    let executor = FleetExecutor { commands, shared: shared.clone(), kept: options.kept.clone() };
    (executor, Service::new(options, shared, receiver, events))
}

impl FleetExecutor {
    /// The engine's clock: to be told before anything is let out, so that heartbeats know what they can't know.
    pub fn tick(&self, now: Timestamp) {
        let mut shared = lock(&self.shared);
        shared.now = shared.now.max(now);
    }

    /// Hands dispatches over, each to its worker. What doesn't arrive is handed over again by the engine, which sees in
    /// heartbeats what a worker has; that goes for an error as well.
    pub fn dispatch(&self, dispatches: Vec<Dispatch>) -> Result<(), Error> {
        let mut shared = lock(&self.shared);
        let now = shared.now;
        // Under the lock, so that a heartbeat finds it either here or among the orders.
        self.give(Command::Dispatch(dispatches))?;
        shared.waiting.push_back(now);
        Ok(())
    }

    /// These reports are durable: the broker may forget them, and the workers what has ended. After an error they come again.
    pub fn settle(&self, receipts: Vec<Receipt>) -> Result<(), Error> {
        self.give(Command::Settle(receipts))
    }

    /// A worker is there, with what it offers.
    pub async fn joined(&self, spec: WorkerSpec) -> Result<(), Error> {
        self.send(Command::Joined(spec)).await
    }

    /// A worker is lost: nothing is expected of it any more. It may come back.
    pub async fn lost(&self, worker: WorkerId) -> Result<(), Error> {
        self.send(Command::Lost(worker)).await
    }

    fn give(&self, command: Command) -> Result<(), Error> {
        self.commands.try_send(command).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                Error::Unavailable("too much waits for the broker".to_owned())
            }
            mpsc::error::TrySendError::Closed(_) => Error::Stopped,
        })
    }

    /// The workers that are there.
    pub fn workers(&self) -> BTreeSet<WorkerId> {
        lock(&self.shared).workers.keys().copied().collect()
    }

    /// Counts since it was opened.
    pub fn counts(&self) -> Counts {
        lock(&self.shared).counts
    }

    /// Whether workers can be heard through the broker; if not, why.
    pub fn hearing(&self) -> Result<(), String> {
        lock(&self.shared).hearing.clone()
    }

    async fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| Error::Stopped)
    }
}

impl Executor for FleetExecutor {
    async fn submit(&self, work: Work) -> Result<(), Error> {
        if lock(&self.shared).confirmed.contains(&work.dispatch.id) {
            return Err(Error::Refused("it has ended, and that was confirmed".to_owned()));
        }
        if work.dispatch.worker.is_none() {
            return Err(Error::Refused("no worker was chosen for it".to_owned()));
        }
        self.dispatch(vec![work.dispatch])
    }

    async fn kill(&self, kill: Kill) -> Result<(), Error> {
        self.send(Command::Kill(kill)).await
    }

    async fn list(&self) -> Result<Vec<Held>, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::List(reply)).await?;
        answer.await.map_err(|_| Error::Stopped)?
    }

    async fn confirm(&self, dispatch: DispatchId, member: u32) -> Result<(), Error> {
        // At once, so that a repeat that comes behind this is refused.
        lock(&self.shared).remember(dispatch);
        self.send(Command::Confirm { dispatch, member }).await
    }

    async fn logs(&self, dispatch: DispatchId, member: u32, offset: u64) -> Result<LogChunk, Error> {
        let kept = self.kept.clone();
        let read = tokio::task::spawn_blocking(move || kept.log(dispatch, member, offset)).await;
        match read.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(Some(chunk)) => Ok(chunk),
            Ok(None) => Err(Error::Unknown { dispatch, member }),
            Err(error) => Err(Error::Unavailable(format!("the log can't be read: {error}"))),
        }
    }

    async fn capacity(&self) -> Result<Capacity, Error> {
        let mut sum = Capacity { cpu_milli: 0, memory_bytes: 0, slots: 0 };
        for spec in lock(&self.shared).workers.values() {
            sum.cpu_milli = sum.cpu_milli.saturating_add(spec.cpu_milli);
            sum.memory_bytes = sum.memory_bytes.saturating_add(spec.memory_bytes);
            sum.slots = sum.slots.saturating_add(spec.slots);
        }
        Ok(sum)
    }
}
