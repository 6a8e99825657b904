//! How attempts end: by themselves, by a timeout, by a kill, by a limit.

use dags::time::Span;
use engine::dispatch::Outcome;

use super::{
    Bench, Harness,
    bench::{dead, pids},
};

/// Long enough that no attempt of a case uses it up.
const AMPLE: Span = Span::seconds(60);

pub(super) async fn exit_codes_and_signals_have_their_cause<H: Harness>(mut bench: Bench<H>) {
    let (_, end) = bench.run("echo the disk is full >&2; exit 7").await;
    assert_eq!((&end.outcome, end.exit_code), (&Outcome::Failed, Some(7)));
    let reason = end.reason.unwrap();
    assert!(reason.contains("code 7") && reason.contains("the disk is full"), "{reason}");
    let (_, end) = bench.run("kill -SEGV $$").await;
    assert_eq!((&end.outcome, end.exit_code), (&Outcome::Failed, Some(139)), "{end:?}");
    let (_, end) = bench.run("exit 99").await;
    assert_eq!((&end.outcome, end.exit_code), (&Outcome::Skipped, Some(99)));
    let (_, end) =
        bench.run("mkdir -p $(dirname $UPDRAFT_REASON); echo my own words > $UPDRAFT_REASON; exit 1").await;
    assert_eq!(end.reason.as_deref(), Some("my own words"));
    let (_, end) = bench.run("mkdir -p $(dirname $UPDRAFT_REASON); mkfifo $UPDRAFT_REASON; exit 1").await;
    assert_eq!(end.outcome, Outcome::Failed, "a pipe in place of the reason holds nobody up");
}

pub(super) async fn what_cannot_start_says_why<H: Harness>(mut bench: Bench<H>) {
    let mut work = bench.bash("true");
    "no_such_operator".clone_into(&mut work.context.task.operator);
    let id = bench.submit(work).await;
    let end = bench.ended(id).await;
    assert_eq!(end.outcome, Outcome::FailedForGood, "{end:?}");
    assert!(end.reason.unwrap().contains("no_such_operator"));
    let mut work = bench.bash("true");
    bench.harness.without_its_files(&mut work);
    let id = bench.submit(work).await;
    let end = bench.ended(id).await;
    assert!(matches!(end.outcome, Outcome::Failed | Outcome::NotStarted), "{end:?}");
    assert!(end.reason.is_some_and(|reason| reason.contains("bundle") || reason.contains("no-such-folder")));
}

pub(super) async fn a_timeout_ends_the_whole_tree<H: Harness>(mut bench: Bench<H>) {
    let mut work = bench.bash("sleep 1000 & echo $! > pids; setsid sleep 1000 & echo $! >> pids; wait");
    work.dispatch.timeout = Some(Span::millis(300));
    let id = bench.submit(work).await;
    let end = bench.ended(id).await;
    assert_eq!(end.outcome, Outcome::TimedOut);
    assert!(end.reason.as_deref().unwrap().contains("300ms"), "{end:?}");
    assert!(end.duration >= Span::millis(300) && end.duration < Span::seconds(20), "{end:?}");
    for pid in pids(&bench.file("pids")) {
        dead(pid).await;
    }
}

pub(super) async fn a_kill_before_the_start_prevents_it<H: Harness>(mut bench: Bench<H>) {
    let mut work = bench.bash("touch started");
    (work.dispatch.members, work.context.members) = (2, 2);
    let id = work.dispatch.id;
    bench.kill_all(id, 2, AMPLE).await;
    assert_eq!(bench.ended(id).await.outcome, Outcome::Killed);
    bench.submit(work.clone()).await;
    let mut second = work;
    second.context.member = 1;
    bench.submit(second).await;
    assert_eq!(bench.member_ended(id, 1).await.outcome, Outcome::Killed);
    assert!(!bench.was_started(id) && !bench.file("started").exists());
}

