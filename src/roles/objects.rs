//! Where the API finds logs and large results: with this process's executor while an attempt runs, then in the object folder.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use api::{LogChunk, LogLine, LogOf, ObjectsError, Stream};
use dags::ids::TenantId;
use executor::{Executor as _, local::LocalExecutor, log};
use scheduler::objects::Objects;

/// The local executor of the present term, if there is one.
pub(crate) type Current = Arc<Mutex<Option<LocalExecutor>>>;

/// Logs and results of this node.
#[derive(Debug, Clone)]
pub(crate) struct NodeObjects {
    pub(crate) objects: Objects,
    pub(crate) executor: Current,
}

impl NodeObjects {
    fn stored(&self, of: &LogOf, offset: u64) -> Result<LogChunk, ObjectsError> {
        let found = self.objects.read_log(of.dispatch, of.member, offset);
        let found = found.map_err(|error| ObjectsError::Unavailable(error.to_string()))?;
        let log::LogChunk { lines, next, complete } = found.ok_or(ObjectsError::Missing)?;
        Ok(LogChunk { lines: lines.into_iter().map(shown).collect(), next, complete })
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
        match self.stored(of, offset) {
            Err(ObjectsError::Missing) => match self.held(of, offset).await {
                // It may have been stored just between the two looks.
                Err(ObjectsError::Missing) if of.over => self.stored(of, offset),
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
}
