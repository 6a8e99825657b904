//! Section 14, as far as it concerns the engine: waits of sensors, deferral and reschedule.

use engine::{
    Answer,
    command::Command,
    dispatch::Outcome,
    state::{RunState, TaskState},
};

use crate::{builder::*, lab::*};

fn sensor() -> DagBuilder {
    dag("d").task(time_sensor("s")).task(bash("z").needs(["s"]))
}

#[test]
fn a_sensor_of_the_engine_waits_without_a_slot() {
    let mut lab = Lab::new();
    lab.executor("local", 0);
    lab.activate(sensor());
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "s=running z=none");
    let when = lab.now.after(mins(10));
    lab.answer("s", Answer::Again(when));
    assert_eq!(lab.states(&run), "s=deferred z=none");
    lab.advance(mins(9));
    assert!(lab.questions.is_empty());
    lab.advance(mins(1));
    assert_eq!((lab.states(&run).as_str(), lab.questions.len()), ("s=running z=none", 1));
    lab.answer("s", Answer::Done);
    assert_eq!(lab.states(&run), "s=success z=scheduled");
    assert_eq!(lab.task_row(&run, "s").try_number, 1);
}

#[test]
fn every_question_is_a_dispatch_of_its_own_and_the_start_stays() {
    let mut lab = Lab::new();
    lab.activate(sensor());
    lab.trigger("d");
    let first = lab.questions[0].clone();
    lab.answer("s", Answer::Again(lab.now.after(mins(10))));
    lab.advance(mins(10));
    let second = lab.questions[0].clone();
    assert_eq!((second.id.attempt, second.id.n), (first.id.attempt, first.id.n + 1));
    assert_eq!(second.started_at, first.started_at, "what the whole wait is counted from");
    lab.put(engine::driver::Input::Answer(first.id, Answer::Done));
    assert_eq!(lab.states("r1"), "s=running z=none");
}

#[test]
fn an_instant_that_has_passed_is_asked_again_soon() {
    let mut lab = Lab::new();
    lab.activate(sensor());
    lab.trigger("d");
    lab.answer("s", Answer::Again(at("2020-01-01T00:00:00Z")));
    assert_eq!(lab.states("r1"), "s=deferred z=none");
    lab.advance(secs(1));
    assert_eq!(lab.states("r1"), "s=running z=none");
}

#[test]
fn a_wait_survives_a_crash() {
    let mut lab = Lab::new();
    lab.activate(sensor());
    let run = lab.trigger("d");
    lab.crash();
    assert_eq!(lab.questions.len(), 1, "it is asked again");
    lab.answer("s", Answer::Again(lab.now.after(mins(10))));
    lab.crash();
    assert_eq!(lab.states(&run), "s=deferred z=none");
    lab.now = lab.now.after(hours(1));
    lab.crash();
    lab.answer("s", Answer::Done);
    assert_eq!(lab.states(&run), "s=success z=queued");
}

#[test]
fn a_wait_that_takes_too_long_fails_or_is_skipped() {
    let mut lab = Lab::new();
    lab.activate(sensor());
    let run = lab.trigger("d");
    lab.answer("s", Answer::Skip("it took too long".to_owned()));
    assert_eq!(lab.states(&run), "s=skipped z=skipped");
    let run = lab.trigger("d");
    lab.answer("s", Answer::Error("it took too long".to_owned()));
    assert_eq!(lab.states(&run), "s=failed z=upstream_failed");
    assert_eq!(lab.task_row(&run, "s").reason.as_deref(), Some("it took too long"));
}

#[test]
fn a_failed_question_is_tried_again() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(time_sensor("s").retries(1)));
    let run = lab.trigger("d");
    lab.answer("s", Answer::Error("no".to_owned()));
    assert_eq!(lab.states(&run), "s=up_for_retry");
    lab.advance(secs(300));
    assert_eq!((lab.states(&run).as_str(), lab.questions[0].try_number), ("s=running", 2));
}

#[test]
fn clearing_a_wait_starts_it_over() {
    let mut lab = Lab::new();
    lab.activate(sensor());
    let run = lab.trigger("d");
    lab.answer("s", Answer::Again(lab.now.after(hours(10))));
    lab.clear(&run, ["s"]);
    assert_eq!((lab.states(&run).as_str(), lab.questions[0].try_number), ("s=running z=none", 2));
    let before = lab.questions[0].id;
    lab.clear(&run, ["s"]);
    assert_ne!(lab.questions.last().unwrap().id, before);
    lab.put(engine::driver::Input::Answer(before, Answer::Done));
    assert_eq!(lab.states(&run), "s=running z=none");
}

