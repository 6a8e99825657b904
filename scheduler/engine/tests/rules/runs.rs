//! Section 2: states of runs.

use dags::model::{Deadline, DeadlineFrom, Notify, TriggerRule};
use engine::{
    dispatch::Outcome,
    state::{RunState, TaskState},
};

use crate::{builder::*, lab::*};

#[test]
fn a_failed_leaf_fails_the_run() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b")));
    let run = lab.trigger("d");
    lab.run("a").fails();
    assert_eq!(lab.state(&run), RunState::Running, "a task isn't finished");
    lab.run("b").succeeds();
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn a_leaf_that_could_not_run_fails_the_run() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.run("a").fails();
    assert_eq!(lab.states(&run), "a=failed b=upstream_failed");
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn a_failed_task_whose_child_ran_all_the_same_does_not_fail_the_run() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"]).rule(TriggerRule::AllDone)));
    let run = lab.trigger("d");
    lab.run("a").fails();
    lab.run("b").succeeds();
    assert_eq!(lab.states(&run), "a=failed b=success");
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn all_leaves_skipped_is_a_success() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])).task(bash("c").needs(["a"])));
    let run = lab.trigger("d");
    lab.run("a").skips();
    assert_eq!(lab.states(&run), "a=skipped b=skipped c=skipped");
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn a_run_without_tasks_succeeds() {
    let mut lab = Lab::new();
    lab.activate(dag("d"));
    let run = lab.trigger("d");
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn a_failed_teardown_does_not_fail_the_run() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d").task(bash("s")).task(bash("w").needs(["s"])).task(bash("t").needs(["w"]).teardown_of(["s"])),
    );
    let run = lab.trigger("d");
    lab.run("s").succeeds();
    lab.run("w").succeeds();
    lab.run("t").fails();
    assert_eq!(lab.states(&run), "s=success t=failed w=success");
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn a_failed_teardown_that_says_so_fails_the_run() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("s"))
            .task(bash("w").needs(["s"]))
            .task(bash("t").needs(["w"]).teardown_of(["s"]).with(|task| task.on_failure_fail_run = true)),
    );
    let run = lab.trigger("d");
    lab.run("s").succeeds();
    lab.run("w").succeeds();
    lab.run("t").fails();
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn the_task_before_a_teardown_is_a_leaf() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d").task(bash("s")).task(bash("w").needs(["s"])).task(bash("t").needs(["w"]).teardown_of(["s"])),
    );
    let run = lab.trigger("d");
    lab.run("s").succeeds();
    lab.run("w").fails();
    lab.run("t").succeeds();
    assert_eq!(lab.states(&run), "s=success t=success w=failed");
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn a_run_starts_when_it_is_due() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let due = lab.now.after(hours(1));
    let run = lab.trigger_with("d", |trigger| trigger.run_after = Some(due)).unwrap();
    assert_eq!((lab.state(&run), lab.run_row(&run).started_at), (RunState::Queued, None));
    lab.advance(mins(59));
    assert_eq!(lab.state(&run), RunState::Queued);
    lab.advance(mins(1));
    assert_eq!(lab.state(&run), RunState::Running);
    assert!(lab.run_row(&run).started_at.is_some());
}

#[test]
fn a_paused_dag_starts_no_runs() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    lab.pause("d", true);
    let run = lab.trigger("d");
    assert_eq!(lab.state(&run), RunState::Queued);
    lab.pause("d", false);
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn a_paused_dag_starts_no_tasks_and_finishes_the_running_ones() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.run("a").starts();
    lab.pause("d", true);
    assert_eq!(lab.kills, []);
    lab.run("a").succeeds();
    assert_eq!(lab.states(&run), "a=success b=none");
    lab.pause("d", false);
    assert_eq!(lab.states(&run), "a=success b=queued");
}

#[test]
fn a_paused_dag_admits_nothing_that_waits() {
    let mut lab = Lab::new();
    lab.executor("local", 1);
    lab.activate(dag("d").task(bash("a")).task(bash("b")));
    let run = lab.trigger("d");
    lab.pause("d", true);
    lab.run("a").succeeds();
    assert_eq!(lab.states(&run), "a=success b=scheduled");
    lab.pause("d", false);
    assert_eq!(lab.states(&run), "a=success b=queued");
}

