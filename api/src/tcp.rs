//! The TCP port: on loopback in plain text, beyond it only with TLS or behind a proxy that is named.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use crate::{
    peer::Peer,
    router,
    serve::{DRAIN, ServeError},
    state::Api,
};

/// How long the header of a request, or the handshake of TLS, may take.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Headers of one request.
const HEADERS_MAX: usize = 100;
/// Bytes of a request's line and headers.
const HEADER_BYTES_MAX: usize = 24 * 1024;
/// Connections in all.
const CONNECTIONS_MAX: usize = 10_000;
/// Connections from one address, unless it is a trusted proxy.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 200;
/// How long no connection is taken after the operating system refused to give one.
const PAUSE: Duration = Duration::from_millis(100);

/// Where to listen, and for whom.
#[derive(Debug, Clone)]
pub struct TcpSettings {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The certificate and its key.
    pub tls: Option<TlsFiles>,
    /// Proxies that may say who their clients are.
    pub proxies: Vec<IpAddr>,
    /// The names that clients may use for this service; on loopback `localhost` and the addresses come on top.
    pub hosts: Vec<String>,
}

/// The files that TLS needs, as PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, with those that it depends on.
    pub certificate: PathBuf,
    /// Its key; nobody else may read it.
    pub key: PathBuf,
}

/// Why the port isn't open.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// Everybody on the way could read passwords and tokens.
    #[error(
        "{0} is reachable from other machines: give a certificate (`--tls-cert`, `--tls-key`), or name the proxy that \
         ends TLS (`--trusted-proxy`), or listen on 127.0.0.1"
    )]
    Plain(SocketAddr),
    /// Requests for any name would be answered, those of a rebound name too.
    #[error("{0} is reachable from other machines: say by which names, with `--host`")]
    NoHost(SocketAddr),
    /// Others may read the key.
    #[error("the key file {} has mode {mode:o}: others may read it; run `chmod 600` on it", path.display())]
    KeyMode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file that TLS needs can't be used.
    #[error("failed to use {} for TLS: {why}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The operating system refused.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An open port.
pub struct Tcp {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    rules: Arc<Rules>,
}

impl std::fmt::Debug for Tcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tcp").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Who is trusted for what.
struct Rules {
    proxies: Vec<IpAddr>,
    hosts: Vec<String>,
    tls: bool,
}

impl Tcp {
    /// Opens the port, if it may be opened like that.
    pub async fn bind(settings: TcpSettings) -> Result<Self, TcpError> {
        let TcpSettings { listen, tls, proxies, mut hosts } = settings;
        if !listen.ip().is_loopback() {
            if tls.is_none() && proxies.is_empty() {
                return Err(TcpError::Plain(listen));
            }
            if hosts.is_empty() {
                return Err(TcpError::NoHost(listen));
            }
        }
        if listen.ip().is_loopback() {
            hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        }
        let acceptor = tls.as_ref().map(acceptor).transpose()?;
        let failed = |source| TcpError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let rules = Rules { proxies, hosts, tls: acceptor.is_some() };
        Ok(Self { listener, address, tls: acceptor, rules: Arc::new(rules) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How a client on this machine names it.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TcpError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |why: &dyn std::fmt::Display| TcpError::Tls { path: path.clone(), why: why.to_string() }
    };
    let (no_certificate, no_key) = (wrong(&files.certificate), wrong(&files.key));
    let mode = fs::metadata(&files.key).map_err(|why| no_key(&why))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TcpError::KeyMode { path: files.key.clone(), mode });
    }
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|why| no_certificate(&why))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|why| no_key(&why))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|why| no_certificate(&why))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|why| no_certificate(&why))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Answers requests on the port until `cancel`, then lets those under way end.
pub async fn serve_tcp(tcp: Tcp, api: Api, cancel: CancellationToken) -> Result<(), ServeError> {
    let closing = api.0.closing.clone();
    telemetry::gauge(telemetry::Metric::Connections, &[]).set(0.0);
    answer(tcp, router::app(api), closing, cancel).await;
    Ok(())
}

/// Whatever answers requests.
pub(crate) trait Answers:
    Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// Has requests answered by `app` until `cancel`. Then `closing` tells streams to end, and answers under way may end.
pub(crate) async fn answer(
    tcp: Tcp,
    app: impl Answers,
    closing: CancellationToken,
    cancel: CancellationToken,
) {
    let Tcp { listener, tls, rules, .. } = tcp;
    let mut connections: JoinSet<()> = JoinSet::new();
    let open = Arc::new(Mutex::new(BTreeMap::new()));
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok((stream, from)) => (stream, from.ip().to_canonical()),
            Err(error) => {
                tracing::warn!(%error, "failed to take a connection");
                let _ = tokio::time::timeout(PAUSE, cancel.cancelled()).await;
                continue;
            }
        };
        let at_once =
            if rules.proxies.contains(&from) { CONNECTIONS_MAX } else { CONNECTIONS_PER_ADDRESS_MAX };
        let place = Place::take(&open, from, at_once).filter(|_| connections.len() < CONNECTIONS_MAX);
        let Some(place) = place else {
            tracing::warn!(%from, "refused a connection: there are too many");
            continue;
        };
        let connection = Connection { app: app.clone(), rules: rules.clone(), from };
        let (tls, cancel) = (tls.clone(), cancel.clone());
        connections.spawn(async move {
            let _place = place;
            connection.run(stream, tls, cancel).await;
        });
    }
    closing.cancel();
    let drained = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!("answers were under way when the service stopped");
    }
}

