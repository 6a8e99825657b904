//! `/users`: people's accounts, for platform administrators.

use axum::Json;
use dags::time::Timestamp;
use migrations::{
    policy::Action,
    store::{
        account::{self, Account},
        role::{self, Subject},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::Known,
    describe::Created,
    describe::Done,
    error::Error,
    extract::{Asked, Body, Named, Parameter, Parameters},
    policy::BuiltIn,
    setup, sign_in,
    v1::{Items, names::Name},
};

/// People on one page.
const PAGE: u64 = 100;

/// A person's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// The name.
    pub name: String,
    /// Whether a password must be set before anything else.
    pub must_change_password: bool,
    /// Whether it is switched off.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
}

fn view(account: Account) -> User {
    User {
        name: account.name,
        must_change_password: account.must_change,
        disabled: account.disabled,
        created_at: account.created_at,
        created_by: account.created_by,
    }
}

async fn find(known: &Known, name: &Name) -> Result<Account, Error> {
    let found = account::user(&known.state.db, name.as_str()).await?;
    Ok(found.ok_or_else(|| Error::NotFound(format!("the user `{name}` was not found")))?.0)
}

/// What may be asked.
pub(crate) struct Wanted;

impl Parameters for Wanted {
    const ALL: &'static [Parameter] = &[Parameter::one::<String>("after", "The `next` of the page before.")];
}

/// `GET /users`: by name, a hundred at a time.
pub(crate) async fn list(known: Known, query: Asked<Wanted>) -> Result<Json<Items<User>>, Error> {
    known.platform(Action::Read).await?;
    let mut found = account::users(&known.state.db, query.text("after"), PAGE + 1).await?;
    let more = found.len() as u64 > PAGE;
    found.truncate(PAGE as usize);
    let next = found.last().filter(|_| more).map(|last| last.name.clone());
    Ok(Json(Items { items: found.into_iter().map(view).collect(), next }))
}

/// `GET /users/{name}`
pub(crate) async fn get(known: Known, Named(name): Named<Name>) -> Result<Json<User>, Error> {
    known.platform(Action::Read).await?;
    Ok(Json(view(find(&known, &name).await?)))
}

/// An account that is to be made.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserBody {
    /// The name.
    pub name: Name,
    /// The password; one that nobody chose, good for a day, if absent.
    #[serde(default)]
    pub password: Option<String>,
    /// Whether they administer tenants and accounts.
    #[serde(default)]
    pub platform_admin: bool,
}

/// An account that was made, or whose password was reset.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserMade {
    /// The name.
    pub name: String,
    /// The password if nobody chose one: good for a day, and for choosing another one. It isn't shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_password: Option<String>,
}

/// `POST /users`
pub(crate) async fn post(known: Known, Body(body): Body<UserBody>) -> Result<Created<UserMade>, Error> {
    known.platform(Action::Create).await?;
    let state = &known.state;
    let (kept, initial_password) = match &body.password {
        Some(password) => {
            let checked = sign_in::check_new(body.name.as_str(), password);
            checked.map_err(|why| Error::value("body", "password", why, ""))?;
            (sign_in::kept(&state.hasher, password).await?, None)
        }
        None => {
            let password = setup::initial_password()?;
            (setup::initial(&state.db, &password).await?, Some(password.to_string()))
        }
    };
    let actor = known.actor.name();
    let made = account::insert_user(&state.db, &actor, body.name.as_str(), &kept).await?;
    let made = made.ok_or_else(|| Error::Conflict(format!("there is a user `{}` already", body.name)))?;
    if body.platform_admin {
        let subject = Subject::Account(made.id);
        role::grant(&state.db, role::PLATFORM, &actor, subject, BuiltIn::PlatformAdmin.id()).await?;
    }
    Ok(Created(UserMade { name: made.name, initial_password }))
}

/// A change of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UserPatch {
    /// Switches it off, which ends its sessions and tokens, or on.
    pub disabled: Option<bool>,
    /// Whether they administer tenants and accounts.
    pub platform_admin: Option<bool>,
}

/// `PATCH /users/{name}`
pub(crate) async fn patch(
    known: Known,
    Named(name): Named<Name>,
    Body(patch): Body<UserPatch>,
) -> Result<Json<User>, Error> {
    known.platform(Action::Change).await?;
    let (db, actor) = (&known.state.db, known.actor.name());
    let found = find(&known, &name).await?;
    let own = known.actor.account().is_some_and(|account| account.id == found.id);
    if own && (patch.disabled == Some(true) || patch.platform_admin == Some(false)) {
        return Err(Error::Conflict("another administrator must do that to you".to_owned()));
    }
    if let Some(disabled) = patch.disabled {
        account::set_disabled(db, &actor, found.id, disabled).await?;
    }
    let (subject, role) = (Subject::Account(found.id), BuiltIn::PlatformAdmin.id());
    match patch.platform_admin {
        Some(true) => role::grant(db, role::PLATFORM, &actor, subject, role).await?,
        Some(false) => drop(role::revoke(db, role::PLATFORM, &actor, subject, role).await?),
        None => {}
    }
    Ok(Json(view(find(&known, &name).await?)))
}

/// `POST /users/{name}/password`: sets a password that nobody chose. Every session and token of theirs ends.
pub(crate) async fn reset(known: Known, Named(name): Named<Name>) -> Result<Json<UserMade>, Error> {
    known.platform(Action::Change).await?;
    let found = find(&known, &name).await?;
    // Who holds somebody's session mustn't get their account with it.
    if known.actor.account().is_some_and(|account| account.id == found.id) {
        return Err(Error::Conflict(
            "set your own password with `updraft passwd`, or ask another administrator".to_owned(),
        ));
    }
    let password = setup::initial_password()?;
    let kept = setup::initial(&known.state.db, &password).await?;
    account::set_password(&known.state.db, &known.actor.name(), found.id, &kept).await?;
    Ok(Json(UserMade { name: found.name, initial_password: Some(password.to_string()) }))
}

/// `DELETE /users/{name}`
pub(crate) async fn delete(known: Known, Named(name): Named<Name>) -> Result<Done, Error> {
    known.platform(Action::Delete).await?;
    let found = find(&known, &name).await?;
    if known.actor.account().is_some_and(|account| account.id == found.id) {
        return Err(Error::Conflict("another administrator must do that to you".to_owned()));
    }
    account::delete(&known.state.db, None, &known.actor.name(), found.id).await?;
    Ok(Done)
}
