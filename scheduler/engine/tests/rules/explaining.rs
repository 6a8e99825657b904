//! What waits can say why.

use dags::{ids::DagId, model::TriggerRule};
use engine::{
    Answer,
    command::{Backfill, Command, Reprocess},
    explain::Limit,
    state::{RunState, TaskState},
};

use crate::{builder::*, lab::*};

/// What holds an instance, a line for each hold; `-` if it isn't explained.
fn why(lab: &Lab, run: &str, name: &str) -> String {
    let (task, index) = match name.split_once('[') {
        Some((task, index)) => (task, index.trim_end_matches(']').parse().unwrap()),
        None => (name, -1),
    };
    let row = lab.run_row(run);
    let waiting = lab.driver.engine().explain(row.tenant, &row.dag_id, &row.run_name, &task_id(task), index);
    let Some(waiting) = waiting else { return "-".to_owned() };
    assert_eq!(waiting.state, lab.task_row(run, name).state);
    waiting.holds.iter().map(|hold| format!("{} -> {}", hold.says, hold.frees)).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_runs_or_is_over_waits_for_nothing() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])).task(bash("c")));
    let run = lab.trigger("d");
    assert_eq!(why(&lab, &run, "a"), "-");
    lab.run("a").fails();
    assert_eq!((why(&lab, &run, "a").as_str(), why(&lab, &run, "b").as_str()), ("-", "-"));
    let engine = lab.driver.engine();
    let ask = |dag: &str, run: &str, task: &str, index| {
        engine.explain(TENANT, &DagId::parse(dag).unwrap(), &run.parse().unwrap(), &task_id(task), index)
    };
    assert_eq!(ask("nope", "r1", "a", -1), None);
    assert_eq!(ask("d", "nope", "a", -1), None);
    assert_eq!(ask("d", "r1", "nope", -1), None);
    assert_eq!(ask("d", "r1", "a", 7), None);
}

#[test]
fn upstream_tasks_that_have_not_ended() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("a"))
            .task(bash("m").map(times(3)))
            .task(bash("z").needs(["a", "m"]).rule(TriggerRule::AllDone)),
    );
    let run = lab.trigger("d");
    lab.run("m[1]").succeeds();
    insta::assert_snapshot!(why(&lab, &run, "z"), @"1 of 4 upstream instances have ended; it waits for `a`, `m` (2 of 3 open) -> they end so that `all_done` is decided");
    lab.run("a").succeeds();
    insta::assert_snapshot!(why(&lab, &run, "z"), @"2 of 4 upstream instances have ended; it waits for `m` (2 of 3 open) -> they end so that `all_done` is decided");
}

#[test]
fn the_length_that_it_is_repeated_by() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("m").needs(["a"]).map(over("a"))));
    let run = lab.trigger("d");
    insta::assert_snapshot!(why(&lab, &run, "m"), @r"
    how often it is repeated depends on `a` -> they end
    0 of 1 upstream instances have ended; it waits for `a` -> they end so that `all_success` is decided
    ");
}

#[test]
fn a_teardown_names_the_work_before_it() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("s"))
            .task(bash("w").needs(["s"]))
            .task(bash("y").needs(["s"]))
            .task(bash("z").needs(["y", "w"]).rule(TriggerRule::OneSuccess))
            .task(bash("t").needs(["z"]).teardown_of(["s"])),
    );
    let run = lab.trigger("d");
    lab.run("s").succeeds();
    lab.run("w").succeeds();
    lab.run("z").succeeds();
    insta::assert_snapshot!(why(&lab, &run, "t"), @"2 of 2 upstream instances have ended; it waits for `y` -> they end so that `all_done_setup_success` is decided");
}

#[test]
fn a_paused_dag_and_a_stale_one() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.pause("d", true);
    lab.run("a").succeeds();
    insta::assert_snapshot!(why(&lab, &run, "b"), @"the DAG is paused -> someone unpauses it");
    lab.activate(dag("other"));
    lab.retire("d");
    insta::assert_snapshot!(why(&lab, &run, "b"), @r"
    the DAG is paused -> someone unpauses it
    the newest bundle doesn't have the DAG -> a bundle that has it is activated, or the run is marked as success or failed
    ");
}

