//! What would change with a bundle, and what stands in the way of it.

use std::collections::{BTreeMap, BTreeSet};

use dags::{ids::BundleId, model::Task};
use migrations::{
    policy::{Action, Kind},
    store::{
        Window, bundle, connection,
        dag::{self, DagFilter, DagWithModel},
        pool, quota, variable,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::diff::{Difference, between};
use crate::{
    access::{Access, Permit},
    bundles::{Contents, Found, Received},
    error::Error,
};

/// The most DAGs of a tenant that are looked at.
const DAGS_MAX: u64 = 100_000;
/// The pool that every tenant has.
const DEFAULT_POOL: &str = "default_pool";

/// What would change with a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The bundle.
    pub bundle: String,
    /// The one that is active now, if one is.
    pub base: Option<String>,
    /// The DAGs of both, by name, as far as one may see them.
    pub dags: Vec<PlannedDag>,
    /// What stands in the way.
    pub troubles: Vec<Trouble>,
}

impl Plan {
    /// Whether it would make any difference.
    pub fn changes(&self) -> bool {
        self.base.as_deref() != Some(&self.bundle)
    }
}

/// What becomes of a DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedDag {
    /// Its name.
    pub dag_id: String,
    /// What becomes of it.
    pub change: Change,
    /// The version that it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The version that it would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What differs; none if one may not read the DAG's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<Difference>>,
}

/// What becomes of a DAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It isn't there yet.
    New,
    /// It gets another version.
    Changed,
    /// It becomes stale.
    Removed,
    /// Its version stays; new runs use the new bundle's files.
    Unchanged,
}

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// Of what kind.
    pub cause: Cause,
    /// What, where, and what to do.
    pub message: String,
}

/// Why a bundle can't be made active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A file can't be used.
    File,
    /// One may not do that.
    Permission,
    /// The service lacks something that a DAG needs: it would fail or wait for ever.
    Missing,
    /// The tenant's DAGs come from a folder that the service watches.
    Folder,
}

/// A plan, with what it was made of.
pub(super) struct Made {
    pub(super) plan: Plan,
    pub(super) contents: Received,
    pub(super) sources: Vec<Found>,
}

fn trouble(cause: Cause, message: String) -> Trouble {
    Trouble { cause, message }
}

/// Compiles a bundle and compares it with what is there.
pub(super) async fn make(access: &Access, may: &Permit, address: &BundleId) -> Result<Made, Error> {
    let (db, scope) = (may.db(), may.scope);
    let connections = connection::list(db, scope).await?;
    let is_route = |kind: &str| plugins::notify::TYPES.contains(&kind);
    let routes =
        connections.iter().filter(|one| is_route(&one.address.conn_type)).map(|one| one.name.clone());
    let contents = may.state.bundles.compile(scope.tenant(), address.clone(), routes.collect()).await?;
    let active = bundle::active(db, scope).await?;
    let filter = DagFilter { with_stale: true, ..DagFilter::default() };
    let there = dag::list(db, scope, &filter, Window { limit: DAGS_MAX, offset: 0 }).await?.rows;
    let there: BTreeMap<String, DagWithModel> =
        there.into_iter().map(|dag| (dag.row.dag_id.to_string(), dag)).collect();

    let mut troubles: Vec<Trouble> = Vec::new();
    for (file, report) in &contents.broken {
        troubles.push(trouble(Cause::File, format!("{file} can't be used:\n{report}")));
    }
    let is_other = active.as_ref().is_some_and(|active| active.digest != *address);
    let target = bundle::get(db, scope, address).await?;
    let gives_back = target.is_some_and(|target| !target.is_deployed());
    if is_other && !gives_back && active.as_ref().is_some_and(|active| !active.is_deployed()) {
        let message = "the DAGs of this tenant come from the folder that its service watches (`dags.folder`): deploy \
                       to another tenant, or take the folder's place, which isn't looked at any more then";
        troubles.push(trouble(Cause::Folder, message.to_owned()));
    }
    let names: BTreeSet<String> = connections.into_iter().map(|one| one.name).collect();
    missing(may, &contents, &names, &mut troubles).await?;

    let mut dags = Vec::new();
    for (dag_id, found) in &contents.dags {
        let name = dag_id.as_str();
        let before = there.get(name);
        let old_tags = before.map(DagWithModel::tags);
        // By what it is and by what it becomes: nobody gets hold of a DAG by another label.
        let allowed = access.may(Kind::Dag, Action::Create, name, &found.model.tags)
            && old_tags.as_ref().is_none_or(|tags| access.may(Kind::Dag, Action::Create, name, tags));
        if !allowed {
            troubles.push(trouble(Cause::Permission, format!("you may not deploy the DAG `{name}`")));
        }
        let live = before.filter(|before| !before.row.stale);
        let seen = live.filter(|dag| access.may(Kind::Code, Action::Read, name, &dag.tags()));
        let (change, differences) = match live {
            None => (Change::New, None),
            Some(before) if before.row.version == found.version => (Change::Unchanged, None),
            Some(_) => {
                let model = seen.and_then(|before| before.model().ok());
                let differences = model.map(|model| between(model, &found.model)).transpose();
                (Change::Changed, differences.map_err(|error| Error::Internal(error.to_string()))?)
            }
        };
        dags.push(PlannedDag {
            dag_id: name.to_owned(),
            change,
            before: live.map(|before| before.row.version.to_string()),
            after: Some(found.version.to_string()),
            differences,
        });
    }
    let mut hidden = 0;
    for (name, before) in &there {
        let broken = contents.broken.contains_key(&before.source);
        if before.row.stale || broken || contents.dags.contains_key(&before.row.dag_id) {
            continue;
        }
        let tags = before.tags();
        if !access.may(Kind::Dag, Action::Read, name, &tags) {
            hidden += 1;
            continue;
        }
        if !access.may(Kind::Dag, Action::Delete, name, &tags) {
            let message = format!("you may not take the DAG `{name}` away, which the bundle doesn't have");
            troubles.push(trouble(Cause::Permission, message));
        }
        dags.push(PlannedDag {
            dag_id: name.clone(),
            change: Change::Removed,
            before: Some(before.row.version.to_string()),
            after: None,
            differences: None,
        });
    }
    if hidden > 0 {
        let message = "the bundle lacks DAGs that you may not see, and would take them away";
        troubles.push(trouble(Cause::Permission, message.to_owned()));
    }
    dags.sort_by(|a, b| a.dag_id.cmp(&b.dag_id));
    troubles.sort_by_key(|trouble| trouble.cause);
    let plan = Plan {
        bundle: address.to_string(),
        base: active.map(|active| active.digest.to_string()),
        dags,
        troubles,
    };
    Ok(Made { plan, contents: contents.received, sources: contents.dags.into_values().collect() })
}

