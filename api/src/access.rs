//! The gate: who asks, and whether they may. Every handler passes it before it does anything: [`Access`] is only made for
//! a known actor in a tenant that they belong to, [`Access::authorize`] decides about one object and [`Access::list`]
//! about a list.
//!
//! Whoever comes by the Unix socket of the service's own user and shows no token is the host's operator: they own the
//! files, the keys and the database, so they may do everything. Everybody else shows a token.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{Method, header, request::Parts},
};
use dags::ids::{DagId, TenantId};
use migrations::{
    Db, TenantScope,
    policy::{Action, Kind, Visible},
    store::{
        account::{Account, AccountId},
        audit, dag, role,
        tenant::{self, TenantState},
        token::{self, Token},
    },
};

use crate::{
    error::Error,
    peer::Peer,
    policy::{BuiltIn, RoleSet},
    state::{Api, State},
};

/// The cookie of a session over TLS. A browser takes it from this very host only.
const COOKIE: &str = "__Host-updraft";
/// The cookie of a session over plain HTTP, which is served on loopback only.
const PLAIN_COOKIE: &str = "updraft-session";

/// What has no tags.
pub(crate) const NO_TAGS: BTreeSet<String> = BTreeSet::new();

/// The tenant that a path names by `/t/NAME`.
#[derive(Debug, Clone)]
pub(crate) struct TenantInPath(pub(crate) String);

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Actor {
    /// The user who runs the service, on its own machine.
    Operator {
        /// Their name there.
        name: Arc<str>,
    },
    /// An account, with the token that it showed.
    Account {
        /// The account.
        account: Account,
        /// The token.
        token: Box<Token>,
    },
}

impl Actor {
    /// What is written down of them.
    pub(crate) fn name(&self) -> Arc<str> {
        match self {
            Self::Operator { name } => name.clone(),
            Self::Account { account, .. } if account.tenant.is_some() => {
                format!("service:{}", account.name).into()
            }
            Self::Account { account, .. } => account.name.as_str().into(),
        }
    }

    /// The account, but for the host's operator, who needs none.
    pub(crate) fn account(&self) -> Option<&Account> {
        match self {
            Self::Operator { .. } => None,
            Self::Account { account, .. } => Some(account),
        }
    }

    /// Whether a token is good for that. It never gives, it only narrows.
    fn in_scope(&self, kind: Kind, action: Action) -> bool {
        match self {
            Self::Account { token, .. } => match &token.scopes {
                Some(scopes) => scopes.iter().any(|scope| scope_covers(scope, kind, action)),
                None => true,
            },
            Self::Operator { .. } => true,
        }
    }
}

/// Whether `run:create`, `run:*` or `*:read` speaks of that.
pub(crate) fn scope_covers(scope: &str, kind: Kind, action: Action) -> bool {
    scope.split_once(':').is_some_and(|(kinds, actions)| {
        (kinds == "*" || Kind::parse(kinds) == Some(kind))
            && (actions == "*" || Action::parse(actions) == Some(action))
    })
}

/// Somebody known, whatever they want. What is asked for in no tenant takes this.
pub(crate) struct Known {
    pub(crate) state: Arc<State>,
    pub(crate) peer: Peer,
    pub(crate) actor: Actor,
}

/// Somebody known who belongs to the tenant that they address.
pub(crate) struct Access {
    state: Arc<State>,
    actor: Actor,
    scope: TenantScope,
    roles: Arc<RoleSet>,
}

/// The right to do what was asked for. Use-cases take it instead of a database.
#[derive(Clone)]
pub(crate) struct Permit {
    pub(crate) state: Arc<State>,
    /// Who, for audit log and runs.
    pub(crate) actor: Arc<str>,
    /// Whose rows.
    pub(crate) scope: TenantScope,
    /// Which objects, of the kind that was asked for.
    pub(crate) visible: Visible,
}

/// An object that something is to be done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resource<'a> {
    kind: Kind,
    name: &'a str,
}

