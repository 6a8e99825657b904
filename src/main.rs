//! The `updraft` binary: arguments, configuration, wiring, nothing else.

mod args;
mod author;
mod console;
mod doctor;
mod fleet;
mod internal;
mod listen;
mod machine;
mod monitoring;
mod retention;
mod roles;
mod service;
mod settings;
mod traces;
mod workers;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::{
    args::{Cli, Command},
    console::{Console, print},
};

/// With a million instances waiting the engine's small allocations lie far apart under the system's allocator, and a
/// transition costs half as much again.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // What is started a thousand times per second comes before anything that costs time.
    if let Some(code) = internal::run() {
        return code;
    }
    let cli = Cli::parse();
    let console = Console::new();
    match cli.command {
        Command::Standalone(args) => service::standalone(args, console),
        Command::Scheduler(args) => service::scheduler(args, console),
        Command::Api(args) => service::api(args, console),
        Command::Worker(args) => service::worker(*args, console),
        Command::Workers(args) => service::workers(args, console),
        Command::Doctor(args) => service::doctor(args, console),
        Command::Retention(args) => service::retention(args, console),
        Command::Migrate(args) => service::migrate(args, console),
        Command::Validate(args) => author::validate(args, console),
        Command::Show(args) => author::show(&args, console),
        Command::Schema(args) => author::schema(&args, console),
        Command::Test(args) => author::test::run(args, console),
        Command::Schedule(args) => author::schedule(&args, console),
        Command::Dev(args) => author::dev(*args, console),
        Command::Init(args) => author::init(&args, console),
        Command::Simulate(args) => author::simulate(*args, console),
        Command::Remote(command) => author::remote(*command, console),
        Command::Config(args) => service::config(args, console),
        Command::Completions { shell } => {
            // Not straight to the output: a reader that has seen enough would be a panic.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "updraft", &mut script);
            console.code(print(&String::from_utf8_lossy(&script)).map(|()| ExitCode::SUCCESS))
        }
    }
}
