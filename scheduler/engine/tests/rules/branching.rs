//! Section 7: skip propagation and branching.

use dags::model::TriggerRule;
use engine::{
    Answer,
    state::{RunState, TaskState},
};

use crate::{builder::*, lab::*};

#[test]
fn a_branch_skips_its_other_direct_downstreams_at_once() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(branch("a"))
            .task(bash("b").needs(["a"]))
            .task(bash("c").needs(["a"]))
            .task(bash("e").needs(["a"])),
    );
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=running b=none c=none e=none");
    lab.follow("a", ["b", "e"]);
    assert_eq!(lab.states(&run), "a=success b=queued c=skipped e=queued");
    assert_eq!(lab.task_row(&run, "c").reason.as_deref(), Some("`a` decided against it"));
    assert_eq!(lab.task_row(&run, "c").try_number, 0);
}

#[test]
fn a_branch_that_follows_nothing_skips_all() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(branch("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.follow("a", []);
    assert_eq!((lab.states(&run).as_str(), lab.state(&run)), ("a=success b=skipped", RunState::Success));
}

#[test]
fn a_branch_to_a_stranger_fails() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(branch("a")).task(bash("b").needs(["a"])).task(bash("c").needs(["b"])));
    let run = lab.trigger("d");
    lab.follow("a", ["c"]);
    assert_eq!(lab.states(&run), "a=failed b=upstream_failed c=upstream_failed");
}

#[test]
fn a_skip_travels_through_trigger_rules_only() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(branch("a"))
            .task(bash("b").needs(["a"]))
            .task(bash("c").needs(["a"]))
            .task(bash("c2").needs(["c"]))
            .task(bash("join_all").needs(["b", "c2"]))
            .task(bash("join_one").needs(["b", "c2"]).rule(TriggerRule::NoneFailedMinOneSuccess)),
    );
    let run = lab.trigger("d");
    lab.follow("a", ["b"]);
    assert_eq!(lab.states(&run), "a=success b=queued c=skipped c2=skipped join_all=skipped join_one=none");
    lab.run("b").succeeds();
    assert!(lab.states(&run).ends_with("join_all=skipped join_one=queued"));
}

#[test]
fn a_branch_skips_a_direct_downstream_whatever_its_rule() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(branch("a"))
            .task(bash("b").needs(["a"]))
            .task(bash("c").needs(["a"]).rule(TriggerRule::AllDone)),
    );
    let run = lab.trigger("d");
    lab.follow("a", ["b"]);
    assert_eq!(lab.states(&run), "a=success b=queued c=skipped");
}

#[test]
fn any_branch_that_skips_wins_over_one_that_follows() {
    let dag = || {
        dag("d")
            .task(branch("a"))
            .task(branch("b"))
            .task(bash("c").needs(["a", "b"]).rule(TriggerRule::NoneFailedMinOneSuccess))
    };
    for first in ["a", "b"] {
        let mut lab = Lab::new();
        lab.activate(dag());
        let run = lab.trigger("d");
        let second = if first == "a" { "b" } else { "a" };
        lab.follow(first, ["c"]);
        assert!(lab.states(&run).ends_with("c=none"));
        lab.follow(second, []);
        assert_eq!(lab.states(&run), "a=success b=success c=skipped");
    }
}

#[test]
fn a_skipped_child_that_is_cleared_alone_is_skipped_again() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d").task(branch("a")).task(bash("b").needs(["a"])).task(bash("c").needs(["a"])).task(bash("x")),
    );
    let run = lab.trigger("d");
    lab.follow("a", ["b"]);
    lab.clear(&run, ["c"]);
    assert_eq!(lab.history(&run, "c"), "skipped none skipped");
    lab.run("b").succeeds();
    lab.run("x").succeeds();
    // The same from a run that is over, and after a crash.
    lab.crash();
    lab.clear(&run, ["c"]);
    assert_eq!(lab.states(&run), "a=success b=success c=skipped x=success");
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn a_branch_that_is_cleared_decides_anew() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(branch("a")).task(bash("b").needs(["a"])).task(bash("c").needs(["a"])));
    let run = lab.trigger("d");
    lab.follow("a", ["b"]);
    lab.run("b").succeeds();
    lab.clear(&run, []);
    assert_eq!(lab.states(&run), "a=running b=none c=none");
    lab.follow("a", ["c"]);
    assert_eq!(lab.states(&run), "a=success b=skipped c=queued");
}

#[test]
fn skipping_a_mapped_task_skips_every_index() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d").task(branch("a")).task(bash("b").needs(["a"])).task(bash("m").needs(["a"]).map(times(3))),
    );
    let run = lab.trigger("d");
    lab.follow("a", ["b"]);
    assert_eq!(lab.states(&run), "a=success b=queued m[0]=skipped m[1]=skipped m[2]=skipped");
}

#[test]
fn a_branch_in_a_mapped_group_decides_for_its_own_index() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .group("g", None, Some(times(2)))
            .task(branch("g.a").group("g"))
            .task(bash("g.b").needs(["g.a"]).group("g"))
            .task(bash("g.c").needs(["g.a"]).group("g")),
    );
    let run = lab.trigger("d");
    lab.follow("g.a[0]", ["g.b"]);
    assert_eq!(
        lab.states(&run),
        "g.a[0]=success g.a[1]=running g.b[0]=queued g.b[1]=none g.c[0]=skipped g.c[1]=none"
    );
    lab.follow("g.a[1]", ["g.c"]);
    assert_eq!(
        lab.states(&run),
        "g.a[0]=success g.a[1]=success g.b[0]=queued g.b[1]=skipped g.c[0]=skipped g.c[1]=queued"
    );
}