/// What DAGs need and the tenant hasn't.
async fn missing(
    may: &Permit,
    contents: &Contents,
    connections: &BTreeSet<String>,
    troubles: &mut Vec<Trouble>,
) -> Result<(), Error> {
    let (db, scope) = (may.db(), may.scope);
    let pools: BTreeMap<String, i32> =
        pool::list(db, scope).await?.into_iter().map(|pool| (pool.name.to_string(), pool.slots)).collect();
    let variables: BTreeSet<String> =
        variable::list(db, scope).await?.into_iter().map(|one| one.name).collect();
    let quota = quota::of_tenant(db, scope).await?;
    let mut lacks = |message: String| troubles.push(trouble(Cause::Missing, message));
    for (dag, found) in &contents.dags {
        for name in found.connections.difference(connections) {
            lacks(format!(
                "`{dag}` names the connection `{name}`, which isn't there: `updraft connections set`"
            ));
        }
        for name in found.variables.difference(&variables) {
            lacks(format!("`{dag}` names the variable `{name}`, which isn't there: `updraft variables set`"));
        }
        for task in &found.model.tasks {
            let name = task.pool.as_str();
            let slots = match pools.get(name) {
                Some(slots) => *slots,
                None if name == DEFAULT_POOL => may.state.default_pool_slots,
                None => {
                    lacks(format!(
                        "`{dag}.{}` waits for the pool `{name}`, which isn't there: `updraft pools set`",
                        task.task_id
                    ));
                    continue;
                }
            };
            let wanted = i64::from(task.pool_slots);
            if slots >= 0 && wanted > i64::from(slots) {
                lacks(format!(
                    "`{dag}.{}` wants {wanted} slots of the pool `{name}`, which has {slots}: it would wait for ever",
                    task.task_id
                ));
            }
            let executor = task.executor.as_ref().unwrap_or(&contents.default_executor).as_str();
            let Some(limits) = quota.as_ref().and_then(|quota| quota.quotas.get(executor)) else { continue };
            for (resource, limit) in limits {
                let Some(most) = limit.borrow.map(|borrow| limit.nominal.saturating_add(borrow)) else {
                    continue;
                };
                let wanted = wants(task, resource);
                if wanted > most {
                    lacks(format!(
                        "`{dag}.{}` wants {wanted} of `{resource}` on `{executor}`, and the tenant's quota gives {most} at \
                         most: it would wait for ever",
                        task.task_id
                    ));
                }
            }
        }
    }
    Ok(())
}

/// What all members of a task want of a resource together, as quotas count it.
fn wants(task: &Task, resource: &str) -> i64 {
    let resources = &task.resources;
    let gpus = |model: Option<&str>| match &resources.gpu {
        Some(gpu) if model.is_none_or(|model| gpu.model.as_deref() == Some(model)) => u64::from(gpu.count),
        _ => 0,
    };
    let one = match (resource, resource.strip_prefix("gpu/")) {
        ("members", _) => 1,
        ("cpu", _) => resources.cpu_milli,
        ("memory", _) => resources.memory_bytes,
        ("gpu", _) => gpus(None),
        (_, Some(model)) => gpus(Some(model)),
        (other, None) => resources.custom.get(other).copied().unwrap_or_default(),
    };
    i64::try_from(one).unwrap_or(i64::MAX).saturating_mul(i64::from(task.gang.max(1)))
}
