//! `http` and `http_sensor`: one request, or the same request until its answer is right.

use std::{collections::BTreeMap, io::Write as _, path::PathBuf, time::Duration};

use dags::time::Span;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Operator,
    sensor::{Look, Mode, Wait, minute, week},
};
use crate::{
    log,
    operator::{Failure, Finished, Job, Step, block_on, scratch_file},
    outbound::{self, Request, Response},
    schema,
};

mod target;

/// The largest answer that becomes a result, in bytes.
const RESULT_BYTES_MAX: usize = 1024 * 1024;
/// The largest answer that is saved to a file, in bytes.
const SAVED_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How much of a refused request's answer the log shows, in bytes.
const SHOWN_BYTES_MAX: usize = 2_000;

/// Sends an HTTP request.
///
/// The result is the answer's body: the value if it is JSON, else its text, up to 1 MiB; with `save` it goes to a file of
/// the attempt's folder and the result is `{ path, bytes, status }`. Redirects are followed, three at most, without
/// credentials when they lead to another origin. An answer whose status isn't in `expect` fails the task, and the log
/// shows its beginning.
///
/// The connection's fields: `host` (`https://shop.example`, or a bare name with `schema` saying `http` or `https`), `port`,
/// `login` and `password` for basic authentication, in `extra` `headers` (name to text) and `bearer_token`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["url"]}, {"required": ["connection"]}]))]
pub(crate) struct Http {
    /// Where the request goes, if there is no connection: `https://shop.example/orders`.
    url: Option<String>,
    /// The connection that gives host and credentials.
    connection: Option<String>,
    /// With a connection: the path behind its host, from `/` on, with its query.
    path: Option<String>,
    /// The method.
    #[serde(default)]
    method: Method,
    /// More parameters for the query, quoted as needed.
    #[serde(default)]
    query: BTreeMap<String, Value>,
    /// Headers.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body, a text.
    body: Option<String>,
    /// The body, a value that is sent as JSON.
    json: Option<Value>,
    /// The status codes that are success; 200 to 299 if absent.
    expect: Option<Vec<u16>>,
    /// A file of the attempt's folder to write the answer's body to.
    save: Option<String>,
    /// The time for everything.
    #[serde(default = "minute")]
    #[schemars(schema_with = "schema::duration")]
    timeout: Span,
}

/// A method of HTTP.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

/// Waits until a request gets the right answer.
///
/// An answer is right if its status is in `expect` and, where there is an `until`, that expression holds; it sees
/// `response` (the value if it is JSON, else the text) and `status` beside the usual names. The answer's body is the
/// result. A connection that can't be made counts as not yet. URL and connection: as for `http`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["url"]}, {"required": ["connection"]}]))]
pub(crate) struct HttpSensor {
    /// Where the request goes, if there is no connection: `https://shop.example/orders`.
    url: Option<String>,
    /// The connection that gives host and credentials.
    connection: Option<String>,
    /// With a connection: the path behind its host, from `/` on, with its query.
    path: Option<String>,
    /// The method.
    #[serde(default)]
    method: Method,
    /// More parameters for the query, quoted as needed.
    #[serde(default)]
    query: BTreeMap<String, Value>,
    /// Headers.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body, a text.
    body: Option<String>,
    /// The body, a value that is sent as JSON.
    json: Option<Value>,
    /// The status codes that may be right; 200 to 299 if absent.
    expect: Option<Vec<u16>>,
    /// What must hold for the answer, an expression without braces: `response.state == 'done'`.
    until: Option<String>,
    /// The time for one request.
    #[serde(default = "minute")]
    #[schemars(schema_with = "schema::duration")]
    request_timeout: Span,
    /// How to wait between two looks.
    #[serde(default)]
    mode: Mode,
    /// The time between two looks.
    #[serde(default = "minute")]
    #[schemars(schema_with = "schema::duration")]
    interval: Span,
    /// How long to wait before the sensor fails, without retries, counted from the try's first start.
    #[serde(default = "week")]
    #[schemars(schema_with = "schema::duration")]
    timeout: Span,
    /// Be skipped instead of failed when the time is over.
    #[serde(default)]
    soft_fail: bool,
}

