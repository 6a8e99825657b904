//! The tools of the cases.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use dags::{
    ids::{
        AttemptId, BundleId, DagId, DagVersion, DispatchId, ExecutorName, RunId, RunName, TaskId, TenantId,
    },
    time::{Span, Timestamp},
};
use engine::dispatch::{Dispatch, End, Kill, News, Report};
use plugins::{
    context::{AttemptContext, Connection, RunContext, TaskContext},
    policy::Policy,
};
use rustix::process::{Pid, PidfdFlags};
use serde_json::{Map, json};
use uuid::Uuid;

use super::Harness;
use crate::{Error, Executor as _, Work, log::LogLine};

/// Nothing that a case waits for takes longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often a log or file is looked at that a case waits for.
const LOOK: Duration = Duration::from_millis(5);

/// A harness, and what has been reported to it.
#[derive(Debug)]
pub struct Bench<H> {
    /// The harness.
    pub harness: H,
    seen: BTreeMap<(DispatchId, u32, u32), News>,
}

impl<H: Harness> Bench<H> {
    /// A bench for one case.
    pub fn new(harness: H) -> Self {
        Self { harness, seen: BTreeMap::new() }
    }

    /// Work that runs a command.
    pub fn bash(&self, command: &str) -> Work {
        self.harness.work(command)
    }

    /// Submits work; returns its id.
    pub async fn submit(&self, work: Work) -> DispatchId {
        let id = work.dispatch.id;
        self.harness.executor().submit(work).await.unwrap();
        id
    }

    /// Runs a command to its end.
    pub async fn run(&mut self, command: &str) -> (DispatchId, End) {
        let id = self.submit(self.bash(command)).await;
        let end = self.ended(id).await;
        (id, end)
    }

    /// Asks for a kill.
    pub async fn kill(&self, id: DispatchId, grace: Span) {
        self.kill_all(id, 1, grace).await;
    }

    /// Asks for a kill of so many members.
    pub async fn kill_all(&self, id: DispatchId, members: u32, grace: Span) {
        let executor = ExecutorName::parse("local").unwrap();
        self.harness
            .executor()
            .kill(Kill { id, members, executor, worker: None, grace, reason: "asked by a test".to_owned() })
            .await
            .unwrap();
    }

    /// Waits for the report of the start; the process id.
    pub async fn started(&mut self, id: DispatchId) -> Option<u32> {
        self.news(id, 0, |news| match news {
            News::Started { pid, .. } => Some(*pid),
            News::Ended(_) => None,
        })
        .await
    }

    /// Waits for the report of the end.
    pub async fn ended(&mut self, id: DispatchId) -> End {
        self.member_ended(id, 0).await
    }

    /// Waits for the report of a member's end.
    pub async fn member_ended(&mut self, id: DispatchId, member: u32) -> End {
        self.news(id, member, |news| match news {
            News::Ended(end) => Some(end.clone()),
            News::Started { .. } => None,
        })
        .await
    }

    /// Whether a start was reported so far.
    pub fn was_started(&self, id: DispatchId) -> bool {
        self.seen.contains_key(&(id, 0, 1))
    }

    async fn news<T>(&mut self, id: DispatchId, member: u32, wanted: impl Fn(&News) -> Option<T>) -> T {
        loop {
            let seen = self.seen.range((id, member, 0)..=(id, member, u32::MAX));
            if let Some(found) = seen.into_iter().find_map(|(_, news)| wanted(news)) {
                return found;
            }
            let report = tokio::time::timeout(PATIENCE, self.harness.reports().recv()).await;
            let report = report.unwrap_or_else(|_| panic!("a report of member {member} of {id} is missing"));
            self.take(report.expect("invariant: the harness keeps the sending end"));
        }
    }

    fn take(&mut self, report: Report) {
        let key = (report.dispatch, report.member, report.seq);
        match self.seen.get(&key) {
            Some(before) => assert_eq!(*before, report.news, "report {key:?} has changed"),
            None => drop(self.seen.insert(key, report.news)),
        }
    }

    /// Restarts the client; all that was reported must come again.
    pub async fn restart_client(&mut self) {
        self.harness.restart_client().await;
        self.seen.clear();
    }

    /// The client is lost for good, and another one takes its place: all that was reported must come again.
    pub async fn lose_client(&mut self) {
        self.harness.lose_client().await;
        self.seen.clear();
    }

    /// All lines of a member's log so far.
    pub async fn log(&self, id: DispatchId) -> Vec<LogLine> {
        let (mut lines, mut next) = (Vec::new(), 0);
        loop {
            let chunk = match self.harness.executor().logs(id, 0, next).await {
                // Whoever keeps it has nothing of it yet.
                Err(Error::Unknown { .. }) if !self.harness.forgets_logs() => return lines,
                chunk => chunk.unwrap(),
            };
            let end = chunk.complete || chunk.lines.is_empty();
            next = chunk.next;
            lines.extend(chunk.lines);
            if end {
                return lines;
            }
        }
    }

