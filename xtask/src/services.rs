//! The real servers that tests talk to: started in private folders on ports of their own.
//!
//! `cargo xtask services up NAME...` starts what is not running yet and prints the environment for the
//! tests; `cargo xtask services down` stops it and removes every file. The gate does both by itself.
//! Two checkouts never share a server. Tests share a server but never a database.
//!
//! To add a server: a variant of [`Service`], a module like [`postgres`] with `up` and `down`, and a line
//! in each of the two matches below.

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
}

/// What a server promises about data that it has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Nothing is forced to disk: quick, right for tests.
    Volatile,
    /// The server's own defaults: right for benchmarks.
    Durable,
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
    },
    /// Install Airflow's clients for the tests and print where.
    AirflowClients,
    /// Stop servers and remove their files.
    Down {
        /// Servers to stop; all when none is named.
        names: Vec<Service>,
    },
}

/// An environment variable for the tests.
pub(crate) type Variable = (&'static str, String);

/// The environment variable with the URL of a PostgreSQL database whose user may create databases.
const POSTGRES_URL: &str = "UPDRAFT_TEST_POSTGRES_URL";

/// The environment variable with the URL of a broker, without a virtual host.
const AMQP_URL: &str = "UPDRAFT_TEST_AMQP_URL";

/// The environment variable with the URL of the broker's management interface, whose user may make virtual hosts.
const RABBITMQ_URL: &str = "UPDRAFT_TEST_RABBITMQ_URL";

/// The environment variable with a Python that has Airflow's clients.
pub(crate) const AIRFLOW_CLIENTS: &str = "UPDRAFT_TEST_AIRFLOW";

pub(crate) fn run(workspace: &Workspace, command: Command) -> Result<bool> {
    match command {
        Command::Up { names, durable } => {
            let durability = if durable { Durability::Durable } else { Durability::Volatile };
            for name in names {
                for (variable, value) in up(workspace, name, durability)? {
                    say(&format!("export {variable}='{value}'"));
                }
            }
        }
        Command::AirflowClients => {
            say(&format!("export {AIRFLOW_CLIENTS}='{}'", tools::airflow_clients()?.display()));
        }
        Command::Down { names } => {
            let names = if names.is_empty() { Service::value_variants().to_vec() } else { names };
            for name in names {
                for durability in [Durability::Volatile, Durability::Durable] {
                    down(workspace, name, durability)?;
                }
            }
        }
    }
    Ok(true)
}

/// Starts a server unless it runs already, and returns what the tests need to find it.
pub(crate) fn up(workspace: &Workspace, service: Service, durability: Durability) -> Result<Vec<Variable>> {
    let place = Place::open(workspace, &folder_name(service, durability))?;
    match service {
        Service::Postgres => Ok(vec![(POSTGRES_URL, postgres::up(&place, durability)?)]),
        Service::Rabbitmq => {
            let urls = rabbitmq::up(&place)?;
            Ok(vec![(AMQP_URL, urls.amqp), (RABBITMQ_URL, urls.management)])
        }
    }
}

/// Stops a server, if it runs, and removes its folder.
pub(crate) fn down(workspace: &Workspace, service: Service, durability: Durability) -> Result<()> {
    let place = Place::open(workspace, &folder_name(service, durability))?;
    match service {
        Service::Postgres => postgres::down(&place)?,
        Service::Rabbitmq => rabbitmq::down(&place)?,
    }
    place.remove()
}

/// Copies a server's log to `target`, for somebody who has to find out why a test failed.
pub(crate) fn keep_log(
    workspace: &Workspace,
    service: Service,
    durability: Durability,
    target: &std::path::Path,
) -> Result<()> {
    let place = Place::open(workspace, &folder_name(service, durability))?;
    let log = place.log();
    if !log.is_file() {
        bail!("{service:?} left no log at {}", log.display());
    }
    std::fs::copy(log, target)?;
    Ok(())
}

fn folder_name(service: Service, durability: Durability) -> String {
    let name = match service {
        Service::Postgres => "postgres",
        Service::Rabbitmq => "rabbitmq",
    };
    match durability {
        Durability::Volatile => name.to_owned(),
        Durability::Durable => format!("{name}-durable"),
    }
}
