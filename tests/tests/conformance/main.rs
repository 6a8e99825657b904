//! The conformance suite of executors against a fleet: a real broker, the real task API, and a worker with its supervisor. And the
//! program in a pod, which needs no cluster for that.
//!
//! This program is also the supervisor and the attempt of its tests, as the `updraft` binary is in production.
#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test")]

#[path = "../kubernetes/asked.rs"]
#[expect(dead_code, reason = "the tests of clusters use all of it")]
mod asked;
#[path = "../service/broker.rs"]
#[expect(dead_code, reason = "the service's tests use all of it")]
mod broker;
mod fleet;
mod outages;
mod program;

use std::{ffi::OsString, process::ExitCode};

use executor::{
    conformance::{self, Bench, Run},
    supervise,
};
use libtest_mimic::{Arguments, Trial};

use crate::fleet::Fleet;

/// The longest log of an attempt.
pub(crate) const LOG_BYTES_MAX: u64 = 4 << 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|argument| argument.to_str()) {
        Some("attempt") => executor::attempt::run(),
        Some("supervise") => supervise(arguments),
        _ => {
            let suite = conformance::cases::<Fleet>().into_iter().map(|case| trial(case.name, case.run));
            let own = outages::cases().into_iter().map(|(name, run)| {
                Trial::test(name, move || {
                    runtime().block_on(async { run(Bench::new(Fleet::start().await)).await });
                    Ok(())
                })
            });
            libtest_mimic::run(&Arguments::from_args(), suite.chain(own).chain(program::trials()).collect())
                .exit_code()
        }
    }
}

fn trial(name: &str, run: fn(Fleet) -> Run) -> Trial {
    Trial::test(name, move || {
        runtime().block_on(async { run(Fleet::start().await).await });
        Ok(())
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The arguments that a worker gives its supervisor. It is ended with its test, not with its parent.
fn supervise(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut folder = || arguments.nth(1).unwrap();
    let mut options = supervise::Options::new(folder().into());
    options.objects = folder().into();
    options.log_bytes_max = LOG_BYTES_MAX;
    supervise::run(options).map_or_else(|error| panic!("{error:?}"), |()| ExitCode::SUCCESS)
}
