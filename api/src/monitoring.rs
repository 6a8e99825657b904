//! How the process is, for probes, for Prometheus and for people: `/livez`, `/readyz`, `/metrics`, `/debug/state`.
//!
//! Anybody may ask whether the process lives and is ready. What is inside (metrics, the engine's state, why something isn't
//! ready) is for this process's user on its Unix socket and, on the monitoring port, for this machine or for whoever has the
//! token.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State as Extracted},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::Mutex};
use tokio_util::sync::CancellationToken;

use crate::serve::{DRAIN, ServeError};

/// How long the answer that the process is ready stands: whoever asks more often costs nothing.
const READY_FOR: Duration = Duration::from_secs(1);
/// How long the answer that it isn't ready stands, shorter since whoever starts it waits for the change.
const UNREADY_FOR: Duration = Duration::from_millis(50);

/// One thing that a process needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Whether the process isn't ready without it.
    pub needed: bool,
    /// How it is, for the operator.
    pub says: String,
}

/// What a process knows of itself.
pub trait Monitored: Send + Sync + 'static {
    /// What it needs, and whether that is there.
    fn ready(&self) -> BoxFuture<'_, Vec<Check>>;
    /// What it has in memory and does.
    fn state(&self) -> BoxFuture<'_, Value>;
    /// All metrics, as Prometheus reads them.
    fn metrics(&self) -> BoxFuture<'_, String>;
}

/// What was found last, and when.
type Checked = Option<(Instant, Vec<Check>)>;

/// A process that can be asked how it is.
#[derive(Clone)]
pub struct Monitor {
    process: Arc<dyn Monitored>,
    checked: Arc<Mutex<Checked>>,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Monitor")
    }
}

#[expect(clippy::disallowed_methods, reason = "only how long an answer stands")]
fn now() -> Instant {
    Instant::now()
}

impl Monitor {
    /// A process that can be asked from now on.
    pub fn new(process: impl Monitored) -> Self {
        Self { process: Arc::new(process), checked: Arc::default() }
    }

    /// `GET /livez`
    pub(crate) fn live() -> Response {
        "ok\n".into_response()
    }

    /// `GET /readyz`; with `inside` it says why.
    pub(crate) async fn ready(&self, inside: bool) -> Response {
        let mut checked = self.checked.lock().await;
        let checks = match &*checked {
            Some(last) if still_stands(last, now()) => last.1.clone(),
            _ => {
                let checks = self.process.ready().await;
                *checked = Some((now(), checks.clone()));
                checks
            }
        };
        drop(checked);
        let ready = is_ready(&checks);
        let shown = checks.iter().map(|check| {
            let mut shown = json!({ "name": check.name, "ok": check.ok, "needed": check.needed });
            if inside {
                shown["says"] = check.says.as_str().into();
            }
            shown
        });
        let body = Json(json!({ "ready": ready, "checks": shown.collect::<Vec<_>>() }));
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, body).into_response()
    }

    /// `GET /metrics`
    pub(crate) async fn metrics(&self) -> Response {
        let text = self.process.metrics().await;
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
    }

    /// `GET /debug/state`
    pub(crate) async fn state(&self) -> Response {
        Json(self.process.state().await).into_response()
    }
}

/// The port of monitoring.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<[u8; 32]>,
}

