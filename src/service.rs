//! The operators' commands: from arguments to settings, from settings to the process of a role.

use std::process::ExitCode;

use ::api::v1::config::Setting;
use telemetry::Recorder;

use crate::{
    args::{
        ApiArgs, ConfigArgs, ConfigCommand, DoctorArgs, DoctorFormat, MigrateArgs, RetentionArgs,
        RetentionCommand, SchedulerArgs, StandaloneArgs, WorkerArgs, WorkersArgs, WorkersCommand,
    },
    console::{Console, FAILED, USAGE, print},
    doctor, machine, retention,
    roles::{self, api, migrate, scheduler, standalone, worker},
    settings::{
        Settings, check,
        load::{Error, Loaded},
        page,
    },
    traces,
    workers::{self, Ask},
};

pub(crate) fn standalone(args: StandaloneArgs, console: Console) -> ExitCode {
    let (loaded, listen) = args.load();
    let config = in_force(&loaded);
    let role = |settings, recorder| standalone::run(settings, config, listen, recorder);
    serve(loaded, "updraft", role, console)
}

pub(crate) fn scheduler(args: SchedulerArgs, console: Console) -> ExitCode {
    serve(args.settings.load(Vec::new()), "updraft-scheduler", scheduler::run, console)
}

pub(crate) fn api(args: ApiArgs, console: Console) -> ExitCode {
    let loaded = args.settings.load(Vec::new());
    let config = in_force(&loaded);
    serve(loaded, "updraft-api", |settings, recorder| api::run(settings, config, recorder), console)
}

/// What is in force; nothing of settings that stop the start.
fn in_force(loaded: &Result<Loaded, Error>) -> Vec<Setting> {
    loaded.as_ref().map(check::in_force).unwrap_or_default()
}

pub(crate) fn worker(args: WorkerArgs, console: Console) -> ExitCode {
    serve(args.load(), "updraft-worker", worker::run, console)
}

pub(crate) fn workers(args: WorkersArgs, console: Console) -> ExitCode {
    let (ask, settings) = match args.command {
        WorkersCommand::Enrol { tenant, slots, queues, settings } => {
            (Ask::Enrol { tenant, slots, queues }, settings)
        }
        WorkersCommand::List { all, settings } => (Ask::List { all }, settings),
        WorkersCommand::Revoke { name, settings } => (Ask::Revoke { name }, settings),
    };
    let settings = match settings.load(Vec::new()) {
        Ok(loaded) => loaded.settings,
        Err(error) => return refuse(&error, console),
    };
    console.finish((|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(print(&runtime.block_on(workers::answer(settings, ask))?)?)
    })())
}

pub(crate) fn doctor(args: DoctorArgs, console: Console) -> ExitCode {
    let loaded = match args.settings.load(Vec::new()) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error, console),
    };
    let examined = (|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let findings = runtime.block_on(doctor::examine(&loaded));
        let text = match args.format {
            DoctorFormat::Text => doctor::text(&findings),
            DoctorFormat::Json => serde_json::to_string_pretty(&findings)? + "\n",
        };
        print(&text)?;
        Ok(findings.iter().any(|finding| finding.severity == doctor::Severity::Wrong))
    })();
    match examined {
        Ok(true) => ExitCode::from(FAILED),
        Ok(false) => ExitCode::SUCCESS,
        Err(error) => console.finish(Err(error)),
    }
}

pub(crate) fn retention(args: RetentionArgs, console: Console) -> ExitCode {
    let (ask, settings) = match args.command {
        RetentionCommand::List { settings } => (retention::Ask::List, settings),
        RetentionCommand::Set { tenant, days, default: _, settings } => {
            (retention::Ask::Set { tenant, days }, settings)
        }
    };
    let settings = match settings.load(Vec::new()) {
        Ok(loaded) => loaded.settings,
        Err(error) => return refuse(&error, console),
    };
    console.finish((|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(print(&runtime.block_on(retention::answer(settings, ask))?)?)
    })())
}

/// Runs a role, called `service` by those who look at traces, until it ends.
fn serve<F>(
    loaded: Result<Loaded, Error>,
    service: &'static str,
    role: impl FnOnce(Settings, Recorder) -> F,
    console: Console,
) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let settings = match loaded {
        Ok(loaded) => loaded.settings,
        Err(error) => return refuse(&error, console),
    };
    console.finish((|| {
        roles::write_log(&settings.log)?;
        let recorder = telemetry::install().map_err(anyhow::Error::msg)?;
        let tracing = settings.tracing.clone();
        tokio::runtime::Runtime::new()?.block_on(traces::follow(tracing, service, role(settings, recorder)))
    })())
}

pub(crate) fn migrate(args: MigrateArgs, console: Console) -> ExitCode {
    let settings = match args.settings.load(Vec::new()) {
        Ok(loaded) => loaded.settings,
        Err(error) => return refuse(&error, console),
    };
    console.finish((|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(print(&runtime.block_on(migrate::run(settings, args.command))?)?)
    })())
}

pub(crate) fn config(args: ConfigArgs, console: Console) -> ExitCode {
    let settings = match args.command {
        ConfigCommand::Reference => {
            return console.code(print(&page::markdown()).map(|()| ExitCode::SUCCESS));
        }
        ConfigCommand::Metrics => {
            return console.code(print(&telemetry::markdown()).map(|()| ExitCode::SUCCESS));
        }
        ConfigCommand::Check { settings } => settings,
    };
    let loaded = match settings.load(Vec::new()) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error, console),
    };
    let checked = loaded.settings.fleet().map(drop).and_then(|()| loaded.settings.clusters().map(drop));
    if let Err(error) = checked {
        console.complain(&format!("{error:#}"), None);
        return ExitCode::from(USAGE);
    }
    let (machine, sound) = machine::describe();
    let text = format!("{}\n{machine}", check::effective(&loaded));
    console.code(print(&text).map(|()| if sound { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }))
}

/// Wrong settings stop the start.
pub(crate) fn refuse(error: &Error, console: Console) -> ExitCode {
    console.complain(&error.to_string(), Some("`docs/configuration.md` lists all settings"));
    ExitCode::from(USAGE)
}
