//! `/groups`: accounts that are given roles together.

use std::collections::BTreeSet;

use axum::Json;
use migrations::{
    policy::{Action, Kind},
    store::{
        account::AccountId,
        role::{self, Subject},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Resource},
    describe::Done,
    error::Error,
    extract::{Body, Named},
    v1::{
        Items,
        grants::{SubjectKind, holds, rules_of, subject},
        names::Name,
    },
};

/// The most members of a group.
const MEMBERS_MAX: usize = 1000;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// The names of its members.
    pub members: Vec<String>,
    /// Those of them that are service accounts of the tenant.
    #[serde(default)]
    pub service_accounts: Vec<String>,
}

/// `GET /groups`
pub(crate) async fn list(access: Access) -> Result<Json<Items<GroupView>>, Error> {
    let may = access.list(Kind::Member).await?;
    let groups = role::groups(may.db(), may.scope).await?;
    Ok(Items::all(groups.into_iter().map(|group| {
        let services = group.members.iter().filter(|member| member.is_service);
        let service_accounts = services.map(|member| member.name.clone()).collect();
        let members = group.members.into_iter().map(|member| member.name).collect();
        GroupView { name: group.name, members, service_accounts }
    })))
}

/// Who is to be in a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupBody {
    /// Names of people.
    #[serde(default)]
    pub users: BTreeSet<Name>,
    /// Names of the tenant's service accounts.
    #[serde(default)]
    pub service_accounts: BTreeSet<Name>,
}

/// `PUT /groups/{name}`: makes a group, or gives it other members.
pub(crate) async fn put(
    access: Access,
    Named(name): Named<Name>,
    Body(body): Body<GroupBody>,
) -> Result<Done, Error> {
    let may = access.authorize(Resource::named(Kind::Member, name.as_str()), Action::Change).await?;
    if body.users.len() + body.service_accounts.len() > MEMBERS_MAX {
        return Err(Error::value("body", "users", format!("a group has at most {MEMBERS_MAX} members"), ""));
    }
    if let Some(group) = role::group(may.db(), may.scope, name.as_str()).await? {
        // Who comes into a group gets what it has.
        holds(&access, &rules_of(&may, Subject::Group(group)).await?)?;
    }
    let mut members: BTreeSet<AccountId> = BTreeSet::new();
    for (kind, names) in [(SubjectKind::User, &body.users), (SubjectKind::Service, &body.service_accounts)] {
        for member in names {
            if let Subject::Account(id) = subject(&may, kind, member).await? {
                members.insert(id);
            }
        }
    }
    role::set_group(may.db(), may.scope, &may.actor, name.as_str(), &members).await?;
    Ok(Done)
}

/// `DELETE /groups/{name}`
pub(crate) async fn delete(access: Access, Named(name): Named<Name>) -> Result<Done, Error> {
    let may = access.authorize(Resource::named(Kind::Member, name.as_str()), Action::Delete).await?;
    if role::delete_group(may.db(), may.scope, &may.actor, name.as_str()).await? {
        Ok(Done)
    } else {
        Err(Error::NotFound(format!("the group `{name}` was not found")))
    }
}
