//! The executor of this machine: a client of the supervisor, which it starts if none runs.
//!
//! [`open`] gives two things: a [`LocalExecutor`], a handle that is cheap to clone, and a [`Service`], whose
//! [`Service::run`] the caller spawns. The service keeps one connection to the supervisor. When it is lost, every ask
//! that wasn't answered is sent again to the next supervisor, or the same one; all asks may be repeated.

use std::{ffi::OsString, path::PathBuf};

use dags::ids::DispatchId;
use engine::dispatch::{Held, Kill, Report};
use tokio::sync::{mpsc, oneshot};

pub use self::service::Service;
use crate::{
    contract::{Capacity, Error, Executor, Work},
    log::LogChunk,
    wire::{Answer, Ask, Listed},
};

mod launch;
mod service;

/// How many asks may wait for the connection before callers have to.
const ASKS_MAX: usize = 1024;

/// How much of a log is asked for at once.
const LOG_BYTES: u64 = 256 * 1024;

/// The settings of the local executor.
#[derive(Debug, Clone)]
pub struct Options {
    /// The supervisor's folder.
    pub dir: PathBuf,
    /// The program that starts the supervisor.
    pub program: PathBuf,
    /// Its arguments: such that it calls [`crate::supervise::run`] for [`Options::dir`].
    pub arguments: Vec<OsString>,
    /// How many attempts may run at once, as [`Executor::capacity`] tells it.
    pub slots: u32,
}

impl Options {
    /// `<this program> supervise --dir DIR --objects OBJECTS`.
    pub fn new(dir: PathBuf, objects: &std::path::Path) -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        let arguments =
            ["supervise".into(), "--dir".into(), dir.clone().into(), "--objects".into(), objects.into()]
                .into();
        Ok(Self { dir, program, arguments, slots: 1024 })
    }
}

/// An ask on its way, and where its answer goes.
#[derive(Debug)]
struct Errand {
    ask: Ask,
    /// Whether the service ends once this is done.
    last: bool,
    reply: oneshot::Sender<Result<Answer, Error>>,
}

/// The executor of this machine.
#[derive(Debug, Clone)]
pub struct LocalExecutor {
    errands: mpsc::Sender<Errand>,
    slots: u32,
}

/// Makes the executor. Reports go to `reports`; they wait in memory while that is full.
pub fn open(options: Options, reports: mpsc::Sender<Report>) -> (LocalExecutor, Service) {
    let (errands, receiver) = mpsc::channel(ASKS_MAX);
    let executor = LocalExecutor { errands, slots: options.slots };
    (executor, Service::new(options, reports, receiver))
}

impl LocalExecutor {
    async fn ask(&self, ask: Ask) -> Result<Answer, Error> {
        self.run(ask, false).await
    }

    async fn run(&self, ask: Ask, last: bool) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        self.errands.send(Errand { ask, last, reply }).await.map_err(|_| Error::Stopped)?;
        match answer.await.map_err(|_| Error::Stopped)?? {
            Answer::Refused { reason } => Err(Error::Refused(reason)),
            answer => Ok(answer),
        }
    }

    async fn ask_done(&self, ask: Ask) -> Result<(), Error> {
        match self.ask(ask).await? {
            Answer::Done => Ok(()),
            answer => Err(unexpected(&answer)),
        }
    }

    /// Asks the supervisor to exit, which it refuses while attempts run. What has ended is kept on disk, and a new
    /// supervisor starts at once: this is how a new release of the program takes over.
    pub async fn retire(&self) -> Result<(), Error> {
        self.ask_done(Ask::Retire).await
    }

    /// Asks the supervisor to exit, which it refuses while attempts run, and ends the service: for those who need an
    /// executor for a while only.
    pub async fn close(&self) -> Result<(), Error> {
        match self.run(Ask::Retire, true).await? {
            Answer::Done => Ok(()),
            answer => Err(unexpected(&answer)),
        }
    }

    /// The process id and the release of the supervisor.
    pub async fn supervisor(&self) -> Result<(u32, String), Error> {
        match self.ask(Ask::Hello).await? {
            Answer::Hello { pid, release, .. } => Ok((pid, release)),
            answer => Err(unexpected(&answer)),
        }
    }
}

fn unexpected(answer: &Answer) -> Error {
    Error::Refused(format!("the supervisor gave an answer that doesn't fit: {answer:?}"))
}

impl Executor for LocalExecutor {
    async fn submit(&self, work: Work) -> Result<(), Error> {
        self.ask_done(Ask::Start(Box::new(work))).await
    }

    async fn kill(&self, kill: Kill) -> Result<(), Error> {
        let Kill { id: dispatch, members, grace, reason, executor: _, worker: _ } = kill;
        self.ask_done(Ask::Kill { dispatch, members, grace, reason }).await
    }

    async fn list(&self) -> Result<Vec<Held>, Error> {
        match self.ask(Ask::List).await? {
            Answer::List(listed) => Ok(listed.into_iter().map(held).collect()),
            answer => Err(unexpected(&answer)),
        }
    }

    async fn confirm(&self, dispatch: DispatchId, member: u32) -> Result<(), Error> {
        self.ask_done(Ask::Forget { dispatch, member }).await
    }

    async fn logs(&self, dispatch: DispatchId, member: u32, offset: u64) -> Result<LogChunk, Error> {
        match self.ask(Ask::Logs { dispatch, member, offset, bytes: LOG_BYTES }).await? {
            Answer::Logs(chunk) => Ok(chunk),
            Answer::Unknown => Err(Error::Unknown { dispatch, member }),
            answer => Err(unexpected(&answer)),
        }
    }

    async fn capacity(&self) -> Result<Capacity, Error> {
        crate::worker::capacity(self.slots)
            .map_err(|error| Error::Unavailable(format!("the machine's size can't be read: {error}")))
    }
}

fn held(Listed { dispatch: id, member, since, ended }: Listed) -> Held {
    Held { id, member, since, ended }
}
