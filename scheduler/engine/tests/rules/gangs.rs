//! Gangs: members that are placed, start and end by themselves, and the one state that follows from them.

use dags::ids::DispatchId;
use engine::{
    dispatch::{News, Outcome},
    driver::Input,
    state::{RunState, TaskState},
};

use crate::{builder::*, lab::*};

fn started() -> News {
    started_on("h")
}

/// A lab with a gang `a` of so many members, handed over.
fn gang(members: u32) -> (Lab, String, DispatchId) {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").gang(members)));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    (lab, run, id)
}

fn started_on(host: &str) -> News {
    News::Started { host: host.to_owned(), pid: Some(1) }
}

#[test]
fn it_runs_when_all_members_have_started_and_succeeds_when_all_have() {
    let (mut lab, run, id) = gang(3);
    lab.report(id, 0, started_on("x"));
    lab.report(id, 1, started_on("y"));
    assert_eq!(lab.states(&run), "a=queued");
    lab.report(id, 2, started_on("z"));
    assert_eq!(lab.states(&run), "a=running");
    lab.report(id, 0, News::Ended(end(Outcome::Success)));
    let report = lab.report(id, 1, News::Ended(end(Outcome::Success)));
    lab.put(Input::Reports(vec![report]));
    assert_eq!(lab.states(&run), "a=running", "the same member twice is one member");
    lab.report(id, 2, News::Ended(end(Outcome::Success)));
    assert_eq!(lab.states(&run), "a=success");
}

#[test]
fn each_member_has_a_row_with_its_host_and_its_end() {
    let (mut lab, run, id) = gang(2);
    lab.report(id, 0, started_on("x"));
    lab.report(id, 1, started_on("y"));
    lab.report(id, 1, News::Ended(end(Outcome::Success)));
    let rows: Vec<_> = lab.journal.members.values().collect();
    assert_eq!(rows.len(), 2);
    let hosts: Vec<_> = rows.iter().map(|row| (row.member, row.host.as_deref().unwrap())).collect();
    assert_eq!(hosts, [(0, "x"), (1, "y")]);
    assert_eq!(rows[0].end, None);
    assert_eq!(rows[1].end.as_ref().unwrap().outcome, Outcome::Success);
    let row = lab.task_row(&run, "a");
    assert_eq!((row.members, row.host.as_deref()), (2, Some("x")));
}

#[test]
fn a_single_member_needs_no_row_of_its_own() {
    let (mut lab, run, id) = gang(1);
    lab.report(id, 0, started_on("x"));
    lab.report(id, 0, News::Ended(end(Outcome::Success)));
    assert!(lab.journal.members.is_empty());
    assert_eq!(lab.task_row(&run, "a").host.as_deref(), Some("x"));
}

#[test]
fn a_crash_forgets_no_member() {
    let (mut lab, run, id) = gang(2);
    let (confirmed, forgotten) = (lab.confirmed, lab.forgotten);
    let first = lab.report(id, 0, News::Ended(end(Outcome::Success)));
    assert_eq!(lab.forgotten, forgotten, "its executor keeps it until the gang is over");
    assert_eq!(lab.confirmed, confirmed + 1, "the message that it came in isn't needed any more");
    lab.crash();
    lab.put(Input::Reports(vec![first]));
    lab.report(id, 1, News::Ended(end(Outcome::Success)));
    assert_eq!(lab.states(&run), "a=success");
    assert_eq!(lab.forgotten, forgotten + 2, "both may be forgotten now");
}

#[test]
fn the_end_of_a_member_that_was_stored_counts_after_a_crash() {
    let (mut lab, run, id) = gang(2);
    lab.report(id, 0, News::Ended(end(Outcome::Success)));
    lab.crash();
    // Nobody repeats the report of member 0: its host is gone since.
    lab.report(id, 1, News::Ended(end(Outcome::Success)));
    assert_eq!(lab.states(&run), "a=success");
}

