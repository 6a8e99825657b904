//! `notify_http`: a POST of the notice as JSON, signed as the Standard Webhooks specification says.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use ring::hmac;
use serde_json::Value;

use super::{Error, Notice};
use crate::{
    clock,
    context::Connection,
    outbound::{self, Request},
    policy::Policy,
};

/// The time for the request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What a secret in base64 begins with.
const SECRET_PREFIX: &str = "whsec_";

pub(super) async fn send(notice: &Notice, connection: &Connection, policy: &Policy) -> Result<(), Error> {
    let wrong = |why: String| Error(format!("the connection `{}` {why}", notice.route));
    let mut path = "/";
    let mut headers = HeaderMap::new();
    for (key, value) in &connection.extra {
        match (key.as_str(), value) {
            ("path", Value::String(given)) if given.starts_with('/') => path = given,
            ("path", _) => return Err(wrong("has an `extra.path` that doesn't start with `/`".to_owned())),
            ("headers", Value::Object(given)) => {
                for (header, value) in given {
                    let text =
                        value.as_str().ok_or_else(|| wrong(format!("header {header:?} isn't a text")))?;
                    let (header, mut value) =
                        outbound::header(header, text).map_err(|e| wrong(e.to_string()))?;
                    value.set_sensitive(true);
                    headers.insert(header, value);
                }
            }
            _ => {
                return Err(wrong(format!("has `extra.{key}`, which isn't known: `path` and `headers` are")));
            }
        }
    }
    let url = outbound::address(connection, path).ok_or_else(|| wrong("has no host".to_owned()))?;
    let url = outbound::url(&url, policy)
        .map_err(|error| wrong(format!("gives a URL that can't be used: {error}")))?;
    let body =
        serde_json::to_vec(notice).map_err(|error| Error(format!("the notice is no JSON: {error}")))?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(secret) = connection.password.as_deref().filter(|secret| !secret.is_empty()) {
        let key = key_of(secret).ok_or_else(|| {
            wrong(format!("has a password that begins with `{SECRET_PREFIX}` and isn't base64 after it"))
        })?;
        sign(&mut headers, &notice.id, clock::now_secs(), &body, &key)
            .map_err(|_| Error("the signature is no header".to_owned()))?;
    }
    let request = Request { method: Method::POST, url, headers, body: Some(body), timeout: TIMEOUT };
    let response = outbound::send(request, policy).await.map_err(|error| Error(error.to_string()))?;
    match response.status() {
        200..300 => Ok(()),
        status => Err(Error(format!("the webhook answered with status {status}"))),
    }
}

fn sign(
    headers: &mut HeaderMap,
    id: &str,
    seconds: i64,
    body: &[u8],
    key: &[u8],
) -> Result<(), reqwest::header::InvalidHeaderValue> {
    let mut put = |name: &'static str, value: &str| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
        Ok(())
    };
    put("webhook-id", id)?;
    put("webhook-timestamp", &seconds.to_string())?;
    put("webhook-signature", &signature(id, seconds, body, key))
}

fn signature(id: &str, seconds: i64, body: &[u8], key: &[u8]) -> String {
    let mut signing = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    signing.update(format!("{id}.{seconds}.").as_bytes());
    signing.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(signing.sign()))
}

/// The key that a secret stands for: its bytes, or what the base64 after the prefix says.
fn key_of(secret: &str) -> Option<Vec<u8>> {
    match secret.strip_prefix(SECRET_PREFIX) {
        Some(text) => BASE64_STANDARD.decode(text).ok(),
        None => Some(secret.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // printf '%s' 'msg_1.1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret -binary | base64
        assert_eq!(
            signature("msg_1", 1_700_000_000, b"{\"a\":1}", b"secret"),
            "v1,Q5nZ7DiOGwijBBqvBVAK6c0zDr2JLkXI7TaV4f+Q2vY="
        );
        assert_eq!(key_of("whsec_c2VjcmV0").as_deref(), Some(b"secret".as_slice()));
        assert_eq!(key_of("secret").as_deref(), Some(b"secret".as_slice()));
        assert_eq!(key_of("whsec_c2V!"), None);
    }
}
