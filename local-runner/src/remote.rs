//! The commands that talk to a running service: `updraft dags`, `runs`, `tasks`, `pools` and so on.
//!
//! One file per command group, each with its arguments and what it does; [`screen`] writes tables and JSON, [`when`] shows
//! and reads times. Everything goes through [`api::client::Client`].

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use api::{
    client::{Client, ClientError, Slice},
    v1::names::Name,
};
use clap::{Args, Subcommand, ValueEnum};
use dags::time::Timestamp;

use crate::Error;

mod alerts;
mod assets;
mod backfills;
mod connections;
mod contexts;
mod dag_list;
mod deploy;
mod identity;
mod people;
mod plan;
mod pools;
mod questions;
mod quotas;
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
    /// List, show, set and delete quotas of tenants and cohorts
    Quotas(quotas::QuotasArgs),
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
    /// Bring a folder of DAGs to a running service: show what would change, then change all of it at once
    Deploy(deploy::DeployArgs),
    /// Sign in to a service and remember it
    Login(identity::LoginArgs),
    /// Sign out of a service and forget it
    Logout(identity::LogoutArgs),
    /// Change one's password
    Passwd(identity::PasswdArgs),
    /// Say who one is, and where
    Whoami(identity::WhoamiArgs),
    /// List and choose the services that one has signed in to
    Contexts(identity::ContextsArgs),
    /// List, make and end one's own tokens
    Tokens(identity::TokensArgs),
    /// List, make, switch and delete people's accounts
    Users(people::Users),
    /// List, make, suspend and delete tenants
    Tenants(people::Tenants),
    /// List, give and take away roles in a tenant
    Grants(people::Grants),
    /// List, set and delete groups of a tenant
    Groups(people::Groups),
    /// List, set and delete roles of a tenant
    Roles(people::Roles),
    /// List, make and delete accounts of a tenant's programs, and make their tokens
    ServiceAccounts(people::ServiceAccounts),
    /// Say who may do what
    Auth(people::Auth),
}

/// The socket of a service that was started in this folder.
const SOCKET: &str = "var/updraft.sock";

/// Which service, and how its answers are shown.
#[derive(Debug, Clone, Args)]
pub struct Service {
    /// The service's socket; without it, the service that one has signed in to, else var/updraft.sock
    #[arg(long, global = true, value_name = "PATH", env = "UPDRAFT_SOCKET", conflicts_with = "context")]
    socket: Option<PathBuf>,
    /// The service that one has signed in to under that name
    #[arg(long, global = true, value_name = "NAME", env = "UPDRAFT_CONTEXT")]
    context: Option<String>,
    /// The tenant; the one of the context, or the default one, if absent
    #[arg(long, global = true, value_name = "NAME", env = "UPDRAFT_TENANT")]
    tenant: Option<String>,
    /// `text` for people, `json` for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The file of contexts
    #[arg(long, global = true, hide = true, value_name = "PATH", env = "UPDRAFT_CONTEXTS")]
    contexts: Option<PathBuf>,
    /// The folder that has `.config`
    #[arg(long, global = true, hide = true, value_name = "DIR", env = "HOME")]
    home: Option<PathBuf>,
}

impl Service {
    /// Where contexts are kept.
    fn contexts_file(&self) -> Result<PathBuf, Error> {
        let beneath = |home: &PathBuf| home.join(".config/updraft/contexts.json");
        self.contexts.clone().or_else(|| self.home.as_ref().map(beneath)).ok_or_else(|| {
            Error::usage("there is no home folder to keep contexts in", "name a file with `UPDRAFT_CONTEXTS`")
        })
    }

    fn client(&self) -> Result<Client, Error> {
        if let Some(socket) = &self.socket {
            return Ok(Client::new(socket).in_tenant(self.tenant.clone()));
        }
        let known = match self.contexts_file() {
            Ok(path) => contexts::Contexts::load(&path)?,
            Err(error) if self.context.is_some() => return Err(error),
            Err(_) => contexts::Contexts::default(),
        };
        match known.choose(self.context.as_deref())? {
            Some(context) => context.client(self.tenant.as_deref()),
            None => Ok(Client::new(Path::new(SOCKET)).in_tenant(self.tenant.clone())),
        }
    }
}