impl<'a> Resource<'a> {
    /// What belongs to a DAG, or the DAG itself.
    pub(crate) fn dag(kind: Kind, dag: &'a DagId) -> Self {
        Self { kind, name: dag.as_str() }
    }

    /// What has a name of its own.
    pub(crate) const fn named(kind: Kind, name: &'a str) -> Self {
        Self { kind, name }
    }

    /// What is said of one that isn't there, and of one that may not be seen: the same.
    pub(crate) fn missing(self) -> Error {
        let kind = match self.kind {
            kind if kind.of_dag() => "DAG",
            kind => kind.as_str(),
        };
        Error::NotFound(format!("the {kind} `{}` was not found", self.name))
    }
}

/// Somebody known, even if the first thing that they must do is to change their password.
pub(crate) struct Identified(pub(crate) Known);

impl FromRequestParts<Api> for Known {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let Identified(found) = Identified::from_request_parts(parts, api).await?;
        match &found.actor {
            Actor::Account { account, .. } if account.must_change => Err(Error::MustChange),
            _ => Ok(found),
        }
    }
}

impl FromRequestParts<Api> for Identified {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let peer = Peer::from_request_parts(parts, api).await?;
        let state = api.0.clone();
        let actor = match (credential(parts, peer)?, peer) {
            (Some(text), peer) => {
                let bad = || Error::unauthorized("the token is unknown, or its time is over: sign in again");
                let hash = crate::token::hash(&text).ok_or_else(bad)?;
                let from = peer.address().map(|address| address.to_string());
                let (token, account) =
                    token::find(&state.db, &hash, from.as_deref()).await?.ok_or_else(bad)?;
                state.rates.of_account(&state.db, account.id).await?;
                Actor::Account { account, token: Box::new(token) }
            }
            (None, Peer::Unix { uid }) => Actor::Operator { name: Peer::user_name(uid) },
            (None, Peer::Tcp { .. }) => {
                return Err(Error::unauthorized(
                    "sign in first: send a token in `Authorization: Bearer ...`",
                ));
            }
        };
        Ok(Self(Known { state, peer, actor }))
    }
}

impl Known {
    /// Whether they may do that with tenants and accounts.
    pub(crate) async fn platform(&self, action: Action) -> Result<(), Error> {
        let allowed = match &self.actor {
            Actor::Operator { .. } => true,
            Actor::Account { account, token } => {
                let (_, over) = role::of_account(&self.state.db, role::PLATFORM, account.id).await?;
                token.tenant.is_none()
                    && over.contains(&BuiltIn::PlatformAdmin.id())
                    && self.actor.in_scope(Kind::Platform, action)
            }
        };
        if allowed {
            return Ok(());
        }
        let what = format!("{} tenants and accounts", action.as_str());
        audit::denied(&self.state.db, role::PLATFORM, &self.actor.name(), &what).await?;
        Err(Error::Forbidden("only a platform administrator may do that".to_owned()))
    }

    /// The right to have the engine do something about a tenant that is a platform administrator's business. It lets them
    /// see nothing of the tenant.
    pub(crate) async fn permit_platform(&self, action: Action, tenant: TenantId) -> Result<Permit, Error> {
        self.platform(action).await?;
        Ok(Permit {
            state: self.state.clone(),
            actor: self.actor.name(),
            scope: TenantScope::new(tenant),
            visible: Visible::default(),
        })
    }
}

/// The one credential of a request: a token in the `Authorization` header or the cookie of a session.
fn credential(parts: &Parts, peer: Peer) -> Result<Option<String>, Error> {
    let mut headers = parts.headers.get_all(header::AUTHORIZATION).iter();
    let bearer = match (headers.next(), headers.next()) {
        (None, _) => None,
        (Some(_), Some(_)) => return Err(Error::BadRequest("a request has one `Authorization`".to_owned())),
        (Some(value), None) => {
            let token = value.to_str().ok().and_then(|text| {
                let (scheme, token) = text.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
            });
            let wrong = || Error::unauthorized("write `Authorization: Bearer TOKEN`");
            Some(token.filter(|token| !token.is_empty()).ok_or_else(wrong)?)
        }
    };
    let cookie = cookie(parts, peer);
    match (bearer, cookie) {
        (Some(bearer), Some(cookie)) if bearer != cookie => {
            Err(Error::BadRequest("a token and another session's cookie: send one of them".to_owned()))
        }
        (Some(bearer), _) => Ok(Some(bearer)),
        (None, Some(cookie)) => {
            from_our_pages(parts, peer)?;
            Ok(Some(cookie))
        }
        (None, None) => Ok(None),
    }
}

