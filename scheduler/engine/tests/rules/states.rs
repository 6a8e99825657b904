//! Section 1: states of task instances, dispatch numbers, and what reports may do.

use dags::ids::DispatchId;
use engine::{
    dispatch::{News, Outcome},
    driver::Input,
    state::{RunState, TaskState},
};

use crate::{builder::*, lab::*};

fn started() -> News {
    News::Started { host: "h".to_owned(), pid: None }
}

#[test]
fn a_chain_runs_one_after_the_other() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=queued b=none");
    lab.run("a").starts();
    assert_eq!(lab.states(&run), "a=running b=none");
    lab.run("a").succeeds();
    assert_eq!(lab.states(&run), "a=success b=queued");
    lab.run("b").succeeds();
    assert_eq!(lab.states(&run), "a=success b=success");
    assert_eq!(lab.runs("d"), "r1=success");
    assert_eq!(lab.history(&run, "b"), "scheduled queued running success");
}

#[test]
fn a_first_try_has_number_one_and_its_first_dispatch_too() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    let run = lab.trigger("d");
    let dispatch = lab.run("a").dispatch();
    assert_eq!((dispatch.try_number, dispatch.id.n), (1, 1));
    assert_eq!(lab.task_row(&run, "a").max_tries, 1);
    assert_eq!(dispatch.id.attempt, lab.task_row(&run, "a").attempt());
}

#[test]
fn an_operator_that_does_nothing_succeeds_without_being_queued() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(empty("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    assert_eq!(lab.states(&run), "a=success b=queued");
    let row = lab.task_row(&run, "a");
    assert_eq!((row.try_number, row.started_at), (1, row.ended_at));
    assert!(row.started_at.is_some());
    assert_eq!(lab.history(&run, "a"), "success");
}

#[test]
fn a_retry_is_another_attempt() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    let run = lab.trigger("d");
    let first = lab.run("a").dispatch();
    lab.run("a").fails();
    lab.advance(secs(300));
    let second = lab.run("a").dispatch();
    assert_ne!(first.id.attempt, second.id.attempt);
    assert_eq!((second.try_number, second.id.n), (2, 1));
    assert_eq!(lab.journal.attempts.len(), 1);
    let archived = &lab.journal.attempts[0].row;
    assert_eq!((archived.attempt(), archived.state), (first.id.attempt, TaskState::Failed));
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn a_reschedule_is_the_same_attempt_and_the_next_dispatch() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    let first = lab.run("a").dispatch();
    lab.run("a").ends_as(Outcome::Reschedule { after: secs(60) });
    assert_eq!(lab.states(&run), "a=up_for_reschedule");
    lab.advance(secs(59));
    assert!(!lab.holds("a"));
    lab.advance(secs(1));
    let second = lab.run("a").dispatch();
    assert_eq!(second.id, DispatchId { attempt: first.id.attempt, n: 2 });
    assert_eq!(second.try_number, 1);
}

#[test]
fn an_attempt_that_its_executor_gave_back_is_handed_over_again() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    let first = lab.run("a").dispatch();
    lab.run("a").starts();
    lab.run("a").ends_as(Outcome::Killed);
    let second = lab.run("a").dispatch();
    assert_eq!(second.id, DispatchId { attempt: first.id.attempt, n: 2 });
    assert_eq!((second.try_number, lab.states(&run).as_str()), (1, "a=queued"));
    assert_eq!(lab.history(&run, "a"), "scheduled queued running scheduled queued");
    lab.run("a").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn an_attempt_that_could_not_start_fails_from_queued() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").ends_as(Outcome::NotStarted);
    assert_eq!(lab.history(&run, "a"), "scheduled queued failed");
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn a_report_about_an_older_dispatch_is_dropped() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    let first = lab.run("a").dispatch().id;
    lab.run("a").ends_as(Outcome::Reschedule { after: secs(60) });
    lab.advance(secs(60));
    lab.report(first, 0, News::Ended(end(Outcome::Failed)));
    assert_eq!(lab.states(&run), "a=queued");
    assert_eq!(lab.driver.counts().stale, 1);
}

#[test]
fn a_report_about_an_attempt_that_is_over_is_dropped() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    lab.run("a").succeeds();
    lab.report(id, 0, News::Ended(end(Outcome::Failed)));
    lab.report(id, 0, started());
    assert_eq!(lab.states(&run), "a=success b=queued");
    assert_eq!(lab.driver.counts().stale, 2);
}

#[test]
fn a_report_about_a_dispatch_that_nobody_made_is_dropped() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    lab.report(DispatchId { n: 0, ..id }, 0, News::Ended(end(Outcome::Success)));
    lab.report(DispatchId { n: 2, ..id }, 0, News::Ended(end(Outcome::Success)));
    assert_eq!(lab.states(&run), "a=queued");
    assert_eq!(lab.driver.counts().stale, 2);
}

#[test]
fn the_same_report_twice_counts_once() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    let report = lab.report(id, 0, started());
    lab.put(Input::Reports(vec![report]));
    assert_eq!(lab.driver.counts().repeats, 1);
    let report = lab.report(id, 0, News::Ended(end(Outcome::Failed)));
    lab.put(Input::Reports(vec![report.clone(), report]));
    assert_eq!(lab.states(&run), "a=up_for_retry");
    assert_eq!(lab.history(&run, "a"), "scheduled queued running up_for_retry");
    assert_eq!(lab.journal.attempts.len(), 1);
    assert_eq!(lab.confirmed, 5, "each is confirmed, or its sender would go on");
}

