//! The program that a pod's init container brings along and that runs the pod's attempt: see [`executor::worker::pod`].
//!
//! `updraft-pod install FILE` copies it, `updraft-pod run --orders FILE --data DIR` does the pod's work. It is also the supervisor
//! and the attempt in the pod.

mod internal;

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use executor::worker::pod::{self, Options};

fn main() -> ExitCode {
    if let Some(code) = internal::run() {
        return code;
    }
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    match command.to_str() {
        Some("install") => match arguments.next() {
            Some(target) => install(Path::new(&target)),
            None => usage(OsStr::new("(no file)")),
        },
        Some("run") => run(arguments),
        _ => usage(&command),
    }
}

/// Copies this program to where the pod's own container finds it.
fn install(target: &Path) -> ExitCode {
    let copied = std::env::current_exe().and_then(|own| {
        let mut from = fs::File::open(own)?;
        let open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(target);
        io::copy(&mut from, &mut open?)
    });
    match copied {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: failed to copy this program to {}: {error}\n", target.display()))
        }
    }
}

fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (mut orders, mut data) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--orders") => orders = arguments.next().map(PathBuf::from),
            Some("--data") => data = arguments.next().map(PathBuf::from),
            _ => return usage(&argument),
        }
    }
    let (Some(orders), Some(data)) = (orders, data) else {
        return usage(OsStr::new("(no --orders or --data)"));
    };
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let program = std::env::current_exe();
    match runtime.and_then(|runtime| Ok((runtime, program?))) {
        Ok((runtime, program)) => {
            let code = runtime.block_on(pod::run(Options { orders, data, program }));
            ExitCode::from(code)
        }
        Err(error) => complain(&format!("error: failed to begin the pod's work: {error}\n")),
    }
}

fn usage(argument: &OsStr) -> ExitCode {
    complain(&format!(
        "error: `updraft-pod` doesn't know {}\nhelp: this program is for Updraft's own pods: `updraft-pod install FILE`, \
         `updraft-pod run --orders FILE --data DIR`\n",
        argument.display()
    ))
}

fn complain(text: &str) -> ExitCode {
    // If standard error is closed there is nobody to tell.
    let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
    ExitCode::from(2)
}
