//! Real pods: the conformance suite of executors against a cluster with the real task API, the causes of death that only a cluster
//! knows, and a service whose tasks run in pods.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "this is a test")]

#[expect(dead_code, reason = "the tests of the program in a pod use all of it")]
mod asked;
mod causes;
mod harness;
#[path = "../service/site.rs"]
#[expect(dead_code, reason = "the service's tests use all of it")]
mod site;
mod whole;

use std::process::ExitCode;

use executor::conformance::{self, Run};
use libtest_mimic::{Arguments, Trial};

use crate::harness::Pods;

fn main() -> ExitCode {
    let suite = conformance::cases::<Pods>().into_iter().map(|case| trial(case.name, case.run));
    let own = causes::cases().into_iter().map(|(name, run)| trial(name, run));
    libtest_mimic::run(&Arguments::from_args(), suite.chain(own).chain(whole::trials()).collect()).exit_code()
}

fn trial(name: &str, run: fn(Pods) -> Run) -> Trial {
    Trial::test(name, move || {
        whole::load_image();
        runtime().block_on(async { run(Pods::start().await).await });
        Ok(())
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
