//! Quarantine: a run or DAG whose rows can't be worked with is left alone, and everything else goes on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use dags::{ids::DagId, model::Runner};
use engine::{
    Answer, AskPeople, Watch,
    blame::Culprit,
    command::{Backfill, Clear, Command, Refusal, Reprocess, Response},
    dispatch::{News, Outcome, Report},
    driver::{Input, Stop},
    explain::{Hold, Limit},
    journal::{Commit, Inbox},
    rows::{Broken, Input as Asked, Subject},
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

/// Breaks a run's row and starts again, so that the run is quarantined.
fn break_run(lab: &mut Lab, name: &str) {
    let run = lab.run_row(name).run;
    lab.journal.runs.get_mut(&run).unwrap().created_tasks = 99;
    lab.crash();
    assert!(lab.journal.quarantined.contains_key(&Subject::Run(TENANT, run)));
}

/// Mends it, and releases it.
fn mend_run(lab: &mut Lab, name: &str) {
    let run = lab.run_row(name).run;
    let tasks = lab.journal.tasks_of(run).count() as u32;
    lab.journal.runs.get_mut(&run).unwrap().created_tasks = tasks;
    release(lab, Some(name)).unwrap();
    assert_eq!(lab.stopped.take(), Some(Stop::Rebuild));
    lab.crash();
}

#[test]
fn a_released_run_that_waits_for_another_dag_hears_of_it_again() {
    let mut lab = Lab::new();
    lab.activate(dag("e").task(bash("x")));
    lab.activate(dag("d").task(time_sensor("s")));
    lab.trigger("e");
    lab.trigger("e");
    lab.trigger("d");
    let wait = || {
        let (dag_id, reason) = ("e".parse().unwrap(), "it waits".to_owned());
        Answer::Watch(Watch { dag_id, tasks: false, until: None, reason })
    };
    lab.answer("s", wait());
    assert_eq!(lab.states("r3"), "s=deferred");
    break_run(&mut lab, "r3");
    lab.crash();
    // What ends while nobody listens for it is looked at when it is released.
    lab.run("r1/x").succeeds();
    assert!(lab.questions.is_empty());
    mend_run(&mut lab, "r3");
    lab.answer("s", wait());
    assert!(lab.questions.is_empty(), "once");
    // From then on it hears of it as before.
    lab.run("r2/x").succeeds();
    assert_eq!(lab.questions.len(), 1);
    lab.crash();
    lab.answer("s", Answer::Done);
    assert_eq!(lab.state("r3"), RunState::Success);
    assert!(lab.journal.continuations.is_empty(), "{:?}", lab.journal.continuations);
}

#[test]
fn the_wait_of_a_quarantined_run_goes_with_it() {
    let mut lab = Lab::new();
    lab.activate(dag("e").task(bash("x")));
    lab.activate(dag("d").task(time_sensor("s")));
    lab.trigger("d");
    let (dag_id, reason) = ("e".parse().unwrap(), "it waits".to_owned());
    lab.answer("s", Answer::Watch(Watch { dag_id, tasks: false, until: None, reason }));
    break_run(&mut lab, "r1");
    assert_eq!(lab.journal.continuations.len(), 1);
    let (dag_id, run_name) = ("d".parse().unwrap(), "r1".parse().unwrap());
    lab.request(Command::DeleteRun { dag_id, run_name }).unwrap();
    lab.crash();
    assert!(lab.journal.continuations.is_empty());
}

#[test]
fn a_released_run_can_be_answered() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(operator("ask", "approval", Runner::Engine)));
    lab.trigger("d");
    let input = Asked {
        subject: "Go on?".to_owned(),
        body: None,
        options: vec!["Yes".to_owned()],
        defaults: None,
        multiple: false,
        params: std::collections::BTreeMap::new(),
        assigned: Vec::new(),
    };
    let ask = AskPeople { input, until: Some(lab.now.after(secs(60))), notify: Vec::new() };
    lab.answer("ask", Answer::Ask(Box::new(ask)));
    break_run(&mut lab, "r1");
    let respond = || {
        Command::Respond(Response {
            dag_id: "d".parse().unwrap(),
            run_name: "r1".parse().unwrap(),
            task_id: task_id("ask"),
            map_index: -1,
            chosen_options: vec!["Yes".to_owned()],
            params_input: serde_json::Map::new(),
        })
    };
    assert_eq!(lab.request(respond()).unwrap_err().code, "run.quarantined");
    mend_run(&mut lab, "r1");
    assert_eq!(lab.states("r1"), "ask=awaiting_input");
    lab.request(respond()).unwrap();
    lab.answer("ask", Answer::Done);
    assert_eq!(lab.state("r1"), RunState::Success);
}

