//! What workers ask for: what they get when it isn't there, when they may not, and when it can't be stored.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
};

use dags::ids::{DispatchId, TenantId};
use engine::state::{RunState, TaskState};
use migrations::store;
use scheduler::objects::Objects;

use crate::{
    site::{LATE, SOON, program},
    workers::Fleet,
};

fn updraft(fleet: &Fleet, arguments: &[&str]) -> std::process::Output {
    Command::new(program())
        .args(arguments)
        .env("UPDRAFT__DATABASE__URL", fleet.site.url().unwrap())
        .output()
        .unwrap()
}

/// A DAG of one task for workers.
fn write(fleet: &Fleet, dag: &str, bash: &str) {
    let text =
        format!("dag: {dag}\ndefaults: {{ executor: workers }}\ntasks:\n  a:\n    bash: |\n      {bash}\n");
    fleet.site.write_dag(&format!("{dag}.yaml"), &text);
}

#[tokio::test]
async fn a_machine_whose_credential_is_taken_back_gives_its_work_back() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    let (effects, go) = (site.effects(), site.path("go"));
    let slow = format!(
        "echo slow {{{{ ti.try_number }}}} >> {0}; until [ -e {1} ]; do sleep 0.05; done",
        effects.display(),
        go.display()
    );
    site.write_dag(
        "slow.yaml",
        &format!("dag: slow\ndefaults: {{ executor: workers, retries: 1, retry_delay: 0s }}\ntasks:\n  a:\n    bash: |\n      {slow}\n"),
    );
    write(&fleet, "quick", &format!("echo quick {{{{ ti.try_number }}}} >> {}", effects.display()));
    let _service = fleet.start();
    site.dag_is_there("slow").await;
    site.dag_is_there("quick").await;
    let first = fleet.worker("worker1", &[]);
    site.trigger("slow", "r1").await;
    let lines = |n: usize| {
        site.until(LATE, "tasks have started", async move || {
            let lines = site.lines();
            if lines.len() >= n { Ok(()) } else { Err(format!("{lines:?}")) }
        })
    };
    lines(1).await;
    let revoked = updraft(&fleet, &["workers", "revoke", "worker1"]);
    assert!(revoked.status.success(), "{revoked:?}");
    // It is the only worker, so this goes there, and must not fail because of that.
    for run in ["r1", "r2", "r3"] {
        site.trigger("quick", run).await;
    }
    let log = first.log.clone();
    assert!(!first.exit(site).await.success());
    assert!(fs::read_to_string(log).unwrap().contains("the worker can't go on"), "it says why it left");
    fs::write(&go, "").unwrap();
    let _second = fleet.worker("worker2", &[]);
    for run in ["r1", "r2", "r3"] {
        assert_eq!(site.ended("quick", run).await.state, RunState::Success);
    }
    let run = site.ended("slow", "r1").await;
    assert_eq!((run.state, site.task(&run, "a").await.state), (RunState::Success, TaskState::Success));
    let (slow, quick): (Vec<_>, Vec<_>) = site.lines().into_iter().partition(|line| line.starts_with("slow"));
    assert_eq!(quick, ["quick 1", "quick 1", "quick 1"], "no try was spent on the machine");
    // What ran was given back or was lost, whatever came first.
    assert_eq!(slow.len(), 2, "{slow:?}");
}

