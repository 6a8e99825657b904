//! Level-triggered repair: no state in which somebody else must act is for ever, and what is put right is said.

use dags::ids::ExecutorName;
use engine::{driver::Input, figures::Repair, state::TaskState};

use crate::{builder::*, lab::*};

fn repairs(lab: &Lab, what: Repair) -> u64 {
    lab.driver.engine().repairs()[what as usize]
}

fn repaired(lab: &Lab) -> Vec<String> {
    let steps = lab.journal.events.iter().flat_map(|event| &event.transitions);
    let repaired = steps.filter(|step| &*step.to == "repaired");
    repaired.map(|step| step.reason.as_deref().unwrap_or_default().to_owned()).collect()
}

/// Time passes as a shell sees it, which looks at the clock every second.
fn look(lab: &mut Lab, seconds: i64) {
    for _ in 0..seconds {
        lab.advance(secs(1));
    }
    lab.put(Input::Overdue);
}

#[test]
fn what_its_executor_does_not_have_is_handed_over_again_and_that_is_said() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.advance(secs(10));
    lab.looks_around([]);
    assert_eq!(repairs(&lab, Repair::HandedOverAgain), 1);
    assert_eq!(repaired(&lab), ["its executor didn't have it: handed over again"]);
    assert_eq!(
        lab.task_row(&run, "a").reason.as_deref(),
        Some("its executor didn't have it: handed over again")
    );
}

#[test]
fn an_executor_is_told_again_to_end_what_was_cleared() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").starts();
    lab.clear(&run, ["a"]);
    assert_eq!(lab.states(&run), "a=restarting");
    assert_eq!(lab.kills.len(), 1);
    // The order is lost.
    lab.kills.clear();
    look(&mut lab, 1);
    look(&mut lab, 58);
    assert_eq!(lab.kills.len(), 0, "its grace isn't over");
    look(&mut lab, 3);
    assert_eq!(lab.kills.len(), 1);
    assert!(repaired(&lab)[0].contains("hasn't said that it did"), "{:?}", repaired(&lab));
    lab.confirm_kills();
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn what_runs_on_an_executor_that_is_gone_is_lost_after_a_while() {
    let mut lab = Lab::new();
    lab.executor("old", 4);
    lab.activate(dag("d").task(bash("a").executor("old").retries(1)).task(bash("b")));
    let run = lab.trigger("d");
    lab.run("a").starts();
    lab.run("b").starts();
    lab.put(Input::Executor(ExecutorName::parse("old").unwrap(), None));
    look(&mut lab, 1);
    look(&mut lab, 59);
    assert_eq!(lab.states(&run), "a=running b=running", "it may come back");
    look(&mut lab, 2);
    assert_eq!(lab.states(&run), "a=up_for_retry b=running");
    assert!(repaired(&lab)[0].contains("executor `old` isn't there any more"), "{:?}", repaired(&lab));
    assert_eq!(
        lab.driver.engine().overview().ending,
        1,
        "should it come back with the attempt, that is ended"
    );
}

#[test]
fn that_we_were_away_ourselves_says_nothing_about_executors() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").starts();
    lab.put(Input::Executor(ExecutorName::parse("local").unwrap(), None));
    for _ in 0..10 {
        lab.put(Input::Overdue);
        lab.advance(secs(3_600));
    }
    assert_eq!(lab.states(&run), "a=running");
}

#[test]
fn an_executor_that_comes_back_in_time_has_lost_nothing() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    lab.run("a").starts();
    for _ in 0..5 {
        lab.put(Input::Executor(ExecutorName::parse("local").unwrap(), None));
        look(&mut lab, 50);
        lab.executor("local", 4);
        look(&mut lab, 50);
    }
    assert_eq!(lab.states(&run), "a=running");
    assert!(repaired(&lab).is_empty());
}

#[test]
fn a_question_without_an_answer_is_asked_again() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").when("{{ params.go }}")));
    let run = lab.trigger("d");
    assert_eq!(lab.questions.len(), 1);
    let first = lab.questions[0].id;
    lab.questions.clear();
    look(&mut lab, 1);
    look(&mut lab, 598);
    assert!(lab.questions.is_empty());
    look(&mut lab, 3);
    assert_eq!(lab.questions.iter().map(|question| question.id).collect::<Vec<_>>(), [first]);
    lab.put(Input::Answer(first, engine::Answer::Holds(true)));
    assert_eq!(lab.states(&run), "a=queued");
    // A late answer to the first question is an answer to nothing.
    lab.put(Input::Answer(first, engine::Answer::Holds(false)));
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn waiting_for_capacity_is_no_fault() {
    let mut lab = Lab::new();
    lab.executor("local", 0);
    lab.activate(dag("d").task(bash("a")));
    let run = lab.trigger("d");
    for _ in 0..10 {
        look(&mut lab, 600);
    }
    assert_eq!(lab.task_row(&run, "a").state, TaskState::Scheduled);
    assert!(repaired(&lab).is_empty(), "{:?}", repaired(&lab));
}
