//! What the task-facing API gives to workers: claims, contexts, and the places of logs, results and bundles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use dags::{
    ids::{BundleId, DispatchId, RunId, TenantId, WorkerId},
    time::{Span, Timestamp},
};
use engine::{
    dispatch::{Dispatch, End},
    execution::{Answer, Ending, Go, Ticket},
    format::Format,
};
use futures::StreamExt as _;
use migrations::{
    Db, TenantScope,
    store::{
        self,
        attempt_claim::{self, Claim, Place, SPEAKER},
    },
};
use plugins::{
    context::AttemptContext,
    policy::Policy,
    token::{Keys, PodAttempt},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{
    context::{self, Wanted},
    desk::chain,
    facts::{self, DbFacts, Facts as _},
    objects::{Objects, PutError},
};

/// Contexts that are built at once for one worker.
const CONTEXTS_AT_ONCE: usize = 8;
/// Bundles that are packed at once.
const PACKED_AT_ONCE: usize = 2;
/// Results that a dispatch may store for each of its members: an attempt has one, and may send it again after it was changed.
const RESULTS_PER_MEMBER: usize = 4;

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
    packing: Arc<Semaphore>,
}

/// A current dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// The bundle of its run.
    pub bundle: BundleId,
    /// How many members it has.
    pub members: u32,
}

impl DbAttempts {
    /// Attempts of that database.
    pub fn new(db: Db, facts: DbFacts, objects: Objects, policy: Policy, keys: Keys) -> Self {
        let packing = Arc::new(Semaphore::new(PACKED_AT_ONCE));
        Self { db, facts, objects, policy, keys, packing }
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
        // What is read beside the claim is given to nobody without it.
        let claimant = worker.to_string();
        let both = tokio::join!(attempt_claim::claim(&self.db, &claimant, &wanted), self.foresee(&tickets));
        let claims = both.0.map_err(|error| unavailable(&error))?;
        both.1.map_err(|error| unavailable(&error))?;
        let answers = futures::stream::iter(tickets.into_iter().zip(claims))
            .map(|(ticket, claim)| async move {
                match claim {
                    Claim::Yours(place) if place.worker == Some(worker) => {
                        let token = self.keys.attempt(ticket.dispatch, worker);
                        self.go(token, &ticket, place).await.unwrap_or_else(not_now)
                    }
                    Claim::Yours(_) | Claim::Gone => Answer::Gone,
                    Claim::Taken { .. } => Answer::Taken,
                }
            })
            .buffered(CONTEXTS_AT_ONCE);
        Ok(answers.collect::<Vec<_>>().await)
    }

    /// Reads the runs of all tickets at once.
    async fn foresee(&self, tickets: &[Ticket]) -> Result<(), facts::Error> {
        let mut runs: BTreeMap<TenantId, BTreeSet<RunId>> = BTreeMap::new();
        for ticket in tickets {
            runs.entry(ticket.tenant).or_default().insert(ticket.run);
        }
        for (tenant, runs) in runs {
            self.facts.foresee(tenant, runs).await?;
        }
        Ok(())
    }

    /// Claims a member of a dispatch for a pod and gives what it is made of.
    pub async fn run_pod(
        &self,
        claimant: Uuid,
        member: u32,
        ticket: Ticket,
    ) -> Result<Answer<AttemptContext>, Error> {
        let wanted = attempt_claim::Wanted {
            dispatch: ticket.dispatch,
            member,
            tenant: ticket.tenant,
            run: ticket.run,
            task: ticket.task.clone(),
            map_index: ticket.map_index,
            try_number: ticket.try_number,
        };
        let claims = attempt_claim::claim(&self.db, &claimant_of(claimant), &[wanted]).await;
        let claim = claims.map_err(|error| unavailable(&error))?.pop();
        match claim {
            Some(Claim::Yours(place)) if place.worker.is_none() => {
                let attempt = PodAttempt { dispatch: ticket.dispatch, member, claimant };
                let token = self.keys.pod_attempt(attempt);
                let mut answer = self.go(token, &ticket, place).await.unwrap_or_else(not_now);
                if let Answer::Go(go) = &mut answer {
                    go.context.member = member;
                }
                Ok(answer)
            }
            Some(Claim::Taken { .. }) => Ok(Answer::Taken),
            Some(Claim::Yours(_) | Claim::Gone) | None => Ok(Answer::Gone),
        }
    }

