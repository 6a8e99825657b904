//! RabbitMQ's management interface, for what tests must see and set there.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// How long the interface may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The interface of one server.
#[derive(Debug, Clone)]
pub struct Management {
    /// Host and port.
    host: String,
    /// `user:password`.
    user: String,
}

impl Management {
    /// By its URL, `http://user:password@host:port`.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("http://").context("the management URL isn't http")?;
        let (user, host) = rest.split_once('@').context("the management URL names no user")?;
        Ok(Self { host: host.to_owned(), user: user.to_owned() })
    }

    /// Asks, and gives the answer's body. That something isn't there is no error.
    pub fn send(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let credentials = STANDARD.encode(&self.user);
        let request = format!(
            "{method} {path} HTTP/1.0\r\nhost: {}\r\nauthorization: Basic {credentials}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        let fine = ["200", "201", "204", "404"].contains(&status);
        ensure!(fine, "the broker refused {method} {path}: {answer}");
        Ok(answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
    }

    /// How many messages are in a queue; none if there is no such queue. `vhost` is as in a URL.
    pub fn messages(&self, vhost: &str, queue: &str) -> anyhow::Result<Option<u64>> {
        let body = self.send("GET", &format!("/api/queues/{vhost}/{queue}?columns=messages"), "")?;
        let value: serde_json::Value = serde_json::from_str(&body)?;
        Ok(value.get("messages").and_then(serde_json::Value::as_u64))
    }
}
