//! The worker's client of the task API.

use std::{path::Path, time::Duration};

use dags::ids::{BundleId, WorkerId};
use engine::execution::{Enrol, Enrolled, FORMAT, Ran, Register, Registered, Run, Stored, Ticket};
use plugins::context::AttemptContext;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{archive, log::LogLine};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Waits between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// The largest packed bundle.
const BUNDLE_BYTES_MAX: usize = 128 << 20;

/// Why a request wasn't answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The URL.
    #[error("can't use {0:?} as the URL of the task API: write `https://HOST:PORT` or `http://HOST:PORT`")]
    Url(String),
    /// It can't be reached, or has no answer now; trying again may help.
    #[error("the task API can't be reached: {0}")]
    Unavailable(String),
    /// It refuses for good.
    #[error("the task API refused ({status}): {detail}")]
    Refused {
        /// The status.
        status: u16,
        /// What it says.
        detail: String,
    },
    /// It answered something else.
    #[error("the task API answered something else than expected: {0}")]
    Answer(String),
    /// What it sent is no bundle.
    #[error(transparent)]
    Bundle(#[from] archive::Error),
}

impl ApiError {
    /// Whether the attempt that the request was about is no longer current.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { status: 410, .. })
    }

    fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// The task API, by its URL, with the worker's credential.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    base: Url,
    credential: String,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Api({})", self.base)
    }
}

/// Turns an enrolment token into a credential. The token is used up.
pub async fn enrol(url: &str, token: &str, name: &str) -> Result<String, ApiError> {
    let api = Api::new(url, String::new())?;
    let enrol = Enrol { token: token.to_owned(), name: name.to_owned() };
    let request = api.request(Method::POST, "workers/enrol")?.json(&enrol);
    let enrolled: Enrolled = api.json(request).await?;
    Ok(enrolled.credential)
}

