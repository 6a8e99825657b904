//! The local executor against real processes: the conformance suite, and what is particular to the supervisor.
//!
//! This program is also the supervisor and the attempt of its tests, as the `updraft` binary is in production.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test")]

use std::{path::Path, process::ExitCode};

use engine::dispatch::Report;
use executor::{
    conformance::{self, Harness},
    local::{self, LocalExecutor},
    supervise,
};
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Pid, Signal};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const LOG_BYTES_MAX: u64 = 4 << 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|argument| argument.to_str()) {
        Some("attempt") => executor::attempt::run(),
        Some("supervise") => {
            let mut options = supervise::Options::new(arguments.next().unwrap().into());
            options.log_bytes_max = LOG_BYTES_MAX;
            supervise::run(options).map_or_else(|error| panic!("{error:?}"), |()| ExitCode::SUCCESS)
        }
        _ => {
            let trials = conformance::cases::<Local>().into_iter().map(|case| {
                Trial::test(case.name, move || {
                    runtime().block_on(async { (case.run)(Local::start()).await });
                    Ok(())
                })
            });
            libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A local executor with a supervisor of its own.
struct Local {
    root: tempfile::TempDir,
    work: std::path::PathBuf,
    client: Client,
}

struct Client {
    executor: LocalExecutor,
    reports: mpsc::Receiver<Report>,
    cancel: CancellationToken,
    service: JoinHandle<()>,
}

impl Client {
    fn open(root: &Path) -> Self {
        let dir = root.join("supervisor");
        let arguments = ["supervise".into(), dir.clone().into()].into();
        let options =
            local::Options { dir, program: std::env::current_exe().unwrap(), arguments, slots: 100 };
        // A small channel, so that reports have to wait.
        let (sender, reports) = mpsc::channel(2);
        let (executor, service) = local::open(options, sender);
        let cancel = CancellationToken::new();
        let service = tokio::spawn(service.run(cancel.clone()));
        Self { executor, reports, cancel, service }
    }
}

impl Local {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let work = root.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let client = Client::open(root.path());
        Self { root, work, client }
    }
}

impl Harness for Local {
    type Executor = LocalExecutor;

    fn executor(&self) -> LocalExecutor {
        self.client.executor.clone()
    }

    fn reports(&mut self) -> &mut mpsc::Receiver<Report> {
        &mut self.client.reports
    }

    fn folder(&self) -> &Path {
        &self.work
    }

    fn log_bytes_max(&self) -> u64 {
        LOG_BYTES_MAX
    }

    async fn restart_client(&mut self) {
        self.client.cancel.cancel();
        (&mut self.client.service).await.unwrap();
        self.client = Client::open(self.root.path());
    }

    async fn kill_runtime(&mut self) {
        let (pid, _) = self.client.executor.supervisor().await.unwrap();
        rustix::process::kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // Not even a failed test leaves a supervisor behind. One may be starting right now.
        self.client.cancel.cancel();
        while !self.client.service.is_finished() {
            std::thread::yield_now();
        }
        let tail =
            [b"\0supervise\0", self.root.path().join("supervisor").to_str().unwrap().as_bytes(), b"\0"]
                .concat();
        for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let pid = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            if let Some(pid) = pid.filter(|_| command.ends_with(&tail)) {
                rustix::process::kill_process(pid, Signal::KILL).unwrap();
            }
        }
    }
}
