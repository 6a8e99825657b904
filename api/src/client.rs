//! A client of the API, over the same Unix socket and with the same types as the service.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
pub use hyper::Method;
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::net::UnixStream;

mod calls;

pub use calls::{DagQuery, RunQuery, Slice};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What stays as it is in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no service answers on {}: start one with `updraft standalone`, or name its socket with `--socket`", socket.display())]
    NoService {
        /// The socket.
        socket: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The socket isn't ours.
    #[error("the socket {} belongs to another user", socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {} broke", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
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
    #[error("the service at {} answered something else than expected: is it another release?", socket.display())]
    Answer {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// A service, by its socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// One call: method, path and query.
pub(crate) struct Call {
    method: Method,
    path: String,
    query: form_urlencoded::Serializer<'static, String>,
    body: Option<Vec<u8>>,
    headers: Vec<(&'static str, String)>,
}

impl Call {
    pub(crate) fn new<'a>(method: Method, segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::under("/api/v2", method, segments)
    }

    /// A call of what Airflow's contract doesn't have.
    pub(crate) fn own<'a>(method: Method, segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::under("/api/updraft/v1", method, segments)
    }

    fn under<'a>(prefix: &str, method: Method, segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut path = prefix.to_owned();
        for segment in segments {
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        let query = form_urlencoded::Serializer::new(String::new());
        Self { method, path, query, body: None, headers: Vec::new() }
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

    pub(crate) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    fn request(mut self) -> Request<Full<Bytes>> {
        let query = self.query.finish();
        let uri = if query.is_empty() { self.path } else { format!("{}?{query}", self.path) };
        let mut request = Request::builder().method(self.method).uri(uri).header(header::HOST, "updraft");
        if self.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
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
        Self { socket: socket.to_owned() }
    }

    /// Where the service listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes a call and reads its answer.
    pub(crate) async fn send<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let answer = self.succeed(call).await?;
        serde_json::from_slice(&answer)
            .map_err(|source| ClientError::Answer { socket: self.socket.clone(), source })
    }

    /// Makes a call whose answer has nothing to say.
    pub(crate) async fn done(&self, call: Call) -> Result<(), ClientError> {
        self.succeed(call).await.map(drop)
    }

    async fn succeed(&self, call: Call) -> Result<Bytes, ClientError> {
        let (status, body) = self.exchange(call).await?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    /// Any call, for what has no function here: a path under `/api/v2` with its query, and a body. Answers with the
    /// status and the text, whatever they are.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<(u16, String), ClientError> {
        let mut call = Call::new(method, []);
        call.path.push_str(path);
        call.body = body.map(|body| body.as_bytes().to_owned());
        let (status, body) = self.exchange(call).await?;
        Ok((status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
    }

    async fn exchange(&self, call: Call) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        let request = call.request();
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

    fn unreachable(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Denied { socket, source },
            _ => ClientError::NoService { socket, source },
        }
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), source: source.into() }
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
