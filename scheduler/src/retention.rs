//! Deletes what isn't kept any more, as long as we own the shard: finished runs by age, with their logs and large results.
//!
//! A run goes in three steps. The engine marks it, if it isn't in memory and nobody has just asked for it; from then on nobody
//! works with it. Then its logs and rows are deleted, children first, a few hundred at once with a pause as long as that took,
//! so that commits hardly notice. The run's own row goes last. Whoever dies in between leaves a marked run, which is found.

use std::{convert::Infallible, fs, io, path::Path, time::Duration};

use dags::{
    ids::{DispatchId, RunId, TenantId},
    time::{Span, Timestamp},
};
use engine::rows::Fence;
use migrations::{
    Db, Error, ShardScope,
    store::{
        log::{self, Log, Month},
        retention::{self, Kept, Old, Place, bundles},
    },
};
use tokio::sync::mpsc;

use crate::{clock, desk::chain, objects::Objects};

/// Runs that are looked at by one query.
const LOOK_AT: u32 = 200;
/// Runs that are marked at once.
const MARK_AT_ONCE: usize = 50;
/// Rows that are deleted by one statement.
const ROWS_AT_ONCE: u32 = 500;
/// Versions or bundles that are deleted by one statement.
const UNNAMED_AT_ONCE: u32 = 50;
/// Each how many passes they are looked for.
const PASSES_PER_LOOK: u32 = 60;
/// The pause between two passes over everything.
const PASS: Span = Span::seconds(60);
/// How long the engine may take to mark what it is told; what takes longer is deleted in the next pass.
const MARKED: Span = Span::seconds(2);
/// The wait after an error.
const AGAIN: Span = Span::seconds(10);
/// The shortest pause after a statement that deleted something.
const PAUSE_MIN: Span = Span::millis(5);
/// How often a log that somebody reads is tried in one pass, and the pause between two tries.
const HELD_MAX: u32 = 10;
const HELD: Span = Span::millis(500);
/// How long requests that were taken, and workers that have ended, are kept.
const LEFTOVERS: Span = Span::seconds(7 * 24 * 3_600);
/// A large result or a bundle that was written later than this ago stays: somebody may be about to name it.
const FRESH: Duration = Duration::from_hours(1);

/// Who deletes.
#[derive(Debug, Clone)]
pub struct Retention {
    /// The database.
    pub db: Db,
    /// The shard, whose owner we are.
    pub scope: ShardScope,
    /// That we own it.
    pub fence: Fence,
    /// Logs and large results.
    pub objects: Objects,
    /// How many days each log is kept; 0 for ever, or until its run goes.
    pub logs: [(Log, u32); 3],
    /// How many days bundles and versions of DAGs are kept that nothing names; 0 for ever.
    pub bundle_days: u32,
    /// How many days a tenant keeps its runs that doesn't say it itself; 0 for ever.
    pub days: u32,
    /// Tells the shell which runs the engine is to mark.
    pub retire: mpsc::Sender<Vec<Old>>,
}

