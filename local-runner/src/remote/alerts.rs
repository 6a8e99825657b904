//! `updraft alerts`.

use std::process::ExitCode;

use api::v1::alerts::Alert;
use clap::{Args, Subcommand};

use super::{Count, Error, Service, Session, rows, screen::toned};
use crate::terminal::Tone;

/// The arguments of `updraft alerts`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft alerts list --state pending")]
pub struct Alerts {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    pub(super) command: AlertsCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum AlertsCommand {
    /// List what routes were told of, newest first, and how far the delivery is
    #[command(after_help = "Example:\n  updraft alerts list --state pending")]
    List {
        /// Only those in this state: `pending`, `sent` or `failed`
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        #[command(flatten)]
        count: Count,
    },
}

pub(super) async fn run(session: &mut Session<'_>, command: AlertsCommand) -> Result<ExitCode, Error> {
    match command {
        AlertsCommand::List { state, count } => {
            let client = &session.client;
            let (alerts, total) = rows(count.count, async |slice| {
                client.alerts(state.as_deref(), slice).await.map(|page| (page.alerts, page.total_entries))
            })
            .await?;
            let heads = ["WHEN", "ROUTE", "WHAT", "ABOUT", "STATE", "TRIES", "WHY"];
            session.screen.list(&alerts, total, heads, |alert, screen| {
                let (state, tone) = match alert.ended_at {
                    None => ("pending", Tone::Warn),
                    Some(_) if alert.error.is_none() => ("sent", Tone::Good),
                    Some(_) => ("failed", Tone::Bad),
                };
                [
                    screen.time(Some(alert.at)),
                    (&alert.route).into(),
                    (&alert.what).into(),
                    about(alert).into(),
                    toned(state, tone),
                    alert.tries.into(),
                    alert.error.as_deref().unwrap_or_default().into(),
                ]
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn about(alert: &Alert) -> String {
    let run = format!("{} {}", alert.dag_id, alert.dag_run_id);
    match (&alert.task_id, alert.map_index) {
        (Some(task), Some(index)) if index >= 0 => format!("{run} {task}[{index}]"),
        (Some(task), _) => format!("{run} {task}"),
        (None, _) => run,
    }
}
