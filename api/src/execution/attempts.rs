//! What belongs to one attempt: its log, its large result, its bundle.

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use dags::ids::BundleId;
use engine::execution::{RESULT_BYTES_MAX, Stored};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Attempts, Shared, auth, error::Error};

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
    body: Bytes,
) -> Result<StatusCode, Error> {
    let current = auth::attempt(&state, &headers).await?;
    let stored = state.attempts.put_log(current.dispatch, member, offset, body, last).await;
    stored.map_err(|error| Error::Unavailable(format!("a log can't be stored: {error}")))?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn put_result<A: Attempts>(
    State(state): State<Shared<A>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Stored>, Error> {
    auth::attempt(&state, &headers).await?;
    if body.len() > RESULT_BYTES_MAX {
        return Err(Error::BadRequest(format!("a result may have at most {RESULT_BYTES_MAX} bytes")));
    }
    if let Err(error) = serde_json::from_slice::<&RawValue>(&body) {
        return Err(Error::BadRequest(format!("the result is no JSON: {error}")));
    }
    let stored = state.attempts.put_result(body).await;
    let digest = stored.map_err(|error| Error::Unavailable(format!("a result can't be stored: {error}")))?;
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
    let pieces = state.attempts.bundle(BundleId(bundle.into()));
    let pieces = futures::stream::unfold(pieces, |mut pieces| async move {
        pieces.recv().await.map(|piece| (piece, pieces))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], Body::from_stream(pieces)).into_response())
}
