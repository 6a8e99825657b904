//! The authors' commands: from arguments to `local_runner`, and from what that found to text and exit code.

pub(crate) mod test;
mod times;

use std::{fs, path::Path, process::ExitCode};

use dags::{
    diagnostic::Severity,
    model::{Dag, TimetableKind, When},
    timetable::Bounds,
};
use local_runner::{
    Error, init,
    load::{Folder, Target},
    schedule::{self, Request},
    show, simulate, validate,
};

use crate::{
    args::{
        DevArgs, Format, InitArgs, ScheduleArgs, SchemaArgs, ShowArgs, ShowFormat, SimulateArgs, TemplateArg,
        TimetableArg, ValidateArgs,
    },
    console::{Console, FAILED, USAGE, print, say},
    roles::dev,
    service,
};

fn block_on<T>(task: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let machine = |error: std::io::Error| Error::Machine { doing: "start", why: error.to_string() };
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(machine)?.block_on(task)
}

/// A command for a running service.
pub(crate) fn remote(command: local_runner::remote::Command, console: Console) -> ExitCode {
    let mut out = std::io::stdout();
    let now = scheduler::clock::now();
    console.code(block_on(local_runner::remote::run(command, &mut out, console.colour, now)))
}

pub(crate) fn validate(args: ValidateArgs, console: Console) -> ExitCode {
    let installation = match args.settings.load(Vec::new()) {
        Ok(loaded) => loaded.settings.installation(),
        Err(error) => return service::refuse(&error, console),
    };
    let installation = match installation {
        Ok(installation) => installation,
        Err(error) => {
            console.complain(&format!("{error:#}"), None);
            return ExitCode::from(USAGE);
        }
    };
    let outcome = block_on(async {
        let findings = validate::validate(&args.paths, &installation).await?;
        match args.format {
            Format::Text => print(&findings.text(console.colour))?,
            Format::Json => print(&findings.json())?,
        }
        Ok(if findings.errors() == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    });
    console.code(outcome)
}

/// The one DAG of a file that is meant. What is wrong with the file goes to standard error.
async fn load(file: &Path, root: Option<&Path>, dag: Option<&str>, console: Console) -> Result<Dag, Error> {
    let shown = file.display().to_string();
    let target = Target::of(file, root)?;
    let name = target
        .file
        .ok_or_else(|| Error::usage(format!("{shown} is a folder"), "name the file of one DAG"))?;
    let mut folder = Folder::around(&target.root);
    let compiled = folder.compile_as(&name, &shown).await;
    let mut errors = 0;
    for diagnostic in &compiled.compiled.diagnostics {
        errors += usize::from(diagnostic.severity == Severity::Error);
        say(&validate::draw(diagnostic, &compiled.source, console.error_colour));
    }
    if errors > 0 {
        return Err(Error::Broken { file: shown, errors });
    }
    Folder::choose(&shown, compiled.compiled.dags, dag)
}

pub(crate) fn show(args: &ShowArgs, console: Console) -> ExitCode {
    let format = match args.format {
        ShowFormat::Text => show::Format::Text,
        ShowFormat::Dot => show::Format::Dot,
        ShowFormat::Mermaid => show::Format::Mermaid,
        ShowFormat::Json => show::Format::Json,
    };
    let outcome = block_on(async {
        let dag = load(&args.file, args.root.as_deref(), args.dag.as_deref(), console).await?;
        print(&show::show(&dag, format))?;
        Ok(ExitCode::SUCCESS)
    });
    console.code(outcome)
}

pub(crate) fn schema(args: &SchemaArgs, console: Console) -> ExitCode {
    let catalog = args.root.as_deref().map_or_else(plugins::catalog, |root| plugins::user::catalog(root).0);
    let schema = if args.tests { dags::schema::of_test() } else { dags::schema::of_dag(&catalog) };
    let mut text = serde_json::to_string_pretty(&schema).expect("invariant: a JSON value is JSON");
    text.push('\n');
    let written = match &args.output {
        Some(path) => fs::write(path, text).map_err(Error::path("write", path)),
        None => print(&text),
    };
    console.code(written.map(|()| ExitCode::SUCCESS))
}

pub(crate) fn schedule(args: &ScheduleArgs, console: Console) -> ExitCode {
    let outcome = block_on(async {
        let (schedule, bounds) = match &args.file {
            Some(file) => {
                let dag = load(file, None, args.dag.as_deref(), console).await?;
                (dag.schedule, Bounds { start_date: dag.start_date, end_date: dag.end_date })
            }
            None => adhoc(args)?,
        };
        let zone = schedule.timezone.clone();
        let time = |option: &str, text: &Option<String>| {
            text.as_deref().map(|text| times::parse(option, text, &zone)).transpose()
        };
        let request = Request {
            bounds,
            now: time("--now", &args.now)?.unwrap_or_else(scheduler::clock::now),
            last_end: time("--last-end", &args.last_end)?,
            after: time("--after", &args.after)?,
            count: args.count as usize,
            schedule,
        };
        let wrong = |error: schedule::Error| Error::Usage { message: error.to_string(), help: None };
        let runs = schedule::preview(&request).map_err(wrong)?;
        match args.format {
            Format::Text => print(&schedule::render_text(&request, &runs).map_err(wrong)?)?,
            Format::Json => print(&schedule::render_json(&runs))?,
        }
        Ok(ExitCode::SUCCESS)
    });
    console.code(outcome)
}

fn adhoc(args: &ScheduleArgs) -> Result<(dags::model::Schedule, Bounds), Error> {
    let when = args.interval.map_or_else(|| When::Crons(args.cron.clone()), When::Every);
    let zone = args.timezone.as_deref().unwrap_or("UTC");
    let timetable = match args.timetable {
        None | Some(TimetableArg::Trigger) => TimetableKind::Trigger,
        Some(TimetableArg::Interval) => TimetableKind::Interval,
    };
    let start_date =
        args.start_date.as_deref().map(|text| times::parse("--start-date", text, zone)).transpose()?;
    Ok((schedule::adhoc(when, zone, timetable, args.catchup), Bounds { start_date, end_date: None }))
}

pub(crate) fn init(args: &InitArgs, console: Console) -> ExitCode {
    let template = match args.template {
        TemplateArg::Etl => init::Template::Etl,
        TemplateArg::MlTraining => init::Template::MlTraining,
        TemplateArg::FanOut => init::Template::FanOut,
    };
    let made = init::init(&args.folder, template);
    console.code(made.and_then(|made| print(&made.text(console.colour)).map(|()| ExitCode::SUCCESS)))
}

pub(crate) fn dev(args: DevArgs, console: Console) -> ExitCode {
    let conf = match args.conf.as_deref().map(serde_json::from_str) {
        None => Ok(serde_json::Map::new()),
        Some(Ok(conf)) => Ok(conf),
        Some(Err(error)) => Err(Error::usage(
            format!("`--conf` isn't a JSON object: {error}"),
            "write it as in `--conf '{\"limit\": 10}'`",
        )),
    };
    let date = args.date.map(|date| times::parse("--date", &date, "UTC")).transpose();
    let (conf, date) = match conf.and_then(|conf| Ok((conf, date?))) {
        Ok(read) => read,
        Err(error) => return console.code(Err(error)),
    };
    let options = dev::Options {
        folder: args.folder,
        run: args.run,
        conf,
        date,
        variables: args.variables,
        connections: args.connections,
        listen: args.listen,
        no_reuse: args.no_reuse,
        colour: console.colour,
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    console.finish((|| {
        // The supervisor ends with the thread that started it, so there must be one only.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(Box::pin(dev::run(options)))
    })())
}

pub(crate) fn simulate(args: SimulateArgs, console: Console) -> ExitCode {
    let outcome = block_on(async {
        let takes = match args.durations {
            simulate::Told::Here(durations) => simulate::Takes::Here(durations),
            simulate::Told::History => {
                let since =
                    scheduler::clock::now().before(dags::time::Span::seconds(86_400 * i64::from(args.days)));
                simulate::Takes::History(simulate::History { client: args.service.client()?, since })
            }
        };
        let request = simulate::Request {
            from: times::parse("--from", &args.from, "UTC")?,
            to: times::parse("--to", &args.to, "UTC")?,
            folder: args.folder,
            changes: simulate::Changes {
                quotas: args.quotas,
                executors: args.executors,
                pools: args.pools,
                crons: args.crons,
                max_active_runs: args.max_active_runs,
            },
            seed: args.seed,
            instances: args.instances,
        };
        let mut problems = Vec::new();
        let report = simulate::run(&request, &takes, &mut problems).await;
        for (problem, source) in &problems {
            say(&validate::draw(problem, source, console.error_colour));
        }
        let report = report?;
        match args.format {
            Format::Text => print(&simulate::text(&report, console.colour))?,
            Format::Json => print(&simulate::json(&report))?,
        }
        if let Some(path) = args.html {
            fs::write(&path, simulate::html(&report)).map_err(Error::path("write", path))?;
        }
        // What was left out may have changed everything.
        Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    });
    console.code(outcome)
}