/// What holds the task `a` of a run, as `explain` is answered.
fn why(lab: &mut Lab, run: &str) -> Hold {
    let (dag_id, run_name, task_id) = ("d".parse().unwrap(), run.parse().unwrap(), task_id("a"));
    let answer = lab.request(Command::Explain { dag_id, run_name, task_id, map_index: -1 }).unwrap();
    assert!(answer["waiting"].is_null());
    serde_json::from_value(answer["quarantined"].clone()).unwrap()
}

#[test]
fn an_explanation_says_that_it_is_quarantined_and_why() {
    let mut lab = broken();
    let hold = why(&mut lab, "r1");
    let Limit::Quarantined { reason, whole_dag: false } = &hold.limit else { panic!("{hold:?}") };
    assert!(reason.contains("99 of its tasks") && hold.frees.contains("updraft runs release"), "{hold:?}");
    let (dag_id, run_name, task_id) = ("d".parse().unwrap(), "r9".parse().unwrap(), task_id("a"));
    let absent = lab.request(Command::Explain { dag_id, run_name, task_id, map_index: -1 }).unwrap_err();
    assert_eq!(absent.code, "run.not_found");

    let version = lab.journal.versions.keys().next().unwrap().clone();
    lab.journal.versions.remove(&version).unwrap();
    lab.crash();
    let hold = why(&mut lab, "r2");
    assert!(matches!(hold.limit, Limit::Quarantined { whole_dag: true, .. }), "{hold:?}");
    assert!(hold.frees.contains("updraft dags release"));
}

#[test]
fn an_unreadable_pool_admits_nothing_and_says_why_until_it_is_set_anew() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").pool("p")).task(bash("b")));
    lab.request(Command::SetPool { name: "p".parse().unwrap(), slots: 3, include_deferred: false }).unwrap();
    let key = (TENANT, "p".parse().unwrap());
    lab.restart(|snapshot| {
        snapshot.pools.retain(|row| (row.tenant, row.name.clone()) != key);
        snapshot.unreadable_pools.insert(key, "slots -7".into());
    });
    let run = lab.trigger("d");
    lab.run("b").succeeds();
    assert_eq!(lab.states(&run), "a=scheduled b=success");
    let row = lab.run_row(&run).clone();
    let waiting = lab.driver.engine().explain(TENANT, &row.dag_id, &row.run_name, &task_id("a"), -1).unwrap();
    insta::assert_snapshot!(waiting.holds[0].says, @"pool `p` can't be read: slots -7");
    lab.request(Command::SetPool { name: "p".parse().unwrap(), slots: 3, include_deferred: false }).unwrap();
    lab.run("a").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn an_unreadable_backfill_starts_no_runs_and_says_why() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).cron("0 0 * * *").starts("2025-12-01T00:00:00Z"));
    let (from, to) = (at("2025-12-01T00:00:00Z"), at("2025-12-02T00:00:00Z"));
    let (dag_id, conf) = ("d".parse().unwrap(), serde_json::Map::new());
    let (reprocess, reverse, max_active_runs) = (Reprocess::None, false, 1);
    let spec = Backfill { dag_id, from, to, reprocess, reverse, max_active_runs, conf };
    lab.request(Command::PauseDag { dag_id: "d".parse().unwrap(), paused: true }).unwrap();
    lab.request(Command::Backfill(spec)).unwrap();
    let run = "backfill__2025-12-01T00:00:00+00:00";
    assert_eq!(lab.state(run), RunState::Queued);
    lab.restart(|snapshot| {
        snapshot.backfills.clear();
        snapshot.unreadable_backfills.insert((TENANT, 1), "format 9".into());
    });
    lab.request(Command::PauseDag { dag_id: "d".parse().unwrap(), paused: false }).unwrap();
    assert_eq!(lab.state(run), RunState::Queued);
    let row = lab.run_row(run).clone();
    let waiting = lab.driver.engine().explain(TENANT, &row.dag_id, &row.run_name, &task_id("a"), -1);
    let says = waiting.map(|waiting| waiting.holds[0].says.clone());
    assert_eq!(says.as_deref(), Some("what backfill 1 asked for can't be read: format 9"));
    let change = Command::ChangeBackfill { id: 1, change: engine::command::BackfillChange::Cancel };
    let refusal = lab.request(change).unwrap_err();
    assert_eq!(refusal.code, "backfill.unreadable");
    assert!(refusal.message.contains("format 9"), "{refusal}");
    lab.crash();
    assert_eq!(lab.state(run), RunState::Running, "it goes on when it can be read again");
}

