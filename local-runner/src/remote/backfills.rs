//! `updraft backfills`.

use std::process::ExitCode;

use api::v2::backfills::{Backfill, BackfillBody};
use clap::{Args, Subcommand, ValueEnum};
use dags::ids::DagId;
use engine::command::Reprocess;

use super::{
    Count, Error, Service, Session, rows,
    screen::{Cell, toned},
    values::object,
    when,
};
use crate::terminal::Tone;

/// The arguments of `updraft backfills`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft backfills create daily_sales --from 2026-01-01 --to 2026-01-31")]
pub struct Backfills {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    pub(super) command: BackfillsCommand,
}

/// What happens to dates that have a run.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ReprocessArg {
    /// Leave them
    None,
    /// Run failed ones again
    Failed,
    /// Run finished ones again
    Completed,
}

#[derive(Debug, Subcommand)]
pub(super) enum BackfillsCommand {
    /// List backfills, the newest first
    #[command(after_help = "Example:\n  updraft backfills list daily_sales")]
    List {
        /// Only of this DAG
        dag: Option<String>,
        #[command(flatten)]
        count: Count,
    },
    /// Make runs for past dates
    #[command(
        after_help = "Example:\n  updraft backfills create daily_sales --from 2026-01-01 --to 2026-01-31 --max-active 4"
    )]
    Create {
        /// The DAG, which must have a periodic schedule
        dag: String,
        /// The first date
        #[arg(long, value_name = "DATE")]
        from: String,
        /// The last date, inclusive
        #[arg(long, value_name = "DATE")]
        to: String,
        /// What happens to dates that have a run
        #[arg(long, value_enum, default_value_t = ReprocessArg::None)]
        reprocess: ReprocessArg,
        /// From the last date to the first
        #[arg(long)]
        reverse: bool,
        /// How many of its runs may be active at once
        #[arg(long, value_name = "N", default_value_t = 10)]
        max_active: u32,
        /// What each run is passed, as a JSON object
        #[arg(long, value_name = "JSON")]
        conf: Option<String>,
    },
    /// Start no more runs
    #[command(after_help = "Example:\n  updraft backfills pause 3")]
    Pause {
        /// Its number
        id: i64,
    },
    /// Go on
    #[command(after_help = "Example:\n  updraft backfills unpause 3")]
    Unpause {
        /// Its number
        id: i64,
    },
    /// Fail queued runs and let running ones end
    #[command(after_help = "Example:\n  updraft backfills cancel 3")]
    Cancel {
        /// Its number
        id: i64,
    },
}

pub(super) async fn run(session: &mut Session<'_>, command: BackfillsCommand) -> Result<ExitCode, Error> {
    let changed = match command {
        BackfillsCommand::List { dag, count } => {
            let client = &session.client;
            let (backfills, total) = rows(count.count, async |slice| {
                let page = client.backfills(dag.as_deref(), slice).await?;
                Ok((page.backfills, page.total_entries))
            })
            .await?;
            let heads = ["ID", "DAG", "STATE", "FROM", "TO", "RUNS MADE", "MADE"];
            session.screen.list(&backfills, total, heads, |backfill, screen| {
                [
                    Cell::from(backfill.id),
                    Cell::from(&backfill.dag_id),
                    state(backfill),
                    backfill.from_date.into(),
                    backfill.to_date.into(),
                    backfill.runs_made.into(),
                    screen.time(Some(backfill.created_at)),
                ]
            })?;
            return Ok(ExitCode::SUCCESS);
        }
        BackfillsCommand::Create { dag, from, to, reprocess, reverse, max_active, conf } => {
            let dag_id = DagId::parse(&dag)
                .map_err(|why| Error::usage(format!("the DAG {dag:?} {why}"), "see `updraft dags list`"))?;
            let body = BackfillBody {
                dag_id,
                from_date: when::read("--from", &from)?,
                to_date: when::read("--to", &to)?,
                run_backwards: reverse,
                dag_run_conf: Some(object("--conf", conf.as_deref())?),
                reprocess_behavior: match reprocess {
                    ReprocessArg::None => Reprocess::None,
                    ReprocessArg::Failed => Reprocess::Failed,
                    ReprocessArg::Completed => Reprocess::Completed,
                },
                max_active_runs: max_active,
                run_on_latest_version: None,
            };
            session.client.make_backfill(&body).await?
        }
        BackfillsCommand::Pause { id } => session.client.change_backfill(id, "pause").await?,
        BackfillsCommand::Unpause { id } => session.client.change_backfill(id, "unpause").await?,
        BackfillsCommand::Cancel { id } => session.client.change_backfill(id, "cancel").await?,
    };
    if session.screen.json {
        session.screen.document(&changed)?;
    } else {
        let state = word(&changed);
        session.screen.line(&format!("backfill {} of {} is {state}", changed.id, changed.dag_id))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn word(backfill: &Backfill) -> &'static str {
    match (backfill.completed_at, backfill.is_paused) {
        (Some(_), _) => "ended",
        (None, true) => "paused",
        (None, false) => "active",
    }
}

fn state(backfill: &Backfill) -> Cell {
    let tone = match word(backfill) {
        "paused" => Tone::Warn,
        "active" => Tone::Good,
        _ => Tone::Dim,
    };
    toned(word(backfill), tone)
}