#[test]
fn a_paused_dag_takes_nothing_back_into_the_queue() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").max_active(1)).task(bash("b")));
    let first = lab.trigger("d");
    let second = lab.trigger("d");
    assert_eq!(lab.states(&second), "a=scheduled b=queued");
    lab.pause("d", true);
    lab.run("r1/b").ends_as(Outcome::Killed);
    lab.run("r1/a").succeeds();
    assert_eq!(lab.states(&first), "a=success b=scheduled");
    assert_eq!(lab.states(&second), "a=scheduled b=queued");
    lab.pause("d", false);
    assert_eq!(lab.states(&first), "a=success b=queued");
    assert_eq!(lab.states(&second), "a=queued b=queued");
}

#[test]
fn a_retry_that_comes_due_while_paused_waits() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    let run = lab.trigger("d");
    lab.run("a").fails();
    lab.pause("d", true);
    lab.advance(hours(1));
    assert_eq!(lab.states(&run), "a=up_for_retry");
    lab.crash();
    lab.pause("d", false);
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn a_stale_dag_starts_nothing() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    lab.activate(dag("other"));
    let run = lab.trigger("d");
    lab.retire("d");
    lab.run("a").succeeds();
    assert_eq!(lab.states(&run), "a=success b=none", "a run of a stale DAG isn't examined");
    let refusal = lab.trigger_with("d", |_| {}).unwrap_err();
    assert_eq!(refusal.code, "dag.stale");
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    assert_eq!(lab.states(&run), "a=success b=queued");
}

#[test]
fn a_timeout_fails_the_run_and_skips_what_is_not_finished() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .run_timeout(hours(1))
            .task(bash("a"))
            .task(bash("b"))
            .task(bash("c").needs(["b"]))
            .task(bash("e").retries(1).retry_delay(hours(5))),
    );
    let run = lab.trigger("d");
    lab.run("a").succeeds();
    lab.run("b").starts();
    lab.run("e").fails();
    lab.advance(mins(59));
    assert_eq!(lab.state(&run), RunState::Running);
    lab.advance(mins(1));
    assert_eq!(lab.state(&run), RunState::Failed);
    assert_eq!(lab.states(&run), "a=success b=skipped c=skipped e=skipped");
    assert_eq!(lab.kills.len(), 1);
    lab.confirm_kills();
    assert_eq!(lab.states(&run), "a=success b=skipped c=skipped e=skipped");
    assert_eq!(lab.driver.engine().runs_in_memory(), 0);
}

#[test]
fn a_timeout_counts_from_the_start_not_from_the_queue() {
    let mut lab = Lab::new();
    lab.activate(dag("d").run_timeout(hours(1)).max_active_runs(1).task(bash("a")));
    lab.trigger("d");
    let second = lab.trigger("d");
    lab.advance(mins(50));
    lab.run("r1/a").succeeds();
    lab.advance(mins(59));
    assert_eq!(lab.state(&second), RunState::Running);
    lab.advance(mins(1));
    assert_eq!(lab.state(&second), RunState::Failed);
}

#[test]
fn a_timeout_survives_a_crash() {
    let mut lab = Lab::new();
    lab.activate(dag("d").run_timeout(hours(1)).task(bash("a")));
    let run = lab.trigger("d");
    lab.advance(mins(30));
    lab.crash();
    lab.advance(mins(30));
    assert_eq!((lab.state(&run), lab.states(&run).as_str()), (RunState::Failed, "a=skipped"));
}

