//! The task-facing API: what workers ask for. Its own mount and listener: a user's token is nothing here, and tokens of
//! workers and attempts are nothing anywhere else.
//!
//! | route | with | does |
//! | --- | --- | --- |
//! | `POST /execution/workers/enrol` | enrolment token, in the body | makes a machine a worker; the token is used up |
//! | `POST /execution/workers` | worker's credential | registers a worker that has started |
//! | `DELETE /execution/workers/{id}` | worker's credential | the worker has ended |
//! | `POST /execution/workers/{id}/run` | worker's credential and tickets | claims dispatches and gives what they are made of |
//! | `PUT /execution/attempt/log/{member}` | attempt token | stores a piece of a log at an offset |
//! | `PUT /execution/attempt/result` | attempt token | stores a large result |
//! | `GET /execution/attempt/bundle/{id}` | attempt token | the bundle of the attempt's run |
//! | `GET /execution/health/ping` | nothing | says that it answers |
//!
//! A token of an attempt is good for exactly as long as its dispatch is current and this worker's.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{delete, get, post, put},
};
use bytes::Bytes;
use dags::ids::{BundleId, DispatchId, ExecutorName, ShardId, WorkerId};
use engine::execution::{Answer, Ticket};
use migrations::Db;
use plugins::{context::AttemptContext, token::Keys};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

mod attempts;
mod auth;
mod error;
mod workers;

/// How long answers under way may take after the service was told to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// A current dispatch and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// The bundle of its run.
    pub bundle: BundleId,
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
}

/// What the task-facing API knows of attempts. Whoever starts it says where that is.
pub trait Attempts: Send + Sync + 'static {
    /// Claims dispatches for a worker and gives what they are made of, in the order of the tickets. The proofs are checked.
    fn run(
        &self,
        worker: WorkerId,
        tickets: Vec<Ticket>,
    ) -> impl Future<Output = Result<Vec<Answer<AttemptContext>>, AttemptError>> + Send;

    /// The dispatch, if it is current and claimed by this worker.
    fn current(
        &self,
        dispatch: DispatchId,
        worker: WorkerId,
    ) -> impl Future<Output = Result<Current, AttemptError>> + Send;

    /// Stores a piece of a member's log that begins at `offset`; a repeat replaces itself. With `last` nothing follows.
    fn put_log(
        &self,
        dispatch: DispatchId,
        member: u32,
        offset: u64,
        lines: Bytes,
        last: bool,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Stores a result and gives its SHA-256, hexadecimal.
    fn put_result(&self, text: Bytes) -> impl Future<Output = io::Result<String>> + Send;

    /// The packed bundle, piece by piece.
    fn bundle(&self, bundle: BundleId) -> mpsc::Receiver<io::Result<Bytes>>;
}

/// What the task-facing API is made of.
pub struct Parts<A> {
    /// The database, for workers and their credentials.
    pub db: Db,
    /// Proves tickets and tokens.
    pub keys: Keys,
    /// The executor that registered workers belong to.
    pub executor: ExecutorName,
    /// The shard that they work for.
    pub shard: ShardId,
    /// The attempts.
    pub attempts: A,
}

struct State<A> {
    db: Db,
    keys: Keys,
    executor: ExecutorName,
    shard: ShardId,
    attempts: A,
}

type Shared<A> = Arc<State<A>>;

/// Why it doesn't answer.
#[derive(Debug, thiserror::Error)]
#[error("failed to {doing} on {address}")]
pub struct ServeError {
    doing: &'static str,
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// A port that is ours.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    listener: TcpListener,
}

impl Listener {
    /// Takes a port; 0 for any that is free.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source| ServeError { doing: "listen", address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { address, listener })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers requests until `cancel`, then lets those under way end.
pub async fn serve<A: Attempts>(
    listener: Listener,
    parts: Parts<A>,
    cancel: CancellationToken,
) -> Result<(), ServeError> {
    let Listener { address, listener } = listener;
    let told = cancel.clone();
    let answering =
        axum::serve(listener, router(parts)).with_graceful_shutdown(async move { told.cancelled().await });
    let answering = answering.into_future();
    tokio::pin!(answering);
    let ended = tokio::select! {
        ended = &mut answering => Some(ended),
        () = cancel.cancelled() => tokio::time::timeout(DRAIN, answering).await.ok(),
    };
    match ended {
        Some(Err(source)) => Err(ServeError { doing: "answer", address, source }),
        Some(Ok(())) => Ok(()),
        None => {
            tracing::warn!(%address, "answers to workers were under way when the service stopped");
            Ok(())
        }
    }
}

fn router<A: Attempts>(parts: Parts<A>) -> Router {
    let Parts { db, keys, executor, shard, attempts } = parts;
    let state = Arc::new(State { db, keys, executor, shard, attempts });
    let routes = Router::new()
        .route("/health/ping", get(|| async { "pong" }))
        .route("/workers/enrol", post(workers::enrol::<A>))
        .route("/workers", post(workers::register::<A>))
        .route("/workers/{worker}", delete(workers::leave::<A>))
        .route("/workers/{worker}/run", post(workers::run::<A>))
        .route("/attempt/log/{member}", put(attempts::put_log::<A>))
        .route("/attempt/result", put(attempts::put_result::<A>))
        .route("/attempt/bundle/{bundle}", get(attempts::bundle::<A>));
    Router::new()
        .nest("/execution", routes)
        .fallback(|| async { error::Error::NotFound })
        .layer(DefaultBodyLimit::max(engine::execution::LOG_BYTES_MAX))
        .layer(axum::middleware::from_fn(crate::measure::measured))
        .with_state(state)
}
