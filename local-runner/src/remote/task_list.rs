//! `updraft tasks`.

use std::process::ExitCode;

use api::{
    client::Slice,
    v2::task_instances::{ClearBody, TaskInstance, TaskInstancePatch, TaskRef, waiting::WaitingAnswer},
};
use clap::{Args, Subcommand, ValueEnum};
use dags::ids::TaskId;
use engine::state::TaskState;

use super::{
    Count, Error, Service, Session,
    questions::{self, AnswerArgs, QuestionsArgs},
    rows,
    screen::{Cell, toned},
    task_log::{self, LogArgs},
    values::TaskArg,
};
use crate::terminal::Tone;

/// The arguments of `updraft tasks`.
#[derive(Debug, Args)]
#[command(
    after_help = "A run is named by its name or by `latest`; one instance of a mapped task by `task[3]`.\n\n\
    Example:\n  updraft tasks list daily_sales latest\n  updraft tasks logs daily_sales latest load -f"
)]
pub struct Tasks {
    #[command(flatten)]
    pub(super) service: Service,
    #[command(subcommand)]
    pub(super) command: TasksCommand,
}

/// What a task instance can be marked as.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum TaskMark {
    /// It has succeeded
    Success,
    /// It has failed
    Failed,
    /// It was left out
    Skipped,
}

/// Which others come along.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Along {
    /// Also everything upstream
    #[arg(long)]
    upstream: bool,
    /// Also everything downstream
    #[arg(long)]
    downstream: bool,
    /// Also in runs of earlier dates
    #[arg(long)]
    past: bool,
    /// Also in runs of later dates
    #[arg(long)]
    future: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum TasksCommand {
    /// List the task instances of a run
    #[command(after_help = "Example:\n  updraft tasks list daily_sales latest --state failed")]
    List {
        /// The DAG
        dag: String,
        /// The run
        #[arg(default_value = "latest")]
        run: String,
        /// Only in this state; may be repeated
        #[arg(long = "state", value_name = "STATE")]
        states: Vec<String>,
        #[command(flatten)]
        count: Count,
    },
    /// Show the tries of a task instance
    #[command(after_help = "Example:\n  updraft tasks tries daily_sales latest load")]
    Tries {
        /// The DAG
        dag: String,
        /// The run
        run: String,
        /// The task
        task: TaskArg,
    },
    /// Say why a task instance isn't running, and what would free it
    #[command(after_help = "Example:\n  updraft tasks why daily_sales latest load")]
    Why {
        /// The DAG
        dag: String,
        /// The run
        run: String,
        /// The task
        task: TaskArg,
    },
    /// Show what a task instance returned, as JSON
    #[command(after_help = "Example:\n  updraft tasks result daily_sales latest 'per_store[0]'")]
    Result {
        /// The DAG
        dag: String,
        /// The run
        run: String,
        /// The task
        task: TaskArg,
    },
    /// Show the log of a task instance
    #[command(
        after_help = "Example:\n  updraft tasks logs daily_sales latest load -f\n  updraft tasks logs daily_sales latest 'per_store[2]' --try 1"
    )]
    Logs(LogArgs),
    /// Run task instances again
    #[command(
        after_help = "Example:\n  updraft tasks clear daily_sales latest load --downstream\n  updraft tasks clear daily_sales latest --failed --dry-run"
    )]
    Clear {
        /// The DAG
        dag: String,
        /// The run
        run: String,
        /// The tasks; all if absent
        tasks: Vec<TaskArg>,
        #[command(flatten)]
        along: Along,
        /// Only what failed
        #[arg(long)]
        failed: bool,
        /// Only what is running
        #[arg(long)]
        running: bool,
        /// Move the run to the DAG's newest version
        #[arg(long)]
        newest_version: bool,
        /// Only say what would run again
        #[arg(long)]
        dry_run: bool,
    },
    /// List what tasks ask people
    #[command(after_help = "Example:\n  updraft tasks questions daily_sales")]
    Questions(QuestionsArgs),
    /// Answer what a task asks
    #[command(after_help = "Example:\n  updraft tasks answer daily_sales latest go_on --option Approve")]
    Answer(AnswerArgs),
    /// Set the state of task instances by hand
    #[command(after_help = "Example:\n  updraft tasks mark daily_sales latest load success --downstream")]
    Mark {
        /// The DAG
        dag: String,
        /// The run
        run: String,
        /// The task
        task: TaskArg,
        /// The state
        #[arg(value_enum)]
        state: TaskMark,
        #[command(flatten)]
        along: Along,
    },
}