#[test]
fn a_crash_in_the_middle_of_ending_a_run_leaves_nothing_behind() {
    let mut lab = Lab::with(|config| config.step_transitions = 8);
    let tasks = (0..40).map(|n| bash(&format!("t{n:02}")));
    lab.activate(dag("d").run_timeout(hours(1)).tasks(tasks));
    let run = lab.trigger("d");
    lab.now = lab.now.after(hours(1));
    // One batch only: the rest is lost with the process.
    for action in lab.driver.next(lab.now, engine::driver::Input::Tick) {
        if let engine::driver::Action::Commit(batch) = action {
            assert_eq!(lab.journal.write(&batch), engine::journal::Commit::Done);
        }
    }
    assert!(
        lab.states(&run).contains("skipped") && lab.states(&run).contains("queued"),
        "{}",
        lab.states(&run)
    );
    lab.crash();
    assert!(!lab.states(&run).contains("queued"), "{}", lab.states(&run));
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn fail_fast_ends_everything_but_teardowns() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .fail_fast()
            .task(bash("a"))
            .task(bash("b").needs(["a"]))
            .task(bash("c"))
            .task(bash("e").needs(["c"]))
            .task(bash("f"))
            .task(bash("s"))
            .task(bash("t").teardown_of(["s"])),
    );
    let run = lab.trigger("d");
    lab.run("s").succeeds();
    lab.run("c").starts();
    lab.run("f").succeeds();
    lab.run("t").starts();
    lab.run("a").fails();
    assert_eq!(lab.states(&run), "a=failed b=skipped c=failed e=skipped f=success s=success t=running");
    assert_eq!(lab.state(&run), RunState::Running);
    lab.run("t").succeeds();
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn fail_fast_waits_for_the_last_try() {
    let mut lab = Lab::new();
    lab.activate(dag("d").fail_fast().task(bash("a").retries(1)).task(bash("b")));
    let run = lab.trigger("d");
    lab.run("a").fails();
    assert_eq!(lab.states(&run), "a=up_for_retry b=queued");
}

#[test]
fn failed_runs_in_a_row_pause_the_dag() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).with(|dag| dag.max_consecutive_failed_runs = 2));
    let fails = |lab: &mut Lab| {
        lab.trigger("d");
        lab.run("a").fails();
        lab.journal.dags.values().any(|row| row.paused)
    };
    assert!(!fails(&mut lab));
    lab.trigger("d");
    lab.run("a").succeeds();
    assert!(!fails(&mut lab), "a success in between starts the count afresh");
    assert!(fails(&mut lab));
    lab.pause("d", false);
    assert!(fails(&mut lab), "the last two failed, still");
}

#[test]
fn failed_runs_in_a_row_are_in_a_row_by_date() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).with(|dag| dag.max_consecutive_failed_runs = 2));
    lab.trigger("d");
    lab.advance(secs(1));
    lab.trigger("d");
    lab.advance(secs(1));
    lab.trigger("d");
    lab.run("r1/a").fails();
    lab.run("r2/a").fails();
    assert!(!lab.journal.dags.values().any(|row| row.paused), "the newest of the last two still runs");
    lab.run("r3/a").fails();
    assert!(lab.journal.dags.values().any(|row| row.paused));
}

#[test]
fn max_active_runs_holds_the_start() {
    let mut lab = Lab::new();
    lab.activate(dag("d").max_active_runs(2).task(bash("a")));
    for _ in 0..4 {
        lab.trigger("d");
        lab.advance(secs(1));
    }
    assert_eq!(lab.runs("d"), "r1=running r2=running r3=queued r4=queued");
    lab.run("r2/a").succeeds();
    assert_eq!(lab.runs("d"), "r1=running r2=success r3=running r4=queued");
}

#[test]
fn max_active_runs_survives_a_crash() {
    let mut lab = Lab::new();
    lab.activate(dag("d").max_active_runs(2).task(bash("a")));
    for _ in 0..4 {
        lab.trigger("d");
        lab.advance(secs(1));
    }
    lab.crash();
    assert_eq!(lab.runs("d"), "r1=running r2=running r3=queued r4=queued");
    lab.run("r1/a").succeeds();
    assert_eq!(lab.runs("d"), "r1=success r2=running r3=running r4=queued");
}

#[test]
fn marking_a_run_failed_ends_its_tasks_but_not_its_teardowns() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("s"))
            .task(bash("w").needs(["s"]))
            .task(bash("x").needs(["w"]))
            .task(bash("t").needs(["x"]).teardown_of(["s"])),
    );
    let run = lab.trigger("d");
    lab.run("s").succeeds();
    lab.run("w").starts();
    lab.mark_run(&run, RunState::Failed);
    assert_eq!(lab.states(&run), "s=success t=queued w=failed x=skipped");
    lab.run("t").succeeds();
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn marking_a_run_successful_ends_its_tasks_as_successful() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.mark_run(&run, RunState::Success);
    assert_eq!(lab.states(&run), "a=success b=success");
    assert_eq!((lab.state(&run), lab.kills.len()), (RunState::Success, 1));
}

