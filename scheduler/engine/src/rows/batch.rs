//! What is written in one transaction, its parts, and what the engine is rebuilt from.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dags::{
    ids::{BundleId, DagId, DagVersion, PoolName, RunId, TaskId, TenantId},
    model::Dag,
    time::Timestamp,
};

use super::{
    AlertRow, AssetEventRow, AttemptRow, BackfillRow, Broken, ContinuationRow, DagRow, EventRow,
    InboxOutcome, InputRow, MemberRow, PendingAssetRow, PoolRow, QuarantineRow, QuotaNode, QuotaRow,
    ResultRow, RunRow, Subject, TaskRow,
};
use crate::state::{RunState, TaskState};

/// A row that exists and is changed: the new row and the state that the database must still show.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed<S, R> {
    /// The state before the batch.
    pub before: S,
    /// The row after it.
    pub row: R,
}

/// Everything that one transaction writes. Its vectors are in the order of first touch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// The batch's number: the shard's counter after the commit.
    pub number: u64,
    /// The shard's clock after the commit.
    pub now: Timestamp,
    /// Runs that are new.
    pub new_runs: Vec<RunRow>,
    /// Runs that changed.
    pub runs: Vec<Changed<RunState, RunRow>>,
    /// Runs that are deleted, with everything of theirs. Written before all else: their names and dates are free then.
    pub deleted_runs: Vec<(TenantId, RunId)>,
    /// Task instances that are new.
    pub new_tasks: Vec<TaskRow>,
    /// Task instances that changed.
    pub tasks: Vec<Changed<TaskState, TaskRow>>,
    /// Task instances of index -1 that became index 0 when their task was expanded: their rows go, and results of
    /// before they were mapped.
    pub deleted_tasks: Vec<(TenantId, RunId, TaskId, i32)>,
    /// Tries that are over and have a successor.
    pub attempts: Vec<AttemptRow>,
    /// Members of gangs, new or changed.
    pub members: Vec<MemberRow>,
    /// Results.
    pub results: Vec<ResultRow>,
    /// DAGs, new or changed.
    pub dags: Vec<DagRow>,
    /// DAGs that are deleted, with their runs. Written before all else: the batch may hold a new DAG of the same name.
    pub deleted_dags: Vec<(TenantId, DagId)>,
    /// Pools, new or changed.
    pub pools: Vec<PoolRow>,
    /// Quotas that are set, or, without a row, are no more.
    pub quotas: Vec<(QuotaNode, Option<QuotaRow>)>,
    /// Pools that are deleted.
    pub deleted_pools: Vec<(TenantId, PoolName)>,
    /// Asset events.
    pub asset_events: Vec<AssetEventRow>,
    /// Pending asset events, new or changed.
    pub pending_assets: Vec<PendingAssetRow>,
    /// Consumers whose pending asset events were used: all of them go.
    pub consumed_assets: Vec<(TenantId, DagId)>,
    /// Backfills, new or changed.
    pub backfills: Vec<BackfillRow>,
    /// History, one row per run touched.
    pub events: Vec<EventRow>,
    /// What became of requests.
    pub inbox: Vec<InboxOutcome>,
    /// What routes are to hear of.
    pub alerts: Vec<AlertRow>,
    /// Questions to people, new or answered.
    pub inputs: Vec<InputRow>,
    /// What is left alone from now on, and what is released.
    pub quarantine: Vec<QuarantineRow>,
    /// Work to continue later, new, changed or done.
    pub continuations: Vec<ContinuationRow>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let empty = Self { number: self.number, now: self.now, ..Self::default() };
        *self == empty
    }

    /// How many rows it writes, or about how many where it deletes.
    pub fn rows(&self) -> usize {
        let runs = self.new_runs.len() + self.runs.len() + self.deleted_runs.len();
        let tasks = self.new_tasks.len() + self.tasks.len() + self.deleted_tasks.len() + self.attempts.len();
        let around = self.members.len() + self.results.len() + self.events.len() + self.alerts.len();
        let rare = self.dags.len()
            + self.pools.len()
            + self.quotas.len()
            + self.continuations.len()
            + self.inputs.len();
        let assets = self.asset_events.len() + self.pending_assets.len() + self.consumed_assets.len();
        runs + tasks + around + rare + assets + self.backfills.len() + self.inbox.len()
    }
}