/// What both have in common.
struct Parts {
    operator: &'static str,
    url: Option<String>,
    connection: Option<String>,
    path: Option<String>,
    method: Method,
    query: BTreeMap<String, Value>,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    json: Option<Value>,
    timeout: Duration,
}

impl Parts {
    fn request(&self, job: &Job<'_>) -> Result<Request, Failure> {
        let invalid =
            |e: outbound::Error| Failure::Invalid { operator: self.operator.to_owned(), why: e.to_string() };
        let target = match (&self.connection, &self.url) {
            (Some(name), None) => target::of_connection(job, name, self.path.as_deref().unwrap_or("/"))?,
            (None, Some(_)) if self.path.is_some() => {
                return Err(self.invalid("`path` needs a `connection`; write the whole address into `url`"));
            }
            (None, Some(url)) => target::Target {
                url: outbound::url(url, &job.ctx.policy).map_err(invalid)?,
                headers: HeaderMap::new(),
            },
            (Some(_), Some(_)) | (None, None) => {
                return Err(self.invalid("give either `url` or `connection`"));
            }
        };
        let mut url = target.url;
        for (name, value) in &self.query {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            url.query_pairs_mut().append_pair(name, &text);
        }
        let mut headers = target.headers;
        for (name, value) in &self.headers {
            let (name, value) = outbound::header(name, value).map_err(invalid)?;
            headers.insert(name, value);
        }
        let body = match (&self.body, &self.json) {
            (Some(_), Some(_)) => return Err(self.invalid("give either `body` or `json`")),
            (Some(text), None) => Some(text.clone().into_bytes()),
            (None, Some(value)) => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                Some(value.to_string().into_bytes())
            }
            (None, None) => None,
        };
        let method = match self.method {
            Method::Get => reqwest::Method::GET,
            Method::Head => reqwest::Method::HEAD,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        Ok(Request { method, url, headers, body, timeout: self.timeout })
    }

    fn invalid(&self, why: &str) -> Failure {
        Failure::Invalid { operator: self.operator.to_owned(), why: why.to_owned() }
    }
}

fn expected(expect: Option<&[u16]>, status: u16) -> bool {
    expect.map_or((200..300).contains(&status), |codes| codes.contains(&status))
}

impl Operator for Http {
    const NAME: &'static str = "http";
    const MAIN: Option<&'static str> = Some("url");
    const TEMPLATED: &'static [&'static str] = &["url", "path", "query", "headers", "body", "json", "save"];
    const CONNECTIONS: &'static [&'static str] = &["connection"];

    fn step(self, job: &Job<'_>) -> Result<Step, Failure> {
        let parts = Parts {
            operator: Self::NAME,
            url: self.url,
            connection: self.connection,
            path: self.path,
            method: self.method,
            query: self.query,
            headers: self.headers,
            body: self.body,
            json: self.json,
            timeout: self.timeout.to_std(),
        };
        let request = parts.request(job)?;
        let save = self.save.as_deref().map(|path| scratch_file(job.dirs, path)).transpose()?;
        log(&format!(
            "{} {}{}",
            request.method,
            request.url.origin().ascii_serialization(),
            request.url.path()
        ));
        let work = async {
            let response = outbound::send(request, &job.ctx.policy).await?;
            let status = response.status();
            log(&format!("status {status}"));
            if !expected(self.expect.as_deref(), status) {
                log(&response.beginning(SHOWN_BYTES_MAX).await?);
                return Ok(Finished::failed(format!("the answer has status {status}")));
            }
            match save {
                Some(path) => save_body(response, path, self.save.as_deref().unwrap_or_default()).await,
                None => Ok(match body_value(response).await? {
                    Ok(value) => Finished::success(value),
                    Err(why) => Finished::failed(why),
                }),
            }
        };
        let finished = match block_on(work)? {
            Ok(finished) => finished,
            Err(error) if error.for_good() => Finished::failed_for_good(error.to_string()),
            Err(error) => Finished::failed(error.to_string()),
        };
        Ok(Step::Done(finished))
    }
}

