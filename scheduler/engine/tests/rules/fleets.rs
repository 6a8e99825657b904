//! Workers: where dispatches go, and what happens when workers come, go, fall silent and return.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{DispatchId, ExecutorName, WorkerId},
    model::{Gpu, Resources},
    time::Span,
};
use engine::{
    command::Command,
    dispatch::{News, Outcome},
    driver::Input,
    fleet::{HeldThere, Stage, WorkerNews, WorkerSpec},
    quota::Limits,
    sharing::{Quotas, Weight},
    state::{RunState, TaskState},
};
use uuid::Uuid;

use crate::{builder::*, lab::*};

fn fleet() -> ExecutorName {
    ExecutorName::parse("fleet").unwrap()
}

fn worker(n: u128) -> WorkerId {
    WorkerId(Uuid::from_u128(n))
}

/// A worker with so many slots, 4 CPUs and 4 GiB.
fn spec(n: u128, slots: u32) -> WorkerSpec {
    WorkerSpec {
        worker: worker(n),
        slots,
        cpu_milli: 4_000,
        memory_bytes: 4 << 30,
        gpus: BTreeMap::new(),
        custom: BTreeMap::new(),
        queues: BTreeSet::new(),
        tenants: None,
    }
}

fn news(lab: &mut Lab, news: WorkerNews) {
    lab.put(Input::Worker(fleet(), news));
}

fn lab(workers: impl IntoIterator<Item = WorkerSpec>) -> Lab {
    let mut lab = Lab::with(|config| config.default_executor = fleet());
    lab.executor("fleet", u32::MAX);
    news(&mut lab, WorkerNews::Hearing);
    for spec in workers {
        news(&mut lab, WorkerNews::Joined(spec));
    }
    lab
}

/// A worker's heartbeat with what the lab's executor holds there.
fn beat(lab: &mut Lab, n: u128, stage: Stage) {
    let ids: Vec<DispatchId> =
        lab.held.iter().filter(|held| held.worker == Some(worker(n))).map(|held| held.id).collect();
    beat_with(lab, n, ids, stage);
}

fn beat_with(lab: &mut Lab, n: u128, ids: Vec<DispatchId>, stage: Stage) {
    let held = ids.into_iter().map(|id| HeldThere { members: 1, id, stage }).collect();
    let as_of = lab.driver.engine().now();
    news(lab, WorkerNews::Heard { worker: worker(n), held, as_of, draining: false });
}

/// Time passes as a shell lets it pass: second by second, with heartbeats of these workers.
fn live(lab: &mut Lab, seconds: u32, alive: &[u128]) {
    for _ in 0..seconds {
        lab.advance(Span::seconds(1));
        for n in alive {
            beat(lab, *n, Stage::Started);
        }
    }
}

fn needs(cpu: u64, memory_gib: u64) -> Resources {
    Resources { cpu_milli: cpu * 1_000, memory_bytes: memory_gib << 30, ..Resources::default() }
}

fn places(lab: &Lab) -> String {
    let place = |held: &engine::dispatch::Dispatch| {
        format!("{}@{}", held.task_id, held.worker.map_or(0, |worker| worker.0.as_u128()))
    };
    lab.held.iter().map(place).collect::<Vec<_>>().join(" ")
}

fn why(lab: &Lab, run: &str, name: &str) -> String {
    let row = lab.run_row(run);
    let waiting = lab.driver.engine().explain(row.tenant, &row.dag_id, &row.run_name, &task_id(name), -1);
    waiting.unwrap().holds.iter().map(|hold| hold.says.clone()).collect::<Vec<_>>().join("; ")
}

#[test]
fn dispatches_are_spread_and_wait_when_all_workers_are_full() {
    let mut lab = lab([spec(1, 2), spec(2, 1)]);
    lab.activate(dag("d").task(bash("a")).task(bash("b")).task(bash("c")).task(bash("e")));
    let run = lab.trigger("d");
    assert_eq!(places(&lab), "a@1 b@2 c@1");
    assert_eq!(lab.task_row(&run, "c").worker, Some(worker(1)));
    assert_eq!(
        why(&lab, &run, "e"),
        "all 2 workers that could hold it are busy; 0 of the same tenant go before it"
    );
    lab.run("b").succeeds();
    assert_eq!(places(&lab), "a@1 c@1 e@2");
    lab.driver.engine().check().unwrap();
}

