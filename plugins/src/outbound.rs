//! The one client for HTTP to the outside: operators, sensors and notifiers use it and nothing else.
//!
//! A URL is parsed once; its host is resolved once, every address is judged by the [`Policy`], and the connection goes
//! to a judged address: a name can't point elsewhere between check and use. The same again for each redirect, of which
//! there are at most three, and credentials don't follow to another origin. Proxy variables are ignored, nothing is
//! decompressed, time and size are limited. Errors name a category, never an address or a body.

use std::{net::SocketAddr, time::Duration};

use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION},
    redirect,
};

use crate::{context::Connection, policy::Policy};

mod error;

pub use error::Error;

/// How many redirects are followed.
pub const REDIRECTS_MAX: u32 = 3;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A request.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where it goes; checked by [`url`].
    pub url: Url,
    /// Headers; to another origin only those go that can't hold a credential: `accept` and `content-type`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Vec<u8>>,
    /// The time for everything, redirects and body included.
    pub timeout: Duration,
}

/// An answer, its body still to be read.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
}

/// Parses a URL and refuses what no request may have: other schemes, user names and passwords in it.
pub fn url(text: &str, policy: &Policy) -> Result<Url, Error> {
    let url = Url::parse(text).map_err(|e| Error::Url(e.to_string()))?;
    match url.scheme() {
        "https" => {}
        "http" if policy.plain_http => {}
        "http" => return Err(Error::Url("`http` isn't allowed here: use `https`".to_owned())),
        other => return Err(Error::Url(format!("`{other}` isn't a scheme for requests: use `https`"))),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Url("a URL may not hold a user name or password: use a connection".to_owned()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Error::Url("the URL has no host".to_owned()));
    }
    Ok(url)
}

/// The address of a path behind a connection's host: `host` with or without a scheme, `schema` as the scheme otherwise.
pub(crate) fn address(connection: &Connection, path: &str) -> Option<String> {
    let host = connection.host.as_deref()?;
    let scheme = connection.schema.as_deref().filter(|scheme| !scheme.is_empty()).unwrap_or("https");
    let mut base = if host.contains("://") { host.to_owned() } else { format!("{scheme}://{host}") };
    if let Some(port) = connection.port {
        base = format!("{}:{port}", base.trim_end_matches('/'));
    }
    Some(format!("{}{path}", base.trim_end_matches('/')))
}

/// A header of names and values that people wrote; line breaks and other controls are refused.
pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let bad = |what| Error::Header(name.to_owned(), what);
    let parsed: HeaderName = name.parse().map_err(|_| bad("isn't a valid header name"))?;
    if ["host", "content-length", "transfer-encoding", "connection"].contains(&parsed.as_str()) {
        return Err(bad("is set by the client itself"));
    }
    let value = HeaderValue::from_str(value)
        .map_err(|_| bad("has a value with line breaks or control characters"))?;
    Ok((parsed, value))
}

/// Sends the request and follows redirects, until an answer is there. The whole must run inside of a Tokio runtime.
pub async fn send(mut request: Request, policy: &Policy) -> Result<Response, Error> {
    let timeout = request.timeout;
    let all = async {
        for _ in 0..=REDIRECTS_MAX {
            let response = hop(&request, policy).await?;
            let Some(next) = redirected(&response, &request.url, policy)? else {
                return Ok(Response { inner: response });
            };
            follow(&mut request, response.status(), next);
        }
        Err(Error::Redirects)
    };
    tokio::time::timeout(timeout, all).await.map_err(|_| Error::Timeout)?
}

async fn hop(request: &Request, policy: &Policy) -> Result<reqwest::Response, Error> {
    let host = request.url.host_str().unwrap_or_default();
    let port = request.url.port_or_known_default().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, port)).await.map_err(|_| Error::Name)?;
    let addresses: Vec<SocketAddr> = found.filter(|a| policy.permits(a.ip(), a.port())).collect();
    if addresses.is_empty() {
        return Err(Error::Refused);
    }
    // Fails if a provider is installed already, which is the state we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(request.timeout)
        .resolve_to_addrs(bare, &addresses)
        .user_agent(concat!("updraft/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| Error::from_client(&e))?;
    let mut builder =
        client.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
    if let Some(body) = &request.body {
        builder = builder.body(body.clone());
    }
    builder.send().await.map_err(|e| Error::from_client(&e))
}

fn redirected(response: &reqwest::Response, from: &Url, policy: &Policy) -> Result<Option<Url>, Error> {
    let follow = [301, 302, 303, 307, 308].contains(&response.status().as_u16());
    let Some(location) = response.headers().get(LOCATION).filter(|_| follow) else { return Ok(None) };
    let location =
        location.to_str().map_err(|_| Error::Url("the redirect's target isn't a URL".to_owned()))?;
    let next = from.join(location).map_err(|_| Error::Url("the redirect's target isn't a URL".to_owned()))?;
    url(next.as_str(), policy).map(Some)
}

fn follow(request: &mut Request, status: StatusCode, next: Url) {
    if request.url.origin() != next.origin() {
        let harmless = [ACCEPT, CONTENT_TYPE].map(|name| (request.headers.remove(&name), name));
        request.headers = harmless.into_iter().filter_map(|(value, name)| Some((name, value?))).collect();
    }
    let keeps = matches!(status.as_u16(), 307 | 308) || matches!(request.method, Method::GET | Method::HEAD);
    if !keeps {
        request.method = Method::GET;
        request.body = None;
        request.headers.remove(CONTENT_TYPE);
    }
    request.url = next;
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.inner.status().as_u16()
    }

    /// Whether the body says that it is JSON.
    pub fn is_json(&self) -> bool {
        let kind = self.inner.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
    }

    /// The next piece of the body.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.inner.chunk().await.map_err(|e| Error::from_client(&e))?.map(Into::into))
    }

    /// The body, if it isn't larger than this many bytes.
    pub async fn bytes(mut self, most: usize) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > most {
                return Err(Error::TooLarge(most as u64));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The beginning of the body, for the log of a request that failed.
    pub async fn beginning(mut self, most: usize) -> Result<String, Error> {
        let mut body = Vec::new();
        while body.len() < most
            && let Some(chunk) = self.chunk().await?
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(most);
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}
