//! The commands that talk to a running service: `updraft dags`, `runs`, `tasks`, `pools` and so on.
//!
//! One file per command group, each with its arguments and what it does; [`screen`] writes tables and JSON, [`when`] shows
//! and reads times. Everything goes through [`api::client::Client`].

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use api::client::{Client, ClientError, Slice};
use clap::{Args, Subcommand, ValueEnum};
use dags::time::Timestamp;

use crate::Error;

mod alerts;
mod assets;
mod backfills;
mod connections;
mod dag_list;
mod pools;
mod questions;
mod run_list;
mod screen;
mod task_list;
mod task_log;
mod values;
mod variables;
mod when;

use screen::Screen;

/// Rows that the service gives at once.
const PAGE: u64 = 100;
/// The exit code of a command that waited for a run which failed.
const FAILED: u8 = 1;

/// A command for a running service.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List, show, pause, trigger and delete DAGs of a running service
    Dags(dag_list::Dags),
    /// List, show, clear, mark and delete runs of a running service
    Runs(run_list::Runs),
    /// List, clear and mark task instances of a running service, read their logs and results
    Tasks(task_list::Tasks),
    /// List, set and delete pools of a running service
    Pools(pools::Pools),
    /// List, set and delete variables of a running service
    Variables(variables::Variables),
    /// List, set and delete connections of a running service
    Connections(connections::Connections),
    /// Make runs for past dates
    Backfills(backfills::Backfills),
    /// List the alerts of a running service and how far their delivery is
    Alerts(alerts::Alerts),
    /// List assets of a running service and record that one was updated
    Assets(assets::Assets),
}

/// Which service, and how its answers are shown.
#[derive(Debug, Clone, Args)]
pub struct Service {
    /// The service's socket
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "UPDRAFT_SOCKET",
        default_value = "var/updraft.sock"
    )]
    socket: PathBuf,
    /// `text` for people, `json` for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// How many rows of a list.
#[derive(Debug, Clone, Copy, Args)]
struct Count {
    /// How many to list at most
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 50)]
    count: u64,
}

/// A service with its screen: what each command works with.
struct Session<'a> {
    client: Client,
    screen: Screen<'a>,
}

/// Does what the command says, and writes to `out`. With `colour` states are coloured; `now` is what times are relative
/// to. Whoever stops reading `out` has seen enough.
pub async fn run(
    command: Command,
    out: &mut (dyn Write + Send),
    colour: bool,
    now: Timestamp,
) -> Result<ExitCode, Error> {
    let service = match &command {
        Command::Dags(args) => &args.service,
        Command::Runs(args) => &args.service,
        Command::Tasks(args) => &args.service,
        Command::Pools(args) => &args.service,
        Command::Variables(args) => &args.service,
        Command::Connections(args) => &args.service,
        Command::Backfills(args) => &args.service,
        Command::Alerts(args) => &args.service,
        Command::Assets(args) => &args.service,
    };
    let mut session = Session {
        client: Client::new(&service.socket),
        screen: Screen { out, colour, json: service.format == Format::Json, now },
    };
    let outcome = match command {
        Command::Dags(args) => Box::pin(dag_list::run(&mut session, args.command)).await,
        Command::Runs(args) => Box::pin(run_list::run(&mut session, args.command)).await,
        Command::Tasks(args) => Box::pin(task_list::run(&mut session, args.command)).await,
        Command::Pools(args) => Box::pin(pools::run(&mut session, args.command)).await,
        Command::Variables(args) => Box::pin(variables::run(&mut session, args.command)).await,
        Command::Connections(args) => Box::pin(connections::run(&mut session, args.command)).await,
        Command::Backfills(args) => Box::pin(backfills::run(&mut session, args.command)).await,
        Command::Alerts(args) => Box::pin(alerts::run(&mut session, args.command)).await,
        Command::Assets(args) => Box::pin(assets::run(&mut session, args.command)).await,
    };
    match outcome {
        Err(Error::Path { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        outcome => outcome,
    }
}

/// The first rows of a list, page by page, and how many there are in all.
async fn rows<T>(
    count: u64,
    mut page: impl AsyncFnMut(Slice) -> Result<(Vec<T>, u64), ClientError>,
) -> Result<(Vec<T>, u64), Error> {
    let mut rows: Vec<T> = Vec::new();
    loop {
        let limit = (count - rows.len() as u64).min(PAGE);
        let slice = Slice { limit: Some(limit), offset: Some(rows.len() as u64) };
        let (more, total) = page(slice).await?;
        let ended = more.is_empty();
        rows.extend(more);
        if ended || rows.len() as u64 >= count.min(total) {
            return Ok((rows, total));
        }
    }
}

#[cfg(test)]
mod tests;