/// A name as our own API has them.
fn name(text: &str) -> Result<Name, Error> {
    Name::try_from(text.to_owned())
        .map_err(|why| Error::Usage { message: format!("`{text}`: {why}"), help: None })
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
        Command::Quotas(args) => &args.service,
        Command::Variables(args) => &args.service,
        Command::Connections(args) => &args.service,
        Command::Backfills(args) => &args.service,
        Command::Alerts(args) => &args.service,
        Command::Assets(args) => &args.service,
        Command::Deploy(args) => &args.service,
        Command::Login(args) => &args.service,
        Command::Logout(args) => &args.service,
        Command::Passwd(args) => &args.service,
        Command::Whoami(args) => &args.service,
        Command::Contexts(args) => &args.service,
        Command::Tokens(args) => &args.service,
        Command::Users(args) => &args.service,
        Command::Tenants(args) => &args.service,
        Command::Grants(args) => &args.service,
        Command::Groups(args) => &args.service,
        Command::Roles(args) => &args.service,
        Command::ServiceAccounts(args) => &args.service,
        Command::Auth(args) => &args.service,
    };
    // Who signs in, or looks at the file of contexts, needs none of them to be good.
    let client = match &command {
        Command::Login(_) | Command::Logout(_) | Command::Passwd(_) | Command::Contexts(_) => {
            Client::new(Path::new(SOCKET))
        }
        _ => service.client()?,
    };
    let mut session =
        Session { client, screen: Screen { out, colour, json: service.format == Format::Json, now } };
    let outcome = match command {
        Command::Dags(args) => Box::pin(dag_list::run(&mut session, args.command)).await,
        Command::Runs(args) => Box::pin(run_list::run(&mut session, args.command)).await,
        Command::Tasks(args) => Box::pin(task_list::run(&mut session, args.command)).await,
        Command::Pools(args) => Box::pin(pools::run(&mut session, args.command)).await,
        Command::Quotas(args) => Box::pin(quotas::run(&mut session, args.command)).await,
        Command::Variables(args) => Box::pin(variables::run(&mut session, args.command)).await,
        Command::Connections(args) => Box::pin(connections::run(&mut session, args.command)).await,
        Command::Backfills(args) => Box::pin(backfills::run(&mut session, args.command)).await,
        Command::Alerts(args) => Box::pin(alerts::run(&mut session, args.command)).await,
        Command::Assets(args) => Box::pin(assets::run(&mut session, args.command)).await,
        Command::Deploy(args) => Box::pin(deploy::run(&mut session, args)).await,
        Command::Login(args) => Box::pin(identity::login(&mut session, args)).await,
        Command::Logout(args) => Box::pin(identity::logout(&mut session, args)).await,
        Command::Passwd(args) => Box::pin(identity::passwd(&mut session, args)).await,
        Command::Tokens(args) => Box::pin(identity::tokens(&mut session, args)).await,
        Command::Whoami(_) => Box::pin(identity::whoami(&mut session)).await,
        Command::Contexts(args) => identity::contexts(&mut session, args),
        Command::Users(args) => Box::pin(people::users(&mut session, args.command)).await,
        Command::Tenants(args) => Box::pin(people::tenants(&mut session, args.command)).await,
        Command::Grants(args) => Box::pin(people::grants(&mut session, args.command)).await,
        Command::Groups(args) => Box::pin(people::groups(&mut session, args.command)).await,
        Command::Roles(args) => Box::pin(people::roles(&mut session, args.command)).await,
        Command::ServiceAccounts(args) => {
            Box::pin(people::service_accounts(&mut session, args.command)).await
        }
        Command::Auth(args) => Box::pin(people::auth(&mut session, args.command)).await,
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
