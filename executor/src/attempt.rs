//! The process of one attempt: it takes its context, binds itself to its supervisor, and becomes the task's program, or does
//! the work of an operator that needs none.
//!
//! It starts a thousand times per second, so it does nothing that it needn't: no runtime, no logging set-up. Where the task's
//! operator is a program, it is `updraft-attempt`, which knows nothing else: loading `updraft` takes longer than most of the
//! rest. For other operators, and where `updraft-attempt` isn't there, it is `updraft attempt`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{self, Read as _},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use engine::dispatch::Outcome;
use plugins::{
    context::AttemptContext,
    operator::{self, Dirs, Exec, Failure, Finished, Step},
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use crate::folder::Folder;

/// The environment variable that marks every process of an attempt; its value is the attempt's folder.
pub(crate) const MARK: &str = "UPDRAFT_ATTEMPT_DIR";

/// The bound for the memory of rendering and of operators that run inside of this process.
const PREPARE_BYTES_MAX: u64 = 1 << 30;

/// What the supervisor gives to this process, on its standard input.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Envelope<'a> {
    /// The supervisor: this process must be its child.
    pub(crate) supervisor: i32,
    /// The attempt's folder.
    pub(crate) folder: PathBuf,
    /// The files that let this process into its cgroup.
    pub(crate) cgroup: Vec<PathBuf>,
    /// The soft limit of open files that programs are used to; the supervisor's own is higher.
    pub(crate) open_files: Option<u64>,
    /// A bound for the memory that a single process may map, where no cgroup bounds all of them.
    pub(crate) memory_backstop: Option<u64>,
    /// The context.
    pub(crate) context: std::borrow::Cow<'a, AttemptContext>,
}

/// What `updraft-attempt` says of itself when it is asked: the supervisor uses the one that says the same as it would.
pub const IDENTITY: &str = concat!("updraft-attempt ", env!("CARGO_PKG_VERSION"), " 1");

/// How an operator's work begins.
type Prepare = fn(&AttemptContext, &Dirs) -> Result<Step, Failure>;

/// What this process tells the supervisor beside its exit code, in a file that the task's program doesn't know.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<String>,
}

/// Why an attempt couldn't come to run its operator.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read the attempt's context")]
    Envelope(#[source] io::Error),
    #[error("the supervisor is gone")]
    Orphan,
    #[error("failed to {0}")]
    Setup(&'static str, #[source] io::Error),
    #[error("failed to write {0}")]
    Write(PathBuf, #[source] io::Error),
}

/// The exit code of an attempt that couldn't run its operator.
const FAILED: u8 = 1;

/// Runs the attempt whose context comes on standard input. Returns only if the task has no program of its own, or if
/// that couldn't be started.
pub fn run() -> ExitCode {
    run_with(operator::prepare)
}

/// The same for a task whose operator is a program.
pub fn run_program() -> ExitCode {
    run_with(operator::prepare_program)
}

fn run_with(prepare: Prepare) -> ExitCode {
    let outcome = read_envelope().and_then(|envelope| {
        run_in(&envelope, prepare).or_else(|error| {
            let verdict = Verdict { outcome: Outcome::NotStarted, reason: Some(describe(&error)) };
            conclude(&Folder::at(envelope.folder.clone()), &verdict)
        })
    });
    outcome.unwrap_or_else(|error| {
        // Standard error is the attempt's log; there is nobody else to tell if that fails too.
        let _ = io::Write::write_all(&mut io::stderr(), format!("{}\n", describe(&error)).as_bytes());
        ExitCode::from(FAILED)
    })
}

fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn read_envelope() -> Result<Envelope<'static>, Error> {
    // Before anything else: from here on this process can't outlive its supervisor.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| Error::Setup("bind the attempt to its supervisor", e.into()))?;
    // The context holds secrets. A program that this process becomes is dumpable again.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| Error::Setup("turn off core dumps", e.into()))?;
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text).map_err(Error::Envelope)?;
    let envelope: Envelope<'static> = serde_json::from_slice(&text).map_err(|e| Error::Envelope(e.into()))?;
    // It may have died between the spawn and the binding.
    if rustix::process::getppid().map(rustix::process::Pid::as_raw_pid) != Some(envelope.supervisor) {
        return Err(Error::Orphan);
    }
    Ok(envelope)
}

fn run_in(envelope: &Envelope<'_>, prepare: Prepare) -> Result<ExitCode, Error> {
    let folder = Folder::at(envelope.folder.clone());
    set_up(envelope)?;
    let dirs = folder.dirs();
    let unlimited = lower(Resource::Data, PREPARE_BYTES_MAX)?;
    match prepare(&envelope.context, &dirs) {
        Ok(Step::Exec(exec)) => {
            rustix::process::setrlimit(Resource::Data, unlimited)
                .map_err(|e| Error::Setup("lift the memory limit of preparation", e.into()))?;
            if let Some(bytes) = envelope.memory_backstop {
                lower(Resource::Data, bytes)?;
            }
            let reason = become_program(&exec, &folder, &envelope.context)?;
            conclude(&folder, &Verdict { outcome: Outcome::Failed, reason: Some(reason) })
        }
        Ok(Step::Done(finished)) => {
            let (verdict, result) = verdict(finished);
            if let Some(result) = result {
                let text =
                    serde_json::to_vec(&result).map_err(|e| Error::Write(folder.result(), e.into()))?;
                write_private(&folder.result(), &text)?;
            }
            conclude(&folder, &verdict)
        }
        Err(failure) => {
            let outcome = if failure.for_good() { Outcome::FailedForGood } else { Outcome::Failed };
            conclude(&folder, &Verdict { outcome, reason: Some(failure.to_string()) })
        }
    }
}

