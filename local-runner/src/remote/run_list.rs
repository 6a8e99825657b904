//! `updraft runs`.

use std::process::ExitCode;

use api::{
    client::{RunQuery, Slice},
    v2::dag_runs::{ClearRunBody, DagRun, DagRunPatch},
};
use clap::{Args, Subcommand, ValueEnum};
use dags::time::Span;
use engine::state::RunState;
use scheduler::clock;

use super::{
    Count, Error, FAILED, Service, Session,
    dag_list::{self, TRIGGER_HELP, Trigger},
    rows,
    screen::{Cell, or_dash, toned},
    task_list,
};
use crate::terminal::Tone;

/// The first pause between two looks at a run that is waited for; doubled up to [`LOOK_MAX`].
const LOOK_MIN: Span = Span::millis(50);
/// The longest pause.
const LOOK_MAX: Span = Span::seconds(1);

/// The arguments of `updraft runs`.
#[derive(Debug, Args)]
#[command(
    after_help = "A run is named by its name or by `latest`.\n\nExample:\n  updraft runs list daily_sales --state failed\n  \
    updraft runs show daily_sales latest"
)]
pub struct Runs {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    pub(super) command: RunsCommand,
}

/// What a run can be marked as.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RunMark {
    /// It has succeeded, and so have its tasks
    Success,
    /// It has failed; running tasks are ended
    Failed,
    /// It goes on
    Queued,
}

#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    /// List runs, those that are due last first
    #[command(
        after_help = "Example:\n  updraft runs list\n  updraft runs list daily_sales --state failed --state running"
    )]
    List {
        /// Only runs of this DAG
        dag: Option<String>,
        /// Only runs in this state; may be repeated
        #[arg(long = "state", value_name = "STATE")]
        states: Vec<String>,
        /// Only runs of this type: scheduled, manual, backfill, asset_triggered; may be repeated
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
        #[command(flatten)]
        count: Count,
    },
    /// Show a run and its tasks
    #[command(after_help = "Example:\n  updraft runs show daily_sales latest")]
    Show {
        /// The DAG
        dag: String,
        /// The run
        #[arg(default_value = "latest")]
        run: String,
    },
    /// Start a run
    #[command(after_help = TRIGGER_HELP)]
    Trigger(Trigger),
    /// Wait until a run has ended; the exit code is 1 if it failed
    #[command(after_help = "Example:\n  updraft runs wait daily_sales latest")]
    Wait {
        /// The DAG
        dag: String,
        /// The run
        #[arg(default_value = "latest")]
        run: String,
    },
    /// Run a run's tasks again
    #[command(
        after_help = "Example:\n  updraft runs clear daily_sales latest --failed\n  updraft runs clear daily_sales latest --dry-run"
    )]
    Clear {
        /// The DAG
        dag: String,
        /// The run
        run: String,
        /// Only tasks that failed
        #[arg(long)]
        failed: bool,
        /// Move the run to the DAG's newest version
        #[arg(long)]
        newest_version: bool,
        /// Only say what would run again
        #[arg(long)]
        dry_run: bool,
    },
    /// Set the state of a run by hand
    #[command(after_help = "Example:\n  updraft runs mark daily_sales latest success")]
    Mark {
        /// The DAG
        dag: String,
        /// The run
        run: String,
        /// The state
        #[arg(value_enum)]
        state: RunMark,
    },
    /// Work again with a run that is quarantined, when what was wrong with it is mended
    #[command(after_help = "Example:\n  updraft runs release daily_sales manual__2026-03-01T00:00:00+00:00")]
    Release {
        /// The DAG
        dag: String,
        /// The run
        run: String,
    },
    /// Forget a run that has ended, with its history
    #[command(after_help = "Example:\n  updraft runs delete daily_sales manual__2026-03-01T00:00:00+00:00")]
    Delete {
        /// The DAG
        dag: String,
        /// The run
        run: String,
    },
}

