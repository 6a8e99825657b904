//! Workers: enrolment, registration, and what they run.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use dags::ids::WorkerId;
use engine::execution::{Answer, Enrol, Enrolled, FORMAT, Ran, Register, Registered, Run, TICKETS_MAX};
use migrations::store::worker;
use plugins::{
    context::AttemptContext,
    token::{self, Kind},
};
use serde::de::DeserializeOwned;

use super::{Attempts, Shared, auth, body, error::Error};

/// The longest name that a machine may give itself.
const NAME_BYTES_MAX: usize = 250;
/// The longest bodies. The first is read of anybody.
const ENROL_BYTES_MAX: usize = 4 << 10;
const REGISTER_BYTES_MAX: usize = 64 << 10;
const RUN_BYTES_MAX: usize = 1 << 20;

pub(super) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Error::BadRequest(format!("the body can't be read: {error}")))
}

pub(super) fn known(format: u32) -> Result<(), Error> {
    if format == FORMAT {
        Ok(())
    } else {
        Err(Error::BadRequest(format!("the request has format {format}, this release reads {FORMAT}")))
    }
}

pub(super) async fn enrol<A: Attempts>(
    State(state): State<Shared<A>>,
    body: Body,
) -> Result<Json<Enrolled>, Error> {
    let Enrol { token, name } = read(&body::read(body, ENROL_BYTES_MAX).await?)?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(Error::BadRequest(format!("`name` must have 1 to {NAME_BYTES_MAX} bytes")));
    }
    let (hash, _) = token::stored(Kind::Enrolment, &token).ok_or(Error::Unauthorized)?;
    let credential = token::random(Kind::Worker).map_err(|error| Error::Unavailable(error.to_string()))?;
    let (stored, prefix) = token::stored(Kind::Worker, &credential).ok_or(Error::Unauthorized)?;
    let hashed = worker::Hashed { hash: stored, prefix };
    if !worker::redeem(&state.db, &hash, &hashed, &name).await? {
        return Err(Error::Unauthorized);
    }
    tracing::info!(name, "a machine is enrolled as a worker");
    Ok(Json(Enrolled { credential }))
}

pub(super) async fn register<A: Attempts>(
    State(state): State<Shared<A>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Registered>, Error> {
    let credential = auth::machine(&state, &headers).await?;
    let Some(executor) = state.executor.clone() else {
        return Err(Error::Forbidden("this service has no executor of kind `workers`".to_owned()));
    };
    let Register { format, spec, labels, release } = read(&body::read(body, REGISTER_BYTES_MAX).await?)?;
    known(format)?;
    let spec = credential.limits.cut(spec);
    if spec.tenants.as_ref().is_none_or(|tenants| tenants.len() != 1) {
        // Attempts of two tenants would be the same user.
        return Err(Error::Forbidden(
            "this machine's enrolment doesn't say whose attempts it may run: enrol it anew with `updraft workers enrol \
             --tenant NAME`"
                .to_owned(),
        ));
    }
    let (shard, proof) = (state.shard, state.keys.worker(spec.worker));
    let known = worker::present(&state.db, spec.worker).await?;
    match known.map(|known| known.credential) {
        // The answer to the first request was lost.
        Some(own) if own == credential.id => return Ok(Json(Registered { spec, shard, proof })),
        Some(_) => return Err(Error::Unauthorized),
        None => {}
    }
    let new = worker::Worker {
        spec: spec.clone(),
        credential: credential.id,
        name: credential.name,
        executor,
        labels,
        release,
        registered_at: dags::time::Timestamp(0),
        ended_at: None,
        lost_at: None,
    };
    worker::register(&state.db, &new).await?;
    tracing::info!(worker = %spec.worker, name = new.name, slots = spec.slots, "a worker is registered");
    Ok(Json(Registered { spec, shard, proof }))
}

pub(super) async fn look<A: Attempts>(
    State(state): State<Shared<A>>,
    headers: HeaderMap,
    Path(id): Path<WorkerId>,
) -> Result<StatusCode, Error> {
    auth::worker(&state, &headers, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn leave<A: Attempts>(
    State(state): State<Shared<A>>,
    headers: HeaderMap,
    Path(id): Path<WorkerId>,
) -> Result<StatusCode, Error> {
    let credential = auth::machine(&state, &headers).await?;
    if worker::present(&state.db, id).await?.is_some_and(|known| known.credential == credential.id) {
        worker::end(&state.db, id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn run<A: Attempts>(
    State(state): State<Shared<A>>,
    headers: HeaderMap,
    Path(id): Path<WorkerId>,
    body: Body,
) -> Result<Json<Ran<AttemptContext>>, Error> {
    auth::worker(&state, &headers, id).await?;
    let Run { format, tickets } = read(&body::read(body, RUN_BYTES_MAX).await?)?;
    known(format)?;
    if tickets.len() > TICKETS_MAX {
        return Err(Error::BadRequest(format!("at most {TICKETS_MAX} tickets are taken at once")));
    }
    // A ticket without a proof is one that nobody sent to this worker: it learns nothing about it.
    let mut answers: Vec<Answer<AttemptContext>> = tickets.iter().map(|_| Answer::Gone).collect();
    let proved: Vec<usize> = (0..tickets.len())
        .filter(|n| state.keys.is_proof(tickets[*n].dispatch, id, &tickets[*n].proof))
        .collect();
    let asked = proved.iter().map(|n| tickets[*n].clone()).collect();
    let given = state.attempts.run(id, asked).await?;
    for (n, answer) in proved.into_iter().zip(given) {
        answers[n] = answer;
    }
    Ok(Json(Ran { answers }))
}
