//! `/policies`: what a user finds in a tenant, as one document that a laptop can hold DAGs against.
//!
//! It has names and numbers: nothing of what variables and connections hold.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use dags::{
    ids::ExecutorName,
    installation::Installation,
    model::{Dag, Task},
    time::Timestamp,
};
use engine::{quota::Limits, sharing::Quotas};
use migrations::{
    Db, TenantScope,
    policy::{Action, Effect, Kind},
    store::{connection, pool, quota, tenant, variable},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    error::Error,
    extract::Asked,
    v1::{
        can::{Because, roles_of},
        permissions::OfWhom,
    },
};

/// The format of the document.
pub const FORMAT: u32 = 1;
/// The pool that every tenant has.
pub const DEFAULT_POOL: &str = "default_pool";

/// What a user finds in a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Policies {
    /// The document's format.
    pub format: u32,
    /// The tenant.
    pub tenant: String,
    /// The user.
    pub user: String,
    /// When this was so.
    pub taken_at: Timestamp,
    /// The rules of their roles.
    pub rules: Vec<Because>,
    /// The executors, and the notification routes if the connections are known.
    pub installation: Installation,
    /// What there is for tasks.
    pub room: Room,
    /// What the tenant may have at once, whatever its quotas.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

impl Policies {
    /// Whether the user may bring the DAG to the service.
    pub fn may_deploy(&self, dag: &Dag) -> bool {
        self.may(Kind::Dag, Action::Create, dag.dag_id.as_str(), &dag.tags)
    }

    /// Whether the user may run the DAG.
    pub fn may_trigger(&self, dag: &Dag) -> bool {
        self.may(Kind::Run, Action::Create, dag.dag_id.as_str(), &dag.tags)
    }

    /// As the service decides: what is denied stays denied.
    fn may(&self, kind: Kind, action: Action, name: &str, tags: &BTreeSet<String>) -> bool {
        let matching = |effect| {
            self.rules.iter().any(|Because { rule, .. }| {
                rule.effect == effect
                    && rule.kinds.contains(&kind)
                    && rule.actions.contains(&action)
                    && rule.objects.covers(name, tags)
            })
        };
        matching(Effect::Allow) && !matching(Effect::Deny)
    }
}

/// What a tenant has for tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// The executor of tasks that name none.
    pub default_executor: ExecutorName,
    /// Pools and their slots, -1 for no limit; nothing if whoever asked may not see all of them. As with the others, what isn't
    /// known is missed by nobody.
    pub pools: Option<BTreeMap<String, i32>>,
    /// The names of variables.
    pub variables: Option<BTreeSet<String>>,
    /// The names of connections.
    pub connections: Option<BTreeSet<String>>,
    /// The tenant's own quota, by executor and resource.
    #[serde(default, skip_serializing_if = "Quotas::is_empty")]
    pub quotas: Quotas,
}

impl Room {
    /// All that a tenant has.
    pub(crate) async fn of(
        db: &Db,
        scope: TenantScope,
        default_executor: ExecutorName,
        default_pool_slots: i32,
    ) -> Result<Self, Error> {
        let mut pools = BTreeMap::from([(DEFAULT_POOL.to_owned(), default_pool_slots)]);
        pools
            .extend(pool::list(db, scope).await?.into_iter().map(|pool| (pool.name.to_string(), pool.slots)));
        let variables = variable::list(db, scope).await?.into_iter().map(|one| one.name).collect();
        let connections = connection::list(db, scope).await?.into_iter().map(|one| one.name).collect();
        let quotas = quota::of_tenant(db, scope).await?.map(|row| row.quotas).unwrap_or_default();
        Ok(Self {
            default_executor,
            pools: Some(pools),
            variables: Some(variables),
            connections: Some(connections),
            quotas,
        })
    }

    /// What a DAG needs and the tenant hasn't: it would fail or wait for ever. A sentence each.
    pub fn lacks(
        &self,
        dag: &Dag,
        connections: &BTreeSet<String>,
        variables: &BTreeSet<String>,
    ) -> Vec<String> {
        let mut lacks = Vec::new();
        let name = &dag.dag_id;
        let beyond = |wanted: &BTreeSet<String>, known: &Option<BTreeSet<String>>| -> Vec<String> {
            known.as_ref().map(|known| wanted.difference(known).cloned().collect()).unwrap_or_default()
        };
        for missing in beyond(connections, &self.connections) {
            lacks.push(format!(
                "`{name}` names the connection `{missing}`, which isn't there: `updraft connections set`"
            ));
        }
        for missing in beyond(variables, &self.variables) {
            lacks.push(format!(
                "`{name}` names the variable `{missing}`, which isn't there: `updraft variables set`"
            ));
        }
        for task in &dag.tasks {
            lacks.extend(self.pool_lacks(dag, task));
            lacks.extend(self.quota_lacks(dag, task));
        }
        lacks
    }

