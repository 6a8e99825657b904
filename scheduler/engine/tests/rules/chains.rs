//! Runs that tasks start and wait for: `trigger_dag` and the task sensor, as far as they concern the engine.

use engine::{
    Answer, CHAIN_MAX, IfExists, MakeRun, RUNS_PER_MINUTE, Watch,
    command::{Command, Trigger},
    dispatch::ResultRef,
    state::{RunState, TaskState},
};
use serde_json::json;

use crate::{builder::*, lab::*};

fn wait(dag_id: &str) -> Watch {
    Watch { dag_id: dag_id.parse().unwrap(), tasks: false, until: None, reason: "it waits".to_owned() }
}

fn make(dag_id: &str, name: Option<&str>) -> MakeRun {
    MakeRun {
        trigger: Trigger {
            dag_id: dag_id.parse().unwrap(),
            run_name: name.map(|name| name.parse().unwrap()),
            logical_date: None,
            run_after: None,
            conf: serde_json::Map::new(),
            note: None,
            chain_depth: 0,
        },
        if_exists: IfExists::Fail,
        wait: None,
    }
}

fn answer(make: MakeRun) -> Answer {
    Answer::Trigger(Box::new(make))
}

/// A lab with `other`, which has one task `x`, and `d`, whose task `t` starts runs of it.
fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.activate(dag("other").task(bash("x")));
    lab.activate(dag("d").task(trigger_dag("t")));
    lab
}

fn returned(lab: &Lab, run: &str, task: &str) -> serde_json::Value {
    let key = (lab.run_row(run).run, task_id(task), -1);
    match &lab.journal.results[&key].value {
        ResultRef::Inline(value) => value.clone(),
        ResultRef::Stored { .. } => panic!("it is small"),
    }
}

#[test]
fn a_task_makes_a_run_of_another_dag() {
    let mut lab = lab();
    let run = lab.trigger("d");
    lab.answer("t", answer(make("other", Some("made"))));
    assert_eq!((lab.states(&run).as_str(), lab.states("made").as_str()), ("t=success", "x=queued"));
    assert_eq!(returned(&lab, &run, "t"), json!({ "dag_id": "other", "run_id": "made", "state": "queued" }));
    let row = lab.run_row("made");
    assert_eq!((row.triggered_by.as_deref(), row.chain_depth), (Some("d/r1"), 1));
}

#[test]
fn a_run_that_exists_fails_skips_or_stands_for_the_new_one() {
    let mut lab = lab();
    lab.trigger("d");
    lab.answer("t", answer(make("other", Some("made"))));
    // Once while it is in memory, once when it isn't.
    for state in ["running", "success"] {
        let run = lab.trigger("d");
        lab.answer("t", answer(make("other", Some("made"))));
        assert_eq!(lab.states(&run), "t=failed");
        assert_eq!(lab.task_row(&run, "t").reason.as_deref(), Some("`other` has a run `made` already"));
        let run = lab.trigger("d");
        lab.answer("t", answer(MakeRun { if_exists: IfExists::Skip, ..make("other", Some("made")) }));
        assert_eq!(lab.states(&run), "t=skipped");
        let run = lab.trigger("d");
        lab.answer("t", answer(MakeRun { if_exists: IfExists::Use, ..make("other", Some("made")) }));
        assert_eq!(
            (lab.states(&run).as_str(), returned(&lab, &run, "t")["state"].as_str()),
            ("t=success", Some(state))
        );
        if state == "running" {
            lab.run("made/x").succeeds();
        }
    }
    assert_eq!(lab.runs("other"), "made=success");
}

