//! The first start: an administrator with a password that nobody chose.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use dags::{ids::TenantId, time::Timestamp};
use migrations::{
    Db, TenantScope,
    store::{
        account::{self, Password},
        role::{self, Subject},
    },
};
use zeroize::Zeroizing;

use crate::{error::Error, policy::BuiltIn, sign_in::Hasher};

/// What the first administrator is called.
const NAME: &str = "admin";
/// Bytes of the password that can't be guessed.
const RANDOM_BYTES: usize = 16;
/// How long the first password is good, in microseconds: a day.
pub(crate) const FIRST_LIFE: i64 = 24 * 3600 * 1_000_000;

/// The first administrator, to be shown once.
pub struct FirstAdmin {
    /// Their name.
    pub name: String,
    /// Their password, good for a day and for choosing another one.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for FirstAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstAdmin").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Makes the first administrator of an installation, who may do everything in `tenant` too, if nobody is there yet.
///
/// The error is a sentence for the operator.
pub async fn first_admin(db: &Db, tenant: TenantId) -> Result<Option<FirstAdmin>, String> {
    make(db, tenant).await.map_err(|error| format!("failed to make the first administrator: {error:?}"))
}

async fn make(db: &Db, tenant: TenantId) -> Result<Option<FirstAdmin>, Error> {
    if account::any_user(db).await? {
        return Ok(None);
    }
    let password = initial_password()?;
    let kept = initial(db, &password).await?;
    // Another process may have been faster; then the password is theirs to show.
    let Some(made) = account::insert_user(db, "setup", NAME, &kept).await? else { return Ok(None) };
    let subject = Subject::Account(made.id);
    role::grant(db, role::PLATFORM, "setup", subject, BuiltIn::PlatformAdmin.id()).await?;
    role::grant(db, TenantScope::new(tenant), "setup", subject, BuiltIn::TenantAdmin.id()).await?;
    Ok(Some(FirstAdmin { name: NAME.to_owned(), password }))
}

/// A password that nobody chose.
pub(crate) fn initial_password() -> Result<Zeroizing<String>, Error> {
    let random = crate::token::random()?;
    Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&random[..RANDOM_BYTES])))
}

/// How such a password is kept: good for a day, and for choosing another one only.
pub(crate) async fn initial(db: &Db, password: &str) -> Result<Password, Error> {
    let hash = Hasher::new().hash(password).await?;
    let until = Timestamp(db.now().await?.0.saturating_add(FIRST_LIFE));
    Ok(Password { hash, must_change: true, expires_at: Some(until) })
}
