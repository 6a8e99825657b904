//! The web console: its files, and the one page that every address of it begins with.
//!
//! Files have the hash of their content in their name, so browsers keep them for ever. The page is made for each answer with a
//! fresh nonce, without which no style is taken; scripts come from files only.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;

use crate::{error::Error, token};

/// The page.
const PAGE: &str = "index.html";
/// Stands in the page for the nonce.
const NONCE: &str = "__nonce__";
/// What has the hash of its content in its name.
const HASHED: &str = "assets/";
/// What is said if the program was built without a console.
const NONE: &str = "<!doctype html><html lang=\"en\"><title>Updraft</title><h1>There is no console in this program</h1>\
    <p>It was built without one. <code>make run</code> and <code>cargo xtask build</code> build it if Node 20.19 or newer \
    and npm are there.<p>The API answers all the same: <code>/api/v2/version</code>.";

/// A file of the console.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Its path, without a slash at its begin.
    pub path: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
    /// The same, compressed with brotli.
    pub brotli: Option<&'static [u8]>,
}

/// The files of the console; none at all if the program was built without it.
#[derive(Debug, Default)]
pub(crate) struct Console(BTreeMap<&'static str, Asset>);

impl Console {
    pub(crate) fn new(assets: Vec<Asset>) -> Self {
        Self(assets.into_iter().map(|asset| (asset.path, asset)).collect())
    }

    /// What a browser gets there; none if the path is no business of the console.
    pub(crate) fn answer(&self, request: &Request) -> Option<Result<Response, Error>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let path = request.uri().path();
        if is_page(path) {
            return Some(self.page());
        }
        let asset = self.0.get(path.strip_prefix('/')?).filter(|asset| asset.path.starts_with(HASHED))?;
        Some(Ok(file(asset, request.headers())))
    }

    fn page(&self) -> Result<Response, Error> {
        let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        let Some(asset) = self.0.get(PAGE) else {
            return Ok((StatusCode::NOT_FOUND, html, NONE).into_response());
        };
        let nonce = URL_SAFE_NO_PAD.encode(&token::random()?[..16]);
        let text = String::from_utf8_lossy(asset.bytes).replace(NONCE, &nonce);
        let mut response = (html, text).into_response();
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; \
             connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types default"
        );
        let policy = HeaderValue::try_from(policy).map_err(|why| Error::Internal(why.to_string()))?;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
        headers.insert(
            "permissions-policy",
            HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        );
        Ok(response)
    }
}

/// Whether a path is an address within the console. Anything else that isn't there stays not found.
fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/login" | "/me") || path.starts_with("/t/") || path.starts_with("/system/")
}

fn file(asset: &Asset, headers: &HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let takes_brotli = accepted.is_some_and(|list| list.split(',').any(|one| one.trim() == "br"));
    let packed = asset.brotli.filter(|_| takes_brotli);
    let mut response = Response::new(Body::from(Bytes::from_static(packed.unwrap_or(asset.bytes))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(asset.path)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if packed.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    // What a worker may do is said by its own file.
    let policy = HeaderValue::from_static("default-src 'none'; script-src 'self'; frame-ancestors 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, end)| end) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASSETS: [Asset; 3] = [
        Asset { path: PAGE, bytes: b"<style nonce=__nonce__></style>", brotli: None },
        Asset { path: "assets/a-1.js", bytes: b"1", brotli: Some(b"b") },
        Asset { path: "notes.txt", bytes: b"2", brotli: None },
    ];

    fn ask(console: &Console, path: &str, encoding: &str) -> Option<Response> {
        let request = Request::builder().uri(path).header("accept-encoding", encoding);
        console.answer(&request.body(Body::empty()).unwrap()).map(Result::unwrap)
    }

    fn says<'a>(response: &'a Response, name: &str) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn pages_have_a_nonce_of_their_own_and_run_no_inline_script() {
        let console = Console::new(ASSETS.to_vec());
        let policies: Vec<String> = ["/", "/login", "/t/default/dags", "/system/health"]
            .iter()
            .map(|path| says(&ask(&console, path, "").unwrap(), "content-security-policy").to_owned())
            .collect();
        assert!(policies.iter().all(|policy| policy.contains("script-src 'self';")), "{policies:?}");
        assert_ne!(policies[0], policies[1]);
    }

    #[test]
    fn files_are_kept_for_ever_and_sent_packed_to_those_who_can_unpack() {
        let console = Console::new(ASSETS.to_vec());
        let packed = ask(&console, "/assets/a-1.js", "gzip, br").unwrap();
        assert_eq!(says(&packed, "content-encoding"), "br");
        assert_eq!(says(&packed, "content-type"), "text/javascript; charset=utf-8");
        assert!(says(&packed, "cache-control").contains("immutable"));
        assert_eq!(says(&ask(&console, "/assets/a-1.js", "gzip").unwrap(), "content-encoding"), "");
    }

    #[test]
    fn what_is_no_page_and_no_file_is_left_to_others() {
        let console = Console::new(ASSETS.to_vec());
        for path in ["/assets/b.js", "/notes.txt", "/index.html", "/api/v2/nothing", "/t", "/meadow"] {
            assert!(ask(&console, path, "").is_none(), "{path}");
        }
        let none = ask(&Console::default(), "/", "").unwrap();
        assert_eq!(none.status(), StatusCode::NOT_FOUND);
    }
}
