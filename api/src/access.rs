//! The gate: who asks, and whether they may. Every handler passes it before it does anything: [`Access`] is only made for
//! a known actor, [`Access::authorize`] decides.
//!
//! Until there are users, the one actor is the user who started the service, known by the credentials that the
//! operating system attaches to a connection to the socket.

use std::sync::Arc;

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};
use migrations::{Db, TenantScope};

use crate::{
    error::Error,
    socket::Peer,
    state::{Api, State},
};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    Dag,
    Run,
    TaskInstance,
    Log,
    Result,
    Pool,
    Variable,
    Connection,
    Backfill,
    Asset,
    Audit,
    Alert,
}

/// What is to be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Create,
    Change,
    Delete,
}

/// Who asks, before it is known what.
pub(crate) struct Access {
    state: Arc<State>,
    peer: Peer,
}

/// The right to do what was asked for. Use-cases take it instead of a database.
pub(crate) struct Authorized {
    pub(crate) state: Arc<State>,
    /// Who, for audit log and runs.
    pub(crate) actor: Arc<str>,
    /// Whose rows.
    pub(crate) scope: TenantScope,
}

impl FromRequestParts<Api> for Access {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Error> {
        let ConnectInfo(peer) = ConnectInfo::<Peer>::from_request_parts(parts, api)
            .await
            .map_err(|missing| Error::Internal(missing.to_string()))?;
        let own = rustix::process::getuid().as_raw();
        if peer.uid != own {
            let uid = peer.uid;
            tracing::warn!(peer.uid = uid, "refused a connection of another user");
            let message = format!("this service belongs to the user with id {own}, you are {uid}");
            return Err(Error::Forbidden(message));
        }
        Ok(Self { state: api.0.clone(), peer })
    }
}

impl Access {
    /// Whether the actor may do that. The single user of a single node may do everything.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "who may do what is decided here, and callers must expect a no"
    )]
    pub(crate) fn authorize(self, resource: Resource, action: Action) -> Result<Authorized, Error> {
        let actor = self.peer.name();
        tracing::trace!(actor = &*actor, ?resource, ?action, "may");
        let scope = TenantScope::new(self.state.tenant);
        Ok(Authorized { actor, scope, state: self.state })
    }

    /// What everybody who gets this far may know.
    pub(crate) fn public(self) -> Arc<State> {
        self.state
    }
}

impl Authorized {
    /// The database.
    pub(crate) fn db(&self) -> &Db {
        &self.state.db
    }
}
