//! How many requests there were, and how long answers took until they began. Routes are counted as they are declared, so
//! that no client can make up another.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    middleware::Next,
    response::Response,
};
use telemetry::{Metric, counter, histogram};

#[expect(clippy::disallowed_methods, reason = "only how long an answer took")]
fn now() -> Instant {
    Instant::now()
}

fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Measures the answer of whatever is behind it.
pub(crate) async fn measured(request: Request, next: Next) -> Response {
    let method = known(request.method());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let began = now();
    let response = next.run(request).await;
    let route = path.as_ref().map_or("none", MatchedPath::as_str);
    let status = response.status();
    counter(Metric::Requests, &[("method", method), ("route", route), ("status", status.as_str())])
        .increment(1);
    histogram(Metric::RequestTime, &[("route", route)]).record(began.elapsed().as_secs_f64());
    response
}