/// The body as a value; the inner error is a sentence about a body that can't be one.
async fn body_value(response: Response) -> Result<Result<Option<Value>, String>, outbound::Error> {
    let json = response.is_json();
    let body = response.bytes(RESULT_BYTES_MAX).await?;
    if body.is_empty() {
        return Ok(Ok(None));
    }
    if json {
        let value = serde_json::from_slice(&body);
        return Ok(value.map(Some).map_err(|e| format!("the answer says that it is JSON, but isn't: {e}")));
    }
    Ok(String::from_utf8(body)
        .map(|text| Some(text.into()))
        .map_err(|_| "the answer is neither JSON nor UTF-8 text: use `save`".to_owned()))
}

async fn save_body(mut response: Response, path: PathBuf, shown: &str) -> Result<Finished, outbound::Error> {
    let status = response.status();
    let failed = |e: std::io::Error| Finished::failed(format!("failed to write `{shown}`: {e}"));
    let mut file = match std::fs::File::create(&path) {
        Ok(file) => std::io::BufWriter::new(file),
        Err(e) => return Ok(failed(e)),
    };
    let mut bytes = 0_u64;
    while let Some(chunk) = response.chunk().await? {
        bytes += chunk.len() as u64;
        if bytes > SAVED_BYTES_MAX {
            return Err(outbound::Error::TooLarge(SAVED_BYTES_MAX));
        }
        if let Err(e) = file.write_all(&chunk) {
            return Ok(failed(e));
        }
    }
    if let Err(e) = file.flush() {
        return Ok(failed(e));
    }
    log(&format!("{bytes} bytes saved to {shown}"));
    Ok(Finished::success(Some(json!({"path": path, "bytes": bytes, "status": status}))))
}

impl Operator for HttpSensor {
    const NAME: &'static str = "http_sensor";
    const MAIN: Option<&'static str> = Some("url");
    const TEMPLATED: &'static [&'static str] = &["url", "path", "query", "headers", "body", "json"];
    const CONNECTIONS: &'static [&'static str] = &["connection"];

    fn step(self, job: &Job<'_>) -> Result<Step, Failure> {
        let wait = Wait {
            mode: self.mode,
            interval: self.interval,
            timeout: self.timeout,
            soft_fail: self.soft_fail,
        };
        let parts = Parts {
            operator: Self::NAME,
            url: self.url,
            connection: self.connection,
            path: self.path,
            method: self.method,
            query: self.query,
            headers: self.headers,
            body: self.body,
            json: self.json,
            timeout: self.request_timeout.to_std(),
        };
        let request = parts.request(job)?;
        wait.run(job, || {
            let work = async {
                let response = outbound::send(request.clone(), &job.ctx.policy).await?;
                Ok((response.status(), body_value(response).await?))
            };
            let (status, body) = match block_on(work)? {
                Ok(answer) => answer,
                Err(error @ (outbound::Error::Url(_) | outbound::Error::Refused)) => {
                    return Ok(Look::Never(error.to_string()));
                }
                Err(error) => return Ok(Look::NotYet(error.to_string())),
            };
            if !expected(self.expect.as_deref(), status) {
                return Ok(Look::NotYet(format!("the answer has status {status}")));
            }
            let body = match body {
                Ok(body) => body,
                Err(why) => return Ok(Look::NotYet(why)),
            };
            let Some(until) = &self.until else { return Ok(Look::There(body)) };
            let names = [("response", body.clone().unwrap_or_default()), ("status", status.into())];
            if job.renderer.holds("until", until, names)? {
                Ok(Look::There(body))
            } else {
                Ok(Look::NotYet(format!("status {status}, and `until` doesn't hold")))
            }
        })
    }
}
