//! What is particular to the supervisor and its client.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    process::Command,
};

use dags::ids::TenantId;
use engine::dispatch::Outcome;
use executor::{
    Error, Executor as _,
    conformance::{Bench, Harness as _, Run},
    local,
};
use rustix::process::{Pid, Signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Local;

type Case = (&'static str, fn(Bench<Local>) -> Run);

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub(crate) fn cases() -> Vec<Case> {
            vec![$((stringify!($name), |bench| Box::pin($name(bench)))),+]
        }
    };
}

cases!(
    a_supervisor_retires_when_nothing_runs,
    what_comes_behind_a_retirement_is_for_the_next_supervisor,
    a_closed_executor_leaves_no_process,
    only_one_supervisor_holds_a_folder,
    attempts_die_with_the_supervisor_before_there_is_another,
    nobody_else_can_enter_the_folder,
    attempts_of_a_second_tenant_are_not_started,
    nonsense_on_the_socket_hurts_nobody,
    nothing_is_left_of_what_is_confirmed,
    a_supervisor_that_cannot_start_is_an_error,
    a_repeated_context_of_megabytes_arrives,
);

async fn a_supervisor_retires_when_nothing_runs(mut bench: Bench<Local>) {
    let pipe = bench.pipe("go");
    let executor = bench.harness.executor();
    let id = bench.submit(bench.bash("read < go; echo done")).await;
    let (before, _) = executor.supervisor().await.unwrap();
    assert!(matches!(executor.retire().await, Err(Error::Refused(reason)) if reason.contains("1 attempts")));
    bench.release(pipe).await;
    let end = bench.ended(id).await;
    executor.retire().await.unwrap();
    let (after, _) = executor.supervisor().await.unwrap();
    assert_ne!(before, after);
    bench.restart_client().await;
    assert_eq!(bench.ended(id).await, end);
    assert_eq!(bench.texts(id).await, ["done"]);
}

async fn what_comes_behind_a_retirement_is_for_the_next_supervisor(mut bench: Bench<Local>) {
    let executor = bench.harness.executor();
    for _ in 0..20 {
        let work = bench.bash("true");
        let id = work.dispatch.id;
        // Both are on their way before either is answered.
        let (retired, submitted) = tokio::join!(executor.retire(), executor.submit(work));
        retired.unwrap();
        submitted.unwrap();
        assert_eq!(bench.ended(id).await.outcome, Outcome::Success);
        executor.confirm(id, 0).await.unwrap();
    }
}

async fn a_closed_executor_leaves_no_process(mut bench: Bench<Local>) {
    let executor = bench.harness.executor();
    let (pid, _) = executor.supervisor().await.unwrap();
    bench.run("true").await;
    executor.close().await.unwrap();
    assert!(matches!(executor.list().await, Err(Error::Stopped)));
    let gone = || !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    bench.wait_for("the end of the supervisor", gone).await;
    assert!(UnixStream::connect(bench.harness.dir().join("supervisor.sock")).is_err());
}

async fn only_one_supervisor_holds_a_folder(bench: Bench<Local>) {
    let (pid, _) = bench.harness.executor().supervisor().await.unwrap();
    let output = Command::new("/proc/self/exe").arg("supervise").arg(bench.harness.dir()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("AlreadyRunning"), "{said}");
    assert_eq!(bench.harness.executor().supervisor().await.unwrap().0, pid);
}

async fn attempts_die_with_the_supervisor_before_there_is_another(mut bench: Bench<Local>) {
    let id = bench.submit(bench.bash("echo $$ > pid; echo ready; exec sleep 1000")).await;
    bench.wait_for_line(id, "ready").await;
    let pid: i32 = fs::read_to_string(bench.file("pid")).unwrap().trim().parse().unwrap();
    let (supervisor, _) = bench.harness.executor().supervisor().await.unwrap();
    bench.harness.stop_client().await;
    let pid = Pid::from_raw(pid).unwrap();
    assert!(rustix::process::test_kill_process(pid).is_ok());
    rustix::process::kill_process(Pid::from_raw(supervisor as i32).unwrap(), Signal::KILL).unwrap();
    bench
        .wait_for("the end of the attempt", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.contains(") S ") && !stat.contains(") R ")
        })
        .await;
}

