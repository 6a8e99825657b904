//! Section 5: the runs that schedules make.

use dags::{
    ids::{DagId, RunName},
    model::{Missed, TimetableKind, When},
};
use engine::{command::Command, state::RunState};

use crate::{builder::*, lab::*};

/// The lab's clock starts at 2026-01-01T00:00:00Z, which isn't a tick of this.
fn hourly() -> DagBuilder {
    dag("d").cron("30 * * * *").task(empty("a"))
}

fn names(lab: &Lab) -> String {
    let runs = lab.runs("d");
    runs.replace("scheduled__2026-01-", "").replace(":00+00:00", "")
}

fn paused(lab: &Lab) -> bool {
    lab.journal.dags.values().any(|row| row.paused)
}

#[test]
fn each_tick_makes_a_run() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    assert_eq!(lab.runs("d"), "", "the first tick is yet to come");
    lab.advance(hours(2));
    assert_eq!(
        lab.runs("d"),
        "scheduled__2026-01-01T00:30:00+00:00=success scheduled__2026-01-01T01:30:00+00:00=success"
    );
    let row = lab.run_row("scheduled__2026-01-01T00:30:00+00:00");
    let tick = at("2026-01-01T00:30:00Z");
    assert_eq!((row.run_after, row.logical_date, row.interval), (tick, Some(tick), Some((tick, tick))));
}

#[test]
fn an_interval_run_stands_for_the_time_before_it() {
    let mut lab = Lab::new();
    lab.activate(hourly().with(|dag| dag.schedule.timetable = TimetableKind::Interval));
    lab.advance(hours(2));
    let row = lab.run_row("scheduled__2026-01-01T01:30:00+00:00");
    let (start, end) = (at("2026-01-01T00:30:00Z"), at("2026-01-01T01:30:00Z"));
    assert_eq!((row.run_after, row.logical_date, row.interval), (end, Some(start), Some((start, end))));
}

#[test]
fn catching_up_makes_a_run_for_each_missed_tick() {
    let mut lab = Lab::new();
    lab.activate(hourly().starts("2025-12-31T21:00:00Z").missed(Missed::All));
    let runs = "scheduled__2025-12-31T21:30:00+00:00=success scheduled__2025-12-31T22:30:00+00:00=success \
                scheduled__2025-12-31T23:30:00+00:00=success";
    assert_eq!(lab.runs("d"), runs);
}

#[test]
fn the_latest_missed_tick_makes_one_run() {
    let mut lab = Lab::new();
    lab.activate(hourly().starts("2025-12-01T00:00:00Z"));
    assert_eq!(lab.runs("d"), "scheduled__2025-12-31T23:30:00+00:00=success");
}

#[test]
fn missed_ticks_can_be_left_out() {
    let mut lab = Lab::new();
    lab.activate(hourly().starts("2025-12-01T00:00:00Z").missed(Missed::None));
    assert_eq!(lab.runs("d"), "");
    lab.advance(hours(1));
    assert_eq!(names(&lab), "01T00:30=success");
}

#[test]
fn unpausing_makes_one_run_for_what_was_missed() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    lab.advance(hours(1));
    lab.pause("d", true);
    lab.advance(hours(5));
    assert_eq!(names(&lab), "01T00:30=success");
    lab.pause("d", false);
    assert_eq!(names(&lab), "01T00:30=success 01T05:30=success");
    lab.advance(hours(1));
    assert_eq!(names(&lab), "01T00:30=success 01T05:30=success 01T06:30=success");
}

#[test]
fn unpausing_with_catching_up_makes_all() {
    let mut lab = Lab::new();
    lab.activate(hourly().missed(Missed::All));
    lab.advance(hours(1));
    lab.pause("d", true);
    lab.advance(hours(3));
    lab.pause("d", false);
    assert_eq!(names(&lab), "01T00:30=success 01T01:30=success 01T02:30=success 01T03:30=success");
}

#[test]
fn unpausing_within_the_period_makes_none() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    lab.advance(mins(40));
    lab.pause("d", true);
    lab.advance(mins(10));
    lab.pause("d", false);
    assert_eq!(names(&lab), "01T00:30=success");
}

#[test]
fn a_dag_that_starts_out_paused_makes_no_runs() {
    let mut lab = Lab::new();
    lab.activate_paused(hourly());
    lab.advance(hours(3));
    assert!(paused(&lab));
    assert_eq!(lab.runs("d"), "");
}

#[test]
fn a_stale_dag_makes_no_runs() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    lab.activate(dag("other"));
    lab.advance(hours(1));
    lab.retire("d");
    lab.advance(hours(3));
    assert_eq!(names(&lab), "01T00:30=success");
    lab.activate(hourly());
    assert_eq!(names(&lab), "01T00:30=success 01T03:30=success", "as after a pause");
}

