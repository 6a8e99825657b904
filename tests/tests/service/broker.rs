//! A virtual host of the test broker for one test, gone at the end.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tests::management::Management;

pub(crate) struct Vhost {
    management: Management,
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
            management: Management::new(&variable("UPDRAFT_TEST_RABBITMQ_URL")).unwrap(),
            amqp: variable("UPDRAFT_TEST_AMQP_URL"),
            name: format!("t_{}", uuid::Uuid::now_v7().simple()),
        };
        vhost.management.send("PUT", &format!("/api/vhosts/{}", vhost.name), "").unwrap();
        vhost
    }

    /// The broker's URL with this host.
    pub(crate) fn url(&self) -> String {
        format!("{}/{}", self.amqp, self.name)
    }

    /// How many messages are in a queue; none if there is no such queue.
    pub(crate) fn messages(&self, queue: &str) -> Option<u64> {
        self.management.messages(&self.name, queue).unwrap()
    }

    /// Puts a text into a queue.
    pub(crate) fn publish(&self, queue: &str, text: &str) {
        let message = serde_json::json!({
            "properties": {}, "routing_key": queue, "payload": STANDARD.encode(text), "payload_encoding": "base64",
        });
        let path = format!("/api/exchanges/{}/amq.default/publish", self.name);
        self.management.send("POST", &path, &message.to_string()).unwrap();
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        self.management.send("DELETE", &format!("/api/vhosts/{}", self.name), "").unwrap();
    }
}
