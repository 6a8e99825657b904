//! `/quotas`: what tenants and cohorts are guaranteed, may borrow and lend, and how much of it they use. For platform
//! administrators. `/quota` is a tenant's own, for who may see its pools.

use std::{collections::BTreeMap, sync::Arc};

use axum::Json;
use dags::ids::TenantId;
use engine::{
    command::Command,
    quota::{
        Limits,
        figures::{AmountFigures, QuotaFigures},
    },
    rows::QuotaNode,
    sharing::{Quotas, Weight},
};
use migrations::{
    policy::{Action, Kind},
    store::tenant,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Known, Permit},
    describe::Done,
    error::Error,
    extract::{Asked, Body, Named, Nothing},
    v1::{Items, names::Name},
};

/// Who has a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A group of tenants and of other cohorts. The one above all is named `root`.
    Cohort,
    /// A tenant.
    Tenant,
}

impl NodeKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cohort => "cohort",
            Self::Tenant => "tenant",
        }
    }
}

/// A quota and its use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuotaView {
    /// Whose it is.
    pub kind: NodeKind,
    /// The cohort's or tenant's name.
    pub name: String,
    /// Whether somebody set it. While one quota is set, every tenant that has work has a place in the tree.
    pub set: bool,
    /// The cohort that it belongs to; none for `root`.
    pub cohort: Option<String>,
    /// Its weight among its siblings.
    pub weight: Weight,
    /// How much it borrows, in thousandths of all quotas of the resource of which it borrows most, divided by its weight.
    /// None if it borrows with weight 0, or what nobody is guaranteed: then everybody else goes first.
    pub share_per_mille: Option<u64>,
    /// Task instances that wait in the queue, for a cohort those of all its tenants.
    pub waiting: u64,
    /// What a tenant may have at once, whatever its quotas.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// By executor and resource.
    pub amounts: Vec<AmountFigures>,
}

/// A quota that is to be set. It replaces the one that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaBody {
    /// The cohort that it belongs to; `root` if absent.
    #[serde(default)]
    pub cohort: Option<String>,
    /// Its weight among its siblings, as text such as `"0.5"`; 1 if absent.
    #[serde(default)]
    pub weight: Weight,
    /// By executor and resource: `nominal`, what is guaranteed; `borrow`, the most beyond that; `lend`, the most that others
    /// may use of it. Without `borrow` or `lend` there is no such limit.
    #[serde(default)]
    pub quotas: Quotas,
    /// What a tenant may have at once, whatever its quotas; nothing of it is limited if absent. Not for cohorts.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

/// What the engine has: everything, or what concerns the permit's tenant. The permit is that of somebody who may see it.
async fn figures(may: &Permit, own: bool) -> Result<Vec<QuotaFigures>, Error> {
    let answer = may.request(Command::ReadQuotas { own }).await?;
    serde_json::from_value(answer["quotas"].clone())
        .map_err(|why| Error::Internal(format!("the engine's answer: {why}")))
}

/// A quota by its tenant's name. A tenant that is deleted while its last tasks end has no name any more.
fn view(figures: QuotaFigures, names: &BTreeMap<TenantId, String>) -> Option<QuotaView> {
    let QuotaFigures { node, set, cohort, weight, share_per_mille, waiting, limits, amounts } = figures;
    let (kind, name) = match node {
        QuotaNode::Cohort(name) => (NodeKind::Cohort, name.to_string()),
        QuotaNode::Tenant(id) => (NodeKind::Tenant, names.get(&id)?.clone()),
    };
    let cohort = cohort.map(|cohort| cohort.to_string());
    Some(QuotaView { kind, name, set, cohort, weight, share_per_mille, waiting, limits, amounts })
}

/// Everything that the engine has, by name, for who may see all tenants' use.
pub(crate) async fn all(may: &Permit) -> Result<Vec<QuotaView>, Error> {
    let found = figures(may, false).await?;
    let tenants = tenant::list(may.db()).await?;
    let names = tenants.into_iter().map(|tenant| (tenant.id, tenant.name)).collect();
    let mut views: Vec<QuotaView> = found.into_iter().filter_map(|it| view(it, &names)).collect();
    views.sort_by(|a, b| (a.kind.as_str(), &a.name).cmp(&(b.kind.as_str(), &b.name)));
    Ok(views)
}