#[test]
fn max_active_runs_holds_creation() {
    let mut lab = Lab::new();
    lab.activate(dag("d").cron("30 * * * *").max_active_runs(2).missed(Missed::All).task(bash("a")));
    lab.advance(hours(5));
    assert_eq!(names(&lab), "01T00:30=running 01T01:30=running");
    lab.run("scheduled__2026-01-01T00:30:00+00:00/a").succeeds();
    assert_eq!(names(&lab), "01T00:30=success 01T01:30=running 01T02:30=running");
}

#[test]
fn held_creation_goes_on_with_the_latest_tick() {
    let mut lab = Lab::new();
    lab.activate(dag("d").cron("30 * * * *").max_active_runs(1).task(bash("a")));
    lab.advance(hours(5));
    assert_eq!(names(&lab), "01T00:30=running");
    lab.run("a").succeeds();
    // Ticks that came while there was no room were missed.
    assert_eq!(names(&lab), "01T00:30=success 01T04:30=running");
}

#[test]
fn manual_runs_count_as_active_and_do_not_move_the_schedule() {
    let mut lab = Lab::new();
    lab.activate(dag("d").cron("30 * * * *").max_active_runs(1).task(bash("a")));
    let run = lab.trigger("d");
    lab.advance(mins(45));
    assert_eq!(lab.runs("d"), "r1=running");
    lab.run("a").succeeds();
    assert_eq!(names(&lab), "r1=success 01T00:30=running");
    assert_eq!(lab.state(&run), RunState::Success);
    lab.run("a").succeeds();
    lab.trigger_for("d", "2026-01-01T05:00:00Z").unwrap();
    lab.run("a").succeeds();
    lab.advance(hours(1));
    assert_eq!(names(&lab), "r1=success 01T00:30=success r2=success 01T01:30=running");
}

#[test]
fn a_date_that_a_manual_run_stands_for_makes_no_other_run() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    lab.trigger_for("d", "2026-01-01T01:30:00Z").unwrap();
    lab.advance(hours(3));
    assert_eq!(names(&lab), "r1=success 01T00:30=success 01T02:30=success");
    lab.crash();
    lab.trigger_for("d", "2026-01-01T04:30:00Z").unwrap();
    lab.crash();
    lab.advance(hours(3));
    assert_eq!(
        names(&lab),
        "r1=success 01T00:30=success 01T02:30=success r2=success 01T03:30=success 01T05:30=success"
    );
}

#[test]
fn a_date_that_has_a_run_is_refused() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    lab.advance(hours(1));
    let refusal = lab.trigger_for("d", "2026-01-01T00:30:00Z").unwrap_err();
    assert_eq!(refusal.code, "run.date_exists");
    lab.trigger_for("d", "2026-01-01T00:31:00Z").unwrap();
    assert_eq!(lab.trigger_for("d", "2026-01-01T00:31:00Z").unwrap_err().code, "run.date_exists");
}

#[test]
fn a_name_that_has_a_run_is_refused() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    let name =
        |trigger: &mut engine::command::Trigger| trigger.run_name = Some(RunName::parse("mine").unwrap());
    lab.trigger_with("d", name).unwrap();
    assert_eq!(lab.trigger_with("d", name).unwrap_err().code, "run.exists");
    lab.crash();
    assert_eq!(lab.trigger_with("d", name).unwrap_err().code, "run.exists");
}

#[test]
fn a_name_of_another_kind_of_run_is_refused() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    for name in ["scheduled__2026-01-01T01:30:00+00:00", "backfill__x", "asset_triggered__x"] {
        let refusal = lab.trigger_with("d", |trigger| trigger.run_name = Some(RunName::parse(name).unwrap()));
        assert_eq!(refusal.unwrap_err().code, "run.name_reserved", "{name}");
    }
    lab.trigger_with("d", |trigger| trigger.run_name = Some(RunName::parse("manual__x").unwrap())).unwrap();
    lab.trigger_with("d", |trigger| trigger.run_name = Some(RunName::parse("scheduledx").unwrap())).unwrap();
}

#[test]
fn runs_by_hand_have_different_names() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    let due = lab.now;
    let one = lab.trigger_with("d", |trigger| trigger.run_after = Some(due)).unwrap();
    let two = lab.trigger_with("d", |trigger| trigger.run_after = Some(due)).unwrap();
    assert_ne!(one, two);
    assert!(one.starts_with("manual__2026-01-01T00:00:00"), "{one}");
}

#[test]
fn an_end_date_is_the_last_tick() {
    let mut lab = Lab::new();
    lab.activate(hourly().ends("2026-01-01T01:30:00Z"));
    lab.advance(hours(5));
    assert_eq!(names(&lab), "01T00:30=success 01T01:30=success");
}

#[test]
fn once_is_one_run() {
    let mut lab = Lab::new();
    lab.activate(dag("d").when(When::Once).task(empty("a")));
    lab.advance(hours(5));
    lab.crash();
    lab.pause("d", true);
    lab.pause("d", false);
    assert_eq!(lab.runs("d").split(' ').count(), 1, "{}", lab.runs("d"));
}

