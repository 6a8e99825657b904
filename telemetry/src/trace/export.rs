//! Sending spans to a collector: OTLP over HTTP, in protobuf, some hundred at once.

use std::time::Duration;

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{self as proto, ResourceSpans, ScopeSpans, Status, span, status},
};
use prost::Message as _;
use reqwest::{
    StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Kind, Span, Value};
use crate::{Counter, Metric, counter};

/// Spans that may wait for the collector.
const WAITING_MAX: usize = 16_384;
/// Spans of one request.
const SPANS_AT_ONCE: usize = 512;
/// How long a span waits for others to go with it.
const GATHER: Duration = Duration::from_secs(1);
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often the same spans are sent, with ever longer waits in between.
const TRIES: u32 = 5;
/// The first wait between two tries.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the last spans of a process that ends may take.
const FLUSH_MAX: Duration = Duration::from_secs(3);
/// Where traces go below the collector's URL.
const PATH: &str = "v1/traces";

/// Where spans go, and what they say about this process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The collector's URL, such as `http://127.0.0.1:4318`.
    pub endpoint: String,
    /// Headers for the collector, such as a token. Secret.
    pub headers: Vec<(String, String)>,
    /// The name of this process's role.
    pub service: &'static str,
    /// The release.
    pub version: &'static str,
    /// This process.
    pub instance: String,
    /// How many of a hundred traces are sent.
    pub sample_percent: u32,
}

/// Why spans can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The URL.
    #[error("{0:?} is no URL of a collector: write `http://HOST:4318` or `https://HOST:PORT`")]
    Endpoint(String),
    /// A header.
    #[error("a header for the collector has the name {0:?} or a value that HTTP doesn't allow")]
    Header(String),
    /// The client.
    #[error("failed to make a client for the collector")]
    Client(#[source] reqwest::Error),
    /// A bug.
    #[error("spans of this process go somewhere already")]
    Twice,
}

/// Sends spans; it must be run.
#[derive(Debug)]
pub struct Exporter {
    client: reqwest::Client,
    url: Url,
    resource: Resource,
    scope: InstrumentationScope,
    queue: mpsc::Receiver<Span>,
}

/// What became of a request.
enum Sent {
    Done,
    Later(String),
    Refused(String),
}

impl Exporter {
    pub(super) fn new(settings: Settings) -> Result<(Self, mpsc::Sender<Span>), InstallError> {
        let Settings { endpoint, headers, service, version, instance, sample_percent: _ } = settings;
        let wrong = || InstallError::Endpoint(endpoint.clone());
        let mut url = Url::parse(&endpoint).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !url.username().is_empty()
        {
            return Err(wrong());
        }
        url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend(PATH.split('/'));
        let mut sent = HeaderMap::new();
        for (name, value) in headers {
            let wrong = || InstallError::Header(name.clone());
            let mut value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            sent.insert(HeaderName::try_from(&name).map_err(|_| wrong())?, value);
        }
        // Fails if a provider is installed already, which is the state we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .default_headers(sent)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .user_agent(concat!("updraft/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(InstallError::Client)?;
        let attributes = vec![
            text("service.namespace", "updraft"),
            text("service.name", service),
            text("service.version", version),
            text("service.instance.id", &instance),
        ];
        let resource = Resource { attributes, ..Resource::default() };
        let scope = InstrumentationScope { name: "updraft".to_owned(), ..InstrumentationScope::default() };
        let (sender, queue) = mpsc::channel(WAITING_MAX);
        Ok((Self { client, url, resource, scope, queue }, sender))
    }

