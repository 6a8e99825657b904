//! `updraft test`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use api::v1::policies::Policies;
use dags::time::Span;
use local_runner::{
    Error, dag_test,
    remote::policies,
    test_run::{self, Cut, Interrupt, Request},
    validate,
};
use scheduler::clock;
use serde_json::{Map, Value};
use tokio::signal::unix::{SignalKind, signal};

use super::{block_on, times};
use crate::{
    args::{Format, TestArgs},
    console::{Console, FAILED, print, say},
};

/// How long a task that a test runs for real may take.
const REAL_TASK_MAX: Span = Span::seconds(300);
/// 128 and SIGINT.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(mut args: Box<TestArgs>, console: Console) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).without_time().init();
    let format = args.format;
    if args.paths.iter().any(|path| dag_test::holds_tests(path)) {
        return console.code(
            tests(&args).and_then(|request| {
                block_on(Box::pin(run_tests(request, format, args.junit.take(), console)))
            }),
        );
    }
    let record = args.record.take();
    let policies = PoliciesOf {
        file: args.policies.take(),
        context: args.context.take(),
        tenant: args.tenant.take(),
        user: args.as_user.take(),
        contexts: args.contexts.take(),
        home: args.home.take(),
    };
    console.code(request(*args).and_then(|mut request| {
        block_on(Box::pin(async move {
            request.policies = policies.find().await?;
            test(request, record, format, console).await
        }))
    }))
}

