//! The arguments of `updraft test`.

use std::path::PathBuf;

use clap::Args;

use super::{Format, pair};

#[derive(Debug, Args)]
#[command(
    after_help = "The folder of the file is copied for the run, and tasks see the copy. The DAG's schedule, other \
    DAGs and pools play no part; all tasks run on this machine.\n\nExamples:\n  \
    updraft test dags/etl.yaml --date 2026-01-05 --param region=eu\n  \
    updraft test dags/etl.yaml --task 'load*' --mock 'extract={\"rows\": 3}'\n  \
    updraft test dags/etl.yaml --conn warehouse=sqlite::temporary:\n  \
    updraft test dags/etl.yaml --record last.json && updraft test dags/etl.yaml --from report --replay last.json\n  \
    updraft test dags --junit junit.xml"
)]
pub(crate) struct TestArgs {
    /// A file of DAGs, of which one is run; or files of tests (`*.test.yaml`) and folders that hold some
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// The DAG, if the file defines several
    #[arg(long, value_name = "ID")]
    pub(crate) dag: Option<String>,
    /// The folder of DAGs that the file belongs to, if not its own: where `plugins/` lies
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// What the run stands for, such as 2026-01-05 (midnight UTC) or 2026-01-05T06:00:00+01:00; now if absent
    #[arg(long, value_name = "DATE")]
    pub(crate) date: Option<String>,
    /// A parameter of the run; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) params: Vec<(String, String)>,
    /// What the run is passed, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) conf: Option<String>,
    /// Run only tasks that fit (`*` and `?` as in a shell); the others count as successful. May be repeated
    #[arg(long = "task", value_name = "GLOB")]
    pub(crate) tasks: Vec<String>,
    /// Run only these tasks and what comes after them. With `--until`, what lies between. May be repeated
    #[arg(long, value_name = "GLOB", conflicts_with = "tasks")]
    pub(crate) from: Vec<String>,
    /// Run only these tasks and what comes before them. May be repeated
    #[arg(long, value_name = "GLOB", conflicts_with = "tasks")]
    pub(crate) until: Vec<String>,
    /// Keep how the tasks end and their results in a file, for `--replay`
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// End tasks as a file of `--record` says: those that `--task`, `--from` and `--until` leave out; without these all that it has
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,
    /// How tasks for an executor run here: `process`, on this machine, which is usual; `stub`, not at all. May be repeated
    #[arg(long = "executor", value_name = "NAME=HOW", value_parser = pair)]
    pub(crate) executors: Vec<(String, String)>,
    /// Ask tasks to take so much of their data only: `{{ sample }}` in templates, UPDRAFT_SAMPLE in the environment
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sample: Option<u64>,
    /// Hold the run to what `updraft policies` wrote: what would be refused there, or wait for ever, is said
    #[arg(long, value_name = "FILE", conflicts_with = "context", help_heading = "As in a service")]
    pub(crate) policies: Option<PathBuf>,
    /// Hold the run to the policies of the service that one has signed in to under that name
    #[arg(long, value_name = "NAME", help_heading = "As in a service")]
    pub(crate) context: Option<String>,
    /// The tenant there; the one of the context if absent
    #[arg(long, value_name = "NAME", requires = "context", help_heading = "As in a service")]
    pub(crate) tenant: Option<String>,
    /// The user there; oneself if absent
    #[arg(long = "as", value_name = "USER", help_heading = "As in a service")]
    pub(crate) as_user: Option<String>,
    /// The file of contexts
    #[arg(long, hide = true, value_name = "PATH", env = "UPDRAFT_CONTEXTS")]
    pub(crate) contexts: Option<PathBuf>,
    /// The folder that has `.config`
    #[arg(long, hide = true, value_name = "DIR", env = "HOME")]
    pub(crate) home: Option<PathBuf>,
    /// End tasks that fit without running them: success, failed, skipped, or a result as JSON. May be repeated
    #[arg(long = "mock", value_name = "TASK=END", value_parser = pair)]
    pub(crate) mocks: Vec<(String, String)>,
    /// A variable; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) variables: Vec<(String, String)>,
    /// A connection; may be repeated. `sqlite::temporary:` is a database that lives as long as the run
    #[arg(long = "conn", value_name = "NAME=URL", value_parser = pair)]
    pub(crate) connections: Vec<(String, String)>,
    /// Wait as long before retries as the DAG says, instead of at most one second
    #[arg(long)]
    pub(crate) real_delays: bool,
    /// End the run after this long, such as 10m; for tests, how long a task that is run for real may take (5m)
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<dags::time::Span>,
    /// Show the logs of all tasks, not only of those that failed
    #[arg(long)]
    pub(crate) logs: bool,
    /// `text` for people, `json` for programs: one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Run only tests whose name fits (`*` and `?` as in a shell)
    #[arg(long, value_name = "GLOB", help_heading = "For files of tests")]
    pub(crate) name: Option<String>,
    /// How many tests run at once; as many as the machine has processors if absent
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "For files of tests")]
    pub(crate) jobs: Option<u16>,
    /// Write a report as JUnit XML
    #[arg(long, value_name = "FILE", help_heading = "For files of tests")]
    pub(crate) junit: Option<PathBuf>,
    /// Keep what came of tests with `snapshot: true` instead of comparing it
    #[arg(long, help_heading = "For files of tests")]
    pub(crate) update_snapshots: bool,
}
