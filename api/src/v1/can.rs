//! `/can`: whether somebody may do something, and by which rule.

use std::sync::Arc;

use axum::Json;
use dags::ids::DagId;
use migrations::{
    TenantScope,
    policy::{Action, Kind, Rule},
    store::{account, role, tenant},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, NO_TAGS, tags},
    error::Error,
    extract::{Asked, Parameter, Parameters},
    policy::RoleSet,
    state::State,
};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Can {
    /// Whether they may.
    pub allowed: bool,
    /// The rules that decide: those that take it away if there are any, else those that give it.
    pub because: Vec<Because>,
}

/// A rule and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Because {
    /// The role.
    pub role: String,
    /// The rule.
    pub rule: Rule,
}

/// What may be asked.
pub(crate) struct Question;

impl Parameters for Question {
    const ALL: &'static [Parameter] = &[
        Parameter::needed::<Action>("action", "What is to be done."),
        Parameter::needed::<Kind>("kind", "The kind of the object."),
        Parameter::needed::<String>("name", "The object, or the DAG that it belongs to."),
        Parameter::one::<String>(
            "user",
            "Whose right it is, a person or service account; one's own if absent.",
        ),
    ];
}

/// `GET /can?user=&action=&kind=&name=`: without a user, about oneself. About others only for those who see members.
pub(crate) async fn get(access: Access, query: Asked<Question>) -> Result<Json<Can>, Error> {
    let word = |name: &str| query.text(name).ok_or_else(|| Error::value("query", name, "must be given", ""));
    let action = word("action")?;
    let action = Action::parse(action).ok_or_else(|| {
        Error::value("query", "action", "must be one of read, create, change, delete", action)
    })?;
    let kind = word("kind")?;
    let kind = Kind::parse(kind).ok_or_else(|| {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        Error::value("query", "kind", format!("must be one of {}", kinds.join(", ")), kind)
    })?;
    let name = word("name")?;
    let own_name = access.actor().account().map(|own| own.name.as_str());
    let user = query.text("user").filter(|user| Some(*user) != own_name);
    if user.is_some() && access.seen(Kind::Member).allow.is_empty() {
        return Err(Error::Forbidden("only about oneself: leave `user` out".to_owned()));
    }
    let (state, scope) = access.own();
    let tags = match DagId::parse(name) {
        Ok(dag_id) if kind.of_dag() => tags(&state.db, scope, &dag_id).await?,
        _ => NO_TAGS,
    };
    let explain = |roles: &RoleSet| Can {
        allowed: roles.may(kind, action, name, &tags),
        because: roles
            .reasons(kind, action, name, &tags)
            .into_iter()
            .map(|sourced| Because { role: sourced.role.clone(), rule: sourced.rule.clone() })
            .collect(),
    };
    let Some(user) = user else { return Ok(Json(explain(access.roles()))) };
    let (roles, disabled) = roles_of(&state, scope, user).await?;
    let Can { allowed, because } = explain(&roles);
    Ok(Json(Can { allowed: allowed && !disabled, because }))
}

/// The roles of an account in a tenant, and whether it is disabled. A stranger to the tenant isn't there for it.
pub(crate) async fn roles_of(
    state: &State,
    scope: TenantScope,
    user: &str,
) -> Result<(Arc<RoleSet>, bool), Error> {
    let account = match account::user(&state.db, user).await? {
        Some((account, _)) => Some(account),
        None => account::service(&state.db, scope, user).await?,
    };
    let missing = || Error::NotFound(format!("`{user}` was not found"));
    let account = account.ok_or_else(missing)?;
    let roles = role::of_account(&state.db, scope, account.id).await?.0;
    if roles.is_empty() {
        return Err(missing());
    }
    let epoch = tenant::by_id(&state.db, scope.tenant()).await?.map_or(0, |tenant| tenant.policy_epoch);
    Ok((state.policies.of(&state.db, scope, epoch, &roles).await?, account.disabled))
}
