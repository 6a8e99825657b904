//! Requests as bytes, for what no proper client sends.

use std::net::SocketAddr;

use api::{Tcp, TcpSettings};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::world::World;

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// A request under construction.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

pub(crate) fn ask(method: &str, path: &str) -> Ask {
    Ask { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: None }
}

impl Ask {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.with("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn json(self, body: Value) -> Self {
        Self { body: Some(body.to_string()), ..self }.with("Content-Type", "application/json")
    }

    pub(crate) fn text(self, kind: &str, body: &str) -> Self {
        Self { body: Some(body.to_owned()), ..self }.with("Content-Type", kind)
    }

    /// The whole answer.
    pub(crate) async fn send(self, at: SocketAddr) -> Answer {
        let mut answer = Vec::new();
        let _ = self.open(at).await.read_to_end(&mut answer).await;
        parse(&String::from_utf8_lossy(&answer))
    }

    /// The answer as far as it has come when it has that text in it, or has ended.
    pub(crate) async fn read_until(self, at: SocketAddr, text: &str) -> Answer {
        let mut stream = self.open(at).await;
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&answer).contains(text) {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(n) => answer.extend_from_slice(&piece[..n]),
            }
        }
        parse(&String::from_utf8_lossy(&answer))
    }

    async fn open(self, at: SocketAddr) -> TcpStream {
        let mut text = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name == "Host") {
            text.push_str(&format!("Host: {at}\r\n"));
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.unwrap_or_default();
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        // Whoever refuses early may close before it has read everything.
        let _ = stream.write_all(body.as_bytes()).await;
        stream
    }
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).expect(text);
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    Answer { status, headers: headers.to_owned(), body }
}

impl World {
    /// Opens a port on loopback.
    pub(crate) async fn listen(&mut self) -> SocketAddr {
        let settings = TcpSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: None,
            proxies: Vec::new(),
            hosts: Vec::new(),
        };
        let tcp = Tcp::bind(settings).await.unwrap();
        let address = tcp.address();
        let (api, cancel) = (self.api.clone().unwrap(), self.cancel.clone());
        self.running.spawn(async move { api::serve_tcp(tcp, api, cancel).await.unwrap() });
        address
    }

    /// Makes a person with that password, and a role in the default tenant.
    pub(crate) async fn person(&self, name: &str, role: Option<&str>) {
        let body = json!({"name": name, "password": PASSWORD});
        let made = self.call(api::client::Method::POST, "/api/updraft/v1/users", Some(body)).await;
        assert_eq!(made.0, 201, "{made:?}");
        if let Some(role) = role {
            let path = format!("/api/updraft/v1/grants/user/{name}/{role}");
            let given = self.call(api::client::Method::PUT, &path, None).await;
            assert_eq!(given.0, 204, "{given:?}");
        }
    }
}

/// Everybody's password in tests.
pub(crate) const PASSWORD: &str = "a long enough phrase";

/// A token for somebody.
pub(crate) async fn sign_in(at: SocketAddr, name: &str) -> String {
    let login = json!({"username": name, "password": PASSWORD});
    let answer = ask("POST", "/auth/token").json(login).send(at).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["access_token"].as_str().unwrap().to_owned()
}
