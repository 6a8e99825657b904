//! What can go wrong with a request, by category.

use std::error::Error as StdError;

/// What went wrong with a request: a category, never an address, a banner or a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL can't be used.
    #[error("the URL can't be used: {0}")]
    Url(String),
    /// A header can't be used.
    #[error("the header {0:?} {1}")]
    Header(String, &'static str),
    /// The name has no address.
    #[error("the host's name could not be resolved")]
    Name,
    /// The policy doesn't allow the address.
    #[error("the host's address is not allowed: a platform admin can open it")]
    Refused,
    /// Nothing answers there.
    #[error("the connection could not be made")]
    Connect,
    /// The other side couldn't prove who it is.
    #[error("the TLS handshake failed: the certificate isn't trusted or the other side speaks no TLS")]
    Tls,
    /// It took too long.
    #[error("the request timed out")]
    Timeout,
    /// Too many redirects.
    #[error("more than {} redirects", super::REDIRECTS_MAX)]
    Redirects,
    /// The body is too large.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// The connection broke or the answer isn't HTTP.
    #[error("the connection broke before the answer was complete")]
    Broken,
}

impl Error {
    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url(_) => "outbound.url",
            Self::Header(..) => "outbound.header",
            Self::Name => "outbound.name",
            Self::Refused => "outbound.refused",
            Self::Connect => "outbound.connect",
            Self::Tls => "outbound.tls",
            Self::Timeout => "outbound.timeout",
            Self::Redirects => "outbound.redirects",
            Self::TooLarge(_) => "outbound.too_large",
            Self::Broken => "outbound.broken",
        }
    }

    /// Whether the same request would fail the same way again.
    pub fn for_good(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Header(..))
    }

    pub(super) fn from_client(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else if error.source().is_some_and(caused_by_tls) {
            Self::Tls
        } else if error.is_connect() {
            Self::Connect
        } else {
            Self::Broken
        }
    }
}

fn caused_by_tls(error: &(dyn StdError + 'static)) -> bool {
    // A custom I/O error hides what it carries from `source`, and the client nests them.
    let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || carried.is_some_and(|inner| caused_by_tls(inner))
        || error.source().is_some_and(caused_by_tls)
}
