//! `/workers`: the machines that carry attempts out, and whether they are heard. For platform administrators.

use std::collections::BTreeMap;

use axum::Json;
use dags::{ids::TenantId, time::Timestamp};
use migrations::{Db, policy::Action, store::worker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{access::Known, error::Error, v1::Items};

/// The most workers that are looked at, the newest first.
const WORKERS_MAX: u64 = 1_000;

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerView {
    /// Its identity, another one after each start.
    pub id: String,
    /// What its machine is called.
    pub name: String,
    /// The executor that it belongs to.
    pub executor: String,
    /// Members at once.
    pub slots: u32,
    /// The queues that it serves.
    pub queues: Vec<String>,
    /// Words about it.
    pub labels: BTreeMap<String, String>,
    /// The release that it runs.
    pub release: String,
    /// When it registered.
    pub registered_at: Timestamp,
    /// Since when it isn't heard any more.
    pub lost_at: Option<Timestamp>,
}

/// How many workers there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workers {
    /// Those that are heard.
    pub present: u64,
    /// Those that are lost and haven't been replaced by a later start on their machine.
    pub lost: u64,
}

/// Workers that haven't said goodbye. One that was lost and whose machine has started another since is forgotten.
async fn unended(db: &Db) -> Result<Vec<worker::Worker>, Error> {
    let all = worker::unended(db, WORKERS_MAX).await?;
    let replaced = |of: &worker::Worker| {
        all.iter()
            .any(|it| it.name == of.name && it.executor == of.executor && it.registered_at > of.registered_at)
    };
    let kept = all.iter().filter(|it| it.lost_at.is_none() || !replaced(it));
    Ok(kept.cloned().collect())
}

/// How those are that may run attempts of a tenant.
pub(crate) async fn of_tenant(db: &Db, tenant: TenantId) -> Result<Workers, Error> {
    let mut counts = Workers::default();
    for worker in unended(db).await? {
        if worker.spec.tenants.as_ref().is_none_or(|tenants| tenants.contains(&tenant)) {
            match worker.lost_at {
                None => counts.present += 1,
                Some(_) => counts.lost += 1,
            }
        }
    }
    Ok(counts)
}

/// `GET /workers`: the newest first.
pub(crate) async fn list(known: Known) -> Result<Json<Items<WorkerView>>, Error> {
    known.platform(Action::Read).await?;
    let found = unended(&known.state.db).await?;
    Ok(Items::all(found.into_iter().map(|worker| WorkerView {
        id: worker.spec.worker.to_string(),
        name: worker.name,
        executor: worker.executor.to_string(),
        slots: worker.spec.slots,
        queues: worker.spec.queues.into_iter().collect(),
        labels: worker.labels,
        release: worker.release,
        registered_at: worker.registered_at,
        lost_at: worker.lost_at,
    })))
}
