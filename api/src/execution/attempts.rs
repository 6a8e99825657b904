//! What belongs to one attempt: its log, its large result, its bundle.

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use dags::ids::BundleId;
use engine::execution::{LOG_BYTES_MAX, RESULT_BYTES_MAX, Stored};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Attempts, Current, Shared, auth, body, error::Error};
use crate::{bundles::body as body_of, v1::bundles};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Piece {
    offset: u64,
    last: bool,
}

pub(super) async fn put_log<A: Attempts>(
    State(state): State<Shared<A>>,
    headers: HeaderMap,
    Path(member): Path<u32>,
    Query(Piece { offset, last }): Query<Piece>,
    body: Body,
) -> Result<StatusCode, Error> {
    let current = auth::attempt(&state, &headers).await?;
    if member >= current.members {
        return Err(Error::BadRequest(format!("the dispatch has {} members", current.members)));
    }
    if current.member.is_some_and(|own| own != member) {
        return Err(Error::Forbidden("a pod speaks for the member that it runs".to_owned()));
    }
    let lines = body::read(body, LOG_BYTES_MAX).await?;
    state.attempts.put_log(current.dispatch, member, offset, lines, last).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn put_result<A: Attempts>(
    State(state): State<Shared<A>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Stored>, Error> {
    let Current { dispatch, members, .. } = auth::attempt(&state, &headers).await?;
    let text = body::read(body, RESULT_BYTES_MAX).await?;
    if let Err(error) = serde_json::from_slice::<&RawValue>(&text) {
        return Err(Error::BadRequest(format!("the result is no JSON: {error}")));
    }
    let digest = state.attempts.put_result(dispatch, members, text).await?;
    Ok(Json(Stored { digest }))
}

pub(super) async fn bundle<A: Attempts>(
    State(state): State<Shared<A>>,
    headers: HeaderMap,
    Path(bundle): Path<String>,
) -> Result<Response, Error> {
    let current = auth::attempt(&state, &headers).await?;
    if *current.bundle.0 != *bundle {
        return Err(Error::NotFound);
    }
    let found = state.attempts.bundle(BundleId(bundle.into())).await;
    let found = found.map_err(|error| Error::Unavailable(format!("a bundle can't be read: {error}")))?;
    let file = found.ok_or(Error::NotFound)?;
    Ok(([(header::CONTENT_TYPE, bundles::ARCHIVE)], body_of(file)).into_response())
}
