//! Section 11: setup and teardown.

use dags::model::TriggerRule;
use engine::state::RunState;

use crate::{builder::*, lab::*};

/// `s` sets up for `w` and `x` one after the other, `t` tears down.
fn around() -> DagBuilder {
    dag("d")
        .task(bash("s"))
        .task(bash("w").needs(["s"]))
        .task(bash("x").needs(["w"]))
        .task(bash("t").needs(["x"]).teardown_of(["s"]))
}

#[test]
fn a_teardown_runs_after_the_work() {
    let mut lab = Lab::new();
    lab.activate(around());
    let run = lab.trigger("d");
    for name in ["s", "w", "x"] {
        lab.run(name).succeeds();
    }
    assert_eq!(lab.states(&run), "s=success t=queued w=success x=success");
    lab.run("t").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn a_teardown_runs_after_work_that_failed() {
    let mut lab = Lab::new();
    lab.activate(around());
    let run = lab.trigger("d");
    lab.run("s").succeeds();
    lab.run("w").fails();
    assert_eq!(lab.states(&run), "s=success t=queued w=failed x=upstream_failed");
    lab.run("t").succeeds();
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn without_its_setup_nothing_runs() {
    let mut lab = Lab::new();
    lab.activate(around());
    let run = lab.trigger("d");
    lab.run("s").fails();
    assert_eq!(lab.states(&run), "s=failed t=upstream_failed w=upstream_failed x=upstream_failed");
}

#[test]
fn a_skipped_setup_skips_everything_around_it() {
    let mut lab = Lab::new();
    lab.activate(around());
    let run = lab.trigger("d");
    lab.run("s").skips();
    assert_eq!(lab.states(&run), "s=skipped t=skipped w=skipped x=skipped");
    assert_eq!(lab.state(&run), RunState::Success);
}

/// Two setups, of which the second isn't upstream of `w` directly.
fn two_setups() -> DagBuilder {
    dag("d")
        .task(bash("s1"))
        .task(bash("s2"))
        .task(bash("v").needs(["s1", "s2"]).rule(TriggerRule::AllDone))
        .task(bash("w").needs(["v"]).rule(TriggerRule::AllDone))
        .task(bash("t").needs(["w"]).teardown_of(["s1", "s2"]))
}

#[test]
fn a_failed_setup_counts_whatever_the_rule_and_without_waiting_for_the_others() {
    let mut lab = Lab::new();
    lab.activate(two_setups());
    let run = lab.trigger("d");
    lab.run("s1").fails();
    assert_eq!(lab.states(&run), "s1=failed s2=queued t=none v=upstream_failed w=upstream_failed");
    lab.run("s2").succeeds();
    assert_eq!(lab.states(&run), "s1=failed s2=success t=queued v=upstream_failed w=upstream_failed");
}

#[test]
fn a_teardown_wants_one_setup_that_succeeded() {
    let mut lab = Lab::new();
    lab.activate(two_setups());
    let run = lab.trigger("d");
    lab.run("s1").fails();
    lab.run("s2").fails();
    assert!(lab.states(&run).contains("t=upstream_failed"), "{}", lab.states(&run));
}

#[test]
fn a_teardown_waits_for_all_work_between_its_setup_and_it() {
    let mut lab = Lab::new();
    // `y` needs the setup and leads to the teardown by `z`, whose rule lets it go before `y` has ended.
    lab.activate(
        dag("d")
            .task(bash("s"))
            .task(bash("y").needs(["s"]))
            .task(bash("w").needs(["s"]))
            .task(bash("z").needs(["y", "w"]).rule(TriggerRule::OneSuccess))
            .task(bash("t").needs(["z"]).teardown_of(["s"])),
    );
    let run = lab.trigger("d");
    lab.run("s").succeeds();
    lab.run("w").succeeds();
    lab.run("z").succeeds();
    assert_eq!(lab.states(&run), "s=success t=none w=success y=queued z=success");
    lab.run("y").succeeds();
    assert!(lab.states(&run).contains("t=queued"));
}

#[test]
fn a_teardown_that_waits_survives_a_crash() {
    let mut lab = Lab::new();
    lab.activate(around());
    let run = lab.trigger("d");
    lab.run("s").succeeds();
    lab.crash();
    lab.run("w").succeeds();
    lab.crash();
    lab.run("x").succeeds();
    assert!(lab.states(&run).contains("t=queued"));
}

#[test]
fn clearing_the_work_brings_its_setup_and_teardown_back() {
    let mut lab = Lab::new();
    lab.activate(around());
    let run = lab.trigger("d");
    for name in ["s", "w", "x", "t"] {
        lab.run(name).succeeds();
    }
    lab.clear(&run, ["x"]);
    assert_eq!(lab.states(&run), "s=queued t=none w=success x=none");
    lab.run("s").succeeds();
    assert_eq!(lab.states(&run), "s=success t=none w=success x=queued");
}

#[test]
fn what_follows_a_teardown_runs_after_it() {
    let mut lab = Lab::new();
    lab.activate(around().task(bash("z").needs(["t"])));
    let run = lab.trigger("d");
    for name in ["s", "w", "x", "t"] {
        lab.run(name).succeeds();
    }
    assert!(lab.states(&run).ends_with("z=queued"));
}

#[test]
fn a_dag_of_teardowns_only_has_plain_leaves() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("t").with(|task| task.teardown_of = vec![task_id("gone")])));
    let run = lab.trigger("d");
    lab.run("t").fails();
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn marking_a_run_failed_before_its_setup_ends_its_teardown_too() {
    let mut lab = Lab::new();
    lab.activate(around());
    let run = lab.trigger("d");
    lab.run("s").starts();
    lab.mark_run(&run, RunState::Failed);
    assert_eq!(lab.states(&run), "s=failed t=upstream_failed w=skipped x=skipped");
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn a_setup_without_teardown_is_a_task() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("s")).task(bash("w").needs(["s"]).rule(TriggerRule::AllDone)));
    let run = lab.trigger("d");
    lab.run("s").fails();
    assert_eq!(lab.states(&run), "s=failed w=queued");
}
