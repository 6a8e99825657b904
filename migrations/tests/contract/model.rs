//! What the journal must be like: the same rows in memory.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{DagId, PoolName, RunId, TaskId, TenantId},
    time::Timestamp,
};
use engine::rows::{
    BackfillRow, Batch, ContinuationRow, DagRow, PendingAssetRow, PoolRow, QuotaNode, QuotaRow, RunRow,
    Snapshot, TaskRow,
};

use crate::fixture;

/// The rows that a snapshot is made of.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) now: Timestamp,
    pub(crate) batch: u64,
    pub(crate) runs: BTreeMap<(TenantId, RunId), RunRow>,
    pub(crate) tasks: BTreeMap<(RunId, TaskId, i32), TaskRow>,
    pub(crate) dags: BTreeMap<(TenantId, DagId), DagRow>,
    pub(crate) pools: BTreeMap<(TenantId, PoolName), PoolRow>,
    pub(crate) quotas: BTreeMap<QuotaNode, QuotaRow>,
    pub(crate) pending: BTreeMap<(TenantId, DagId, String), PendingAssetRow>,
    pub(crate) backfills: BTreeMap<(TenantId, i64), BackfillRow>,
    pub(crate) continuations: BTreeMap<i64, ContinuationRow>,
}

impl Model {
    pub(crate) fn apply(&mut self, batch: &Batch) {
        assert_eq!(batch.number, self.batch + 1);
        (self.batch, self.now) = (batch.number, batch.now);
        for (tenant, run) in &batch.deleted_runs {
            self.runs.remove(&(*tenant, *run)).unwrap();
            self.tasks.retain(|key, _| key.0 != *run);
        }
        for (tenant, dag) in &batch.deleted_dags {
            self.dags.remove(&(*tenant, dag.clone()));
            let gone: Vec<_> = self
                .runs
                .values()
                .filter(|r| r.tenant == *tenant && r.dag_id == *dag)
                .map(|r| r.run)
                .collect();
            self.runs.retain(|_, r| !gone.contains(&r.run));
            self.tasks.retain(|key, _| !gone.contains(&key.0));
            self.pending.retain(|key, _| (key.0, &key.1) != (*tenant, dag));
        }
        for (_, run, task, index) in &batch.deleted_tasks {
            self.tasks.remove(&(*run, task.clone(), *index)).unwrap();
        }
        for (tenant, dag) in &batch.consumed_assets {
            self.pending.retain(|key, _| (key.0, &key.1) != (*tenant, dag));
        }
        for (tenant, pool) in &batch.deleted_pools {
            self.pools.remove(&(*tenant, pool.clone()));
        }
        for run in batch.new_runs.iter().chain(batch.runs.iter().map(|changed| &changed.row)) {
            self.runs.insert((run.tenant, run.run), run.clone());
        }
        for task in batch.new_tasks.iter().chain(batch.tasks.iter().map(|changed| &changed.row)) {
            self.tasks.insert((task.run, task.task.clone(), task.map_index), task.clone());
        }
        for dag in &batch.dags {
            self.dags.insert((dag.tenant, dag.dag_id.clone()), dag.clone());
        }
        for pool in &batch.pools {
            self.pools.insert((pool.tenant, pool.name.clone()), pool.clone());
        }
        for (node, row) in &batch.quotas {
            match row {
                Some(row) => self.quotas.insert(node.clone(), row.clone()),
                None => self.quotas.remove(node),
            };
        }
        for row in &batch.pending_assets {
            self.pending.insert((row.tenant, row.dag_id.clone(), row.asset.to_string()), row.clone());
        }
        for row in &batch.backfills {
            self.backfills.insert((row.tenant, row.id), row.clone());
        }
        for row in &batch.continuations {
            match row.work {
                Some(_) => self.continuations.insert(row.id, row.clone()),
                None => self.continuations.remove(&row.id),
            };
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let runs: Vec<_> = self
            .runs
            .values()
            .filter(|run| !run.state.is_finished())
            .map(|run| {
                (run.clone(), self.tasks.values().filter(|task| task.run == run.run).cloned().collect())
            })
            .collect();
        let named = self.dags.values().map(|dag| (&dag.dag_id, &dag.version));
        let pinned = runs.iter().map(|(run, _)| (&run.dag_id, &run.version));
        let versions = named.chain(pinned).map(|(dag, version)| {
            let doc = version.0.rsplit_once('-').unwrap().1;
            (version.clone(), fixture::model(dag.as_str(), doc))
        });
        let mut last_backfill = BTreeMap::new();
        for (tenant, id) in self.backfills.keys() {
            last_backfill.insert(*tenant, *id);
        }
        Snapshot {
            now: self.now,
            batch: self.batch,
            dags: self.dags.values().cloned().collect(),
            versions: versions.collect(),
            members: Vec::new(),
            runs,
            pools: self.pools.values().cloned().collect(),
            quotas: self.quotas.values().cloned().collect(),
            suspended: BTreeSet::new(),
            active_bundles: BTreeMap::new(),
            pending_assets: self.pending.values().cloned().collect(),
            backfills: self.backfills.values().filter(|b| b.ended_at.is_none()).cloned().collect(),
            last_backfill,
            inputs: Vec::new(),
            continuations: self.continuations.values().cloned().collect(),
            quarantined_dags: BTreeMap::new(),
            left_alone: BTreeSet::new(),
            unreadable_pools: BTreeMap::new(),
            unreadable_backfills: BTreeMap::new(),
            broken: Vec::new(),
        }
    }
}
