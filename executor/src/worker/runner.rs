//! Who runs a worker's attempts.

use dags::{ids::DispatchId, time::Span};
use engine::dispatch::{End, Kill, News, Outcome, Report};
use tokio::sync::mpsc;

use crate::{Executor as _, Work, contract::Error, local::LocalExecutor, log::LogChunk};

/// One of the ways.
#[derive(Debug, Clone)]
pub(super) enum Runner {
    /// The supervisor of this machine.
    Local(LocalExecutor),
    /// Nobody: everything succeeds at once.
    Noop(mpsc::Sender<Report>),
}

impl Runner {
    pub(super) async fn submit(&self, work: Work) -> Result<(), Error> {
        match self {
            Self::Local(local) => local.submit(work).await,
            Self::Noop(reports) => {
                let (dispatch, member) = (work.dispatch.id, work.context.member);
                let end = End {
                    outcome: Outcome::Success,
                    duration: Span::ZERO,
                    exit_code: Some(0),
                    reason: None,
                    result: None,
                    mapped_length: None,
                };
                let started = News::Started { host: "nowhere".to_owned(), pid: None };
                for (seq, news) in [(1, started), (2, News::Ended(end))] {
                    let report = Report::new(dispatch, member, seq, news);
                    reports.send(report).await.map_err(|_| Error::Stopped)?;
                }
                Ok(())
            }
        }
    }

    pub(super) async fn kill(&self, kill: Kill) -> Result<(), Error> {
        match self {
            Self::Local(local) => local.kill(kill).await,
            Self::Noop(_) => Ok(()),
        }
    }

    pub(super) async fn confirm(&self, dispatch: DispatchId, member: u32) -> Result<(), Error> {
        match self {
            Self::Local(local) => local.confirm(dispatch, member).await,
            Self::Noop(_) => Ok(()),
        }
    }

    /// A piece of a log; none if there is no log.
    pub(super) async fn logs(
        &self,
        dispatch: DispatchId,
        member: u32,
        offset: u64,
    ) -> Result<Option<LogChunk>, Error> {
        match self {
            Self::Local(local) => match local.logs(dispatch, member, offset).await {
                Err(Error::Unknown { .. }) => Ok(None),
                chunk => chunk.map(Some),
            },
            Self::Noop(_) => Ok(None),
        }
    }
}