    /// Sends spans until `cancel`, and then those that wait.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut failing: Option<String> = None;
        let outcome = |outcome| counter(Metric::TraceSpans, &[("outcome", outcome)]);
        let (sent, failed) = (outcome("sent"), outcome("failed"));
        loop {
            let mut spans = Vec::new();
            let ending = tokio::select! {
                () = self.gather(&mut spans) => false,
                () = cancel.cancelled() => true,
            };
            if ending {
                let last = async {
                    self.queue.close();
                    while self.queue.recv_many(&mut spans, SPANS_AT_ONCE).await > 0 || !spans.is_empty() {
                        self.deliver(std::mem::take(&mut spans), 1, &mut failing, (&sent, &failed)).await;
                    }
                };
                if timeout(FLUSH_MAX, last).await.is_err() {
                    tracing::warn!("the collector is slow: the last spans of this process are lost");
                }
                return;
            }
            tokio::select! {
                () = self.deliver(std::mem::take(&mut spans), TRIES, &mut failing, (&sent, &failed)) => {}
                // What was under way is lost if the collector is away; it isn't worth holding up the end.
                () = cancel.cancelled() => {}
            }
        }
    }

    /// Waits for spans, and a moment for more.
    async fn gather(&mut self, spans: &mut Vec<Span>) {
        if self.queue.recv_many(spans, SPANS_AT_ONCE).await == 0 {
            return std::future::pending().await;
        }
        let more = async {
            while spans.len() < SPANS_AT_ONCE {
                if self.queue.recv_many(spans, SPANS_AT_ONCE).await == 0 {
                    return;
                }
            }
        };
        // That it took too long is how most of them end.
        let _ = timeout(GATHER, more).await;
    }

    async fn deliver(
        &self,
        spans: Vec<Span>,
        tries: u32,
        failing: &mut Option<String>,
        (sent, failed): (&Counter, &Counter),
    ) {
        let count = spans.len() as u64;
        let body = self.request(spans).encode_to_vec();
        let mut wait = AGAIN;
        for last in (1..=tries).map(|n| n == tries) {
            let why = match self.post(body.clone()).await {
                Sent::Done => {
                    sent.increment(count);
                    if failing.take().is_some() {
                        tracing::info!("the collector takes spans again");
                    }
                    return;
                }
                Sent::Later(_) if !last => {
                    pause(wait).await;
                    wait *= 2;
                    continue;
                }
                Sent::Later(why) | Sent::Refused(why) => why,
            };
            failed.increment(count);
            if failing.as_ref() != Some(&why) {
                tracing::warn!(
                    error = why,
                    "spans are lost: the collector (`tracing.endpoint`) doesn't take them"
                );
                *failing = Some(why);
            }
            return;
        }
    }

    async fn post(&self, body: Vec<u8>) -> Sent {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/x-protobuf");
        let response = match request.body(body).send().await {
            Ok(response) => response,
            Err(error) => return Sent::Later(chain(&error.without_url())),
        };
        let status = response.status();
        if status.is_success() {
            // It may have taken some only. An answer that can't be read is no reason to send them again.
            let answer = response.bytes().await.unwrap_or_default();
            let refused = ExportTraceServiceResponse::decode(answer).ok().and_then(|a| a.partial_success);
            if let Some(refused) = refused.filter(|refused| refused.rejected_spans > 0) {
                tracing::warn!(
                    spans = refused.rejected_spans,
                    error = refused.error_message,
                    "the collector refused some spans"
                );
            }
            return Sent::Done;
        }
        let why = format!("it answers {status}");
        let later = status == StatusCode::TOO_MANY_REQUESTS || matches!(status.as_u16(), 502..=504);
        if later { Sent::Later(why) } else { Sent::Refused(why) }
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope_spans = vec![ScopeSpans {
            scope: Some(self.scope.clone()),
            spans: spans.into_iter().map(message).collect(),
            ..ScopeSpans::default()
        }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }
    }
}

#[expect(clippy::disallowed_methods, reason = "the wait between two tries, which nobody could end earlier")]
async fn pause(wait: Duration) {
    tokio::time::sleep(wait).await;
}

fn nanoseconds(microseconds: i64) -> u64 {
    microseconds.max(0) as u64 * 1_000
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute((key, Value::Text(value.to_owned())))
}

fn attribute((key, value): (&str, Value)) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Number(number) => any_value::Value::IntValue(number),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn message(span: Span) -> proto::Span {
    let link = |(trace, id): (super::TraceId, super::SpanId)| span::Link {
        trace_id: trace.0.to_vec(),
        span_id: id.0.to_vec(),
        ..span::Link::default()
    };
    proto::Span {
        trace_id: span.trace.0.to_vec(),
        span_id: span.id.0.to_vec(),
        parent_span_id: span.parent.map(|id| id.0.to_vec()).unwrap_or_default(),
        name: span.name.to_owned(),
        kind: match span.kind {
            Kind::Internal => span::SpanKind::Internal,
            Kind::Server => span::SpanKind::Server,
        }
        .into(),
        start_time_unix_nano: nanoseconds(span.start),
        end_time_unix_nano: nanoseconds(span.end.max(span.start)),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        links: span.links.into_iter().map(link).collect(),
        status: span.failure.map(|message| Status { message, code: status::StatusCode::Error.into() }),
        ..proto::Span::default()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
