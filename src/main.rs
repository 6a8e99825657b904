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
            let mut args = args.map(|a| a.to_string_lossy().into_owned());
            let (mut dags, mut data, mut database) = (PathBuf::new(), PathBuf::new(), None);
            while let (Some(flag), Some(value)) = (args.next(), args.next()) {
                match flag.as_str() {
                    "--dags" => dags = value.into(),
                    "--data" => data = value.into(),
                    "--database" => database = Some(value),
                    _ => return ExitCode::FAILURE,
                }
            }
            tracing_subscriber::fmt().with_writer(std::io::stderr).init();
            let rt = tokio::runtime::Runtime::new().expect("invariant: runtime");
            let s = standalone::NodeSettings { dags, data, database, slots: 16 };
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
