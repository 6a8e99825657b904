//! `make check`: everything that can be said about the code without running it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::gate::Tally;
use crate::process::{self, Ending, say};
use crate::tidy;
use crate::tools;
use crate::workspace::{OWN_WORKSPACES, Workspace};

/// One step may compile every dependency of the workspace.
const STEP_LIMIT: Duration = Duration::from_mins(40);

/// The whole check, with a closing line.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let folder = workspace.path("target/gate");
    std::fs::create_dir_all(&folder).context("failed to make target/gate")?;
    let tally = steps(workspace, &folder.join("check.log"))?;
    for failure in &tally.failures {
        say(&format!("failed: {failure}"));
    }
    say(&format!("{} passed, {} failed", tally.passed, tally.failed));
    Ok(tally.failed == 0)
}

/// Every step, each counted as one; all run even when one fails.
pub(crate) fn steps(workspace: &Workspace, log: &Path) -> Result<Tally> {
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let deny = scope.spawn(|| tools::cargo_deny(workspace));
        for command in format_commands(workspace, true) {
            step(&mut tally, command, log)?;
        }
        say("==> house rules");
        let findings = tidy::findings(workspace)?;
        for finding in &findings {
            say(&finding.to_string());
        }
        tally.count("tidy", findings.is_empty());
        for command in lint_commands(workspace) {
            step(&mut tally, command, log)?;
        }
        match deny.join().map_err(|_| anyhow::anyhow!("the thread that builds cargo-deny panicked"))? {
            Ok(program) => {
                for command in deny_commands(workspace, &program) {
                    step(&mut tally, command, log)?;
                }
            }
            Err(error) => {
                say(&format!("error: {error:#}"));
                tally.count("cargo-deny could not be built", false);
            }
        }
        Ok(tally)
    })
}

/// `make fmt`.
pub(crate) fn format(workspace: &Workspace) -> Result<bool> {
    for mut command in format_commands(workspace, false) {
        if !command.status().context("failed to start cargo fmt")?.success() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn step(tally: &mut Tally, mut command: Command, log: &Path) -> Result<()> {
    let name = describe(&command);
    say(&format!("==> {name}"));
    let ending = process::stream(&mut command, log, None, STEP_LIMIT)?;
    tally.count(&name, ending == Ending::Success);
    Ok(())
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    [program].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}

fn format_commands(workspace: &Workspace, check: bool) -> Vec<Command> {
    let mut commands = vec![workspace.cargo(&["fmt", "--all"])];
    for manifest in OWN_WORKSPACES {
        commands.push(workspace.cargo(&["fmt", "--all", "--manifest-path", manifest]));
    }
    if check {
        for command in &mut commands {
            command.args(["--check", "--", "--color", "never"]);
        }
    }
    commands
}

fn lint_commands(workspace: &Workspace) -> Vec<Command> {
    let manifests = std::iter::once("Cargo.toml").chain(OWN_WORKSPACES.iter().copied());
    manifests
        .map(|manifest| {
            workspace.cargo(&[
                "clippy",
                "--manifest-path",
                manifest,
                "--workspace",
                "--all-targets",
                "--locked",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ])
        })
        .collect()
}

/// Without `advisories`: their database is a git repository, which not every machine of ours reaches.
fn deny_commands(workspace: &Workspace, program: &Path) -> Vec<Command> {
    let manifests = std::iter::once("Cargo.toml").chain(OWN_WORKSPACES.iter().copied());
    manifests
        .map(|manifest| {
            let mut command = Command::new(program);
            command.current_dir(&workspace.root).env("CARGO_TARGET_DIR", workspace.path("target")).args([
                "--locked",
                "--manifest-path",
                manifest,
                "--config",
                "deny.toml",
                "check",
                "--hide-inclusion-graph",
                "--allow=duplicate",
                "bans",
                "licenses",
                "sources",
            ]);
            command
        })
        .collect()
}
