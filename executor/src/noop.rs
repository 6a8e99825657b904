//! An executor that runs nothing: every attempt succeeds at once, without a result. For benchmarks and `--mock`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dags::{
    ids::DispatchId,
    time::{Span, Timestamp},
};
use engine::dispatch::{End, Held, Kill, News, Outcome, Report};
use tokio::sync::mpsc;

use crate::{
    clock,
    contract::{Capacity, Error, Executor, Work},
    log::LogChunk,
};

type Key = (DispatchId, u32);

/// An executor whose attempts succeed at once.
#[derive(Debug, Clone)]
pub struct NoopExecutor {
    reports: mpsc::Sender<Report>,
    /// What was submitted, or killed before that, and isn't confirmed.
    held: Arc<Mutex<BTreeMap<Key, Timestamp>>>,
}

impl NoopExecutor {
    /// Its reports go to `reports`: submit waits while that is full, so it must be received by another task.
    pub fn new(reports: mpsc::Sender<Report>) -> Self {
        Self { reports, held: Arc::default() }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Key, Timestamp>> {
        // Nothing that holds the lock can leave the map half-changed.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the first we hear of it.
    fn take(&self, key: Key) -> bool {
        let since = clock::wall();
        let mut held = self.held();
        let new = !held.contains_key(&key);
        held.entry(key).or_insert(since);
        new
    }

    async fn report(&self, (dispatch, member): Key, seq: u32, news: News) -> Result<(), Error> {
        self.reports.send(Report::new(dispatch, member, seq, news)).await.map_err(|_| Error::Stopped)
    }
}

fn end(outcome: Outcome, exit_code: Option<i32>, reason: Option<String>) -> News {
    News::Ended(End { outcome, duration: Span::ZERO, exit_code, reason, result: None, mapped_length: None })
}

impl NoopExecutor {
    /// Takes a member of a dispatch, whose context it has no use for.
    pub async fn accept(&self, dispatch: DispatchId, member: u32) -> Result<(), Error> {
        let key = (dispatch, member);
        if self.take(key) {
            self.report(key, 1, News::Started { host: "nowhere".to_owned(), pid: None }).await?;
            self.report(key, 2, end(Outcome::Success, Some(0), None)).await?;
        }
        Ok(())
    }
}

impl Executor for NoopExecutor {
    async fn submit(&self, work: Work) -> Result<(), Error> {
        self.accept(work.dispatch.id, work.context.member).await
    }

    async fn kill(&self, kill: Kill) -> Result<(), Error> {
        for key in (0..kill.members).map(|member| (kill.id, member)) {
            if self.take(key) {
                self.report(key, 2, end(Outcome::Killed, None, Some(kill.reason.clone()))).await?;
            }
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Held>, Error> {
        let held = |((id, member), since): (&Key, &Timestamp)| Held {
            id: *id,
            member: *member,
            since: *since,
            ended: true,
        };
        Ok(self.held().iter().map(held).collect())
    }

    async fn confirm(&self, dispatch: DispatchId, member: u32) -> Result<(), Error> {
        self.held().remove(&(dispatch, member));
        Ok(())
    }

    async fn logs(&self, dispatch: DispatchId, member: u32, offset: u64) -> Result<LogChunk, Error> {
        if self.held().contains_key(&(dispatch, member)) {
            Ok(LogChunk { lines: Vec::new(), next: offset, complete: true })
        } else {
            Err(Error::Unknown { dispatch, member })
        }
    }

    async fn capacity(&self) -> Result<Capacity, Error> {
        Ok(Capacity { cpu_milli: u64::from(u32::MAX), memory_bytes: 1 << 50, slots: u32::MAX })
    }
}

#[cfg(all(test, feature = "test-support"))]
mod tests {
    use dags::ids::ExecutorName;

    use super::*;
    use crate::conformance::work;

    #[tokio::test]
    async fn what_is_submitted_succeeds_once_and_what_is_killed_before_never_starts() {
        let (sender, mut reports) = mpsc::channel(16);
        let executor = NoopExecutor::new(sender);
        let (run, killed) = (work("/".into(), "true"), work("/".into(), "true"));
        executor.submit(run.clone()).await.unwrap();
        executor.submit(run.clone()).await.unwrap();
        let kill = |id| Kill {
            id,
            members: 1,
            executor: ExecutorName::parse("noop").unwrap(),
            worker: None,
            grace: Span::ZERO,
            reason: "asked".to_owned(),
        };
        executor.kill(kill(killed.dispatch.id)).await.unwrap();
        executor.kill(kill(run.dispatch.id)).await.unwrap();
        executor.submit(killed.clone()).await.unwrap();
        let mut outcomes = Vec::new();
        while let Ok(report) = reports.try_recv() {
            if let News::Ended(end) = report.news {
                outcomes.push((report.dispatch, end.outcome));
            }
        }
        assert_eq!(outcomes, [(run.dispatch.id, Outcome::Success), (killed.dispatch.id, Outcome::Killed)]);
        assert_eq!(executor.list().await.unwrap().len(), 2);
        executor.confirm(run.dispatch.id, 0).await.unwrap();
        assert!(matches!(executor.logs(run.dispatch.id, 0, 0).await, Err(Error::Unknown { .. })));
        assert!(executor.logs(killed.dispatch.id, 0, 0).await.unwrap().complete);
    }
}
