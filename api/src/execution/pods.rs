//! Pods: each claims the one member that it was made for, and says how that ended.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use engine::{
    dispatch::End,
    execution::{Answer, Ending, RunPod},
};
use plugins::context::AttemptContext;

use super::{Attempts, Shared, auth, body, error::Error, workers};

/// The longest bodies. The first is read of anybody.
const RUN_BYTES_MAX: usize = 64 << 10;
const END_BYTES_MAX: usize = 256 << 10;

pub(super) async fn run<A: Attempts>(
    State(state): State<Shared<A>>,
    body: Body,
) -> Result<Json<Answer<AttemptContext>>, Error> {
    let RunPod { format, claimant, member, ticket } = workers::read(&body::read(body, RUN_BYTES_MAX).await?)?;
    workers::known(format)?;
    if !state.keys.is_pod_proof(ticket.dispatch, member, &ticket.proof) {
        return Err(Error::Unauthorized);
    }
    Ok(Json(state.attempts.run_pod(claimant, member, ticket).await?))
}

pub(super) async fn put_end<A: Attempts>(
    State(state): State<Shared<A>>,
    headers: HeaderMap,
    Path(member): Path<u32>,
    body: Body,
) -> Result<StatusCode, Error> {
    let dispatch = auth::pod(&state, &headers, member).await?;
    let end: End = workers::read(&body::read(body, END_BYTES_MAX).await?)?;
    state.attempts.put_end(dispatch, member, end).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why and how the attempt is to be ended; nothing if nobody asked for that.
pub(super) async fn ending<A: Attempts>(
    State(state): State<Shared<A>>,
    headers: HeaderMap,
    Path(member): Path<u32>,
) -> Result<Json<Option<Ending>>, Error> {
    let dispatch = auth::pod(&state, &headers, member).await?;
    Ok(Json(state.attempts.ending(dispatch, member).await?))
}
