//! The web console: its packages, its build, and its checks.
//!
//! It needs Node and npm, which nothing else here does. Whoever has none builds `updraft` all the same, without a console.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::gate::Tally;
use crate::process::{self, Ending, say};
use crate::tools;
use crate::workspace::Workspace;

/// Where its sources are.
const FOLDER: &str = "api/console";
/// The oldest Node that its tools run on.
const NODE_MIN: (u32, u32) = (20, 19);
/// How long packages may take to come.
const INSTALL_LIMIT: Duration = Duration::from_mins(10);
/// How long a build or a check may take.
const STEP_LIMIT: Duration = Duration::from_mins(10);
/// Says for which lockfile the packages were installed.
const INSTALLED: &str = "node_modules/.installed-lock";

/// Why the console can't be built here; none if it can.
fn missing() -> Option<String> {
    let found = Command::new("node").arg("--version").output().ok().filter(|output| output.status.success());
    let least = format!("install Node {}.{} or newer with npm", NODE_MIN.0, NODE_MIN.1);
    let Some(found) = found else { return Some(format!("there is no Node: {least}")) };
    let text = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    match version(&text) {
        Some(found) if found >= NODE_MIN => None,
        _ => Some(format!("Node {text} is too old: {least}")),
    }
}

/// Major and minor number of `v20.19.2`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Builds the console into its `dist`, from where it is compiled in. Without Node it says so and leaves it out.
pub(crate) fn build_if_possible(workspace: &Workspace) -> Result<bool> {
    if let Some(why) = missing() {
        say(&format!("note: building without the web console: {why}"));
        return Ok(true);
    }
    let log = workspace.path("target/console.log");
    fs::create_dir_all(workspace.path("target")).context("failed to make target")?;
    fs::write(&log, "").with_context(|| format!("failed to empty {}", log.display()))?;
    build(workspace, &log)
}

/// Builds the console for the gate, which has no exception: it counts as failed if it can't be built.
pub(crate) fn build_for_gate(workspace: &Workspace, tally: &mut Tally, log: &Path) -> Result<()> {
    let built = match missing() {
        Some(why) => {
            say(&format!("error: {why}"));
            false
        }
        None => build(workspace, log)?,
    };
    tally.count("build of the web console", built);
    Ok(())
}

fn build(workspace: &Workspace, log: &Path) -> Result<bool> {
    Ok(install(workspace, log)? && npm(workspace, log, &["run", "--silent", "build"], STEP_LIMIT)?)
}

/// Installs the packages that the lockfile names, unless they are there.
fn install(workspace: &Workspace, log: &Path) -> Result<bool> {
    let folder = workspace.path(FOLDER);
    let lock = fs::read(folder.join("package-lock.json")).context("failed to read the console's lockfile")?;
    let installed = folder.join(INSTALLED);
    if fs::read(&installed).is_ok_and(|found| found == lock) {
        return Ok(true);
    }
    if !npm(workspace, log, &["ci", "--no-audit", "--no-fund"], INSTALL_LIMIT)? {
        return Ok(false);
    }
    fs::write(&installed, lock).context("failed to mark the console's packages as installed")?;
    Ok(true)
}

fn npm(workspace: &Workspace, log: &Path, arguments: &[&str], limit: Duration) -> Result<bool> {
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(workspace.path(FOLDER));
    Ok(process::stream(&mut command, log, None, limit)? == Ending::Success)
}

/// Types, lints, unit tests, sizes, and a real browser against a real service.
pub(crate) fn check(workspace: &Workspace, tally: &mut Tally, log: &Path) -> Result<()> {
    if let Some(why) = missing() {
        say(&format!("error: {why}"));
        tally.count("checks of the web console", false);
        return Ok(());
    }
    ensure!(install(workspace, log)?, "the console's packages could not be installed");
    for (name, script) in [
        ("types of the console", "types"),
        ("lints of the console", "lint"),
        ("unit tests of the console", "unit"),
        ("sizes of the console", "budget"),
    ] {
        say(&format!("==> {name}"));
        tally.count(name, npm(workspace, log, &["run", "--silent", script], STEP_LIMIT)?);
    }
    tools::chromium()?;
    say("==> the console in a browser");
    let before = fs::metadata(log).map_or(0, |metadata| metadata.len());
    let well = npm(workspace, log, &["run", "--silent", "e2e"], STEP_LIMIT)?;
    let printed = fs::read(log).with_context(|| format!("failed to read {}", log.display()))?;
    tally.add(of_playwright(&String::from_utf8_lossy(&printed[usize::try_from(before)?..]), well));
    Ok(())
}

/// Adds up the lines of Playwright's list: `ok 3 e2e/grid.spec.ts:7:5 › cells ... (1.2s)`, or `x` for one that failed.
fn of_playwright(printed: &str, succeeded: bool) -> Tally {
    let mut tally = Tally::default();
    for line in printed.lines().map(str::trim_start) {
        let Some((mark, rest)) = line.split_once(' ') else { continue };
        let Some((_, name)) = rest.trim_start().split_once(' ') else { continue };
        match mark {
            "ok" | "✓" => tally.count(name, true),
            "x" | "✘" => tally.count(name, false),
            _ => {}
        }
    }
    if !succeeded && tally.failed == 0 {
        tally.count("the browser tests ended badly without a failed test", false);
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(version("v20.19.2") >= Some(NODE_MIN));
        assert!(version("v20.9.0") < Some(NODE_MIN));
        assert!(version("v22.1.0") >= Some(NODE_MIN));
        assert_eq!(version("nonsense"), None);
    }

    #[test]
    fn the_browsers_tests_are_added_up() {
        let printed = "\
Running 2 tests using 1 worker
  ✓  1 e2e/a.spec.ts:3:5 › signs in (1.2s)
  ✘  2 e2e/a.spec.ts:9:5 › triggers (30.0s)
  1 failed
";
        let tally = of_playwright(printed, false);
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(tally.failures, ["e2e/a.spec.ts:9:5 › triggers (30.0s)"]);
        assert_eq!(of_playwright("", false).failed, 1);
    }
}
