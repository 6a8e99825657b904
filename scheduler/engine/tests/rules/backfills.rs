//! Section 16: backfills.

use dags::model::TimetableKind;
use engine::{
    command::{Backfill, BackfillChange, Command, Refusal, Reprocess},
    driver::Input,
    journal::Loaded,
    state::RunState,
};
use serde_json::Value;

use crate::{builder::*, lab::*};

fn daily() -> DagBuilder {
    dag("d").cron("0 12 * * *").task(bash("a"))
}

fn backfill(lab: &mut Lab, from: u32, to: u32, change: impl FnOnce(&mut Backfill)) -> Result<Value, Refusal> {
    let mut spec = Backfill {
        dag_id: "d".parse().unwrap(),
        from: at(&format!("2025-12-{from:02}T00:00:00Z")),
        to: at(&format!("2025-12-{to:02}T23:00:00Z")),
        reprocess: Reprocess::None,
        reverse: false,
        max_active_runs: 2,
        conf: serde_json::Map::new(),
    };
    change(&mut spec);
    lab.request(Command::Backfill(spec))
}

fn change(lab: &mut Lab, change: BackfillChange) {
    lab.request(Command::ChangeBackfill { id: 1, change }).unwrap();
}

/// The days of the backfill's runs with their states, in order of their making.
fn days(lab: &Lab) -> String {
    let mut rows: Vec<_> = lab.journal.runs.values().filter(|row| row.backfill.is_some()).collect();
    rows.sort_by_key(|row| row.backfill);
    let days: Vec<String> = rows
        .iter()
        .map(|row| format!("{}={}", &row.logical_date.unwrap().to_string()[8..10], row.state))
        .collect();
    days.join(" ")
}

fn name(day: u32) -> String {
    format!("backfill__2025-12-{day:02}T12:00:00+00:00")
}

#[test]
fn dates_get_runs_in_order_a_few_at_a_time() {
    let mut lab = Lab::new();
    lab.activate(daily());
    let outcome = backfill(&mut lab, 1, 4, |_| {}).unwrap();
    assert_eq!(outcome["id"], 1);
    assert_eq!(days(&lab), "01=running 02=running");
    lab.run(&format!("{}/a", name(2))).succeeds();
    assert_eq!(days(&lab), "01=running 02=success 03=running");
    lab.crash();
    lab.run(&format!("{}/a", name(1))).fails();
    lab.run(&format!("{}/a", name(3))).succeeds();
    lab.run(&format!("{}/a", name(4))).succeeds();
    assert_eq!(days(&lab), "01=failed 02=success 03=success 04=success");
    let row = &lab.journal.backfills[&(TENANT, 1)];
    assert!(row.ended_at.is_some());
    assert_eq!((row.made, row.next_date), (4, None));
    let ordinals: Vec<_> = lab.journal.runs.values().filter_map(|row| row.backfill).map(|(_, n)| n).collect();
    assert_eq!(ordinals.iter().sum::<u32>(), 10);
}

#[test]
fn dates_can_go_backwards() {
    let mut lab = Lab::new();
    lab.activate(daily());
    backfill(&mut lab, 1, 3, |spec| spec.reverse = true).unwrap();
    assert_eq!(days(&lab), "03=running 02=running");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut lab = Lab::new();
    lab.activate(daily());
    let code = |outcome: Result<Value, Refusal>| outcome.unwrap_err().code;
    assert_eq!(code(backfill(&mut lab, 5, 4, |_| {})), "backfill.range");
    assert_eq!(
        code(backfill(&mut lab, 1, 1, |spec| spec.to = at("2027-01-01T00:00:00Z"))),
        "backfill.future"
    );
    assert_eq!(code(backfill(&mut lab, 1, 1, |spec| spec.max_active_runs = 0)), "backfill.max_active_runs");
    assert_eq!(code(backfill(&mut lab, 1, 1, |spec| spec.dag_id = "e".parse().unwrap())), "dag.not_found");
    backfill(&mut lab, 1, 1, |_| {}).unwrap();
    assert_eq!(code(backfill(&mut lab, 2, 2, |_| {})), "backfill.active");
    lab.activate(dag("d").task(bash("a")));
    assert_eq!(code(backfill(&mut lab, 2, 2, |_| {})), "backfill.not_periodic");
    let unknown = lab.request(Command::ChangeBackfill { id: 7, change: BackfillChange::Pause });
    assert_eq!(unknown.unwrap_err().code, "backfill.not_found");
}

#[test]
fn a_dag_that_depends_on_its_past_goes_forward_and_reprocesses() {
    let mut lab = Lab::new();
    lab.activate(dag("d").cron("0 12 * * *").task(bash("a").depends_on_past()));
    let code = |outcome: Result<Value, Refusal>| outcome.unwrap_err().code;
    assert_eq!(code(backfill(&mut lab, 1, 2, |_| {})), "backfill.reprocess");
    let reverse = |spec: &mut Backfill| (spec.reverse, spec.reprocess) = (true, Reprocess::Completed);
    assert_eq!(code(backfill(&mut lab, 1, 2, reverse)), "backfill.reverse");
    backfill(&mut lab, 1, 2, |spec| spec.reprocess = Reprocess::Completed).unwrap();
}

#[test]
fn dates_that_have_a_run_are_left_out() {
    let mut lab = Lab::new();
    lab.activate(daily());
    lab.trigger_for("d", "2025-12-02T12:00:00Z").unwrap();
    lab.run("a").fails();
    backfill(&mut lab, 1, 3, |_| {}).unwrap();
    assert_eq!(days(&lab), "01=running 03=running");
    assert_eq!(lab.state("r1"), RunState::Failed);
}

