//! `/tenants`: for platform administrators. None of this lets them into a tenant: who wants to act there needs a role.

use axum::{Json, extract::State};
use dags::{
    ids::{ShardId, TenantId},
    time::Timestamp,
};
use engine::command::Command;
use migrations::{
    TenantScope,
    policy::Action,
    store::{
        Window, account, dag,
        dag::DagFilter,
        quota,
        retention::{self, DAYS_MAX},
        role::{self, Subject},
        tenant::{self, Tenant, TenantState},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    access::Known,
    describe::Created,
    describe::Done,
    error::Error,
    extract::{Body, Named},
    policy::BuiltIn,
    state::Api,
    v1::{Items, names::Name},
};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantView {
    /// Its name.
    pub name: String,
    /// Its identity, which never changes.
    pub id: Uuid,
    /// Whether nobody may do anything in it for now.
    pub suspended: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

fn view(tenant: Tenant) -> TenantView {
    TenantView {
        name: tenant.name,
        id: tenant.id.0,
        suspended: tenant.state == TenantState::Suspended,
        created_at: tenant.created_at,
    }
}

async fn find(known: &Known, name: &Name) -> Result<Tenant, Error> {
    let found = tenant::by_name(&known.state.db, name.as_str()).await?;
    found.ok_or_else(|| Error::NotFound(format!("the tenant `{name}` was not found")))
}

/// `GET /tenants`: by name.
pub(crate) async fn list(known: Known) -> Result<Json<Items<TenantView>>, Error> {
    known.platform(Action::Read).await?;
    Ok(Items::all(tenant::list(&known.state.db).await?.into_iter().map(view)))
}

/// `GET /tenants/{name}`
pub(crate) async fn get(known: Known, Named(name): Named<Name>) -> Result<Json<TenantView>, Error> {
    known.platform(Action::Read).await?;
    Ok(Json(view(find(&known, &name).await?)))
}

/// A tenant that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantBody {
    /// Its name.
    pub name: Name,
    /// The user who administers it.
    #[serde(default)]
    pub admin: Option<Name>,
}

/// `POST /tenants`
pub(crate) async fn post(known: Known, Body(body): Body<TenantBody>) -> Result<Created<TenantView>, Error> {
    known.platform(Action::Create).await?;
    let (db, actor) = (&known.state.db, known.actor.name());
    let admin = match &body.admin {
        Some(admin) => Some(user(&known, admin).await?),
        None => None,
    };
    let id = TenantId(Uuid::now_v7());
    let made = tenant::insert(db, &actor, id, body.name.as_str(), ShardId::DEFAULT).await?;
    let made = made.ok_or_else(|| Error::Conflict(format!("there is a tenant `{}` already", body.name)))?;
    if let Some(admin) = admin {
        role::grant(db, TenantScope::new(id), &actor, admin, BuiltIn::TenantAdmin.id()).await?;
    }
    Ok(Created(view(made)))
}

async fn user(known: &Known, name: &Name) -> Result<Subject, Error> {
    let found = account::user(&known.state.db, name.as_str()).await?;
    let found = found.ok_or_else(|| Error::NotFound(format!("the user `{name}` was not found")))?;
    Ok(Subject::Account(found.0.id))
}

/// A change of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantPatch {
    /// Whether nobody may do anything in it for now, and nothing of it starts. What runs goes on.
    pub suspended: bool,
}

/// `PATCH /tenants/{name}`
pub(crate) async fn patch(
    State(api): State<Api>,
    known: Known,
    Named(name): Named<Name>,
    Body(patch): Body<TenantPatch>,
) -> Result<Json<TenantView>, Error> {
    known.platform(Action::Change).await?;
    let found = find(&known, &name).await?;
    if found.id == api.0.tenant && patch.suspended {
        return Err(Error::Conflict("the default tenant can't be suspended".to_owned()));
    }
    tenant::set_suspended(&known.state.db, &known.actor.name(), found.id, patch.suspended).await?;
    // Whoever owns the shard next reads it; the present one is told.
    let may = known.permit_platform(Action::Change, found.id).await?;
    may.request(Command::SuspendTenant { suspended: patch.suspended }).await?;
    Ok(Json(view(find(&known, &name).await?)))
}

/// `DELETE /tenants/{name}`: only one without DAGs, so that nothing is left that would go on running.
pub(crate) async fn delete(
    State(api): State<Api>,
    known: Known,
    Named(name): Named<Name>,
) -> Result<Done, Error> {
    known.platform(Action::Delete).await?;
    let found = find(&known, &name).await?;
    if found.id == api.0.tenant {
        return Err(Error::Conflict("the default tenant can't be deleted".to_owned()));
    }
    let nothing = Window { limit: 0, offset: 0 };
    let filter = DagFilter { with_stale: true, ..DagFilter::default() };
    let dags = dag::list(&known.state.db, TenantScope::new(found.id), &filter, nothing).await?.total;
    if dags > 0 {
        return Err(Error::Conflict(format!("the tenant `{name}` has {dags} DAGs: delete them first")));
    }
    if quota::is_set(&known.state.db, TenantScope::new(found.id)).await? {
        let may = known.permit_platform(Action::Delete, found.id).await?;
        may.request(Command::DeleteQuota {}).await?;
    }
    tenant::delete(&known.state.db, &known.actor.name(), found.id).await?;
    Ok(Done)
}

/// How long a tenant's finished runs are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeptFor {
    /// Days; 0 for ever, null as the service's `retention.run_days` says.
    pub run_days: Option<u32>,
}

/// `GET /tenants/{name}/retention`
pub(crate) async fn retention(known: Known, Named(name): Named<Name>) -> Result<Json<KeptFor>, Error> {
    known.platform(Action::Read).await?;
    let found = find(&known, &name).await?;
    Ok(Json(KeptFor { run_days: retention::policy(&known.state.db, found.id).await? }))
}

/// `PUT /tenants/{name}/retention`: it appears in the platform's audit log.
pub(crate) async fn put_retention(
    known: Known,
    Named(name): Named<Name>,
    Body(body): Body<KeptFor>,
) -> Result<Json<KeptFor>, Error> {
    known.platform(Action::Change).await?;
    if let Some(days) = body.run_days.filter(|days| *days > DAYS_MAX) {
        let message = format!("{days} is more than {DAYS_MAX}: write 0 to keep runs for ever");
        return Err(Error::value("body", "run_days", message, days));
    }
    let found = find(&known, &name).await?;
    retention::set_policy(&known.state.db, &known.actor.name(), found.id, body.run_days).await?;
    Ok(Json(body))
}

/// `PUT /tenants/{name}/admins/{user}`: makes somebody the administrator of a tenant. It appears in the tenant's audit log.
pub(crate) async fn put_admin(
    known: Known,
    Named((name, admin)): Named<(Name, Name)>,
) -> Result<Done, Error> {
    known.platform(Action::Change).await?;
    let found = find(&known, &name).await?;
    let subject = user(&known, &admin).await?;
    let scope = TenantScope::new(found.id);
    role::grant(&known.state.db, scope, &known.actor.name(), subject, BuiltIn::TenantAdmin.id()).await?;
    Ok(Done)
}