async fn nobody_else_can_enter_the_folder(bench: Bench<Local>) {
    bench.harness.executor().supervisor().await.unwrap();
    for name in ["", "attempts", "trash", "objects", "supervisor.sock", "supervisor.log"] {
        let mode = fs::metadata(bench.harness.dir().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
}

async fn attempts_of_a_second_tenant_are_not_started(mut bench: Bench<Local>) {
    bench.run("true").await;
    let mut work = bench.bash("touch started");
    work.dispatch.tenant = TenantId(uuid::Uuid::from_u128(7));
    let id = bench.submit(work).await;
    let end = bench.ended(id).await;
    assert_eq!(end.outcome, Outcome::NotStarted);
    assert!(end.reason.unwrap().contains("another tenant"));
    assert!(!bench.file("started").exists());
}

async fn nonsense_on_the_socket_hurts_nobody(mut bench: Bench<Local>) {
    bench.harness.executor().supervisor().await.unwrap();
    let socket = bench.harness.dir().join("supervisor.sock");
    for nonsense in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{]", b"\0\0\0\x10{\"format\":1,\"i"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(nonsense).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // The supervisor closes the connection without an answer.
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }
    let request = br#"{"format":99,"id":5,"ask":"list"}"#;
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(&(request.len() as u32).to_be_bytes()).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = [0; 200];
    let n = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..n]);
    assert!(answer.contains("format 1 ") && answer.contains("client speaks 99"), "{answer}");
    assert_eq!(bench.run("true").await.1.outcome, Outcome::Success);
}

async fn nothing_is_left_of_what_is_confirmed(mut bench: Bench<Local>) {
    let executor = bench.harness.executor();
    let (pid, _) = executor.supervisor().await.unwrap();
    let count = |folder: std::path::PathBuf| fs::read_dir(folder).map(Iterator::count).ok();
    // None unless we are root: the supervisor guards its memory and descriptors from its own user.
    let files = count(format!("/proc/{pid}/fd").into());
    assert_eq!(files.is_some(), rustix::process::getuid().is_root());
    for i in 0..20 {
        let mut work = bench.bash("mkdir -p $HOME/a/b; echo $RANDOM > $HOME/a/b/c; (setsid sleep 1000 &)");
        work.context.task.memory_bytes = if i == 7 { 64 << 20 } else { 0 };
        let id = bench.submit(work).await;
        assert_eq!(bench.ended(id).await.outcome, Outcome::Success);
        executor.confirm(id, 0).await.unwrap();
    }
    for name in ["attempts", "trash"] {
        bench.wait_for(&format!("empty {name}"), || count(bench.harness.dir().join(name)) == Some(0)).await;
    }
    bench.wait_for("closed descriptors", || count(format!("/proc/{pid}/fd").into()) == files).await;
    let children = format!("/proc/{pid}/task/{pid}/children");
    bench.wait_for("no child processes", || fs::read_to_string(&children).unwrap().is_empty()).await;
}

async fn a_supervisor_that_cannot_start_is_an_error(bench: Bench<Local>) {
    let dir = bench.file("elsewhere");
    let options = local::Options { dir, program: "false".into(), arguments: Vec::new(), slots: 1 };
    let (sender, _reports) = mpsc::channel(1);
    let (executor, service) = local::open(options, sender);
    let cancel = CancellationToken::new();
    let (outcome, ()) = tokio::join!(
        async {
            let outcome = executor.submit(bench.bash("true")).await;
            cancel.cancel();
            outcome
        },
        service.run(cancel.clone()),
    );
    let Err(Error::Unavailable(reason)) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("supervisor.log"), "{reason}");
}

async fn a_repeated_context_of_megabytes_arrives(mut bench: Bench<Local>) {
    let mut work = bench.bash("echo ${#LONG}");
    let task = dags::ids::TaskId::parse("upstream").unwrap();
    work.context.outputs.insert(task, serde_json::Value::String("x".repeat(8 << 20)));
    work.context.task.env.insert("LONG".to_owned(), "y".repeat(100_000));
    let id = work.dispatch.id;
    let executor = bench.harness.executor();
    let (first, second) = tokio::join!(executor.submit(work.clone()), executor.submit(work));
    first.and(second).unwrap();
    assert_eq!(bench.ended(id).await.outcome, Outcome::Success);
    assert_eq!(bench.texts(id).await, ["100000"]);
}
