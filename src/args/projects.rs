//! The command lines of `updraft init`, `updraft dev` and `updraft simulate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Format, pair};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TemplateArg {
    /// Load, check and report: SQL on SQLite, a branch, retries
    Etl,
    /// Prepare, train in parallel over settings, compare, publish what is better
    MlTraining,
    /// One task for each item of a list that a task finds, and one that adds up
    FanOut,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft init sales --template etl\n  cd sales\n  updraft test dags")]
pub(crate) struct InitArgs {
    /// The folder, which is made if it isn't there
    #[arg(default_value = ".", value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// What to begin with
    #[arg(long, value_enum, default_value_t = TemplateArg::Etl)]
    pub(crate) template: TemplateArg,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Tasks take as long as `--durations` says; the engine, its timetables, pools, limits and quotas are those of the \
    service.\n\nExamples:\n  \
    updraft simulate dags --from 2026-03-01 --to 2026-04-01 --durations 2m,p95=10m --html report.html\n  \
    updraft simulate dags --from 2026-03-01 --to 2026-04-01 --durations history --context prod --days 14\n  \
    updraft simulate dags --from 2026-03-01 --to 2026-03-08 --pool warehouse=2 --cron 'report_*=0 4 * * *'"
)]
pub(crate) struct SimulateArgs {
    /// The folder of DAGs
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// When it begins: a date (midnight UTC) or a time with its offset
    #[arg(long, value_name = "T")]
    pub(crate) from: String,
    /// When it ends
    #[arg(long, value_name = "T")]
    pub(crate) to: String,
    /// How long tasks take: `45s`, `10s..2m` (each as likely), `2m,p95=10m` (median and 95th percentile), a file with a rule for
    /// each pattern of `dag.task`, or `history`: as long as they took on a service
    #[arg(long, value_name = "DIST|FILE|history", default_value = "60s")]
    pub(crate) durations: local_runner::simulate::Told,
    /// How many days `--durations history` looks back
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    #[command(flatten)]
    pub(crate) service: local_runner::remote::Where,
    /// A file of executors, pools, tenants and quotas (`docs/simulate.md`)
    #[arg(long, value_name = "FILE")]
    pub(crate) quotas: Option<PathBuf>,
    /// What if an executor had so many slots; may be repeated. 64 if nothing is said
    #[arg(long = "executor", value_name = "NAME=SLOTS", value_parser = numbered::<u32>)]
    pub(crate) executors: Vec<(String, u32)>,
    /// What if a pool had so many slots, -1 for no limit; may be repeated
    #[arg(long = "pool", value_name = "NAME=SLOTS", value_parser = numbered::<i32>)]
    pub(crate) pools: Vec<(String, i32)>,
    /// What if a DAG had that schedule; may be repeated
    #[arg(long = "cron", value_name = "DAG=EXPR", value_parser = pair)]
    pub(crate) crons: Vec<(String, String)>,
    /// What if a DAG might have so many active runs; may be repeated
    #[arg(long = "max-active-runs", value_name = "DAG=N", value_parser = numbered::<u32>)]
    pub(crate) max_active_runs: Vec<(String, u32)>,
    /// What chance begins with: the same seed gives the same report
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// `text` for people, `json` for programs: one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// List every task instance as well, in JSON: when it starts and ends, and for what it waited
    #[arg(long)]
    pub(crate) instances: bool,
    /// Write a page with charts, too
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Everything is in one process with a temporary database: nothing is left when it ends. A saved file is checked; a \
    DAG that has run in this session runs again, and what hasn't changed keeps its result. No schedule fires.\n\nExamples:\n  \
    updraft dev dags\n  updraft dev dags --run etl --conf '{\"limit\": 10}' --conn warehouse=sqlite:warehouse.db"
)]
pub(crate) struct DevArgs {
    /// The folder of DAGs
    #[arg(default_value = ".", value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// A DAG that runs at once, and after each change of its; may be repeated. Then no other is run by a change
    #[arg(long, value_name = "DAG")]
    pub(crate) run: Vec<String>,
    /// What runs are passed, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) conf: Option<String>,
    /// What runs stand for: a date or a time; when they begin if absent
    #[arg(long, value_name = "T")]
    pub(crate) date: Option<String>,
    /// A variable; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) variables: Vec<(String, String)>,
    /// A connection; may be repeated
    #[arg(long = "conn", value_name = "NAME=URL", value_parser = pair)]
    pub(crate) connections: Vec<(String, String)>,
    /// The console's address on this machine; 127.0.0.1:8080, or a free port if that is taken
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Run every task each time
    #[arg(long)]
    pub(crate) no_reuse: bool,
}

/// `name=number`.
fn numbered<N: std::str::FromStr>(text: &str) -> Result<(String, N), String> {
    let (name, number) = pair(text)?;
    let number = number.parse().map_err(|_| format!("`{number}` isn't a number that can be used here"))?;
    Ok((name, number))
}
