//! The program in a pod, as a process of this machine: what it does needs no cluster.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use dags::time::Span;
use engine::{
    dispatch::{Dispatch, End, Outcome, ResultRef},
    execution::{Ending, Ticket},
};
use executor::{Work, conformance, worker::pod::Orders};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal};
use tokio_util::sync::CancellationToken;

use crate::{
    LOG_BYTES_MAX,
    asked::{Asked, until},
};

/// What it exits with when it couldn't do its work.
const UNABLE: i32 = 112;

pub(crate) fn trials() -> Vec<Trial> {
    fn trial(name: &str, run: impl AsyncFn(Machine) + Send + 'static) -> Trial {
        Trial::test(name.to_owned(), move || {
            crate::runtime().block_on(async {
                let machine = Machine::new().await;
                Box::pin(run(machine)).await;
            });
            Ok(())
        })
    }
    vec![
        trial("a_pod_claims_runs_and_says_how_it_ended", a_pod_claims_runs_and_says_how_it_ended),
        trial("a_pod_exits_as_its_attempt_does", a_pod_exits_as_its_attempt_does),
        trial("a_pod_that_is_told_to_end_asks_why", a_pod_that_is_told_to_end_asks_why),
        trial(
            "a_pod_that_nobody_asked_for_is_lost_when_it_is_ended",
            a_pod_that_nobody_asked_for_is_lost_when_it_is_ended,
        ),
        trial("a_pod_without_its_orders_says_so", a_pod_without_its_orders_says_so),
    ]
}

/// The program that was built beside this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(std::path::Path::parent).unwrap().join("updraft-pod");
    assert!(program.is_file(), "{} isn't there: run `cargo xtask build` first", program.display());
    program
}

/// This machine in place of a node.
struct Machine {
    root: tempfile::TempDir,
    asked: Asked,
    end: CancellationToken,
}

/// A running program, ended with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    async fn code(&mut self) -> Option<i32> {
        let cell = std::cell::RefCell::new(&mut self.0);
        until("the program's end", async || cell.borrow_mut().try_wait().unwrap().is_some()).await;
        self.0.wait().unwrap().code()
    }

    fn term(&self) {
        rustix::process::kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
    }
}

