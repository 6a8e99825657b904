//! A link that signs in: for the one author of a process of their own, whose terminal shows it and nobody else's.
//!
//! Whoever has the link is that author, as with the socket. It is made anew by each process and works as long as that.

use std::fmt;

use axum::{
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use dags::ids::TenantId;
use migrations::{
    Db, TenantScope,
    store::{
        account::{self, Account},
        role::{self, Subject},
    },
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    auth,
    error::Error,
    peer::Peer,
    policy::BuiltIn,
    state::{self, Api},
    v1::session::{LIFE, cookie},
};

/// What the author is called.
const NAME: &str = "author";
/// How the path begins.
const PATH: &str = "/sign-in/";

/// Who comes in by the link, and the hash of what it ends with.
pub(crate) struct Link {
    account: Account,
    hash: [u8; 32],
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("account", &self.account.name).finish_non_exhaustive()
    }
}

impl Api {
    /// Makes an author who may do everything here, in a database that has nobody yet, and gives the path that signs them in.
    ///
    /// The error is a sentence for the operator.
    pub async fn admit_author(&self) -> Result<Zeroizing<String>, String> {
        let failed = |error: Error| format!("failed to make the author's account: {error:?}");
        let account = author(&self.0.db, self.0.tenant).await.map_err(failed)?;
        let key = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(crate::token::random().map_err(failed)?));
        let link = Link { account, hash: Sha256::digest(key.as_bytes()).into() };
        if self.0.link.set(link).is_err() {
            return Err("there is a link of this process already".to_owned());
        }
        Ok(Zeroizing::new(format!("{PATH}{}", *key)))
    }
}

async fn author(db: &Db, tenant: TenantId) -> Result<Account, Error> {
    let made = account::insert_known_user(db, "setup", NAME).await?;
    let made = made.ok_or_else(|| Error::Internal(format!("there is a `{NAME}` already")))?;
    let subject = Subject::Account(made.id);
    role::grant(db, role::PLATFORM, "setup", subject, BuiltIn::PlatformAdmin.id()).await?;
    role::grant(db, TenantScope::new(tenant), "setup", subject, BuiltIn::TenantAdmin.id()).await?;
    Ok(made)
}

/// Whom the request signs in. None if its path is no such link.
pub(crate) fn leads_in<'a>(api: &'a Api, request: &Request) -> Option<&'a Account> {
    let link = api.0.link.get()?;
    let key = request.uri().path().strip_prefix(PATH)?;
    // Hashes are compared: how long that takes says nothing of the key.
    let fits = <[u8; 32]>::from(Sha256::digest(key.as_bytes())) == link.hash;
    (request.method() == Method::GET && fits).then_some(&link.account)
}

/// Opens a session and leads to the console.
pub(crate) async fn enter(state: &state::State, peer: Peer, account: &Account) -> Result<Response, Error> {
    let text = auth::open(state, peer, account, "console", LIFE, None).await?;
    let cookie = cookie(peer, &text, LIFE.0 / 1_000_000);
    let home = HeaderValue::from_static("/");
    Ok((StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie), (header::LOCATION, home)]).into_response())
}
