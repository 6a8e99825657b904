//! The service under test: every process of it, with a way of its own to each server, kept running as a machine's service
//! manager would.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use dags::ids::TenantId;
use migrations::{Db, Role, TenantScope};
use rustix::process::{Pid, Signal};
use sqlx::{Connection as _, Executor as _};
use tests::proxy::{Flow, Proxy};

use crate::{
    servers::{Server, Servers, address, beside, through},
    timeline::Timeline,
};

pub(crate) const SCOPE: TenantScope = TenantScope::new(TenantId::DEFAULT);
/// A process that ended by itself is started again after this.
const RESTART: Duration = Duration::from_secs(1);
/// How long the first start may take.
const BEGIN_MAX: Duration = Duration::from_mins(1);
/// The queue of the worker that runs nothing.
pub(crate) const NOOP_QUEUE: &str = "noop";

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Scheduler,
    Api,
    Worker,
}

/// All processes, by name.
pub(crate) const PROCESSES: [(&str, Kind); 7] = [
    ("scheduler1", Kind::Scheduler),
    ("scheduler2", Kind::Scheduler),
    ("api1", Kind::Api),
    ("api2", Kind::Api),
    ("worker1", Kind::Worker),
    ("worker2", Kind::Worker),
    ("noop1", Kind::Worker),
];

/// Where a process's way leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    To(Server),
    TaskApi,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: &'static str,
    pub(crate) role: Kind,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    /// When it is started again; none if it isn't to run.
    start_at: Option<Instant>,
    /// It was told to end.
    asked: bool,
    pub(crate) ways: BTreeMap<Way, Proxy>,
}

/// Everything. What uses something else comes before it, so that it is gone before.
pub(crate) struct World {
    pub(crate) processes: Vec<Process>,
    pub(crate) db: Db,
    pub(crate) servers: Servers,
    folder: tempfile::TempDir,
    pub(crate) timeline: Timeline,
    /// Starts of processes that ended without being told to.
    pub(crate) restarts: u32,
}

