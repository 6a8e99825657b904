//! Quarantine: a run or DAG whose rows can't be worked with is left alone, and everything else goes on.

use std::sync::Arc;

use dags::ids::DagId;
use engine::{
    command::{Command, Refusal},
    driver::Stop,
    journal::Commit,
    rows::{Broken, Subject},
    state::{RunState, TaskState},
};

use crate::{builder::*, lab::*};

/// Two runs `r1` and `r2` of `d`, both running; then the row of the first is broken and the service starts again.
fn broken() -> Lab {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    lab.trigger("d");
    lab.trigger("d");
    lab.run("r1/a").starts();
    let run = lab.run_row("r1").run;
    lab.journal.runs.get_mut(&run).unwrap().created_tasks = 99;
    lab.crash();
    lab
}

fn release(lab: &mut Lab, run: Option<&str>) -> Result<serde_json::Value, Refusal> {
    let run_name = run.map(|run| run.parse().unwrap());
    lab.request(Command::Release { dag_id: DagId::parse("d").unwrap(), run_name })
}

#[test]
fn a_broken_run_is_left_alone_and_the_others_go_on() {
    let mut lab = broken();
    assert!(!lab.holds("r1/a") || lab.states("r1") == "a=running", "nothing of it is touched");
    lab.run("r2/a").succeeds();
    assert_eq!(lab.state("r2"), RunState::Success);
    assert_eq!((lab.states("r1").as_str(), lab.state("r1")), ("a=running", RunState::Running));
    // People are told: in the row, in the history, and at once.
    let (tenant, run) = (TENANT, lab.run_row("r1").run);
    let reason = lab.journal.quarantined[&Subject::Run(tenant, run)].clone();
    assert!(reason.contains("99 of its tasks"), "{reason}");
    let told: Vec<&Subject> = lab.quarantined.iter().map(|broken| &broken.subject).collect();
    assert_eq!(told, [&Subject::Run(tenant, run)]);
    let events = lab.journal.events.iter().filter(|event| event.run == run);
    let last = events.flat_map(|event| &event.transitions).last().unwrap();
    assert_eq!((&*last.to, last.reason.as_deref()), ("quarantined", Some(&*reason)));
    // The next start knows it.
    lab.crash();
    assert_eq!(lab.quarantined.len(), 1, "it isn't told twice");
    lab.trigger("d");
    lab.run("r3/a").succeeds();
}

#[test]
fn its_attempts_are_ended() {
    let mut lab = broken();
    let id = lab.dispatched.iter().find(|dispatch| dispatch.run_name.as_str() == "r1").unwrap().id;
    lab.advance(secs(60));
    lab.kills.clear();
    lab.looks_around([(id, 0)]);
    assert_eq!(lab.kills.iter().map(|kill| kill.id).collect::<Vec<_>>(), [id]);
}

#[test]
fn what_is_asked_about_it_is_refused_with_the_reason() {
    let mut lab = broken();
    let select = lab.select("r1", ["a"]);
    let refusal = lab.request(Command::MarkTasks { select, state: TaskState::Success }).unwrap_err();
    assert_eq!(refusal.code, "run.quarantined");
    assert!(
        refusal.message.contains("99 of its tasks") && refusal.message.contains("release it"),
        "{refusal}"
    );
    let again = lab.trigger_with("d", |trigger| trigger.run_name = Some("r1".parse().unwrap())).unwrap_err();
    assert_eq!(again.code, "run.quarantined");
}

#[test]
fn a_mended_run_is_released_and_goes_on() {
    let mut lab = broken();
    let run = lab.run_row("r1").run;
    lab.journal.runs.get_mut(&run).unwrap().created_tasks = 1;
    lab.held.retain(|dispatch| dispatch.run_name.as_str() != "r1");
    release(&mut lab, Some("r1")).unwrap();
    assert_eq!(lab.stopped.take(), Some(Stop::Rebuild));
    lab.crash();
    assert!(lab.journal.quarantined.is_empty());
    lab.advance(secs(60));
    lab.looks_around([]);
    assert_eq!(lab.states("r1"), "a=up_for_retry", "its attempt was ended meanwhile");
    lab.advance(secs(3_600));
    lab.run("r1/a").succeeds();
    assert_eq!(lab.state("r1"), RunState::Success);
}

#[test]
fn a_run_that_is_released_unmended_is_quarantined_again() {
    let mut lab = broken();
    release(&mut lab, Some("r1")).unwrap();
    lab.stopped = None;
    lab.crash();
    assert_eq!(lab.journal.quarantined.len(), 1);
    lab.run("r2/a").succeeds();
}

