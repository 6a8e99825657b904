//! What the task-facing API gives to workers: claims, contexts, and the places of logs, results and bundles.

use std::{io, path::PathBuf};

use bytes::Bytes;
use dags::{
    ids::{BundleId, DispatchId, WorkerId},
    time::{Span, Timestamp},
};
use engine::{
    dispatch::Dispatch,
    execution::{Answer, Go, Ticket},
    format::Format,
};
use futures::StreamExt as _;
use migrations::{
    Db, TenantScope,
    store::{
        self,
        attempt_claim::{self, Claim, Place},
    },
};
use plugins::{context::AttemptContext, policy::Policy, token::Keys};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::{
    context::{self, Wanted},
    desk::chain,
    facts::{DbFacts, Facts as _},
    objects::Objects,
};

/// Contexts that are built at once for one worker.
const CONTEXTS_AT_ONCE: usize = 8;
/// All members of a gang go to one worker, which claims the dispatch by this one.
const SPEAKER: u32 = 0;
/// Pieces of a bundle that may wait for whoever reads it.
const PIECES_MAX: usize = 8;

/// Why something about an attempt couldn't be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It isn't current.
    #[error("the dispatch is no longer current")]
    Gone,
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
}

fn unavailable(error: &dyn std::error::Error) -> Error {
    Error::Unavailable(chain(error))
}

/// Attempts by what is stored.
#[derive(Debug, Clone)]
pub struct DbAttempts {
    db: Db,
    facts: DbFacts,
    objects: Objects,
    policy: Policy,
    keys: Keys,
}

impl DbAttempts {
    /// Attempts of that database.
    pub fn new(db: Db, facts: DbFacts, objects: Objects, policy: Policy, keys: Keys) -> Self {
        Self { db, facts, objects, policy, keys }
    }

    /// Claims dispatches for a worker and gives what they are made of, in the order of the tickets.
    pub async fn run(
        &self,
        worker: WorkerId,
        tickets: Vec<Ticket>,
    ) -> Result<Vec<Answer<AttemptContext>>, Error> {
        let wanted: Vec<_> = tickets
            .iter()
            .map(|ticket| attempt_claim::Wanted {
                dispatch: ticket.dispatch,
                member: SPEAKER,
                tenant: ticket.tenant,
                run: ticket.run,
                task: ticket.task.clone(),
                map_index: ticket.map_index,
                try_number: ticket.try_number,
            })
            .collect();
        let claims = attempt_claim::claim(&self.db, &worker.to_string(), &wanted).await;
        let claims = claims.map_err(|error| unavailable(&error))?;
        let answers = futures::stream::iter(tickets.into_iter().zip(claims))
            .map(|(ticket, claim)| async move {
                match claim {
                    Claim::Yours(place) if place.worker == Some(worker) => {
                        self.go(worker, &ticket, place).await
                    }
                    Claim::Yours(_) | Claim::Gone => Ok(Answer::Gone),
                    Claim::Taken { .. } => Ok(Answer::Taken),
                }
            })
            .buffered(CONTEXTS_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        answers.into_iter().collect()
    }

    async fn go(
        &self,
        worker: WorkerId,
        ticket: &Ticket,
        place: Place,
    ) -> Result<Answer<AttemptContext>, Error> {
        let found = self.facts.run(ticket.tenant, ticket.run, &ticket.version).await;
        let Some((row, dag)) = found.map_err(|error| unavailable(&error))? else { return Ok(Answer::Gone) };
        let since = place.started_at.zip(place.queued_at);
        let waited = since.map_or(Span::ZERO, |(started, queued): (Timestamp, _)| queued.since(started));
        let wanted = Wanted {
            tenant: ticket.tenant,
            run: ticket.run,
            version: &row.version,
            task_id: &ticket.task,
            map_index: ticket.map_index,
            try_number: ticket.try_number,
            dispatch: ticket.dispatch,
            waited,
        };
        let mut context = match context::build(&self.facts, &self.objects, &self.policy, wanted).await {
            Ok(context) => context,
            Err(context::Error::Missing(reason)) => return Ok(Answer::Missing { reason }),
            Err(context::Error::Facts(error)) => return Err(unavailable(&error)),
        };
        // The worker has a folder of its own for it.
        context.bundle_dir = PathBuf::new();
        let timeout = dag.tasks.iter().find(|task| task.task_id == ticket.task).and_then(|task| task.timeout);
        let Some(executor) = place.executor else { return Ok(Answer::Gone) };
        let dispatch = Dispatch {
            format: Format,
            id: ticket.dispatch,
            tenant: ticket.tenant,
            run: ticket.run,
            dag_id: row.dag_id,
            run_name: row.run_name,
            version: row.version,
            bundle: row.bundle,
            task_id: ticket.task.clone(),
            map_index: ticket.map_index,
            try_number: ticket.try_number,
            members: context.members,
            executor,
            worker: Some(worker),
            timeout,
            waited,
        };
        let token = self.keys.attempt(ticket.dispatch, worker);
        Ok(Answer::Go(Box::new(Go { token, dispatch, context })))
    }

    /// The bundle of a dispatch's run, if the dispatch is current and claimed by this worker.
    pub async fn current(&self, dispatch: DispatchId, worker: WorkerId) -> Result<BundleId, Error> {
        let found =
            attempt_claim::current(&self.db, dispatch, SPEAKER).await.map_err(|error| unavailable(&error))?;
        let claimed = found.filter(|claimed| claimed.claimant == worker.to_string()).ok_or(Error::Gone)?;
        let scope = TenantScope::new(claimed.tenant);
        let run =
            store::run::by_id(&self.db, scope, claimed.run).await.map_err(|error| unavailable(&error))?;
        Ok(run.ok_or(Error::Gone)?.bundle)
    }

    /// Stores a piece of a log.
    pub async fn put_log(
        &self,
        dispatch: DispatchId,
        member: u32,
        offset: u64,
        lines: Bytes,
        last: bool,
    ) -> io::Result<()> {
        let objects = self.objects.clone();
        let put = move || objects.put_log(dispatch, member, offset, &lines, last);
        tokio::task::spawn_blocking(put).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Stores a result and gives its SHA-256.
    pub async fn put_result(&self, text: Bytes) -> io::Result<String> {
        let results = self.objects.results();
        let put = move || {
            let digest = hex::encode(Sha256::digest(&text));
            let path = results.join(&digest);
            if path.exists() {
                // Whoever deletes results of old runs leaves those that were written lately.
                executor::touch(&path)?;
            } else {
                Objects::write(&path, &text)?;
            }
            Ok(digest)
        };
        tokio::task::spawn_blocking(put).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// The packed bundle, piece by piece.
    pub fn bundle(&self, bundle: BundleId) -> mpsc::Receiver<io::Result<Bytes>> {
        let (pieces, receiver) = mpsc::channel(PIECES_MAX);
        let folder = self.objects.bundle(&bundle);
        tokio::task::spawn_blocking(move || {
            let out = io::BufWriter::with_capacity(64 * 1024, Pieces(pieces.clone()));
            if let Err(error) = executor::archive::pack(&folder, out) {
                tracing::error!(%bundle, error = chain(&error), "a bundle can't be packed");
                // Whoever reads it may be gone.
                let _ = pieces.blocking_send(Err(io::Error::other(error)));
            }
        });
        receiver
    }
}

/// Writes into a channel, in a thread that may block.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
