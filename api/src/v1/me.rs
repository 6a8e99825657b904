//! `/me`: one's own account, password and tokens.

use axum::Json;
use dags::time::{Span, Timestamp};
use migrations::{
    TenantScope,
    store::{
        account::{self, AccountId},
        role, tenant,
        token::{self, NewToken, Token, TokenKind},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    access::{Actor, Identified, Known, scope_covers},
    auth::{self, Login},
    describe::Created,
    describe::Done,
    error::Error,
    extract::{Body, Named},
    policy::BuiltIn,
    sign_in,
    token::Fresh,
    v1::{Items, names::Name},
};
use migrations::policy::{Action, Kind};

/// Days that a token lasts if nobody says otherwise.
const DAYS: u32 = 90;
/// The most days that a token may last.
const DAYS_MAX: u32 = 365;
/// The most tokens of one account.
const TOKENS_MAX: usize = 100;

/// Who one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    /// One's name.
    pub name: String,
    /// Whether a password must be set before anything else.
    pub must_change_password: bool,
    /// Whether one administers tenants and accounts.
    pub platform_admin: bool,
    /// The tenants in which one has a role.
    pub tenants: Vec<String>,
}

/// `GET /me`
pub(crate) async fn get(Identified(known): Identified) -> Result<Json<Me>, Error> {
    let Known { state, actor, .. } = known;
    let Some(account) = actor.account() else {
        let tenants = tenant::list(&state.db).await?.into_iter().map(|tenant| tenant.name).collect();
        let name = actor.name().to_string();
        return Ok(Json(Me { name, must_change_password: false, platform_admin: true, tenants }));
    };
    let over = role::of_account(&state.db, role::PLATFORM, account.id).await?.1;
    Ok(Json(Me {
        name: account.name.clone(),
        must_change_password: account.must_change,
        platform_admin: over.contains(&BuiltIn::PlatformAdmin.id()),
        tenants: role::tenants_of(&state.db, account.id).await?,
    }))
}

/// A change of one's password.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordBody {
    /// The present one.
    pub old: String,
    /// The one that is to be.
    pub new: String,
}

/// `POST /me/password`: sets another password. Every session and token of the account ends.
pub(crate) async fn password(
    Identified(known): Identified,
    Body(PasswordBody { old, new }): Body<PasswordBody>,
) -> Result<Done, Error> {
    let Known { state, peer, actor } = known;
    let Some(account) = actor.account().filter(|account| account.tenant.is_none()) else {
        return Err(Error::BadRequest("only a person's account has a password".to_owned()));
    };
    let (old, new) = (Zeroizing::new(old), Zeroizing::new(new));
    let login = Login { username: account.name.clone(), password: old.to_string() };
    auth::check(&state, peer, &login).await?;
    sign_in::check_new(&account.name, &new).map_err(|why| Error::value("body", "new", why, ""))?;
    if *new == *old {
        return Err(Error::value("body", "new", "is the present password: choose another one", ""));
    }
    let kept = sign_in::kept(&state.hasher, &new).await?;
    account::set_password(&state.db, &actor.name(), account.id, &kept).await?;
    Ok(Done)
}

/// A token, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Names it.
    pub id: Uuid,
    /// `session`, `api` or `service`.
    pub kind: String,
    /// What its owner calls it.
    pub name: String,
    /// How its random part begins.
    pub prefix: String,
    /// What it may be used for; none for everything that its owner may do.
    pub scopes: Option<Vec<String>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to within five minutes.
    pub used_at: Timestamp,
    /// From which address.
    pub used_from: Option<String>,
}

pub(crate) fn view(token: Token) -> TokenView {
    TokenView {
        id: token.id,
        kind: token.kind.as_str().to_owned(),
        name: token.name,
        prefix: token.prefix,
        scopes: token.scopes,
        created_at: token.created_at,
        expires_at: token.expires_at,
        used_at: token.used_at,
        used_from: token.used_from,
    }
}

