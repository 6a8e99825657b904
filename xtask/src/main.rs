//! The logic behind the Makefile: `cargo xtask <command>`.
//!
//! Everything here runs on a developer's machine and in CI alike; nothing of it is shipped. Start at
//! [`gate`] for what `make test` does and at [`tidy`] for the house rules that no compiler knows.

mod bench;
mod check;
mod console;
mod fuzz;
mod gate;
mod launch;
mod process;
mod services;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, tests and servers of the Updraft repository")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Format, lints, licences and house rules, without running a test.
    Check,
    /// The whole gate, or the named suites of it.
    Test {
        /// Suites to run; all when none is named.
        suites: Vec<gate::Suite>,
    },
    /// The house rules alone (a second or two).
    Tidy,
    /// Format the Rust code of all workspaces.
    Fmt,
    /// Build `updraft` and the helper programs beside it, into `target/debug`.
    Build,
    /// Build Updraft and start it on this machine with `dags/examples`.
    Run {
        /// Arguments that replace the default command line of `updraft`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Run every benchmark in the optimised profile, with servers that are durable.
    Bench {
        /// Only this program.
        #[arg(long)]
        program: Option<String>,
        /// Arguments for the programs: which of their benchmarks to run.
        arguments: Vec<String>,
    },
    /// Look for inputs that break what reads YAML, Rhai, cron expressions and templates, guided by coverage.
    Fuzz(fuzz::Arguments),
    /// Start or stop the servers that tests talk to.
    Services {
        #[command(subcommand)]
        command: services::Command,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            process::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; `false` means that it ran and found something wrong.
fn run(command: Command) -> anyhow::Result<bool> {
    let workspace = Workspace::find()?;
    match command {
        Command::Check => check::run(&workspace),
        Command::Test { suites } => gate::run(&workspace, &suites),
        Command::Tidy => tidy::run(&workspace),
        Command::Fmt => check::format(&workspace),
        Command::Build => launch::build(&workspace),
        Command::Run { arguments } => launch::run(&workspace, &arguments),
        Command::Bench { program, arguments } => bench::run(&workspace, program.as_deref(), &arguments),
        Command::Fuzz(arguments) => fuzz::run(&workspace, &arguments),
        Command::Services { command } => services::run(&workspace, command),
    }
}