/// The name of the session's cookie for such a connection.
pub(crate) const fn cookie_name(peer: Peer) -> &'static str {
    match peer {
        Peer::Tcp { secure: true, .. } => COOKIE,
        _ => PLAIN_COOKIE,
    }
}

fn cookie(parts: &Parts, peer: Peer) -> Option<String> {
    let wanted = cookie_name(peer);
    let all = parts.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
}

/// A browser sends cookies along with what other sites make it ask for. What changes anything must come from our pages.
fn from_our_pages(parts: &Parts, peer: Peer) -> Result<(), Error> {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if matches!(peer, Peer::Tcp { secure: true, .. }) { "https" } else { "http" };
    let ours = match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), ..) => site == "same-origin",
        (None, Some(origin), Some(host)) => origin == format!("{scheme}://{host}"),
        _ => false,
    };
    if ours { Ok(()) } else { Err(Error::Forbidden("a request of another site was refused".to_owned())) }
}

impl FromRequestParts<Api> for Access {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let Known { state, actor, .. } = Known::from_request_parts(parts, api).await?;
        let nothing = || Error::NotFound("Not Found".to_owned());
        let found = match parts.extensions.get::<TenantInPath>() {
            Some(TenantInPath(name)) => tenant::by_name(&state.db, name).await?,
            None => tenant::by_id(&state.db, state.tenant).await?,
        };
        let found = found.filter(|tenant| tenant.state != TenantState::Deleted).ok_or_else(nothing)?;
        let scope = TenantScope::new(found.id);
        let roles: BTreeSet<_> = match &actor {
            Actor::Operator { .. } => BTreeSet::from([BuiltIn::TenantAdmin.id()]),
            Actor::Account { account, token } => {
                let elsewhere =
                    [account.tenant, token.tenant].into_iter().flatten().any(|own| own != found.id);
                if elsewhere {
                    return Err(nothing());
                }
                role::of_account(&state.db, scope, account.id).await?.0
            }
        };
        // A tenant that one doesn't belong to looks like one that there isn't.
        if roles.is_empty() {
            return Err(nothing());
        }
        if actor.account().is_some() {
            state.rates.of_tenant(&state.db, found.id).await?;
        }
        if found.state == TenantState::Suspended {
            return Err(Error::Forbidden(format!("the tenant `{}` is suspended", found.name)));
        }
        let roles = state.policies.of(&state.db, scope, found.policy_epoch, &roles).await?;
        Ok(Self { state, actor, scope, roles })
    }
}

impl Access {
    /// Whether the actor may do that with one object. Who may not even see it is told that it isn't there.
    pub(crate) async fn authorize(&self, resource: Resource<'_>, action: Action) -> Result<Permit, Error> {
        let Resource { kind, name } = resource;
        let tags = self.tags(resource).await?;
        if self.decides(kind, action, name, &tags) {
            return Ok(self.permit(self.visible(kind, action).unwrap_or_default()));
        }
        let what = format!("{} {} {name}", action.as_str(), kind.as_str());
        audit::denied(&self.state.db, self.scope, &self.actor.name(), &what).await?;
        // Who may see a DAG may know that it has runs and logs, but for what is in them.
        let shown = if kind.of_dag() { Kind::Dag } else { kind };
        let seen = self.decides(shown, Action::Read, name, &tags);
        if !seen && (action != Action::Create || kind.of_dag()) {
            return Err(resource.missing());
        }
        Err(Error::Forbidden(format!("you may not {} the {} `{name}`", action.as_str(), kind.as_str())))
    }

