//! Assets: what a success updates, and the DAGs that run when enough of them were updated.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dags::{
    ids::{RunName, TenantId},
    model::{AssetCondition, When},
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
}

/// The assets that a condition names.
fn names(condition: &AssetCondition, into: &mut BTreeSet<String>) {
    match condition {
        AssetCondition::Asset(name) => {
            into.insert(name.clone());
        }
        AssetCondition::Any(list) | AssetCondition::All(list) => {
            for inner in list {
                names(inner, into);
            }
        }
    }
}

fn holds(condition: &AssetCondition, pending: &BTreeMap<Arc<str>, Timestamp>) -> bool {
    match condition {
        AssetCondition::Asset(name) => pending.contains_key(name.as_str()),
        AssetCondition::Any(list) => list.iter().any(|inner| holds(inner, pending)),
        AssetCondition::All(list) => list.iter().all(|inner| holds(inner, pending)),
    }
}

pub(crate) fn condition(when: &When) -> Option<&AssetCondition> {
    match when {
        When::Assets(condition) | When::AssetsOrCrons { assets: condition, .. } => Some(condition),
        When::Never | When::Once | When::Continuous | When::Every(_) | When::Crons(_) => None,
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
        let mut wanted = BTreeSet::new();
        if let Some(condition) = condition(&state.plan.dag().schedule.when) {
            names(condition, &mut wanted);
        }
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
        let at = self.now;
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
    }

    /// Makes the run of a DAG whose condition holds.
    pub(crate) fn run_for_assets(&mut self, dag: u32) {
        let state = &self.dags[dag as usize];
        let Some(wanted) = condition(&state.plan.dag().schedule.when) else { return };
        let Some(pending) = self.assets.pending.get(&dag).filter(|pending| holds(wanted, pending)) else {
            return;
        };
        if state.row.paused || state.row.stale || state.active >= state.plan.dag().max_active_runs {
            return;
        }
        let newest = pending.values().copied().max().unwrap_or(self.now);
        let (tenant, dag_id) = (state.row.tenant, state.row.dag_id.clone());
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
