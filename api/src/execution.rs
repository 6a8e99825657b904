//! The task-facing API: what workers and pods ask for. Its own mount and listener: a user's token is nothing here, and tokens of
//! workers and attempts are nothing anywhere else.
//!
//! | route | with | does |
//! | --- | --- | --- |
//! | `POST /execution/workers/enrol` | enrolment token, in the body | makes a machine a worker; the token is used up |
//! | `POST /execution/workers` | worker's credential | registers a worker that has started |
//! | `GET /execution/workers/{id}` | worker's credential | whether it still may be a worker |
//! | `DELETE /execution/workers/{id}` | worker's credential | the worker has ended |
//! | `POST /execution/workers/{id}/run` | worker's credential and tickets | claims dispatches and gives what they are made of |
//! | `POST /execution/pods/run` | ticket, in the body | claims the member that a pod was made for and gives what it is made of |
//! | `PUT /execution/attempt/end/{member}` | attempt token of a pod | stores how the member ended; the first word counts |
//! | `GET /execution/attempt/ending/{member}` | attempt token of a pod | why the member is to be ended, if it is |
//! | `PUT /execution/attempt/log/{member}` | attempt token | stores a piece of a log at an offset |
//! | `PUT /execution/attempt/result` | attempt token | stores a large result |
//! | `GET /execution/attempt/bundle/{id}` | attempt token | the bundle of the attempt's run |
//! | `GET /execution/health/ping` | nothing | says that it answers |
//!
//! A token of an attempt is good for exactly as long as its dispatch is current and this worker's, and the worker may be one.
//! Who asks is known before a body is read.

use std::{fs::File, io, sync::Arc};

use axum::{
    Router,
    routing::{get, post, put},
};
use bytes::Bytes;
use dags::ids::{BundleId, DispatchId, ExecutorName, ShardId, WorkerId};
use engine::{
    dispatch::End,
    execution::{Answer, Ending, Ticket},
};
use migrations::Db;
use plugins::{context::AttemptContext, token::Keys};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::tcp::{self, Tcp};

mod attempts;
mod auth;
mod body;
mod error;
mod pods;
mod workers;

/// Who runs a dispatch, or a member of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A worker, all of it.
    Worker(WorkerId),
    /// A pod, one member.
    Pod {
        /// The member.
        member: u32,
        /// What the pod called itself.
        claimant: Uuid,
    },
}

/// A current dispatch and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// The bundle of its run.
    pub bundle: BundleId,
    /// How many members it has.
    pub members: u32,
    /// The one member that the asker may speak for; all of them if none.
    pub member: Option<u32>,
}

/// Why something about an attempt couldn't be done.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// It isn't current.
    #[error("the dispatch is no longer current")]
    Gone,
    /// Not now; trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// What was sent can't be taken, now or later.
    #[error("{0}")]
    Refused(String),
}

/// What the task-facing API knows of attempts. Whoever starts it says where that is.
pub trait Attempts: Send + Sync + 'static {
    /// Claims dispatches for a worker and gives what they are made of, in the order of the tickets. The proofs are checked.
    fn run(
        &self,
        worker: WorkerId,
        tickets: Vec<Ticket>,
    ) -> impl Future<Output = Result<Vec<Answer<AttemptContext>>, AttemptError>> + Send;

    /// Claims a member of a dispatch for a pod and gives what it is made of. The proof is checked.
    fn run_pod(
        &self,
        claimant: Uuid,
        member: u32,
        ticket: Ticket,
    ) -> impl Future<Output = Result<Answer<AttemptContext>, AttemptError>> + Send;

    /// Stores how a member that a pod runs has ended. If that is stored already, it stays as it is.
    fn put_end(
        &self,
        dispatch: DispatchId,
        member: u32,
        end: End,
    ) -> impl Future<Output = Result<(), AttemptError>> + Send;

    /// Why a member that a pod runs is to be ended, if it is.
    fn ending(
        &self,
        dispatch: DispatchId,
        member: u32,
    ) -> impl Future<Output = Result<Option<Ending>, AttemptError>> + Send;

    /// The dispatch, if it is current and claimed like that.
    fn current(
        &self,
        dispatch: DispatchId,
        by: By,
    ) -> impl Future<Output = Result<Current, AttemptError>> + Send;

    /// Stores a piece of a member's log that begins at `offset`; a repeat replaces itself. With `last` nothing follows.
    fn put_log(
        &self,
        dispatch: DispatchId,
        member: u32,
        offset: u64,
        lines: Bytes,
        last: bool,
    ) -> impl Future<Output = Result<(), AttemptError>> + Send;

    /// Stores a result of the dispatch and gives its SHA-256, hexadecimal.
    fn put_result(
        &self,
        dispatch: DispatchId,
        members: u32,
        text: Bytes,
    ) -> impl Future<Output = Result<String, AttemptError>> + Send;

    /// The packed bundle; none if it isn't there.
    fn bundle(&self, bundle: BundleId) -> impl Future<Output = io::Result<Option<File>>> + Send;
}

/// What the task-facing API is made of.
pub struct Parts<A> {
    /// The database, for workers and their credentials.
    pub db: Db,
    /// Proves tickets and tokens.
    pub keys: Keys,
    /// The executor that registered workers belong to; without one, none may register.
    pub executor: Option<ExecutorName>,
    /// The shard that they work for.
    pub shard: ShardId,
    /// The attempts.
    pub attempts: A,
}

struct State<A> {
    db: Db,
    keys: Keys,
    executor: Option<ExecutorName>,
    shard: ShardId,
    attempts: A,
}

type Shared<A> = Arc<State<A>>;

/// Answers requests until `cancel`, then lets those under way end.
pub async fn serve<A: Attempts>(tcp: Tcp, parts: Parts<A>, cancel: CancellationToken) {
    tcp::answer(tcp, router(parts), CancellationToken::new(), cancel).await;
}

fn router<A: Attempts>(parts: Parts<A>) -> Router {
    let Parts { db, keys, executor, shard, attempts } = parts;
    let state = Arc::new(State { db, keys, executor, shard, attempts });
    let routes = Router::new()
        .route("/health/ping", get(|| async { "pong" }))
        .route("/workers/enrol", post(workers::enrol::<A>))
        .route("/workers", post(workers::register::<A>))
        .route("/workers/{worker}", get(workers::look::<A>).delete(workers::leave::<A>))
        .route("/workers/{worker}/run", post(workers::run::<A>))
        .route("/pods/run", post(pods::run::<A>))
        .route("/attempt/end/{member}", put(pods::put_end::<A>))
        .route("/attempt/ending/{member}", get(pods::ending::<A>))
        .route("/attempt/log/{member}", put(attempts::put_log::<A>))
        .route("/attempt/result", put(attempts::put_result::<A>))
        .route("/attempt/bundle/{bundle}", get(attempts::bundle::<A>));
    Router::new()
        .nest("/execution", routes)
        .fallback(|| async { error::Error::NotFound })
        .layer(axum::middleware::from_fn(crate::measure::measured))
        .with_state(state)
}
