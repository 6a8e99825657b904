//! Signing in as Airflow's clients do: a name and a password for a token.

use axum::extract::{FromRequest, Request, State};
use dags::time::Span;
use migrations::store::{
    account::Account,
    token::{self, NewToken, TokenKind},
};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    describe::{Created, Describe, JSON, Sketch},
    error::Error,
    extract::{Body, is_kind, read},
    peer::Peer,
    routes::Routes,
    sign_in::sign_in,
    state::{self, Api},
    token::Fresh,
};

/// How long a token of `/auth/token` lasts.
const TOKEN_LIFE: Span = Span::seconds(24 * 3600);
/// How long a token of `/auth/token/cli` lasts.
const CLI_LIFE: Span = Span::seconds(3600);

/// The media type of a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// Name and password.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Name and password from a request, as JSON or as a form.
pub(crate) struct Credentials(Login);

impl<S: Send + Sync> FromRequest<S> for Credentials {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        if is_kind(request.headers(), "application/json") {
            return Body::from_request(request, state).await.map(|Body(login)| Self(login));
        }
        if !is_kind(request.headers(), FORM) {
            return Err(Error::MediaType("application/json or application/x-www-form-urlencoded"));
        }
        let bytes = read(request, state).await?;
        let mut login = Login { username: String::new(), password: String::new() };
        for (key, value) in form_urlencoded::parse(&bytes) {
            match &*key {
                "username" => login.username = value.into_owned(),
                "password" => login.password = value.into_owned(),
                "grant_type" | "scope" | "client_id" | "client_secret" => {}
                other => return Err(Error::value("body", other, "isn't part of a sign-in", "")),
            }
        }
        Ok(Self(login))
    }
}

impl Describe for Credentials {
    fn describe(sketch: &mut Sketch<'_>) {
        let schema = Login::json_schema(&mut SchemaGenerator::default()).to_value();
        sketch.takes(&[JSON, FORM], &schema);
    }
}

/// A token that was made.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct AccessToken {
    /// Its text, which isn't shown again.
    pub access_token: String,
}

/// The routes of signing in.
pub(crate) fn router() -> Routes {
    Routes::default().post("/token", token).post("/token/cli", token_cli)
}

/// A token for a day.
async fn token(
    State(api): State<Api>,
    peer: Peer,
    Credentials(login): Credentials,
) -> Result<Created<AccessToken>, Error> {
    for_password(&api.0, peer, login, "api", TOKEN_LIFE).await
}

/// A token for an hour.
async fn token_cli(
    State(api): State<Api>,
    peer: Peer,
    Credentials(login): Credentials,
) -> Result<Created<AccessToken>, Error> {
    for_password(&api.0, peer, login, "cli", CLI_LIFE).await
}

async fn for_password(
    state: &state::State,
    peer: Peer,
    login: Login,
    name: &str,
    life: Span,
) -> Result<Created<AccessToken>, Error> {
    let account = check(state, peer, &login).await?;
    let text = open(state, peer, &account, name, life, None).await?;
    Ok(Created(AccessToken { access_token: text.to_string() }))
}

/// Whose name and password these are.
pub(crate) async fn check(state: &state::State, peer: Peer, login: &Login) -> Result<Account, Error> {
    let Login { username, password } = login;
    sign_in(&state.db, &state.hasher, &state.guesses, username, password, peer.address()).await
}

/// Opens a session and gives its token's text.
pub(crate) async fn open(
    state: &state::State,
    peer: Peer,
    account: &Account,
    name: &str,
    life: Span,
    idle: Option<Span>,
) -> Result<Zeroizing<String>, Error> {
    let fresh = Fresh::new(TokenKind::Session)?;
    let new = NewToken {
        hash: fresh.hash,
        kind: TokenKind::Session,
        tenant: None,
        name: name.to_owned(),
        prefix: fresh.prefix,
        scopes: None,
        life,
        idle,
        from: peer.address().map(|address| address.to_string()),
    };
    token::insert(&state.db, None, &account.name, account.id, new).await?;
    Ok(fresh.text)
}
