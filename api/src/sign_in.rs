//! Passwords: how they are kept, which are good enough, and how often one may guess.

use std::{net::IpAddr, sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::phc::PasswordHash,
};
use migrations::{
    Db,
    store::{
        account::{self, Account, Password},
        audit,
    },
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::error::Error;

mod limits;

pub(crate) use limits::Guesses;

/// The fewest characters of a password.
const CHARS_MIN: usize = 12;
/// The most characters of a password.
const CHARS_MAX: usize = 128;
/// Memory of one hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
/// Rounds of one hash.
const ROUNDS: u32 = 2;
/// Hashes that are computed at once.
const HASHES_MAX: usize = 4;
/// How long a hash may wait for its turn.
const QUEUE_MAX: Duration = Duration::from_secs(3);
/// Seconds after which it makes sense to try again when too many sign in.
const BUSY_AFTER_S: u64 = 2;
/// What a password is compared with when there is no account: the same work as for one. It is no password's hash.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Passwords that everybody tries first.
const COMMON: &str = include_str!("sign_in/common.txt");

/// Hashes passwords and checks them, a few at a time.
pub(crate) struct Hasher {
    turns: Arc<Semaphore>,
}

fn argon() -> Argon2<'static> {
    let params =
        Params::new(MEMORY_KIB, ROUNDS, 1, None).expect("invariant: these parameters are within bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

impl Hasher {
    /// Ready to hash.
    pub(crate) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(HASHES_MAX)) }
    }

    /// The hash of a password.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Error> {
        let password = Zeroizing::new(password.as_bytes().to_vec());
        self.work(move || hash(&password)).await?
    }

    /// Whether the password is that of the hash; a comparison with nobody's takes as long and is never right.
    async fn verify(&self, password: &str, stored: Option<&str>) -> Result<bool, Error> {
        let password = Zeroizing::new(password.as_bytes().to_vec());
        let (known, hash) = match stored {
            Some(hash) => (true, Arc::from(hash)),
            None => (false, Arc::from(NOBODY)),
        };
        let same = self
            .work(move || {
                let parsed = PasswordHash::new(&hash)
                    .map_err(|error| Error::Internal(format!("a password's hash can't be read: {error}")))?;
                Ok::<_, Error>(argon().verify_password(&password, &parsed).is_ok())
            })
            .await??;
        Ok(same && known)
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let turn = tokio::time::timeout(QUEUE_MAX, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Error::TooMany { after_s: BUSY_AFTER_S }) };
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|error| Error::Internal(error.to_string()))
    }
}

fn hash(password: &[u8]) -> Result<String, Error> {
    let random = crate::token::random()?;
    let hashed = argon()
        .hash_password_with_salt(password, &random[..16])
        .map_err(|error| Error::Internal(format!("a password can't be hashed: {error}")))?;
    Ok(hashed.to_string())
}

/// Whether a hash was made with less than what is made today.
fn is_dated(hash: &str) -> bool {
    let expected = format!("$argon2id$v=19$m={MEMORY_KIB},t={ROUNDS},p=1$");
    !hash.starts_with(&expected)
}

/// Whether a password is good enough for that user; if not, why.
pub(crate) fn check_new(user: &str, password: &str) -> Result<(), String> {
    let chars = password.chars().count();
    if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
        return Err(format!(
            "a password has {CHARS_MIN} to {CHARS_MAX} characters, this one has {chars}: a few words with blanks \
             between them do well"
        ));
    }
    let lower = password.to_lowercase();
    let letters: String = lower.chars().filter(|c| c.is_alphabetic()).collect();
    let plain = |name: &str| name.to_lowercase().chars().filter(|c| c.is_alphabetic()).collect::<String>();
    let first = lower.chars().next();
    let is_known = COMMON.lines().any(|common| common == lower)
        || lower.chars().all(|c| Some(c) == first)
        || [plain(user), "updraft".to_owned(), "airflow".to_owned()].iter().any(|name| {
            // Nothing is left but the name, however often and with whatever digits.
            !name.is_empty() && letters.replace(name.as_str(), "").is_empty()
        });
    if is_known {
        return Err("this password is among the first that anybody tries: choose another one".to_owned());
    }
    Ok(())
}

/// The account whose name and password these are. Every reason why not looks the same from outside.
pub(crate) async fn sign_in(
    db: &Db,
    hasher: &Hasher,
    guesses: &Guesses,
    name: &str,
    password: &str,
    from: Option<IpAddr>,
) -> Result<Account, Error> {
    let began = tokio::time::Instant::now();
    guesses.may_try(name, from, began)?;
    let found = account::user(db, name).await?;
    let stored = found.as_ref().and_then(|(_, password)| password.as_ref());
    let too_long = password.len() > CHARS_MAX * 4;
    let tried = if too_long { "" } else { password };
    let right = hasher.verify(tried, stored.map(|stored| stored.hash.as_str())).await?;
    let now = db.now().await?;
    let in_time = stored.is_some_and(|stored| stored.expires_at.is_none_or(|until| now < until));
    let Some((account, Some(stored))) =
        found.filter(|(account, _)| right && in_time && !account.disabled && !too_long)
    else {
        guesses.failed(name, from, began);
        tracing::warn!(from = ?from, "refused a sign-in");
        audit::sign_in_failed(db, name, from.map(|from| from.to_string()).as_deref()).await?;
        return Err(Error::unauthorized("the name or the password is wrong"));
    };
    guesses.succeeded(name, from);
    if is_dated(&stored.hash) {
        let renewed = hasher.hash(password).await?;
        account::rehash(db, account.id, &stored.hash, &renewed).await?;
    }
    Ok(account)
}

/// A password as it is kept.
pub(crate) async fn kept(hasher: &Hasher, password: &str) -> Result<Password, Error> {
    Ok(Password { hash: hasher.hash(password).await?, must_change: false, expires_at: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_passwords_are_refused_and_others_are_not() {
        for (user, weak) in [
            ("ana", "short"),
            ("ana", "123456789012"),
            ("ana", "aaaaaaaaaaaaaa"),
            ("ana", "password1234"),
            ("ana.lopez", "AnaLopez2026"),
            ("ana", "updraftupdraft1"),
            ("ana", &"x y".repeat(50)),
        ] {
            assert!(check_new(user, weak).is_err(), "{weak}");
        }
        for good in ["correct horse battery", "ein langes Wort 7", "日本語のパスワードです。長い"]
        {
            assert_eq!(check_new("ana", good), Ok(()), "{good}");
        }
    }

    #[tokio::test]
    async fn a_hash_knows_its_password_and_nobody_has_one() {
        let hasher = Hasher::new();
        let hash = hasher.hash("correct horse battery").await.unwrap();
        assert!(!is_dated(&hash) && !is_dated(NOBODY), "{hash}");
        assert!(PasswordHash::new(NOBODY).is_ok());
        assert!(is_dated("$argon2id$v=19$m=4096,t=3,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"));
        assert!(hasher.verify("correct horse battery", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("correct horse batterY", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("", None).await.unwrap());
    }
}