#[test]
fn resources_queues_and_tenants_are_constraints() {
    let gpu = Resources { gpu: Some(Gpu { count: 2, model: Some("h100".to_owned()) }), ..needs(1, 1) };
    let mut lab = lab([
        spec(1, 10),
        WorkerSpec {
            queues: ["gpu".to_owned()].into(),
            gpus: [("h100".to_owned(), 3)].into(),
            ..spec(2, 10)
        },
        WorkerSpec { tenants: Some(BTreeSet::new()), ..spec(3, 10) },
    ]);
    lab.activate(
        dag("d")
            .task(bash("a").with(|task| task.resources = needs(3, 1)))
            .task(bash("b").with(|task| task.resources = needs(2, 1)))
            .task(bash("c").with(|task| task.resources = needs(1, 2)))
            .task(bash("big").with(|task| task.resources = needs(1, 64)))
            .task(
                bash("g1").with(|task| (task.queue, task.resources) = (Some("gpu".to_owned()), gpu.clone())),
            )
            .task(
                bash("g2").with(|task| (task.queue, task.resources) = (Some("gpu".to_owned()), gpu.clone())),
            )
            .task(bash("q").with(|task| task.queue = Some("other".to_owned()))),
    );
    let run = lab.trigger("d");
    assert_eq!(places(&lab), "a@1 c@1 g1@2");
    let says = |lab: &Lab, name| why(lab, &run, name).split(';').next().unwrap().to_owned();
    assert_eq!(says(&lab, "b"), "all 1 workers that could hold it are busy");
    assert_eq!(says(&lab, "big"), "none of the 1 workers that serve queue `default` is large enough for it");
    assert_eq!(says(&lab, "q"), "none of the 3 workers of `fleet` serves queue `other` for this tenant");
    lab.run("a").succeeds();
    lab.run("g1").succeeds();
    assert_eq!(places(&lab), "c@1 b@1 g2@2");
    lab.driver.engine().check().unwrap();
}

#[test]
fn without_workers_it_is_said_so() {
    let mut lab = lab([]);
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    assert!(why(&lab, &run, "a").starts_with("executor `fleet` has no worker"));
    news(&mut lab, WorkerNews::Joined(spec(1, 1)));
    assert_eq!(places(&lab), "a@1");
}

#[test]
fn a_silent_worker_is_lost_and_its_result_is_refused() {
    let mut lab = lab([spec(1, 2)]);
    lab.activate(dag("d").task(bash("a").with(|task| task.retries = 1)).task(bash("b")));
    let run = lab.trigger("d");
    let (a, b) = (lab.run("a").dispatch(), lab.run("b").dispatch());
    lab.run("a").starts();
    live(&mut lab, 14, &[]);
    assert_eq!(lab.states(&run), "a=running b=queued");
    assert!(lab.gone.is_empty());
    live(&mut lab, 2, &[]);
    assert_eq!(lab.gone, [(fleet(), worker(1))]);
    // What ran is a lost try, what had not started goes back to the queue in the same try.
    assert_eq!(lab.states(&run), "a=up_for_retry b=scheduled");
    assert!(lab.task_row(&run, "a").reason.as_deref().unwrap().contains("silent for 15s"));
    assert_eq!(lab.task_row(&run, "b").try_number, 1);
    // It comes back with what it held.
    lab.held.clear();
    let before = lab.driver.counts().stale;
    news(&mut lab, WorkerNews::Joined(spec(1, 2)));
    assert_eq!(lab.run("b").dispatch().id.n, b.id.n + 1);
    for id in [a.id, b.id] {
        lab.report(id, 0, News::Ended(end(Outcome::Success)));
    }
    assert_eq!(lab.driver.counts().stale, before + 2);
    assert_eq!(lab.states(&run), "a=up_for_retry b=queued");
    let held = vec![a.id, lab.held[0].id];
    beat_with(&mut lab, 1, held, Stage::Started);
    let killed: Vec<_> = lab.kills.iter().map(|kill| (kill.id, kill.worker)).collect();
    assert_eq!(killed, [(a.id, Some(worker(1)))]);
    lab.driver.engine().check().unwrap();
}