/// `GET /me/tokens`: one's sessions and tokens, the newest first.
pub(crate) async fn tokens(known: Known) -> Result<Json<Items<TokenView>>, Error> {
    let found = match known.actor.account() {
        Some(account) => token::list(&known.state.db, account.id).await?,
        None => Vec::new(),
    };
    Ok(Items::all(found.into_iter().map(view)))
}

/// A token that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// What it is for.
    pub name: Name,
    /// What it may be used for, such as `run:create` or `*:read`; everything that its owner may do if absent.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Days that it lasts, 90 if absent, 365 at most.
    #[serde(default)]
    pub days: Option<u32>,
    /// The one tenant that it is good for; all of its owner's if absent.
    #[serde(default)]
    pub tenant: Option<Name>,
}

/// A token that was made.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenMade {
    /// Its text, which isn't shown again.
    pub token: String,
    /// Names it.
    pub id: Uuid,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// `POST /me/tokens`: makes a token for a program.
pub(crate) async fn make_token(
    known: Known,
    Body(body): Body<TokenBody>,
) -> Result<Created<TokenMade>, Error> {
    let Actor::Account { account, token } = &known.actor else {
        return Err(Error::BadRequest(
            "who comes by the socket needs no token: sign in as somebody".to_owned(),
        ));
    };
    if token.kind != TokenKind::Session {
        return Err(Error::Forbidden("a token can't make tokens: sign in with the password".to_owned()));
    }
    let tenant = match &body.tenant {
        None => None,
        Some(name) => {
            let own = role::tenants_of(&known.state.db, account.id).await?;
            let found = tenant::by_name(&known.state.db, name.as_str()).await?;
            let found = found.filter(|found| own.contains(&found.name));
            Some(found.ok_or_else(|| Error::NotFound(format!("the tenant `{name}` was not found")))?.id)
        }
    };
    let made = make(&known, None, account.id, TokenKind::Api, tenant, &body).await?;
    Ok(Created(made))
}

/// Makes a token of an account.
pub(crate) async fn make(
    known: &Known,
    scope: Option<TenantScope>,
    owner: AccountId,
    kind: TokenKind,
    tenant: Option<dags::ids::TenantId>,
    body: &TokenBody,
) -> Result<TokenMade, Error> {
    let days = body.days.unwrap_or(DAYS);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(Error::value("body", "days", format!("must be 1 to {DAYS_MAX}"), days));
    }
    for scope in body.scopes.iter().flatten() {
        let means = |kind: &Kind| Action::ALL.iter().any(|action| scope_covers(scope, *kind, *action));
        if !Kind::ALL.iter().any(means) {
            let message = "must be `KIND:ACTION`, such as `run:create`, `run:*` or `*:read`";
            return Err(Error::value("body", "scopes", message, scope.as_str()));
        }
    }
    if token::list(&known.state.db, owner).await?.len() >= TOKENS_MAX {
        return Err(Error::Conflict(format!("there are {TOKENS_MAX} tokens already: end some")));
    }
    let fresh = Fresh::new(kind)?;
    let new = NewToken {
        hash: fresh.hash,
        kind,
        tenant,
        name: body.name.to_string(),
        prefix: fresh.prefix,
        scopes: body.scopes.clone(),
        life: Span::seconds(i64::from(days) * 24 * 3600),
        idle: None,
        from: known.peer.address().map(|address| address.to_string()),
    };
    let made = token::insert(&known.state.db, scope, &known.actor.name(), owner, new).await?;
    Ok(TokenMade { token: fresh.text.to_string(), id: made.id, expires_at: made.expires_at })
}

/// `DELETE /me/tokens/{token_id}`: ends one of one's sessions or tokens.
pub(crate) async fn end_token(known: Known, Named(id): Named<Uuid>) -> Result<Done, Error> {
    let missing = || Error::NotFound(format!("the token `{id}` was not found"));
    let account = known.actor.account().ok_or_else(missing)?;
    if token::delete(&known.state.db, None, &known.actor.name(), account.id, id).await? {
        Ok(Done)
    } else {
        Err(missing())
    }
}
