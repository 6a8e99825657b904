//! `updraft tasks logs`: the log of a try, to its end or as it grows.

use api::{
    Stream,
    client::ClientError,
    v2::task_instances::{Log, LogEvent, TaskInstance},
};
use clap::Args;
use dags::time::Span;
use engine::state::TaskState;
use scheduler::clock;

use super::{Error, Session, task_list::why, values::TaskArg};
use crate::terminal::{Tone, paint};

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
    let mut silent = true;
    loop {
        let piece = session.client.log(&dag, &run, (&task.task, index), number, token.as_deref()).await;
        let Log { content, continuation_token } = match piece {
            Ok(piece) => piece,
            // What the engine does itself, or what never started, has no log.
            Err(error @ ClientError::Refused { status: 404, .. }) if silent => {
                let tries = session.client.tries(&dag, &run, &task.task, index).await?.task_instances;
                let Some(tried) = tries.iter().find(|tried| tried.try_number == number) else {
                    return Err(error.into());
                };
                return say_silent(session, tried);
            }
            Err(error) => return Err(error.into()),
        };
        for event in &content {
            silent = false;
            show(session, event, timestamps)?;
        }
        let moved = continuation_token != token;
        let over = continuation_token.is_none();
        // Without `--follow` what is there is enough.
        if over || (!follow && !moved) {
            if silent {
                let tries = session.client.tries(&dag, &run, &task.task, index).await?.task_instances;
                if let Some(tried) = tries.iter().find(|tried| tried.try_number == number) {
                    return say_silent(session, tried);
                }
            }
            return Ok(());
        }
        token = continuation_token;
        if follow && content.is_empty() && !moved {
            clock::sleep(pause).await;
            pause = Span((pause.0 * 2).min(LOOK_MAX.0));
        } else {
            pause = LOOK_MIN;
        }
    }
}

/// What there is to say of a try that wrote nothing.
fn say_silent(session: &mut Session<'_>, tried: &TaskInstance) -> Result<(), Error> {
    let screen = &mut session.screen;
    // Programs read lines of the log, and there are none.
    if screen.json {
        return Ok(());
    }
    let TaskInstance { task_id, try_number, state, operator, .. } = tried;
    let state = state.map_or("none", TaskState::as_str);
    let why = why(tried).map_or_else(String::new, |why| format!(": {why}"));
    let wrote = if tried.state.is_some_and(TaskState::is_finished) {
        "wrote nothing"
    } else {
        "has written nothing yet"
    };
    screen.line(&format!("try {try_number} of `{task_id}` {wrote}; it is `{state}`{why}"))?;
    match operator {
        Some(operator) if tried.executor.is_none() && tried.start_date.is_some() => {
            screen.line(&format!("`{operator}` is carried out by the engine, which writes no log"))
        }
        _ => Ok(()),
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
        let over = found.state.is_some_and(TaskState::is_finished);
        if found.try_number > 0 {
            return Ok(found.try_number);
        }
        if over || !follow {
            let state = found.state.map_or("none", TaskState::as_str);
            let why = why(&found).map_or_else(String::new, |why| format!(" ({why})"));
            let help = match over {
                true => "it ended without a try".to_owned(),
                false => format!("wait for it with `-f`, or ask `updraft tasks why {dag} {run} {task}`"),
            };
            return Err(Error::usage(
                format!("`{task}` has no log: it is `{state}`{why} and never ran"),
                help,
            ));
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
