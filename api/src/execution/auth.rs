//! Who asks: the one place that looks at credentials.

use axum::http::{HeaderMap, header};
use dags::ids::{DispatchId, WorkerId};
use migrations::store::worker::{self, Credential};
use plugins::token::{self, Kind, PodAttempt};

use super::{Attempts, By, Current, State, error::Error};

/// The token of the request. A header that isn't plain text or says something else is no credential.
fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Error::Unauthorized) };
    value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).ok_or(Error::Unauthorized)
}

/// A machine that may be a worker.
pub(super) async fn machine<A: Attempts>(state: &State<A>, headers: &HeaderMap) -> Result<Credential, Error> {
    let (hash, _) = token::stored(Kind::Worker, bearer(headers)?).ok_or(Error::Unauthorized)?;
    worker::credential(&state.db, &hash).await?.ok_or(Error::Unauthorized)
}

/// A worker that this machine registered and that hasn't ended.
pub(super) async fn worker<A: Attempts>(
    state: &State<A>,
    headers: &HeaderMap,
    id: WorkerId,
) -> Result<worker::Worker, Error> {
    // Both at once: this is on the way of every attempt.
    let present = async { Ok(worker::present(&state.db, id).await?) };
    let (credential, found) = tokio::try_join!(machine(state, headers), present)?;
    let found = found.filter(|found| found.credential == credential.id);
    found.ok_or_else(|| Error::Gone("the worker isn't registered any more".to_owned()))
}

/// The dispatch that the request's token opens, as long as it is current and its worker may be one.
pub(super) async fn attempt<A: Attempts>(state: &State<A>, headers: &HeaderMap) -> Result<Current, Error> {
    let token = bearer(headers)?;
    if let Some(PodAttempt { dispatch, member, claimant }) = state.keys.open_pod_attempt(token) {
        return Ok(state.attempts.current(dispatch, By::Pod { member, claimant }).await?);
    }
    let opened: Option<(DispatchId, WorkerId)> = state.keys.open_attempt(token);
    let (dispatch, worker) = opened.ok_or(Error::Unauthorized)?;
    let both = (worker::present(&state.db, worker), state.attempts.current(dispatch, By::Worker(worker)));
    let (present, current) = tokio::join!(both.0, both.1);
    if present?.is_none() {
        return Err(Error::Gone("the worker isn't registered any more".to_owned()));
    }
    Ok(current?)
}

/// The dispatch of which a pod runs this member, as long as it is current.
pub(super) async fn pod<A: Attempts>(
    state: &State<A>,
    headers: &HeaderMap,
    member: u32,
) -> Result<DispatchId, Error> {
    let current = attempt(state, headers).await?;
    if current.member == Some(member) {
        Ok(current.dispatch)
    } else {
        Err(Error::Forbidden("a pod speaks for the member that it runs".to_owned()))
    }
}
