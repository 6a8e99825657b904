//! `cargo xtask fuzz`: the targets of `dags/fuzz` under libFuzzer for as long as it is told.
//!
//! The compiler counts coverage by a pass of LLVM that stable toolchains have too; libFuzzer itself is compiled by the
//! build script of its package, which needs a C++ compiler. What was worth keeping lies in `dags/fuzz/corpus`, so the
//! next run goes on from there.
//!
//! libFuzzer goes on after a find. Whatever it found is given to the plain program once more, under the limits of the
//! gate: that decides whether it is a bug, because scripts may meet their limit on memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::process::{self, Ending, say};
use crate::workspace::{FUZZ, Workspace};

const BUILD_LIMIT: Duration = Duration::from_hours(1);
const REPLAY_LIMIT: Duration = Duration::from_mins(10);
/// What a run may take beyond its time: reading the corpus, the last inputs, joining what its processes found.
const SLACK: Duration = Duration::from_mins(10);
/// Seconds that one input may take, optimised but instrumented.
const INPUT_SECONDS: u32 = 10;
const INPUT_BYTES_MAX: u32 = 64 << 10;

/// LLVM's coverage counters, as cargo-fuzz asks for them. None of it needs a nightly toolchain.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// YAML DAG files.
    Yaml,
    /// Rhai DAG files and tasks.
    Rhai,
    /// Cron expressions and time zones.
    Cron,
    /// Templates.
    Template,
}

#[derive(Args)]
pub(crate) struct Arguments {
    /// Targets; all when none is named.
    targets: Vec<Target>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Give this file to the one named target instead, and say how it ends.
    #[arg(long)]
    replay: Option<PathBuf>,
}

/// Runs the targets one after the other; `false` when something was found.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<bool> {
    let plain = build_plain(workspace)?;
    if let Some(file) = &arguments.replay {
        let &[target] = arguments.targets.as_slice() else {
            bail!("name the one target that replays the file")
        };
        return replay(workspace, &plain, target, file);
    }
    let guided = build_guided(workspace)?;
    let targets = if arguments.targets.is_empty() { Target::value_variants() } else { &arguments.targets };
    let mut good = true;
    for target in targets {
        good &= search(workspace, &plain, &guided, *target, arguments.seconds)?;
    }
    Ok(good)
}

