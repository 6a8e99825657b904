//! The real servers that tests talk to: started in private folders on ports of their own.
//!
//! `cargo xtask services up NAME...` starts what is not running yet and prints the environment for the
//! tests; `cargo xtask services down` stops it and removes every file. The gate does both by itself.
//! Two checkouts never share a server. Tests share a server but never a database.
//!
//! To add a server: a variant of [`Service`], a module like [`postgres`] with `up` and `down`, and a line
//! in each of the two matches below.

mod kubernetes;
mod machine;
mod place;
mod postgres;
mod rabbitmq;

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};

use crate::process::say;
use crate::services::place::Place;
use crate::tools;
use crate::workspace::Workspace;

/// A server that we know how to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// PostgreSQL 15 or newer.
    Postgres,
    /// RabbitMQ 3.10 or newer.
    Rabbitmq,
    /// Kubernetes 1.36 with one node, which really runs pods.
    Kubernetes,
}

/// Whom a server is for. Each has servers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Tests: nothing is forced to disk, which is quick.
    Tests,
    /// Benchmarks: the server's own defaults.
    Benches,
    /// The chaos test, which kills and pauses them: what was acknowledged must survive that.
    Chaos,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Tests, Self::Benches, Self::Chaos];
}

/// What is done to all processes of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hit {
    /// `kill -9`.
    Kill,
    /// Pause them.
    Stop,
    /// Let them go on.
    Cont,
}

