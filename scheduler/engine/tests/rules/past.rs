//! Section 13: depends_on_past and wait_for_downstream.

use dags::model::Missed;
use engine::{
    command::{Backfill, Command, Reprocess},
    state::TaskState,
};

use crate::{builder::*, lab::*};

fn day(n: u32) -> String {
    format!("2025-12-{n:02}T00:00:00Z")
}

fn past() -> DagBuilder {
    dag("d").task(bash("a").depends_on_past()).task(bash("b"))
}

/// A lab with a run for each of these days, `r1`, `r2`, ...
fn lab_with(dag: DagBuilder, days: &[u32]) -> Lab {
    let mut lab = Lab::new();
    lab.activate(dag);
    for n in days {
        lab.trigger_for("d", &day(*n)).unwrap();
    }
    lab
}

#[test]
fn the_first_run_does_not_wait() {
    let lab = lab_with(past(), &[1]);
    assert_eq!(lab.states("r1"), "a=queued b=queued");
}

#[test]
fn a_task_waits_for_itself_in_the_run_before() {
    let mut lab = lab_with(past(), &[1, 2]);
    assert_eq!(lab.states("r2"), "a=none b=queued");
    lab.run("r1/b").succeeds();
    assert_eq!(lab.states("r2"), "a=none b=queued");
    lab.run("r1/a").succeeds();
    assert_eq!(lab.states("r2"), "a=queued b=queued");
}

#[test]
fn a_skip_is_good_enough_and_a_failure_is_not() {
    let mut lab = lab_with(past(), &[1, 2]);
    lab.run("r1/a").skips();
    assert_eq!(lab.states("r2"), "a=queued b=queued");
    let mut lab = lab_with(past(), &[1, 2]);
    lab.run("r1/a").fails();
    lab.run("r1/b").succeeds();
    assert_eq!(lab.states("r2"), "a=none b=queued");
    lab.run("r2/b").succeeds();
    assert_eq!(lab.runs("d"), "r1=failed r2=running", "a run that waits for the past isn't stuck");
}

#[test]
fn making_the_past_good_lets_the_next_go() {
    let mut lab = lab_with(past(), &[1, 2]);
    lab.run("r1/a").fails();
    lab.run("r1/b").succeeds();
    lab.crash();
    lab.clear("r1", ["a"]);
    lab.run("r1/a").succeeds();
    assert_eq!(lab.states("r2"), "a=queued b=queued");
    let mut lab = lab_with(past(), &[1, 2]);
    lab.run("r1/a").fails();
    lab.run("r1/b").succeeds();
    lab.mark("r1", ["a"], TaskState::Success);
    assert_eq!(lab.states("r2"), "a=queued b=queued");
}

#[test]
fn the_run_before_may_have_left_memory() {
    let mut lab = lab_with(past(), &[1]);
    lab.run("r1/a").succeeds();
    lab.run("r1/b").fails();
    lab.crash();
    assert_eq!(lab.driver.engine().runs_in_memory(), 0);
    lab.trigger_for("d", &day(2)).unwrap();
    assert_eq!(lab.states("r2"), "a=queued b=queued", "another task's failure doesn't matter");
    let mut lab = lab_with(past(), &[1]);
    lab.run("r1/a").fails();
    lab.run("r1/b").succeeds();
    lab.crash();
    lab.trigger_for("d", &day(2)).unwrap();
    assert_eq!(lab.states("r2"), "a=none b=queued");
}

#[test]
fn the_run_before_is_the_one_with_the_earlier_date() {
    let mut lab = lab_with(past(), &[5, 3, 4]);
    assert_eq!(lab.states("r2"), "a=queued b=queued", "the 3rd is the first");
    assert_eq!(lab.states("r3"), "a=none b=queued");
    lab.run("r2/a").succeeds();
    assert_eq!(lab.states("r3"), "a=queued b=queued");
}

#[test]
fn a_run_that_comes_in_between_is_the_one_before_from_then_on() {
    let mut lab = lab_with(past(), &[1, 3, 2]);
    assert_eq!(lab.states("r2"), "a=none b=queued");
    lab.run("r1/a").succeeds();
    assert_eq!((&*lab.states("r3"), &*lab.states("r2")), ("a=queued b=queued", "a=none b=queued"));
    lab.run("r3/a").succeeds();
    assert_eq!(lab.states("r2"), "a=queued b=queued");
    let mut lab = lab_with(past(), &[1, 3, 2]);
    lab.mark("r3", ["a"], TaskState::Skipped);
    assert_eq!(lab.states("r2"), "a=queued b=queued", "the 1st is none of its business");
}

#[test]
fn a_run_without_a_date_has_no_run_before() {
    let mut lab = lab_with(past(), &[1]);
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=queued b=queued");
    lab.trigger_for("d", &day(2)).unwrap();
    assert_eq!(lab.states("r3"), "a=none b=queued", "it looks at the 1st");
}