#[test]
fn a_logical_date_that_is_taken_counts_as_existing() {
    let mut lab = lab();
    let date = Some(at("2026-01-01T00:00:00Z"));
    let dated = |if_exists| {
        let mut make = make("other", None);
        make.trigger.logical_date = date;
        answer(MakeRun { if_exists, ..make })
    };
    lab.trigger_for("other", "2026-01-01T00:00:00Z").unwrap();
    for (if_exists, state) in
        [(IfExists::Fail, "t=failed"), (IfExists::Skip, "t=skipped"), (IfExists::Use, "t=success")]
    {
        let run = lab.trigger("d");
        lab.answer("t", dated(if_exists));
        assert_eq!(lab.states(&run), state);
    }
}

#[test]
fn who_waits_goes_on_when_the_run_ends() {
    let mut lab = lab();
    let run = lab.trigger("d");
    lab.answer("t", answer(MakeRun { wait: Some(wait("other")), ..make("other", Some("made")) }));
    assert_eq!((lab.states(&run).as_str(), lab.questions.len()), ("t=deferred", 0));
    assert_eq!(returned(&lab, &run, "t")["state"], "queued", "it is known which run it waits for");
    assert_eq!(lab.task_row(&run, "t").reason.as_deref(), Some("it waits"));
    lab.run("made/x").succeeds();
    assert_eq!(lab.questions.len(), 1, "nobody had to look in between");
    lab.answer("t", Answer::Return(json!({ "state": "success" })));
    assert_eq!(lab.states(&run), "t=success");
    assert_eq!(returned(&lab, &run, "t"), json!({ "state": "success" }));
}

#[test]
fn a_wait_for_a_run_survives_a_crash() {
    let mut lab = lab();
    let run = lab.trigger("d");
    lab.answer("t", answer(MakeRun { wait: Some(wait("other")), ..make("other", Some("made")) }));
    lab.crash();
    assert!(lab.questions.is_empty(), "nothing happened, so there is nothing to look at");
    assert_eq!((lab.states(&run).as_str(), lab.task_row(&run, "t").try_number), ("t=deferred", 1));
    lab.run("made/x").fails();
    lab.answer("t", Answer::Error("it failed".to_owned()));
    assert_eq!(lab.states(&run), "t=failed");
}

#[test]
fn a_run_that_ended_already_needs_no_wait() {
    let mut lab = lab();
    let made = lab.trigger("other");
    lab.run("x").succeeds();
    let waits =
        || MakeRun { if_exists: IfExists::Use, wait: Some(wait("other")), ..make("other", Some(&made)) };
    let run = lab.trigger("d");
    lab.answer("t", answer(waits()));
    assert_eq!(lab.states(&run), "t=success");
    lab.mark_run(&made, RunState::Failed);
    let run = lab.trigger("d");
    lab.answer("t", answer(waits()));
    assert_eq!(lab.states(&run), "t=failed");
}

#[test]
fn nobody_waits_for_their_own_run() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(trigger_dag("t")));
    let run = lab.trigger("d");
    lab.answer(
        "t",
        answer(MakeRun { if_exists: IfExists::Use, wait: Some(wait("d")), ..make("d", Some(&run)) }),
    );
    assert_eq!(lab.task_row(&run, "t").reason.as_deref(), Some("it would wait for its own run"));
}

#[test]
fn news_on_the_way_of_the_answer_isn_t_lost() {
    let mut lab = lab();
    lab.trigger("other");
    let run = lab.trigger("d");
    // The run ends after whoever answers looked, and before the answer arrives.
    lab.run("x").succeeds();
    lab.answer("t", Answer::Watch(wait("other")));
    assert_eq!(lab.states(&run), "t=deferred");
    lab.advance(secs(1));
    assert_eq!(lab.questions.len(), 1);
}

#[test]
fn a_busy_dag_is_looked_at_once_a_second() {
    let mut lab = Lab::new();
    lab.activate(dag("other").tasks((0..20).map(|n| bash(&format!("x{n}")))));
    lab.activate(dag("d").task(trigger_dag("t")));
    lab.trigger("other");
    lab.trigger("d");
    let mut looks = 0;
    for n in 0..20 {
        lab.answer_if_asked("t", || {
            looks += 1;
            Answer::Watch(Watch { tasks: true, ..wait("other") })
        });
        if lab.holds(&format!("x{n}")) {
            lab.run(&format!("x{n}")).succeeds();
        }
        lab.advance(dags::time::Span::millis(200));
    }
    assert!((3..=6).contains(&looks), "{looks} looks in four seconds");
}