fn circuit() -> DagBuilder {
    dag("d")
        .task(short_circuit("a"))
        .task(bash("b").needs(["a"]))
        .task(bash("c").needs(["b"]))
        .task(bash("e").needs(["c", "x"]).rule(TriggerRule::AllDone))
        .task(bash("x"))
}

#[test]
fn a_short_circuit_skips_all_that_follows_whatever_the_rules() {
    let mut lab = Lab::new();
    lab.activate(circuit());
    let run = lab.trigger("d");
    lab.answer("a", Answer::Stop { direct: false });
    assert_eq!(lab.states(&run), "a=success b=skipped c=skipped e=skipped x=queued");
}

#[test]
fn a_short_circuit_that_respects_rules_skips_direct_downstreams() {
    let mut lab = Lab::new();
    lab.activate(circuit());
    let run = lab.trigger("d");
    lab.answer("a", Answer::Stop { direct: true });
    assert_eq!(lab.states(&run), "a=success b=skipped c=skipped e=none x=queued");
    lab.run("x").succeeds();
    assert_eq!(lab.states(&run), "a=success b=skipped c=skipped e=queued x=success");
}

#[test]
fn a_short_circuit_that_holds_skips_nothing() {
    let mut lab = Lab::new();
    lab.activate(circuit());
    let run = lab.trigger("d");
    lab.answer("a", Answer::Done);
    assert_eq!(lab.states(&run), "a=success b=queued c=none e=none x=queued");
}

#[test]
fn a_short_circuit_leaves_teardowns_alone() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("s"))
            .task(short_circuit("a").needs(["s"]))
            .task(bash("b").needs(["a"]))
            .task(bash("t").needs(["b"]).teardown_of(["s"])),
    );
    let run = lab.trigger("d");
    lab.run("s").succeeds();
    lab.answer("a", Answer::Stop { direct: false });
    assert_eq!(lab.states(&run), "a=success b=skipped s=success t=queued");
}

#[test]
fn a_condition_that_does_not_hold_skips_the_task() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").when("x")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=none b=none");
    lab.answer("a", Answer::Holds(false));
    assert_eq!(lab.states(&run), "a=skipped b=skipped");
    assert_eq!(lab.task_row(&run, "a").try_number, 0);
    let run = lab.trigger("d");
    lab.answer("a", Answer::Holds(true));
    assert_eq!(lab.states(&run), "a=queued b=none");
}

#[test]
fn a_condition_is_asked_after_the_rule_allowed_the_task() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"]).when("x")));
    let run = lab.trigger("d");
    assert!(lab.questions.is_empty());
    lab.run("a").succeeds();
    assert_eq!(lab.questions.len(), 1);
    lab.crash();
    assert_eq!(lab.questions.len(), 1, "it is asked again");
    lab.answer("b", Answer::Holds(true));
    assert_eq!(lab.states(&run), "a=success b=queued");
}

#[test]
fn a_condition_that_can_not_be_evaluated_fails_the_task() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").when("x").retries(3)).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.answer("a", Answer::Error("no such name".to_owned()));
    assert_eq!(lab.states(&run), "a=failed b=upstream_failed");
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn an_answer_that_comes_too_late_is_dropped() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(branch("a")).task(bash("b").needs(["a"]).when("x")));
    let run = lab.trigger("d");
    let id = lab.questions[0].id;
    lab.mark(&run, ["a"], TaskState::Success);
    lab.put(engine::driver::Input::Answer(id, Answer::Follow(Vec::new())));
    assert_eq!(lab.states(&run), "a=success b=none");
    let id = lab.questions.last().unwrap().id;
    lab.mark(&run, ["b"], TaskState::Failed);
    lab.put(engine::driver::Input::Answer(id, Answer::Holds(true)));
    assert_eq!(lab.states(&run), "a=success b=failed");
}

#[test]
fn a_skip_waits_for_the_past_if_the_task_says_so() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(branch("a")).task(bash("b").needs(["a"])).task(
        bash("c").needs(["a"]).depends_on_past().with(|task| task.wait_for_past_before_skipping = true),
    ));
    let first = lab.trigger_for("d", "2025-01-01T00:00:00Z").unwrap();
    let second = lab.trigger_for("d", "2025-01-02T00:00:00Z").unwrap();
    lab.follow("r1/a", ["c"]);
    lab.follow("r2/a", ["b"]);
    assert_eq!(lab.states(&second), "a=success b=queued c=none");
    lab.run("r1/c").succeeds();
    assert_eq!(lab.states(&first), "a=success b=skipped c=success");
    assert_eq!(lab.states(&second), "a=success b=queued c=skipped");
}

#[test]
fn a_branch_skips_what_is_still_being_asked_about() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("a"))
            .task(branch("b"))
            .task(bash("c").needs(["a", "b"]).rule(TriggerRule::OneSuccess).when("x")),
    );
    let run = lab.trigger("d");
    lab.run("a").succeeds();
    assert_eq!(lab.questions.len(), 2, "the branch's and the one about `when`");
    lab.follow("b", []);
    assert_eq!(lab.states(&run), "a=success b=success c=skipped");
    lab.answer("c", Answer::Holds(true));
    assert_eq!(lab.states(&run), "a=success b=success c=skipped", "the answer comes too late");
}
