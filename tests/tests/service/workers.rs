//! Workers: attempts that run elsewhere, over the real broker, and what happens when workers and the service go.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
};

use dags::ids::DispatchId;
use engine::{
    dispatch::ResultRef,
    state::{RunState, TaskState},
};
use migrations::store;
use rustix::process::{Pid, Signal};
use scheduler::objects::Objects;

use crate::{
    broker::Vhost,
    site::{LATE, SCOPE, SOON, Service, Site, program},
};

/// A service with a broker, and its workers.
pub(crate) struct Fleet {
    pub(crate) site: Site,
    pub(crate) vhost: Vhost,
    /// The way to the broker.
    pub(crate) broker: String,
    pub(crate) listen: String,
}

impl Fleet {
    pub(crate) async fn new() -> Self {
        Self::of(Site::postgres().await)
    }

    pub(crate) fn of(site: Site) -> Self {
        // Free now, and nobody else's business in the moment until the service has it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let vhost = Vhost::new();
        Self { site, broker: vhost.url(), vhost, listen: format!("127.0.0.1:{port}") }
    }

    pub(crate) fn start(&self) -> Service {
        let settings = [
            "executors.local.slots=16".to_owned(),
            "executors.workers.kind=workers".to_owned(),
            format!("broker.url={}", self.broker),
            format!("task_api.listen={}", self.listen),
        ];
        self.site.start_with(&settings.each_ref().map(|setting| ["--set", setting]).concat())
    }

    /// Starts a worker in a folder of that name, which is enrolled if it isn't yet.
    pub(crate) fn worker(&self, name: &str, more: &[&str]) -> Worker {
        start_worker(&self.site, name, &self.listen, &self.broker, more)
    }
}

/// Starts a worker in a folder of that name, which is enrolled if it isn't yet, with the token that lies beside it or a new one.
pub(crate) fn start_worker(site: &Site, name: &str, api: &str, broker: &str, more: &[&str]) -> Worker {
    let data = site.path(name);
    let token = site.path(&format!("{name}.token"));
    if !data.join("worker.credential").exists() && !token.exists() {
        let made = Command::new(program())
            .args(["workers", "enrol"])
            .env("UPDRAFT__DATABASE__URL", site.url().unwrap())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        fs::write(&token, made.stdout).unwrap();
    }
    let log = site.path(&format!("{name}.log"));
    let stderr = fs::File::options().append(true).create(true).open(&log).unwrap();
    let child = Command::new(program())
        .args(["worker", "--api", &format!("http://{api}")])
        .env("UPDRAFT__BROKER__URL", broker)
        .arg("--data")
        .arg(&data)
        .arg("--enrolment-token-file")
        .arg(&token)
        .args(["--name", name])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    Worker { child, log }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in fs::read_dir(self.site.path("")).unwrap().flatten() {
                if entry.file_name().to_string_lossy().starts_with("worker") && entry.path().is_file() {
                    let text = fs::read_to_string(entry.path()).unwrap_or_default();
                    eprintln!("--- {}\n{text}", entry.path().display());
                }
            }
        }
    }
}

pub(crate) struct Worker {
    child: Child,
    pub(crate) log: std::path::PathBuf,
}

