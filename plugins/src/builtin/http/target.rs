//! What a connection says about where requests go and who they are from.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use serde_json::Value;

use crate::{
    operator::{Failure, Job},
    outbound,
};

/// Where a request goes, and the headers that stay with that origin.
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

pub(super) fn of_connection(job: &Job<'_>, name: &str, path: &str) -> Result<Target, Failure> {
    let connection = job.connection(name)?;
    let wrong = |why: String| Failure::Connection { name: name.to_owned(), why };
    if !["http", "https"].contains(&connection.conn_type.as_str()) {
        return Err(wrong(format!("is of type `{}`, not `http`", connection.conn_type)));
    }
    if !path.starts_with('/') {
        let why = format!("`path: {path}` must start with `/`: the host is the connection's");
        return Err(Failure::Invalid { operator: job.ctx.task.operator.clone(), why });
    }
    let url = outbound::address(connection, path).ok_or_else(|| wrong("has no host".to_owned()))?;
    let url = outbound::url(&url, &job.ctx.policy)
        .map_err(|e| wrong(format!("gives a URL that can't be used: {e}")))?;

    let mut headers = HeaderMap::new();
    if let Some(login) = &connection.login {
        let pair = format!("{login}:{}", connection.password.as_deref().unwrap_or_default());
        headers.insert(
            AUTHORIZATION,
            secret(&format!("Basic {}", BASE64_STANDARD.encode(pair))).map_err(wrong)?,
        );
    }
    for (key, value) in &connection.extra {
        match (key.as_str(), value) {
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
            ("bearer_token", Value::String(token)) => {
                headers.insert(AUTHORIZATION, secret(&format!("Bearer {token}")).map_err(wrong)?);
            }
            _ => {
                let why = format!("has `extra.{key}`, which isn't known: `headers` and `bearer_token` are");
                return Err(wrong(why));
            }
        }
    }
    Ok(Target { url, headers })
}

fn secret(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "has credentials with line breaks or control characters".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