#[test]
fn it_can_be_deleted() {
    let mut lab = broken();
    let delete = Command::DeleteRun { dag_id: "d".parse().unwrap(), run_name: "r1".parse().unwrap() };
    lab.request(delete).unwrap();
    assert!(lab.journal.quarantined.is_empty());
    assert_eq!(lab.runs("d"), "r2=running");
}

#[test]
fn what_isnt_quarantined_isnt_released() {
    let mut lab = broken();
    assert_eq!(release(&mut lab, Some("r2")).unwrap_err().code, "run.not_quarantined");
    assert_eq!(release(&mut lab, Some("r9")).unwrap_err().code, "run.not_found");
    assert_eq!(release(&mut lab, None).unwrap_err().code, "dag.not_quarantined");
    assert_eq!(lab.stopped, None);
}

#[test]
fn a_later_run_that_depends_on_it_waits() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").depends_on_past()));
    let first = lab.trigger_for("d", "2026-03-01T00:00:00Z").unwrap();
    let run = lab.run_row(&first).run;
    lab.journal.runs.get_mut(&run).unwrap().created_tasks = 99;
    lab.crash();
    let second = lab.trigger_for("d", "2026-03-02T00:00:00Z").unwrap();
    assert_eq!(lab.states(&second), "a=none");
    let (dag_id, run_name) = ("d".parse().unwrap(), first.parse().unwrap());
    lab.request(Command::DeleteRun { dag_id, run_name }).unwrap();
    assert_eq!(lab.states(&second), "a=queued");
}

#[test]
fn a_dag_without_its_model_is_left_alone_with_its_runs() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let version = lab.journal.versions.keys().next().unwrap().clone();
    lab.activate(dag("e").task(bash("b")));
    let mine = lab.trigger("d");
    let other = lab.trigger("e");
    let model = lab.journal.versions.remove(&version).unwrap();
    lab.crash();
    lab.run("b").succeeds();
    assert_eq!(lab.state(&other), RunState::Success);
    assert_eq!(lab.state(&mine), RunState::Running);
    let refusal = lab.trigger_with("d", |_| {}).unwrap_err();
    assert_eq!(refusal.code, "dag.quarantined");
    assert!(refusal.message.contains("isn't stored"), "{refusal}");
    lab.journal.versions.insert(version, model);
    release(&mut lab, None).unwrap();
    lab.stopped = None;
    lab.crash();
    lab.run("a").succeeds();
    assert_eq!(lab.state(&mine), RunState::Success);
}

#[test]
fn a_conflict_names_its_culprit_and_isolating_it_lets_the_others_go_on() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    lab.trigger("d");
    lab.trigger("d");
    // Somebody changes a row behind the engine's back.
    let run = lab.run_row("r1").run;
    let row = lab.journal.tasks.values_mut().find(|row| row.run == run).unwrap();
    row.state = TaskState::Deferred;
    lab.conflicts_expected = true;
    lab.report_together([
        ("r1/a", engine::dispatch::Outcome::Success),
        ("r2/a", engine::dispatch::Outcome::Success),
    ]);
    let Some(Stop::Conflict(conflict)) = lab.stopped.take() else { panic!("the batch went through") };
    let culprit = Subject::Run(TENANT, run);
    assert_eq!(conflict.culprits, std::slice::from_ref(&culprit));
    assert_eq!(lab.states("r2"), "a=queued", "nothing of the batch was written");
    let broken = Broken { subject: culprit.clone(), dag_id: None, reason: "it conflicts".to_owned() };
    lab.crash_without(vec![broken]);
    assert_eq!(lab.journal.quarantined.keys().collect::<Vec<_>>(), [&culprit]);
    let id = lab.dispatched.iter().find(|dispatch| dispatch.run_name.as_str() == "r2").unwrap().id;
    lab.report(id, 0, engine::dispatch::News::Ended(end(engine::dispatch::Outcome::Success)));
    assert_eq!(lab.state("r2"), RunState::Success);
}

#[test]
fn a_run_that_is_there_already_is_its_dags_fault() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    lab.trigger("d");
    let mut row = lab.run_row("r1").clone();
    row.created_at = row.created_at.after(secs(1));
    let batch = engine::rows::Batch {
        number: lab.journal.batch + 1,
        now: lab.now,
        new_runs: vec![row],
        ..Default::default()
    };
    let Commit::Conflict(conflict) = lab.journal.write(&batch) else { panic!("the batch went through") };
    assert_eq!(conflict.culprits, [Subject::Dag(TENANT, "d".parse().unwrap())]);
    let _: Arc<str> = conflict.what.into();
}
