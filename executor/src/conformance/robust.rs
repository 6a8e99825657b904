//! Restarts and deaths.

use dags::time::Span;
use engine::dispatch::Outcome;

use super::{
    Bench, Harness,
    bench::{dead, is_unknown, pids},
};
use crate::Executor as _;

pub(super) async fn a_restarted_client_misses_nothing<H: Harness>(mut bench: Bench<H>) {
    let pipe = bench.pipe("go");
    bench.restart_client().await;
    let work = bench.bash("echo before; read < go; echo after; echo 7 > $UPDRAFT_RESULT; exit 0");
    let id = bench.submit(work.clone()).await;
    bench.restart_client().await;
    let pid = bench.started(id).await;
    assert_eq!(bench.harness.executor().list().await.unwrap().len(), 1);
    bench.wait_for_line(id, "before").await;
    // A scheduler that isn't sure submits again.
    bench.submit(work).await;
    bench.release(pipe).await;
    let end = bench.ended(id).await;
    bench.restart_client().await;
    assert_eq!(bench.started(id).await, pid);
    assert_eq!(bench.ended(id).await, end);
    assert_eq!((end.outcome, end.exit_code), (Outcome::Success, Some(0)));
    assert_eq!(bench.texts(id).await, ["before", "after"]);
    bench.harness.executor().confirm(id, 0).await.unwrap();
    bench.restart_client().await;
    bench.holds_nothing().await;
}

/// When the client is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    BeforeTheOrder,
    AfterTheOrder,
    AfterTheStart,
    BeforeTheEnd,
    AfterTheEnd,
    AfterTheConfirmation,
}

pub(super) async fn a_client_may_be_restarted_at_each_step<H: Harness>(mut bench: Bench<H>) {
    for when in [
        When::BeforeTheOrder,
        When::AfterTheOrder,
        When::AfterTheStart,
        When::BeforeTheEnd,
        When::AfterTheEnd,
        When::AfterTheConfirmation,
    ] {
        for killed in [false, true] {
            let name = format!("{when:?}-{killed}");
            let pipe = bench.pipe(&name);
            let work = bench.bash(&format!(
                "echo run >> runs-{name}; echo begun; read < {name}; echo [1] > $UPDRAFT_RESULT"
            ));
            let id = work.dispatch.id;
            restart(&mut bench, when, When::BeforeTheOrder).await;
            bench.submit(work.clone()).await;
            if restart(&mut bench, when, When::AfterTheOrder).await {
                // A scheduler that isn't sure submits again.
                bench.submit(work.clone()).await;
            }
            let pid = bench.started(id).await;
            bench.wait_for_line(id, "begun").await;
            restart(&mut bench, when, When::AfterTheStart).await;
            if killed {
                bench.kill(id, Span::seconds(30)).await;
            } else {
                bench.release(pipe).await;
            }
            if restart(&mut bench, when, When::BeforeTheEnd).await && killed {
                // Nor is it sure that the kill got there.
                bench.kill(id, Span::seconds(30)).await;
            }
            let end = bench.ended(id).await;
            let outcome = if killed { Outcome::Killed } else { Outcome::Success };
            assert_eq!(end.outcome, outcome, "{name}: {end:?}");
            if restart(&mut bench, when, When::AfterTheEnd).await {
                assert_eq!(bench.ended(id).await, end, "{name}: told again as it was");
                assert_eq!(bench.started(id).await, pid, "{name}");
            }
            bench.harness.executor().confirm(id, 0).await.unwrap();
            if restart(&mut bench, when, When::AfterTheConfirmation).await {
                // Nor that the confirmation did.
                let again = bench.harness.executor().confirm(id, 0).await;
                assert!(again.is_ok() || is_unknown(&again), "{name}: {again:?}");
            }
            let runs = std::fs::read_to_string(bench.file(&format!("runs-{name}"))).unwrap();
            assert_eq!(runs, "run\n", "{name}: it ran once");
        }
    }
    bench.holds_nothing().await;
}

async fn restart<H: Harness>(bench: &mut Bench<H>, wanted: When, now: When) -> bool {
    if wanted == now {
        bench.restart_client().await;
    }
    wanted == now
}

