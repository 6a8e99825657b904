//! `updraft dags`.

use std::process::ExitCode;

use api::{
    client::{DagQuery, Slice},
    v2::{dag_runs::TriggerBody, dags::Dag, import_errors::ImportErrorCollection},
};
use clap::{Args, Subcommand};

use super::{
    Count, Error, Service, Session, rows,
    screen::{Cell, or_dash, toned},
    values::pair,
    when,
};
use crate::terminal::Tone;

/// The arguments of `updraft dags`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  updraft dags list\n  updraft dags trigger daily_sales --param region=eu --wait"
)]
pub struct Dags {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    pub(super) command: DagsCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum DagsCommand {
    /// List DAGs
    #[command(after_help = "Example:\n  updraft dags list --name sales --paused")]
    List {
        /// Only DAGs whose name has this text in it
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        /// Only paused ones
        #[arg(long, conflicts_with = "active")]
        paused: bool,
        /// Only ones that aren't paused
        #[arg(long)]
        active: bool,
        /// Also DAGs whose file is gone
        #[arg(long)]
        stale: bool,
        #[command(flatten)]
        count: Count,
    },
    /// Show which files of DAGs can't be used as they are now, and why; their DAGs go on as they were
    #[command(after_help = "Example:\n  updraft dags errors")]
    Errors {
        #[command(flatten)]
        count: Count,
    },
    /// Show everything about a DAG
    #[command(after_help = "Example:\n  updraft dags show daily_sales")]
    Show {
        /// The DAG
        dag: String,
    },
    /// Make no new runs and start no new tasks
    #[command(after_help = "Example:\n  updraft dags pause daily_sales weekly_sales")]
    Pause {
        /// The DAGs
        #[arg(required = true)]
        dags: Vec<String>,
    },
    /// Go on
    #[command(after_help = "Example:\n  updraft dags unpause daily_sales")]
    Unpause {
        /// The DAGs
        #[arg(required = true)]
        dags: Vec<String>,
    },
    /// Start a run
    #[command(after_help = TRIGGER_HELP)]
    Trigger(Trigger),
    /// Work again with a DAG that is quarantined, when what was wrong with it is mended
    #[command(after_help = "Example:\n  updraft dags release daily_sales")]
    Release {
        /// The DAG
        dag: String,
    },
    /// Forget a DAG whose runs have all ended, with its history; its file brings it back
    #[command(after_help = "Example:\n  updraft dags delete old_sales")]
    Delete {
        /// The DAG
        dag: String,
    },
}

pub(super) const TRIGGER_HELP: &str = "The exit code is 1 if `--wait` saw the run fail.\n\nExamples:\n  \
    updraft dags trigger daily_sales --date 2026-03-01 --param region=us\n  \
    updraft dags trigger daily_sales --conf '{\"limit\": 10}' --wait";

/// A run that is to be started.
#[derive(Debug, Args)]
pub(super) struct Trigger {
    /// The DAG
    dag: String,
    /// What the run stands for: a date or a time with an offset; nothing if absent
    #[arg(long, value_name = "DATE")]
    date: Option<String>,
    /// The run's name; made from the date if absent
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// What the run is passed, as a JSON object
    #[arg(long, value_name = "JSON")]
    conf: Option<String>,
    /// A parameter of the DAG; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    params: Vec<(String, String)>,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// The same key again starts no second run
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Wait until the run has ended
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(session: &mut Session<'_>, command: DagsCommand) -> Result<ExitCode, Error> {
    match command {
        DagsCommand::List { name, paused, active, stale, count } => {
            let paused = paused.then_some(true).or(active.then_some(false));
            let query = DagQuery { contains: name, paused, with_stale: stale };
            list(session, &query, count).await?;
        }
        DagsCommand::Errors { count } => return errors(session, count).await,
        DagsCommand::Show { dag } => show(session, &dag).await?,
        DagsCommand::Pause { dags } => pause(session, &dags, true).await?,
        DagsCommand::Unpause { dags } => pause(session, &dags, false).await?,
        DagsCommand::Trigger(args) => return trigger(session, args).await,
        DagsCommand::Release { dag } => {
            session.client.release_dag(&dag).await?;
            session.screen.line(&format!("{dag} is released"))?;
        }
        DagsCommand::Delete { dag } => {
            session.client.delete_dag(&dag).await?;
            session.screen.line(&format!("{dag} is deleted"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(session: &mut Session<'_>, query: &DagQuery, count: Count) -> Result<(), Error> {
    let client = &session.client;
    let (dags, total) = rows(count.count, async |slice| {
        client.dags(query, slice).await.map(|page| (page.dags, page.total_entries))
    })
    .await?;
    let heads = ["DAG", "STATE", "SCHEDULE", "NEXT RUN", "OWNER", "TAGS"];
    session.screen.list(&dags, total, heads, |dag, screen| {
        [
            Cell::from(&dag.dag_id),
            state(dag),
            or_dash(dag.timetable_summary.as_ref()),
            screen.time(dag.next_dagrun_run_after),
            or_dash(dag.owners.first()),
            dag.tags.iter().map(|tag| tag.name.as_str()).collect::<Vec<_>>().join(", ").into(),
        ]
    })?;
    let one = Slice { limit: Some(1), offset: None };
    match client.import_errors(one).await?.total_entries {
        0 => Ok(()),
        1 => session.screen.note("a file can't be used as it is now: see `updraft dags errors`"),
        n => session
            .screen
            .note(&format!("{n} files can't be used as they are now: see `updraft dags errors`")),
    }
}

async fn errors(session: &mut Session<'_>, count: Count) -> Result<ExitCode, Error> {
    let client = &session.client;
    let (files, total) = rows(count.count, async |slice| {
        client.import_errors(slice).await.map(|page| (page.import_errors, page.total_entries))
    })
    .await?;
    let screen = &mut session.screen;
    if screen.json {
        screen.document(&ImportErrorCollection { import_errors: files, total_entries: total })?;
    } else if files.is_empty() {
        screen.line("all files are in order")?;
    } else {
        for file in &files {
            let since = when::shown(file.timestamp, screen.now);
            screen.line(&format!("{}, since {since}\n{}", file.filename, file.stack_trace))?;
        }
        if (files.len() as u64) < total {
            screen.note(&format!("{} of {total} files are shown: `--count` shows more", files.len()))?;
        }
    }
    Ok(ExitCode::from(u8::from(total > 0)))
}

fn state(dag: &Dag) -> Cell {
    if dag.quarantined.is_some() {
        return toned("quarantined", Tone::Bad);
    }
    match (dag.is_stale, dag.is_paused) {
        (true, _) => toned("gone", Tone::Warn),
        (false, true) => toned("paused", Tone::Warn),
        (false, false) => toned("active", Tone::Good),
    }
}

async fn show(session: &mut Session<'_>, dag: &str) -> Result<(), Error> {
    let found = session.client.dag(dag).await?;
    if session.screen.json {
        return session.screen.document(&found);
    }
    let tasks = session.client.tasks(dag).await?;
    let screen = &mut session.screen;
    let params: Vec<String> = found
        .params
        .iter()
        .flatten()
        .map(|(name, param)| format!("{name} = {}", param.get("value").unwrap_or(&serde_json::Value::Null)))
        .collect();
    let latest = found.latest_dag_version.as_ref();
    let summary = &found.dag;
    let next = screen.time(summary.next_dagrun_run_after);
    screen.facts(&[
        ("DAG", toned(&summary.dag_id, Tone::Strong)),
        ("state", state(summary)),
        ("quarantined", summary.quarantined.as_deref().unwrap_or_default().into()),
        ("doc", found.doc_md.as_deref().unwrap_or_default().trim_end().into()),
        ("owner", summary.owners.join(", ").into()),
        ("tags", summary.tags.iter().map(|tag| tag.name.as_str()).collect::<Vec<_>>().join(", ").into()),
        ("schedule", summary.timetable_description.as_deref().unwrap_or_default().into()),
        ("next run", next),
        ("params", params.join("\n").into()),
        ("active runs", found.active_runs_count.into()),
        ("file", Cell::from(&summary.fileloc)),
        (
            "version",
            latest.map_or_else(Cell::default, |latest| {
                format!("{} ({})", latest.version_number, latest.version).into()
            }),
        ),
    ])?;
    screen.line("")?;
    let heads = ["TASK", "OPERATOR", "RULE", "RETRIES", "POOL", "DOWNSTREAM"];
    screen.list(&tasks.tasks, tasks.total_entries, heads, |task, _| {
        [
            or_dash(task.task_id.as_ref()),
            or_dash(task.operator_name.as_ref()),
            or_dash(task.trigger_rule.as_ref()),
            or_dash(task.retries),
            or_dash(task.pool.as_ref()),
            task.downstream_task_ids.as_deref().unwrap_or_default().join(", ").into(),
        ]
    })
}

async fn pause(session: &mut Session<'_>, dags: &[String], paused: bool) -> Result<(), Error> {
    for dag in dags {
        let changed = session.client.pause_dag(dag, paused).await?;
        if session.screen.json {
            session.screen.document(&changed)?;
        } else {
            session.screen.line(&format!("{dag} is {}", if paused { "paused" } else { "active" }))?;
        }
    }
    Ok(())
}

pub(super) async fn trigger(session: &mut Session<'_>, args: Trigger) -> Result<ExitCode, Error> {
    let Trigger { dag, date, run, conf, params, note, key, wait } = args;
    let body = TriggerBody {
        dag_run_id: run,
        logical_date: date.map(|date| when::read("--date", &date)).transpose()?,
        conf: Some(session.conf(&dag, conf.as_deref(), &params).await?),
        note,
        ..TriggerBody::default()
    };
    let made = session.client.trigger(&dag, &body, key.as_deref()).await?;
    if wait {
        return super::run_list::wait(session, &dag, &made.dag_run_id).await;
    }
    if session.screen.json {
        session.screen.document(&made)?;
    } else {
        session.screen.line(&format!("run {} of {dag} is {}", made.dag_run_id, made.state))?;
    }
    Ok(ExitCode::SUCCESS)
}