impl Machine {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let end = CancellationToken::new();
        let asked = Asked::serve(root.path(), None, &end).await;
        Self { root, asked, end }
    }

    fn work(&self, command: &str) -> Work {
        let mut work = conformance::work(PathBuf::new(), command);
        work.dispatch = Dispatch { bundle: self.asked.bundle.clone(), ..work.dispatch };
        self.asked.give(&work);
        work
    }

    /// Starts the program in a folder of that name, as a pod for that work.
    fn start(&self, name: &str, work: &Work) -> Running {
        let Dispatch { id, tenant, run, version, task_id, map_index, try_number, members, .. } =
            work.dispatch.clone();
        let proof = self.asked.keys.pod_proof(id, 0);
        let ticket = Ticket {
            dispatch: id,
            members,
            tenant,
            run,
            version,
            task: task_id,
            map_index,
            try_number,
            proof,
        };
        let orders = Orders::new(self.asked.url.clone(), None, 0, LOG_BYTES_MAX, ticket);
        let path = self.root.path().join(format!("{name}.json"));
        fs::write(&path, serde_json::to_vec(&orders).unwrap()).unwrap();
        self.start_with(name, &path)
    }

    fn start_with(&self, name: &str, orders: &std::path::Path) -> Running {
        let log = fs::File::create(self.root.path().join(format!("{name}.log"))).unwrap();
        let child = Command::new(program())
            .args(["run", "--orders"])
            .arg(orders)
            .arg("--data")
            .arg(self.root.path().join(name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Running(child.unwrap())
    }

    fn end_of(&self, work: &Work) -> End {
        self.asked.objects.end(work.dispatch.id, 0).unwrap().unwrap()
    }

    fn texts(&self, work: &Work) -> (Vec<String>, bool) {
        match self.asked.objects.read_log(work.dispatch.id, 0, 0).unwrap() {
            Some(chunk) => (chunk.lines.into_iter().map(|line| line.text).collect(), chunk.complete),
            None => (Vec::new(), false),
        }
    }

    async fn wait_for_line(&self, work: &Work, text: &str) {
        until(text, async || self.texts(work).0.iter().any(|line| line == text)).await;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn a_pod_claims_runs_and_says_how_it_ended(machine: Machine) {
    let work = machine.work("echo hi; echo '[1, 2]' > $UPDRAFT_RESULT");
    assert_eq!(machine.start("a", &work).code().await, Some(0));
    let end = machine.end_of(&work);
    assert_eq!((&end.outcome, end.exit_code, end.mapped_length), (&Outcome::Success, Some(0), Some(2)));
    assert_eq!(end.result, Some(ResultRef::Inline(serde_json::json!([1, 2]))));
    assert_eq!(machine.texts(&work), (vec!["hi".to_owned()], true));
    // A second pod of the same name can't have it, whatever it does.
    assert_eq!(machine.start("b", &work).code().await, Some(UNABLE));
    assert_eq!(machine.end_of(&work), end);
    machine.asked.confirm(work.dispatch.id, 0);
    assert_eq!(machine.start("c", &work).code().await, Some(UNABLE));
    let said = fs::read_to_string(machine.root.path().join("c.log")).unwrap();
    assert!(said.contains("it isn't current any more"), "{said}");
}

async fn a_pod_exits_as_its_attempt_does(machine: Machine) {
    for (command, code, outcome) in [
        ("exit 7", 7, Outcome::Failed),
        ("exit 99", 99, Outcome::Skipped),
        ("kill -SEGV $$", 139, Outcome::Failed),
    ] {
        let work = machine.work(command);
        assert_eq!(machine.start("a", &work).code().await, Some(code));
        assert_eq!(machine.end_of(&work).outcome, outcome);
        fs::remove_dir_all(machine.root.path().join("a")).unwrap();
    }
    let mut work = machine.work("true");
    work.dispatch.bundle = dags::ids::BundleId("0".repeat(64).into());
    machine.asked.give(&work);
    assert_eq!(machine.start("b", &work).code().await, Some(1));
    let end = machine.end_of(&work);
    assert_eq!(end.outcome, Outcome::NotStarted);
    assert!(end.reason.unwrap().contains("bundle"));
}

async fn a_pod_that_is_told_to_end_asks_why(machine: Machine) {
    let work = machine.work("trap 'echo cleaning; exit 0' TERM; echo ready; sleep 1000 & wait");
    let mut running = machine.start("a", &work);
    machine.wait_for_line(&work, "ready").await;
    let ending = Ending { reason: "asked by a test".to_owned(), grace: Span::seconds(60) };
    machine.asked.objects.put_ending(work.dispatch.id, 0, &ending).unwrap();
    running.term();
    running.code().await;
    let end = machine.end_of(&work);
    assert_eq!((end.outcome, end.reason.as_deref()), (Outcome::Killed, Some("asked by a test")));
    let (lines, complete) = machine.texts(&work);
    assert!(complete && lines.contains(&"cleaning".to_owned()), "{lines:?}");
    // A second wish shortens the grace of the first.
    let work = machine.work("trap '' TERM; echo ready; sleep 1000; sleep 1000");
    let mut running = machine.start("b", &work);
    machine.wait_for_line(&work, "ready").await;
    for grace in [Span::seconds(3600), Span::ZERO] {
        let ending = Ending { reason: "asked by a test".to_owned(), grace };
        machine.asked.objects.put_ending(work.dispatch.id, 0, &ending).unwrap();
        running.term();
    }
    running.code().await;
    assert_eq!(machine.end_of(&work).outcome, Outcome::Killed);
}

async fn a_pod_that_nobody_asked_for_is_lost_when_it_is_ended(machine: Machine) {
    let work = machine.work("echo ready; sleep 1000");
    let mut running = machine.start("a", &work);
    machine.wait_for_line(&work, "ready").await;
    running.term();
    running.code().await;
    let end = machine.end_of(&work);
    assert_eq!(end.outcome, Outcome::Lost);
    assert!(end.reason.unwrap().contains("the cluster ends its pod"));
}

async fn a_pod_without_its_orders_says_so(machine: Machine) {
    let nowhere = machine.root.path().join("nowhere.json");
    assert_eq!(machine.start_with("a", &nowhere).code().await, Some(UNABLE));
    let other = machine.root.path().join("other.json");
    fs::write(&other, "{\"format\": 9, \"more\": true}").unwrap();
    assert_eq!(machine.start_with("b", &other).code().await, Some(UNABLE));
    let said = fs::read_to_string(machine.root.path().join("b.log")).unwrap();
    assert!(said.contains("format 9") && said.contains("another release"), "{said}");
}