pub(super) async fn run(session: &mut Session<'_>, command: RunsCommand) -> Result<ExitCode, Error> {
    match command {
        RunsCommand::List { dag, states, types, count } => {
            let query = RunQuery { dag_id: dag, states, run_types: types };
            list(session, &query, count).await?;
        }
        RunsCommand::Show { dag, run } => {
            let run = session.run_name(&dag, &run).await?;
            show(session, &dag, &run).await?;
        }
        RunsCommand::Trigger(args) => return dag_list::trigger(session, args).await,
        RunsCommand::Wait { dag, run } => {
            let run = session.run_name(&dag, &run).await?;
            return wait(session, &dag, &run).await;
        }
        RunsCommand::Clear { dag, run, failed, newest_version, dry_run } => {
            let run = session.run_name(&dag, &run).await?;
            let body = ClearRunBody {
                dry_run,
                only_failed: failed,
                run_on_latest_version: newest_version.then_some(true),
                ..ClearRunBody::default()
            };
            if dry_run {
                let found = session.client.would_clear_run(&dag, &run, &body).await?;
                task_list::instances(session, &found.task_instances, found.total_entries)?;
            } else {
                let cleared = session.client.clear_run(&dag, &run, &body).await?;
                said(session, &cleared)?;
            }
        }
        RunsCommand::Mark { dag, run, state } => {
            let run = session.run_name(&dag, &run).await?;
            let state = match state {
                RunMark::Success => RunState::Success,
                RunMark::Failed => RunState::Failed,
                RunMark::Queued => RunState::Queued,
            };
            let patch = DagRunPatch { state: Some(state), ..DagRunPatch::default() };
            let marked = session.client.mark_run(&dag, &run, &patch).await?;
            said(session, &marked)?;
        }
        RunsCommand::Release { dag, run } => {
            let run = session.run_name(&dag, &run).await?;
            let released = session.client.release_run(&dag, &run).await?;
            said(session, &released)?;
        }
        RunsCommand::Delete { dag, run } => {
            let run = session.run_name(&dag, &run).await?;
            session.client.delete_run(&dag, &run).await?;
            session.screen.line(&format!("run {run} of {dag} is deleted"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(session: &mut Session<'_>, query: &RunQuery, count: Count) -> Result<(), Error> {
    let client = &session.client;
    let (runs, total) = rows(count.count, async |slice: Slice| {
        client.runs(query, slice).await.map(|page| (page.dag_runs, page.total_entries))
    })
    .await?;
    let heads = ["DAG", "RUN", "STATE", "TYPE", "STARTED", "TOOK"];
    session.screen.list(&runs, total, heads, |run, screen| {
        [
            Cell::from(&run.dag_id),
            Cell::from(&run.dag_run_id),
            toned(run.state, Tone::of_run(run.state)),
            run.run_type.into(),
            screen.time(run.start_date),
            screen.span(run.start_date, run.end_date),
        ]
    })
}

async fn show(session: &mut Session<'_>, dag: &str, run: &str) -> Result<(), Error> {
    let found = session.client.run(dag, run).await?;
    if session.screen.json {
        return session.screen.document(&found);
    }
    let screen = &mut session.screen;
    let interval = found.data_interval_start.zip(found.data_interval_end);
    let conf =
        found.conf.as_ref().filter(|conf| !conf.is_empty()).map(|conf| serde_json::Value::from(conf.clone()));
    let times = [found.run_after.into(), found.start_date, found.end_date].map(|at| screen.time(at));
    let [due, started, ended] = times;
    let took = screen.span(found.start_date, found.end_date);
    let by = found.triggering_user_name.as_deref();
    screen.facts(&[
        ("run", toned(&found.dag_run_id, Tone::Strong)),
        ("DAG", Cell::from(&found.dag_id)),
        ("state", toned(found.state, Tone::of_run(found.state))),
        ("reason", found.reason.as_deref().unwrap_or_default().into()),
        (
            "type",
            by.map_or_else(|| found.run_type.to_string(), |by| format!("{}, by {by}", found.run_type)).into(),
        ),
        ("stands for", found.logical_date.map_or_else(Cell::default, Cell::from)),
        ("interval", interval.map_or_else(Cell::default, |(start, end)| format!("{start} to {end}").into())),
        ("due", due),
        ("started", started),
        ("ended", ended),
        ("took", took),
        ("conf", conf.map_or_else(Cell::default, Cell::from)),
        ("note", found.note.as_deref().unwrap_or_default().into()),
        (
            "cleared",
            if found.clear_number > 0 { format!("{} times", found.clear_number) } else { String::new() }
                .into(),
        ),
        ("version", or_dash(found.dag_versions.first().map(|version| version.version_number))),
    ])?;
    screen.line("")?;
    task_list::list(session, dag, run, &[], Count { count: 1_000 }).await
}

/// Waits until a run has ended and shows it; the exit code says how it ended.
pub(super) async fn wait(session: &mut Session<'_>, dag: &str, run: &str) -> Result<ExitCode, Error> {
    let mut pause = LOOK_MIN;
    let ended = loop {
        let now = session.client.run(dag, run).await?;
        if now.state.is_finished() {
            break now;
        }
        clock::sleep(pause).await;
        pause = Span((pause.0 * 2).min(LOOK_MAX.0));
    };
    said(session, &ended)?;
    Ok(if ended.state == RunState::Success { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn said(session: &mut Session<'_>, run: &DagRun) -> Result<(), Error> {
    if session.screen.json {
        return session.screen.document(run);
    }
    let state = crate::terminal::paint(run.state.as_str(), Tone::of_run(run.state), session.screen.colour);
    let reason = run.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
    session.screen.line(&format!("run {} of {} is {state}{reason}", run.dag_run_id, run.dag_id))
}
