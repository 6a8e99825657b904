//! The worker's client of the task API.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use dags::ids::{BundleId, WorkerId};
use engine::execution::{Enrol, Enrolled, FORMAT, Ran, Register, Registered, Run, Stored, Ticket};
use plugins::context::AttemptContext;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::watch::Watch;
use crate::{archive, broker, clock, seldom::Seldom};

mod pods;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Waits between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// How often a bundle may break off on its way.
const BROKEN_MAX: u32 = 5;
/// The largest packed bundle.
const BUNDLE_BYTES_MAX: usize = 128 << 20;

/// Why a request wasn't answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The URL.
    #[error(
        "can't use {0:?} as the URL of the task API: write `https://HOST:PORT`, or `http://HOST:PORT` if the host is this machine"
    )]
    Url(String),
    /// The certificates that it is to be known by.
    #[error("can't use the certificates that the task API is to be known by: {0}")]
    Authorities(String),
    /// It can't be reached, or has no answer now; trying again may help.
    #[error("the task API can't be reached: {0}")]
    Unavailable(String),
    /// It is there but can't do this now; trying again may help.
    #[error("the task API fails: {0}")]
    Failing(String),
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
    /// A bundle broke off again and again.
    #[error("the bundle broke off {BROKEN_MAX} times, the last time because: {0}")]
    BrokeOff(String),
}

impl ApiError {
    /// Whether the attempt that the request was about is no longer current.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { status: 410, .. })
    }

    /// Whether the worker's own credential is worth nothing any more, so that nothing that runs here can be told about.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403 | 410, .. })
    }

    /// Whether it refuses what was sent to it.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    fn passes(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Failing(_))
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

/// Turns an enrolment token into a credential, waiting for the API if need be; `watch` is told why. The token is used up.
pub async fn enrol(url: &str, token: &str, name: &str, watch: &Watch) -> Result<String, ApiError> {
    let api = Api::new(url, String::new())?;
    let enrol = Enrol { token: token.to_owned(), name: name.to_owned() };
    let enrolled: Enrolled = retry("enrol", || async {
        let asked = api.json(api.request(Method::POST, "workers/enrol")?.json(&enrol)).await;
        asked.inspect_err(|error| watch.say(|glance| glance.unregistered = Some(error.to_string())))
    })
    .await?;
    Ok(enrolled.credential)
}

impl Api {
    /// The API at that URL.
    pub fn new(url: &str, credential: String) -> Result<Self, ApiError> {
        Self::trusting(url, credential, None)
    }

    /// The same, which may show a certificate that one of these (PEM) has signed instead of one that this machine trusts.
    pub fn trusting(url: &str, credential: String, authorities: Option<&str>) -> Result<Self, ApiError> {
        let wrong = || ApiError::Url(url.to_owned());
        let mut base = Url::parse(url).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https")
            || base.host_str().is_none()
            || !base.username().is_empty()
            // Credentials, and the secrets of connections, would be in the clear.
            || base.scheme() == "http" && !broker::is_loopback(base.host_str().unwrap_or_default())
        {
            return Err(wrong());
        }
        base.set_path("/execution/");
        // Fails if a provider is installed already, which is the state we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder();
        if let Some(pem) = authorities {
            let unusable = |error: reqwest::Error| ApiError::Authorities(chain(&error));
            let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(unusable)?;
            client = client.tls_certs_only(certificates);
        }
        let client = client
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
            ApiError::Failing(format!("it answers {status}: {detail}"))
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
        watch: &Watch,
        cancel: &CancellationToken,
    ) -> Result<Option<Registered>, ApiError> {
        let registering = retry("register", || async {
            let asked = self.json(self.request(Method::POST, "workers")?.json(register)).await;
            asked.inspect_err(|error| watch.say(|glance| glance.unregistered = Some(error.to_string())))
        });
        tokio::select! {
            () = cancel.cancelled() => Ok(None),
            registered = registering => registered.map(Some),
        }
    }

