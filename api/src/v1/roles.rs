//! `/roles`: the built-in ones, and those that a tenant makes.

use axum::Json;
use migrations::{
    policy::{Action, Kind, PATTERN_BYTES_MAX, Pattern, RULES_MAX, Rule},
    store::role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Resource},
    describe::Done,
    error::Error,
    extract::{Body, Named},
    policy::BuiltIn,
    v1::{Items, grants::holds, names::Name},
};

/// The most roles that a tenant makes.
const ROLES_MAX: usize = 200;

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleView {
    /// Its name.
    pub name: String,
    /// Whether it exists in every tenant and can't be changed.
    pub built_in: bool,
    /// What it is for.
    pub description: Option<String>,
    /// What it gives and takes.
    pub rules: Vec<Rule>,
}

/// `GET /roles`
pub(crate) async fn list(access: Access) -> Result<Json<Items<RoleView>>, Error> {
    let may = access.list(Kind::Member).await?;
    let built_in = BuiltIn::ALL.into_iter().filter(|role| *role != BuiltIn::PlatformAdmin);
    let built_in = built_in.map(|role| RoleView {
        name: role.name().to_owned(),
        built_in: true,
        description: None,
        rules: role.rules(),
    });
    let own = role::list(may.db(), may.scope).await?.into_iter().map(|role| RoleView {
        name: role.name,
        built_in: false,
        description: role.description,
        rules: role.rules,
    });
    Ok(Items::all(built_in.chain(own)))
}

/// What a role is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleBody {
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// What it gives and takes.
    pub rules: Vec<Rule>,
}

/// `PUT /roles/{name}`: makes a role, or makes it another one. It holds for everybody who has it at once.
pub(crate) async fn put(
    access: Access,
    Named(name): Named<Name>,
    Body(body): Body<RoleBody>,
) -> Result<Done, Error> {
    let may = access.authorize(Resource::named(Kind::Member, name.as_str()), Action::Change).await?;
    if BuiltIn::parse(name.as_str()).is_some() {
        return Err(Error::Conflict(format!("`{name}` is built in: choose another name")));
    }
    check(&body.rules)?;
    holds(&access, &body.rules)?;
    let known = role::list(may.db(), may.scope).await?;
    match known.iter().find(|role| role.name == name.as_str()) {
        // Who has less must not change what gives more.
        Some(before) => holds(&access, &before.rules)?,
        None if known.len() >= ROLES_MAX => {
            return Err(Error::Conflict(format!("there are {ROLES_MAX} roles already: delete some")));
        }
        None => {}
    }
    let description = body.description.as_deref();
    role::set(may.db(), may.scope, &may.actor, name.as_str(), description, &body.rules).await?;
    Ok(Done)
}

fn check(rules: &[Rule]) -> Result<(), Error> {
    let wrong = |message: String| Err(Error::value("body", "rules", message, ""));
    if rules.len() > RULES_MAX {
        return wrong(format!("a role has at most {RULES_MAX} rules, this one has {}", rules.len()));
    }
    for rule in rules {
        let (Pattern::Name(text) | Pattern::Tag(text)) = &rule.objects;
        if rule.kinds.is_empty() || rule.actions.is_empty() {
            return wrong("a rule has at least one kind and one action".to_owned());
        }
        if rule.kinds.contains(&Kind::Platform) {
            return wrong("tenants and accounts are not of a tenant: no role here is about them".to_owned());
        }
        if matches!(rule.objects, Pattern::Tag(_)) && !rule.kinds.iter().all(|kind| kind.of_dag()) {
            return wrong("only DAGs have tags, and what belongs to DAGs".to_owned());
        }
        if text.is_empty() || text.len() > PATTERN_BYTES_MAX || text.chars().any(char::is_control) {
            return wrong(format!("a pattern has 1 to {PATTERN_BYTES_MAX} bytes and no control characters"));
        }
    }
    Ok(())
}

/// `DELETE /roles/{name}`
pub(crate) async fn delete(access: Access, Named(name): Named<Name>) -> Result<Done, Error> {
    let may = access.authorize(Resource::named(Kind::Member, name.as_str()), Action::Delete).await?;
    if role::delete(may.db(), may.scope, &may.actor, name.as_str()).await? {
        Ok(Done)
    } else {
        Err(Error::NotFound(format!("the role `{name}` was not found")))
    }
}
