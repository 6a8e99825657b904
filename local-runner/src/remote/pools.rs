//! `updraft pools`.

use std::process::ExitCode;

use api::{
    client::ClientError,
    v2::pools::{PoolBody, PoolPatch},
};
use clap::{Args, Subcommand};

use super::{Count, Error, Service, Session, rows, screen::Cell};

/// The arguments of `updraft pools`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft pools set warehouse 4\n  updraft pools list")]
pub struct Pools {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    pub(super) command: PoolsCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum PoolsCommand {
    /// List pools and how full they are
    #[command(after_help = "Example:\n  updraft pools list")]
    List {
        #[command(flatten)]
        count: Count,
    },
    /// Make or change a pool
    #[command(after_help = "Example:\n  updraft pools set warehouse 4 --include-deferred true")]
    Set {
        /// Its name
        name: String,
        /// Its slots; -1 for no limit
        #[arg(allow_negative_numbers = true)]
        slots: i32,
        /// Whether deferred task instances keep their slots
        #[arg(long, value_name = "BOOL")]
        include_deferred: Option<bool>,
    },
    /// Delete a pool; tasks that name it wait until there is one of that name again
    #[command(after_help = "Example:\n  updraft pools delete warehouse")]
    Delete {
        /// Its name
        name: String,
    },
}

pub(super) async fn run(session: &mut Session<'_>, command: PoolsCommand) -> Result<ExitCode, Error> {
    match command {
        PoolsCommand::List { count } => {
            let client = &session.client;
            let (pools, total) = rows(count.count, async |slice| {
                client.pools(slice).await.map(|page| (page.pools, page.total_entries))
            })
            .await?;
            let heads = ["POOL", "SLOTS", "FREE", "RUNNING", "QUEUED", "WAITING", "DEFERRED"];
            session.screen.list(&pools, total, heads, |pool, _| {
                let limit = |n: i64| if n < 0 { Cell::from("no limit") } else { Cell::from(n) };
                [
                    Cell::from(&pool.name),
                    limit(pool.slots.into()),
                    limit(pool.open_slots),
                    pool.running_slots.into(),
                    pool.queued_slots.into(),
                    pool.scheduled_slots.into(),
                    pool.deferred_slots.into(),
                ]
            })?;
        }
        PoolsCommand::Set { name, slots, include_deferred } => {
            let patch = PoolPatch { slots: Some(slots), include_deferred, ..PoolPatch::default() };
            let set = match session.client.change_pool(&name, &patch).await {
                Err(ClientError::Refused { status: 404, .. }) => {
                    let include_deferred = include_deferred.unwrap_or_default();
                    let body = PoolBody { name, slots, description: None, include_deferred, team_name: None };
                    session.client.make_pool(&body).await?
                }
                set => set?,
            };
            if session.screen.json {
                session.screen.document(&set)?;
            } else {
                session.screen.line(&format!("pool {} has {} slots", set.name, set.slots))?;
            }
        }
        PoolsCommand::Delete { name } => {
            session.client.delete_pool(&name).await?;
            session.screen.line(&format!("pool {name} is deleted"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
