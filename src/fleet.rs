//! A service with workers on other machines: the executor that reaches them, and the API that they ask.

use std::{fs::File, sync::Arc};

use anyhow::Context as _;
use api::{
    Tcp, TcpSettings,
    execution::{AttemptError, Attempts, By, Current, Parts},
};
use bytes::Bytes;
use dags::ids::{BundleId, DispatchId, ExecutorName, ShardId, WorkerId};
use engine::{
    dispatch::End,
    execution::{Answer, Ending, Ticket},
    rows::Fence,
};
use executor::fleet::{self, Options, Service};
use migrations::{
    Db,
    seal::{MasterKey, Sealer},
};
use plugins::{context::AttemptContext, token::Keys};
use scheduler::{
    attempts::{self, DbAttempts},
    facts::DbFacts,
    fleet::FleetParts,
    objects::{Objects, PutError},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Events of workers that may wait for the scheduler.
const EVENTS_MAX: usize = 1_024;

/// Where the broker is.
#[derive(Debug, Clone)]
pub(crate) struct FleetSettings {
    /// The executor that tasks name.
    pub(crate) name: ExecutorName,
    /// The broker's URL. Secret.
    pub(crate) broker: String,
}

/// Where workers and pods ask.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The executor that workers belong to, if there may be any.
    pub(crate) workers: Option<ExecutorName>,
    /// Where the task-facing API listens, and for whom.
    pub(crate) listen: TcpSettings,
}

/// What proves tickets and tokens, from the master key that all processes of the service have.
pub(crate) fn keys(master: &MasterKey) -> Keys {
    Keys::new(&master.derive("updraft execution tokens 1"))
}

/// The fleet of one term.
pub(crate) fn open(
    settings: &FleetSettings,
    fence: Fence,
    keys: &Keys,
    objects: &Objects,
) -> (FleetParts, Service) {
    let (events, received) = mpsc::channel(EVENTS_MAX);
    let options = Options {
        url: settings.broker.clone(),
        shard: fence.shard,
        epoch: fence.epoch as u64,
        keys: keys.clone(),
        kept: Arc::new(objects.clone()),
    };
    let (executor, service) = fleet::open(options, events);
    (FleetParts { name: settings.name.clone(), executor, events: received }, service)
}

/// What the task-facing API is made of. It keeps nothing, so several may run.
pub(crate) struct TaskApi {
    pub(crate) asked: Asked,
    pub(crate) db: Db,
    pub(crate) keys: Keys,
    pub(crate) sealer: Sealer,
    pub(crate) objects: Objects,
}

/// Answers workers and pods, if there may be any, until `cancel`. It ends by itself for an error only.
pub(crate) async fn answer(api: Option<TaskApi>, cancel: CancellationToken) -> anyhow::Error {
    let Some(api) = api else { return std::future::pending().await };
    match serve(api, cancel).await {
        Ok(()) => std::future::pending().await,
        Err(error) => error,
    }
}

async fn serve(api: TaskApi, cancel: CancellationToken) -> anyhow::Result<()> {
    let TaskApi { asked, db, keys, sealer, objects } = api;
    let tcp = Tcp::bind(asked.listen).await.context(
        "failed to open the port for workers and pods: see `listen`, `tls_certificate`, `tls_key`, `trusted_proxies` and `hosts` in \
         the section `task_api`",
    )?;
    tracing::info!(address = %tcp.address(), "workers and pods may ask");
    let facts = DbFacts::new(db.clone(), sealer);
    let attempts =
        DbAttempts::new(db.clone(), facts, objects, plugins::policy::Policy::default(), keys.clone());
    let executor = asked.workers;
    let parts = Parts { db, keys, executor, shard: ShardId::DEFAULT, attempts: Stored(attempts) };
    api::execution::serve(tcp, parts, cancel).await;
    Ok(())
}

/// Attempts by what is stored, as the API wants them.
struct Stored(DbAttempts);

fn said(error: attempts::Error) -> AttemptError {
    match error {
        attempts::Error::Gone => AttemptError::Gone,
        attempts::Error::Unavailable(why) => AttemptError::Unavailable(why),
    }
}

impl Attempts for Stored {
    async fn run(
        &self,
        worker: WorkerId,
        tickets: Vec<Ticket>,
    ) -> Result<Vec<Answer<AttemptContext>>, AttemptError> {
        self.0.run(worker, tickets).await.map_err(said)
    }

    async fn run_pod(
        &self,
        claimant: Uuid,
        member: u32,
        ticket: Ticket,
    ) -> Result<Answer<AttemptContext>, AttemptError> {
        self.0.run_pod(claimant, member, ticket).await.map_err(said)
    }

    async fn put_end(&self, dispatch: DispatchId, member: u32, end: End) -> Result<(), AttemptError> {
        let failed = |error| AttemptError::Unavailable(format!("an end can't be stored: {error}"));
        self.0.put_end(dispatch, member, end).await.map_err(failed)
    }

    async fn ending(&self, dispatch: DispatchId, member: u32) -> Result<Option<Ending>, AttemptError> {
        let failed = |error| AttemptError::Unavailable(format!("what is asked can't be read: {error}"));
        self.0.ending(dispatch, member).await.map_err(failed)
    }

    async fn current(&self, dispatch: DispatchId, by: By) -> Result<Current, AttemptError> {
        let (found, member) = match by {
            By::Worker(worker) => (self.0.current(dispatch, worker).await, None),
            By::Pod { member, claimant } => {
                (self.0.current_of_pod(dispatch, member, claimant).await, Some(member))
            }
        };
        let attempts::Current { bundle, members } = found.map_err(said)?;
        Ok(Current { dispatch, bundle, members, member })
    }

    async fn put_log(
        &self,
        dispatch: DispatchId,
        member: u32,
        offset: u64,
        lines: Bytes,
        last: bool,
    ) -> Result<(), AttemptError> {
        self.0.put_log(dispatch, member, offset, lines, last).await.map_err(|error| match error {
            PutError::Refused(why) => AttemptError::Refused(why),
            PutError::Io(error) => AttemptError::Unavailable(format!("a log can't be stored: {error}")),
        })
    }

    async fn put_result(
        &self,
        dispatch: DispatchId,
        members: u32,
        text: Bytes,
    ) -> Result<String, AttemptError> {
        match self.0.put_result(dispatch, members, text).await {
            Ok(Some(digest)) => Ok(digest),
            Ok(None) => Err(AttemptError::Refused("the attempt has stored too many results".to_owned())),
            Err(error) => Err(AttemptError::Unavailable(format!("a result can't be stored: {error}"))),
        }
    }

    async fn bundle(&self, bundle: BundleId) -> std::io::Result<Option<File>> {
        self.0.bundle(bundle).await
    }
}