impl Worker {
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) async fn exit(mut self, site: &Site) -> std::process::ExitStatus {
        let log = self.log.clone();
        site.until(SOON, "the worker ends", async || {
            self.child.try_wait().unwrap().ok_or_else(|| fs::read_to_string(&log).unwrap())
        })
        .await
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const DAG: &str = r#"
dag: away
defaults: { executor: workers }
tasks:
  first:
    bash: |
      echo "a line of the log"
      ./tool.sh > "$UPDRAFT_RESULT"
  each:
    needs: first
    map: { letter: { output: first } }
    bash: |
      echo '"{{ map.letter }}!"' > "$UPDRAFT_RESULT"
  large:
    needs: each
    retries: 1
    retry_delay: 1s
    bash: |
      test {{ ti.try_number }} = 2
      printf '"%0100000d"' 7 > "$UPDRAFT_RESULT"
  last:
    needs: large
    executor: local
    bash: "true"
"#;

#[tokio::test]
async fn a_dag_runs_on_a_worker_and_all_of_it_is_kept() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    let tool = site.path("dags/tool.sh");
    fs::write(&tool, "#!/bin/sh\necho '[\"a\", \"b\"]'\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    site.write_dag("away.yaml", DAG);
    let _service = fleet.start();
    site.dag_is_there("away").await;
    site.trigger("away", "r1").await;
    let _worker = fleet.worker("worker1", &[]);
    let run = site.ended("away", "r1").await;
    let tasks = site.tasks(&run).await;
    let states: Vec<_> = tasks.iter().map(|task| (task.task.as_str(), task.state)).collect();
    assert_eq!(run.state, RunState::Success, "{states:?}");
    for task in &tasks {
        assert_eq!(task.worker.is_some(), task.task.as_str() != "last", "{task:?}");
    }
    let objects = Objects::open(&site.path("data/objects")).unwrap();
    let log = |name: &str| {
        let task = tasks.iter().find(|task| task.task.as_str() == name).unwrap();
        let id = DispatchId { attempt: task.attempt(), n: task.dispatch_n };
        let chunk = objects.read_log(id, 0, 0).unwrap().unwrap();
        assert!(chunk.complete);
        chunk.lines.into_iter().map(|line| line.text).collect::<Vec<_>>()
    };
    assert_eq!(log("first"), ["a line of the log"]);
    let each = tasks.iter().find(|task| task.task.as_str() == "each").unwrap();
    let each = DispatchId { attempt: each.attempt(), n: each.dispatch_n };
    assert_eq!(objects.read_log(each, 0, 0).unwrap(), None, "what says nothing has no log");
    let large = tasks.iter().find(|task| task.task.as_str() == "large").unwrap();
    assert_eq!(large.try_number, 2);
    let values = store::result::of_task(&site.db, SCOPE, run.run, &large.task).await.unwrap();
    let ResultRef::Stored { digest, bytes } = &values[0].value else { panic!("{values:?}") };
    assert_eq!((objects.result(digest).unwrap().len() as u64, *bytes), (100_002, 100_002));
}

#[tokio::test]
async fn a_worker_that_is_drained_ends_what_it_runs() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    site.write_dag(
        "slow.yaml",
        &format!(
            "dag: slow\ndefaults: {{ executor: workers }}\ntasks:\n  a:\n    bash: echo started >> {0}; sleep 2; echo ended >> {0}\n",
            site.effects().display()
        ),
    );
    let _service = fleet.start();
    site.dag_is_there("slow").await;
    let worker = fleet.worker("worker1", &[]);
    site.trigger("slow", "r1").await;
    site.until(SOON, "the task has started", async || {
        if site.lines().is_empty() { Err(String::new()) } else { Ok(()) }
    })
    .await;
    worker.signal(Signal::TERM);
    assert!(worker.exit(site).await.success());
    let run = site.ended("slow", "r1").await;
    assert_eq!(
        (run.state, site.lines()),
        (RunState::Success, vec!["started".to_owned(), "ended".to_owned()])
    );
    assert!(store::worker::list(&site.db, false, 10).await.unwrap().is_empty(), "it said goodbye");
}

#[tokio::test]
async fn attempts_of_a_killed_worker_are_tried_elsewhere_and_those_of_a_killed_service_go_on() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    site.write_dag(
        "twice.yaml",
        &format!(
            "dag: twice\ndefaults: {{ executor: workers }}\ntasks:\n  a:\n    retries: 1\n    retry_delay: 0s\n    bash: |\n      \
             echo try {{{{ ti.try_number }}}} >> {0}\n      until [ -e {1} ]; do sleep 0.05; done\n",
            site.effects().display(),
            site.path("go").display()
        ),
    );
    let service = fleet.start();
    site.dag_is_there("twice").await;
    let first = fleet.worker("worker1", &[]);
    site.trigger("twice", "r1").await;
    let lines = |n: usize| {
        let wanted = async move || {
            let lines = site.lines();
            if lines.len() >= n { Ok(()) } else { Err(format!("{lines:?}")) }
        };
        site.until(LATE, "the task has started", wanted)
    };
    lines(1).await;
    first.signal(Signal::KILL);
    let _second = fleet.worker("worker2", &[]);
    lines(2).await;
    assert_eq!(site.lines(), ["try 1", "try 2"]);
    // The service is killed while the second try runs, and finds it again.
    service.kill();
    fs::write(site.path("go"), "").unwrap();
    let _service = fleet.start();
    let run = site.ended("twice", "r1").await;
    assert_eq!(run.state, RunState::Success);
    assert_eq!(site.task(&run, "a").await.state, TaskState::Success);
    assert_eq!(site.lines(), ["try 1", "try 2"], "nothing ran again");
}

#[tokio::test]
async fn what_is_no_message_goes_to_the_dead_letter_queue() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    site.write_dag("d.yaml", "dag: d\ndefaults: { executor: workers }\ntasks:\n  a:\n    bash: 'true'\n");
    let _service = fleet.start();
    site.dag_is_there("d").await;
    let queue = format!("updraft.shard.{}", dags::ids::ShardId::DEFAULT);
    site.until(SOON, "the queue is there", async || fleet.vhost.messages(&queue).ok_or_else(String::new))
        .await;
    for nonsense in ["", "{}", "{\"format\":2,\"worker\":7}", "\u{0}"] {
        fleet.vhost.publish(&queue, nonsense);
    }
    site.until(SOON, "they are dead letters", async || match fleet.vhost.messages("updraft.dead") {
        Some(4) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let _worker = fleet.worker("worker1", &[]);
    site.trigger("d", "r1").await;
    assert_eq!(site.ended("d", "r1").await.state, RunState::Success);
}