#[test]
fn an_end_without_a_start_is_a_start_too() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.advance(secs(5));
    lab.run("a").succeeds();
    assert_eq!(lab.history(&run, "a"), "scheduled queued running success");
    assert!(lab.task_row(&run, "a").started_at.is_some());
}

#[test]
fn a_start_that_arrives_after_the_end_changes_nothing() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    lab.run("a").fails();
    lab.report(id, 0, started());
    assert_eq!(lab.states(&run), "a=up_for_retry");
}

#[test]
fn clearing_a_running_attempt_ends_it_and_starts_another() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    let first = lab.run("a").dispatch();
    lab.run("a").starts();
    lab.clear(&run, ["a"]);
    assert_eq!(lab.states(&run), "a=restarting");
    assert_eq!(lab.kills.iter().map(|kill| kill.id).collect::<Vec<_>>(), [first.id]);
    lab.confirm_kills();
    let second = lab.run("a").dispatch();
    assert_eq!((second.try_number, second.id.n), (2, 1));
    assert_eq!(lab.history(&run, "a"), "scheduled queued running restarting up_for_retry scheduled queued");
}

#[test]
fn a_success_that_arrives_while_restarting_does_not_count() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").starts();
    lab.clear(&run, ["a"]);
    lab.run("a").succeeds();
    assert_eq!(lab.states(&run), "a=queued");
    assert_eq!(lab.task_row(&run, "a").try_number, 2);
    // The kill was too late: its confirmation is about an attempt that is over.
    lab.confirm_kills();
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn slots_stay_taken_until_the_end_is_confirmed() {
    let mut lab = Lab::new();
    lab.executor("local", 1);
    lab.activate(dag("d").task(bash("a").priority(2)).task(bash("b")));
    let run = lab.trigger("d");
    lab.run("a").starts();
    lab.mark(&run, ["a"], TaskState::Success);
    assert_eq!(lab.states(&run), "a=success b=scheduled");
    lab.confirm_kills();
    assert_eq!(lab.states(&run), "a=success b=queued");
}

#[test]
fn what_was_committed_is_handed_over_again_after_a_crash() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b")));
    let run = lab.trigger("d");
    lab.run("a").starts();
    lab.crash();
    assert_eq!(lab.states(&run), "a=running b=queued");
    assert_eq!(lab.dispatched.len(), 2, "the same dispatches, no new ones");
    lab.run("a").succeeds();
    lab.run("b").succeeds();
    assert_eq!(lab.state(&run), RunState::Success);
}

#[test]
fn a_crash_while_restarting_asks_for_the_end_again() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").starts();
    lab.clear(&run, ["a"]);
    lab.crash();
    assert_eq!((lab.states(&run).as_str(), lab.kills.len()), ("a=restarting", 1));
    lab.confirm_kills();
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn what_an_executor_no_longer_knows_is_lost_and_tried_again() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)).task(bash("b")));
    let run = lab.trigger("d");
    lab.advance(secs(10));
    lab.run("a").starts();
    lab.advance(secs(10));
    let kept = lab.run("b").dispatch().id;
    lab.looks_around([(kept, 0)]);
    assert_eq!(lab.states(&run), "a=up_for_retry b=queued");
}

#[test]
fn what_no_executor_starts_goes_back_twice_and_then_fails() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(3)));
    let run = lab.trigger("d");
    for round in 1..=3 {
        assert_eq!(lab.states(&run), "a=queued");
        let row = lab.task_row(&run, "a");
        assert_eq!((row.try_number, row.dispatch_n, row.requeued), (1, round, round - 1));
        lab.advance(secs(599));
        lab.put(Input::Overdue);
        assert_eq!(lab.states(&run), "a=queued");
        assert_eq!(lab.kills.len(), 0);
        lab.advance(secs(1));
        lab.crash();
        lab.put(Input::Overdue);
        assert_eq!(lab.kills.len(), 1, "whoever has it must not start it any more");
        lab.confirm_kills();
    }
    assert_eq!(lab.states(&run), "a=failed", "retries are for what ran");
    let row = lab.task_row(&run, "a");
    assert_eq!(row.try_number, 1);
}

#[test]
fn what_has_started_is_never_overdue() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").starts();
    lab.advance(secs(10_000));
    lab.put(Input::Overdue);
    assert_eq!(lab.states(&run), "a=running");
}

#[test]
fn what_is_overdue_stays_where_it_is_until_its_executor_lets_it_go() {
    let mut lab = Lab::new();
    lab.executor("local", 1);
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    lab.advance(secs(600));
    lab.put(Input::Overdue);
    assert_eq!(lab.task_row(&run, "a").dispatch_n, 1, "it may have started, and nobody heard of it");
    lab.looks_around([(id, 0)]);
    assert_eq!(lab.task_row(&run, "a").dispatch_n, 1);
    lab.looks_around([]);
    assert_eq!(lab.task_row(&run, "a").dispatch_n, 1, "it may still be on its way, and must meet the kill");
    lab.confirm_kills();
    assert_eq!((lab.states(&run).as_str(), lab.task_row(&run, "a").dispatch_n), ("a=queued", 2));
}

#[test]
fn what_an_executor_holds_without_reason_is_ended() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")).task(bash("b")));
    lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    lab.run("a").succeeds();
    lab.advance(secs(10));
    let other = lab.run("b").dispatch().id;
    lab.looks_around([(id, 0), (other, 0)]);
    assert_eq!(lab.kills.iter().map(|kill| kill.id).collect::<Vec<_>>(), [id]);
}