    async fn go(
        &self,
        token: String,
        ticket: &Ticket,
        place: Place,
    ) -> Result<Answer<AttemptContext>, facts::Error> {
        let found = self.facts.run(ticket.tenant, ticket.run, &ticket.version).await?;
        let Some((row, dag)) = found else { return Ok(Answer::Gone) };
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
            Err(context::Error::Facts(error)) => return Err(error),
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
            worker: place.worker,
            timeout,
            waited,
        };
        Ok(Answer::Go(Box::new(Go { token, dispatch, context })))
    }

    /// What is known of a dispatch, if it is current and claimed by this worker.
    pub async fn current(&self, dispatch: DispatchId, worker: WorkerId) -> Result<Current, Error> {
        self.claimed(dispatch, SPEAKER, &worker.to_string()).await
    }

    /// The same, if a pod claimed one member of it.
    pub async fn current_of_pod(
        &self,
        dispatch: DispatchId,
        member: u32,
        claimant: Uuid,
    ) -> Result<Current, Error> {
        self.claimed(dispatch, member, &claimant_of(claimant)).await
    }

    async fn claimed(&self, dispatch: DispatchId, member: u32, claimant: &str) -> Result<Current, Error> {
        let found =
            attempt_claim::current(&self.db, dispatch, member).await.map_err(|error| unavailable(&error))?;
        let claimed = found.filter(|claimed| claimed.claimant == claimant).ok_or(Error::Gone)?;
        let scope = TenantScope::new(claimed.tenant);
        let run =
            store::run::by_id(&self.db, scope, claimed.run).await.map_err(|error| unavailable(&error))?;
        Ok(Current { bundle: run.ok_or(Error::Gone)?.bundle, members: claimed.members })
    }

    /// Stores how a member that a pod runs has ended; the first word counts.
    pub async fn put_end(&self, dispatch: DispatchId, member: u32, end: End) -> io::Result<()> {
        let objects = self.objects.clone();
        blocking(move || objects.put_end(dispatch, member, &end)).await
    }

    /// Why a member that a pod runs is to be ended, if it is.
    pub async fn ending(&self, dispatch: DispatchId, member: u32) -> io::Result<Option<Ending>> {
        let objects = self.objects.clone();
        blocking(move || objects.ending(dispatch, member)).await
    }

    /// Stores a piece of a log.
    pub async fn put_log(
        &self,
        dispatch: DispatchId,
        member: u32,
        offset: u64,
        lines: Bytes,
        last: bool,
    ) -> Result<(), PutError> {
        let objects = self.objects.clone();
        let put = move || objects.put_log(dispatch, member, offset, &lines, last);
        let put = tokio::task::spawn_blocking(put).await;
        put.unwrap_or_else(|error| Err(PutError::Io(io::Error::other(error))))
    }

    /// Stores a result and gives its SHA-256. None if the dispatch has stored too many.
    pub async fn put_result(
        &self,
        dispatch: DispatchId,
        members: u32,
        text: Bytes,
    ) -> io::Result<Option<String>> {
        let objects = self.objects.clone();
        let most = RESULTS_PER_MEMBER.saturating_mul(members.max(1) as usize);
        blocking(move || objects.put_result(dispatch, most, &text)).await
    }

    /// The packed bundle. None if it isn't there.
    pub async fn bundle(&self, bundle: BundleId) -> io::Result<Option<File>> {
        let open = |bundle: BundleId, objects: Objects| blocking(move || objects.open_packed(&bundle));
        if let Some(file) = open(bundle.clone(), self.objects.clone()).await? {
            return Ok(Some(file));
        }
        let _turn = self.packing.acquire().await.map_err(io::Error::other)?;
        if let Some(file) = open(bundle.clone(), self.objects.clone()).await? {
            return Ok(Some(file));
        }
        let objects = self.objects.clone();
        let packed = blocking(move || objects.pack(&bundle)).await;
        packed.inspect_err(|error| tracing::error!(error = chain(error), "a bundle can't be packed"))
    }
}

/// How a pod is called among those who claim.
fn claimant_of(pod: Uuid) -> String {
    format!("pod {pod}")
}

/// What a worker is told about a ticket that can't be looked up. It says nothing about the others.
fn not_now(error: facts::Error) -> Answer<AttemptContext> {
    let reason = chain(&error);
    tracing::warn!(error = reason, "what an attempt needs can't be looked up");
    if error.may_pass() { Answer::Later { reason } } else { Answer::Missing { reason } }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
