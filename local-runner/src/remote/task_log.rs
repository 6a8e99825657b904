//! `updraft tasks logs`: the log of a try, to its end or as it grows.

use api::v2::task_instances::{Log, LogEvent};
use clap::Args;
use dags::time::Span;
use scheduler::clock;

use super::{Error, Session, values::TaskArg};
use crate::terminal::{Tone, paint};
use api::Stream;

/// The pause after a look that found something; doubled up to [`LOOK_MAX`].
const LOOK_MIN: Span = Span::millis(100);
/// The longest pause between two looks at a log that is followed.
const LOOK_MAX: Span = Span::seconds(1);

/// Whose log.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// The DAG
    dag: String,
    /// The run
    run: String,
    /// The task
    task: TaskArg,
    /// The try, from 1; the newest if absent
    #[arg(long = "try", value_name = "N")]
    try_number: Option<u32>,
    /// Go on until the task has ended
    #[arg(short, long)]
    follow: bool,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
}

pub(super) async fn run(session: &mut Session<'_>, args: LogArgs) -> Result<(), Error> {
    let LogArgs { dag, run, task, try_number, follow, timestamps } = args;
    let run = session.run_name(&dag, &run).await?;
    let index = task.map_index.unwrap_or(-1);
    let number = match try_number {
        Some(number) => number,
        None => newest(session, (&dag, &run), (&task.task, index), follow).await?,
    };
    let mut token: Option<String> = None;
    let mut pause = LOOK_MIN;
    loop {
        let piece = session.client.log(&dag, &run, (&task.task, index), number, token.as_deref()).await?;
        let Log { content, continuation_token } = piece;
        for event in &content {
            show(session, event, timestamps)?;
        }
        let moved = continuation_token != token;
        match continuation_token {
            None => return Ok(()),
            // What is there was shown.
            Some(_) if !follow && !moved => return Ok(()),
            next => token = next,
        }
        if follow && content.is_empty() && !moved {
            clock::sleep(pause).await;
            pause = Span((pause.0 * 2).min(LOOK_MAX.0));
        } else {
            pause = LOOK_MIN;
        }
    }
}

/// The current try; one that is followed is waited for.
async fn newest(
    session: &Session<'_>,
    (dag, run): (&str, &str),
    (task, index): (&str, i32),
    follow: bool,
) -> Result<u32, Error> {
    let mut pause = LOOK_MIN;
    loop {
        let found = session.client.task_instance(dag, run, task, index).await?;
        let over = found.state.is_some_and(engine::state::TaskState::is_finished);
        if found.try_number > 0 {
            return Ok(found.try_number);
        }
        if over || !follow {
            let state = found.state.map_or("none", engine::state::TaskState::as_str);
            let help = if over { "it ended without a try" } else { "wait for it with `-f`" };
            return Err(Error::usage(format!("`{task}` has no log: it is `{state}` and never ran"), help));
        }
        clock::sleep(pause).await;
        pause = Span((pause.0 * 2).min(LOOK_MAX.0));
    }
}

fn show(session: &mut Session<'_>, event: &LogEvent, timestamps: bool) -> Result<(), Error> {
    let screen = &mut session.screen;
    if screen.json {
        let line = serde_json::to_string(event).expect("invariant: a log line has text keys");
        return screen.line(&line);
    }
    let time = event.timestamp.filter(|_| timestamps);
    let time =
        time.map_or_else(String::new, |at| format!("{} ", paint(&at.to_string(), Tone::Dim, screen.colour)));
    let text = match event.stream {
        Stream::Stdout => event.event.clone(),
        Stream::Stderr => paint(&event.event, Tone::Warn, screen.colour),
        Stream::Supervisor => paint(&event.event, Tone::Dim, screen.colour),
    };
    let end = if event.continues { "" } else { "\n" };
    screen.text(&format!("{time}{text}{end}"))
}