#[test]
fn what_a_lost_worker_had_claimed_is_a_lost_try() {
    let mut lab = lab([spec(1, 2)]);
    lab.activate(dag("d").task(bash("a").with(|task| task.retries = 1)).task(bash("b")));
    let run = lab.trigger("d");
    // Its report that it started is still on its way when its worker is lost.
    let a = lab.run("a").dispatch().id;
    lab.claimed.insert(a);
    live(&mut lab, 16, &[]);
    assert_eq!(lab.states(&run), "a=up_for_retry b=scheduled");
    assert_eq!(lab.task_row(&run, "a").try_number, 1);
    let before = lab.driver.counts().stale;
    lab.report(a, 0, News::Ended(end(Outcome::Success)));
    assert_eq!(
        (lab.driver.counts().stale, lab.states(&run).as_str()),
        (before + 1, "a=up_for_retry b=scheduled")
    );
    lab.driver.engine().check().unwrap();
}

/// A worker with a queued task is lost, and nobody knows yet whether it had claimed the task.
fn withdrawing() -> (Lab, String, DispatchId) {
    let mut lab = lab([spec(1, 1)]);
    lab.withdrawals = Some(Vec::new());
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    live(&mut lab, 16, &[]);
    let asked: Vec<_> = lab.withdrawals.iter().flatten().map(|withdrawal| withdrawal.id).collect();
    assert_eq!((asked, lab.states(&run)), (vec![id], "a=queued".to_owned()));
    news(&mut lab, WorkerNews::Joined(spec(2, 1)));
    (lab, run, id)
}

fn withdrawn(lab: &mut Lab) {
    let waiting = lab.withdrawals.replace(Vec::new()).unwrap();
    let outcome = lab.withdrawn(&waiting);
    lab.put(outcome);
    lab.driver.engine().check().unwrap();
}