impl World {
    /// Servers, an empty database, and settings for each process. Nothing runs yet.
    pub(crate) async fn new(timeline: Timeline) -> Self {
        let servers = tokio::task::spawn_blocking(Servers::start).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        for name in ["dags", "data"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut admin = sqlx::PgConnection::connect(&servers.postgres).await.unwrap();
        admin.execute("CREATE DATABASE chaos").await.unwrap();
        let (base, _) = servers.postgres.rsplit_once('/').expect("the URL of the server names a database");
        let url = format!("{base}/chaos");
        let db = Db::connect(&url, Role::Service).await.unwrap();
        let mut world = Self { folder, servers, db, processes: Vec::new(), timeline, restarts: 0 };
        let task_apis = [free(), free()];
        world.add_processes(&url, &task_apis).await;
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn add_processes(&mut self, url: &str, task_apis: &[SocketAddr; 2]) {
        let (postgres, amqp) = (address(url), address(&self.servers.amqp));
        self.settings("migrate", url, "", "");
        let settings = self.path("migrate.toml");
        let made = run(&["migrate", "up", "--config", &settings.to_string_lossy()]);
        assert!(made.is_ok(), "{made:?}");
        for (name, role) in PROCESSES {
            let mut ways = BTreeMap::new();
            let mut arguments = vec![
                match role {
                    Kind::Scheduler => "scheduler",
                    Kind::Api => "api",
                    Kind::Worker => "worker",
                }
                .to_owned(),
            ];
            let to_broker = Proxy::open(vec![amqp]).await.unwrap();
            let broker = format!("{}/%2f", through(&self.servers.amqp, to_broker.port()));
            if role == Kind::Worker {
                let api = Proxy::open(task_apis.to_vec()).await.unwrap();
                fs::create_dir(self.path(name)).unwrap();
                let token = run(&["workers", "enrol", "--config", &settings.to_string_lossy()]).unwrap();
                fs::write(self.path(&format!("{name}.token")), token).unwrap();
                let text = format!(
                    "[node]\ndata = '{}'\n[broker]\nurl = '{broker}'\n[log]\nformat = \"json\"\n[worker]\n\
                     api = 'http://127.0.0.1:{}'\nname = '{name}'\nenrolment_token_file = '{}'\n{}",
                    self.path(name).display(),
                    api.port(),
                    self.path(&format!("{name}.token")).display(),
                    if name.starts_with(NOOP_QUEUE) {
                        format!("noop = true\nslots = 256\nqueues = ['{NOOP_QUEUE}']\n")
                    } else {
                        "slots = 8\n".to_owned()
                    },
                );
                self.write_settings(name, &text);
                ways.insert(Way::To(Server::Rabbitmq), to_broker);
                ways.insert(Way::TaskApi, api);
            } else {
                let to_database = Proxy::open(vec![postgres]).await.unwrap();
                let listen = if role == Kind::Api {
                    let which = usize::from(name.ends_with('2'));
                    format!("[task_api]\nlisten = '{}'\n", task_apis[which])
                } else {
                    String::new()
                };
                self.settings(name, &through(url, to_database.port()), &broker, &listen);
                ways.insert(Way::To(Server::Postgres), to_database);
                if role == Kind::Scheduler {
                    ways.insert(Way::To(Server::Rabbitmq), to_broker);
                }
            }
            arguments
                .extend(["--config".to_owned(), self.path(&format!("{name}.toml")).display().to_string()]);
            let log = self.path(&format!("{name}.log"));
            let (child, start_at, asked) = (None, Some(Instant::now()), false);
            self.processes.push(Process { name, role, arguments, log, child, start_at, asked, ways });
        }
    }

    /// Settings of a process of the service itself.
    fn settings(&self, name: &str, url: &str, broker: &str, more: &str) {
        let broker = if broker.is_empty() { String::new() } else { format!("[broker]\nurl = '{broker}'\n") };
        let executors = if broker.is_empty() { "" } else { "[executors.workers]\nkind = \"workers\"\n" };
        let executor = if broker.is_empty() { "" } else { "[scheduler]\ndefault_executor = \"workers\"\n" };
        let text = format!(
            "[node]\ndata = '{}'\n[database]\nurl = '{url}'\n[dags]\nfolder = '{}'\n[api]\nsocket = '{}'\n\
             [log]\nformat = \"json\"\n{broker}{executors}{executor}{more}",
            self.path("data").display(),
            self.path("dags").display(),
            self.path(&format!("{name}.sock")).display(),
        );
        self.write_settings(name, &text);
    }

    fn write_settings(&self, name: &str, text: &str) {
        let path = self.path(&format!("{name}.toml"));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Starts what is to run and doesn't, and takes note of what has ended.
    pub(crate) fn keep_running(&mut self) {
        for process in &mut self.processes {
            if let Some(child) = &mut process.child
                && let Some(status) = child.try_wait().unwrap()
            {
                process.child = None;
                if process.asked {
                    self.timeline.note(format!("{} has ended: {status}", process.name));
                } else {
                    self.timeline.note(format!("{} ended by itself: {status}", process.name));
                    self.restarts += 1;
                    process.start_at = Some(Instant::now() + RESTART);
                }
            }
            if process.child.is_none() && process.start_at.is_some_and(|at| at <= Instant::now()) {
                process.start(&self.timeline);
            }
        }
    }

    /// Starts everything and waits until each machine is enrolled and can't be told apart from one that works.
    pub(crate) async fn begin(&mut self) {
        let start = Instant::now();
        loop {
            self.keep_running();
            let workers = self.processes.iter().filter(|process| process.role == Kind::Worker);
            let enrolled = workers.map(|process| self.path(process.name).join("worker.credential"));
            let sockets = ["api1.sock", "api2.sock"].map(|name| self.path(name));
            if enrolled.chain(sockets).all(|path| path.exists()) {
                self.restarts = 0;
                return;
            }
            assert!(
                start.elapsed() < BEGIN_MAX,
                "the service doesn't start; the logs are in {:?}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Every log.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        self.processes.iter().map(|process| process.log.clone()).filter(|log| log.exists()).collect()
    }

    /// Processes of the supervisor's program below a folder of ours.
    pub(crate) fn supervisors(&self, below: &str) -> Vec<Pid> {
        let folder = self.path(below).to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            let Some(pid) = pid else { continue };
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = command.split(|byte| *byte == 0);
            if words.any(|word| word == b"supervise") && String::from_utf8_lossy(&command).contains(&folder) {
                found.push(pid);
            }
        }
        found
    }

    /// All is well again from here on: what was cut is open, what was paused goes on.
    pub(crate) async fn heal(&mut self) {
        self.timeline.note("everything is mended");
        for server in Server::ALL {
            server.hit("cont").await;
        }
        for process in &mut self.processes {
            process.ways.values().for_each(|way| way.set(Flow::Open));
            process.signal(Signal::CONT);
            if process.child.is_none() {
                process.start_at = process.start_at.or(Some(Instant::now()));
            }
        }
        self.keep_running();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Nothing is left behind, also by a test that failed. A supervisor ends its tasks with itself.
        self.processes.clear();
        for pid in self.supervisors("") {
            // An error says that it has ended already.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

impl Process {
    fn start(&mut self, timeline: &Timeline) {
        let stderr = fs::File::options().append(true).create(true).open(&self.log).unwrap();
        let child = Command::new(beside("updraft"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        timeline.note(format!("{} starts, pid {}", self.name, child.id()));
        (self.child, self.start_at, self.asked) = (Some(child), None, false);
    }

    /// Sends a signal, if it runs.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            match rustix::process::kill_process(Pid::from_child(child), signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => panic!("{} can't be sent {signal:?}: {error}", self.name),
            }
        }
    }

    /// `kill -9`; it is started again then.
    pub(crate) fn kill(&mut self, start_in: Duration) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        self.start_at = Some(Instant::now() + start_in);
    }

    /// Asks it to end, for good or until it is started again when it has.
    pub(crate) fn ask_to_end(&mut self, again: bool) {
        self.signal(Signal::TERM);
        self.asked = true;
        self.start_at = again.then(Instant::now);
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // An error says that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An address that nobody has at present.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Runs a command to its end, for what it prints.
fn run(arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new(beside("updraft")).args(arguments).output().unwrap();
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Where what a failed test leaves is written.
pub(crate) fn evidence(seed: u64) -> PathBuf {
    let program = beside("updraft");
    let target = program.parent().and_then(Path::parent).expect("a program lies in target/<profile>");
    target.join(format!("chaos/{seed}"))
}