pub(super) async fn run(session: &mut Session<'_>, command: TasksCommand) -> Result<ExitCode, Error> {
    match command {
        TasksCommand::List { dag, run, states, count } => {
            let run = session.run_name(&dag, &run).await?;
            list(session, &dag, &run, &states, count).await?;
        }
        TasksCommand::Tries { dag, run, task } => {
            let run = session.run_name(&dag, &run).await?;
            let index = task.map_index.unwrap_or(-1);
            let found = session.client.tries(&dag, &run, &task.task, index).await?;
            instances(session, &found.task_instances, found.total_entries)?;
        }
        TasksCommand::Why { dag, run, task } => {
            let run = session.run_name(&dag, &run).await?;
            let index = task.map_index.unwrap_or(-1);
            let found = session.client.waiting(&dag, &run, &task.task, index).await?;
            waits(session, &found)?;
        }
        TasksCommand::Result { dag, run, task } => {
            let run = session.run_name(&dag, &run).await?;
            let index = task.map_index.unwrap_or(-1);
            let found = session.client.result(&dag, &run, &task.task, index).await?;
            session.screen.document(&found.value)?;
        }
        TasksCommand::Logs(args) => task_log::run(session, args).await?,
        TasksCommand::Clear { dag, run, tasks, along, failed, running, newest_version, dry_run } => {
            let run = session.run_name(&dag, &run).await?;
            let tasks = tasks.into_iter().map(reference).collect::<Result<Vec<_>, _>>()?;
            let body = ClearBody {
                dry_run,
                only_failed: failed,
                only_running: running,
                task_ids: Some(tasks).filter(|tasks| !tasks.is_empty()),
                dag_run_id: Some(run),
                include_upstream: along.upstream,
                include_downstream: along.downstream,
                include_past: along.past,
                include_future: along.future,
                run_on_latest_version: newest_version.then_some(true),
                ..ClearBody::default()
            };
            let found = session.client.clear_tasks(&dag, &body).await?;
            instances(session, &found.task_instances, found.total_entries)?;
        }
        TasksCommand::Questions(args) => questions::list(session, args).await?,
        TasksCommand::Answer(args) => questions::answer(session, args).await?,
        TasksCommand::Mark { dag, run, task, state, along } => {
            let run = session.run_name(&dag, &run).await?;
            let patch = TaskInstancePatch {
                new_state: Some(match state {
                    TaskMark::Success => TaskState::Success,
                    TaskMark::Failed => TaskState::Failed,
                    TaskMark::Skipped => TaskState::Skipped,
                }),
                note: None,
                include_upstream: along.upstream,
                include_downstream: along.downstream,
                include_past: along.past,
                include_future: along.future,
            };
            let marked = session.client.mark_task(&dag, &run, &task.task, task.map_index, &patch).await?;
            instances(session, &marked.task_instances, marked.total_entries)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn reference(task: TaskArg) -> Result<TaskRef, Error> {
    let name = TaskId::parse(&task.task)
        .map_err(|why| Error::usage(format!("the task {:?} {why}", task.task), "see `updraft tasks list`"))?;
    Ok(match task.map_index {
        None => TaskRef::All(name),
        Some(index) => TaskRef::One(name, index),
    })
}

pub(super) async fn list(
    session: &mut Session<'_>,
    dag: &str,
    run: &str,
    states: &[String],
    count: Count,
) -> Result<(), Error> {
    let client = &session.client;
    let (tasks, total) = rows(count.count, async |slice: Slice| {
        let page = client.task_instances(dag, run, states, slice).await?;
        Ok((page.task_instances, page.total_entries))
    })
    .await?;
    instances(session, &tasks, total)
}

/// Shows task instances; the run's name only if they are of several.
pub(super) fn instances(session: &mut Session<'_>, tasks: &[TaskInstance], total: u64) -> Result<(), Error> {
    let several = tasks.windows(2).any(|pair| pair[0].dag_run_id != pair[1].dag_run_id);
    let heads = ["TASK", "STATE", "TRY", "STARTED", "TOOK", "WHY"];
    session.screen.list(tasks, total, heads, |task, screen| {
        let index = if task.map_index < 0 { String::new() } else { format!("[{}]", task.map_index) };
        let run = if several { format!("{}: ", task.dag_run_id) } else { String::new() };
        let state = task.state.unwrap_or(TaskState::None);
        // An attempt that is over and has no end was never begun.
        let running = task.end_date.is_some() || matches!(task.state, Some(TaskState::Running));
        let tries =
            format!("{}/{}", task.try_number, task.max_tries.max(task.try_number.saturating_sub(1)) + 1);
        [
            format!("{run}{}{index}", task.task_id).into(),
            toned(state, Tone::of_task(state)),
            tries.into(),
            screen.time(task.start_date),
            screen.span(task.start_date.filter(|_| running), task.end_date),
            why(task).map_or_else(Cell::default, Cell::from),
        ]
    })
}

fn waits(session: &mut Session<'_>, found: &WaitingAnswer) -> Result<(), Error> {
    let screen = &mut session.screen;
    if screen.json {
        return screen.document(found);
    }
    let Some(waiting) = &found.waiting else {
        return screen.line(&format!("nothing holds it: it is {}", found.state));
    };
    screen.line(&format!("it is {} and waits:", waiting.state))?;
    for (n, hold) in waiting.holds.iter().enumerate() {
        screen.line(&format!("{:>3}. {}", n + 1, hold.says))?;
        screen.line(&format!("     it goes on when {}", hold.frees))?;
    }
    if waiting.holds.is_empty() {
        screen.line("     nothing holds it any more: it moves with the engine's next step")?;
    }
    Ok(())
}

pub(super) fn why(task: &TaskInstance) -> Option<String> {
    let wakes = task.wake_at.map(|at| format!("until {at}"));
    match (&task.reason, wakes) {
        (Some(reason), Some(wakes)) => Some(format!("{reason}, {wakes}")),
        (Some(reason), None) => Some(reason.clone()),
        (None, wakes) => wakes,
    }
}