#[test]
fn a_lost_workers_task_goes_elsewhere_only_when_it_cannot_claim_it_any_more() {
    let (mut lab, run, id) = withdrawing();
    assert_eq!(places(&lab), "a@1", "until then it stays where it is");
    lab.held.clear();
    withdrawn(&mut lab);
    assert_eq!(places(&lab), "a@2");
    let again = lab.run("a").dispatch();
    assert_eq!((again.id.n, again.try_number), (id.n + 1, 1), "the same try");
    lab.run("a").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn what_happens_while_a_dispatch_is_withdrawn_counts() {
    // Its report comes after all.
    let (mut lab, run, id) = withdrawing();
    lab.report(id, 0, News::Ended(end(Outcome::Success)));
    withdrawn(&mut lab);
    assert_eq!(lab.state(&run), RunState::Success);
    // It is marked or cleared by hand: nobody else will say that it has ended.
    for cleared in [true, false] {
        let (mut lab, run, _) = withdrawing();
        if cleared {
            lab.clear(&run, ["a"]);
        } else {
            lab.mark(&run, ["a"], TaskState::Success);
        }
        lab.held.clear();
        withdrawn(&mut lab);
        assert_eq!(places(&lab), if cleared { "a@2" } else { "" });
        assert!(lab.driver.engine().all_ended_or_blocked() || cleared);
    }
    // Its run is deleted.
    let (mut lab, run, _) = withdrawing();
    lab.mark_run(&run, RunState::Failed);
    let row = lab.run_row(&run);
    let (dag_id, run_name) = (row.dag_id.clone(), row.run_name.clone());
    lab.request(engine::command::Command::DeleteRun { dag_id, run_name }).unwrap();
    withdrawn(&mut lab);
    assert!(lab.driver.engine().all_ended_or_blocked());
}

#[test]
fn a_worker_that_returns_has_no_room_for_more_before_it_is_known_what_it_holds() {
    let (mut lab, run, id) = withdrawing();
    news(&mut lab, WorkerNews::Left(worker(2)));
    news(&mut lab, WorkerNews::Joined(spec(1, 1)));
    let other = lab.trigger("d");
    beat_with(&mut lab, 1, Vec::new(), Stage::Taken);
    assert_eq!((places(&lab).as_str(), lab.states(&other).as_str()), ("a@1", "a=scheduled"));
    lab.claimed.insert(id);
    lab.held.clear();
    withdrawn(&mut lab);
    assert_eq!((places(&lab).as_str(), lab.states(&run).as_str()), ("a@1", "a=failed"));
    assert_eq!(lab.states(&other), "a=queued");
    lab.driver.engine().check().unwrap();
}

#[test]
fn a_withdrawal_without_an_outcome_is_asked_for_again() {
    let (mut lab, run, id) = withdrawing();
    lab.withdrawals = Some(Vec::new());
    for _ in 0..2 {
        lab.put(Input::Overdue);
        live(&mut lab, 601, &[2]);
    }
    let asked: Vec<_> = lab.withdrawals.iter().flatten().map(|withdrawal| withdrawal.id).collect();
    assert_eq!(asked, [id]);
    // Another owner asks anew, when the worker is lost to it.
    lab.crash();
    news(&mut lab, WorkerNews::Hearing);
    news(&mut lab, WorkerNews::Joined(spec(2, 1)));
    live(&mut lab, 16, &[2]);
    lab.held.clear();
    withdrawn(&mut lab);
    assert_eq!((places(&lab).as_str(), lab.states(&run).as_str()), ("a@2", "a=queued"));
}

#[test]
fn a_worker_that_was_refused_what_was_withdrawn_gives_it_back() {
    // An owner withdrew it and died before it could give it to somebody else; the worker is heard by its successor.
    let mut lab = lab([spec(1, 1)]);
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    lab.held.clear();
    lab.report(id, 0, News::Ended(end(Outcome::Killed)));
    assert_eq!(lab.states(&run), "a=queued");
    assert_eq!(lab.run("a").dispatch().id.n, id.n + 1);
}

#[test]
fn a_worker_that_is_heard_keeps_its_work() {
    let mut lab = lab([spec(1, 2)]);
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    live(&mut lab, 120, &[1]);
    assert_eq!(lab.states(&run), "a=running", "the heartbeat says that it started");
    lab.run("a").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn silence_does_not_count_while_we_are_away() {
    let mut lab = lab([spec(1, 2)]);
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").starts();
    live(&mut lab, 10, &[]);
    // The process was paused, or the clock was set: the count begins again.
    lab.now = lab.now.after(Span::seconds(100));
    lab.put(Input::Tick);
    live(&mut lab, 10, &[]);
    assert_eq!(lab.states(&run), "a=running");
    // The broker is away.
    news(&mut lab, WorkerNews::Deaf);
    live(&mut lab, 60, &[]);
    news(&mut lab, WorkerNews::Hearing);
    live(&mut lab, 10, &[]);
    assert_eq!(lab.states(&run), "a=running");
    // Another owner begins.
    lab.crash();
    news(&mut lab, WorkerNews::Hearing);
    live(&mut lab, 10, &[]);
    assert_eq!(lab.states(&run), "a=running");
    live(&mut lab, 6, &[]);
    assert_eq!(lab.states(&run), "a=failed");
}

#[test]
fn after_a_crash_a_dispatch_goes_to_the_same_worker_and_its_room_stays_taken() {
    let mut lab = lab([spec(1, 1), spec(2, 1)]);
    lab.activate(dag("d").task(bash("a")).task(bash("b")).task(bash("c")));
    let run = lab.trigger("d");
    assert_eq!(places(&lab), "a@1 b@2");
    lab.run("b").starts();
    lab.crash();
    news(&mut lab, WorkerNews::Hearing);
    for n in [2, 1] {
        news(&mut lab, WorkerNews::Joined(spec(n, 1)));
    }
    lab.driver.engine().check().unwrap();
    assert_eq!(places(&lab), "a@1 b@2", "nothing is placed twice");
    lab.run("a").succeeds();
    assert_eq!(places(&lab), "b@2 c@1");
    assert_eq!(lab.task_row(&run, "b").worker, Some(worker(2)));
    lab.run("b").succeeds();
    lab.run("c").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn what_a_worker_does_not_know_is_sent_again_or_lost() {
    let mut lab = lab([spec(1, 2)]);
    lab.activate(dag("d").task(bash("a")).task(bash("b")));
    let run = lab.trigger("d");
    lab.run("b").starts();
    live(&mut lab, 2, &[]);
    let id = lab.run("a").dispatch().id;
    // Said before either was let out: it means nothing.
    let as_of = lab.journal.now.before(Span::seconds(60));
    news(&mut lab, WorkerNews::Heard { worker: worker(1), held: Vec::new(), as_of, draining: false });
    assert_eq!(lab.states(&run), "a=queued b=running");
    beat_with(&mut lab, 1, Vec::new(), Stage::Taken);
    assert_eq!(lab.states(&run), "a=queued b=failed");
    assert_eq!(lab.run("a").dispatch().id, id, "the same dispatch again, which a worker takes once");
    lab.driver.engine().check().unwrap();
}

#[test]
fn a_drained_worker_takes_nothing_new_and_gives_back_what_is_left() {
    let mut lab = lab([spec(1, 2)]);
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    let held = vec![HeldThere { members: 1, id, stage: Stage::Started }];
    let as_of = lab.driver.engine().now();
    news(&mut lab, WorkerNews::Heard { worker: worker(1), held, as_of, draining: true });
    lab.run("a").succeeds();
    assert!(why(&lab, &run, "b").starts_with("all 1 workers that could hold it are being drained"));
    news(&mut lab, WorkerNews::Left(worker(1)));
    assert!(why(&lab, &run, "b").starts_with("executor `fleet` has no worker"));
    news(&mut lab, WorkerNews::Joined(spec(2, 2)));
    assert_eq!(places(&lab), "b@2");
    news(&mut lab, WorkerNews::Left(worker(2)));
    assert_eq!(lab.task_row(&run, "b").state, TaskState::Scheduled);
}

#[test]
fn what_is_ended_by_hand_holds_its_room_until_it_has_ended() {
    let mut lab = lab([spec(1, 1)]);
    lab.activate(dag("d").task(bash("a")));
    let first = lab.trigger("d");
    lab.run("a").starts();
    lab.mark(&first, ["a"], TaskState::Success);
    assert_eq!(lab.kills.last().map(|kill| kill.worker), Some(Some(worker(1))));
    lab.held.clear();
    lab.trigger("d");
    assert_eq!(places(&lab), "");
    lab.crash();
    news(&mut lab, WorkerNews::Hearing);
    news(&mut lab, WorkerNews::Joined(spec(1, 1)));
    assert_eq!(places(&lab), "", "it still holds its room");
    assert_eq!(lab.kills.last().map(|kill| kill.worker), Some(Some(worker(1))));
    live(&mut lab, 1, &[1]);
    assert_eq!(places(&lab), "a@1");
    lab.driver.engine().check().unwrap();
}

/// The state of the only executor before anything is known of its workers: the shell says how much it may run first.
fn before_any_news() -> (Lab, String) {
    let mut lab = Lab::with(|config| config.default_executor = fleet());
    lab.executor("fleet", u32::MAX);
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    (lab, run)
}

#[test]
fn what_was_let_out_to_no_worker_goes_back_to_the_queue() {
    let (mut lab, run) = before_any_news();
    let first = lab.run("a").dispatch();
    assert_eq!((lab.states(&run), first.worker), ("a=queued".to_owned(), None));
    lab.held.clear();
    news(&mut lab, WorkerNews::Deaf);
    assert_eq!(lab.states(&run), "a=scheduled", "nobody can have it");
    news(&mut lab, WorkerNews::Joined(spec(1, 1)));
    assert_eq!(places(&lab), "a@1");
    let again = lab.run("a").dispatch();
    assert_eq!((again.id.n, again.try_number), (first.id.n + 1, 1), "the same try");
    lab.driver.engine().check().unwrap();
}

#[test]
fn a_stored_dispatch_without_a_worker_leaves_its_state_after_a_restart() {
    let (mut lab, run) = before_any_news();
    lab.crash();
    assert_eq!(lab.states(&run), "a=queued");
    lab.held.clear();
    news(&mut lab, WorkerNews::Deaf);
    news(&mut lab, WorkerNews::Joined(spec(1, 1)));
    assert_eq!(places(&lab), "a@1");
    lab.run("a").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn what_no_worker_has_can_be_cleared_and_ended() {
    for cleared in [true, false] {
        let (mut lab, run) = before_any_news();
        if cleared {
            lab.clear(&run, ["a"]);
        } else {
            lab.mark(&run, ["a"], TaskState::Success);
        }
        lab.held.clear();
        lab.crash();
        news(&mut lab, WorkerNews::Deaf);
        let usage = lab.driver.engine().usage();
        let held = usage.iter().filter(|usage| !usage.what.starts_with("runs")).any(|usage| usage.used > 0);
        assert!(!held, "nothing is held for it: {usage:?}");
        news(&mut lab, WorkerNews::Joined(spec(1, 1)));
        assert_eq!(places(&lab), if cleared { "a@1" } else { "" });
        lab.driver.engine().check().unwrap();
    }
}

#[test]
fn an_executor_that_is_a_fleet_admits_nothing_before_a_worker_is_there() {
    let mut lab = Lab::with(|config| config.default_executor = fleet());
    news(&mut lab, WorkerNews::Deaf);
    lab.executor("fleet", u32::MAX);
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=scheduled");
    assert!(why(&lab, &run, "a").starts_with("executor `fleet` has no worker"));
}

#[test]
fn gpus_stay_taken_over_a_restart() {
    let gpus = |models: &[(&str, u32)]| WorkerSpec {
        gpus: models.iter().map(|(model, n)| ((*model).to_owned(), *n)).collect(),
        ..spec(1, 10)
    };
    let gpu = |model: Option<&str>| Resources {
        gpu: Some(Gpu { count: 1, model: model.map(str::to_owned) }),
        ..needs(0, 0)
    };
    let mut lab = lab([gpus(&[("a100", 1), ("h100", 1)])]);
    lab.activate(
        dag("d")
            .task(bash("any").priority(2).with(|task| task.resources = gpu(None)))
            .task(bash("named").priority(1).with(|task| task.resources = gpu(Some("a100"))))
            .task(bash("other").with(|task| task.resources = gpu(Some("h100")))),
    );
    let run = lab.trigger("d");
    assert_eq!(places(&lab), "any@1 other@1");
    for _ in 0..2 {
        lab.crash();
        news(&mut lab, WorkerNews::Hearing);
        news(&mut lab, WorkerNews::Joined(gpus(&[("a100", 1), ("h100", 1)])));
        assert_eq!(places(&lab), "any@1 other@1", "both GPUs are taken");
        lab.driver.engine().check().unwrap();
    }
    lab.run("other").succeeds();
    assert_eq!(places(&lab), "any@1", "the one that is free is another");
    lab.run("any").succeeds();
    lab.run("named").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn nothing_is_kept_for_what_no_worker_could_hold_any_more() {
    let gpu = WorkerSpec { queues: ["gpu".to_owned()].into(), ..spec(2, 1) };
    let mut lab = lab([spec(1, 1), gpu]);
    let quotas = Quotas::new();
    lab.request(Command::SetQuota { cohort: None, weight: Weight::ONE, quotas, limits: Limits::default() })
        .unwrap();
    let on_gpu = |name: &str| bash(name).with(|task| task.queue = Some("gpu".to_owned()));
    lab.activate(dag("g").task(on_gpu("first").priority(9)).task(on_gpu("second")));
    let waits = lab.trigger("g");
    lab.run("first").starts();
    live(&mut lab, 301, &[1, 2]);
    assert_eq!(lab.states(&waits), "first=running second=scheduled", "what becomes free is kept for it");
    news(&mut lab, WorkerNews::Left(worker(2)));
    assert_eq!(lab.states(&waits), "first=failed second=scheduled");
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=queued", "the other worker is there for everybody else");
}