#[test]
fn unreadable_work_isolates_its_run() {
    let mut lab = Lab::with(|config| config.step_transitions = 2);
    lab.activate(dag("d").task(bash("a").map(times(9))).max_active_tasks(1));
    lab.activate(dag("e").task(bash("x")));
    lab.trigger("d");
    lab.commits_left = Some(1);
    lab.mark_run("r1", RunState::Failed);
    lab.commits_left = None;
    let mut works = lab.journal.continuations.values_mut().filter_map(|row| row.work.as_mut());
    let work = works.find(|work| work.get("bulk").is_some()).expect("it isn't done in one batch");
    work["bulk"]["kind"] = "Nonsense".into();
    lab.crash();
    let run = lab.run_row("r1").run;
    let reason = &lab.journal.quarantined[&Subject::Run(TENANT, run)];
    assert!(reason.contains("it can't be read"), "{reason}");
    let other = lab.trigger("e");
    lab.run("x").succeeds();
    assert_eq!(lab.state(&other), RunState::Success);
}

/// What the driver can be blamed for when it panics over this.
fn panics(lab: &mut Lab, input: Input) -> Option<Culprit> {
    let (driver, now) = (&mut lab.driver, lab.now);
    let panicked = catch_unwind(AssertUnwindSafe(|| driver.next(now, input)));
    assert!(panicked.is_err(), "{panicked:?}");
    lab.driver.culprit()
}

// The rows below overflow a counter, which only builds with debug assertions notice.
#[cfg(debug_assertions)]
#[test]
fn a_panic_is_blamed_on_the_run_that_was_worked_for() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    lab.trigger("d");
    lab.trigger("d");
    let run = lab.run_row("r1").run;
    lab.run("r1/a").starts();
    lab.journal.tasks.values_mut().find(|row| row.run == run).unwrap().dispatch_n = u32::MAX;
    lab.crash();
    let attempt = lab.task_row("r1", "a").attempt();
    let id = dags::ids::DispatchId { attempt, n: u32::MAX };
    // Given back, it is admitted again, as the next dispatch.
    let report = Report::new(id, 0, 1, News::Ended(end(Outcome::Killed)));
    let culprit = panics(&mut lab, Input::Reports(vec![report]));
    assert_eq!(culprit, Some(Culprit::Subject(Subject::Run(TENANT, run))));
    // Nothing of it was stored, and without that run the others go on.
    lab.restart(|snapshot| snapshot.isolate(vec![Broken::run(TENANT, run, None, "it panicked")]));
    lab.run("r2/a").succeeds();
    assert_eq!((lab.state("r1"), lab.state("r2")), (RunState::Running, RunState::Success));
}

#[cfg(debug_assertions)]
#[test]
fn a_panic_over_a_request_is_blamed_on_the_request() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    lab.trigger("d");
    lab.run("a").succeeds();
    let run = lab.run_row("r1").run;
    lab.journal.runs.get_mut(&run).unwrap().clear_number = u32::MAX;
    let select = lab.select("r1", ["a"]);
    let clear = Clear { select, only_failed: false, only_running: false, run_on_latest_version: false };
    let id = lab.journal.request(TENANT, "someone", Command::Clear(clear));
    let inbox = lab.journal.requests(&[], 10);
    let now = lab.now;
    let load = lab.driver.next(now, Input::Inbox(inbox));
    let [engine::driver::Action::Load(load)] = &load[..] else { panic!("{load:?}") };
    let loaded = lab.journal.find(load.clone());
    assert_eq!(panics(&mut lab, Input::Loaded(Box::new(loaded))), Some(Culprit::Request(id)));
    // The next driver refuses it without looking at it.
    lab.crash();
    let mut inbox: Inbox = lab.journal.requests(&[], 10);
    inbox.refuse(&std::collections::BTreeMap::from([(id, Refusal::new("engine.panicked", "no"))]));
    lab.put(Input::Inbox(inbox));
    assert_eq!(lab.journal.outcomes[&id].as_ref().unwrap_err().code, "engine.panicked");
}
