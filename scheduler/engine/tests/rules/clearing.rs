//! Section 9: clearing and running again.

use dags::model::TriggerRule;
use engine::{
    command::Command,
    state::{RunState, TaskState},
};

use crate::{builder::*, lab::*};

fn chain() -> DagBuilder {
    dag("d").task(bash("a")).task(bash("b").needs(["a"])).task(bash("c").needs(["b"]))
}

/// A lab in which a run of the chain ended with `b` failed.
fn failed_chain() -> (Lab, String) {
    let mut lab = Lab::new();
    lab.activate(chain());
    let run = lab.trigger("d");
    lab.run("a").succeeds();
    lab.run("b").fails();
    assert_eq!(lab.states(&run), "a=success b=failed c=upstream_failed");
    (lab, run)
}

#[test]
fn a_finished_run_goes_back_to_queued_and_starts_anew() {
    let (mut lab, run) = failed_chain();
    let before = lab.run_row(&run).clone();
    lab.advance(hours(1));
    lab.clear_with(&run, ["b"], |clear| clear.select.downstream = true).unwrap();
    assert_eq!(lab.states(&run), "a=success b=queued c=none");
    let row = lab.run_row(&run);
    assert_eq!((row.state, row.clear_number, row.ended_at), (RunState::Running, 1, None));
    assert!(row.queued_at > before.queued_at && row.started_at > before.started_at);
    let states: Vec<&str> = lab
        .journal
        .events
        .iter()
        .flat_map(|event| &event.transitions)
        .filter(|step| step.task.is_none())
        .map(|step| step.to.as_ref())
        .collect();
    assert_eq!(states, ["queued", "running", "failed", "queued", "running"]);
    lab.run("b").succeeds();
    lab.run("c").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn a_cleared_run_waits_for_its_turn() {
    let mut lab = Lab::new();
    lab.activate(chain().max_active_runs(1));
    let run = lab.trigger("d");
    lab.run("a").fails();
    lab.trigger("d");
    lab.clear(&run, []);
    let row = lab.run_row(&run);
    assert_eq!((row.state, row.started_at, row.ended_at), (RunState::Queued, None, None));
    assert_eq!(lab.states(&run), "a=none b=none c=none");
}

#[test]
fn an_unfinished_run_only_counts_the_clear() {
    let mut lab = Lab::new();
    lab.activate(chain());
    let run = lab.trigger("d");
    lab.run("a").succeeds();
    let before = lab.run_row(&run).clone();
    lab.clear(&run, ["a"]);
    let row = lab.run_row(&run);
    assert_eq!((row.state, row.clear_number), (RunState::Running, 1));
    assert_eq!((row.queued_at, row.started_at), (before.queued_at, before.started_at));
    assert_eq!(lab.states(&run), "a=queued b=queued c=none", "what follows isn't touched");
}

#[test]
fn only_failed_leaves_the_others_alone() {
    let (mut lab, run) = failed_chain();
    let outcome = lab.clear_with(&run, [], |clear| clear.only_failed = true).unwrap();
    assert_eq!(outcome["cleared"], 2);
    assert_eq!(lab.states(&run), "a=success b=queued c=none");
}

#[test]
fn only_running_leaves_the_others_alone() {
    let mut lab = Lab::new();
    lab.activate(chain().task(bash("x")));
    let run = lab.trigger("d");
    lab.run("a").succeeds();
    lab.run("b").starts();
    lab.run("x").fails();
    let outcome = lab.clear_with(&run, [], |clear| clear.only_running = true).unwrap();
    assert_eq!(outcome["cleared"], 1);
    assert_eq!(lab.states(&run), "a=success b=restarting c=none x=failed");
}

#[test]
fn upstream_and_downstream_go_along() {
    let mut lab = Lab::new();
    lab.activate(chain().task(bash("x")));
    let run = lab.trigger("d");
    for name in ["a", "b", "c", "x"] {
        lab.run(name).succeeds();
    }
    lab.clear_with(&run, ["b"], |clear| clear.select.upstream = true).unwrap();
    assert_eq!(lab.states(&run), "a=queued b=none c=success x=success");
    lab.run("a").succeeds();
    lab.run("b").succeeds();
    lab.clear_with(&run, ["b"], |clear| clear.select.downstream = true).unwrap();
    assert_eq!(lab.states(&run), "a=success b=queued c=none x=success");
}

#[test]
fn a_single_map_index_can_be_cleared() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("m").map(times(3))));
    let run = lab.trigger("d");
    for index in 0..3 {
        lab.run(&format!("m[{index}]")).succeeds();
    }
    lab.clear(&run, ["m[1]"]);
    assert_eq!(lab.states(&run), "m[0]=success m[1]=queued m[2]=success");
}

#[test]
fn clearing_nothing_changes_nothing() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").succeeds();
    let outcome = lab.clear_with(&run, [], |clear| clear.only_failed = true).unwrap();
    assert_eq!(outcome["cleared"], 0);
    assert_eq!((lab.state(&run), lab.run_row(&run).clear_number), (RunState::Success, 0));
    assert_eq!(lab.driver.engine().runs_in_memory(), 0, "the run left memory again");
}

