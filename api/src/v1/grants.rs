//! `/grants`: who has which role in a tenant. Nobody grants what they haven't got themselves.

use std::collections::BTreeSet;

use axum::Json;
use migrations::{
    policy::{Action, Kind, Rule},
    store::{
        account,
        role::{self, RoleId, Subject},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Permit, Resource},
    describe::Done,
    error::Error,
    extract::Named,
    policy::BuiltIn,
    v1::{Items, names::Name},
};

/// Who can have a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A person.
    User,
    /// A service account of the tenant.
    Service,
    /// A group of the tenant.
    Group,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantView {
    /// Whether an account (`account`) or a group (`group`) has it.
    pub kind: String,
    /// The account's or group's name.
    pub name: String,
    /// The role.
    pub role: String,
}

/// `GET /grants`
pub(crate) async fn list(access: Access) -> Result<Json<Items<GrantView>>, Error> {
    let may = access.list(Kind::Member).await?;
    let own = role::list(may.db(), may.scope).await?;
    let name = |id: RoleId| {
        let custom = || own.iter().find(|role| role.id == id).map(|role| role.name.clone());
        BuiltIn::of(id).map(|role| role.name().to_owned()).or_else(custom)
    };
    let grants = role::grants(may.db(), may.scope).await?;
    Ok(Items::all(grants.into_iter().filter_map(|grant| {
        let kind = match grant.subject {
            Subject::Account(_) => "account",
            Subject::Group(_) => "group",
        };
        Some(GrantView { kind: kind.to_owned(), name: grant.name, role: name(grant.role)? })
    })))
}

/// Who is meant.
pub(crate) async fn subject(may: &Permit, kind: SubjectKind, name: &Name) -> Result<Subject, Error> {
    let (db, text) = (may.db(), name.as_str());
    let found = match kind {
        SubjectKind::User => account::user(db, text).await?.map(|(found, _)| Subject::Account(found.id)),
        SubjectKind::Service => {
            account::service(db, may.scope, text).await?.map(|found| Subject::Account(found.id))
        }
        SubjectKind::Group => role::group(db, may.scope, text).await?.map(Subject::Group),
    };
    found.ok_or_else(|| Error::NotFound(format!("`{name}` was not found")))
}

/// The role of that name, with what it gives.
async fn find_role(may: &Permit, name: &Name) -> Result<(RoleId, Vec<Rule>), Error> {
    match BuiltIn::parse(name.as_str()) {
        // It isn't given in a tenant.
        Some(BuiltIn::PlatformAdmin) => Err(Error::NotFound(format!("the role `{name}` was not found"))),
        Some(role) => Ok((role.id(), role.rules())),
        None => {
            let found = role::list(may.db(), may.scope).await?.into_iter();
            let found = found.into_iter().find(|role| role.name == name.as_str());
            let found = found.ok_or_else(|| Error::NotFound(format!("the role `{name}` was not found")))?;
            Ok((found.id, found.rules))
        }
    }
}

/// Refuses to give on what one hasn't got.
pub(crate) fn holds(access: &Access, rules: &[Rule]) -> Result<(), Error> {
    match rules.iter().find(|rule| !access.roles().contains(rule)) {
        None => Ok(()),
        Some(_) => Err(Error::Forbidden("nobody gives a right that they haven't got themselves".to_owned())),
    }
}

/// The rules of roles that are granted to a subject.
pub(crate) async fn rules_of(may: &Permit, subject: Subject) -> Result<Vec<Rule>, Error> {
    let grants = role::grants(may.db(), may.scope).await?;
    let ids: BTreeSet<RoleId> =
        grants.into_iter().filter(|grant| grant.subject == subject).map(|grant| grant.role).collect();
    let mut rules: Vec<Rule> =
        ids.iter().filter_map(|id| BuiltIn::of(*id)).flat_map(BuiltIn::rules).collect();
    rules.extend(role::some(may.db(), may.scope, &ids).await?.into_iter().flat_map(|role| role.rules));
    Ok(rules)
}

/// `PUT /grants/{kind}/{name}/{role}`
pub(crate) async fn put(
    access: Access,
    Named((kind, name, role)): Named<(SubjectKind, Name, Name)>,
) -> Result<Done, Error> {
    let may = access.authorize(Resource::named(Kind::Member, name.as_str()), Action::Change).await?;
    let (role, rules) = find_role(&may, &role).await?;
    holds(&access, &rules)?;
    let subject = subject(&may, kind, &name).await?;
    role::grant(may.db(), may.scope, &may.actor, subject, role).await?;
    Ok(Done)
}

/// `DELETE /grants/{kind}/{name}/{role}`
pub(crate) async fn delete(
    access: Access,
    Named((kind, name, role_name)): Named<(SubjectKind, Name, Name)>,
) -> Result<Done, Error> {
    let may = access.authorize(Resource::named(Kind::Member, name.as_str()), Action::Change).await?;
    let (role, rules) = find_role(&may, &role_name).await?;
    // Who has less must not disarm who has more.
    holds(&access, &rules)?;
    let subject = subject(&may, kind, &name).await?;
    if role::revoke(may.db(), may.scope, &may.actor, subject, role).await? {
        Ok(Done)
    } else {
        Err(Error::NotFound(format!("`{name}` hasn't got the role `{role_name}`")))
    }
}