    /// Asks once whether the worker still may be one.
    pub(crate) async fn look(&self, worker: WorkerId) -> Result<(), ApiError> {
        let request = self.request(Method::GET, &format!("workers/{worker}"))?;
        self.send(request.timeout(CONNECT_TIMEOUT)).await.map(drop)
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

    /// Stores a piece of a member's log, lines of JSON; repeating it changes nothing.
    pub(crate) async fn put_log(
        &self,
        token: &str,
        member: u32,
        offset: u64,
        lines: Vec<u8>,
        last: bool,
        failing_max: Duration,
    ) -> Result<(), ApiError> {
        let path = format!("attempt/log/{member}?offset={offset}&last={last}");
        retry_for("store a log", failing_max, || async {
            self.send(self.for_attempt(Method::PUT, &path, token)?.body(lines.clone())).await.map(drop)
        })
        .await
    }

    /// Stores a large result.
    pub(crate) async fn put_result(
        &self,
        token: &str,
        text: Vec<u8>,
        failing_max: Duration,
    ) -> Result<String, ApiError> {
        let stored: Stored = retry_for("store a result", failing_max, || async {
            self.json(self.for_attempt(Method::PUT, "attempt/result", token)?.body(text.clone())).await
        })
        .await?;
        Ok(stored.digest)
    }

    /// Fetches the bundle of an attempt's run into a folder.
    pub(crate) async fn bundle(&self, token: &str, bundle: &BundleId, folder: &Path) -> Result<(), ApiError> {
        let broken = AtomicU32::new(0);
        let packed = retry("fetch a bundle", || async {
            let request = self.for_attempt(Method::GET, &format!("attempt/bundle/{bundle}"), token)?;
            let mut response = self.send(request.timeout(10 * TIMEOUT)).await?;
            let mut packed = Vec::new();
            loop {
                match response.chunk().await {
                    Ok(Some(chunk)) if packed.len() + chunk.len() > BUNDLE_BYTES_MAX => {
                        return Err(ApiError::Answer(format!(
                            "a bundle of more than {BUNDLE_BYTES_MAX} bytes"
                        )));
                    }
                    Ok(Some(chunk)) => packed.extend_from_slice(&chunk),
                    Ok(None) => return Ok(packed),
                    // It began to answer, so it's there: this may be a fault that stays.
                    Err(error) => {
                        let why = chain(&error);
                        let again = broken.fetch_add(1, Ordering::Relaxed) + 1 < BROKEN_MAX;
                        return Err(if again { ApiError::Unavailable(why) } else { ApiError::BrokeOff(why) });
                    }
                }
            }
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
    retry_for(doing, Duration::MAX, ask).await
}

/// Repeats what fails for now, as long as the API can't be reached, and so long after it first answered that it can't do it:
/// while it is away everything waits, but what it can't do may be a fault of this one thing that stays.
async fn retry_for<T, F: Future<Output = Result<T, ApiError>>>(
    doing: &str,
    failing_max: Duration,
    ask: impl Fn() -> F,
) -> Result<T, ApiError> {
    let (mut wait, mut failing) = (BACKOFF.0, None);
    let mut said = Seldom::default();
    loop {
        match ask().await {
            Ok(answer) => {
                if said.over() {
                    tracing::info!("the task API is there again: what failed to {doing} goes on");
                }
                return Ok(answer);
            }
            Err(error) if error.passes() => {
                if matches!(error, ApiError::Failing(_)) {
                    let since = *failing.get_or_insert_with(clock::monotonic);
                    if since.elapsed() >= failing_max {
                        return Err(error);
                    }
                }
                if said.is_news(&error.to_string()) {
                    tracing::warn!(%error, "failed to {doing}; trying again");
                }
                clock::sleep(wait).await;
                wait = BACKOFF.1.min(wait * 2);
            }
            Err(error) => return Err(error),
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
        for wrong in
            ["host:1", "ftp://h", "http://u:p@h", "unix:/x", "http://10.0.0.1:1", "http://127.0.0.1.example"]
        {
            assert!(matches!(Api::new(wrong, String::new()), Err(ApiError::Url(_))), "{wrong}");
        }
        for right in ["https://updraft.example", "http://localhost:1", "http://[::1]:1"] {
            assert!(Api::new(right, String::new()).is_ok(), "{right}");
        }
        let api = Api::new("http://127.0.0.1:1", "updraft_worker_x".to_owned()).unwrap();
        assert_eq!(format!("{api:?}"), "Api(http://127.0.0.1:1/execution/)");
    }
}