impl Port {
    /// Opens it; port 0 takes a free one. Whoever shows the token sees what is inside; without one, this machine does.
    pub async fn bind(listen: SocketAddr, token: Option<&str>) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, token: token.map(digest) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[derive(Clone)]
struct Gate {
    monitor: Monitor,
    token: Option<[u8; 32]>,
    loopback: bool,
}

impl Gate {
    /// Whether a request may see what is inside; an answer that says why not.
    fn open(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        if let Some(wanted) = self.token {
            let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            let given = given.and_then(|value| value.strip_prefix("Bearer "));
            // Digests are compared: how long that takes says nothing about the token.
            return match given {
                Some(given) if digest(given) == wanted => Ok(()),
                _ => Err((
                    StatusCode::UNAUTHORIZED,
                    "show the token of `monitoring.token_file` as `Authorization: Bearer ...`\n",
                )),
            };
        }
        if !self.loopback {
            return Err((
                StatusCode::FORBIDDEN,
                "this address is reachable from other machines: what is inside needs a token (`monitoring.token_file`)\n",
            ));
        }
        // What a page of elsewhere sends to a name that it has pointed here isn't for us.
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        if ["localhost", "127.0.0.1", "[::1]"].contains(&name) {
            Ok(())
        } else {
            Err((StatusCode::MISDIRECTED_REQUEST, "ask for `localhost` or `127.0.0.1`\n"))
        }
    }
}

/// Answers on the port until `cancel`.
pub async fn serve(port: Port, monitor: Monitor, cancel: CancellationToken) -> Result<(), ServeError> {
    let Port { listener, address, token } = port;
    let gate = Gate { monitor, token, loopback: address.ip().is_loopback() };
    let answering = axum::serve(listener, router(gate));
    let told = cancel.clone();
    let answering = answering.with_graceful_shutdown(async move { told.cancelled().await }).into_future();
    tokio::pin!(answering);
    let ended = tokio::select! {
        ended = &mut answering => ended,
        () = cancel.cancelled() => tokio::time::timeout(DRAIN, answering).await.unwrap_or(Ok(())),
    };
    ended.map_err(|source| ServeError::Io { path: address.to_string(), source })
}

fn router(gate: Gate) -> Router {
    let inside = Router::new()
        .route(
            "/metrics",
            get(|Extracted(gate): Extracted<Gate>| async move { gate.monitor.metrics().await }),
        )
        .route(
            "/debug/state",
            get(|Extracted(gate): Extracted<Gate>| async move { gate.monitor.state().await }),
        )
        .layer(axum::middleware::from_fn_with_state(gate.clone(), guard));
    Router::new()
        .route("/livez", get(|| async { Monitor::live() }))
        .route(
            "/readyz",
            get(|Extracted(gate): Extracted<Gate>, headers: HeaderMap| async move {
                let inside = gate.open(&headers).is_ok();
                gate.monitor.ready(inside).await
            }),
        )
        .merge(inside)
        .with_state(gate)
}

async fn guard(Extracted(gate): Extracted<Gate>, request: Request<Body>, next: Next) -> Response {
    match gate.open(request.headers()) {
        Ok(()) => {
            let mut response = next.run(request).await;
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(refused) => refused.into_response(),
    }
}

fn is_ready(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.ok || !check.needed)
}

fn still_stands((at, checks): &(Instant, Vec<Check>), now: Instant) -> bool {
    let stands_for = if is_ready(checks) { READY_FOR } else { UNREADY_FOR };
    now.saturating_duration_since(*at) < stands_for
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    struct Process;

    impl Monitored for Process {
        fn ready(&self) -> BoxFuture<'_, Vec<Check>> {
            let check =
                |name, ok, needed| Check { name, ok, needed, says: "secret.example is away".to_owned() };
            Box::pin(async move { vec![check("database", true, true), check("broker", false, false)] })
        }

        fn state(&self) -> BoxFuture<'_, Value> {
            Box::pin(async { json!({ "inside": true }) })
        }

        fn metrics(&self) -> BoxFuture<'_, String> {
            Box::pin(async { "updraft_ready 1\n".to_owned() })
        }
    }

    async fn ask(gate: &Gate, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = router(gate.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn gate(token: Option<&str>, loopback: bool) -> Gate {
        Gate { monitor: Monitor::new(Process), token: token.map(digest), loopback }
    }

    #[tokio::test]
    async fn this_machine_sees_what_is_inside_and_a_rebound_name_does_not() {
        let gate = gate(None, true);
        let (local, elsewhere) = ([("host", "localhost:9090")], [("host", "evil.example")]);
        for path in ["/metrics", "/debug/state"] {
            assert_eq!(ask(&gate, path, &local).await.0, 200, "{path}");
            assert_eq!(ask(&gate, path, &elsewhere).await.0, 421, "{path}");
        }
        assert!(ask(&gate, "/readyz", &local).await.1.contains("secret.example"));
        let (status, body) = ask(&gate, "/readyz", &elsewhere).await;
        assert_eq!(status, 200, "a broker that isn't needed doesn't make it unready");
        assert!(!body.contains("secret.example") && body.contains("broker"), "{body}");
    }

    #[tokio::test]
    async fn beyond_this_machine_only_the_token_opens() {
        let host = ("host", "10.0.0.1");
        let closed = gate(None, false);
        assert_eq!(ask(&closed, "/metrics", &[host]).await.0, 403);
        assert_eq!(ask(&closed, "/debug/state", &[("host", "localhost")]).await.0, 403);
        assert_eq!(ask(&closed, "/livez", &[host]).await, (200, "ok\n".to_owned()));
        for loopback in [true, false] {
            let gate = gate(Some("open sesame"), loopback);
            for wrong in ["Bearer open sesam", "Bearer ", "Basic open sesame", "open sesame"] {
                assert_eq!(ask(&gate, "/debug/state", &[host, ("authorization", wrong)]).await.0, 401);
            }
            let right = [host, ("authorization", "Bearer open sesame")];
            assert_eq!(ask(&gate, "/debug/state", &right).await.0, 200);
            assert!(ask(&gate, "/metrics", &right).await.1.contains("updraft_ready 1"));
            assert!(!ask(&gate, "/readyz", &[host]).await.1.contains("secret.example"));
        }
    }

    #[test]
    fn that_it_is_not_ready_stands_for_a_moment_only() {
        let check = |ok| vec![Check { name: "database", ok, needed: true, says: String::new() }];
        let at = now();
        let stands = |ok, millis| still_stands(&(at, check(ok)), at + Duration::from_millis(millis));
        assert!(stands(false, 10) && !stands(false, 100));
        assert!(stands(true, 100) && stands(true, 900) && !stands(true, 1_100));
    }
}
