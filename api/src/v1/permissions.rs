//! `/permissions`: everything that somebody may do in a tenant, and what gives it to them.

use std::collections::BTreeMap;

use axum::Json;
use migrations::{
    policy::Rule,
    store::{
        account,
        role::{self, RoleId, Subject},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    error::Error,
    extract::{Asked, Parameter, Parameters},
    policy::BuiltIn,
    v1::Items,
};

/// A rule that holds for somebody, and how it comes to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PermissionView {
    /// The role that has the rule.
    pub role: String,
    /// The group that has the role; none where it is their own.
    pub group: Option<String>,
    /// The rule. One that denies goes before all that allow.
    pub rule: Rule,
}

/// What may be asked.
pub(crate) struct OfWhom;

impl Parameters for OfWhom {
    const ALL: &'static [Parameter] =
        &[Parameter::one::<String>("user", "A person or service account; oneself if absent.")];
}

/// `GET /permissions?user=`: without a user, one's own. Others' only for those who see members. An account that is switched off
/// has none; what an administrator of the platform may do outside of tenants isn't among them.
pub(crate) async fn list(access: Access, query: Asked<OfWhom>) -> Result<Json<Items<PermissionView>>, Error> {
    let own = access.actor().account();
    let user = query.text("user").filter(|user| own.is_none_or(|own| own.name != *user));
    if user.is_some() && access.seen(migrations::policy::Kind::Member).allow.is_empty() {
        return Err(Error::Forbidden("only one's own: leave `user` out".to_owned()));
    }
    let (state, scope) = access.own();
    let db = &state.db;
    let found = match user {
        None => own.cloned(),
        Some(user) => match account::user(db, user).await? {
            Some((account, _)) => Some(account),
            None => account::service(db, scope, user).await?,
        },
    };
    let missing =
        || Error::NotFound(format!("`{}` was not found", user.unwrap_or("the operator of the host")));
    let account = found.ok_or_else(missing)?;
    let groups = role::groups(db, scope).await?.into_iter();
    let groups: BTreeMap<_, _> = groups
        .filter(|group| group.members.iter().any(|member| member.id == account.id))
        .map(|group| (group.id, group.name))
        .collect();
    let through = |subject: Subject| match subject {
        Subject::Account(id) => (id == account.id).then_some(None),
        Subject::Group(id) => groups.get(&id).cloned().map(Some),
    };
    let grants = role::grants(db, scope).await?.into_iter();
    let grants: Vec<(RoleId, Option<String>)> =
        grants.filter_map(|grant| Some((grant.role, through(grant.subject)?))).collect();
    // A stranger to the tenant isn't there for it.
    if grants.is_empty() {
        return Err(missing());
    }
    if account.disabled {
        return Ok(Items::all([]));
    }
    let custom = role::some(db, scope, &grants.iter().map(|(role, _)| *role).collect()).await?;
    let rules_of = |id: RoleId| match BuiltIn::of(id) {
        Some(role) => Some((role.name().to_owned(), role.rules())),
        None => custom.iter().find(|role| role.id == id).map(|role| (role.name.clone(), role.rules.clone())),
    };
    let mut views = Vec::new();
    for (role, group) in grants {
        let Some((role, rules)) = rules_of(role) else { continue };
        let view = |rule| PermissionView { role: role.clone(), group: group.clone(), rule };
        views.extend(rules.into_iter().map(view));
    }
    Ok(Items::all(views))
}