pub(super) async fn a_kill_lets_the_task_clean_up<H: Harness>(mut bench: Bench<H>) {
    let id =
        bench.submit(bench.bash("trap 'echo cleaning; exit 0' TERM; echo ready; sleep 1000 & wait")).await;
    bench.wait_for_line(id, "ready").await;
    bench.kill(id, AMPLE).await;
    let end = bench.ended(id).await;
    assert_eq!((end.outcome, end.reason.as_deref()), (Outcome::Killed, Some("asked by a test")));
    let lines = bench.texts(id).await;
    assert!(lines.contains(&"cleaning".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("asked by a test")), "{lines:?}");
}

pub(super) async fn a_kill_gives_grace_to_children_of_a_shell_that_dies_at_once<H: Harness>(
    mut bench: Bench<H>,
) {
    let inner = "trap 'sleep 0.3; echo saved; exit' TERM; echo ready; while :; do sleep 1000 & wait; done";
    let id = bench.submit(bench.bash(&format!("bash -c \"{inner}\"; echo unreachable"))).await;
    bench.wait_for_line(id, "ready").await;
    bench.kill(id, AMPLE).await;
    assert_eq!(bench.ended(id).await.outcome, Outcome::Killed);
    let lines = bench.texts(id).await;
    assert!(lines.contains(&"saved".to_owned()), "{lines:?}");
    assert!(!lines.contains(&"unreachable".to_owned()), "{lines:?}");
}

pub(super) async fn a_task_that_ignores_term_is_killed<H: Harness>(mut bench: Bench<H>) {
    let command = "trap '' TERM; sleep 1000 & echo $! > pids; echo ready; wait; wait";
    let id = bench.submit(bench.bash(command)).await;
    bench.wait_for_line(id, "ready").await;
    bench.kill(id, Span::millis(200)).await;
    let end = bench.ended(id).await;
    assert_eq!((end.outcome, end.exit_code), (Outcome::Killed, Some(137)));
    for pid in pids(&bench.file("pids")) {
        dead(pid).await;
    }
    // A second kill may shorten the grace period of the first.
    let id = bench.submit(bench.bash("trap '' TERM; echo ready; sleep 1000")).await;
    bench.wait_for_line(id, "ready").await;
    bench.kill(id, Span::seconds(3600)).await;
    bench.kill(id, Span::ZERO).await;
    assert_eq!(bench.ended(id).await.outcome, Outcome::Killed);
}

pub(super) async fn a_kill_after_the_end_changes_nothing<H: Harness>(mut bench: Bench<H>) {
    let (id, end) = bench.run("exit 3").await;
    bench.kill(id, Span::ZERO).await;
    bench.restart_client().await;
    assert_eq!(bench.ended(id).await, end);
}

pub(super) async fn processes_left_behind_are_killed<H: Harness>(mut bench: Bench<H>) {
    let command = "sleep 1000 & echo $! > pids; disown
        setsid sleep 1000 & echo $! >> pids; disown
        (setsid bash -c 'echo $$ >> pids; touch daemon; exec sleep 1000' >/dev/null 2>&1 </dev/null &)
        until [ -e daemon ]; do sleep 0.01; done";
    let (_, end) = bench.run(command).await;
    assert_eq!(end.outcome, Outcome::Success);
    let pids = pids(&bench.file("pids"));
    assert_eq!(pids.len(), 3);
    for pid in pids {
        dead(pid).await;
    }
}

pub(super) async fn a_memory_limit_is_kept<H: Harness>(mut bench: Bench<H>) {
    const LIMIT: u64 = 48 << 20;
    let mut work = bench.bash("head -c 400000000 /dev/zero | tail | wc -c; sleep 10");
    work.context.task.memory_bytes = LIMIT;
    work.context.task.args.insert("strict".to_owned(), true.into());
    let id = bench.submit(work).await;
    let end = bench.ended(id).await;
    assert_eq!(end.outcome, Outcome::Failed, "{end:?}");
    let reason = end.reason.unwrap();
    assert!(reason.contains("out of memory") && reason.contains(&LIMIT.to_string()), "{reason}");
    let mut work = bench.bash("head -c 1000000 /dev/zero | tail | wc -c");
    work.context.task.memory_bytes = LIMIT;
    work.context.task.cpu_milli = 500;
    let id = bench.submit(work).await;
    assert_eq!(bench.ended(id).await.outcome, Outcome::Success);
}
