//! The executor of a Kubernetes cluster: a pod for each member of a dispatch.
//!
//! [`open`] gives a [`KubernetesExecutor`], a handle that is cheap to clone, and a [`Service`], whose [`Service::run`] the caller
//! spawns. Nothing is kept but what the cluster and the object store have, so a service that starts again finds everything:
//!
//! * A pod is named after its member, so the same one twice is one pod. What is killed before it was ever seen becomes a pod that
//!   no node may take: it holds the name.
//! * A finalizer keeps a pod's object, whoever deletes it, until its end is confirmed. So nothing that happens while nobody
//!   watches is missed.
//! * The program in the pod ([`crate::worker::pod`]) stores how the attempt ended before the pod does. Of a pod that ended without
//!   that word, [`judge`] finds the cause in what the cluster says; it is written to the pod before anybody is told, so that it
//!   stays the same.
//! * What the pod may ask the task API with lies in a secret that the pod owns, and that goes with it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dags::{
    ids::{DispatchId, ExecutorName, ShardId},
    installation::Pods,
};
use engine::{
    dispatch::{End, Held, Kill, Outcome, Report},
    execution::{Ending, Waits},
};
use kube::Client;
use plugins::token::Keys;
use tokio::sync::{Notify, mpsc};

use self::{cluster::Cluster, known::Known};
pub use self::{cluster::connect, service::Service, shape::Template};
use crate::{
    contract::{Capacity, Error, Executor, Work},
    fleet,
    log::LogChunk,
};

mod capacity;
mod cluster;
mod judge;
mod known;
mod service;
mod shape;

/// Members that were confirmed last: a repeat of one is refused without asking the cluster.
const CONFIRMED_REMEMBERED: usize = 10_000;
/// How often a kill looks again whether the pod is there that it has just met.
const KILL_TRIES: u32 = 5;
/// What a pod has, beside the grace of its attempt, to store how that ended before its containers are killed.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// A member of a dispatch.
type Key = (DispatchId, u32);

/// What pods and this executor tell each other, and the logs and results of pods.
pub trait Kept: fleet::Kept {
    /// How a member ended, if its pod said it.
    fn end(&self, dispatch: DispatchId, member: u32) -> io::Result<Option<End>>;

    /// Says why a member is to be ended; a later word replaces an earlier one.
    fn put_ending(&self, dispatch: DispatchId, member: u32, ending: &Ending) -> io::Result<()>;

    /// Why a member is to be ended, if it is.
    fn ending(&self, dispatch: DispatchId, member: u32) -> io::Result<Option<Ending>>;

    /// Says what a member's pod waits for before it begins; none once nothing holds it any more.
    fn put_waits(&self, dispatch: DispatchId, member: u32, waits: Option<&Waits>) -> io::Result<()>;
}

/// How long the cluster may take for what may never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until a node takes a pod.
    pub unschedulable: Duration,
    /// Until an image is there and a container can be made.
    pub unstartable: Duration,
    /// Until a node answers again. Its pods are lost after that.
    pub node_lost: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            unschedulable: Duration::from_mins(10),
            unstartable: Duration::from_mins(2),
            node_lost: Duration::from_mins(1),
        }
    }
}

/// How pods ask for GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus {
    /// The extended resource that they are.
    pub resource: String,
    /// The label that says which model a node has, and its values by the models' names in DAGs.
    pub models: Option<(String, BTreeMap<String, String>)>,
}

