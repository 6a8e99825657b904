//! `/session`: signing in and out with a browser.

use axum::{
    extract::State,
    http::{HeaderValue, header},
};
use dags::time::Span;
use migrations::store::token;

use crate::{
    access::{Actor, Identified, Known, cookie_name},
    auth::{self, Login},
    describe::{Done, Shaped},
    error::Error,
    extract::Body,
    peer::Peer,
    state::Api,
};

/// How long a session lasts at most.
pub(crate) const LIFE: Span = Span::seconds(24 * 3600);
/// How long it lasts unused.
const IDLE: Span = Span::seconds(8 * 3600);

/// `POST /session`: opens a session; its token is in a cookie that scripts can't read.
pub(crate) async fn open(
    State(api): State<Api>,
    peer: Peer,
    Body(login): Body<Login>,
) -> Result<Shaped<Done>, Error> {
    let account = auth::check(&api.0, peer, &login).await?;
    let text = auth::open(&api.0, peer, &account, "console", LIFE, Some(IDLE)).await?;
    let cookie = cookie(peer, &text, LIFE.0 / 1_000_000);
    Ok(Shaped::new(([(header::SET_COOKIE, cookie)], Done)))
}

/// `DELETE /session`: ends the session or token that the request shows.
pub(crate) async fn close(
    Identified(Known { state, peer, actor }): Identified,
) -> Result<Shaped<Done>, Error> {
    if let Actor::Account { account, token } = &actor {
        token::delete(&state.db, None, &actor.name(), account.id, token.id).await?;
    }
    Ok(Shaped::new(([(header::SET_COOKIE, cookie(peer, "", 0))], Done)))
}

/// The cookie with a session's token.
pub(crate) fn cookie(peer: Peer, value: &str, max_age_s: i64) -> HeaderValue {
    let secure = if matches!(peer, Peer::Tcp { secure: true, .. }) { "; Secure" } else { "" };
    let name = cookie_name(peer);
    let text = format!("{name}={value}; HttpOnly; SameSite=Lax; Path=/; Max-Age={max_age_s}{secure}");
    let mut value = HeaderValue::try_from(text).expect("invariant: tokens and names are plain text");
    value.set_sensitive(true);
    value
}