#[test]
fn a_wait_has_an_end() {
    let mut lab = lab();
    let run = lab.trigger("d");
    let until = Some(lab.now.after(mins(2)));
    let watch = Watch { until, ..wait("other") };
    lab.answer("t", answer(MakeRun { wait: Some(watch), ..make("other", None) }));
    lab.advance(mins(2));
    lab.answer("t", Answer::FailForGood("it took too long".to_owned()));
    assert_eq!(lab.states(&run), "t=failed");
}

#[test]
fn what_waits_can_be_marked_and_cleared() {
    let mut lab = lab();
    let run = lab.trigger("d");
    lab.answer("t", answer(MakeRun { wait: Some(wait("other")), ..make("other", Some("made")) }));
    lab.clear(&run, ["t"]);
    assert_eq!(lab.task_row(&run, "t").try_number, 2);
    lab.answer("t", answer(MakeRun { wait: Some(wait("other")), ..make("other", Some("again")) }));
    lab.mark(&run, ["t"], TaskState::Success);
    lab.run("again/x").succeeds();
    assert_eq!((lab.states(&run).as_str(), lab.questions.len()), ("t=success", 0));
}

#[test]
fn a_dag_that_starts_itself_stops() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(trigger_dag("t")));
    lab.trigger("d");
    let mut runs = 1;
    while !lab.questions.is_empty() {
        lab.answer(
            &format!("{}/t", lab.questions[0].run_name.clone()),
            answer(make("d", Some(&format!("n{runs}")))),
        );
        runs += 1;
        assert!(runs < 100);
    }
    assert_eq!(lab.run_row("n10").chain_depth, CHAIN_MAX);
    let row = lab.task_row("n10", "t");
    assert_eq!(row.state, TaskState::Failed);
    let reason = row.reason.as_deref().unwrap();
    assert!(reason.contains("10 runs have started each other") && reason.contains("`d/n9`"), "{reason}");
}

#[test]
fn tasks_of_a_tenant_among_others_start_so_many_runs_per_minute() {
    let mut lab = Lab::new();
    let other = dags::ids::TenantId(uuid::Uuid::from_u128(7));
    lab.activate(dag("other").max_active_runs(1).task(bash("x")));
    lab.activate_for(other, dag("theirs").task(bash("x")).build(), false);
    let most = RUNS_PER_MINUTE as usize;
    lab.activate(dag("d").task(trigger_dag("t").map(times(most + 1))).max_active_tasks(2_000));
    let run = lab.trigger("d");
    for n in 0..=most {
        lab.answer(&format!("t[{n}]"), answer(make("other", Some(&format!("n{n}")))));
    }
    let last = format!("t[{most}]");
    assert_eq!(lab.task_row(&run, &last).state, TaskState::Deferred);
    assert_eq!(
        lab.task_row(&run, &last).reason.as_deref(),
        Some("tasks of this tenant started 600 runs within a minute")
    );
    lab.advance(secs(1));
    lab.answer(&last, answer(make("other", None)));
    assert_eq!(lab.task_row(&run, &last).state, TaskState::Success);
}

#[test]
fn a_deleted_run_is_news_too() {
    let mut lab = lab();
    let made = lab.trigger("other");
    lab.run("x").succeeds();
    lab.trigger("d");
    lab.answer("t", Answer::Watch(wait("other")));
    let command = Command::DeleteRun { dag_id: "other".parse().unwrap(), run_name: made.parse().unwrap() };
    lab.request(command).unwrap();
    lab.put(engine::driver::Input::Tick);
    assert_eq!(lab.questions.len(), 1);
}
