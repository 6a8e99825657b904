//! The local executor against real processes: the conformance suite, and what is particular to the supervisor.
//!
//! This program is also the supervisor and the attempt of its tests, as the `updraft` binary is in production.

#![expect(clippy::unwrap_used, clippy::panic, reason = "this is a test")]

use std::{ffi::OsString, path::Path, process::ExitCode};

use engine::dispatch::Report;
use executor::{
    conformance::{self, Bench, Harness, Run},
    local::{self, LocalExecutor},
    supervise,
};
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Pid, Signal};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

mod supervisor;

const LOG_BYTES_MAX: u64 = 4 << 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|argument| argument.to_str()) {
        Some("attempt") => executor::attempt::run(),
        Some("supervise") => {
            let mut options = supervise::Options::new(arguments.next().unwrap().into());
            options.log_bytes_max = LOG_BYTES_MAX;
            options.cgroups = arguments.next().is_none();
            supervise::run(options).map_or_else(|error| panic!("{error:?}"), |()| ExitCode::SUCCESS)
        }
        _ => {
            let cases = conformance::cases::<Local>();
            let all = cases.iter().map(|case| (case.name.to_owned(), case.run, Cgroups::IfPossible));
            let limits = cases.iter().filter(|case| case.name.contains("memory_limit"));
            let without =
                limits.map(|case| (format!("{}_without_cgroups", case.name), case.run, Cgroups::Never));
            let conformance = all
                .chain(without)
                .map(|(name, run, cgroups)| trial(&name, move || run(Local::start(cgroups))));
            let own = supervisor::cases()
                .into_iter()
                .map(|(name, run)| trial(name, move || run(Bench::new(Local::start(Cgroups::IfPossible)))));
            libtest_mimic::run(&Arguments::from_args(), conformance.chain(own).collect()).exit_code()
        }
    }
}

fn trial(name: &str, run: impl FnOnce() -> Run + Send + 'static) -> Trial {
    Trial::test(name, move || {
        runtime().block_on(async { run().await });
        Ok(())
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A local executor with a supervisor of its own.
struct Local {
    root: tempfile::TempDir,
    cgroups: Cgroups,
    work: std::path::PathBuf,
    client: Client,
}

/// Whether the supervisor may use cgroups.
#[derive(Clone, Copy)]
enum Cgroups {
    IfPossible,
    Never,
}

struct Client {
    executor: LocalExecutor,
    reports: mpsc::Receiver<Report>,
    cancel: CancellationToken,
    service: JoinHandle<()>,
}

impl Client {
    #[expect(clippy::disallowed_methods, reason = "the handle is kept and awaited")]
    fn open(root: &Path, cgroups: Cgroups) -> Self {
        let dir = root.join("supervisor");
        let mut arguments: Vec<OsString> = ["supervise".into(), dir.clone().into()].into();
        match cgroups {
            Cgroups::IfPossible => {}
            Cgroups::Never => arguments.push("--no-cgroups".into()),
        }
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
    fn start(cgroups: Cgroups) -> Self {
        let root = tempfile::tempdir().unwrap();
        let work = root.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let client = Client::open(root.path(), cgroups);
        Self { root, cgroups, work, client }
    }

    async fn stop_client(&mut self) {
        self.client.cancel.cancel();
        (&mut self.client.service).await.unwrap();
    }

    /// The supervisor's folder.
    fn dir(&self) -> std::path::PathBuf {
        self.root.path().join("supervisor")
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
        self.stop_client().await;
        self.client = Client::open(self.root.path(), self.cgroups);
    }

    async fn lose_client(&mut self) {
        // It ends in the middle of whatever it does.
        self.client.service.abort();
        self.client = Client::open(self.root.path(), self.cgroups);
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
        let mine = [b"\0supervise\0", self.dir().to_str().unwrap().as_bytes(), b"\0"].concat();
        for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let pid = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            if let Some(pid) = pid.filter(|_| command.windows(mine.len()).any(|part| part == mine)) {
                rustix::process::kill_process(pid, Signal::KILL).unwrap();
            }
        }
    }
}
