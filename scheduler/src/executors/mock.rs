//! An executor that ends some tasks as it was told beforehand and hands the others on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dags::ids::{DispatchId, TaskId};
use engine::dispatch::{Dispatch, End, Held, Kill, News, Outcome, Report};
use executor::{Capacity, Error, Executor, Work, local::LocalExecutor, log::LogChunk};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::clock;

/// How a task ends that isn't run.
#[derive(Debug, Clone, PartialEq)]
pub enum Mock {
    /// It succeeds, with this result if there is one.
    Success(Option<Value>),
    /// It fails, whatever retries it has.
    Failed,
    /// It is skipped.
    Skipped,
}

/// Who knows how some dispatches end without running.
pub trait Answers: fmt::Debug + Send + Sync {
    /// How the dispatch ends; none if it is to run. The same dispatch always gets the same answer.
    fn end(&self, dispatch: &Dispatch) -> Option<End>;
}

impl Answers for BTreeMap<TaskId, Mock> {
    fn end(&self, dispatch: &Dispatch) -> Option<End> {
        self.get(&dispatch.task_id).map(Mock::end)
    }
}

/// Ends some tasks as it was told and hands the others on.
#[derive(Debug, Clone)]
pub struct MockExecutor {
    inner: LocalExecutor,
    answers: Arc<dyn Answers>,
    reports: mpsc::Sender<Report>,
    /// Members that were ended here and aren't confirmed.
    held: Arc<Mutex<BTreeSet<(DispatchId, u32)>>>,
}

impl MockExecutor {
    /// What `answers` knows ends so; everything else runs on `inner`. The ends of the former go to `reports`.
    pub fn new(inner: LocalExecutor, answers: Arc<dyn Answers>, reports: mpsc::Sender<Report>) -> Self {
        Self { inner, answers, reports, held: Arc::default() }
    }

    /// Who runs the others.
    pub fn inner(&self) -> &LocalExecutor {
        &self.inner
    }

    /// How the dispatch ends if it ends here.
    pub fn answer(&self, dispatch: &Dispatch) -> Option<End> {
        self.answers.end(dispatch)
    }

    /// Ends a dispatch so; its context isn't needed.
    pub async fn end(&self, dispatch: &Dispatch, end: &End) -> Result<(), Error> {
        for member in 0..dispatch.members {
            if self.held().insert((dispatch.id, member)) {
                let started = News::Started { host: "nowhere".to_owned(), pid: None };
                for (seq, news) in [(1, started), (2, News::Ended(end.clone()))] {
                    let report = Report::new(dispatch.id, member, seq, news);
                    self.reports.send(report).await.map_err(|_| Error::Stopped)?;
                }
            }
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<(DispatchId, u32)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mock {
    fn end(&self) -> End {
        let outcome = match self {
            Self::Success(result) => return End::success(result.clone()),
            Self::Failed => Outcome::FailedForGood,
            Self::Skipped => Outcome::Skipped,
        };
        End { outcome, reason: Some("mocked".to_owned()), ..End::success(None) }
    }
}

impl Executor for MockExecutor {
    async fn submit(&self, work: Work) -> Result<(), Error> {
        match self.answer(&work.dispatch) {
            Some(end) => self.end(&work.dispatch, &end).await,
            None => self.inner.submit(work).await,
        }
    }

    async fn kill(&self, kill: Kill) -> Result<(), Error> {
        self.inner.kill(kill).await
    }

    async fn list(&self) -> Result<Vec<Held>, Error> {
        let mut all = self.inner.list().await?;
        let since = clock::now();
        all.extend(self.held().iter().map(|(id, member)| Held {
            id: *id,
            member: *member,
            since,
            ended: true,
        }));
        Ok(all)
    }

    async fn confirm(&self, dispatch: DispatchId, member: u32) -> Result<(), Error> {
        if self.held().remove(&(dispatch, member)) {
            return Ok(());
        }
        self.inner.confirm(dispatch, member).await
    }

    async fn logs(&self, dispatch: DispatchId, member: u32, offset: u64) -> Result<LogChunk, Error> {
        if self.held().contains(&(dispatch, member)) {
            return Ok(LogChunk { lines: Vec::new(), next: offset, complete: true });
        }
        self.inner.logs(dispatch, member, offset).await
    }

    async fn capacity(&self) -> Result<Capacity, Error> {
        self.inner.capacity().await
    }
}
