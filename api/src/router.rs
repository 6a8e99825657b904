//! Every route of the service, and what holds for all of them.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Uri, uri::PathAndQuery},
    middleware::{Next, map_response},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tower::Service;
use tracing::Instrument as _;

use crate::{
    access::TenantInPath,
    auth,
    error::Error,
    link, measure,
    monitoring::Monitor,
    openapi,
    peer::Peer,
    routes::{Declared, Routes},
    state::Api,
    trace, v1, v2,
};

/// The largest body.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a request waits for a service that has just begun.
const START_MAX: Duration = Duration::from_secs(2);
/// What browsers are told about every answer: don't keep it, don't guess what it is, run nothing of it.
const HEADERS: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

fn all() -> Routes {
    Routes::default()
        .get("/openapi.json", openapi::airflow)
        .nest("/api/v2", v2::router(), |router| router)
        .nest("/api/updraft/v1", v1::router(), |router| {
            router.method_not_allowed_fallback(not_allowed).layer(map_response(v1::as_problem))
        })
        .nest("/auth", auth::router(), |router| router)
}

async fn not_allowed() -> Error {
    Error::Method
}

/// Every route that there is.
pub fn routes() -> Vec<Declared> {
    all().into_declared()
}

/// The service as one function from request to answer.
pub(crate) fn app(api: Api) -> App {
    let routes = all()
        .into_router()
        .layer(axum::middleware::from_fn_with_state(api.clone(), once_started))
        .merge(monitored())
        .fallback(|State(api): State<Api>, peer: Peer, request: Request| async move {
            let nowhere = || Err(Error::NotFound("Not Found".to_owned()));
            if let Some(account) = link::leads_in(&api, &request) {
                return link::enter(&api.0, peer, account).await;
            }
            api.0.console.answer(&request).unwrap_or_else(nowhere)
        })
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
        .layer(axum::middleware::from_fn(measure::measured))
        .layer(axum::middleware::from_fn(trace::followed))
        .layer(axum::middleware::from_fn(traced));
    App(routes)
}

/// Holds what needs the database until that is there, and refuses it if that takes long.
async fn once_started(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut started = api.0.started.subscribe();
    let waited = tokio::time::timeout(START_MAX, started.wait_for(|started| *started)).await.is_ok();
    if waited { next.run(request).await } else { Error::Starting.into_response() }
}

/// How the process is. Outside of the socket only whether it lives and is ready.
fn monitored() -> Router<Api> {
    let nowhere = || Error::NotFound("Not Found".to_owned());
    let monitor = move |api: &Api| api.0.monitor.clone().ok_or_else(nowhere);
    let inside = move |api: &Api, peer: Peer| match peer {
        Peer::Unix { .. } => monitor(api),
        Peer::Tcp { .. } => Err(nowhere()),
    };
    Router::new()
        .route("/livez", get(|| async { Monitor::live() }))
        .route(
            "/readyz",
            get(move |State(api): State<Api>, peer: Peer| async move {
                let inside = matches!(peer, Peer::Unix { .. });
                Ok::<_, Error>(monitor(&api)?.ready(inside).await)
            }),
        )
        .route(
            "/metrics",
            get(move |State(api): State<Api>, peer: Peer| async move {
                Ok::<_, Error>(inside(&api, peer)?.metrics().await)
            }),
        )
        .route(
            "/debug/state",
            get(move |State(api): State<Api>, peer: Peer| async move {
                Ok::<_, Error>(inside(&api, peer)?.state().await)
            }),
        )
}

/// The routes, behind what takes `/t/TENANT` off a path before any route is chosen.
#[derive(Debug, Clone)]
pub(crate) struct App(Router);

impl Service<Request> for App {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = <Router as Service<Request>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.0.call(tenant_in_path(request))
    }
}

/// `/t/NAME/api/...` is `/api/...` of that tenant, and `/t/NAME/auth/...` is `/auth/...`. Anything else that begins with `/t/` is left as it is, and found nowhere.
fn tenant_in_path(mut request: Request) -> Request {
    let Some(rest) = request.uri().path().strip_prefix("/t/") else { return request };
    let Some((name, path)) = rest.split_once('/') else { return request };
    if name.is_empty() || !(path.starts_with("api/") || path.starts_with("auth/")) {
        return request;
    }
    let Ok(name) = percent_encoding::percent_decode_str(name).decode_utf8() else { return request };
    let name = name.into_owned();
    let rest = match request.uri().query() {
        Some(query) => format!("/{path}?{query}"),
        None => format!("/{path}"),
    };
    let mut parts = request.uri().clone().into_parts();
    let Ok(rest) = PathAndQuery::try_from(rest) else { return request };
    parts.path_and_query = Some(rest);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
        request.extensions_mut().insert(TenantInPath(name));
    }
    request
}

async fn traced(request: Request, next: Next) -> Response {
    let span = tracing::info_span!(
        "api.request",
        http.method = %request.method(),
        http.path = request.uri().path(),
        http.status = tracing::field::Empty,
    );
    async {
        let mut response = next.run(request).await;
        tracing::Span::current().record("http.status", response.status().as_u16());
        tracing::debug!("answered a request");
        for (name, value) in HEADERS {
            let name = HeaderName::from_static(name);
            response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
        }
        response
    }
    .instrument(span)
    .await
}