#[test]
fn a_queued_run() {
    let mut lab = Lab::new();
    lab.activate(dag("d").max_active_runs(1).task(bash("a")));
    for _ in 0..3 {
        lab.trigger("d");
        lab.advance(secs(1));
    }
    let due = at("2026-01-02T00:00:00Z");
    lab.trigger_with("d", |trigger| {
        trigger.run_name = Some("later".parse().unwrap());
        trigger.run_after = Some(due);
    })
    .unwrap();
    let says = |run: &str| {
        let row = lab.run_row(run);
        let explained =
            lab.driver.engine().explain(TENANT, &row.dag_id, &row.run_name, &task_id("a"), -1).unwrap();
        explained.holds.into_iter().map(|hold| hold.limit).collect::<Vec<_>>()
    };
    assert_eq!(says("r2"), [Limit::MaxActiveRuns { running: 1, limit: 1, ahead: 0 }]);
    assert_eq!(says("r3"), [Limit::MaxActiveRuns { running: 1, limit: 1, ahead: 1 }]);
    assert_eq!(says("later"), [Limit::RunDue { run_after: due }]);
    assert_eq!(lab.state("r2"), RunState::Queued);
}

#[test]
fn a_run_of_a_backfill() {
    let mut lab = Lab::new();
    lab.activate(dag("d").cron("0 12 * * *").task(bash("a")));
    lab.pause("d", true);
    let spec = Backfill {
        dag_id: "d".parse().unwrap(),
        from: at("2025-12-01T00:00:00Z"),
        to: at("2025-12-03T00:00:00Z"),
        reprocess: Reprocess::None,
        reverse: false,
        max_active_runs: 1,
        conf: serde_json::Map::new(),
    };
    lab.request(Command::Backfill(spec)).unwrap();
    let row = lab.run_row("backfill__2025-12-01T12:00:00+00:00");
    let explained =
        lab.driver.engine().explain(TENANT, &row.dag_id, &row.run_name, &task_id("a"), -1).unwrap();
    let limits: Vec<Limit> = explained.holds.into_iter().map(|hold| hold.limit).collect();
    assert_eq!(limits, [Limit::DagPaused, Limit::Backfill { id: 1, paused: false, running: 0, limit: 1 }]);
}

#[test]
fn the_past() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").wait_for_downstream()).task(bash("b").needs(["a"])));
    lab.trigger_for("d", "2025-01-01T00:00:00Z").unwrap();
    lab.trigger_for("d", "2025-01-02T00:00:00Z").unwrap();
    insta::assert_snapshot!(why(&lab, "r2", "a"), @"`a`, `b` of run `r1` hasn't ended well -> those tasks succeed, are skipped or are marked as successful there");
    lab.run("r1/a").succeeds();
    lab.run("b").fails();
    insta::assert_snapshot!(why(&lab, "r2", "a"), @"`b` of the run before hasn't ended well -> those tasks succeed, are skipped or are marked as successful there");
}

#[test]
fn instants_and_questions() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d").task(bash("a").retries(1)).task(bash("b").when("x")).task(time_sensor("s")).task(bash("r")),
    );
    let run = lab.trigger("d");
    insta::assert_snapshot!(why(&lab, &run, "b"), @"a question about it isn't answered yet -> the answer comes");
    lab.now = at("2026-01-01T01:00:00Z");
    lab.run("a").fails();
    lab.answer("s", Answer::Again(at("2026-01-01T03:00:00Z")));
    lab.run("r").ends_as(engine::dispatch::Outcome::Reschedule { after: hours(1) });
    // To the second: each batch moves the clock on by a microsecond.
    let until = |name: &str| why(&lab, &run, name).split(['.', 'Z']).next().unwrap().to_owned();
    assert_eq!(until("a"), "its next try is due at 2026-01-01T01:05:00");
    assert_eq!(until("s"), "it is looked at again at 2026-01-01T03:00:00");
    assert_eq!(until("r"), "it is called again at 2026-01-01T02:00:00");
}

#[test]
fn a_restart_waits_for_the_end() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.clear(&run, ["a"]);
    insta::assert_snapshot!(why(&lab, &run, "a"), @"it was cleared while it ran, and its attempt is being ended -> its executor confirms that the attempt has ended");
}

