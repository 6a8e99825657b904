//! A worker: takes orders of a shard's owner from the broker, asks the task API for what they are about, runs attempts
//! with the supervisor of this machine, and reports.
//!
//! It holds no credentials of the database. An order is only an id with a proof; whoever is first to claim a dispatch at the
//! task API runs it. Reports are kept and repeated until the owner says that they are durable. The supervisor and all
//! attempts end with the worker: a worker that starts again is another one, and its predecessor's attempts are lost.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, time::Duration};

use dags::ids::WorkerId;
use engine::{
    execution::{FORMAT, Register},
    fleet::WorkerSpec,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::api::{Api, ApiError, enrol};
use self::{home::Home, link::Link, runner::Runner, runtime::Runtime};
use crate::{broker, local};

mod api;
mod bundles;
mod detect;
mod held;
mod home;
mod jobs;
mod link;
pub mod pod;
mod runner;
mod runtime;
mod watch;

pub use detect::capacity;
pub use watch::{Glance, Watch};

/// How a worker's attempts are run.
#[derive(Debug, Clone)]
pub enum Run {
    /// By a supervisor of this machine: the program and its arguments before `--dir DIR --objects DIR --with-parent`.
    Local {
        /// The program.
        program: PathBuf,
        /// What comes first.
        arguments: Vec<OsString>,
    },
    /// Not at all: every attempt succeeds at once. For load tests of everything else.
    Noop,
}

/// The settings of a worker.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the task API is.
    pub api: Api,
    /// The broker's URL.
    pub broker: String,
    /// A folder of this worker's own.
    pub data: PathBuf,
    /// What it offers; the id is made anew.
    pub spec: WorkerSpec,
    /// Words about it, for people.
    pub labels: BTreeMap<String, String>,
    /// How it runs attempts.
    pub run: Run,
    /// How long running attempts may take to end when the worker is drained; after that they are given back.
    pub drain_max: Duration,
    /// Where it says how it is.
    pub watch: Watch,
}

/// Why a worker can't work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task API refused.
    #[error("the task API refused to register the worker")]
    Register(#[source] ApiError),
    /// The broker's URL.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// The folder.
    #[error("failed to make the folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It had to stop by itself.
    #[error("the worker can't go on: {0}")]
    Unable(String),
}

/// Works until `drain` and then until what runs has ended, or until `cancel`, which ends attempts with the worker.
pub async fn run(options: Options, drain: CancellationToken, cancel: CancellationToken) -> Result<(), Error> {
    broker::check_url(&options.broker)?;
    let worker = WorkerId(Uuid::now_v7());
    let failed = |source| Error::Folder { path: options.data.clone(), source };
    let home = Home::open(&options.data, worker).map_err(failed)?;
    let register = Register {
        format: FORMAT,
        spec: WorkerSpec { worker, ..options.spec.clone() },
        labels: options.labels.clone(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let registered =
        options.api.register(&register, &options.watch, &cancel).await.map_err(Error::Register)?;
    let Some(registered) = registered else { return Ok(()) };
    tracing::info!(%worker, slots = registered.spec.slots, queues = ?registered.spec.queues, "the worker is registered");
    options.watch.say(|glance| {
        (glance.worker, glance.slots) = (Some(worker), registered.spec.slots);
        glance.unregistered = None;
    });
    let (reports, received) = mpsc::channel(1024);
    let end = cancel.child_token();
    let (runner, service) = match &options.run {
        Run::Local { program, arguments } => {
            let dir = home.path().join("supervisor");
            let mut arguments = arguments.clone();
            arguments.extend([
                "--dir".into(),
                dir.clone().into(),
                "--objects".into(),
                home.path().join("objects").into(),
                "--with-parent".into(),
            ]);
            let slots = registered.spec.slots;
            let local = local::Options { dir, program: program.clone(), arguments, slots };
            let (executor, service) = local::open(local, reports);
            (Runner::Local(executor), Some(service))
        }
        Run::Noop => (Runner::Noop(reports), None),
    };
    let service = async {
        match service {
            Some(service) => service.run(end.clone()).await,
            None => end.cancelled().await,
        }
    };
    let (link, orders) = Link::new(options.broker.clone(), worker, &registered, options.watch.clone());
    let runtime = Runtime::new(&options, worker, runner, link.sender());
    let work = async {
        let unable = runtime.work(orders, received, drain, cancel.clone()).await;
        end.cancel();
        unable
    };
    let ((), (), unable) = tokio::join!(Box::pin(service), Box::pin(link.run(end.clone())), Box::pin(work));
    if let Err(error) = options.api.leave(worker).await {
        tracing::warn!(%error, "the task API doesn't know that the worker has ended; its lease will tell");
    }
    if let Err(error) = home.remove() {
        tracing::warn!(%error, "the worker's folder can't be removed");
    }
    unable.map_or(Ok(()), |why| Err(Error::Unable(why)))
}