type Open = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

/// One of the connections that an address may have; given back however the connection ends.
struct Place {
    open: Open,
    from: IpAddr,
}

impl Place {
    fn take(open: &Open, from: IpAddr, at_once: usize) -> Option<Self> {
        let mut counts = open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(from).or_insert(0);
        if *count >= at_once {
            return None;
        }
        *count += 1;
        drop(counts);
        telemetry::gauge(telemetry::Metric::Connections, &[]).increment(1.0);
        Some(Self { open: open.clone(), from })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        telemetry::gauge(telemetry::Metric::Connections, &[]).decrement(1.0);
        let mut counts = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.from);
            }
        }
    }
}

struct Connection<S> {
    app: S,
    rules: Arc<Rules>,
    from: IpAddr,
}

impl<S: Answers> Connection<S> {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>, cancel: CancellationToken) {
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.answer(stream, cancel).await,
            Some(tls) => match tokio::time::timeout(HEADER_TIME, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.answer(stream, cancel).await,
                Ok(Err(error)) => tracing::debug!(%error, from = %self.from, "a TLS handshake failed"),
                Err(_) => tracing::debug!(from = %self.from, "a TLS handshake took too long"),
            },
        }
    }

    async fn answer(self, stream: impl AsyncRead + AsyncWrite + Unpin, cancel: CancellationToken) {
        let Self { app, rules, from } = self;
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let (app, rules) = (app.clone(), rules.clone());
            async move {
                let mut request = request.map(Body::new);
                if !rules.answers_to(request.headers()) {
                    let message = "this service has another name: it isn't answered under this one";
                    let body = axum::Json(serde_json::json!({ "detail": message }));
                    return Ok((StatusCode::MISDIRECTED_REQUEST, body).into_response());
                }
                let peer = rules.peer(from, request.headers());
                request.extensions_mut().insert(ConnectInfo(peer));
                app.oneshot(request).await
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = cancel.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %from, "a connection broke");
        }
    }
}

impl Rules {
    /// Whether a request is for a name of this service. What a page of elsewhere sends to a name that it has pointed here
    /// isn't.
    fn answers_to(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let Ok(host) = host.to_str() else { return false };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Where a request came from: a trusted proxy is believed, nobody else.
    fn peer(&self, from: IpAddr, headers: &HeaderMap) -> Peer {
        if !self.proxies.contains(&from) {
            return Peer::Tcp { address: from, secure: self.tls };
        }
        let lists = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<Option<IpAddr>> =
            lists.flat_map(|list| list.split(',')).map(|hop| hop.trim().parse().ok()).collect();
        // From the right: the first one that no trusted proxy is. Further left anybody may have written.
        let client = hops.into_iter().rev().find(|hop| hop.is_none_or(|hop| !self.proxies.contains(&hop)));
        let scheme = headers.get_all("x-forwarded-proto").iter().next_back();
        Peer::Tcp {
            address: client.flatten().unwrap_or(from),
            secure: self.tls || scheme.is_some_and(|scheme| scheme.as_bytes() == b"https"),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn rules() -> Rules {
        Rules {
            proxies: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
            hosts: vec!["updraft.example".to_owned(), "[::1]".to_owned()],
            tls: false,
        }
    }

    #[test]
    fn only_our_own_names_are_answered() {
        for host in ["updraft.example", "UPDRAFT.example:8443", "[::1]:80", "[::1]"] {
            assert!(rules().answers_to(&headers(&[("host", host)])), "{host}");
        }
        for host in ["evil.example", "updraft.example.evil", "", "updraft.example:x", "::1"] {
            assert!(!rules().answers_to(&headers(&[("host", host)])), "{host}");
        }
        assert!(!rules().answers_to(&headers(&[])));
        assert!(!rules().answers_to(&headers(&[("host", "[::1]"), ("host", "updraft.example")])));
    }

    #[test]
    fn only_trusted_proxies_say_who_their_client_is() {
        let at = |from: &str, pairs: &[(&'static str, &'static str)]| {
            rules().peer(from.parse().unwrap(), &headers(pairs))
        };
        let tcp = |address: &str, secure| Peer::Tcp { address: address.parse().unwrap(), secure };
        let claimed = [("x-forwarded-for", "9.9.9.9, 192.0.2.1, 10.0.0.2"), ("x-forwarded-proto", "https")];
        assert_eq!(at("192.0.2.7", &claimed), tcp("192.0.2.7", false));
        assert_eq!(at("10.0.0.1", &claimed), tcp("192.0.2.1", true));
        assert_eq!(at("10.0.0.1", &[("x-forwarded-for", "9.9.9.9, nonsense")]), tcp("10.0.0.1", false));
        assert_eq!(at("10.0.0.1", &[]), tcp("10.0.0.1", false));
    }

    #[tokio::test]
    async fn beyond_loopback_there_must_be_tls_and_a_name() {
        let plain = TcpSettings {
            listen: "0.0.0.0:0".parse().unwrap(),
            tls: None,
            proxies: Vec::new(),
            hosts: vec!["updraft.example".to_owned()],
        };
        assert!(matches!(Tcp::bind(plain.clone()).await, Err(TcpError::Plain(_))));
        let proxied = TcpSettings { proxies: vec!["10.0.0.1".parse().unwrap()], ..plain };
        assert!(matches!(
            Tcp::bind(TcpSettings { hosts: Vec::new(), ..proxied.clone() }).await,
            Err(TcpError::NoHost(_))
        ));
        assert!(Tcp::bind(proxied).await.is_ok());
    }
}
