//! PostgreSQL and RabbitMQ of this test's own: it kills and pauses them. `xtask` knows how they start.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Output},
};

use tests::management::Management;

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Server {
    Postgres,
    Rabbitmq,
}

impl Server {
    pub(crate) const ALL: [Self; 2] = [Self::Postgres, Self::Rabbitmq];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Rabbitmq => "rabbitmq",
        }
    }

    /// Does something to all of its processes: `kill`, `stop` or `cont`.
    pub(crate) async fn hit(self, how: &'static str) {
        background(vec!["hit", self.name(), how]).await;
    }

    /// Starts it again with its data.
    pub(crate) async fn revive(self) {
        background(vec!["revive", self.name()]).await;
    }
}

/// Both servers, gone at the end.
#[derive(Debug)]
pub(crate) struct Servers {
    /// The URL of PostgreSQL, with a database of the superuser's.
    pub(crate) postgres: String,
    /// The URL of RabbitMQ, without a virtual host.
    pub(crate) amqp: String,
    pub(crate) management: Management,
}

impl Servers {
    pub(crate) fn start() -> Self {
        xtask(&["down", "--chaos", "postgres", "rabbitmq"]);
        let said = try_xtask(&["up", "--chaos", "postgres", "rabbitmq"]).unwrap_or_else(|error| {
            // One of them may run.
            xtask(&["down", "--chaos", "postgres", "rabbitmq"]);
            panic!("{error}")
        });
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let value = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(&format!("export {name}='")));
            line.and_then(|line| line.strip_suffix('\''))
                .unwrap_or_else(|| panic!("no {name} in {said}"))
                .to_owned()
        };
        Self {
            postgres: value("UPDRAFT_TEST_POSTGRES_URL"),
            amqp: value("UPDRAFT_TEST_AMQP_URL"),
            management: Management::new(&value("UPDRAFT_TEST_RABBITMQ_URL")).unwrap(),
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // A panic while another is under way would end the test without a word about the first.
        if let Err(error) = try_xtask(&["down", "--chaos", "postgres", "rabbitmq"]) {
            println!("servers are left: {error}");
        }
    }
}

/// Where a URL's server listens.
pub(crate) fn address(url: &str) -> SocketAddr {
    let rest = url.split_once('@').expect("the URL names a user").1;
    rest.split('/').next().unwrap().parse().expect("a loopback address")
}

/// The same URL through a port of our own.
pub(crate) fn through(url: &str, port: u16) -> String {
    url.replace(&address(url).to_string(), &format!("127.0.0.1:{port}"))
}

async fn background(arguments: Vec<&'static str>) {
    tokio::task::spawn_blocking(move || xtask(&arguments)).await.unwrap();
}

fn xtask(arguments: &[&str]) -> Output {
    try_xtask(arguments).unwrap_or_else(|error| panic!("{error}"))
}

fn try_xtask(arguments: &[&str]) -> Result<Output, String> {
    let output = Command::new(beside("xtask")).arg("services").args(arguments).output();
    let output = output.map_err(|error| format!("failed to start xtask: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("xtask services {}: {said}{errors}", arguments.join(" ")))
}

/// A program that was built beside this test.
pub(crate) fn beside(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder =
        test.parent().and_then(std::path::Path::parent).expect("a test lies in target/<profile>/deps");
    let program = folder.join(name);
    assert!(program.is_file(), "{} isn't there: run `cargo build --workspace` first", program.display());
    program
}