/// The settings of an executor.
#[derive(Clone)]
pub struct Options {
    /// What it is called.
    pub name: ExecutorName,
    /// Whose pods they are.
    pub shard: ShardId,
    /// The cluster.
    pub client: Client,
    /// Where the pods are made.
    pub namespace: String,
    /// The image of tasks.
    pub image: String,
    /// The image that brings `updraft-pod`.
    pub updraft_image: String,
    /// What pods have beside that.
    pub template: Template,
    /// What tasks may choose.
    pub pods: Pods,
    /// GPUs, if there are any.
    pub gpus: Option<Gpus>,
    /// The URL of the task API, as pods reach it.
    pub task_api: String,
    /// The certificates that it is known by, PEM; those that the image trusts if absent.
    pub authorities: Option<String>,
    /// How many attempts may run at once.
    pub slots: u32,
    /// The longest log of an attempt, in bytes: so much the pod's node keeps of it.
    pub log_bytes_max: u64,
    /// How long it waits.
    pub patience: Patience,
    /// Proves to the task API which pod is which.
    pub keys: Keys,
    /// Ends, logs, results.
    pub kept: Arc<dyn Kept>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// What handles and service share.
#[derive(Debug, Default)]
struct State {
    /// Whether all pods of the cluster are known; if not, why, as far as it is known.
    listed: Option<Result<(), String>>,
    pods: BTreeMap<Key, Known>,
    confirmed: BTreeSet<Key>,
    confirmed_order: VecDeque<Key>,
}

impl State {
    fn remember(&mut self, key: Key) {
        if self.confirmed.insert(key) {
            self.confirmed_order.push_back(key);
            if self.confirmed_order.len() > CONFIRMED_REMEMBERED
                && let Some(old) = self.confirmed_order.pop_front()
            {
                self.confirmed.remove(&old);
            }
        }
    }
}

struct Shared {
    options: Options,
    cluster: Cluster,
    state: Mutex<State>,
    /// Rings when a pod was changed by a handle, so that the service looks at it.
    changed: Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks what is kept, in a thread that may block.
    async fn kept<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Kept) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let kept = self.options.kept.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&*kept)).await;
        let asked = asked.unwrap_or_else(|error| Err(io::Error::other(error)));
        asked.map_err(|error| Error::Unavailable(format!("the object store can't be used: {error}")))
    }
}

/// The executor of a cluster.
#[derive(Clone)]
pub struct KubernetesExecutor(Arc<Shared>);

impl std::fmt::Debug for KubernetesExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KubernetesExecutor").field(&self.0.options).finish()
    }
}

/// Makes the executor. Reports go to `reports`; they wait in memory while that is full.
pub fn open(options: Options, reports: mpsc::Sender<Report>) -> (KubernetesExecutor, Service) {
    let cluster = Cluster::new(options.client.clone(), &options.namespace);
    let shared = Arc::new(Shared { options, cluster, state: Mutex::default(), changed: Notify::new() });
    (KubernetesExecutor(shared.clone()), Service::new(shared, reports))
}

fn killed(reason: String) -> End {
    End { outcome: Outcome::Killed, ..judge::never_ran(reason) }
}

impl KubernetesExecutor {
    /// The pod of a member, made unless it is there. The word says whether it is one that may run.
    async fn make(&self, work: &Work) -> Result<(), Error> {
        let Shared { options, cluster, .. } = &*self.0;
        let (key, name) =
            ((work.dispatch.id, work.context.member), shape::name(work.dispatch.id, work.context.member));
        let pod = shape::pod(options, work)?;
        let pod = match cluster.create(&pod).await? {
            Some(made) => made,
            None => cluster
                .get(&name)
                .await?
                .ok_or_else(|| Error::Unavailable(format!("the pod {name} has just gone")))?,
        };
        if shape::key(&pod) != Some(key) {
            return Err(Error::Refused(format!("somebody else has made the pod {name}")));
        }
        {
            let mut state = self.0.state();
            // It may have begun, ended and been confirmed while the API server answered.
            if !state.confirmed.contains(&key) {
                state.pods.entry(key).or_insert_with(|| Known::submitted(&pod));
            }
        }
        if shape::end(&pod).is_none() && pod.metadata.deletion_timestamp.is_none() {
            let orders = shape::orders(options, &pod, shape::ticket(&work.dispatch), work.context.member)?;
            cluster.create_secret(&orders).await?;
        }
        Ok(())
    }