#[test]
fn what_is_not_running_forgets_its_past_but_not_its_number() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(2)).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.run("a").fails();
    assert_eq!(lab.states(&run), "a=up_for_retry b=none");
    lab.clear(&run, ["a"]);
    let row = lab.task_row(&run, "a");
    assert_eq!((row.state, row.try_number, row.max_tries), (TaskState::Queued, 2, 3));
    assert_eq!((row.wake_at, row.ended_at), (None, None));
    lab.advance(hours(1));
    assert_eq!(lab.states(&run), "a=queued b=none", "the wait before the retry is void");
}

#[test]
fn what_is_running_keeps_its_retries() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(2)));
    let run = lab.trigger("d");
    lab.run("a").starts();
    lab.clear(&run, ["a"]);
    lab.confirm_kills();
    let row = lab.task_row(&run, "a");
    assert_eq!((row.try_number, row.max_tries), (2, 2), "as Airflow, which only fails the try");
}

#[test]
fn what_waits_for_a_call_is_kept_as_history() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").ends_as(engine::dispatch::Outcome::Reschedule { after: hours(1) });
    lab.clear(&run, ["a"]);
    assert_eq!(lab.states(&run), "a=queued");
    let archived: Vec<_> = lab.journal.attempts.iter().map(|a| (a.row.try_number, a.row.state)).collect();
    assert_eq!(archived, [(1, TaskState::Failed)]);
    lab.advance(hours(2));
    assert_eq!(lab.task_row(&run, "a").try_number, 2);
}

#[test]
fn what_waits_for_admission_starts_over() {
    let mut lab = Lab::new();
    lab.executor("local", 0);
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=scheduled b=none");
    lab.clear(&run, ["a"]);
    assert_eq!(lab.states(&run), "a=scheduled b=none");
    lab.executor("local", 1);
    assert_eq!(lab.states(&run), "a=queued b=none");
    assert_eq!(lab.dispatched.len(), 1);
}

#[test]
fn a_previous_try_stays_readable() {
    let (mut lab, run) = failed_chain();
    lab.clear(&run, ["b", "c"]);
    let archived: Vec<String> = lab
        .journal
        .attempts
        .iter()
        .map(|attempt| format!("{} {} {}", attempt.row.task, attempt.row.try_number, attempt.row.state))
        .collect();
    assert_eq!(archived, ["b 1 failed"], "`c` never had a try");
}

#[test]
fn setups_and_teardowns_around_a_cleared_task_go_along() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("before"))
            .task(bash("s").needs(["before"]))
            .task(bash("w").needs(["s"]))
            .task(bash("v").needs(["s"]))
            .task(bash("t").needs(["w", "v"]).teardown_of(["s"])),
    );
    let run = lab.trigger("d");
    for name in ["before", "s", "w", "v", "t"] {
        lab.run(name).succeeds();
    }
    lab.clear(&run, ["w"]);
    assert_eq!(lab.states(&run), "before=success s=queued t=none v=success w=none");
    lab.run("s").succeeds();
    lab.run("w").succeeds();
    lab.run("t").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn marking_a_task_leaves_its_setups_alone() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d").task(bash("s")).task(bash("w").needs(["s"])).task(bash("t").needs(["w"]).teardown_of(["s"])),
    );
    let run = lab.trigger("d");
    lab.run("s").succeeds();
    lab.mark(&run, ["w"], TaskState::Failed);
    assert_eq!(lab.states(&run), "s=success t=queued w=failed");
}

#[test]
fn a_run_stays_on_its_version() {
    let (mut lab, run) = failed_chain();
    let version = lab.run_row(&run).version.clone();
    lab.activate(chain().task(bash("e").needs(["c"])));
    lab.clear(&run, []);
    assert_eq!(lab.states(&run), "a=queued b=none c=none");
    assert_eq!(lab.run_row(&run).version, version);
}