#[test]
fn continuous_runs_follow_one_another() {
    let mut lab = Lab::new();
    lab.activate(dag("d").when(When::Continuous).max_active_runs(1).task(bash("a")));
    assert_eq!(lab.runs("d").matches("running").count(), 1);
    lab.advance(hours(1));
    assert_eq!(lab.runs("d").split(' ').count(), 1);
    lab.run("a").fails();
    assert_eq!(lab.runs("d").split(' ').count(), 2);
    assert_eq!((lab.runs("d").matches("failed").count(), lab.runs("d").matches("running").count()), (1, 1));
    lab.crash();
    assert_eq!(lab.runs("d").split(' ').count(), 2);
}

#[test]
fn a_fixed_distance_is_kept() {
    let mut lab = Lab::new();
    lab.activate(dag("d").when(When::Every(hours(2))).task(empty("a")));
    lab.advance(hours(6));
    let due: Vec<String> = lab.journal.runs.values().map(|row| row.run_after.to_string()).collect();
    assert!(due.len() >= 3, "{due:?}");
}

#[test]
fn an_edited_schedule_goes_on_from_the_last_run() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    lab.advance(hours(2));
    lab.activate(dag("d").cron("15 */2 * * *").task(empty("a")));
    lab.advance(hours(3));
    assert_eq!(names(&lab), "01T00:30=success 01T01:30=success 01T02:15=success 01T04:15=success");
}

#[test]
fn a_bundle_with_the_same_version_leaves_the_schedule_alone() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    lab.advance(mins(40));
    lab.activate(hourly());
    lab.advance(mins(60));
    assert_eq!(names(&lab), "01T00:30=success 01T01:30=success");
}

#[test]
fn new_runs_follow_the_newest_version_and_old_ones_stay() {
    let mut lab = Lab::new();
    let first = lab.activate(dag("d").task(bash("a")));
    let old = lab.trigger("d");
    let second = lab.activate(dag("d").task(bash("a")).task(bash("b").needs(["a"])));
    let new = lab.trigger("d");
    assert_eq!((&lab.run_row(&old).version, &lab.run_row(&new).version), (&first, &second));
    lab.crash();
    lab.run("r1/a").succeeds();
    lab.run("r2/a").succeeds();
    assert_eq!((lab.states(&old).as_str(), lab.states(&new).as_str()), ("a=success", "a=success b=queued"));
}

#[test]
fn the_first_tick_of_a_dag_without_a_start_date_survives_an_outage() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    lab.now = lab.now.after(hours(2));
    lab.crash();
    assert_eq!(names(&lab), "01T00:30=success 01T01:30=success");
}

#[test]
fn a_crash_makes_no_run_twice_and_loses_none() {
    let mut lab = Lab::new();
    lab.activate(hourly().missed(Missed::All));
    lab.advance(mins(40));
    lab.crash();
    lab.now = lab.now.after(hours(2));
    lab.crash();
    assert_eq!(names(&lab), "01T00:30=success 01T01:30=success 01T02:30=success");
}

#[test]
fn the_clock_running_back_makes_no_run_twice() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    lab.advance(hours(2));
    lab.now = at("2026-01-01T00:10:00Z");
    lab.put(engine::driver::Input::Tick);
    lab.crash();
    lab.advance(hours(1));
    assert_eq!(names(&lab), "01T00:30=success 01T01:30=success 01T02:30=success");
    let ends: Vec<_> = lab.journal.runs.values().map(|row| (row.started_at, row.ended_at)).collect();
    assert!(ends.iter().all(|(start, end)| start <= end));
}

#[test]
fn deleting_runs_does_not_move_the_schedule() {
    let mut lab = Lab::new();
    lab.activate(hourly().missed(Missed::All));
    lab.advance(hours(2));
    let run_name = RunName::parse("scheduled__2026-01-01T01:30:00+00:00").unwrap();
    lab.request(Command::DeleteRun { dag_id: DagId::parse("d").unwrap(), run_name }).unwrap();
    assert_eq!(names(&lab), "01T00:30=success");
    lab.advance(hours(1));
    lab.crash();
    assert_eq!(names(&lab), "01T00:30=success 01T02:30=success");
}

#[test]
fn many_dags_due_at_once_all_get_their_runs() {
    let mut lab = Lab::with(|config| config.step_transitions = 10);
    for n in 0..50 {
        lab.activate(dag(&format!("d{n:02}")).cron("30 * * * *").task(empty("a")));
    }
    lab.advance(hours(1));
    assert_eq!(lab.journal.runs.values().filter(|row| row.state == RunState::Success).count(), 50);
}

#[test]
fn the_next_run_is_told() {
    let mut lab = Lab::new();
    lab.activate(hourly());
    let next = |lab: &Lab| lab.journal.dags.values().next().unwrap().next.map(|next| next.run_after);
    assert_eq!(next(&lab), Some(at("2026-01-01T00:30:00Z")));
    lab.advance(mins(31));
    assert_eq!(next(&lab), Some(at("2026-01-01T01:30:00Z")));
    lab.pause("d", true);
    assert_eq!(next(&lab), None);
}
