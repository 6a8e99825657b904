//! `/service-accounts`: accounts of a tenant's programs. They have tokens and no password.

use axum::Json;
use dags::time::Timestamp;
use migrations::{
    policy::{Action, Kind},
    store::{
        account::{self, Account},
        role::Subject,
        token::{self, TokenKind},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    access::{Access, Known, Permit, Resource},
    describe::Created,
    describe::Done,
    error::Error,
    extract::{Body, Named},
    v1::{
        Items,
        grants::{holds, rules_of},
        me::{TokenBody, TokenMade, TokenView, make, view as token_view},
        names::Name,
    },
};

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
}

fn view(account: Account) -> ServiceView {
    ServiceView { name: account.name, created_at: account.created_at, created_by: account.created_by }
}

async fn find(may: &Permit, name: &Name) -> Result<Account, Error> {
    let found = account::service(may.db(), may.scope, name.as_str()).await?;
    found.ok_or_else(|| Error::NotFound(format!("the service account `{name}` was not found")))
}

/// `GET /service-accounts`
pub(crate) async fn list(access: Access) -> Result<Json<Items<ServiceView>>, Error> {
    let may = access.list(Kind::Member).await?;
    Ok(Items::all(account::services(may.db(), may.scope).await?.into_iter().map(view)))
}

/// A service account that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceBody {
    /// Its name.
    pub name: Name,
}

/// `POST /service-accounts`
pub(crate) async fn post(
    access: Access,
    Body(body): Body<ServiceBody>,
) -> Result<Created<ServiceView>, Error> {
    let may = access.authorize(Resource::named(Kind::Member, body.name.as_str()), Action::Create).await?;
    let made = account::insert_service(may.db(), may.scope, &may.actor, body.name.as_str()).await?;
    let taken = || Error::Conflict(format!("there is a service account `{}` already", body.name));
    Ok(Created(view(made.ok_or_else(taken)?)))
}

/// `DELETE /service-accounts/{name}`: its tokens end.
pub(crate) async fn delete(access: Access, Named(name): Named<Name>) -> Result<Done, Error> {
    let may = access.authorize(Resource::named(Kind::Member, name.as_str()), Action::Delete).await?;
    let found = find(&may, &name).await?;
    account::delete(may.db(), Some(may.scope), &may.actor, found.id).await?;
    Ok(Done)
}

/// `GET /service-accounts/{name}/tokens`
pub(crate) async fn tokens(
    access: Access,
    Named(name): Named<Name>,
) -> Result<Json<Items<TokenView>>, Error> {
    let may = access.list(Kind::Member).await?;
    let found = find(&may, &name).await?;
    Ok(Items::all(token::list(may.db(), found.id).await?.into_iter().map(token_view)))
}

/// `POST /service-accounts/{name}/tokens`: makes a token. Only for an account that may do nothing that the maker mayn't.
pub(crate) async fn make_token(
    access: Access,
    known: Known,
    Named(name): Named<Name>,
    Body(body): Body<TokenBody>,
) -> Result<Created<TokenMade>, Error> {
    let may = access.authorize(Resource::named(Kind::Member, name.as_str()), Action::Change).await?;
    let found = find(&may, &name).await?;
    if access.account() == Some(found.id) || access.is_narrowed() {
        return Err(Error::Forbidden("a token can't make tokens that are wider than itself".to_owned()));
    }
    holds(&access, &rules_of(&may, Subject::Account(found.id)).await?)?;
    if body.tenant.is_some() {
        return Err(Error::value("body", "tenant", "is the account's own", ""));
    }
    let tenant = Some(may.scope.tenant());
    let made = make(&known, Some(may.scope), found.id, TokenKind::Service, tenant, &body).await?;
    Ok(Created(made))
}

/// `DELETE /service-accounts/{name}/tokens/{token_id}`
pub(crate) async fn end_token(access: Access, Named((name, id)): Named<(Name, Uuid)>) -> Result<Done, Error> {
    let may = access.authorize(Resource::named(Kind::Member, name.as_str()), Action::Change).await?;
    let found = find(&may, &name).await?;
    if token::delete(may.db(), Some(may.scope), &may.actor, found.id, id).await? {
        Ok(Done)
    } else {
        Err(Error::NotFound(format!("the token `{id}` was not found")))
    }
}