#[test]
fn reprocessing_runs_failed_or_finished_ones_again_and_leaves_those_in_flight() {
    for (reprocess, failed, succeeded) in [
        (Reprocess::None, RunState::Failed, RunState::Success),
        (Reprocess::Failed, RunState::Running, RunState::Success),
        (Reprocess::Completed, RunState::Running, RunState::Running),
    ] {
        let mut lab = Lab::new();
        lab.activate(daily());
        for day in 1..=3 {
            lab.trigger_for("d", &format!("2025-12-{day:02}T12:00:00Z")).unwrap();
        }
        lab.run("r1/a").fails();
        lab.run("r2/a").succeeds();
        backfill(&mut lab, 1, 3, |spec| (spec.reprocess, spec.max_active_runs) = (reprocess, 5)).unwrap();
        assert_eq!((lab.state("r1"), lab.state("r2")), (failed, succeeded), "{reprocess:?}");
        assert_eq!((lab.state("r3"), lab.run_row("r3").backfill), (RunState::Running, None));
    }
}

#[test]
fn its_limit_is_its_own_and_it_comes_after_other_runs() {
    let mut lab = Lab::new();
    lab.activate(daily().max_active_runs(1));
    let run = lab.trigger("d");
    backfill(&mut lab, 1, 4, |_| {}).unwrap();
    assert_eq!(days(&lab), "01=running 02=running", "other runs don't count against it");
    assert_eq!(lab.state(&run), RunState::Running, "and it doesn't against them");
    let second = lab.trigger("d");
    assert_eq!(lab.state(&second), RunState::Queued);
}

#[test]
fn pausing_starts_no_more_and_lets_running_ones_end() {
    let mut lab = Lab::new();
    lab.activate(daily());
    backfill(&mut lab, 1, 4, |_| {}).unwrap();
    change(&mut lab, BackfillChange::Pause);
    lab.run(&format!("{}/a", name(1))).succeeds();
    assert_eq!(days(&lab), "01=success 02=running");
    lab.crash();
    change(&mut lab, BackfillChange::Unpause);
    assert_eq!(days(&lab), "01=success 02=running 03=running");
}

#[test]
fn cancelling_fails_queued_ones_and_lets_running_ones_end() {
    let mut lab = Lab::new();
    lab.activate(daily());
    lab.pause("d", true);
    backfill(&mut lab, 1, 4, |_| {}).unwrap();
    assert_eq!(days(&lab), "01=queued 02=queued");
    change(&mut lab, BackfillChange::Cancel);
    assert_eq!(days(&lab), "01=failed 02=failed");
    assert!(lab.journal.backfills[&(TENANT, 1)].ended_at.is_some());
    lab.pause("d", false);
    backfill(&mut lab, 5, 8, |_| {}).unwrap();
    lab.request(Command::ChangeBackfill { id: 2, change: BackfillChange::Cancel }).unwrap();
    assert!(days(&lab).ends_with("05=running 06=running"), "{}", days(&lab));
    lab.run(&format!("{}/a", name(5))).succeeds();
    lab.run(&format!("{}/a", name(6))).succeeds();
    assert!(days(&lab).ends_with("05=success 06=success"), "{}", days(&lab));
}

#[test]
fn it_does_not_move_the_schedule() {
    let mut lab = Lab::new();
    lab.activate(daily());
    lab.advance(hours(13));
    let cursor = |lab: &Lab| lab.journal.dags.values().next().unwrap().cursor;
    let before = cursor(&lab);
    assert!(before.is_some());
    backfill(&mut lab, 1, 2, |_| {}).unwrap();
    assert_eq!(cursor(&lab), before);
    lab.advance(hours(24));
    assert!(lab.runs("d").contains("scheduled__2026-01-02T12:00:00+00:00"));
}

#[test]
fn a_range_without_dates_is_over_at_once() {
    let mut lab = Lab::new();
    lab.activate(dag("d").cron("0 0 1 1 *").task(bash("a")));
    backfill(&mut lab, 5, 6, |_| {}).unwrap();
    assert!(lab.journal.backfills[&(TENANT, 1)].ended_at.is_some());
    backfill(&mut lab, 5, 6, |_| {}).unwrap();
}

#[test]
fn a_date_that_gets_its_run_while_it_is_looked_up_is_left_out() {
    let mut lab = Lab::new();
    // The run for a day is made when the day is over.
    lab.activate(daily().cron("0 0 * * *").with(|dag| dag.schedule.timetable = TimetableKind::Interval));
    lab.advance(secs(3_600));
    lab.loads = Some(Vec::new());
    let day = at("2026-01-01T00:00:00Z");
    backfill(&mut lab, 1, 1, |spec| (spec.from, spec.to) = (day, day)).unwrap();
    lab.advance(secs(24 * 3_600));
    let runs = "scheduled__2026-01-01T00:00:00+00:00=running scheduled__2026-01-02T00:00:00+00:00=running";
    assert_eq!(lab.runs("d"), runs);
    // The database was asked before.
    let [load] = &lab.loads.take().unwrap()[..] else { panic!("one run was asked for") };
    lab.put(Input::Loaded(Box::new(Loaded::new(load.clone(), None))));
    assert_eq!(lab.runs("d"), runs);
    assert_eq!(lab.journal.backfills.values().next().unwrap().made, 0);
}