#[test]
fn a_finished_run_can_move_to_the_newest_version() {
    let (mut lab, run) = failed_chain();
    let version =
        lab.activate(dag("d").task(bash("a")).task(bash("b2").needs(["a"])).task(bash("c").needs(["b2"])));
    lab.clear_with(&run, ["c"], |clear| clear.run_on_latest_version = true).unwrap();
    assert_eq!(lab.states(&run), "a=success b=removed b2=queued c=none");
    assert_eq!(lab.run_row(&run).version, version);
    let dispatch = lab.run("b2").dispatch();
    assert_eq!((dispatch.version, dispatch.bundle), (version, lab.run_row(&run).bundle.clone()));
    lab.run("b2").succeeds();
    lab.run("c").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn a_running_run_can_move_to_the_newest_version() {
    let mut lab = Lab::new();
    lab.executor("other", 0);
    lab.activate(
        dag("d")
            .task(bash("a"))
            .task(bash("b").needs(["a"]))
            .task(bash("q").executor("other"))
            .task(bash("r").retries(1))
            .task(bash("w").when("x")),
    );
    let run = lab.trigger("d");
    lab.run("a").succeeds();
    lab.run("b").fails();
    lab.run("r").fails();
    assert_eq!(lab.states(&run), "a=success b=failed q=scheduled r=up_for_retry w=none");
    lab.activate(
        dag("d")
            .task(bash("a"))
            .task(bash("a2").needs(["a"]))
            .task(bash("b").needs(["a2"]))
            .task(bash("q").executor("other"))
            .task(bash("r").retries(1))
            .task(bash("w").when("x")),
    );
    lab.clear_with(&run, ["b"], |clear| clear.run_on_latest_version = true).unwrap();
    assert_eq!(lab.states(&run), "a=success a2=queued b=none q=scheduled r=up_for_retry w=none");
    lab.executor("other", 1);
    lab.advance(secs(300));
    lab.answer("w", engine::Answer::Holds(true));
    assert_eq!(lab.states(&run), "a=success a2=queued b=none q=queued r=queued w=queued");
    for name in ["a2", "b", "q", "r", "w"] {
        lab.run(name).succeeds();
    }
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn a_task_of_the_newest_version_can_be_cleared_into_a_run() {
    let (mut lab, run) = failed_chain();
    lab.activate(chain().task(bash("n")));
    lab.clear_with(&run, ["n"], |clear| clear.run_on_latest_version = true).unwrap();
    assert_eq!(lab.states(&run), "a=success b=failed c=upstream_failed n=queued");
}

#[test]
fn a_run_whose_tasks_are_running_stays_on_its_version() {
    let mut lab = Lab::new();
    lab.activate(chain());
    let run = lab.trigger("d");
    lab.activate(chain().task(bash("n")));
    let refusal = lab.clear_with(&run, ["c"], |clear| clear.run_on_latest_version = true);
    // Nothing of `c` was to be cleared, but the run was to move.
    assert_eq!(refusal.unwrap_err().code, "run.busy");
}

#[test]
fn a_run_or_task_that_is_not_there_is_refused() {
    let (mut lab, run) = failed_chain();
    let mut select = lab.select(&run, ["nope"]);
    let refusal = lab.clear_with(&run, ["nope"], |_| {}).unwrap_err();
    assert_eq!(refusal.code, "task.not_found");
    select.run_name = "nobody".parse().unwrap();
    let refusal = lab.request(Command::MarkTasks { select, state: TaskState::Success }).unwrap_err();
    assert_eq!(refusal.code, "run.not_found");
    let refusal = lab.trigger_with("nope", |_| {}).unwrap_err();
    assert_eq!(refusal.code, "dag.not_found");
}

#[test]
fn clearing_survives_a_crash_half_way() {
    let mut lab = Lab::with(|config| config.step_transitions = 12);
    lab.activate(dag("d").tasks((0..60).map(|n| bash(&format!("t{n:02}")))));
    let run = lab.trigger("d");
    for n in 0..60 {
        lab.run(&format!("t{n:02}")).fails();
    }
    let id = {
        let command = Command::Clear(engine::command::Clear {
            select: lab.select(&run, []),
            only_failed: true,
            only_running: false,
            run_on_latest_version: false,
        });
        lab.journal.request(TENANT, "ann", command)
    };
    // The request is taken and stored with its first step; then the process dies.
    let inbox = lab.journal.requests(&[], 10);
    let mut input = engine::driver::Input::Inbox(inbox);
    'done: for _ in 0..10 {
        let mut next = engine::driver::Input::Tick;
        for action in lab.driver.next(lab.now, input) {
            match action {
                engine::driver::Action::Load(load) => {
                    next = engine::driver::Input::Loaded(Box::new(lab.journal.find(load)));
                }
                engine::driver::Action::Commit(batch) => {
                    assert_eq!(lab.journal.write(&batch), engine::journal::Commit::Done);
                    if lab.journal.outcomes.contains_key(&id) {
                        break 'done;
                    }
                    next = engine::driver::Input::Committed(engine::journal::Commit::Done);
                }
                _ => {}
            }
        }
        input = next;
    }
    assert!(lab.states(&run).contains("failed"), "{}", lab.states(&run));
    lab.crash();
    assert_eq!(lab.states(&run).matches("=queued").count(), 60, "{}", lab.states(&run));
}

#[test]
fn a_cleared_upstream_makes_the_next_wait_for_it_again() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d")
            .task(bash("a"))
            .task(bash("b"))
            .task(bash("c").needs(["a", "b"]))
            .task(bash("e").needs(["a", "b"]).rule(TriggerRule::OneSuccess)),
    );
    let run = lab.trigger("d");
    lab.run("a").succeeds();
    lab.clear(&run, ["a"]);
    lab.run("b").succeeds();
    assert_eq!(lab.states(&run), "a=queued b=success c=none e=queued");
    lab.run("a").succeeds();
    assert_eq!(lab.states(&run), "a=success b=success c=queued e=queued");
}
