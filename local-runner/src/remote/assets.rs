//! `updraft assets`.

use std::process::ExitCode;

use api::v2::assets::AssetEventBody;
use clap::{Args, Subcommand};

use super::{Count, Error, Service, Session, Slice, rows, screen::Cell, values::object};

/// The arguments of `updraft assets`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  updraft assets list\n  updraft assets update warehouse/orders --extra '{\"rows\": 3}'"
)]
pub struct Assets {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    pub(super) command: AssetsCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum AssetsCommand {
    /// List assets that DAGs name
    #[command(after_help = "Example:\n  updraft assets list")]
    List {
        #[command(flatten)]
        count: Count,
    },
    /// List updates of an asset or of all, the newest first
    #[command(after_help = "Example:\n  updraft assets events warehouse/orders")]
    Events {
        /// The asset
        asset: Option<String>,
        #[command(flatten)]
        count: Count,
    },
    /// Record that an asset was updated, by something that is no task
    #[command(after_help = "Example:\n  updraft assets update warehouse/orders --extra '{\"rows\": 3}'")]
    Update {
        /// The asset
        asset: String,
        /// What consumers are to see, as a JSON object
        #[arg(long, value_name = "JSON")]
        extra: Option<String>,
    },
}

pub(super) async fn run(session: &mut Session<'_>, command: AssetsCommand) -> Result<ExitCode, Error> {
    match command {
        AssetsCommand::List { count } => {
            let client = &session.client;
            let (assets, total) = rows(count.count, async |slice| {
                client.assets(None, slice).await.map(|page| (page.assets, page.total_entries))
            })
            .await?;
            session.screen.list(&assets, total, ["ASSET", "UPDATED BY", "STARTS"], |asset, _| {
                let tasks: Vec<String> = asset
                    .producing_tasks
                    .iter()
                    .map(|task| format!("{}.{}", task.dag_id, task.task_id))
                    .collect();
                let dags: Vec<&str> = asset.scheduled_dags.iter().map(|dag| dag.dag_id.as_str()).collect();
                [Cell::from(&asset.name), tasks.join(", ").into(), dags.join(", ").into()]
            })?;
        }
        AssetsCommand::Events { asset, count } => {
            let id = match asset {
                Some(asset) => Some(number(session, &asset).await?),
                None => None,
            };
            let client = &session.client;
            let (events, total) = rows(count.count, async |slice| {
                client.asset_events(id, slice).await.map(|page| (page.asset_events, page.total_entries))
            })
            .await?;
            session.screen.list(&events, total, ["ASSET", "WHEN", "BY", "EXTRA"], |event, screen| {
                let by = match (&event.source_dag_id, &event.source_task_id) {
                    (Some(dag), Some(task)) => format!("{dag}.{task}"),
                    _ => "outside".to_owned(),
                };
                let extra = event.extra.as_ref().filter(|extra| !extra.is_empty());
                [
                    event.name.as_deref().unwrap_or_default().into(),
                    screen.time(Some(event.timestamp)),
                    by.into(),
                    extra.map_or_else(Cell::default, |extra| serde_json::Value::from(extra.clone()).into()),
                ]
            })?;
        }
        AssetsCommand::Update { asset, extra } => {
            let extra = object("--extra", extra.as_deref())?;
            let asset_id = number(session, &asset).await?;
            let made = session
                .client
                .make_asset_event(&AssetEventBody { asset_id, extra, ..Default::default() })
                .await?;
            if session.screen.json {
                session.screen.document(&made)?;
            } else {
                session.screen.line(&format!("{asset} is updated"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The number that the API has for an asset.
async fn number(session: &Session<'_>, name: &str) -> Result<u64, Error> {
    let mut offset = 0;
    loop {
        let slice = Slice { limit: Some(super::PAGE), offset: Some(offset) };
        let page = session.client.assets(None, slice).await?;
        if let Some(found) = page.assets.iter().find(|asset| asset.name == name) {
            return Ok(found.id);
        }
        offset += super::PAGE;
        if offset >= page.total_entries {
            return Err(Error::usage(format!("no DAG names an asset `{name}`"), "see `updraft assets list`"));
        }
    }
}
