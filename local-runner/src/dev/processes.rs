//! Ending what a session has started.

use dags::time::Span;
use executor::local::LocalExecutor;
use rustix::{
    fd::OwnedFd,
    process::{Pid, PidfdFlags, pidfd_open},
};
use scheduler::{clock, executors::Kind};

use crate::{
    Error,
    test_run::node::{exited, kill_all},
};

/// The pause between two kills: what was about to start is ended by the next one.
const PAUSE: Span = Span::millis(20);

/// The supervisor of an executor, which can be waited for.
#[derive(Debug)]
pub struct Supervisor {
    local: LocalExecutor,
    process: Option<OwnedFd>,
}

impl Supervisor {
    /// That of an executor.
    pub async fn of(local: LocalExecutor) -> Self {
        let pid = local.supervisor().await.ok();
        let process = pid
            .and_then(|(pid, _)| Pid::from_raw(pid as i32))
            .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).ok());
        Self { local, process }
    }

    /// Ends whatever runs, again and again, until dropped.
    pub async fn end_attempts(&self) {
        loop {
            kill_all(&Kind::Local(self.local.clone()), Span::ZERO).await;
            clock::sleep(PAUSE).await;
        }
    }

    /// Waits until it is gone; if that takes too long it is killed, and its attempts die with it.
    pub async fn gone(self) -> Result<(), Error> {
        match self.process {
            Some(process) => exited(process).await,
            None => Ok(()),
        }
    }
}
