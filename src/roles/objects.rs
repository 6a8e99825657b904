//! Where the API finds logs and large results: with this process's executor while an attempt runs, then in the object folder.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use api::{LogChunk, LogLine, LogOf, ObjectsError, Stream};
use dags::ids::{ExecutorName, TenantId};
use engine::execution::Waits;
use executor::{Executor as _, local::LocalExecutor, log};
use scheduler::objects::Objects;

/// The local executor of the present term, if there is one.
pub(crate) type Current = Arc<Mutex<Option<LocalExecutor>>>;

/// Logs and results of this node.
#[derive(Debug, Clone)]
pub(crate) struct NodeObjects {
    pub(crate) objects: Objects,
    pub(crate) executor: Current,
    /// The executors whose attempts run elsewhere and send their logs here.
    pub(crate) elsewhere: BTreeSet<ExecutorName>,
}

impl NodeObjects {
    async fn stored(&self, of: &LogOf, offset: u64) -> Result<LogChunk, ObjectsError> {
        let (objects, dispatch, member) = (self.objects.clone(), of.dispatch, of.member);
        let found = tokio::task::spawn_blocking(move || objects.read_log(dispatch, member, offset)).await;
        let found = found.unwrap_or_else(|error| Err(io::Error::other(error)));
        let found = found.map_err(|error| ObjectsError::Unavailable(error.to_string()))?;
        let log::LogChunk { lines, next, complete } = found.ok_or(ObjectsError::Missing)?;
        Ok(LogChunk { lines: lines.into_iter().map(shown).collect(), next, complete })
    }

    /// What a worker or a pod has sent. When its attempt is over, nothing follows what is there: it sends the whole log before it tells
    /// the end, and a worker that is lost sends nothing more.
    async fn sent(&self, of: &LogOf, offset: u64) -> Result<LogChunk, ObjectsError> {
        match self.stored(of, offset).await {
            Ok(chunk) => {
                Ok(LogChunk { complete: chunk.complete || of.over && chunk.lines.is_empty(), ..chunk })
            }
            Err(ObjectsError::Missing) => {
                Ok(LogChunk { next: offset, complete: of.over, ..LogChunk::default() })
            }
            Err(error) => Err(error),
        }
    }

    async fn held(&self, of: &LogOf, offset: u64) -> Result<LogChunk, ObjectsError> {
        let executor = self.executor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(executor) = executor else {
            let why = "the attempt runs on a scheduler's machine, which gives its log away when it has ended";
            return Err(ObjectsError::Unavailable(why.to_owned()));
        };
        match executor.logs(of.dispatch, of.member, offset).await {
            Ok(chunk) => Ok(LogChunk {
                lines: chunk.lines.into_iter().map(shown).collect(),
                next: chunk.next,
                complete: chunk.complete,
            }),
            Err(executor::Error::Unknown { .. }) => Err(ObjectsError::Missing),
            Err(error) => Err(ObjectsError::Unavailable(error.to_string())),
        }
    }
}

fn shown(line: log::LogLine) -> LogLine {
    let stream = match line.stream {
        log::Stream::Stdout => Stream::Stdout,
        log::Stream::Stderr => Stream::Stderr,
        log::Stream::Supervisor => Stream::Supervisor,
    };
    LogLine { at: line.at, stream, text: line.text, continues: line.continues }
}

impl api::Objects for NodeObjects {
    async fn log(&self, of: &LogOf, offset: u64) -> Result<LogChunk, ObjectsError> {
        if of.executor.as_ref().is_some_and(|executor| self.elsewhere.contains(executor)) {
            return self.sent(of, offset).await;
        }
        match self.stored(of, offset).await {
            Err(ObjectsError::Missing) => match self.held(of, offset).await {
                // It may have been stored just between the two looks.
                Err(ObjectsError::Missing) if of.over => self.stored(of, offset).await,
                // It hasn't been handed over yet.
                Err(ObjectsError::Missing) => Ok(LogChunk { next: offset, ..LogChunk::default() }),
                found => found,
            },
            found => found,
        }
    }

    async fn result(&self, _tenant: TenantId, digest: &str) -> Result<Vec<u8>, ObjectsError> {
        self.objects.result(digest).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => ObjectsError::Missing,
            _ => ObjectsError::Unavailable(error.to_string()),
        })
    }

    async fn waits(&self, of: &LogOf) -> Result<Option<Waits>, ObjectsError> {
        if !of.executor.as_ref().is_some_and(|executor| self.elsewhere.contains(executor)) {
            return Ok(None);
        }
        let (objects, dispatch, member) = (self.objects.clone(), of.dispatch, of.member);
        let found = tokio::task::spawn_blocking(move || objects.waits(dispatch, member)).await;
        let found = found.unwrap_or_else(|error| Err(io::Error::other(error)));
        found.map_err(|error| ObjectsError::Unavailable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use api::Objects as _;
    use dags::ids::{AttemptId, DispatchId};

    use super::*;

    #[tokio::test]
    async fn the_log_of_a_worker_ends_with_its_attempt() {
        let data = tempfile::tempdir().unwrap();
        let objects = Objects::open(data.path()).unwrap();
        let workers: ExecutorName = "workers".parse().unwrap();
        let node = NodeObjects {
            objects: objects.clone(),
            executor: Current::default(),
            elsewhere: BTreeSet::from([workers.clone()]),
        };
        let attempt: AttemptId = "00000000-0000-8000-8000-000000000001".parse().unwrap();
        let dispatch = DispatchId { attempt, n: 1 };
        let look = async |over, offset| {
            let of = LogOf {
                tenant: TenantId::DEFAULT,
                dispatch,
                member: 0,
                executor: Some(workers.clone()),
                over,
            };
            let chunk = node.log(&of, offset).await.unwrap();
            (chunk.lines.len(), chunk.next, chunk.complete)
        };
        assert_eq!(look(false, 0).await, (0, 0, false), "it hasn't said anything yet");
        assert_eq!(look(true, 0).await, (0, 0, true), "its worker is lost and never sent anything");
        let line = "{\"offset\":0,\"at\":\"0s\",\"stream\":\"stdout\",\"text\":\"hi\",\"continues\":false}\n";
        objects.put_log(dispatch, 0, 0, line.as_bytes(), false).unwrap();
        assert_eq!(look(false, 0).await, (1, 1, false));
        assert_eq!(look(false, 1).await, (0, 1, false), "more may come");
        assert_eq!(look(true, 0).await, (1, 1, false));
        assert_eq!(look(true, 1).await, (0, 1, true), "nothing more comes of a lost worker");
    }
}
