//! Section 17: what no table shows.

use dags::ids::{DagId, RunName};
use engine::{
    command::{Base, Command},
    dispatch::{News, Outcome},
    driver::Input,
    state::{RunState, TaskState},
};

use crate::{builder::*, lab::*};

#[test]
fn the_clock_running_back_changes_no_order() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.advance(hours(1));
    lab.run("a").starts();
    let started = lab.task_row(&run, "a").started_at.unwrap();
    lab.now = at("2025-06-01T00:00:00Z");
    lab.run("a").succeeds();
    let row = lab.task_row(&run, "a");
    assert!(row.ended_at.unwrap() >= started);
    assert_eq!(lab.states(&run), "a=success b=queued");
    let times: Vec<_> =
        lab.journal.events.iter().flat_map(|row| &row.transitions).map(|step| step.at).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_wait_is_not_prolonged_by_a_clock_that_ran_back() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    let run = lab.trigger("d");
    lab.run("a").fails();
    let back = lab.now;
    lab.now = lab.now.after(hours(-1));
    lab.put(Input::Tick);
    assert_eq!(lab.states(&run), "a=up_for_retry");
    lab.now = back;
    lab.advance(secs(300));
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn a_report_after_a_clear_is_about_history() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    lab.run("a").fails();
    lab.clear(&run, ["a"]);
    lab.report(id, 0, News::Ended(end(Outcome::Success)));
    assert_eq!(lab.states(&run), "a=queued");
    assert_ne!(lab.run("a").dispatch().id.attempt, id.attempt);
}

#[test]
fn a_dag_with_an_unfinished_run_is_not_deleted() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    let delete = || Command::DeleteDag { dag_id: DagId::parse("d").unwrap() };
    assert_eq!(lab.request(delete()).unwrap_err().code, "dag.has_runs");
    let run_name = RunName::parse(&run).unwrap();
    let delete_run = || Command::DeleteRun { dag_id: DagId::parse("d").unwrap(), run_name: run_name.clone() };
    assert_eq!(lab.request(delete_run()).unwrap_err().code, "run.unfinished");
    lab.run("a").succeeds();
    lab.request(delete()).unwrap();
    assert!(lab.journal.runs.is_empty() && lab.journal.tasks.is_empty() && lab.journal.dags.is_empty());
    assert_eq!(lab.request(delete()).unwrap_err().code, "dag.not_found");
    assert_eq!(lab.trigger_with("d", |_| {}).unwrap_err().code, "dag.not_found");
    lab.crash();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn a_dag_with_a_queued_run_is_not_deleted() {
    let mut lab = Lab::new();
    lab.activate(dag("d"));
    lab.pause("d", true);
    lab.trigger("d");
    let refusal = lab.request(Command::DeleteDag { dag_id: DagId::parse("d").unwrap() }).unwrap_err();
    assert_eq!(refusal.code, "dag.has_runs");
}

#[test]
fn a_deleted_run_is_gone_and_its_name_is_free() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    lab.trigger("d");
    lab.run("a").succeeds();
    let delete = || Command::DeleteRun { dag_id: "d".parse().unwrap(), run_name: "r1".parse().unwrap() };
    lab.request(delete()).unwrap();
    assert_eq!((lab.journal.runs.len(), lab.journal.tasks.len()), (0, 0));
    assert_eq!(lab.request(delete()).unwrap_err().code, "run.not_found");
    lab.trigger_with("d", |trigger| trigger.run_name = Some("r1".parse().unwrap())).unwrap();
    assert_eq!(lab.states("r1"), "a=queued");
}

#[test]
fn a_task_that_is_renamed_while_a_run_goes_on_keeps_its_name_there() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.activate(dag("d").task(bash("a")).task(bash("b2").needs(["a"])));
    lab.run("a").succeeds();
    assert_eq!(lab.states(&run), "a=success b=queued");
    lab.run("b").fails();
    lab.clear_with(&run, ["a"], |clear| clear.run_on_latest_version = true).unwrap();
    assert_eq!(lab.states(&run), "a=queued b=removed b2=none");
}

#[test]
fn requests_are_answered_once() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let command = || Command::PauseDag { dag_id: DagId::parse("d").unwrap(), paused: true };
    let id = lab.journal.request(TENANT, "ann", command());
    let inbox = lab.journal.requests(&[], 10);
    // The same rows, read twice before the first was stored.
    lab.put(Input::Inbox(inbox.clone()));
    lab.put(Input::Inbox(inbox));
    assert!(lab.journal.outcomes.contains_key(&id));
}

