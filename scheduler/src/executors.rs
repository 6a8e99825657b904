//! The executors that a service has, by name.

mod mock;

use std::collections::BTreeMap;

use dags::ids::{DispatchId, ExecutorName};
use engine::dispatch::{Held, Kill};
use executor::{
    Capacity, Error, Executor, Work, fleet::FleetExecutor, kubernetes::KubernetesExecutor,
    local::LocalExecutor, log::LogChunk, noop::NoopExecutor,
};

pub use self::mock::{Answers, Mock, MockExecutor};

/// One of the kinds of executors.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Processes of this machine.
    Local(LocalExecutor),
    /// Attempts that succeed at once: for figures and dry runs.
    Noop(NoopExecutor),
    /// Processes of this machine, but for tasks whose end was decided beforehand.
    Mock(MockExecutor),
    /// Workers on other machines.
    Fleet(FleetExecutor),
    /// Pods of a cluster.
    Kubernetes(KubernetesExecutor),
}

impl Executor for Kind {
    async fn submit(&self, work: Work) -> Result<(), Error> {
        match self {
            Self::Local(executor) => executor.submit(work).await,
            Self::Noop(executor) => executor.submit(work).await,
            Self::Mock(executor) => executor.submit(work).await,
            Self::Fleet(executor) => executor.submit(work).await,
            Self::Kubernetes(executor) => executor.submit(work).await,
        }
    }

    async fn kill(&self, kill: Kill) -> Result<(), Error> {
        match self {
            Self::Local(executor) => executor.kill(kill).await,
            Self::Noop(executor) => executor.kill(kill).await,
            Self::Mock(executor) => executor.kill(kill).await,
            Self::Fleet(executor) => executor.kill(kill).await,
            Self::Kubernetes(executor) => executor.kill(kill).await,
        }
    }

    async fn list(&self) -> Result<Vec<Held>, Error> {
        match self {
            Self::Local(executor) => executor.list().await,
            Self::Noop(executor) => executor.list().await,
            Self::Mock(executor) => executor.list().await,
            Self::Fleet(executor) => executor.list().await,
            Self::Kubernetes(executor) => executor.list().await,
        }
    }

    async fn confirm(&self, dispatch: DispatchId, member: u32) -> Result<(), Error> {
        match self {
            Self::Local(executor) => executor.confirm(dispatch, member).await,
            Self::Noop(executor) => executor.confirm(dispatch, member).await,
            Self::Mock(executor) => executor.confirm(dispatch, member).await,
            Self::Fleet(executor) => executor.confirm(dispatch, member).await,
            Self::Kubernetes(executor) => executor.confirm(dispatch, member).await,
        }
    }

    async fn logs(&self, dispatch: DispatchId, member: u32, offset: u64) -> Result<LogChunk, Error> {
        match self {
            Self::Local(executor) => executor.logs(dispatch, member, offset).await,
            Self::Noop(executor) => executor.logs(dispatch, member, offset).await,
            Self::Mock(executor) => executor.logs(dispatch, member, offset).await,
            Self::Fleet(executor) => executor.logs(dispatch, member, offset).await,
            Self::Kubernetes(executor) => executor.logs(dispatch, member, offset).await,
        }
    }

    async fn capacity(&self) -> Result<Capacity, Error> {
        match self {
            Self::Local(executor) => executor.capacity().await,
            Self::Noop(executor) => executor.capacity().await,
            Self::Mock(executor) => executor.capacity().await,
            Self::Fleet(executor) => executor.capacity().await,
            Self::Kubernetes(executor) => executor.capacity().await,
        }
    }
}

/// All executors.
pub type Executors = BTreeMap<ExecutorName, Kind>;
