//! Section 8: retries.

use dags::model::{TaskEvent, TaskNotify};
use engine::{dispatch::Outcome, state::RunState};

use crate::{builder::*, lab::*};

#[test]
fn a_failed_try_is_repeated_as_often_as_the_task_says() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(2)));
    let run = lab.trigger("d");
    for number in 1..=2 {
        assert_eq!(lab.run("a").dispatch().try_number, number);
        lab.run("a").fails();
        assert_eq!(lab.states(&run), "a=up_for_retry");
        lab.advance(secs(300));
    }
    lab.run("a").fails();
    assert_eq!((lab.states(&run).as_str(), lab.state(&run)), ("a=failed", RunState::Failed));
    let tries: Vec<u32> = lab.journal.attempts.iter().map(|attempt| attempt.row.try_number).collect();
    assert_eq!(tries, [1, 2], "the third is the instance itself");
    assert_eq!(lab.task_row(&run, "a").try_number, 3);
}

#[test]
fn a_task_without_retries_fails_at_once() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").fails();
    assert_eq!(lab.states(&run), "a=failed");
}

#[test]
fn a_constant_wait_is_counted_from_the_end_of_the_try() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1).retry_delay(mins(10))));
    let run = lab.trigger("d");
    lab.advance(hours(2));
    lab.run("a").fails();
    let row = lab.task_row(&run, "a");
    assert_eq!(row.wake_at.unwrap().since(row.ended_at.unwrap()), mins(10));
    lab.advance(secs(599));
    assert!(!lab.holds("a"));
    lab.advance(secs(1));
    assert!(lab.holds("a"));
}

#[test]
fn a_growing_wait_lies_between_the_backoff_and_twice_it() {
    let mut lab = Lab::new();
    lab.activate(
        dag("d").task(bash("a").retries(3).retry_delay(mins(10)).with(|task| task.retry_backoff = 2.0)),
    );
    let run = lab.trigger("d");
    for backoff in [mins(10), mins(20), mins(40)] {
        lab.run("a").fails();
        let row = lab.task_row(&run, "a");
        let wait = row.wake_at.unwrap().since(row.ended_at.unwrap());
        assert!(backoff <= wait && wait.0 < backoff.0 * 2, "{wait} after {backoff}");
        lab.advance(wait);
    }
}

#[test]
fn a_wait_is_capped() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(9).retry_delay(mins(10)).with(|task| {
        (task.retry_backoff, task.max_retry_delay) = (10.0, Some(mins(15)));
    })));
    let run = lab.trigger("d");
    for _ in 0..3 {
        lab.run("a").fails();
        let row = lab.task_row(&run, "a");
        assert!(row.wake_at.unwrap().since(row.ended_at.unwrap()) <= mins(15));
        lab.advance(mins(15));
    }
}

#[test]
fn a_retry_without_a_wait_comes_at_once() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1).retry_delay(secs(0))));
    let run = lab.trigger("d");
    lab.run("a").fails();
    lab.advance(secs(1));
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn failing_for_good_leaves_tries_unused() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(5)));
    let run = lab.trigger("d");
    lab.run("a").ends_as(Outcome::FailedForGood);
    assert_eq!(lab.states(&run), "a=failed");
}

#[test]
fn timeouts_losses_and_false_starts_are_tried_again() {
    for outcome in [Outcome::TimedOut, Outcome::Lost, Outcome::NotStarted] {
        let mut lab = Lab::new();
        lab.activate(dag("d").task(bash("a").retries(1)));
        let run = lab.trigger("d");
        lab.run("a").ends_as(outcome);
        assert_eq!(lab.states(&run), "a=up_for_retry");
    }
}

#[test]
fn a_skip_ends_the_tries() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(5)));
    let run = lab.trigger("d");
    lab.run("a").skips();
    assert_eq!(lab.states(&run), "a=skipped");
}

#[test]
fn a_retry_survives_a_crash() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    let run = lab.trigger("d");
    lab.run("a").fails();
    lab.advance(secs(100));
    lab.crash();
    assert_eq!(lab.states(&run), "a=up_for_retry");
    lab.advance(secs(199));
    assert!(!lab.holds("a"));
    lab.advance(secs(1));
    assert!(lab.holds("a"));
}

#[test]
fn a_retry_that_came_due_during_an_outage_starts_after_it() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    let run = lab.trigger("d");
    lab.run("a").fails();
    lab.now = lab.now.after(hours(9));
    lab.crash();
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn a_cleared_task_has_its_retries_again() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1)));
    let run = lab.trigger("d");
    lab.run("a").fails();
    lab.advance(secs(300));
    lab.run("a").fails();
    assert_eq!(lab.states(&run), "a=failed");
    lab.clear(&run, ["a"]);
    let row = lab.task_row(&run, "a");
    assert_eq!((row.try_number, row.max_tries), (3, 3), "the number of the try goes on");
    lab.run("a").fails();
    assert_eq!(lab.states(&run), "a=up_for_retry");
    lab.advance(secs(300));
    lab.run("a").fails();
    assert_eq!(lab.states(&run), "a=failed");
}

#[test]
fn a_cleared_task_without_retries_has_one_try() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    for _ in 0..3 {
        lab.run("a").fails();
        assert_eq!(lab.states(&run), "a=failed");
        lab.clear(&run, ["a"]);
    }
}

#[test]
fn each_retry_and_the_last_failure_are_told() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").retries(1).with(|task| {
        let notify = |on, notify: &str| TaskNotify { on, notify: notify.to_owned() };
        task.notify = vec![
            notify(TaskEvent::Retry, "chat"),
            notify(TaskEvent::Failure, "mail"),
            notify(TaskEvent::Success, "none"),
        ];
    })));
    lab.trigger("d");
    lab.run("a").fails();
    lab.advance(secs(300));
    lab.run("a").fails();
    let told: Vec<String> =
        lab.alerts.iter().map(|alert| format!("{} {}", alert.route, alert.what.as_str())).collect();
    assert_eq!(told, ["chat retry", "mail failure"]);
}
