//! The commands that Updraft gives itself: `updraft supervise` and `updraft attempt`. They start lean, with arguments that
//! nobody types.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::ExitCode,
};

use executor::supervise;

/// Runs the command if it is one of these.
pub(crate) fn run() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next()?;
    match command.to_str()? {
        "attempt" => Some(executor::attempt::run()),
        "supervise" => Some(supervise(arguments)),
        _ => None,
    }
}

fn supervise(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (mut dir, mut objects, mut with_parent, mut log_bytes_max) = (None, None, false, None);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--dir") => dir = arguments.next().map(PathBuf::from),
            Some("--objects") => objects = arguments.next().map(PathBuf::from),
            Some("--with-parent") => with_parent = true,
            Some("--log-bytes-max") => {
                let bytes = arguments.next().unwrap_or_default();
                match bytes.to_str().and_then(|bytes| bytes.parse().ok()) {
                    Some(bytes) => log_bytes_max = Some(bytes),
                    None => return usage(&bytes),
                }
            }
            _ => return usage(&argument),
        }
    }
    let Some(dir) = dir else { return usage(OsStr::new("(no --dir)")) };
    let mut options = supervise::Options::new(dir);
    // With its parent goes whoever would ask what has ended.
    options.durable = !with_parent;
    if let Some(objects) = objects {
        options.objects = objects;
    }
    if let Some(bytes) = log_bytes_max {
        options.log_bytes_max = bytes;
    }
    // Its standard error is `supervisor.log`.
    // A line that can't be written, as on a full disk, is no reason to panic.
    tracing_subscriber::fmt().with_writer(std::io::stderr).log_internal_errors(false).with_ansi(false).init();
    if with_parent && let Err(error) = end_with_parent() {
        tracing::error!(%error, "the supervisor can't be bound to its parent");
        return ExitCode::FAILURE;
    }
    match supervise::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %anyhow::Error::from(error), "the supervisor has ended");
            ExitCode::FAILURE
        }
    }
}

/// For `updraft test`: a supervisor that nobody will look for again must not outlive the run.
fn end_with_parent() -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
}

fn usage(argument: &OsStr) -> ExitCode {
    let text = format!(
        "error: `updraft supervise` doesn't know {}\nhelp: this command is for Updraft itself: \
         `updraft supervise --dir DIR --objects DIR`\n",
        argument.display()
    );
    // If standard error is closed there is nobody to tell.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    ExitCode::from(2)
}
