//! The `updraft` binary: arguments, configuration, wiring, nothing else.

mod standalone;

use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let command = args.next();
    match command.as_deref().and_then(|c| c.to_str()) {
        Some("attempt") => executor::attempt::run(),
        Some("supervise") => {
            let args: Vec<_> = args.collect();
            let mut options = executor::supervise::Options::new(PathBuf::from(&args[1]));
            options.objects = PathBuf::from(&args[3]);
            match executor::supervise::run(options) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        _ => {
            let args: Vec<_> = args.collect();
            tracing_subscriber::fmt().with_writer(std::io::stderr).init();
            let rt = tokio::runtime::Runtime::new().expect("invariant: runtime");
            let s = standalone::NodeSettings {
                dags: PathBuf::from(&args[0]),
                data: PathBuf::from(&args[1]),
                database: args.get(2).map(|a| a.to_string_lossy().into_owned()),
                slots: 16,
            };
            match rt.block_on(standalone::run(s)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(e) => {
                    tracing::error!("{e:#}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}
