//! A client of the API, over the same socket or port and with the same types as the service.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
pub use hyper::Method;
use hyper::{Request, StatusCode, client::conn::http1, header, header::HeaderValue};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use zeroize::Zeroizing;

mod calls;
mod own_calls;
mod place;

use place::Place;

pub use calls::{DagQuery, RunQuery, Slice};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What stays as it is in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no service answers on {at}: {}", if *.is_socket { HOW_SOCKET } else { HOW_PORT })]
    NoService {
        /// The socket or address.
        at: String,
        /// Whether it is a socket.
        is_socket: bool,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The socket isn't ours.
    #[error("the socket {at} belongs to another user")]
    Denied {
        /// The socket.
        at: String,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The address can't be used.
    #[error("can't use {url:?} as a service's address: {why}")]
    Url {
        /// What was given.
        url: String,
        /// Why not.
        why: String,
    },
    /// The connection broke.
    #[error("the connection to {at} broke")]
    Broken {
        /// The socket or address.
        at: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The service said no.
    #[error("{message}")]
    Refused {
        /// The status.
        status: u16,
        /// A stable code, where there is one.
        code: Option<String>,
        /// What the service says.
        message: String,
    },
    /// The answer isn't what it should be.
    #[error("the service at {at} answered something else than expected: is it another release?")]
    Answer {
        /// The socket or address.
        at: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

const HOW_SOCKET: &str = "start one with `updraft standalone`, name its socket with `--socket`, or sign in to one with `updraft login`";
const HOW_PORT: &str = "is it up, and is the address right?";

/// A service, by its socket or its address.
#[derive(Clone)]
pub struct Client {
    place: Place,
    token: Option<Arc<Zeroizing<String>>>,
    tenant: Option<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("at", &self.place.to_string()).finish_non_exhaustive()
    }
}

/// One call: method, path and query.
pub(crate) struct Call {
    method: Method,
    path: String,
    query: form_urlencoded::Serializer<'static, String>,
    body: Option<Vec<u8>>,
    /// What the body is.
    kind: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl Call {
    /// A call of Airflow's API.
    pub(crate) fn new<'a>(method: Method, segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::under("/api/v2", method, segments)
    }

    /// A call of our own API.
    pub(crate) fn own<'a>(method: Method, segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::under("/api/updraft/v1", method, segments)
    }

    pub(crate) fn under<'a>(base: &str, method: Method, segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut path = base.to_owned();
        for segment in segments {
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        let query = form_urlencoded::Serializer::new(String::new());
        Self { method, path, query, body: None, kind: "application/json", headers: Vec::new() }
    }

    /// A parameter; none leaves it out.
    pub(crate) fn with(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.query.append_pair(name, &value.to_string());
        }
        self
    }

    pub(crate) fn body(mut self, body: &impl Serialize) -> Self {
        self.body = Some(serde_json::to_vec(body).expect("invariant: bodies have text keys"));
        self
    }

    /// A body of that media type.
    pub(crate) fn bytes(self, kind: &'static str, body: Vec<u8>) -> Self {
        Self { body: Some(body), kind, ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    fn request(mut self, client: &Client) -> Request<Full<Bytes>> {
        let query = self.query.finish();
        let mut uri = String::new();
        // Signing in is nobody's; everything else may be a tenant's.
        if let Some(tenant) = client.tenant.as_ref().filter(|_| self.path.starts_with("/api/")) {
            uri.push_str("/t/");
            uri.extend(utf8_percent_encode(tenant, SEGMENT));
        }
        uri.push_str(&self.path);
        if !query.is_empty() {
            uri.push('?');
            uri.push_str(&query);
        }
        let host = client.place.host();
        let mut request = Request::builder().method(self.method).uri(uri).header(header::HOST, host);
        if let Some(token) = &client.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.as_str()))
                .expect("invariant: a token was checked to be plain text");
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if self.body.is_some() {
            request = request.header(header::CONTENT_TYPE, self.kind);
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request
            .body(Full::from(self.body.unwrap_or_default()))
            .expect("invariant: paths are encoded and headers are checked text")
    }
}

impl Client {
    /// The service behind that socket; nothing is sent yet.
    pub fn new(socket: &Path) -> Self {
        Self { place: Place::Socket(socket.to_owned()), token: None, tenant: None }
    }

    /// The service at `https://HOST[:PORT]`, or at `http://` on this machine. `authority` is a PEM file of who signed its
    /// certificate, if the machine doesn't know them.
    pub fn at(url: &str, authority: Option<&Path>) -> Result<Self, ClientError> {
        Ok(Self { place: Place::parse(url, authority)?, token: None, tenant: None })
    }

    /// The same service, with a token.
    pub fn with_token(self, token: &str) -> Result<Self, ClientError> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = "the token isn't one".to_owned();
            return Err(ClientError::Url { url: self.place.to_string(), why });
        }
        Ok(Self { token: Some(Arc::new(Zeroizing::new(token.to_owned()))), ..self })
    }

    /// The same service, for a tenant other than the default one.
    #[must_use]
    pub fn in_tenant(self, tenant: Option<String>) -> Self {
        Self { tenant, ..self }
    }

    /// Where the service listens.
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// Makes a call and reads its answer.
    pub(crate) async fn send<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let answer = self.succeed(call).await?;
        serde_json::from_slice(&answer).map_err(|source| ClientError::Answer { at: self.place(), source })
    }

    /// Makes a call whose answer has nothing to say.
    pub(crate) async fn done(&self, call: Call) -> Result<(), ClientError> {
        self.succeed(call).await.map(drop)
    }

    async fn succeed(&self, call: Call) -> Result<Bytes, ClientError> {
        let (status, body) = self.exchange(call).await?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    /// Any call, for what has no function here: a path under `/api/v2`, or a whole one that begins with
    /// `/api/` or `/auth/`, with its query, and a body. Answers with the
    /// status and the text, whatever they are.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<(u16, String), ClientError> {
        let is_whole = path.starts_with("/api/") || path.starts_with("/auth/");
        let mut call = Call::under(if is_whole { "" } else { "/api/v2" }, method, []);
        call.path.push_str(path);
        call.body = body.map(|body| body.as_bytes().to_owned());
        let (status, body) = self.exchange(call).await?;
        Ok((status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
    }

    async fn exchange(&self, call: Call) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = self.place.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        let request = call.request(self);
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|error| self.broken(error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| self.broken(error))?.to_bytes()))
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            // The service closed the connection; what it sent before is still to be read.
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(self.broken(error)),
            },
        }
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken { at: self.place(), source: source.into() }
    }
}

fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = match body.get("detail") {
        Some(Value::String(message)) => message.clone(),
        Some(Value::Array(problems)) => problems.iter().map(problem).collect::<Vec<_>>().join("; "),
        Some(other) => other.to_string(),
        None => format!("the service answered {status}"),
    };
    let errors = body.get("errors").and_then(Value::as_array).filter(|errors| !errors.is_empty());
    let message = match errors {
        Some(errors) => errors.iter().map(own_problem).collect::<Vec<_>>().join("; "),
        None => message,
    };
    let code = body.get("code").and_then(Value::as_str).map(str::to_owned);
    ClientError::Refused { status: status.as_u16(), code, message }
}

/// `logical_date: missing field`, from one entry of a 422.
fn problem(problem: &Value) -> String {
    let place: Vec<String> = problem
        .get("loc")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .skip(1)
        .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
        .collect();
    let message = problem.get("msg").and_then(Value::as_str).unwrap_or("is wrong");
    if place.is_empty() { message.to_owned() } else { format!("{}: {message}", place.join(".")) }
}

/// `days: must be 1 to 365`, from one entry of a problem of our own API.
fn own_problem(problem: &Value) -> String {
    let text = |key: &str| problem.get(key).and_then(Value::as_str);
    let place = text("pointer").map(|place| place.trim_start_matches('/')).or_else(|| text("parameter"));
    let message = text("detail").unwrap_or("is wrong");
    match place.filter(|place| !place.is_empty()) {
        Some(place) => format!("{place}: {message}"),
        None => message.to_owned(),
    }
}