#[test]
fn with_catching_up_manual_runs_do_not_count() {
    let mut lab = Lab::new();
    lab.activate(past().cron("0 0 * * *").missed(Missed::All).starts("2025-12-30T00:00:00Z"));
    let scheduled = |day: &str| format!("scheduled__{day}T00:00:00+00:00");
    let (first, second, third) = (scheduled("2025-12-30"), scheduled("2025-12-31"), scheduled("2026-01-01"));
    lab.trigger_for("d", "2025-12-30T12:00:00Z").unwrap();
    assert_eq!(lab.states(&first), "a=queued b=queued");
    lab.run(&format!("{first}/a")).succeeds();
    assert_eq!(lab.states(&second), "a=queued b=queued", "the manual run between them hasn't ended");
    assert_eq!(lab.states(&third), "a=none b=queued");
    // The same when only the database knows them.
    lab.run("r1/a").fails();
    lab.run("r1/b").succeeds();
    for name in [&first, &second] {
        if lab.holds(&format!("{name}/a")) {
            lab.run(&format!("{name}/a")).succeeds();
        }
        lab.run(&format!("{name}/b")).succeeds();
    }
    assert_eq!(lab.states(&third), "a=queued b=queued");
    lab.trigger_for("d", "2025-12-31T12:00:00Z").unwrap();
    lab.run("r2/a").fails();
    lab.run("r2/b").succeeds();
    lab.run(&format!("{third}/a")).succeeds();
    lab.run(&format!("{third}/b")).succeeds();
    lab.crash();
    lab.advance(hours(24));
    lab.trigger_for("d", "2026-01-01T12:00:00Z").unwrap();
    assert_eq!(lab.states(&scheduled("2026-01-02")), "a=queued b=queued");
}

#[test]
fn without_catching_up_any_type_counts() {
    let mut lab = Lab::new();
    lab.activate(past().cron("0 12 * * *"));
    lab.trigger_for("d", "2026-01-01T06:00:00Z").unwrap();
    lab.advance(hours(13));
    let run = "scheduled__2026-01-01T12:00:00+00:00";
    assert_eq!(lab.states(run), "a=none b=queued");
    lab.run("r1/a").succeeds();
    assert_eq!(lab.states(run), "a=queued b=queued");
}

#[test]
fn with_catching_up_what_is_before_the_start_does_not_count() {
    let mut lab = Lab::new();
    lab.activate(past().cron("0 0 * * *").starts("2026-01-01T00:00:00Z").missed(Missed::All));
    lab.run("a").fails();
    lab.activate(past().cron("0 0 * * *").starts("2026-01-02T00:00:00Z").missed(Missed::All));
    lab.advance(hours(25));
    assert_eq!(lab.states("scheduled__2026-01-02T00:00:00+00:00"), "a=queued b=queued");
    lab.advance(hours(24));
    assert_eq!(lab.states("scheduled__2026-01-03T00:00:00+00:00"), "a=none b=queued");
}

#[test]
fn a_task_that_is_new_does_not_wait() {
    let mut lab = lab_with(past(), &[1]);
    lab.activate(past().task(bash("n").depends_on_past()));
    lab.trigger_for("d", &day(2)).unwrap();
    assert_eq!(lab.states("r2"), "a=none b=queued n=queued");
}

#[test]
fn every_index_of_the_run_before_counts() {
    let mut lab = lab_with(dag("d").task(bash("m").map(times(2)).depends_on_past()), &[1, 2]);
    lab.run("r1/m[0]").succeeds();
    assert_eq!(lab.states("r2"), "m[0]=none m[1]=none");
    lab.run("r1/m[1]").succeeds();
    assert_eq!(lab.states("r2"), "m[0]=queued m[1]=queued");
}

#[test]
fn waiting_for_downstream_waits_for_the_direct_ones_too() {
    let chain = dag("d")
        .task(bash("a").wait_for_downstream())
        .task(bash("b").needs(["a"]))
        .task(bash("c").needs(["b"]));
    let mut lab = lab_with(chain, &[1, 2]);
    lab.run("r1/a").succeeds();
    assert_eq!(lab.states("r2"), "a=none b=none c=none");
    lab.run("r1/b").succeeds();
    assert_eq!(lab.states("r2"), "a=queued b=none c=none", "`c` isn't directly downstream");
}

#[test]
fn a_retry_does_not_look_at_the_past_again() {
    let mut lab = lab_with(dag("d").task(bash("a").depends_on_past().retries(1)), &[1, 2]);
    lab.run("r1/a").succeeds();
    lab.run("r2/a").fails();
    lab.clear("r1", ["a"]);
    lab.advance(secs(300));
    assert_eq!(lab.states("r2"), "a=queued");
}

#[test]
fn a_long_line_of_runs_goes_one_after_the_other() {
    let mut lab = lab_with(dag("d").task(bash("a").depends_on_past()), &[1, 2, 3, 4, 5, 6]);
    for n in 1..=6 {
        assert_eq!(lab.held.len(), 1);
        if n == 3 {
            lab.crash();
        }
        lab.run(&format!("r{n}/a")).succeeds();
    }
    assert!(lab.held.is_empty());
}

#[test]
fn the_first_run_of_a_backfill_does_not_wait() {
    let mut lab = Lab::new();
    lab.activate(past().cron("0 0 * * *"));
    lab.trigger_for("d", "2025-12-01T00:00:00Z").unwrap();
    lab.request(Command::Backfill(Backfill {
        dag_id: "d".parse().unwrap(),
        from: at("2025-12-10T00:00:00Z"),
        to: at("2025-12-11T00:00:00Z"),
        reprocess: Reprocess::Failed,
        reverse: false,
        max_active_runs: 2,
        conf: serde_json::Map::new(),
    }))
    .unwrap();
    assert_eq!(lab.states("backfill__2025-12-10T00:00:00+00:00"), "a=queued b=queued");
    assert_eq!(lab.states("backfill__2025-12-11T00:00:00+00:00"), "a=none b=queued");
}