impl Api {
    /// The API at that URL.
    pub fn new(url: &str, credential: String) -> Result<Self, ApiError> {
        let wrong = || ApiError::Url(url.to_owned());
        let mut base = Url::parse(url).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https")
            || base.host_str().is_none()
            || !base.username().is_empty()
        {
            return Err(wrong());
        }
        base.set_path("/execution/");
        // Fails if a provider is installed already, which is the state we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("updraft-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ApiError::Unavailable(error.to_string()))?;
        Ok(Self { client, base, credential })
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ApiError> {
        let url = self.base.join(path).map_err(|_| ApiError::Url(path.to_owned()))?;
        let request = self.client.request(method, url);
        Ok(if self.credential.is_empty() { request } else { request.bearer_auth(&self.credential) })
    }

    fn for_attempt(&self, method: Method, path: &str, token: &str) -> Result<RequestBuilder, ApiError> {
        let url = self.base.join(path).map_err(|_| ApiError::Url(path.to_owned()))?;
        Ok(self.client.request(method, url).bearer_auth(token))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let unavailable = |error: reqwest::Error| ApiError::Unavailable(chain(&error));
        let response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.unwrap_or_default();
        let detail = serde_json::from_str::<serde_json::Value>(&body)
            .ok()
            .and_then(|body| body.get("detail").map(|detail| detail.as_str().unwrap_or_default().to_owned()))
            .unwrap_or(body);
        let later = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err(if later {
            ApiError::Unavailable(format!("it answers {status}: {detail}"))
        } else {
            ApiError::Refused { status: status.as_u16(), detail }
        })
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ApiError> {
        let bytes = self.send(request).await?.bytes().await;
        let bytes = bytes.map_err(|error| ApiError::Unavailable(chain(&error)))?;
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Answer(error.to_string()))
    }

    /// Registers the worker, waiting for the API if need be. None if it was cancelled before.
    pub(crate) async fn register(
        &self,
        register: &Register,
        cancel: &CancellationToken,
    ) -> Result<Option<Registered>, ApiError> {
        let registering = retry("register", || async {
            self.json(self.request(Method::POST, "workers")?.json(register)).await
        });
        tokio::select! {
            () = cancel.cancelled() => Ok(None),
            registered = registering => registered.map(Some),
        }
    }

    /// The worker ends.
    pub(crate) async fn leave(&self, worker: WorkerId) -> Result<(), ApiError> {
        self.send(self.request(Method::DELETE, &format!("workers/{worker}"))?).await.map(drop)
    }

    /// Asks for what is to be run.
    pub(crate) async fn run(
        &self,
        worker: WorkerId,
        tickets: Vec<Ticket>,
    ) -> Result<Ran<AttemptContext>, ApiError> {
        let run = Run { format: FORMAT, tickets };
        let path = format!("workers/{worker}/run");
        retry("ask for attempts", || async { self.json(self.request(Method::POST, &path)?.json(&run)).await })
            .await
    }

    /// Stores a piece of a member's log; repeating it changes nothing.
    pub(crate) async fn put_log(
        &self,
        token: &str,
        member: u32,
        offset: u64,
        lines: &[LogLine],
        last: bool,
    ) -> Result<(), ApiError> {
        let mut body = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut body, line).map_err(|error| ApiError::Answer(error.to_string()))?;
            body.push(b'\n');
        }
        let path = format!("attempt/log/{member}?offset={offset}&last={last}");
        retry("store a log", || async {
            self.send(self.for_attempt(Method::PUT, &path, token)?.body(body.clone())).await.map(drop)
        })
        .await
    }

    /// Stores a large result.
    pub(crate) async fn put_result(&self, token: &str, text: Vec<u8>) -> Result<String, ApiError> {
        let stored: Stored = retry("store a result", || async {
            self.json(self.for_attempt(Method::PUT, "attempt/result", token)?.body(text.clone())).await
        })
        .await?;
        Ok(stored.digest)
    }

    /// Fetches the bundle of an attempt's run into a folder.
    pub(crate) async fn bundle(&self, token: &str, bundle: &BundleId, folder: &Path) -> Result<(), ApiError> {
        let packed = retry("fetch a bundle", || async {
            let request = self.for_attempt(Method::GET, &format!("attempt/bundle/{bundle}"), token)?;
            let mut response = self.send(request.timeout(10 * TIMEOUT)).await?;
            let mut packed = Vec::new();
            while let Some(chunk) =
                response.chunk().await.map_err(|error| ApiError::Unavailable(chain(&error)))?
            {
                if packed.len() + chunk.len() > BUNDLE_BYTES_MAX {
                    return Err(ApiError::Answer(format!("a bundle of more than {BUNDLE_BYTES_MAX} bytes")));
                }
                packed.extend_from_slice(&chunk);
            }
            Ok(packed)
        })
        .await?;
        let (folder, bundle) = (folder.to_owned(), bundle.clone());
        let unpacked =
            tokio::task::spawn_blocking(move || archive::unpack(&packed[..], &folder, &bundle)).await;
        unpacked.map_err(|error| ApiError::Answer(error.to_string()))?.map_err(ApiError::from)
    }
}

/// Repeats what fails for now. The caller gives up by dropping the future.
async fn retry<T, F: Future<Output = Result<T, ApiError>>>(
    doing: &str,
    ask: impl Fn() -> F,
) -> Result<T, ApiError> {
    let mut wait = BACKOFF.0;
    loop {
        match ask().await {
            Err(error) if error.passes() => {
                tracing::warn!(%error, "failed to {doing}; trying again");
                crate::clock::sleep(wait).await;
                wait = BACKOFF.1.min(wait * 2);
            }
            outcome => return outcome,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_checked_and_a_credential_is_never_shown() {
        for wrong in ["host:1", "ftp://h", "http://u:p@h", "unix:/x"] {
            assert!(matches!(Api::new(wrong, String::new()), Err(ApiError::Url(_))), "{wrong}");
        }
        let api = Api::new("http://127.0.0.1:1", "updraft_worker_x".to_owned()).unwrap();
        assert_eq!(format!("{api:?}"), "Api(http://127.0.0.1:1/execution/)");
    }
}
