//! Where a service is, and how one gets there.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use super::ClientError;

/// A connection, whatever carries it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[derive(Clone)]
pub(super) enum Place {
    Socket(PathBuf),
    Port {
        /// As in a URL: an IPv6 address has its brackets.
        host: String,
        port: u16,
        /// What the other end's certificate is checked by; none on loopback without TLS.
        tls: Option<Arc<ClientConfig>>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Port { host, port, tls } => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                write!(f, "{scheme}://{host}:{port}")
            }
        }
    }
}

impl Place {
    pub(super) fn parse(url: &str, authority: Option<&Path>) -> Result<Self, ClientError> {
        let wrong = |why: &str| ClientError::Url { url: url.to_owned(), why: why.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong("write `https://HOST` or `https://HOST:PORT`"))?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("it ends with the host or the port"));
        }
        let named = uri.authority().filter(|named| !named.as_str().contains('@'));
        let host = named.map(|named| named.host().to_owned()).filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("write `https://HOST` or `https://HOST:PORT`"))?;
        let here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
        let (tls, port) = match uri.scheme_str() {
            Some("https") => (Some(config(url, authority)?), 443),
            Some("http") if here => (None, 80),
            Some("http") => {
                return Err(wrong("a password or token is sent to another machine over `https` only"));
            }
            _ => return Err(wrong("write `https://HOST` or `https://HOST:PORT`")),
        };
        Ok(Self::Port { host, port: uri.port_u16().unwrap_or(port), tls })
    }

    /// What the service is told that it is called.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Socket(_) => "updraft".to_owned(),
            Self::Port { host, port, .. } => format!("{host}:{port}"),
        }
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let unreachable = |source: io::Error| {
            let at = self.to_string();
            match source.kind() {
                io::ErrorKind::PermissionDenied => ClientError::Denied { at, source },
                _ => ClientError::NoService { at, is_socket: matches!(self, Self::Socket(_)), source },
            }
        };
        match self {
            Self::Socket(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(unreachable)?)),
            Self::Port { host, port, tls } => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let stream = TcpStream::connect((bare, *port)).await.map_err(unreachable)?;
                let Some(tls) = tls else { return Ok(Box::new(stream)) };
                let name = ServerName::try_from(bare.to_owned()).map_err(|_| ClientError::Url {
                    url: self.to_string(),
                    why: "no certificate can have that name".to_owned(),
                })?;
                let secured = TlsConnector::from(tls.clone()).connect(name, stream).await;
                let broken =
                    |error: io::Error| ClientError::Broken { at: self.to_string(), source: error.into() };
                Ok(Box::new(secured.map_err(broken)?))
            }
        }
    }
}

fn config(url: &str, authority: Option<&Path>) -> Result<Arc<ClientConfig>, ClientError> {
    let wrong = |why: String| ClientError::Url { url: url.to_owned(), why };
    let mut roots = RootCertStore::empty();
    match authority {
        Some(path) => {
            let shown = path.display();
            let unusable =
                |why: &dyn fmt::Display| wrong(format!("the certificates of {shown} can't be used: {why}"));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|why| unusable(&why))? {
                let certificate = certificate.map_err(|why| unusable(&why))?;
                roots.add(certificate).map_err(|why| unusable(&why))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(wrong(
            "this machine trusts nobody's certificates: name a file with `--ca-cert`".to_owned(),
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|why| wrong(why.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_in_plain_text_nowhere_but_here() {
        for good in ["http://localhost:8080", "http://127.0.0.1:1/", "http://[::1]:80"] {
            assert!(Place::parse(good, None).is_ok(), "{good}");
        }
        for bad in [
            "http://updraft.example",
            "http://localhost.evil.example",
            "ftp://localhost",
            "localhost:8080",
            "https://user@updraft.example",
            "https://updraft.example/api",
            "",
        ] {
            assert!(Place::parse(bad, None).is_err(), "{bad}");
        }
        let place = Place::parse("http://[::1]", None).ok().map(|place| place.to_string());
        assert_eq!(place.as_deref(), Some("http://[::1]:80"));
    }
}