#[tokio::test]
async fn a_machine_runs_attempts_of_one_tenant() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    assert!(updraft(&fleet, &["workers", "enrol"]).status.success(), "there is one tenant only");
    let other = TenantId(uuid::Uuid::now_v7());
    store::tenant::insert(&site.db, "test", other, "other", dags::ids::ShardId::DEFAULT).await.unwrap();
    let refused = updraft(&fleet, &["workers", "enrol"]);
    let says = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && says.contains("--tenant") && says.contains("other"), "{says}");
    let unknown = updraft(&fleet, &["workers", "enrol", "--tenant", "nobody"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no tenant `nobody`"), "{unknown:?}");
    let token = updraft(&fleet, &["workers", "enrol", "--tenant", "other"]).stdout;
    fs::write(site.path("worker1.token"), token).unwrap();
    write(&fleet, "d", "true");
    let _service = fleet.start();
    site.dag_is_there("d").await;
    let _worker = fleet.worker("worker1", &[]);
    site.until(SOON, "the worker is registered", async || {
        match &store::worker::list(&site.db, false, 10).await.unwrap()[..] {
            [worker] => {
                assert_eq!(worker.spec.tenants, Some([other].into()));
                Ok(())
            }
            others => Err(format!("{others:?}")),
        }
    })
    .await;
    site.trigger("d", "r1").await;
    let token = updraft(&fleet, &["workers", "enrol", "--tenant", "default"]).stdout;
    fs::write(site.path("worker2.token"), token).unwrap();
    let _worker = fleet.worker("worker2", &[]);
    let run = site.ended("d", "r1").await;
    let task = site.task(&run, "a").await;
    assert_eq!((run.state, task.try_number), (RunState::Success, 1));
    let workers = store::worker::list(&site.db, false, 10).await.unwrap();
    let ran = workers.iter().find(|worker| Some(worker.spec.worker) == task.worker).unwrap();
    assert_eq!(ran.name, "worker2");
}

#[tokio::test]
async fn a_log_of_short_lines_arrives_whole() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    write(&fleet, "chatty", "seq 1 30000; echo; echo; echo .");
    let _service = fleet.start();
    site.dag_is_there("chatty").await;
    let _worker = fleet.worker("worker1", &[]);
    site.trigger("chatty", "r1").await;
    let run = site.ended("chatty", "r1").await;
    let task = site.task(&run, "a").await;
    assert_eq!(run.state, RunState::Success);
    let objects = Objects::open(&site.path("data/objects")).unwrap();
    let id = DispatchId { attempt: task.attempt(), n: task.dispatch_n };
    let (mut texts, mut next) = (Vec::new(), 0);
    loop {
        let chunk = objects.read_log(id, 0, next).unwrap().unwrap();
        texts.extend(chunk.lines.into_iter().map(|line| line.text));
        if chunk.complete {
            break;
        }
        assert!(chunk.next > next, "a log that has ended is whole");
        next = chunk.next;
    }
    let wanted: Vec<String> =
        (1..=30_000).map(|n| n.to_string()).chain(["", "", "."].map(str::to_owned)).collect();
    assert_eq!(texts, wanted);
}

#[tokio::test]
async fn what_isnt_there_ends_the_attempt_and_says_so() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    write(&fleet, "d", "true");
    let _service = fleet.start();
    site.dag_is_there("d").await;
    let bundles = site.path("data/objects/bundles");
    for entry in fs::read_dir(&bundles).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    let _worker = fleet.worker("worker1", &[]);
    site.trigger("d", "r1").await;
    let run = site.ended("d", "r1").await;
    let task = site.task(&run, "a").await;
    assert_eq!(task.state, TaskState::Failed);
    let reason = task.reason.unwrap_or_default();
    assert!(reason.contains("its bundle isn't here"), "{reason}");
}

#[tokio::test]
async fn a_log_that_cant_be_stored_doesnt_hold_up_the_end() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    write(&fleet, "d", "echo hello");
    let _service = fleet.start();
    site.dag_is_there("d").await;
    let logs = site.path("data/objects/logs");
    fs::remove_dir_all(&logs).unwrap();
    fs::write(&logs, "in the way").unwrap();
    let _worker = fleet.worker("worker1", &[]);
    site.trigger("d", "r1").await;
    let run = site
        .until(LATE, "the run ends", async || match site.find_run("d", "r1").await {
            Some(run) if run.state.is_finished() => Ok(run),
            other => Err(format!("{other:?}")),
        })
        .await;
    assert_eq!(run.state, RunState::Success);
}

#[tokio::test]
async fn who_asks_is_known_before_a_body_is_read() {
    let fleet = Fleet::new().await;
    let _service = fleet.start();
    let ask = |method: &str, path: &str, more: &str| {
        let mut stream = TcpStream::connect(&fleet.listen).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(SOON)).unwrap();
        // A body is announced and never sent.
        let request = format!(
            "{method} /execution/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\nconnection: close\r\n{more}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = vec![0; 16];
        stream.read_exact(&mut answer).map_err(|error| error.to_string())?;
        Ok::<_, String>(String::from_utf8_lossy(&answer).into_owned())
    };
    fleet
        .site
        .until(SOON, "it listens", async || {
            TcpStream::connect(&fleet.listen).map_err(|error| error.to_string())
        })
        .await;
    let worker = uuid::Uuid::now_v7();
    for (method, path) in [
        ("POST", "workers".to_owned()),
        ("POST", format!("workers/{worker}/run")),
        ("PUT", "attempt/log/0?offset=0&last=false".to_owned()),
        ("PUT", "attempt/result".to_owned()),
    ] {
        for more in ["", "authorization: Bearer updraft_worker_x_000000\r\n"] {
            let answer = ask(method, &path, more).unwrap();
            assert!(answer.starts_with("HTTP/1.1 401"), "{method} {path}: {answer}");
        }
    }
    // Whoever has a token in the body may send so much and no more.
    let answer = ask("POST", "workers/enrol", "").unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}
