//! The command line.

mod projects;
mod test;

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::{
    projects::{DevArgs, InitArgs, SimulateArgs, TemplateArg},
    test::TestArgs,
};
use crate::{
    listen::ListenArgs,
    settings::load::{self, Given, Loaded, Origin, Raw, Sources},
};

/// A workflow scheduler that many teams share.
#[derive(Debug, Parser)]
#[command(name = "updraft", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Example:\n  updraft test dags/examples/hello.yaml")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run scheduler, executor and database in one process, watching a folder of DAGs
    Standalone(StandaloneArgs),
    /// Decide what runs: own the shard, or stand by for it
    Scheduler(SchedulerArgs),
    /// Answer requests over HTTP, on a Unix socket
    Api(ApiArgs),
    /// Run attempts on this machine for a service on others
    Worker(Box<WorkerArgs>),
    /// Say which machines may be workers, and list them
    Workers(WorkersArgs),
    /// Look at everything that a service stands on and say what isn't as it should be
    Doctor(DoctorArgs),
    /// Say how long tenants keep their finished runs
    Retention(RetentionArgs),
    /// Bring the database's schema up to date, take steps back, or list them
    Migrate(MigrateArgs),
    /// Check DAG files and show everything that is wrong with them
    Validate(ValidateArgs),
    /// Show a DAG as a graph
    Show(ShowArgs),
    /// Write the JSON Schema of the YAML language, for editors
    Schema(SchemaArgs),
    /// Run a DAG once, in this process, and show how it went; or run files of tests
    Test(Box<TestArgs>),
    /// List the next runs of a schedule
    Schedule(ScheduleArgs),
    /// Watch a folder of DAGs, and run what changes as it is saved
    Dev(Box<DevArgs>),
    /// Make a folder with everything to begin with: a DAG, its tests, an editor's schema, CI
    Init(InitArgs),
    /// Show what a folder of DAGs would do over a span of time, without running anything
    Simulate(Box<SimulateArgs>),
    #[command(flatten)]
    Remote(Box<local_runner::remote::Command>),
    /// Look at the settings and at what this machine offers
    Config(ConfigArgs),
    /// Write the completions of a shell
    #[command(
        after_help = "Example:\n  updraft completions bash > ~/.local/share/bash-completion/completions/updraft"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Where settings come from, for every command that reads them.
#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// The file of settings
    #[arg(long, global = true, value_name = "FILE", env = "UPDRAFT_CONFIG")]
    config: Option<PathBuf>,
    /// A setting, before what the environment and the file say; may be repeated. `docs/configuration.md` lists all
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

impl SettingsArgs {
    /// The settings, from all sources.
    pub(crate) fn load(self, own: Vec<Given>) -> Result<Loaded, load::Error> {
        let set = self.set.into_iter().map(|(key, value)| given("--set", &key, value));
        let flags = set.chain(own).collect();
        load::load(Sources { file: self.config, environment: environment(), flags })
    }
}

fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(load::PREFIX))?;
            // A value that isn't text is no value of any key, and is refused as such.
            Some((name, value.to_string_lossy().into_owned()))
        })
        .collect()
}