/// Where the policies of a tenant are found.
struct PoliciesOf {
    file: Option<PathBuf>,
    context: Option<String>,
    tenant: Option<String>,
    user: Option<String>,
    contexts: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl PoliciesOf {
    async fn find(self) -> Result<Option<Policies>, Error> {
        let Self { file, context, tenant, user, contexts, home } = self;
        if let Some(context) = context {
            let asked = policies::ask(&context, tenant.as_deref(), user.as_deref(), contexts, home);
            return asked.await.map(Some);
        }
        let Some(file) = file else {
            return match user {
                Some(user) => Err(Error::usage(
                    format!("`--as {user}` says nothing without a service"),
                    "name the service with `--context`, or what `updraft policies` wrote with `--policies`",
                )),
                None => Ok(None),
            };
        };
        let found = policies::read(&file)?;
        match user.filter(|user| *user != found.user) {
            Some(user) => Err(Error::usage(
                format!("{} is about `{}`, and not about `{user}`", file.display(), found.user),
                format!("write the other with `updraft policies --user {user} -o FILE`"),
            )),
            None => Ok(Some(found)),
        }
    }
}

/// What is to be tested. Options that say how a DAG is run have no meaning here: tests say that themselves.
fn tests(args: &TestArgs) -> Result<dag_test::Request, Error> {
    let idle = [
        ("--dag", args.dag.is_some()),
        ("--root", args.root.is_some()),
        ("--date", args.date.is_some()),
        ("--param", !args.params.is_empty()),
        ("--conf", args.conf.is_some()),
        ("--task", !args.tasks.is_empty()),
        ("--from", !args.from.is_empty()),
        ("--until", !args.until.is_empty()),
        ("--record", args.record.is_some()),
        ("--replay", args.replay.is_some()),
        ("--executor", !args.executors.is_empty()),
        ("--sample", args.sample.is_some()),
        ("--policies", args.policies.is_some()),
        ("--context", args.context.is_some()),
        ("--as", args.as_user.is_some()),
        ("--mock", !args.mocks.is_empty()),
        ("--var", !args.variables.is_empty()),
        ("--conn", !args.connections.is_empty()),
        ("--real-delays", args.real_delays),
        ("--logs", args.logs),
    ];
    if let Some((option, _)) = idle.iter().find(|(_, given)| *given) {
        return Err(Error::usage(
            format!(
                "`{option}` is for the run of one DAG, and these are tests, which say such things themselves"
            ),
            "leave the option out, or name the file of a DAG",
        ));
    }
    if let Some(dag) = args.paths.iter().find(|path| !dag_test::holds_tests(path)) {
        return Err(Error::usage(
            format!("{} is no file of tests, and no folder", dag.display()),
            "name files that end in `.test.yaml` and folders, or the file of one DAG alone",
        ));
    }
    Ok(dag_test::Request {
        paths: args.paths.clone(),
        jobs: args.jobs.map_or_else(processors, usize::from),
        update_snapshots: args.update_snapshots,
        name: args.name.clone(),
        timeout: args.timeout.unwrap_or(REAL_TASK_MAX),
    })
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

async fn run_tests(
    request: dag_test::Request,
    format: Format,
    junit: Option<PathBuf>,
    console: Console,
) -> Result<ExitCode, Error> {
    let interrupt = Interrupt::default();
    listen(interrupt.clone())?;
    let colour = console.colour;
    let mut each = |test: &dag_test::Tested| {
        if format == Format::Text {
            // Whoever stops reading has seen enough; the exit code still says how it went.
            let _ = print(&dag_test::text_of(test, colour));
        }
    };
    let report = dag_test::run(&request, &interrupt, &mut each).await?;
    for (problem, source) in &report.problems {
        say(&validate::draw(problem, source, console.error_colour));
    }
    match format {
        Format::Text => print(&dag_test::text(&report, colour))?,
        Format::Json => print(&dag_test::json(&report))?,
    }
    if let Some(path) = junit {
        let xml =
            dag_test::junit(&report).map_err(|why| Error::Machine { doing: "make the JUnit report", why })?;
        std::fs::write(&path, xml).map_err(Error::path("write", path))?;
    }
    Ok(if interrupt.end.is_cancelled() {
        ExitCode::from(INTERRUPTED)
    } else if report.succeeded() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn request(args: TestArgs) -> Result<Request, Error> {
    let only_tests = [
        ("--name", args.name.is_some()),
        ("--jobs", args.jobs.is_some()),
        ("--junit", args.junit.is_some()),
        ("--update-snapshots", args.update_snapshots),
    ];
    if let Some((option, _)) = only_tests.iter().find(|(_, given)| *given) {
        return Err(Error::usage(
            format!("`{option}` is for files of tests"),
            "name files that end in `.test.yaml` or folders that hold some",
        ));
    }
    let [path] = <[PathBuf; 1]>::try_from(args.paths).map_err(|paths| {
        Error::usage(
            format!("{} files of DAGs can't be run at once", paths.len()),
            "name one, or files of tests",
        )
    })?;
    let conf = match args.conf.as_deref().map(serde_json::from_str::<Map<String, Value>>) {
        None => Map::new(),
        Some(Ok(conf)) => conf,
        Some(Err(error)) => {
            let message = format!("`--conf` isn't a JSON object: {error}");
            return Err(Error::usage(message, "write it as in `--conf '{\"limit\": 10}'`"));
        }
    };
    Ok(Request {
        path,
        root: args.root,
        dag: args.dag,
        date: args.date.map(|date| times::parse("--date", &date, "UTC")).transpose()?,
        params: args.params,
        conf,
        tasks: args.tasks,
        from: args.from,
        until: args.until,
        replay: args.replay,
        executors: args.executors,
        sample: args.sample,
        policies: None,
        mocks: args.mocks,
        variables: args.variables.into_iter().collect(),
        connections: args.connections.into_iter().collect(),
        real_delays: args.real_delays,
        timeout: args.timeout,
        all_logs: args.logs,
    })
}

async fn test(
    request: Request,
    record: Option<PathBuf>,
    format: Format,
    console: Console,
) -> Result<ExitCode, Error> {
    let interrupt = Interrupt::default();
    listen(interrupt.clone())?;
    let mut progress: Box<dyn Write> = match format {
        Format::Text => Box::new(io::stdout()),
        Format::Json => Box::new(io::sink()),
    };
    let mut problems = Vec::new();
    let outcome = test_run::run(&request, &interrupt, &mut *progress, console.colour, &mut problems).await;
    for (problem, source) in &problems {
        say(&validate::draw(problem, source, console.error_colour));
    }
    let outcome = outcome?;
    if let Some(path) = &record {
        test_run::Recording::of(&outcome).write(path)?;
    }
    let unwritten = Error::path("write to", "the standard output");
    match format {
        Format::Text => test_run::text(&outcome, console.colour, &mut io::stdout()).map_err(unwritten)?,
        Format::Json => {
            test_run::show_logs(&outcome, console.error_colour, &mut io::stderr()).map_err(unwritten)?;
            print(&test_run::json(&outcome))?;
        }
    }
    Ok(match outcome.cut {
        Some(Cut::Interrupted) => ExitCode::from(INTERRUPTED),
        None if outcome.succeeded() => ExitCode::SUCCESS,
        Some(Cut::Timeout) | None => ExitCode::from(FAILED),
    })
}

/// The first signal ends the run in order, the second at once.
fn listen(interrupt: Interrupt) -> Result<(), Error> {
    let machine = |error: io::Error| Error::Machine { doing: "listen for signals", why: error.to_string() };
    let mut asked = signal(SignalKind::interrupt()).map_err(machine)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(machine)?;
    clock::background(async move {
        for token in [interrupt.end, interrupt.now] {
            tokio::select! {
                _ = asked.recv() => {}
                _ = terminated.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(())
}
