//! Assets: what a success updates, and the DAGs that run when enough of them were updated.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dags::{
    ids::{RunName, TenantId},
    model::AssetCondition,
    run_name::run_name_nth,
    time::Timestamp,
};
use serde_json::{Map, Value};

use crate::{
    engine::Engine,
    rows::{AssetEventRow, PendingAssetRow, RunType},
    run::TiRef,
    runs::NewRun,
};

/// Who listens to what, and what they haven't used yet.
#[derive(Debug, Default)]
pub(crate) struct Assets {
    listeners: BTreeMap<(TenantId, String), BTreeSet<u32>>,
    pending: BTreeMap<u32, BTreeMap<Arc<str>, Timestamp>>,
    /// No event that comes is as old.
    newest: Timestamp,
}

fn holds(condition: &AssetCondition, pending: &BTreeMap<Arc<str>, Timestamp>) -> bool {
    match condition {
        AssetCondition::Asset(name) => pending.contains_key(name.as_str()),
        AssetCondition::Any(list) => list.iter().any(|inner| holds(inner, pending)),
        AssetCondition::All(list) => list.iter().all(|inner| holds(inner, pending)),
    }
}

impl Engine {
    /// A DAG has a new version: it listens to what that names.
    pub(crate) fn listen(&mut self, dag: u32) {
        for listeners in self.assets.listeners.values_mut() {
            listeners.remove(&dag);
        }
        let state = &self.dags[dag as usize];
        if state.deleted || state.row.stale {
            return;
        }
        let wanted = state.plan.dag().schedule.when.assets().map(AssetCondition::names).unwrap_or_default();
        let tenant = state.row.tenant;
        for name in wanted {
            self.assets.listeners.entry((tenant, name)).or_default().insert(dag);
        }
    }

    /// A task succeeded: its outlets were updated.
    pub(crate) fn emit_assets(&mut self, at: TiRef) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let model = run.plan.model(ti.task);
        let (tenant, outlets) = (run.row.tenant, model.outlets.clone());
        let source = (run.row.run, model.task_id.clone(), ti.map_index);
        for asset in outlets {
            self.asset_event(tenant, &asset, Some(source.clone()), Map::new());
        }
    }

    /// Records an event and tells who listens.
    pub(crate) fn asset_event(
        &mut self,
        tenant: TenantId,
        asset: &str,
        source: Option<(dags::ids::RunId, dags::ids::TaskId, i32)>,
        extra: Map<String, Value>,
    ) {
        let name: Arc<str> = asset.into();
        // Two events have different times, also in one batch: a run's window ends at one of them.
        let at = self.now.max(Timestamp(self.assets.newest.0.saturating_add(1)));
        self.assets.newest = at;
        self.out.asset_events.push(AssetEventRow {
            tenant,
            asset: name.clone(),
            at,
            source,
            extra: Arc::new(extra),
        });
        let listeners = self.assets.listeners.get(&(tenant, asset.to_owned())).cloned().unwrap_or_default();
        for dag in listeners {
            // While a consumer is paused, nothing is kept for it: unpausing fires nothing by itself.
            if self.dags[dag as usize].row.paused {
                continue;
            }
            self.assets.pending.entry(dag).or_default().insert(name.clone(), at);
            let dag_id = self.dags[dag as usize].row.dag_id.clone();
            self.out.pending_assets.push(PendingAssetRow { tenant, dag_id, asset: name.clone(), at });
            self.dag_work(dag);
        }
    }

    /// A DAG is deleted: what it hasn't used is, too.
    pub(crate) fn forget_pending(&mut self, dag: u32) {
        let row = &self.dags[dag as usize].row;
        let (tenant, dag_id) = (row.tenant, row.dag_id.clone());
        if self.assets.pending.remove(&dag).is_some() {
            self.out.pending_assets.retain(|row| (row.tenant, &row.dag_id) != (tenant, &dag_id));
            self.out.consumed_assets.push((tenant, dag_id));
        }
    }

    pub(crate) fn restore_pending(&mut self, dag: u32, asset: Arc<str>, at: Timestamp) {
        self.assets.pending.entry(dag).or_default().insert(asset, at);
        self.restore_window(Some(at));
    }

    /// The end of the window of events that have been: whatever comes is later, also in the same batch.
    pub(crate) fn close_window(&mut self) -> Timestamp {
        self.assets.newest = self.assets.newest.max(self.now);
        self.assets.newest
    }

    /// What a consumer has been given was there: nothing that comes is as old.
    pub(crate) fn restore_window(&mut self, end: Option<Timestamp>) {
        self.assets.newest = self.assets.newest.max(end.unwrap_or(Timestamp::MIN));
    }

    /// Makes the run of a DAG whose condition holds.
    pub(crate) fn run_for_assets(&mut self, dag: u32) {
        let state = &self.dags[dag as usize];
        let Some(wanted) = state.plan.dag().schedule.when.assets() else { return };
        let Some(pending) = self.assets.pending.get(&dag).filter(|pending| holds(wanted, pending)) else {
            return;
        };
        if state.halted() || state.active >= state.plan.dag().max_active_runs {
            return;
        }
        let newest = pending.values().copied().max().unwrap_or(self.now);
        let (tenant, dag_id) = (state.row.tenant, state.row.dag_id.clone());
        let until = self.close_window();
        let since = self.dags[dag as usize].row.listening_since.replace(until).unwrap_or(Timestamp::MIN);
        self.touch_dag(dag);
        let name = self.asset_run_name(dag, newest);
        self.assets.pending.remove(&dag);
        self.out.pending_assets.retain(|row| (row.tenant, &row.dag_id) != (tenant, &dag_id));
        self.out.consumed_assets.push((tenant, dag_id));
        let kind = RunType::AssetTriggered;
        let conf = Arc::default();
        let new = NewRun {
            name,
            kind,
            logical_date: None,
            interval: None,
            run_after: newest,
            conf,
            note: None,
            backfill: None,
            by: None,
            chain_depth: 0,
            asset_window: Some((since, until)),
        };
        self.make_run(dag, new);
    }

    /// A name that no run in memory has and, by the distance from the newest event to now, none that has left it.
    fn asset_run_name(&self, dag: u32, newest: Timestamp) -> RunName {
        let first = (self.now.since(newest).0 as u32).wrapping_mul(1 << 12);
        let taken = &self.dags[dag as usize].runs;
        (0..=u32::MAX)
            .map(|k| run_name_nth(RunType::AssetTriggered, None, newest, first.wrapping_add(k)))
            .find(|name| !taken.contains_key(name))
            .expect("invariant: fewer runs than numbers")
    }

    /// What waits for a consumer, by asset, with the time of the newest event.
    pub(crate) fn pending_for(&self, dag: u32) -> Option<&BTreeMap<Arc<str>, Timestamp>> {
        self.assets.pending.get(&dag)
    }
}
