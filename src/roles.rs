//! The processes of a service: `standalone` is all of them in one, the others share a database. What they have in common is
//! here; [`scheduling`] is the part that owns the shard.

pub(crate) mod api;
mod bundles;
pub(crate) mod migrate;
mod objects;
mod reach;
pub(crate) mod scheduler;
mod scheduling;
pub(crate) mod standalone;
pub(crate) mod worker;

use std::{io::IsTerminal as _, path::PathBuf};

use ::scheduler::clock;
use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

pub(crate) use reach::FOREIGN_KEY;

use crate::settings::{Log, LogFormat};

/// Has the log written as the settings say.
pub(crate) fn write_log(settings: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.filter).with_context(|| {
        format!("`log.filter` is {:?}, but must be levels such as `info,scheduler=debug`", settings.filter)
    })?;
    // A line that can't be written, as on a full disk, is no reason to panic.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let json = match settings.format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    if json {
        subscriber.json().init();
    } else {
        subscriber.with_ansi(std::io::stderr().is_terminal()).init();
    }
    Ok(())
}

/// What signals ask of a process: the first one drains, the second one leaves at once.
#[derive(Debug, Clone)]
struct Stop {
    drain: CancellationToken,
    cancel: CancellationToken,
}

impl Stop {
    fn on_signals() -> anyhow::Result<Self> {
        let stop = Self { drain: CancellationToken::new(), cancel: CancellationToken::new() };
        let doing = "failed to listen for signals";
        let mut interrupt = signal(SignalKind::interrupt()).context(doing)?;
        let mut terminate = signal(SignalKind::terminate()).context(doing)?;
        let Self { drain, cancel } = stop.clone();
        clock::background(async move {
            for (token, what) in [
                (drain, "draining: what runs may end, a second signal leaves at once"),
                (cancel, "leaving at once"),
            ] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                tracing::info!("{what}");
                token.cancel();
            }
        });
        Ok(stop)
    }
}

/// The files of the web console, as far as they were compiled in.
fn console() -> Vec<::api::Asset> {
    let asset =
        |file: &web_console::File| ::api::Asset { path: file.path, bytes: file.bytes, brotli: file.brotli };
    web_console::FILES.iter().map(asset).collect()
}

/// The program that runs scripts, if it lies beside this one.
fn script_program() -> Option<PathBuf> {
    let program = plugins::script::locate(None).ok();
    if program.is_none() {
        tracing::warn!(
            program = plugins::script::PROGRAM,
            "Rhai files and expressions that the service evaluates are off: the program isn't beside this one"
        );
    }
    program
}