/// The permit's tenant and the cohorts above it: what others use is seen as a sum. Empty while no quota is set.
pub(crate) async fn own(may: &Permit) -> Result<Vec<QuotaView>, Error> {
    let found = figures(may, true).await?;
    let name = tenant::by_id(may.db(), may.scope.tenant()).await?;
    let names = name.into_iter().map(|tenant| (tenant.id, tenant.name)).collect();
    Ok(found.into_iter().filter_map(|it| view(it, &names)).collect())
}

/// `GET /quota`: the tenant's own quota, then those of the cohorts above it.
pub(crate) async fn get_own(access: Access, _: Asked<Nothing>) -> Result<Json<Items<QuotaView>>, Error> {
    let may = access.list(Kind::Pool).await?;
    Ok(Items::all(own(&may).await?))
}

/// `GET /quotas`: cohorts, then tenants, by name. Empty while no quota is set.
pub(crate) async fn list(known: Known) -> Result<Json<Items<QuotaView>>, Error> {
    let may = known.permit_platform(Action::Read, known.state.tenant).await?;
    Ok(Items::all(all(&may).await?))
}

fn absent(kind: NodeKind, name: &str) -> Error {
    Error::NotFound(format!("the {} `{name}` has no quota", kind.as_str()))
}

/// `GET /quotas/{kind}/{name}`
pub(crate) async fn get(
    known: Known,
    Named((kind, name)): Named<(NodeKind, String)>,
) -> Result<Json<QuotaView>, Error> {
    let may = known.permit_platform(Action::Read, known.state.tenant).await?;
    let found = all(&may).await?.into_iter().find(|view| view.kind == kind && view.name == name);
    found.map(Json).ok_or_else(|| absent(kind, &name))
}

/// `PUT /quotas/{kind}/{name}`
pub(crate) async fn put(
    known: Known,
    Named((kind, name)): Named<(NodeKind, String)>,
    Body(QuotaBody { cohort, weight, quotas, limits }): Body<QuotaBody>,
) -> Result<Done, Error> {
    let cohort: Option<Arc<str>> = cohort.map(Into::into);
    match kind {
        NodeKind::Cohort if !limits.is_empty() => {
            let why = "a cohort has no limits of its own: set them for its tenants";
            return Err(Error::BadRequest(why.to_owned()));
        }
        NodeKind::Cohort => {
            let may = known.permit_platform(Action::Change, known.state.tenant).await?;
            let name = name.into();
            may.request(Command::SetCohort { name, parent: cohort, weight, quotas }).await?;
        }
        NodeKind::Tenant => {
            let tenant = tenant_of(&known, Action::Change, &name).await?;
            let may = known.permit_platform(Action::Change, tenant).await?;
            may.request(Command::SetQuota { cohort, weight, quotas, limits }).await?;
        }
    }
    Ok(Done)
}

/// `DELETE /quotas/{kind}/{name}`: a cohort only if nobody belongs to it.
pub(crate) async fn delete(
    known: Known,
    Named((kind, name)): Named<(NodeKind, String)>,
) -> Result<Done, Error> {
    let answer = match kind {
        NodeKind::Cohort => {
            let may = known.permit_platform(Action::Delete, known.state.tenant).await?;
            may.request(Command::DeleteCohort { name: name.as_str().into() }).await?
        }
        NodeKind::Tenant => {
            let tenant = tenant_of(&known, Action::Delete, &name).await?;
            let may = known.permit_platform(Action::Delete, tenant).await?;
            may.request(Command::DeleteQuota {}).await?
        }
    };
    if answer["was_set"] == false {
        return Err(absent(kind, &name));
    }
    Ok(Done)
}

/// The tenant of that name, for who may know of it.
async fn tenant_of(known: &Known, action: Action, name: &str) -> Result<TenantId, Error> {
    known.platform(action).await?;
    let absent = || Error::NotFound(format!("the tenant `{name}` was not found"));
    let name = Name::try_from(name.to_owned()).map_err(|_| absent())?;
    let found = tenant::by_name(&known.state.db, name.as_str()).await?;
    found.map(|tenant| tenant.id).ok_or_else(absent)
}