    async fn kill_member(&self, key: Key, kill: &Kill) -> Result<(), Error> {
        let Shared { options, cluster, .. } = &*self.0;
        let name = shape::name(key.0, key.1);
        let over = |known: &Known| known.end().is_some();
        if self.0.state().pods.get(&key).is_some_and(over) || self.0.state().confirmed.contains(&key) {
            return Ok(());
        }
        let ending = Ending { reason: kill.reason.clone(), grace: kill.grace };
        self.0.kept(move |kept| kept.put_ending(key.0, key.1, &ending)).await?;
        for _ in 0..KILL_TRIES {
            if let Some(pod) = cluster.get(&name).await? {
                let grace = kill.grace.to_std() + LAST_WORDS;
                let uid = pod.metadata.uid.clone();
                if judge::is_over(&pod) || cluster.delete(&name, uid.as_deref(), Some(grace)).await? {
                    self.0.changed.notify_one();
                    return Ok(());
                }
                continue;
            }
            // Nobody may make it any more.
            let tombstone = shape::tombstone(options, key, &killed(kill.reason.clone()))?;
            if let Some(pod) = cluster.create(&tombstone).await? {
                self.0.state().pods.insert(key, Known::submitted(&pod));
                self.0.changed.notify_one();
                return Ok(());
            }
        }
        Err(Error::Unavailable(format!("the pod {name} comes and goes")))
    }
}

impl Executor for KubernetesExecutor {
    async fn submit(&self, work: Work) -> Result<(), Error> {
        let key = (work.dispatch.id, work.context.member);
        if self.0.state().confirmed.contains(&key) {
            return Err(Error::Refused("it has ended, and that was confirmed".to_owned()));
        }
        Box::pin(self.make(&work)).await
    }

    async fn kill(&self, kill: Kill) -> Result<(), Error> {
        for member in 0..kill.members {
            Box::pin(self.kill_member((kill.id, member), &kill)).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Held>, Error> {
        let state = self.0.state();
        match &state.listed {
            Some(Ok(())) => {}
            Some(Err(why)) => return Err(Error::Unavailable(why.clone())),
            None => return Err(Error::Unavailable("its pods aren't listed yet".to_owned())),
        }
        let held = |((id, member), known): (&Key, &Known)| Held {
            id: *id,
            member: *member,
            since: known.since(),
            ended: known.end().is_some(),
        };
        Ok(state.pods.iter().map(held).collect())
    }

    async fn confirm(&self, dispatch: DispatchId, member: u32) -> Result<(), Error> {
        let key = (dispatch, member);
        {
            let mut state = self.0.state();
            match state.pods.get(&key) {
                Some(known) if known.end().is_none() => {
                    return Err(Error::Refused(format!("member {member} of dispatch {dispatch} is running")));
                }
                Some(_) => {}
                None if state.listed == Some(Ok(())) => {
                    state.remember(key);
                    return Ok(());
                }
                None => return Err(Error::Unavailable("its pods aren't listed yet".to_owned())),
            }
        }
        // A finalizer less, then the rest: whoever dies in between is asked again, and finds the pod.
        let name = shape::name(dispatch, member);
        self.0.cluster.release(&name).await?;
        self.0.cluster.delete(&name, None, Some(Duration::ZERO)).await?;
        let mut state = self.0.state();
        state.pods.remove(&key);
        state.remember(key);
        Ok(())
    }

    async fn logs(&self, dispatch: DispatchId, member: u32, offset: u64) -> Result<LogChunk, Error> {
        let found = self.0.kept(move |kept| kept.log(dispatch, member, offset)).await?;
        found.ok_or(Error::Unknown { dispatch, member })
    }

    async fn capacity(&self) -> Result<Capacity, Error> {
        capacity::of(&self.0.cluster, self.0.options.slots).await
    }
}
