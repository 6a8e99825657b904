//! `make run`: from a fresh checkout to a running single-node service.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::console;
use crate::process::say;
use crate::workspace::{SCRIPT_HOST, Workspace};

/// Builds the console, `updraft` with it, and the helper programs that it looks for beside itself.
pub(crate) fn build(workspace: &Workspace) -> Result<bool> {
    if !console::build_if_possible(workspace)? {
        return Ok(false);
    }
    let builds = [
        workspace.cargo(&["build", "--locked", "--bins"]),
        workspace.cargo(&["build", "--locked", "--manifest-path", SCRIPT_HOST]),
    ];
    for mut build in builds {
        if !build.status().context("failed to start cargo build")?.success() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The service's folder, for the first start with the examples.
const DATA: &str = "var";

/// How long the service may take to start.
const START_MAX: Duration = Duration::from_mins(1);

/// Builds what the service needs and becomes the service, so that signals reach it directly.
///
/// A debug build, because the first run should not wait for the optimiser.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<bool> {
    say("building Updraft (a few minutes the first time)");
    if !build(workspace)? {
        return Ok(false);
    }
    let program = workspace.binary("updraft");
    let default = ["standalone", "--dags", "dags/examples", "--data", DATA].map(str::to_owned);
    if arguments.is_empty() && !workspace.path(DATA).exists() {
        prepare(workspace)?;
    }
    let arguments = if arguments.is_empty() { &default[..] } else { arguments };
    say(&format!("starting: target/debug/updraft {}", arguments.join(" ")));
    say("the console: http://127.0.0.1:8080 (the first password is in var/admin-password)");
    say("to see its runs, in a second terminal: target/debug/updraft runs list");
    say("Ctrl-C stops it");
    let error = Command::new(&program).args(arguments).current_dir(&workspace.root).exec();
    Err(error).with_context(|| format!("failed to start {}", program.display()))
}

/// Makes what the examples expect, a warehouse and a pool that bounds who works in it, by a service without DAGs: they are active within a tenth of a second, and their first runs
/// would fail.
fn prepare(workspace: &Workspace) -> Result<()> {
    say("first start: making the connection and the pool `warehouse` for the examples");
    let empty = std::env::temp_dir().join(format!("updraft-no-dags-{}", std::process::id()));
    std::fs::create_dir_all(&empty).with_context(|| format!("failed to make {}", empty.display()))?;
    let log = workspace.path("target/first-start.log");
    let out = std::fs::File::create(&log).with_context(|| format!("failed to write {}", log.display()))?;
    let mut service = updraft(workspace)
        .args(["standalone", "--data", DATA, "--dags"])
        .arg(&empty)
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("failed to write the log twice")?)
        .stderr(out)
        .spawn()
        .context("failed to start the service")?;
    // Tasks may open files of this folder; a relative path would be one of their own.
    let file = workspace.path(DATA).join("files/warehouse.sqlite").display().to_string();
    let made = set(workspace, &["connections", "set", "warehouse", "--type", "sqlite", "--schema", &file])
        .and_then(|()| set(workspace, &["pools", "set", "warehouse", "4"]));
    let stopped = Command::new("kill").args(["-INT", &service.id().to_string()]).status();
    stopped.context("failed to stop the service")?;
    service.wait().context("failed to wait for the service")?;
    std::fs::remove_dir_all(&empty).with_context(|| format!("failed to remove {}", empty.display()))?;
    made.with_context(|| format!("see {}", log.display()))
}

/// Asks the service until it answers.
fn set(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let began = Instant::now();
    loop {
        let ended = updraft(workspace).args(arguments).output().context("failed to start updraft")?;
        if ended.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&ended.stderr);
        ensure!(began.elapsed() < START_MAX, "`updraft {}` failed: {why}", arguments.join(" "));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn updraft(workspace: &Workspace) -> Command {
    let mut command = Command::new(workspace.binary("updraft"));
    command.current_dir(&workspace.root);
    command
}