pub(super) async fn a_client_that_is_lost_for_good_is_replaced<H: Harness>(mut bench: Bench<H>) {
    let pipes = ["first", "second", "third"].map(|name| (name, bench.pipe(name)));
    let mut ids = Vec::new();
    for (name, _) in &pipes {
        let work = bench
            .bash(&format!("echo run >> runs-{name}; echo begun; read < {name}; echo over > over-{name}"));
        ids.push(bench.submit(work).await);
    }
    for id in &ids {
        bench.started(*id).await;
        bench.wait_for_line(*id, "begun").await;
    }
    // The first one ends while nobody is there whom it could be told, the second one goes on, the third one is ended.
    let [(_, first), (_, second), _] = pipes;
    bench.release(first).await;
    let over = bench.file("over-first");
    bench.wait_for("the end of the first attempt", || over.exists()).await;
    bench.lose_client().await;
    for id in &ids {
        bench.started(*id).await;
    }
    assert_eq!(bench.ended(ids[0]).await.outcome, Outcome::Success);
    bench.kill(ids[2], Span::seconds(30)).await;
    assert_eq!(bench.ended(ids[2]).await.outcome, Outcome::Killed);
    bench.release(second).await;
    assert_eq!(bench.ended(ids[1]).await.outcome, Outcome::Success);
    for (id, name) in ids.iter().zip(["first", "second", "third"]) {
        assert_eq!(bench.texts(*id).await[0], "begun", "{name}: its log is still there");
        let runs = std::fs::read_to_string(bench.file(&format!("runs-{name}"))).unwrap();
        assert_eq!(runs, "run\n", "{name} ran once");
        bench.harness.executor().confirm(*id, 0).await.unwrap();
    }
    bench.holds_nothing().await;
    let (_, end) = bench.run("true").await;
    assert_eq!(end.outcome, Outcome::Success, "the successor's own work runs");
}

pub(super) async fn attempts_die_with_their_runtime_and_are_lost<H: Harness>(mut bench: Bench<H>) {
    let command = "echo $$ > pids; sleep 1000 & echo $! >> pids
        (setsid bash -c 'echo $$ >> pids; touch daemon; exec sleep 1000' >/dev/null 2>&1 </dev/null &)
        until [ -e daemon ]; do sleep 0.01; done; echo ready; wait";
    let id = bench.submit(bench.bash(command)).await;
    bench.wait_for_line(id, "ready").await;
    bench.harness.kill_runtime().await;
    let end = bench.ended(id).await;
    assert_eq!((&end.outcome, end.exit_code), (&Outcome::Lost, None), "{end:?}");
    assert!(end.reason.is_some());
    let pids = pids(&bench.file("pids"));
    assert_eq!(pids.len(), 3);
    for pid in pids {
        dead(pid).await;
    }
    assert_eq!(bench.texts(id).await, ["ready"], "the log is still there");
    let (_, end) = bench.run("true").await;
    assert_eq!(end.outcome, Outcome::Success, "it runs again");
}

pub(super) async fn what_had_ended_survives_its_runtime<H: Harness>(mut bench: Bench<H>) {
    let (id, end) = bench.run("echo [1] > $UPDRAFT_RESULT; echo done").await;
    let pid = bench.started(id).await;
    bench.harness.kill_runtime().await;
    bench.restart_client().await;
    assert_eq!(bench.started(id).await, pid);
    assert_eq!(bench.ended(id).await, end);
    assert_eq!(bench.texts(id).await, ["done"]);
    bench.harness.executor().confirm(id, 0).await.unwrap();
    bench.harness.kill_runtime().await;
    bench.holds_nothing().await;
}

pub(super) async fn kills_are_remembered_without_the_runtime<H: Harness>(mut bench: Bench<H>) {
    let work = bench.bash("touch started");
    let id = work.dispatch.id;
    bench.kill(id, Span::ZERO).await;
    bench.harness.kill_runtime().await;
    bench.submit(work).await;
    assert_eq!(bench.ended(id).await.outcome, Outcome::Killed);
    assert!(!bench.file("started").exists());
}

pub(super) async fn nothing_starts_twice_whatever_dies<H: Harness>(mut bench: Bench<H>) {
    let count = (bench.harness.many() / 5).max(20);
    let command = |i: usize| format!("echo run >> runs-{i}; sleep 0.0{}; exit {}", i % 10, i % 2);
    let works: Vec<_> = (0..count).map(|i| bench.bash(&command(i))).collect();
    let mut submits = tokio::task::JoinSet::new();
    for (i, work) in works.iter().enumerate() {
        let (executor, work) = (bench.harness.executor(), work.clone());
        submits.spawn(async move { executor.submit(work).await });
        match i % 20 {
            7 => bench.restart_client().await,
            13 => bench.harness.kill_runtime().await,
            _ => tokio::task::yield_now().await,
        }
    }
    // Some were cut off with their client; a scheduler that isn't sure submits again.
    submits.join_all().await;
    for work in &works {
        bench.submit(work.clone()).await;
    }
    for (i, work) in works.iter().enumerate() {
        let end = bench.ended(work.dispatch.id).await;
        let runs = std::fs::read_to_string(bench.file(&format!("runs-{i}"))).unwrap_or_default();
        match end.outcome {
            Outcome::Success | Outcome::Failed => {
                assert_eq!((runs.as_str(), end.exit_code), ("run\n", Some((i % 2) as i32)));
            }
            Outcome::Lost => assert!(runs.is_empty() || runs == "run\n", "{runs:?}"),
            other => panic!("{other:?}"),
        }
    }
}