    /// Whether the actor may read objects of that kind, and which.
    pub(crate) async fn list(&self, kind: Kind) -> Result<Permit, Error> {
        self.any(kind, Action::Read).await
    }

    /// Whether the actor may do that with any object of that kind, and with which.
    pub(crate) async fn any(&self, kind: Kind, action: Action) -> Result<Permit, Error> {
        match self.visible(kind, action) {
            Some(visible) => Ok(self.permit(visible)),
            None => {
                let what = format!("{} {} *", action.as_str(), kind.as_str());
                audit::denied(&self.state.db, self.scope, &self.actor.name(), &what).await?;
                Err(Error::Forbidden(format!("you may not {} any {} here", action.as_str(), kind.as_str())))
            }
        }
    }

    /// Which objects of that kind the actor may read; nothing if none.
    pub(crate) fn seen(&self, kind: Kind) -> Visible {
        self.visible(kind, Action::Read).unwrap_or_default()
    }

    /// Whether the actor may do that with an object, as a question: nothing is done and nothing is audited.
    pub(crate) fn may(&self, kind: Kind, action: Action, name: &str, tags: &BTreeSet<String>) -> bool {
        self.decides(kind, action, name, tags)
    }

    /// What the actor's roles allow, without what their token leaves of it.
    pub(crate) fn roles(&self) -> &RoleSet {
        &self.roles
    }

    /// Who asks.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The tenant's rows, for what one may know about oneself.
    pub(crate) fn own(&self) -> (Arc<State>, TenantScope) {
        (self.state.clone(), self.scope)
    }

    /// Whether the actor's token is good for less than the actor.
    pub(crate) fn is_narrowed(&self) -> bool {
        matches!(&self.actor, Actor::Account { token, .. } if token.scopes.is_some())
    }

    /// The account that asks.
    pub(crate) fn account(&self) -> Option<AccountId> {
        self.actor.account().map(|account| account.id)
    }

    fn decides(&self, kind: Kind, action: Action, name: &str, tags: &BTreeSet<String>) -> bool {
        let allowed = self.actor.in_scope(kind, action) && self.roles.may(kind, action, name, tags);
        tracing::trace!(?kind, ?action, name, allowed, "may");
        allowed
    }

    fn visible(&self, kind: Kind, action: Action) -> Option<Visible> {
        self.roles.visible(kind, action).filter(|_| self.actor.in_scope(kind, action))
    }

    fn permit(&self, visible: Visible) -> Permit {
        Permit { state: self.state.clone(), actor: self.actor.name(), scope: self.scope, visible }
    }

    /// The tags of the DAG, if any rule asks for them.
    async fn tags(&self, Resource { kind, name }: Resource<'_>) -> Result<BTreeSet<String>, Error> {
        match DagId::parse(name) {
            Ok(dag_id) if kind.of_dag() && self.roles.asks_for_tags() => {
                tags(&self.state.db, self.scope, &dag_id).await
            }
            _ => Ok(BTreeSet::new()),
        }
    }
}

/// The tags of a DAG; none if there is no such DAG or its model can't be read.
pub(crate) async fn tags(db: &Db, scope: TenantScope, dag_id: &DagId) -> Result<BTreeSet<String>, Error> {
    Ok(dag::tags_of(db, scope, dag_id).await?)
}

impl Permit {
    /// The database.
    pub(crate) fn db(&self) -> &Db {
        &self.state.db
    }

    /// Whether an object of the kind that was asked for may be seen, by its name or that of its DAG.
    pub(crate) async fn sees(&self, name: &str) -> Result<bool, Error> {
        let tags = match DagId::parse(name) {
            Ok(dag_id) if self.visible.asks_for_tags() => tags(self.db(), self.scope, &dag_id).await?,
            _ => BTreeSet::new(),
        };
        Ok(self.visible.covers(name, &tags))
    }
}

/// Whoever asks. Only what everybody may know takes this.
pub(crate) struct Public(pub(crate) Arc<State>);

impl FromRequestParts<Api> for Public {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        Peer::from_request_parts(parts, api).await?;
        Ok(Self(api.0.clone()))
    }
}