#[test]
fn a_pool_and_an_executor() {
    let mut lab = Lab::new();
    lab.pool("p", 2);
    lab.executor("gpu", 1);
    lab.activate(
        dag("d")
            .task(bash("a").pool("p").priority(9))
            .task(bash("b").pool("p").slots(2).priority(8))
            .task(bash("c").pool("p").slots(3).executor("far").priority(7))
            .task(bash("e").pool("nope").priority(6))
            .task(bash("g").executor("gpu").priority(5))
            .task(bash("h").executor("gpu").gang(2).priority(4)),
    );
    let run = lab.trigger("d");
    insta::assert_snapshot!(why(&lab, &run, "b"), @r"
    it asks for 2 of the 2 slots of pool `p`, of which 1 are free -> tasks in the pool end, or it is made larger
    0 of the same tenant go before it -> it comes first among those that fit
    ");
    insta::assert_snapshot!(why(&lab, &run, "c"), @r"
    it asks for 3, and pool `p` has 2 slots in all -> the pool is made larger
    executor `far` isn't there -> an executor of that name starts
    1 of the same tenant go before it -> it comes first among those that fit
    ");
    insta::assert_snapshot!(why(&lab, &run, "e"), @r"
    there is no pool `nope` -> a pool of that name is made
    2 of the same tenant go before it -> it comes first among those that fit
    ");
    insta::assert_snapshot!(why(&lab, &run, "h"), @r"
    executor `gpu` runs 1 of at most 1, and the task needs 2 -> tasks there end, or it gets more room
    3 of the same tenant go before it -> it comes first among those that fit
    ");
}

#[test]
fn the_limits_of_runs_and_tasks() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d").max_active_tasks(2).task(bash("m").map(times(3))).task(bash("n").priority(-1).max_active(1)),
    );
    let run = lab.trigger("d");
    let first = why(&lab, &run, "m[2]");
    assert!(
        first.starts_with("2 tasks of the run are active and 0 wait before this one, of at most 2 -> "),
        "{first}"
    );
    lab.activate(dag("e").task(bash("n").max_active(1)).task(bash("o").map(times(2)).max_active_per_run(1)));
    lab.trigger("e");
    let second = lab.trigger("e");
    let all = why(&lab, &second, "n");
    assert!(all.starts_with("1 of at most 1 instances of the task are active -> one of them ends, or the task's `max_active` is raised"), "{all}");
    let one = why(&lab, &second, "o[1]");
    assert!(one.starts_with("1 of at most 1 instances of the task are active -> one of them ends, or the task's `max_active_per_run` is raised"), "{one}");
}

#[test]
fn an_explanation_can_be_sent() {
    let mut lab = Lab::new();
    lab.pool("p", 0);
    lab.activate(dag("d").task(bash("a").pool("p")));
    let run = lab.trigger("d");
    let row = lab.run_row(&run);
    let waiting = lab.driver.engine().explain(TENANT, &row.dag_id, &row.run_name, &task_id("a"), -1).unwrap();
    let sent = serde_json::to_value(waiting).unwrap();
    let pool = serde_json::json!({
        "kind": "pool", "name": "p", "total": 0, "used": 0, "deferred": 0, "free": 0, "asked": 1
    });
    assert_eq!(sent["state"], "scheduled");
    assert_eq!(sent["holds"][0]["limit"], pool);
    assert_eq!(sent["holds"][1]["limit"], serde_json::json!({ "kind": "queue", "ahead": 0 }));
}

#[test]
fn an_overview_counts() {
    let mut lab = Lab::new();
    lab.pool("p", 1);
    lab.activate(dag("d").task(bash("a").pool("p")).task(bash("b").pool("p")).task(bash("c").needs(["a"])));
    lab.activate(dag("e").max_active_tasks(1).task(bash("m").map(times(3))));
    lab.trigger("d");
    let run = lab.trigger("e");
    lab.run("r2/m[0]").starts();
    lab.mark(&run, ["m[0]"], TaskState::Success);
    lab.pause("d", true);
    let overview = lab.driver.engine().overview();
    assert_eq!((overview.dags, overview.dags_halted), (2, 1));
    assert_eq!(overview.runs[..2], [(RunState::Queued, 0), (RunState::Running, 2)]);
    let states =
        [(TaskState::None, 1), (TaskState::Scheduled, 2), (TaskState::Queued, 2), (TaskState::Success, 1)];
    assert_eq!(overview.instances, states);
    assert_eq!((overview.queued, overview.parked, overview.ending), (0, 2, 1));
    let pool = &overview.pools[0];
    assert_eq!((pool.name.as_str(), pool.slots, pool.used), ("p", Some(1), 1));
    assert_eq!((overview.executors[0].slots, overview.executors[0].used), (Some(1_000), 3));
    assert_eq!(overview.held, [(TENANT, 3)]);
    assert!(serde_json::to_string(&overview).unwrap().contains("\"busy_runs\":0"));
}
