//! A shard's lease from this side: standing by for it, keeping it, and knowing when it can't be trusted any more.
//!
//! The database judges when a lease is over. This process trusts its own for less than that, counted by the monotonic clock
//! from before the request that made it longer: so an owner that can't reach the database steps down before another takes
//! over, and an owner that was paused finds out when it goes on. The fence protects what is stored in either case.

use dags::{ids::ShardId, time::Span};
use migrations::{
    Db, Error,
    journal::{DbJournal, Lease, acquire},
    wake::Topic,
};
use tokio::sync::Notify;

use crate::{
    clock::{self, Monotonic},
    desk::chain,
    hints,
    patience::Patience,
};

/// How often a standby looks whether the lease is over, if nobody hints at it.
const LOOK: Span = Span::seconds(1);

/// Who wants which shard.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The database.
    pub db: Db,
    /// The shard.
    pub shard: ShardId,
    /// The name in the shard's row. Whoever has the same name takes over at once, so it is this process's alone, or a lock
    /// sees to it that only one process has it.
    pub owner: String,
    /// How long the lease lasts without being renewed.
    pub ttl: Span,
}

/// A term as the owner: the journal, and since when the lease counts.
#[derive(Debug)]
pub struct Term {
    /// Where batches go.
    pub journal: DbJournal,
    /// From before the request that gave us the lease.
    since: Monotonic,
    ttl: Span,
}

/// Why a term is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Another owner took over.
    #[error("another owner took the shard over")]
    Fenced,
    /// The lease couldn't be renewed in time.
    #[error("the lease couldn't be renewed in time")]
    NotRenewed,
}

impl Claim {
    /// Takes the shard over now or says why not.
    pub async fn take(&self) -> Result<Term, Error> {
        let since = clock::monotonic();
        let journal = acquire(&self.db, self.shard, &self.owner, self.ttl, &clock::now).await?;
        Ok(Term { journal, since, ttl: self.ttl })
    }

    /// Waits until the shard is ours. `standing` is told why it isn't yet. Only a shard that doesn't exist is an error.
    pub async fn wait(&self, standing: impl Fn(&Error)) -> Result<Term, Error> {
        let bell = Notify::new();
        tokio::select! {
            term = self.stand_by(&bell, standing) => term,
            never = hints::hear(&self.db, Topic::Lease, || bell.notify_one()) => match never {},
        }
    }

    async fn stand_by(&self, bell: &Notify, standing: impl Fn(&Error)) -> Result<Term, Error> {
        let mut patience = Patience::new(LOOK, LOOK);
        loop {
            let error = match self.take().await {
                Ok(term) => return Ok(term),
                Err(error @ Error::NoShard { .. }) => return Err(error),
                Err(error) => error,
            };
            standing(&error);
            let (why, wait) = match &error {
                Error::Owned { owner, remaining, .. } => (owner.clone(), *remaining),
                Error::Clock { direction, .. } => ((*direction).to_owned(), LOOK),
                other => (chain(other), LOOK),
            };
            if patience.is_news(&why) {
                match &error {
                    Error::Owned { owner, .. } => {
                        tracing::info!(shard.id = %self.shard, owner, "standing by: the shard has an owner");
                    }
                    Error::Clock { .. } => {
                        tracing::error!(shard.id = %self.shard, error = %error, "the lease is refused because of the clock");
                    }
                    other => {
                        tracing::warn!(shard.id = %self.shard, error = %chain(other), "can't take the shard over; trying again");
                    }
                }
            }
            tokio::select! {
                () = bell.notified() => {}
                () = clock::sleep(Span(wait.0.clamp(1_000, LOOK.0))) => {}
            }
        }
    }
}

impl Term {
    /// What keeps the shard ours.
    pub fn lease(&self) -> Keep {
        Keep { lease: self.journal.lease(), since: self.since, ttl: self.ttl }
    }
}

/// The lease of a term.
#[derive(Debug, Clone)]
pub struct Keep {
    lease: Lease,
    since: Monotonic,
    ttl: Span,
}

impl Keep {
    /// Renews the lease until it can't; the term is over then, whatever the database says later.
    pub async fn renew(&self) -> Lost {
        let mut since = self.since;
        let mut pause = Span(self.ttl.0 / 3);
        loop {
            let left = |since: Monotonic| Span(self.ttl.0 - since.elapsed().0);
            clock::sleep(Span(pause.0.min(left(since).0).max(0))).await;
            let before = clock::monotonic();
            if left(since) <= Span::ZERO {
                return Lost::NotRenewed;
            }
            let renewed = tokio::select! {
                renewed = self.lease.renew(self.ttl, &clock::now) => renewed,
                () = clock::sleep(left(since)) => return Lost::NotRenewed,
            };
            let outcome = match &renewed {
                Ok(()) => "done",
                Err(Error::Fenced { .. }) => "fenced",
                Err(_) => "failed",
            };
            telemetry::counter(telemetry::Metric::LeaseRenewals, &[("outcome", outcome)]).increment(1);
            pause = match renewed {
                Ok(()) => {
                    since = before;
                    Span(self.ttl.0 / 3)
                }
                Err(Error::Fenced { .. }) => return Lost::Fenced,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "failed to renew the lease; trying again");
                    Span(self.ttl.0 / 12)
                }
            };
        }
    }

    /// Gives the shard back and wakes those who stand by. False if it wasn't ours any more.
    pub async fn release(&self, db: &Db) -> Result<bool, Error> {
        let released = self.lease.release().await?;
        hints::send(db, Topic::Lease).await;
        Ok(released)
    }
}
