//! The text of tokens: `updraft_<kind>_<43 characters of base64url>_<6 of a checksum>`.
//!
//! The checksum tells a mistyped token from an unknown one without a look at the database, and lets scanners of
//! repositories be sure of what they found.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use migrations::store::token::TokenKind;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::Error;

const RANDOM_BYTES: usize = 32;
const RANDOM_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;
const PREFIX_CHARS: usize = 8;

/// A new token's text, to be shown once, with what is kept of it.
pub(crate) struct Fresh {
    pub(crate) text: Zeroizing<String>,
    pub(crate) hash: [u8; 32],
    pub(crate) prefix: String,
}

impl Fresh {
    /// A token that nobody can guess.
    pub(crate) fn new(kind: TokenKind) -> Result<Self, Error> {
        let random = random()?;
        let random = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(random));
        let prefix = random[..PREFIX_CHARS].to_owned();
        let mut text = Zeroizing::new(format!("updraft_{}_{}", kind.as_str(), *random));
        let sum = checksum(&text);
        text.push('_');
        text.push_str(&sum);
        let hash = Sha256::digest(text.as_bytes()).into();
        Ok(Self { text, hash, prefix })
    }
}

/// Bytes that nobody can guess.
pub(crate) fn random() -> Result<[u8; RANDOM_BYTES], Error> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Internal(format!("the operating system gives no random numbers: {error}")))?;
    Ok(bytes)
}

fn checksum(text: &str) -> String {
    let mut sum = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()));
    sum.truncate(CHECKSUM_CHARS);
    sum
}

/// The hash of a token's text, if the text can be one.
pub(crate) fn hash(text: &str) -> Option<[u8; 32]> {
    let rest = text.strip_prefix("updraft_")?;
    let (kind, rest) = rest.split_once('_')?;
    let known = [TokenKind::Session, TokenKind::Api, TokenKind::Service];
    let is_token = known.iter().any(|known| known.as_str() == kind)
        && rest.len() == RANDOM_CHARS + 1 + CHECKSUM_CHARS
        && rest.is_ascii()
        && rest.as_bytes()[RANDOM_CHARS] == b'_';
    let (body, sum) = is_token.then(|| text.split_at(text.len() - CHECKSUM_CHARS - 1))?;
    (checksum(body) == sum[1..]).then(|| Sha256::digest(text.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_text_and_a_changed_one_is_not() {
        for kind in [TokenKind::Session, TokenKind::Api, TokenKind::Service] {
            let fresh = Fresh::new(kind).unwrap();
            assert_eq!(hash(&fresh.text), Some(fresh.hash));
            assert_eq!(
                fresh.text.len(),
                "updraft__".len() + kind.as_str().len() + RANDOM_CHARS + 1 + CHECKSUM_CHARS
            );
            for at in 0..fresh.text.len() {
                let mut changed = fresh.text.as_bytes().to_vec();
                changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
                assert_eq!(hash(std::str::from_utf8(&changed).unwrap()), None, "{at}");
            }
            assert_eq!(hash(&fresh.text[1..]), None);
            assert_eq!(hash(&format!("{}x", *fresh.text)), None);
        }
        for text in ["", "updraft", "updraft_", "updraft_api_", "Bearer nothing", "updraft_api_é"] {
            assert_eq!(hash(text), None, "{text}");
        }
    }
}