    fn pool_lacks(&self, dag: &Dag, task: &Task) -> Option<String> {
        let (name, pool) = (&dag.dag_id, task.pool.as_str());
        let Some(slots) = self.pools.as_ref()?.get(pool) else {
            return Some(format!(
                "`{name}.{}` waits for the pool `{pool}`, which isn't there: `updraft pools set`",
                task.task_id
            ));
        };
        let wanted = i64::from(task.pool_slots);
        (*slots >= 0 && wanted > i64::from(*slots)).then(|| {
            format!(
                "`{name}.{}` wants {wanted} slots of the pool `{pool}`, which has {slots}: it would wait for ever",
                task.task_id
            )
        })
    }

    fn quota_lacks(&self, dag: &Dag, task: &Task) -> Vec<String> {
        let executor = task.executor.as_ref().unwrap_or(&self.default_executor).as_str();
        let Some(limits) = self.quotas.get(executor) else { return Vec::new() };
        let lack = |(resource, most): (&str, i64)| {
            let wanted = wants(task, resource);
            (wanted > most).then(|| {
                format!(
                    "`{}.{}` wants {wanted} of `{resource}` on `{executor}`, and the tenant's quota gives {most} at most: \
                     it would wait for ever",
                    dag.dag_id, task.task_id
                )
            })
        };
        limits
            .iter()
            .filter_map(|(resource, limit)| Some((&**resource, limit.nominal.saturating_add(limit.borrow?))))
            .filter_map(lack)
            .collect()
    }
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

/// `GET /policies?user=`: without a user about oneself. About others only for those who see members.
pub(crate) async fn get(access: Access, query: Asked<OfWhom>) -> Result<Json<Policies>, Error> {
    let own =
        access.actor().account().map_or_else(|| access.actor().name().to_string(), |own| own.name.clone());
    let user = query.text("user").filter(|user| *user != own);
    if user.is_some() && access.seen(Kind::Member).allow.is_empty() {
        return Err(Error::Forbidden("only about oneself: leave `user` out".to_owned()));
    }
    let (state, scope) = access.own();
    let rules = match user {
        None => access.roles().sourced(),
        Some(user) => match roles_of(&state, scope, user).await? {
            (_, true) => Vec::new(),
            (roles, false) => roles.sourced(),
        },
    };
    let mut installation = state.bundles.installation();
    let mut room =
        Room::of(&state.db, scope, installation.default_executor.clone(), state.default_pool_slots).await?;
    let all = |kind| access.seen(kind).is_all();
    if !all(Kind::Pool) {
        room.pools = None;
    }
    if !all(Kind::Variable) {
        room.variables = None;
    }
    installation.routes = None;
    if all(Kind::Connection) {
        let connections = connection::list(&state.db, scope).await?;
        let routes = connections
            .into_iter()
            .filter(|one| plugins::notify::TYPES.contains(&one.address.conn_type.as_str()))
            .map(|one| one.name);
        installation.routes = Some(routes.collect());
    } else {
        room.connections = None;
    }
    let mut limits = quota::of_tenant(&state.db, scope).await?.map(|row| row.limits).unwrap_or_default();
    if access.seen(Kind::Pool).allow.is_empty() {
        (room.quotas, limits) = (Quotas::new(), Limits::default());
    }
    // Who else is limited is nobody's business.
    let name = user.unwrap_or(&own);
    limits.users.retain(|of, _| **of == *name);
    limits.groups.retain(|_, group| group.users.iter().any(|of| **of == *name));
    for group in limits.groups.values_mut() {
        group.users.retain(|of| **of == *name);
    }
    let tenant = tenant::by_id(&state.db, scope.tenant()).await?;
    Ok(Json(Policies {
        format: FORMAT,
        tenant: tenant.map(|tenant| tenant.name).unwrap_or_default(),
        user: user.map_or(own, str::to_owned),
        taken_at: state.db.now().await?,
        rules,
        installation,
        room,
        limits,
    }))
}