impl Hit {
    fn signal(self) -> rustix::process::Signal {
        use rustix::process::Signal;
        match self {
            Self::Kill => Signal::KILL,
            Self::Stop => Signal::STOP,
            Self::Cont => Signal::CONT,
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start servers and print the environment that tests need, ready for `eval`.
    Up {
        /// Servers to start.
        #[arg(required = true)]
        names: Vec<Service>,
        /// Keep what is acknowledged through a power cut, as a benchmark must.
        #[arg(long)]
        durable: bool,
        /// Those of the chaos test.
        #[arg(long, conflicts_with = "durable")]
        chaos: bool,
    },
    /// Kill, pause or go on with all processes of a server of the chaos test.
    Hit {
        /// The server.
        name: Service,
        /// What is done.
        hit: Hit,
    },
    /// Start a server of the chaos test again that was killed, with its data and at its ports.
    Revive {
        /// The server.
        name: Service,
    },
    /// Make the image of the Updraft that was built and give it to the node of Kubernetes.
    LoadImage,
    /// Install what tests drive against the service (Airflow's clients, schemathesis) and print where.
    Clients,
    /// Stop servers and remove their files.
    Down {
        /// Servers to stop; all when none is named.
        names: Vec<Service>,
        /// Only those of the chaos test.
        #[arg(long)]
        chaos: bool,
    },
}

/// An environment variable for the tests.
pub(crate) type Variable = (&'static str, String);

/// The environment variable with the URL of a PostgreSQL database whose user may create databases.
pub(crate) const POSTGRES_URL: &str = "UPDRAFT_TEST_POSTGRES_URL";

/// The environment variable with the URL of a broker, without a virtual host.
const AMQP_URL: &str = "UPDRAFT_TEST_AMQP_URL";

/// The environment variable with the URL of the broker's management interface, whose user may make virtual hosts.
const RABBITMQ_URL: &str = "UPDRAFT_TEST_RABBITMQ_URL";

/// The environment variable with the path of a kubeconfig that may do everything.
const KUBECONFIG: &str = "UPDRAFT_TEST_KUBECONFIG";

/// The environment variable with the address at which pods reach this machine.
const KUBERNETES_MACHINE: &str = "UPDRAFT_TEST_KUBERNETES_MACHINE";

/// The environment variable with a Python that has Airflow's clients.
const AIRFLOW_CLIENTS: &str = "UPDRAFT_TEST_AIRFLOW";

/// The environment variable with a Python that has schemathesis.
const SCHEMATHESIS: &str = "UPDRAFT_TEST_SCHEMATHESIS";

/// Installs what tests drive against the service.
pub(crate) fn clients() -> Result<Vec<Variable>> {
    let installed = |(variable, packages)| Ok((variable, tools::python(packages)?.display().to_string()));
    let all = [(AIRFLOW_CLIENTS, tools::AIRFLOW_CLIENTS), (SCHEMATHESIS, tools::SCHEMATHESIS)];
    all.into_iter().map(installed).collect()
}

pub(crate) fn run(workspace: &Workspace, command: Command) -> Result<bool> {
    match command {
        Command::Up { names, durable, chaos } => {
            let purpose = match (durable, chaos) {
                (_, true) => Purpose::Chaos,
                (true, false) => Purpose::Benches,
                (false, false) => Purpose::Tests,
            };
            for name in names {
                for (variable, value) in up(workspace, name, purpose)? {
                    say(&format!("export {variable}='{value}'"));
                }
            }
        }
        Command::Hit { name, hit } => {
            let place = place(workspace, name, Purpose::Chaos)?;
            match name {
                Service::Postgres => postgres::hit(&place, hit.signal())?,
                Service::Rabbitmq => rabbitmq::hit(&place, hit.signal())?,
                Service::Kubernetes => kubernetes::hit(&place, hit.signal())?,
            }
        }
        Command::Revive { name } => {
            let place = place(workspace, name, Purpose::Chaos)?;
            match name {
                Service::Postgres => postgres::revive(&place, Purpose::Chaos)?,
                Service::Rabbitmq => rabbitmq::revive(&place)?,
                Service::Kubernetes => bail!("Kubernetes has no part in the chaos test"),
            }
        }
        Command::Clients => {
            for (variable, value) in clients()? {
                say(&format!("export {variable}='{value}'"));
            }
        }
        Command::LoadImage => {
            let place = place(workspace, Service::Kubernetes, Purpose::Tests)?;
            kubernetes::load_updraft(workspace, &place)?;
        }
        Command::Down { names, chaos } => {
            let purposes = if chaos { vec![Purpose::Chaos] } else { Purpose::ALL.to_vec() };
            let names = if names.is_empty() { Service::value_variants().to_vec() } else { names };
            for name in names {
                for purpose in &purposes {
                    down(workspace, name, *purpose)?;
                }
            }
        }
    }
    Ok(true)
}

/// Starts a server unless it runs already, and returns what the tests need to find it.
pub(crate) fn up(workspace: &Workspace, service: Service, purpose: Purpose) -> Result<Vec<Variable>> {
    let place = place(workspace, service, purpose)?;
    match service {
        Service::Postgres => Ok(vec![(POSTGRES_URL, postgres::up(&place, purpose)?)]),
        Service::Rabbitmq => {
            let urls = rabbitmq::up(&place)?;
            Ok(vec![(AMQP_URL, urls.amqp), (RABBITMQ_URL, urls.management)])
        }
        Service::Kubernetes => {
            let found = kubernetes::up(workspace, &place)?;
            let kubeconfig = found.kubeconfig.display().to_string();
            Ok(vec![(KUBECONFIG, kubeconfig), (KUBERNETES_MACHINE, found.machine)])
        }
    }
}

/// Stops a server, if it runs, and removes its folder.
pub(crate) fn down(workspace: &Workspace, service: Service, purpose: Purpose) -> Result<()> {
    let place = place(workspace, service, purpose)?;
    match service {
        Service::Postgres => postgres::down(&place)?,
        Service::Rabbitmq => rabbitmq::down(&place)?,
        Service::Kubernetes => kubernetes::down(&place)?,
    }
    place.remove()
}

/// Copies a server's log to `target`, for somebody who has to find out why a test failed.
pub(crate) fn keep_log(
    workspace: &Workspace,
    service: Service,
    purpose: Purpose,
    target: &std::path::Path,
) -> Result<()> {
    let place = place(workspace, service, purpose)?;
    let log = place.log();
    if !log.is_file() {
        bail!("{service:?} left no log at {}", log.display());
    }
    std::fs::copy(log, target)?;
    Ok(())
}

fn place(workspace: &Workspace, service: Service, purpose: Purpose) -> Result<Place> {
    let name = match service {
        Service::Postgres => "postgres",
        Service::Rabbitmq => "rabbitmq",
        Service::Kubernetes => "kubernetes",
    };
    let suffix = match purpose {
        Purpose::Tests => "",
        Purpose::Benches => "-durable",
        Purpose::Chaos => "-chaos",
    };
    Place::open(workspace, &format!("{name}{suffix}"))
}