/// Binds descendants to this process, and this process to its limits.
fn set_up(envelope: &Envelope<'_>) -> Result<(), Error> {
    let setup = |what| move |error: rustix::io::Errno| Error::Setup(what, error.into());
    // Kept across exec: the program's daemons stay below it while it lives and fall to the supervisor afterwards.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(setup("adopt descendants"))?;
    rustix::thread::set_no_new_privs(true).map_err(setup("give up new privileges"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    lower(Resource::Core, 0)?;
    if let Some(open_files) = envelope.open_files {
        lower(Resource::Nofile, open_files)?;
    }
    for door in &envelope.cgroup {
        fs::write(door, "0").map_err(|e| Error::Setup("join the attempt's cgroup", e))?;
    }
    Ok(())
}

/// Lowers the soft limit and returns what it was.
fn lower(resource: Resource, bytes: u64) -> Result<Rlimit, Error> {
    let before = rustix::process::getrlimit(resource);
    let current = Some(before.current.map_or(bytes, |current| current.min(bytes)));
    rustix::process::setrlimit(resource, Rlimit { current, maximum: before.maximum })
        .map_err(|e| Error::Setup("set a resource limit", e.into()))?;
    Ok(before)
}

/// Becomes the program; returns the reason if it couldn't be started.
fn become_program(exec: &Exec, folder: &Folder, context: &AttemptContext) -> Result<String, Error> {
    for (path, content) in &exec.files {
        let path = folder.work().join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::Write(parent.to_owned(), e))?;
        }
        write_private(&path, content)?;
    }
    let cwd = exec.cwd.clone().unwrap_or_else(|| folder.work());
    if let Err(error) = std::env::set_current_dir(&cwd) {
        return Ok(format!("failed to enter the folder {}: {error}", cwd.display()));
    }
    let mut command = Command::new(&exec.program);
    command.args(&exec.args).env_clear().envs(base_environment(folder, context)).envs(&exec.env);
    let error = command.stdin(Stdio::null()).exec();
    Ok(format!("failed to start `{}`: {error}", exec.program))
}

/// What every program finds in its environment, before its operator adds to it.
#[expect(
    clippy::disallowed_methods,
    reason = "the supervisor's environment, which is this process's, is the base"
)]
fn base_environment(folder: &Folder, context: &AttemptContext) -> BTreeMap<&'static str, OsString> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut env = BTreeMap::from([
        ("PATH", path),
        ("HOME", folder.work().into()),
        ("TMPDIR", folder.work().into()),
        ("LANG", std::env::var_os("LANG").unwrap_or_else(|| "C.UTF-8".into())),
        ("TZ", "UTC".into()),
        (MARK, folder.path().into()),
    ]);
    if context.members > 1 {
        // All members of a gang are on this machine. The port is the same for all of them and differs between gangs.
        let port = 20_000
            + (context.dispatch.attempt.0.as_u128().wrapping_add(u128::from(context.dispatch.n)) % 12_000);
        env.insert("MASTER_ADDR", "127.0.0.1".into());
        env.insert("MASTER_PORT", port.to_string().into());
    }
    env
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn verdict(finished: Finished) -> (Verdict, Option<serde_json::Value>) {
    let (outcome, reason) = translate(finished.outcome);
    (Verdict { outcome, reason }, finished.result)
}

/// An operator's outcome in the engine's words.
pub(crate) fn translate(outcome: operator::Outcome) -> (Outcome, Option<String>) {
    match outcome {
        operator::Outcome::Success => (Outcome::Success, None),
        operator::Outcome::Failed { reason } => (Outcome::Failed, Some(reason)),
        operator::Outcome::FailedForGood { reason } => (Outcome::FailedForGood, Some(reason)),
        operator::Outcome::Skipped { reason } => (Outcome::Skipped, Some(reason)),
        operator::Outcome::Reschedule { after } => (Outcome::Reschedule { after }, None),
    }
}

fn conclude(folder: &Folder, verdict: &Verdict) -> Result<ExitCode, Error> {
    let text = serde_json::to_vec(verdict).map_err(|e| Error::Write(folder.verdict(), e.into()))?;
    write_private(&folder.verdict(), &text)?;
    Ok(if verdict.outcome == Outcome::Success { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    let open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    open.and_then(|mut file| io::Write::write_all(&mut file, content))
        .map_err(|e| Error::Write(path.to_owned(), e))
}