fn given(flag: &'static str, key: &str, value: impl Into<String>) -> Given {
    Given { key: key.to_owned(), value: Raw::Text(value.into()), origin: Origin::Flag(flag) }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft standalone --dags dags --data ~/.local/share/updraft\n\n\
    Ctrl-C lets running tasks end; a second one leaves at once, and they are found again at the next start.")]
pub(crate) struct StandaloneArgs {
    /// The folder of DAGs; a changed file is live in under a second (`dags.folder`)
    #[arg(long, value_name = "DIR")]
    dags: Option<PathBuf>,
    /// The folder of everything else: database, logs, results, keys (`node.data`)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The database, `postgres://user@host/database` or `sqlite:PATH`; a SQLite file in the data folder if absent
    /// (`database.url`)
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// How many tasks may run at once (`executors.local.slots`)
    #[arg(long, value_name = "N")]
    slots: Option<String>,
    /// How log lines are written: `auto`, `text` or `json` (`log.format`)
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl StandaloneArgs {
    /// The settings, with what this command's own flags say, and the port.
    pub(crate) fn load(self) -> (Result<Loaded, load::Error>, ListenArgs) {
        let Self { dags, data, database, slots, log_format, listen, settings } = self;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let own = [
            ("--dags", "dags.folder", dags.map(text)),
            ("--data", "node.data", data.map(text)),
            ("--database", "database.url", database),
            ("--slots", "executors.local.slots", slots),
            ("--log-format", "log.format", log_format),
        ];
        let own = own.into_iter().filter_map(|(flag, key, value)| Some(given(flag, key, value?)));
        (settings.load(own.collect()), listen)
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "The first start needs an enrolment token, which `updraft workers enrol` makes; later ones use the credential \
    that it was turned into. The first signal drains, the second one ends attempts and leaves.\n\nExample:\n  \
    updraft worker --api http://127.0.0.1:8480 --data /var/lib/updraft-worker --enrolment-token-file token \
    --config /etc/updraft/worker.toml"
)]
pub(crate) struct WorkerArgs {
    /// Where the service answers workers (`worker.api`)
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// The worker's folder: its credential, its bundles, what its attempts write (`node.data`)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A file with an enrolment token, for the first start (`worker.enrolment_token_file`)
    #[arg(long, value_name = "FILE")]
    enrolment_token_file: Option<PathBuf>,
    /// What the machine is called; its host name if absent (`worker.name`)
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many attempts may run at once (`worker.slots`)
    #[arg(long, value_name = "N")]
    slots: Option<String>,
    /// The queues that it serves, separated by commas; `default` if absent (`worker.queues`)
    #[arg(long, value_name = "NAMES")]
    queues: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl WorkerArgs {
    /// The settings, with what this command's own flags say.
    pub(crate) fn load(self) -> Result<Loaded, load::Error> {
        let Self { api, data, enrolment_token_file, name, slots, queues, settings } = self;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let own = [
            ("--api", "worker.api", api),
            ("--data", "node.data", data.map(text)),
            ("--enrolment-token-file", "worker.enrolment_token_file", enrolment_token_file.map(text)),
            ("--name", "worker.name", name),
            ("--slots", "worker.slots", slots),
            ("--queues", "worker.queues", queues),
        ];
        let own = own.into_iter().filter_map(|(flag, key, value)| Some(given(flag, key, value?)));
        settings.load(own.collect())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft workers enrol --config /etc/updraft/updraft.toml > token")]
pub(crate) struct WorkersArgs {
    #[command(subcommand)]
    pub(crate) command: WorkersCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// Make a token with which one machine becomes a worker, within an hour
    #[command(
        after_help = "Example:\n  updraft workers enrol --tenant data --slots 8 --queue default > token"
    )]
    Enrol {
        /// The tenant whose attempts its workers run; may be left out as long as there is one only
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// The most attempts at once that its workers may take
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        slots: Option<u32>,
        /// A queue that its workers may serve; may be repeated. All if absent
        #[arg(long = "queue", value_name = "NAME")]
        queues: Vec<String>,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// List the workers that are there
    #[command(after_help = "Example:\n  updraft workers list --all")]
    List {
        /// Those that have ended as well
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Take back the credentials of a machine: it can't register or run anything more
    #[command(after_help = "Example:\n  updraft workers revoke node7")]
    Revoke {
        /// What the machine called itself
        name: String,
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

#[derive(Debug, Args)]
#[command(
    after_help = "Several may run: one owns the shard, the others stand by and take over when it is gone.\n\n\
    Example:\n  updraft scheduler --config /etc/updraft/updraft.toml"
)]
pub(crate) struct SchedulerArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  updraft api --config /etc/updraft/updraft.toml --set api.socket=/run/updraft/api.sock"
)]
pub(crate) struct ApiArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft migrate up --config /etc/updraft/updraft.toml")]
pub(crate) struct MigrateArgs {
    #[command(subcommand)]
    pub(crate) command: MigrateCommand,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Apply every step that is missing; makes the master key if the database is new
    #[command(after_help = "Example:\n  updraft migrate up --config /etc/updraft/updraft.toml")]
    Up,
    /// Take back the newest steps, with everything that is stored in what they made
    #[command(
        after_help = "Example:\n  updraft migrate down --steps 1 --yes --config /etc/updraft/updraft.toml"
    )]
    Down {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 1)]
        steps: u32,
        /// Yes, destroy what is stored in them
        #[arg(long)]
        yes: bool,
    },
    /// Give up every secret that a lost master key has sealed, so that it can be set anew
    #[command(
        after_help = "Example:\n  updraft migrate forget-secrets --yes --config /etc/updraft/updraft.toml"
    )]
    ForgetSecrets {
        /// Yes, the key is lost for good
        #[arg(long)]
        yes: bool,
    },
    /// List the steps and whether the database has them; changes nothing
    #[command(after_help = "Example:\n  updraft migrate status --config /etc/updraft/updraft.toml")]
    Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Folders are searched recursively; `plugins/` directly below a folder holds operators, and what \
    .gitignore and .updraftignore name is left out.\n\nWhat a DAG asks of executors is compared with the settings: \
    without any there is one executor, `local`. For a DAG that is to run elsewhere name the settings of that service, or \
    a file with nothing but their `[executors]`.\n\nExamples:\n  updraft validate dags/ team/etl.yaml\n  \
    updraft validate dags/ --config production.toml"
)]
pub(crate) struct ValidateArgs {
    /// Files and folders of DAGs
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// `text` for people, `json` for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShowFormat {
    /// Lines in the terminal
    Text,
    /// Graphviz
    Dot,
    /// Mermaid
    Mermaid,
    /// The canonical form, which the DAG's version is the hash of
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft show dags/language/daily_sales.yaml --format mermaid")]
pub(crate) struct ShowArgs {
    /// The file
    pub(crate) file: PathBuf,
    /// The DAG, if the file defines several
    #[arg(long, value_name = "ID")]
    pub(crate) dag: Option<String>,
    /// The folder of DAGs that the file belongs to, if not its own: where `plugins/` lies
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// What is written
    #[arg(long, value_enum, default_value_t = ShowFormat::Text)]
    pub(crate) format: ShowFormat,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft schema -o dags/dag.schema.json\n\nThen start each file with\n  \
    # yaml-language-server: $schema=./dag.schema.json")]
pub(crate) struct SchemaArgs {
    /// The file to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A folder of DAGs whose plugins are part of the schema
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// The schema of files of tests (`*.test.yaml`) instead
    #[arg(long, conflicts_with = "root")]
    pub(crate) tests: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimetableArg {
    /// A run at each tick
    Trigger,
    /// A run at the end of each interval
    Interval,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  updraft schedule dags/etl.yaml\n  \
    updraft schedule --cron '30 2 * * *' --timezone Europe/Berlin --now 2026-03-28T00:00:00Z -n 3")]
#[command(group = clap::ArgGroup::new("what").required(true).args(["file", "cron", "interval"]))]
pub(crate) struct ScheduleArgs {
    /// The DAG file whose schedule it is
    pub(crate) file: Option<PathBuf>,
    /// A cron expression instead; may be repeated
    #[arg(long, value_name = "EXPR")]
    pub(crate) cron: Vec<String>,
    /// A fixed distance between runs instead, such as 30m
    #[arg(long, value_name = "DURATION")]
    pub(crate) interval: Option<dags::time::Span>,
    /// The DAG, if the file defines several
    #[arg(long, value_name = "ID", requires = "file")]
    pub(crate) dag: Option<String>,
    /// The IANA time zone of the expression; UTC if absent
    #[arg(long, value_name = "TZ", conflicts_with = "file")]
    pub(crate) timezone: Option<String>,
    /// Whether a run stands for its tick or for the interval that ends there; trigger if absent
    #[arg(long, value_enum, conflicts_with = "file")]
    pub(crate) timetable: Option<TimetableArg>,
    /// Nothing earlier gets a run: a date in the time zone, or a time
    #[arg(long, value_name = "T", conflicts_with = "file")]
    pub(crate) start_date: Option<String>,
    /// Make up for every missed run (`missed: all`)
    #[arg(long, conflicts_with = "file")]
    pub(crate) catchup: bool,
    /// The present instant; the clock's if absent
    #[arg(long, value_name = "T")]
    pub(crate) now: Option<String>,
    /// The end of what the last run covered; there was none if absent
    #[arg(long, value_name = "T")]
    pub(crate) last_end: Option<String>,
    /// List only runs that are due later
    #[arg(long, value_name = "T")]
    pub(crate) after: Option<String>,
    /// How many runs to list
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) count: u32,
    /// `text` for people, `json` for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(
    after_help = "It changes nothing and may run beside the service. The exit code is 1 if something is wrong.\n\nExample:\n  \
    updraft doctor --config /etc/updraft/updraft.toml"
)]
pub(crate) struct DoctorArgs {
    /// How to write what was found
    #[arg(long, value_enum, default_value_t = DoctorFormat::Text)]
    pub(crate) format: DoctorFormat,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoctorFormat {
    /// For people
    Text,
    /// For programs: a list of findings
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft retention set default --days 90")]
pub(crate) struct RetentionArgs {
    #[command(subcommand)]
    pub(crate) command: RetentionCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RetentionCommand {
    /// Say how long each tenant keeps its finished runs
    #[command(after_help = "Example:\n  updraft retention list")]
    List {
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Set how long a tenant keeps its finished runs, with their logs and results
    #[command(after_help = "Example:\n  updraft retention set default --days 90")]
    Set {
        /// The tenant's name
        tenant: String,
        /// Days; 0 for ever
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=36_500), required_unless_present = "default")]
        days: Option<u32>,
        /// As `retention.run_days` says
        #[arg(long, conflicts_with = "days")]
        default: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  updraft config check")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say which settings are in force and where each comes from, and which limits of tasks and confinement of scripts this
    /// machine and user have
    #[command(after_help = "Example:\n  updraft config check --config /etc/updraft/updraft.toml")]
    Check {
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Write the reference page of all settings, in Markdown
    #[command(after_help = "Example:\n  updraft config reference > docs/configuration.md")]
    Reference,
    /// Write the page of all metrics, in Markdown
    #[command(after_help = "Example:\n  updraft config metrics > docs/metrics.md")]
    Metrics,
}

pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write `name=value`".to_owned()),
    }
}

/// The pairs of a setting that is a list of them.
pub(crate) fn pairs(key: &str, texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |text: &String| pair(text).map_err(|wanted| anyhow::anyhow!("`{key}` has {text:?}: {wanted}"));
    texts.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn each(command: &clap::Command, check: &mut dyn FnMut(&clap::Command)) {
        check(command);
        let own = command.get_subcommands().filter(|inner| inner.get_name() != "help");
        own.for_each(|inner| each(inner, check));
    }

    #[test]
    fn every_command_has_an_example() {
        Cli::command().debug_assert();
        let mut command = Cli::command();
        command.build();
        each(&command, &mut |command| {
            if command.get_name() != "help" && !command.is_hide_set() && command.get_name() != "updraft" {
                let shown = command.clone().render_long_help().to_string();
                let is_help = command.get_about().is_some_and(|about| about.to_string().starts_with("Print"));
                assert!(shown.contains("Example") || is_help, "{}", command.get_name());
            }
        });
    }
}