#[test]
fn marking_a_finished_run_changes_its_state() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").fails();
    lab.mark_run(&run, RunState::Success);
    assert_eq!((lab.state(&run), lab.states(&run).as_str()), (RunState::Success, "a=failed"));
    lab.mark_run(&run, RunState::Queued);
    assert_eq!(lab.state(&run), RunState::Failed, "it is derived again");
}

#[test]
fn a_failed_run_and_a_missed_deadline_are_told() {
    let mut lab = Lab::new();
    let notify = |route: &str| Notify { notify: route.to_owned() };
    lab.activate(dag("d").task(bash("a")).with(|dag| {
        dag.on_failure = vec![notify("mail")];
        dag.on_success = vec![notify("chat")];
        dag.deadlines =
            vec![Deadline { from: DeadlineFrom::Started, within: mins(10), notify: "pager".to_owned() }];
    }));
    let told = |lab: &mut Lab| {
        let alerts = std::mem::take(&mut lab.alerts);
        alerts
            .iter()
            .map(|alert| format!("{} {}", alert.route, alert.what.as_str()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    lab.trigger("d");
    lab.advance(mins(5));
    lab.run("a").succeeds();
    assert_eq!(told(&mut lab), "chat success");
    lab.advance(hours(1));
    assert_eq!(told(&mut lab), "", "it was done in time");
    lab.trigger("d");
    lab.advance(mins(10));
    assert_eq!(told(&mut lab), "pager deadline");
    lab.run("a").fails();
    assert_eq!(told(&mut lab), "mail failure");
}

#[test]
fn marking_an_upstream_successful_gives_what_failed_because_of_it_a_chance() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.run("a").fails();
    assert_eq!(lab.state(&run), RunState::Failed);
    lab.mark(&run, ["a"], TaskState::Success);
    assert_eq!((lab.state(&run), lab.states(&run).as_str()), (RunState::Running, "a=success b=queued"));
    lab.run("b").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn tasks_that_wait_for_each_other_fail_the_run() {
    let mut lab = Lab::new();
    // No compiler lets that through; it stands for every wait that nobody ends.
    lab.activate(dag("d").task(bash("a").needs(["b"])).task(bash("b").needs(["a"])).task(bash("c")));
    let run = lab.trigger("d");
    assert_eq!(lab.state(&run), RunState::Running, "something moves");
    lab.run("c").succeeds();
    assert_eq!(lab.state(&run), RunState::Failed);
    assert_eq!(lab.states(&run), "a=skipped b=skipped c=success");
    assert_eq!(lab.run_row(&run).reason.as_deref(), Some("all_tasks_deadlocked"));
}

#[test]
fn a_run_that_waits_for_its_past_or_a_limit_is_not_stuck() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").depends_on_past()));
    let first = lab.trigger_for("d", "2026-03-01T00:00:00Z").unwrap();
    let second = lab.trigger_for("d", "2026-03-02T00:00:00Z").unwrap();
    lab.advance(secs(3_600));
    assert_eq!((lab.states(&first).as_str(), lab.states(&second).as_str()), ("a=queued", "a=none"));
    assert_eq!(lab.state(&second), RunState::Running);
}

#[test]
fn a_cleared_run_has_its_deadlines_anew() {
    let mut lab = Lab::new();
    let deadline = Deadline { from: DeadlineFrom::Queued, within: secs(3_600), notify: "oncall".to_owned() };
    lab.activate(dag("d").task(bash("a")).with(|dag| dag.deadlines.push(deadline)));
    let run = lab.trigger("d");
    lab.run("a").succeeds();
    lab.advance(secs(7_200));
    assert!(lab.alerts.is_empty(), "it was done in time");
    lab.clear(&run, ["a"]);
    lab.advance(secs(3_500));
    assert!(lab.alerts.is_empty());
    lab.advance(secs(200));
    assert_eq!(lab.alerts.len(), 1);
}
