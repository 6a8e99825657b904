//! `updraft test`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use local_runner::{
    Error,
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

/// 128 and SIGINT.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(args: Box<TestArgs>, console: Console) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).without_time().init();
    let format = args.format;
    console.code(request(*args).and_then(|request| block_on(test(request, format, console))))
}

fn request(args: TestArgs) -> Result<Request, Error> {
    let conf = match args.conf.as_deref().map(serde_json::from_str::<Map<String, Value>>) {
        None => Map::new(),
        Some(Ok(conf)) => conf,
        Some(Err(error)) => {
            let message = format!("`--conf` isn't a JSON object: {error}");
            return Err(Error::usage(message, "write it as in `--conf '{\"limit\": 10}'`"));
        }
    };
    Ok(Request {
        path: args.file,
        root: args.root,
        dag: args.dag,
        date: args.date.map(|date| times::parse("--date", &date, "UTC")).transpose()?,
        params: args.params,
        conf,
        tasks: args.tasks,
        mocks: args.mocks,
        variables: args.variables.into_iter().collect(),
        connections: args.connections.into_iter().collect(),
        real_delays: args.real_delays,
        timeout: args.timeout,
        all_logs: args.logs,
    })
}

async fn test(request: Request, format: Format, console: Console) -> Result<ExitCode, Error> {
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
