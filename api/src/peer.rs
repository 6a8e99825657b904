//! Who is at the other end of a connection, and how they got here.

use std::{fs, net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, connect_info::Connected},
    http::request::Parts,
    serve::IncomingStream,
};
use tokio::net::UnixListener;

use crate::error::Error;

/// The other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process of this machine, by the operating system's word.
    Unix {
        /// Its user.
        uid: u32,
    },
    /// Somebody on the network.
    Tcp {
        /// Where the request came from; a trusted proxy says it of its clients.
        address: IpAddr,
        /// Whether nobody on the way could read along.
        secure: bool,
    },
}

/// No user has it: what a connection gets whose credentials can't be read.
const NOBODY: u32 = u32::MAX;

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        match stream.io().peer_cred() {
            Ok(credentials) => Self::Unix { uid: credentials.uid() },
            Err(error) => {
                tracing::warn!(%error, "failed to read who is at the other end of a connection");
                Self::Unix { uid: NOBODY }
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        let found = parts.extensions.get::<axum::extract::ConnectInfo<Self>>().map(|info| info.0);
        let peer = found.ok_or_else(|| Error::Internal("a request came from nowhere".to_owned()))?;
        let own = rustix::process::getuid().as_raw();
        match peer {
            Self::Unix { uid } if uid != own => {
                tracing::warn!(peer.uid = uid, "refused a connection of another user");
                let message = format!("this service belongs to the user with id {own}, you are {uid}");
                Err(Error::Forbidden(message))
            }
            peer => Ok(peer),
        }
    }
}

impl Peer {
    /// The address, where there is one.
    pub(crate) fn address(self) -> Option<IpAddr> {
        match self {
            Self::Unix { .. } => None,
            Self::Tcp { address, .. } => Some(address),
        }
    }

    /// The name that the operating system has for a user of this machine.
    pub(crate) fn user_name(uid: u32) -> Arc<str> {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?);
            (id.parse() == Ok(uid)).then_some(name)
        });
        name.map_or_else(|| format!("uid {uid}").into(), Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_an_unknown_user_a_number() {
        assert_eq!(&*Peer::user_name(0), "root");
        assert_eq!(&*Peer::user_name(4_000_000_001), "uid 4000000001");
    }
}