/// Everything that the engine is rebuilt from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The shard's clock.
    pub now: Timestamp,
    /// The number of the last committed batch.
    pub batch: u64,
    /// All DAGs.
    pub dags: Vec<DagRow>,
    /// The models of their newest versions and of every version that an unfinished run is pinned to.
    pub versions: BTreeMap<DagVersion, Arc<Dag>>,
    /// Unfinished runs with all their task instances.
    pub runs: Vec<(RunRow, Vec<TaskRow>)>,
    /// The members of their gangs that have started or ended.
    pub members: Vec<MemberRow>,
    /// All pools.
    pub pools: Vec<PoolRow>,
    /// All quotas: a tree that holds.
    pub quotas: Vec<QuotaRow>,
    /// Tenants of whom nothing starts.
    pub suspended: BTreeSet<TenantId>,
    /// The bundle of each tenant that was made active last.
    pub active_bundles: BTreeMap<TenantId, BundleId>,
    /// All pending asset events.
    pub pending_assets: Vec<PendingAssetRow>,
    /// Unfinished backfills.
    pub backfills: Vec<BackfillRow>,
    /// The highest number of a backfill of each tenant.
    pub last_backfill: BTreeMap<TenantId, i64>,
    /// Work to continue.
    pub continuations: Vec<ContinuationRow>,
    /// Questions that task instances wait for.
    pub inputs: Vec<InputRow>,
    /// DAGs that are quarantined, and why. They and their runs aren't among the others, nor are quarantined runs.
    pub quarantined_dags: BTreeMap<(TenantId, DagId), Arc<str>>,
    /// Runs and DAGs that aren't among the others because their rows can't be worked with: to be quarantined.
    pub broken: Vec<Broken>,
    /// Unfinished runs that are left alone, by themselves or with their DAG. What waits for them is kept.
    pub left_alone: BTreeSet<RunId>,
    /// Pools that aren't among the others because their rows can't be read, and why: nothing is admitted there.
    pub unreadable_pools: BTreeMap<(TenantId, PoolName), Arc<str>>,
    /// The same of unfinished backfills: no run of theirs starts.
    pub unreadable_backfills: BTreeMap<(TenantId, i64), Arc<str>>,
}

impl Snapshot {
    /// Takes runs and DAGs out, because of which earlier engines came to grief. Those that aren't in it are passed over.
    pub fn isolate(&mut self, broken: Vec<Broken>) {
        for Broken { subject, reason, .. } in broken {
            match subject {
                Subject::Dag(tenant, dag_id) => {
                    let count = self.dags.len();
                    self.dags.retain(|row| (row.tenant, &row.dag_id) != (tenant, &dag_id));
                    if self.dags.len() < count {
                        self.broken.push(Broken::dag(tenant, dag_id, reason));
                    }
                }
                Subject::Run(tenant, run) => {
                    let found = self.runs.iter().position(|(row, _)| (row.tenant, row.run) == (tenant, run));
                    if let Some(found) = found {
                        let (row, _) = self.runs.remove(found);
                        self.broken.push(Broken::run(tenant, run, Some(row.dag_id), reason));
                    }
                }
            }
        }
    }
}

/// The parts of a batch, as they are found.
struct Parts {
    number: u64,
    now: Timestamp,
    found: BTreeMap<Subject, Batch>,
}

impl Parts {
    fn of(&mut self, subject: Subject) -> &mut Batch {
        let (number, now) = (self.number, self.now);
        self.found.entry(subject).or_insert_with(|| Batch { number, now, ..Batch::default() })
    }
}

impl Batch {
    /// The batch in parts of which each can be written without the others, with the run or DAG that it is about; for
    /// finding out which of them a database refuses. What belongs to neither is left out.
    pub fn parts(&self) -> Vec<(Subject, Self)> {
        let mut parts = Parts { number: self.number, now: self.now, found: BTreeMap::new() };
        // A run that isn't stored yet can't be left alone: its DAG is.
        let new: BTreeMap<RunId, Subject> =
            self.new_runs.iter().map(|row| (row.run, Subject::Dag(row.tenant, row.dag_id.clone()))).collect();
        let of = |tenant: TenantId, run: RunId| new.get(&run).cloned().unwrap_or(Subject::Run(tenant, run));
        for row in &self.new_runs {
            parts.of(of(row.tenant, row.run)).new_runs.push(row.clone());
        }
        for changed in &self.runs {
            parts.of(of(changed.row.tenant, changed.row.run)).runs.push(changed.clone());
        }
        for row in &self.new_tasks {
            parts.of(of(row.tenant, row.run)).new_tasks.push(row.clone());
        }
        for changed in &self.tasks {
            parts.of(of(changed.row.tenant, changed.row.run)).tasks.push(changed.clone());
        }
        for row in &self.deleted_tasks {
            parts.of(of(row.0, row.1)).deleted_tasks.push(row.clone());
        }
        for row in &self.attempts {
            parts.of(of(row.row.tenant, row.row.run)).attempts.push(row.clone());
        }
        for row in &self.members {
            parts.of(of(row.tenant, row.run)).members.push(row.clone());
        }
        for row in &self.results {
            parts.of(of(row.tenant, row.run)).results.push(row.clone());
        }
        for row in &self.alerts {
            parts.of(of(row.tenant, row.run)).alerts.push(row.clone());
        }
        for row in &self.inputs {
            parts.of(of(row.tenant, row.run)).inputs.push(row.clone());
        }
        for row in &self.events {
            parts.of(of(row.tenant, row.run)).events.push(row.clone());
        }
        for row in &self.dags {
            parts.of(Subject::Dag(row.tenant, row.dag_id.clone())).dags.push(row.clone());
        }
        for row in &self.pending_assets {
            parts.of(Subject::Dag(row.tenant, row.dag_id.clone())).pending_assets.push(row.clone());
        }
        for row in &self.backfills {
            parts.of(Subject::Dag(row.tenant, row.spec.dag_id.clone())).backfills.push(row.clone());
        }
        parts.found.into_iter().collect()
    }
}