    /// The texts of a log.
    pub async fn texts(&self, id: DispatchId) -> Vec<String> {
        self.log(id).await.into_iter().map(|line| line.text).collect()
    }

    /// Waits for a line in a running attempt's log.
    pub async fn wait_for_line(&self, id: DispatchId, text: &str) {
        until(&format!("line {text:?}"), async || self.texts(id).await.iter().any(|line| line == text)).await;
    }

    /// Waits until the executor holds nothing.
    pub async fn holds_nothing(&self) {
        until("an empty list", async || {
            self.harness.executor().list().await.is_ok_and(|held| held.is_empty())
        })
        .await;
    }

    /// Waits until a condition holds.
    pub async fn wait_for(&self, what: &str, condition: impl Fn() -> bool) {
        until(what, async || condition()).await;
    }

    /// A file of the case.
    pub fn file(&self, name: &str) -> PathBuf {
        self.harness.folder().join(name)
    }

    /// Makes a named pipe, on which an attempt can wait for the case.
    pub fn pipe(&self, name: &str) -> PathBuf {
        let path = self.file(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        path
    }

    /// Lets an attempt go on that waits in `read < pipe`.
    pub async fn release(&self, pipe: PathBuf) {
        let write = tokio::task::spawn_blocking(move || std::fs::write(pipe, "go\n"));
        tokio::time::timeout(PATIENCE, write).await.unwrap().unwrap().unwrap();
    }
}

/// Waits until a condition holds.
#[expect(
    clippy::disallowed_methods,
    reason = "logs and processes are looked at; nobody tells of their changes"
)]
pub(super) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The process ids that a file has, one per line.
pub(super) fn pids(path: &std::path::Path) -> Vec<Pid> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| Pid::from_raw(line.trim().parse().unwrap()).unwrap()).collect()
}

/// Waits until a process is gone.
pub(super) async fn dead(pid: Pid) {
    // A zombie that nobody reaps is dead as well: its environment is gone.
    let gone = || match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Err(_) => true,
        Ok(_) => std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_or(true, |stat| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))),
    };
    until(&format!("the end of process {pid}"), async || gone()).await;
}

/// What the executor says to something that it doesn't hold.
pub(super) fn is_unknown<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Unknown { .. }))
}

/// A connection with a password.
pub(super) fn connection(password: &str) -> Connection {
    Connection {
        conn_type: "http".to_owned(),
        host: None,
        port: None,
        schema: None,
        login: None,
        password: Some(password.to_owned()),
        extra: Map::new(),
    }
}

/// Work that runs a command in Bash, as a new dispatch each time.
pub fn work(bundle_dir: PathBuf, command: &str) -> Work {
    let id = DispatchId { attempt: AttemptId(Uuid::now_v7()), n: 1 };
    let (dag_id, run_name) = (DagId::parse("conformance").unwrap(), RunName::parse("manual__1").unwrap());
    let task_id = TaskId::parse("task").unwrap();
    let dispatch = Dispatch {
        format: engine::format::Format,
        id,
        tenant: TenantId::DEFAULT,
        run: RunId(Uuid::now_v7()),
        dag_id: dag_id.clone(),
        run_name: run_name.clone(),
        version: DagVersion("v1:0".into()),
        bundle: BundleId("0".into()),
        task_id: task_id.clone(),
        map_index: -1,
        try_number: 1,
        members: 1,
        executor: ExecutorName::parse("local").unwrap(),
        worker: None,
        timeout: None,
        waited: Span::ZERO,
    };
    let Some(args) = json!({ "command": command, "strict": false }).as_object().cloned() else {
        panic!("an object")
    };
    let context = AttemptContext {
        dispatch: id,
        member: 0,
        members: 1,
        tenant: TenantId::DEFAULT,
        task: TaskContext {
            task_id,
            map_index: -1,
            try_number: 1,
            max_tries: 1,
            waited: Span::ZERO,
            operator: "bash".to_owned(),
            args,
            templated: Vec::new(),
            env: BTreeMap::new(),
            timeout: None,
            memory_bytes: 0,
            cpu_milli: 0,
            gpu: None,
            pod: None,
        },
        run: RunContext {
            dag_id,
            run_name,
            run_type: "manual".to_owned(),
            logical_date: None,
            data_interval_start: None,
            data_interval_end: None,
            run_after: Timestamp(0),
            previous: None,
            asset_events: BTreeMap::new(),
            sample: None,
            timezone: "UTC".to_owned(),
            params: Map::new(),
            conf: Map::new(),
        },
        bundle_dir,
        outputs: BTreeMap::new(),
        map: Map::new(),
        secret_variables: std::collections::BTreeSet::new(),
        variables: BTreeMap::new(),
        connections: BTreeMap::new(),
        policy: Policy::default(),
    };
    Work { dispatch, context }
}
