//! A virtual host of the test broker for one test, gone at the end.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

pub(crate) struct Vhost {
    management: String,
    amqp: String,
    name: String,
}

impl Vhost {
    pub(crate) fn new() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!(
                    "{name} isn't set: these tests need RabbitMQ; run `make test`, or \
                     `eval \"$(cargo xtask services up rabbitmq)\"`"
                )
            })
        };
        let vhost = Self {
            management: variable("UPDRAFT_TEST_RABBITMQ_URL"),
            amqp: variable("UPDRAFT_TEST_AMQP_URL"),
            name: format!("t_{}", uuid::Uuid::now_v7().simple()),
        };
        vhost.ask("PUT", &format!("/api/vhosts/{}", vhost.name));
        vhost
    }

    /// The broker's URL with this host.
    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.amqp, self.name)
    }

    /// How many messages are in a queue; none if there is no such queue.
    pub(crate) fn messages(&self, queue: &str) -> Option<u64> {
        let answer = self.ask("GET", &format!("/api/queues/{}/{queue}?columns=messages", self.name));
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let value: serde_json::Value = serde_json::from_str(body).ok()?;
        value.get("messages")?.as_u64()
    }

    /// Puts a text into a queue.
    pub(crate) fn publish(&self, queue: &str, text: &str) {
        let message = serde_json::json!({
            "properties": {}, "routing_key": queue, "payload": STANDARD.encode(text), "payload_encoding": "base64",
        });
        self.send("POST", &format!("/api/exchanges/{}/amq.default/publish", self.name), &message.to_string());
    }

    fn ask(&self, method: &str, path: &str) -> String {
        self.send(method, path, "")
    }

    fn send(&self, method: &str, path: &str, body: &str) -> String {
        let rest = self.management.strip_prefix("http://").unwrap();
        let (user, host) = rest.split_once('@').unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let credentials = STANDARD.encode(user);
        let request = format!(
            "{method} {path} HTTP/1.0\r\nhost: {host}\r\nauthorization: Basic {credentials}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let fine = [" 200 ", " 201 ", " 204 ", " 404 "]
            .iter()
            .any(|code| answer[..answer.len().min(16)].contains(code));
        assert!(fine, "the broker refused {method} {path}: {answer}");
        answer
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        self.ask("DELETE", &format!("/api/vhosts/{}", self.name));
    }
}