#[test]
fn marking_a_wait_ends_it() {
    let mut lab = Lab::new();
    lab.activate(sensor());
    let run = lab.trigger("d");
    lab.answer("s", Answer::Again(lab.now.after(mins(10))));
    lab.mark(&run, ["s"], TaskState::Success);
    assert_eq!(lab.states(&run), "s=success z=queued");
    lab.advance(hours(1));
    assert_eq!(lab.states(&run), "s=success z=queued");
    assert!(lab.kills.is_empty());
}

#[test]
fn a_timeout_of_the_run_ends_waits() {
    let mut lab = Lab::new();
    lab.activate(sensor().run_timeout(mins(5)));
    let run = lab.trigger("d");
    lab.answer("s", Answer::Again(lab.now.after(mins(10))));
    lab.advance(mins(5));
    assert_eq!((lab.states(&run).as_str(), lab.state(&run)), ("s=skipped z=skipped", RunState::Failed));
    lab.advance(hours(1));
    assert_eq!(lab.states(&run), "s=skipped z=skipped");
}

#[test]
fn waits_count_in_a_pool_that_says_so() {
    let mut lab = Lab::new();
    let command = Command::SetPool { name: "p".parse().unwrap(), slots: 1, include_deferred: true };
    lab.request(command).unwrap();
    lab.activate(dag("d").task(time_sensor("s").pool("p")).task(bash("b").pool("p").when("x")));
    let run = lab.trigger("d");
    lab.answer("s", Answer::Again(lab.now.after(mins(10))));
    lab.answer("b", Answer::Holds(true));
    assert_eq!(lab.states(&run), "b=scheduled s=deferred");
    lab.crash();
    assert_eq!(lab.states(&run), "b=scheduled s=deferred");
    lab.advance(mins(10));
    lab.answer("s", Answer::Done);
    assert_eq!(lab.states(&run), "b=queued s=success");
}

#[test]
fn waits_count_against_the_limits_of_a_task() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(time_sensor("s").max_active(1)));
    lab.trigger("d");
    lab.answer("s", Answer::Again(lab.now.after(mins(10))));
    let second = lab.trigger("d");
    assert_eq!(lab.states("r1"), "s=deferred");
    // Tasks of the engine aren't admitted, so only executors' tasks wait for room under the limit.
    assert_eq!(lab.states(&second), "s=running");
}

#[test]
fn a_rescheduled_call_competes_for_slots_again() {
    let mut lab = Lab::new();
    lab.pool("p", 1);
    lab.activate(dag("d").task(bash("a").pool("p").priority(1)).task(bash("b").pool("p").priority(0)));
    let run = lab.trigger("d");
    lab.run("a").starts();
    let started = lab.task_row(&run, "a").started_at;
    lab.run("a").ends_as(Outcome::Reschedule { after: mins(5) });
    assert_eq!(lab.states(&run), "a=up_for_reschedule b=queued");
    lab.advance(mins(5));
    assert_eq!(lab.states(&run), "a=scheduled b=queued");
    lab.run("b").succeeds();
    assert_eq!(lab.states(&run), "a=queued b=success");
    lab.run("a").starts();
    let row = lab.task_row(&run, "a");
    assert_eq!((row.try_number, row.started_at), (1, started), "counted from the first start of the try");
}

#[test]
fn a_rescheduled_sensor_ends_when_what_it_needs_failed_meanwhile() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    lab.run("a").succeeds();
    lab.run("b").ends_as(Outcome::Reschedule { after: mins(5) });
    lab.clear_with(&run, ["a"], |_| {}).unwrap();
    lab.run("a").ends_as(Outcome::FailedForGood);
    lab.advance(mins(5));
    assert_eq!(lab.states(&run), "a=failed b=upstream_failed");
}

#[test]
fn a_rescheduled_sensor_that_fails_is_tried_again_from_the_start() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    let run = lab.trigger("d");
    lab.run("a").ends_as(Outcome::Reschedule { after: mins(5) });
    let first = lab.task_row(&run, "a").started_at.unwrap();
    lab.advance(mins(5));
    lab.run("a").fails();
    lab.advance(mins(5));
    let dispatch = lab.run("a").dispatch();
    assert_eq!((dispatch.try_number, dispatch.id.n), (2, 1));
    lab.run("a").starts();
    assert!(lab.task_row(&run, "a").started_at.unwrap() > first);
}

#[test]
fn what_waited_and_became_a_task_of_an_executor_goes_there() {
    let mut lab = Lab::new();
    lab.activate(sensor());
    let run = lab.trigger("d");
    let when = lab.now.after(mins(10));
    lab.answer("s", Answer::Again(when));
    lab.activate(dag("d").task(bash("s")).task(bash("z").needs(["s"])));
    lab.clear_with(&run, ["z"], |clear| clear.run_on_latest_version = true).unwrap();
    assert_eq!(lab.states(&run), "s=deferred z=none");
    lab.advance(mins(10));
    assert_eq!(lab.states(&run), "s=queued z=none");
    lab.run("s").succeeds();
    assert_eq!(lab.states(&run), "s=success z=queued");
}
