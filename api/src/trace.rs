//! Requests that change a run, as spans of the run's trace. Which run that is turns out while they are answered.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{extract::Request, http::HeaderMap, middleware::Next, response::Response};
use engine::rows::RunRow;
use telemetry::trace::{self, Kind, Span, SpanId, TraceId, Value};
use uuid::Uuid;

/// The span of a request's wait for the engine, below the request.
const WAIT: u8 = 0;

tokio::task_local! {
    static REQUEST: Arc<Mutex<Noted>>;
}

/// What was found out about the request that this task answers.
#[derive(Debug, Default)]
struct Noted {
    /// When it was put into the inbox under which number, and when its outcome was known.
    inbox: Option<(i64, i64, i64)>,
    /// The run that it is about, with tenant and DAG.
    run: Option<(Uuid, Uuid, String)>,
}

#[expect(clippy::disallowed_methods, reason = "when a request came, for those who look at traces")]
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn note(change: impl FnOnce(&mut Noted)) {
    // Without spans nobody asks.
    let _ = REQUEST.try_with(|noted| change(&mut noted.lock().unwrap_or_else(PoisonError::into_inner)));
}

/// The request waited for the engine from `since` until now.
pub(crate) fn waited(inbox: i64, since: i64) {
    note(|noted| noted.inbox = Some((inbox, since, now())));
}

/// The request is about this run.
pub(crate) fn about(run: &RunRow) {
    note(|noted| noted.run = Some((run.run.0, run.tenant.0, run.dag_id.to_string())));
}

/// Answers a request and makes it a part of the trace of the run that it has changed, if any.
pub(crate) async fn followed(request: Request, next: Next) -> Response {
    if !trace::is_on() {
        return next.run(request).await;
    }
    let start = now();
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let client = traceparent(request.headers());
    let noted = Arc::new(Mutex::new(Noted::default()));
    let response = REQUEST.scope(noted.clone(), next.run(request)).await;
    let Noted { inbox, run } = std::mem::take(&mut *noted.lock().unwrap_or_else(PoisonError::into_inner));
    let (Some((inbox, put, settled)), Some((run, tenant, dag))) = (inbox, run) else { return response };
    let status = response.status();
    let attributes = vec![
        ("tenant.id", tenant.to_string().into()),
        ("dag.id", dag.into()),
        ("run.id", run.to_string().into()),
    ];
    let bytes = *Uuid::now_v7().as_bytes();
    let id = SpanId::below(bytes, WAIT + 1, 0);
    let wait = Span {
        trace: TraceId::of_run(*run.as_bytes()),
        id: SpanId::below(bytes, WAIT, 0),
        parent: Some(id),
        name: "inbox.wait",
        kind: Kind::Internal,
        start: put,
        end: settled,
        attributes: [attributes.clone(), vec![("inbox.id", Value::Number(inbox))]].concat(),
        links: Vec::new(),
        failure: None,
    };
    let of_http = vec![
        ("http.method", method.into()),
        ("http.path", path.into()),
        ("http.status", Value::Number(status.as_u16().into())),
    ];
    trace::send(Span {
        id,
        parent: Some(SpanId::of(*run.as_bytes())),
        name: "api.request",
        kind: Kind::Server,
        start,
        end: now(),
        attributes: [attributes, of_http].concat(),
        links: client.into_iter().collect(),
        failure: status.is_server_error().then(|| format!("answered with {status}")),
        ..wait.clone()
    });
    trace::send(wait);
    response
}

fn traceparent(headers: &HeaderMap) -> Option<(TraceId, SpanId)> {
    SpanId::parse_traceparent(headers.get("traceparent")?.to_str().ok()?)
}