fn name(target: Target) -> String {
    target.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The program that takes inputs under the limits of the gate.
fn build_plain(workspace: &Workspace) -> Result<PathBuf> {
    let mut build = workspace.cargo(&["build", "--locked", "--quiet", "--manifest-path", FUZZ]);
    ensure!(build.status().context("failed to start cargo build")?.success(), "the targets don't compile");
    Ok(workspace.binary("updraft-fuzz"))
}

/// The program with counters in everything but the standard library, in a target folder of its own: the flags count for
/// every package.
fn build_guided(workspace: &Workspace) -> Result<PathBuf> {
    say("building the targets with coverage (some minutes the first time)");
    let host = crate::workspace::host_triple()?;
    let folder = workspace.path("dags/fuzz/target");
    let mut build =
        workspace.cargo(&["build", "--locked", "--release", "--manifest-path", FUZZ, "--features", "guided"]);
    // With `--target` the flags aren't used for build scripts, which have no counters to report to.
    build.args(["--bin", "updraft-fuzz-guided", "--target", &host]);
    build.env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", COVERAGE);
    let log = workspace.path("target/fuzz/build.log");
    fs::create_dir_all(workspace.path("target/fuzz")).context("failed to make target/fuzz")?;
    let ending = process::stream(&mut build, &log, None, BUILD_LIMIT)?;
    ensure!(ending == Ending::Success, "the build failed; it needs a C++ compiler (`apt-get install g++`)");
    Ok(folder.join(host).join("release/updraft-fuzz-guided"))
}

fn search(workspace: &Workspace, plain: &Path, guided: &Path, target: Target, seconds: u64) -> Result<bool> {
    let name = name(target);
    say(&format!("\n===== {name}: {seconds} s ====="));
    let corpus = workspace.path(&format!("dags/fuzz/corpus/{name}"));
    let found = workspace.path(&format!("target/fuzz/{name}"));
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    }
    let mut command = Command::new(guided);
    command
        .current_dir(&found)
        .env("UPDRAFT_FUZZ_TARGET", &name)
        .arg(&corpus)
        .args(seeds(workspace, target))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        // A process of its own takes the inputs and is replaced when one of them ends it.
        .args(["-fork=1", "-ignore_crashes=1", "-ignore_ooms=1", "-ignore_timeouts=1"])
        // What the product prints about an input is of no interest before it is a find.
        .args(["-close_fd_mask=1", "-print_final_stats=1"]);
    let log = found.join("libfuzzer.log");
    fs::write(&log, "").with_context(|| format!("failed to empty {}", log.display()))?;
    let ending = process::stream(&mut command, &log, None, Duration::from_secs(seconds) + SLACK)?;
    ensure!(ending == Ending::Success, "libFuzzer ended badly; see {}", log.display());
    let mut good = true;
    for file in finds(&found)? {
        if replay(workspace, plain, target, &file)? {
            // It met the limit on memory, as a script may, or only the time that counters cost.
            fs::remove_file(&file).with_context(|| format!("failed to remove {}", file.display()))?;
        } else {
            say(&format!(
                "FOUND {}\nreplay it with: cargo xtask fuzz {name} --replay {}",
                file.display(),
                file.display()
            ));
            good = false;
        }
    }
    say(&format!(
        "{name}: {}",
        if good { "nothing was found" } else { "mend what was found and keep it in dags/fuzz/regressions" }
    ));
    Ok(good)
}

fn seeds(workspace: &Workspace, target: Target) -> Vec<PathBuf> {
    let name = name(target);
    let mut folders = vec![format!("dags/fuzz/seeds/{name}"), format!("dags/fuzz/regressions/{name}")];
    if target == Target::Yaml {
        folders.push("dags/tests/broken".to_owned());
    }
    folders.into_iter().map(|folder| workspace.path(&folder)).filter(|folder| folder.is_dir()).collect()
}

/// The inputs that libFuzzer put aside: crashes, timeouts and those that took too much memory.
fn finds(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut finds = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("failed to list {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["crash-", "timeout-", "oom-"].iter().any(|kind| name.starts_with(kind)) {
            finds.push(entry.path());
        }
    }
    finds.sort();
    Ok(finds)
}

/// Gives one file to the plain program; `true` when it ends well or as a script may.
fn replay(workspace: &Workspace, plain: &Path, target: Target, file: &Path) -> Result<bool> {
    let file = file.canonicalize().with_context(|| format!("failed to find {}", file.display()))?;
    let mut command = Command::new(plain);
    command.args([&name(target), "files"]).arg(&file).env("RUST_BACKTRACE", "1");
    fs::create_dir_all(workspace.path("target/fuzz")).context("failed to make target/fuzz")?;
    let log = workspace.path("target/fuzz/replay.log");
    fs::write(&log, "").with_context(|| format!("failed to empty {}", log.display()))?;
    let ending = process::stream(&mut command, &log, None, REPLAY_LIMIT)?;
    let said = fs::read_to_string(&log).with_context(|| format!("failed to read {}", log.display()))?;
    let stopped = matches!(target, Target::Rhai | Target::Template) && said.contains("memory allocation of");
    if stopped {
        say("it met the limit on memory, which is how the script host ends such a script");
    }
    Ok(ending == Ending::Success || stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_put_aside_is_a_find() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["crash-1", "oom-2", "timeout-3", "libfuzzer.log", "mutation-7", "slow-unit-4"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = finds(folder.path()).unwrap();
        let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["crash-1", "oom-2", "timeout-3"]);
    }
}
