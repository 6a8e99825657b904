//! The figures of a service of many processes: optimised `updraft` processes in their roles, PostgreSQL and RabbitMQ.
//!
//! `cargo xtask bench --program service [PART...]` builds what is needed, starts both servers with their own durability, and
//! prints a table for each part. What the machine does at most is measured first, by a few lines of our own against the same
//! servers. `--test` runs a little of each part; nothing is judged by its time then.

#![expect(clippy::print_stdout, reason = "a measurement is for people")]

mod actual;
mod clock;
mod crowd;
mod figures;
mod limits;
mod load;
mod place;
mod proc;
mod rest;
mod sequence;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::figures::Figures;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Runs of no-ops, and the tasks of each.
    runs: usize,
    tasks: usize,
    /// Tasks of one wide run.
    wide: usize,
    /// Tasks that start a process.
    processes: usize,
    /// Links of a chain.
    links: usize,
    /// Requests whose answer is a running task.
    triggers: usize,
    /// Starts of everything.
    starts: usize,
    /// Tasks of the sequences, and what each computes.
    short: (usize, u32),
    long: (usize, u32),
    /// DAGs that are loaded.
    dags: usize,
    /// Task instances that wait.
    waiting: usize,
    /// How long idleness is watched, in seconds.
    idle_s: u64,
    /// Rows, messages and processes of the machine's limits.
    limits: usize,
}

const REAL: Size = Size {
    runs: 20,
    tasks: 1_000,
    wide: 10_000,
    processes: 3_000,
    links: 200,
    triggers: 100,
    starts: 5,
    short: (40, 10),
    long: (10, 33),
    dags: 10_000,
    waiting: 100_000,
    idle_s: 30,
    limits: 50_000,
};

const LITTLE: Size = Size {
    runs: 2,
    tasks: 20,
    wide: 50,
    processes: 20,
    links: 5,
    triggers: 3,
    starts: 1,
    short: (3, 5),
    long: (2, 5),
    dags: 20,
    waiting: 200,
    idle_s: 1,
    limits: 100,
};

/// The parts, in their order.
const PARTS: [&str; 7] = ["limits", "start", "noop", "actual", "sequence", "idle", "cron"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let test = arguments.iter().any(|argument| argument == "--test");
    let named: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(wrong) = named.iter().find(|name| !PARTS.contains(name)) {
        println!("there is no part {wrong:?}; the parts are {}", PARTS.join(", "));
        return ExitCode::FAILURE;
    }
    let wanted = |part: &&&str| named.is_empty() || named.contains(*part);
    let size = if test { LITTLE } else { REAL };
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("failed to start")
        .and_then(|runtime| {
            if !test {
                runtime.block_on(place::is_durable())?;
            }
            for part in PARTS.iter().filter(wanted) {
                let figures = runtime.block_on(run(part, size)).with_context(|| format!("part {part}"))?;
                println!("\n{part}\n{figures}");
            }
            Ok(())
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(part: &str, size: Size) -> anyhow::Result<Figures> {
    match part {
        "limits" => limits::measure(size).await,
        "start" => rest::starts(size).await,
        "noop" => load::measure(size).await,
        "actual" => actual::measure(size).await,
        "sequence" => sequence::measure(size).await,
        "idle" => rest::idle(size).await,
        _ => crowd::measure(size).await,
    }
}
