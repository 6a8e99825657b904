//! A service that answers on its socket until it is told to stop.

use std::{io, time::Duration};

use axum::{ServiceExt, extract::Request};
use tokio_util::sync::CancellationToken;

use crate::{peer::Peer, router, socket::Socket, state::Api};

/// How long answers under way may take after the service was told to stop.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// Why the service ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket was served before.
    #[error("the socket {0} has been served already")]
    Served(String),
    /// The operating system refused.
    #[error("failed to serve on {path}")]
    Io {
        /// The socket.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Answers requests until `cancel`, then lets those under way end.
pub async fn serve(mut socket: Socket, api: Api, cancel: CancellationToken) -> Result<(), ServeError> {
    let path = socket.path().display().to_string();
    let Some(listener) = socket.listener.take() else { return Err(ServeError::Served(path)) };
    let closing = api.0.closing.clone();
    let app = router::app(api);
    let told = cancel.clone();
    let answering =
        axum::serve(listener, ServiceExt::<Request>::into_make_service_with_connect_info::<Peer>(app))
            .with_graceful_shutdown(async move {
                told.cancelled().await;
                closing.cancel();
            });
    let answering = answering.into_future();
    tokio::pin!(answering);
    let ended = tokio::select! {
        ended = &mut answering => Some(ended),
        () = cancel.cancelled() => tokio::time::timeout(DRAIN, answering).await.ok(),
    };
    match ended {
        Some(Ok(())) => Ok(()),
        Some(Err(source)) => Err(ServeError::Io { path, source }),
        None => {
            tracing::warn!(path, "answers were under way when the service stopped");
            Ok(())
        }
    }
}