#[test]
fn a_bundle_whose_version_is_not_stored_is_refused() {
    let mut lab = Lab::new();
    let version = lab.activate(dag("d").task(bash("a")));
    lab.journal.versions.remove(&version);
    let command = Command::ActivateBundle {
        bundle: dags::ids::BundleId("b".into()),
        base: Base::Any,
        dags: vec![engine::command::ActivatedDag {
            dag_id: "d".parse().unwrap(),
            version,
            bundle: None,
            paused_upon_creation: false,
        }],
    };
    assert_eq!(lab.request(command).unwrap_err().code, "dag_version.not_found");
}

/// Of two who compared their bundles with the same one, the second is refused, also by an engine that has just begun.
#[test]
fn a_bundle_that_was_compared_with_another_one_is_refused() {
    let mut lab = Lab::new();
    let version = lab.activate(dag("d").task(bash("a")));
    let bundle = |name: &str| dags::ids::BundleId(name.into());
    let activate = |name: &str, base| Command::ActivateBundle {
        bundle: bundle(name),
        base,
        dags: vec![engine::command::ActivatedDag {
            dag_id: "d".parse().unwrap(),
            version: version.clone(),
            bundle: None,
            paused_upon_creation: false,
        }],
    };
    let first = Base::Bundle(lab.journal.dags.values().next().unwrap().bundle.clone());
    lab.request(activate("one", first.clone())).unwrap();
    for restarted in [false, true] {
        if restarted {
            lab.crash();
        }
        let refusal = lab.request(activate("two", first.clone())).unwrap_err();
        assert!(refusal.code == "bundle.overtaken" && refusal.message.contains("bundle one"), "{refusal}");
        assert_eq!(lab.request(activate("two", Base::Nothing)).unwrap_err().code, "bundle.overtaken");
    }
    assert_eq!(lab.journal.dags.values().next().unwrap().bundle, bundle("one"), "nothing of it was done");
    lab.request(activate("two", Base::Bundle(bundle("one")))).unwrap();
    lab.request(activate("three", Base::Any)).unwrap();
    let mut fresh = Lab::new();
    fresh.activate(dag("d").task(bash("a")));
    fresh.journal.active_bundles.clear();
    fresh.crash();
    let none = Command::ActivateBundle { bundle: bundle("one"), base: Base::Nothing, dags: Vec::new() };
    fresh.request(none).unwrap();
}

#[test]
fn two_owners_make_one_queue_event() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    lab.pause("d", true);
    let run = lab.trigger("d");
    // A second owner starts from the same rows; only one of the two batches fits.
    let mut other = engine::driver::Driver::new(lab.config.clone(), lab.journal.read()).unwrap();
    let local = lab.config.default_executor.clone();
    lab.pause("d", false);
    assert_eq!(lab.states(&run), "a=queued");
    let mut refused = 0;
    let mut inputs = vec![Input::Tick, Input::Executor(local, Some(9))];
    while let Some(input) = inputs.pop() {
        for action in other.next(lab.now, input) {
            if let engine::driver::Action::Commit(batch) = action {
                let commit = lab.journal.write(&batch);
                assert_eq!(commit, engine::journal::Commit::Fenced);
                refused += 1;
                let actions = other.next(lab.now, Input::Committed(commit));
                assert_eq!(actions, [engine::driver::Action::Stop(engine::driver::Stop::Fenced)]);
            }
        }
    }
    assert!(refused <= 1);
    assert_eq!(lab.history(&run, "a"), "scheduled queued");
}

#[test]
fn marking_what_runs_ends_it() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(3)).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.run("a").starts();
    let id = lab.run("a").dispatch().id;
    lab.mark(&run, ["a"], TaskState::Failed);
    assert_eq!(lab.states(&run), "a=failed b=upstream_failed");
    assert_eq!(lab.kills[0].id, id);
    assert_eq!(lab.task_row(&run, "a").marked_by.as_deref(), Some("ann"));
    lab.report(id, 0, News::Ended(end(Outcome::Success)));
    assert_eq!(lab.states(&run), "a=failed b=upstream_failed", "its success came too late");
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn a_state_that_can_not_be_set_by_hand_is_refused() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    for state in [TaskState::None, TaskState::Running, TaskState::UpstreamFailed, TaskState::Removed] {
        let command = Command::MarkTasks { select: lab.select(&run, ["a"]), state };
        assert_eq!(lab.request(command).unwrap_err().code, "task.mark");
    }
    let (dag_id, run_name) = ("d".parse().unwrap(), run.parse().unwrap());
    let command = Command::MarkRun { dag_id, run_name, state: RunState::Running };
    assert_eq!(lab.request(command).unwrap_err().code, "run.mark");
}

#[test]
fn a_finished_run_leaves_memory_and_is_found_again() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").succeeds();
    assert_eq!(lab.driver.engine().runs_in_memory(), 0);
    lab.clear(&run, ["a"]);
    assert_eq!(lab.driver.engine().runs_in_memory(), 1);
    lab.run("a").succeeds();
    assert_eq!((lab.driver.engine().runs_in_memory(), lab.state(&run)), (0, RunState::Success));
}