impl Retention {
    /// Deletes until it is dropped.
    pub async fn run(&self) -> Infallible {
        let mut passes = 0_u32;
        loop {
            let nap = match self.pass(passes.is_multiple_of(PASSES_PER_LOOK)).await {
                Ok(()) => {
                    passes = passes.wrapping_add(1);
                    PASS
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "failed to delete what isn't kept any more; trying again");
                    AGAIN
                }
            };
            clock::sleep(nap).await;
        }
    }

    /// Goes once over everything, and over what seldom becomes old if asked to.
    async fn pass(&self, bundles: bool) -> Result<(), Error> {
        // What was begun comes first.
        self.delete_marked().await?;
        let now = self.db.now().await?;
        let mut old = 0;
        for policy in retention::policies(&self.db, self.scope).await? {
            if let Some(before) = self.cutoff(&policy, now) {
                old += self.mark_old(policy.tenant, before).await?;
            }
        }
        let before = Timestamp(now.0 - LEFTOVERS.0);
        self.keep_logs(now).await?;
        while retention::delete_leftovers(&self.db, self.fence, before, ROWS_AT_ONCE).await? > 0 {
            clock::sleep(PAUSE_MIN).await;
        }
        if old > 0 {
            clock::sleep(MARKED).await;
            self.delete_marked().await?;
        }
        match days_ago(self.bundle_days, now).filter(|_| bundles) {
            Some(before) => self.delete_unnamed(before).await,
            None => Ok(()),
        }
    }

    /// Deletes versions of DAGs and bundles that nothing names, and their files.
    async fn delete_unnamed(&self, before: Timestamp) -> Result<(), Error> {
        let mut versions = 0;
        loop {
            let began = clock::monotonic();
            let deleted = bundles::delete_versions(&self.db, self.fence, before, UNNAMED_AT_ONCE).await?;
            if deleted == 0 {
                break;
            }
            versions += deleted;
            clock::sleep(began.elapsed().max(PAUSE_MIN)).await;
        }
        let mut all = 0;
        loop {
            let began = clock::monotonic();
            let deleted = bundles::delete_bundles(&self.db, self.fence, before, UNNAMED_AT_ONCE).await?;
            if deleted.is_empty() {
                break;
            }
            all += deleted.len();
            for bundle in deleted {
                // Another tenant may have the same files.
                if !bundles::has_bundle(&self.db, &bundle).await? {
                    let objects = self.objects.clone();
                    blocking(move || objects.remove_bundle(&bundle, FRESH).map(drop)).await;
                }
            }
            clock::sleep(began.elapsed().max(PAUSE_MIN)).await;
        }
        if versions + all as u64 > 0 {
            tracing::info!(
                versions,
                bundles = all,
                "deleted versions of DAGs and bundles that nothing names"
            );
        }
        Ok(())
    }

    /// Makes room for what will come into the logs, and forgets what is too old.
    async fn keep_logs(&self, now: Timestamp) -> Result<(), Error> {
        let made = log::make_ahead(&self.db).await?;
        if made > 0 {
            tracing::info!(partitions = made, "made the logs' partitions of the next months");
        }
        for (which, days) in self.logs {
            let Some(before) = days_ago(days, now) else { continue };
            self.drop_months(which, before).await?;
            loop {
                let began = clock::monotonic();
                if log::delete_some(&self.db, self.fence, which, before, ROWS_AT_ONCE).await? == 0 {
                    break;
                }
                clock::sleep(began.elapsed().max(PAUSE_MIN)).await;
            }
        }
        Ok(())
    }

    /// Drops the months of a log that are too old. One that somebody reads is tried some times and left for the next pass.
    async fn drop_months(&self, which: Log, before: Timestamp) -> Result<(), Error> {
        let (mut dropped, mut held) = (0, 0);
        loop {
            match log::drop_month(&self.db, which, before).await? {
                Month::Kept => break,
                Month::Dropped => dropped += 1,
                Month::Held if held < HELD_MAX => {
                    held += 1;
                    clock::sleep(HELD).await;
                }
                Month::Held => {
                    tracing::info!(
                        log = which.table(),
                        "a month that isn't kept any more is being read; it is dropped later"
                    );
                    break;
                }
            }
        }
        if dropped > 0 {
            tracing::info!(
                log = which.table(),
                months = dropped,
                "dropped months of a log that aren't kept any more"
            );
        }
        Ok(())
    }

    fn cutoff(&self, policy: &Kept, now: Timestamp) -> Option<Timestamp> {
        let days = policy.days.unwrap_or(self.days);
        days_ago(days, now)
    }

    /// Has a tenant's old runs marked, and says how many.
    async fn mark_old(&self, tenant: TenantId, before: Timestamp) -> Result<usize, Error> {
        let (mut from, mut told) = (Place::START, 0);
        loop {
            let (old, next) = retention::old(&self.db, self.scope, tenant, before, from, LOOK_AT).await?;
            for some in old.chunks(MARK_AT_ONCE) {
                if self.retire.send(some.to_vec()).await.is_err() {
                    // The shell has ended, and so will we.
                    return Ok(told);
                }
                told += some.len();
            }
            let Some(next) = next else { return Ok(told) };
            from = next;
            clock::sleep(PAUSE_MIN).await;
        }
    }

    /// Deletes all runs that are marked.
    async fn delete_marked(&self) -> Result<(), Error> {
        let mut deleted = 0_u64;
        loop {
            let marked = retention::marked(&self.db, self.scope, LOOK_AT).await?;
            for (tenant, run) in &marked {
                self.delete(*tenant, *run).await?;
                deleted += 1;
            }
            if marked.len() < LOOK_AT as usize {
                break;
            }
        }
        if deleted > 0 {
            tracing::info!(runs = deleted, "deleted runs that aren't kept any more");
        }
        Ok(())
    }

    /// Deletes a marked run.
    async fn delete(&self, tenant: TenantId, run: RunId) -> Result<(), Error> {
        let digests = retention::digests(&self.db, tenant, run).await?;
        loop {
            // Logs go before the rows that name them.
            let tried = retention::tried(&self.db, tenant, run, ROWS_AT_ONCE).await?;
            let objects = self.objects.clone();
            let dispatches = tried.into_iter().flat_map(|tried| {
                (1..=tried.dispatches).map(move |n| DispatchId { attempt: tried.attempt, n })
            });
            let dispatches: Vec<DispatchId> = dispatches.collect();
            blocking(move || {
                for dispatch in dispatches {
                    objects.remove_logs(dispatch)?;
                }
                Ok(())
            })
            .await;
            let began = clock::monotonic();
            let deleted = retention::delete_some(&self.db, self.fence, tenant, run, ROWS_AT_ONCE).await?;
            if deleted == 0 {
                break;
            }
            clock::sleep(began.elapsed().max(PAUSE_MIN)).await;
        }
        for digest in digests {
            // Results are kept by their content: another run may have the same.
            if !retention::names(&self.db, &digest).await? {
                let path = self.objects.results().join(&digest);
                blocking(move || remove_old(&path)).await;
            }
        }
        Ok(())
    }
}

/// So many days before; none for 0, which means for ever.
fn days_ago(days: u32, now: Timestamp) -> Option<Timestamp> {
    (days > 0).then(|| Timestamp(now.0 - Span::seconds(i64::from(days) * 24 * 3_600).0))
}

/// Removes a file unless it was written just now, or written again.
fn remove_old(path: &Path) -> io::Result<()> {
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if found.modified()?.elapsed().is_ok_and(|age| age > FRESH) { fs::remove_file(path) } else { Ok(()) }
}

/// Removes objects in a thread that may block. What can't be removed stays, and `updraft doctor` finds it.
async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) {
    let done = tokio::task::spawn_blocking(work).await;
    if let Err(error) = done.unwrap_or_else(|error| Err(io::Error::other(error))) {
        tracing::warn!(%error, "failed to remove what a deleted run left in the object store");
    }
}