#[test]
fn the_first_member_that_fails_ends_the_others() {
    let mut lab = Lab::new();
    lab.executor("local", 3);
    lab.activate(dag("d").task(bash("a").gang(3)).task(bash("b").priority(0)));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    lab.report(id, 1, News::Ended(end(Outcome::Failed)));
    assert_eq!(lab.states(&run), "a=queued b=scheduled", "the others hold their places until they ended");
    assert_eq!(lab.kills.iter().map(|kill| (kill.id, kill.members)).collect::<Vec<_>>(), [(id, 3)]);
    lab.report(id, 0, News::Ended(end(Outcome::Killed)));
    assert_eq!(lab.states(&run), "a=queued b=scheduled");
    lab.report(id, 2, News::Ended(end(Outcome::Killed)));
    assert_eq!(lab.states(&run), "a=failed b=queued");
}

#[test]
fn a_hand_over_that_broke_off_is_done_again_until_it_is_whole() {
    let (mut lab, run, id) = gang(3);
    // The executor got member 0 only, which started; then the service was killed.
    lab.report(id, 0, started());
    lab.handed_over.clear();
    lab.crash();
    assert_eq!(lab.states(&run), "a=queued");
    assert_eq!(lab.handed_over, [(id, 3)], "the whole gang; the executor knows whom it has");
    for member in 1..3 {
        lab.report(id, member, started());
    }
    assert_eq!(lab.states(&run), "a=running");
}

#[test]
fn a_member_that_never_arrived_is_handed_over_again() {
    let (mut lab, run, id) = gang(2);
    lab.report(id, 0, started());
    lab.advance(secs(60));
    lab.handed_over.clear();
    lab.looks_around([(id, 0)]);
    assert_eq!(lab.handed_over, [(id, 2)]);
    assert_eq!(lab.states(&run), "a=queued");
}

#[test]
fn a_gang_that_failed_half_way_isnt_made_whole() {
    let (mut lab, run, id) = gang(3);
    lab.report(id, 0, News::Ended(end(Outcome::Failed)));
    lab.handed_over.clear();
    lab.crash();
    assert!(lab.handed_over.is_empty(), "nobody else is started");
    assert_eq!(lab.kills.iter().map(|kill| kill.id).collect::<Vec<_>>(), [id]);
    lab.advance(secs(60));
    lab.looks_around([(id, 0)]);
    assert_eq!(lab.states(&run), "a=failed");
    assert_eq!(lab.state(&run), RunState::Failed);
}

#[test]
fn a_lost_member_ends_the_gang_and_the_next_try_is_whole() {
    let mut lab = Lab::new();
    lab.activate(dag("d").task(bash("a").gang(2).retries(1)));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    lab.report(id, 0, started());
    lab.report(id, 1, started());
    lab.advance(secs(60));
    lab.looks_around([(id, 0)]);
    assert_eq!(lab.states(&run), "a=running", "member 0 still runs");
    assert_eq!(lab.kills.iter().map(|kill| kill.id).collect::<Vec<_>>(), [id]);
    lab.report(id, 0, News::Ended(end(Outcome::Killed)));
    assert_eq!(lab.task_row(&run, "a").state, TaskState::UpForRetry);
    assert!(lab.task_row(&run, "a").reason.as_deref().unwrap().contains("member 1"));
}

#[test]
fn what_is_ended_holds_its_places_until_its_last_member_has_ended() {
    let mut lab = Lab::new();
    lab.executor("local", 2);
    lab.activate(dag("d").task(bash("a").gang(2).priority(2)).task(bash("b")));
    let run = lab.trigger("d");
    let id = lab.run("a").dispatch().id;
    lab.report(id, 0, started());
    lab.report(id, 1, started());
    lab.mark(&run, ["a"], TaskState::Success);
    lab.report(id, 0, News::Ended(end(Outcome::Killed)));
    // The end of member 0 is confirmed, so nobody repeats it.
    lab.crash();
    assert_eq!(lab.states(&run), "a=success b=scheduled");
    lab.report(id, 1, News::Ended(end(Outcome::Killed)));
    assert_eq!(lab.states(&run), "a=success b=queued");
}

#[test]
fn a_member_that_isnt_one_is_no_news() {
    let (mut lab, run, id) = gang(2);
    lab.report(id, 2, News::Ended(end(Outcome::Failed)));
    assert_eq!(lab.states(&run), "a=queued");
    assert_eq!(lab.driver.counts().stale, 1);
}
