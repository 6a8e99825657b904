//! A small HTTP server that answers as a closure says, one connection after the other.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

/// What arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|h| h.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)))
            .map(|h| h.1)
    }
}

/// A server that lives until the test's process ends.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Starts one; the closure gets the request and its number, from 0, and gives status, headers and body.
    pub(crate) fn start(answer: impl Fn(&Seen, usize) -> (u16, String, Vec<u8>) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    lines.push(line.trim_end().to_owned());
                }
                if lines.is_empty() {
                    continue;
                }
                let mut request = Seen { line: lines.remove(0), headers: lines, body: String::new() };
                let length = request.header("content-length").map_or(0, |n| n.parse().unwrap());
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                request.body = String::from_utf8(body).unwrap();
                let number = kept.lock().unwrap().len();
                let (status, headers, body) = answer(&request, number);
                kept.lock().unwrap().push(request);
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
                    body.len()
                );
                // A client that has seen enough may close early.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Self { address, seen }
    }

    /// A server that always answers this JSON.
    pub(crate) fn json(value: &serde_json::Value) -> Self {
        let body = value.to_string().into_bytes();
        Self::start(move |_, _| {
            (200, "content-type: application/json; charset=utf-8\r\n".into(), body.clone())
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}
