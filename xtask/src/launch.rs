//! `make run`: from a fresh checkout to a running single-node service.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::console;
use crate::process::say;
use crate::workspace::{SCRIPT_HOST, Workspace};

/// Builds the console, `updraft` with it, and the helper programs that it looks for beside itself.
pub(crate) fn build(workspace: &Workspace) -> Result<bool> {
    if !console::build_if_possible(workspace)? {
        return Ok(false);
    }
    let builds = [
        workspace.cargo(&["build", "--locked", "--bin", "updraft"]),
        workspace.cargo(&["build", "--locked", "--manifest-path", SCRIPT_HOST]),
    ];
    for mut build in builds {
        if !build.status().context("failed to start cargo build")?.success() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One example names an executor that a laptop doesn't have; here it only pretends to run things.
const LAB: [&str; 4] = ["--set", "executors.local.slots=16", "--set", "executors.gpu-lab.kind=noop"];

/// Builds what the service needs and becomes the service, so that signals reach it directly.
///
/// A debug build, because the first run should not wait for the optimiser.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<bool> {
    say("building Updraft (a few minutes the first time)");
    if !build(workspace)? {
        return Ok(false);
    }
    let program = workspace.binary("updraft");
    let default = ["standalone", "--dags", "dags/examples", "--data", "var"].into_iter().chain(LAB);
    let default: Vec<String> = default.map(str::to_owned).collect();
    let arguments = if arguments.is_empty() { &default[..] } else { arguments };
    say(&format!("starting: target/debug/updraft {}", arguments.join(" ")));
    say("the console: http://127.0.0.1:8080 (the first password is in var/admin-password)");
    say("to see its runs, in a second terminal: target/debug/updraft runs list");
    say("Ctrl-C stops it");
    let error = Command::new(&program).args(arguments).current_dir(&workspace.root).exec();
    Err(error).with_context(|| format!("failed to start {}", program.display()))
}
