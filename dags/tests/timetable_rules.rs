//! What a schedule means beyond the vectors: missed runs, bounds, the schedules without ticks, edits, backfills.

#![cfg(test)]

use dags::{
    model::{AssetCondition, Missed, OnGap, OnOverlap, Schedule, TimetableKind, When},
    time::{Span, Timestamp},
    timetable::{Bounds, DataInterval, InvalidSchedule, Planned, Timetable},
};

fn at(text: &str) -> Timestamp {
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { format!("{text}:00Z") };
    text.parse().unwrap()
}

fn crons(expressions: &[&str]) -> Schedule {
    Schedule {
        when: When::Crons(expressions.iter().map(ToString::to_string).collect()),
        timezone: "UTC".into(),
        timetable: TimetableKind::Trigger,
        on_gap: OnGap::default(),
        on_overlap: OnOverlap::default(),
        missed: Missed::Latest,
        max_lateness: None,
    }
}

fn of(when: When) -> Schedule {
    Schedule { when, ..crons(&[]) }
}

fn every(text: &str) -> Schedule {
    of(When::Every(text.parse().unwrap()))
}

fn build(schedule: &Schedule, start: Option<&str>, end: Option<&str>) -> Timetable {
    Timetable::new(schedule, Bounds { start_date: start.map(at), end_date: end.map(at) }).unwrap()
}

fn hours(n: i64) -> Span {
    Span::seconds(n * 3600)
}

#[test]
fn missed_none_waits_for_the_next_tick() {
    let schedule = Schedule { missed: Missed::None, ..crons(&["@daily"]) };
    let table = build(&schedule, Some("2026-01-01"), None);
    let last = Planned::at(at("2026-01-02"));
    assert_eq!(table.next(Some(&last), at("2026-01-05T00:01")), Some(Planned::at(at("2026-01-06"))));
    assert_eq!(table.next(Some(&last), at("2026-01-05")), Some(Planned::at(at("2026-01-05"))));
    assert_eq!(table.next(Some(&last), at("2026-01-02")), Some(Planned::at(at("2026-01-03"))));
    assert_eq!(table.next(None, at("2025-12-24")), Some(Planned::at(at("2026-01-01"))));

    let interval = Schedule { timetable: TimetableKind::Interval, ..schedule.clone() };
    let next = build(&interval, None, None).next(None, at("2026-01-05T06:00"));
    assert_eq!(next, Some(Planned::over(at("2026-01-05"), at("2026-01-06"))));

    let period = Schedule { when: When::Every(hours(6)), ..schedule };
    let last = Planned::at(at("2026-01-02T01:00"));
    let table = build(&period, None, None);
    assert_eq!(table.next(Some(&last), at("2026-01-05T06:00")), Some(Planned::at(at("2026-01-05T07:00"))));
    assert_eq!(table.next(None, at("2026-01-05T06:00")), Some(Planned::at(at("2026-01-05T06:00"))));
}

#[test]
fn a_run_that_would_be_too_late_is_left_out() {
    let (last, now) = (Planned::at(at("2026-01-02")), at("2026-01-05T06:00"));
    for (missed, lateness, next) in [
        (Missed::All, 30, "2026-01-04"),
        (Missed::All, 1000, "2026-01-03"),
        (Missed::All, 6, "2026-01-05"),
        (Missed::Latest, 6, "2026-01-05"),
        (Missed::Latest, 5, "2026-01-06"),
        (Missed::None, 6, "2026-01-05"),
        (Missed::None, 5, "2026-01-06"),
    ] {
        let schedule = Schedule { missed, max_lateness: Some(hours(lateness)), ..crons(&["@daily"]) };
        let planned = build(&schedule, None, None).next(Some(&last), now);
        assert_eq!(planned, Some(Planned::at(at(next))), "{missed} {lateness}");

        let schedule =
            Schedule { when: When::Every(hours(24)), timetable: TimetableKind::Interval, ..schedule };
        let last = Planned::over(at("2026-01-01"), at("2026-01-02"));
        let planned = build(&schedule, None, None).next(Some(&last), now);
        assert_eq!(planned, Some(Planned::over(at(next).before(hours(24)), at(next))), "{missed} {lateness}");
    }
    let once = Schedule { max_lateness: Some(hours(1)), ..of(When::Once) };
    let table = build(&once, Some("2026-01-01"), None);
    assert_eq!(table.next(None, at("2026-01-01T01:00")), Some(Planned::at(at("2026-01-01"))));
    assert_eq!(table.next(None, at("2026-01-01T01:01")), None);
}

#[test]
fn the_end_date_counts_ticks_or_the_starts_of_intervals() {
    let trigger = crons(&["@daily"]);
    let interval = Schedule { timetable: TimetableKind::Interval, ..trigger.clone() };
    let table = build(&trigger, None, Some("2026-01-03"));
    assert_eq!(
        table.next(Some(&Planned::at(at("2026-01-02"))), at("2026-01-02")),
        Some(Planned::at(at("2026-01-03")))
    );
    assert_eq!(table.next(Some(&Planned::at(at("2026-01-03"))), at("2026-01-03")), None);
    let table = build(&interval, None, Some("2026-01-03"));
    let last = Planned::over(at("2026-01-02"), at("2026-01-03"));
    let third = Planned::over(at("2026-01-03"), at("2026-01-04"));
    assert_eq!(table.next(Some(&last), at("2026-01-03")), Some(third));
    assert_eq!(table.next(Some(&third), at("2026-01-04")), None);
}

#[test]
fn once_and_never() {
    let table = build(&of(When::Once), None, None);
    let now = at("2026-01-05");
    assert_eq!(table.next(None, now), Some(Planned::at(now)));
    assert_eq!(table.next(Some(&Planned::at(now)), now), None);
    let dated = build(&of(When::Once), Some("2026-01-01"), Some("2026-01-01"));
    assert_eq!(dated.next(None, now), Some(Planned::at(at("2026-01-01"))));
    assert_eq!(build(&of(When::Once), Some("2026-01-02"), Some("2026-01-01")).next(None, now), None);

    let assets = AssetCondition::Asset("orders".into());
    for when in [When::Never, When::Assets(assets.clone())] {
        let table = build(&of(when), Some("2026-01-01"), None);
        assert_eq!(table.next(None, now), None);
        assert!(!table.is_periodic());
        assert_eq!(table.ticks_between(at("2026-01-01"), now).count(), 0);
        assert_eq!(table.manual_interval(now), Some(DataInterval { start: now, end: now }));
    }
    let both = build(&of(When::AssetsOrCrons { assets, crons: vec!["@daily".into()] }), None, None);
    assert!(both.is_periodic());
    assert_eq!(both.next(None, at("2026-01-05T06:00")), Some(Planned::at(at("2026-01-06"))));
}

#[test]
fn continuous_runs_follow_each_other() {
    let table = build(&of(When::Continuous), None, Some("2026-02-01"));
    let first = table.next(None, at("2026-01-05")).unwrap();
    assert_eq!(first, Planned::at(at("2026-01-05")));
    let second = table.next(Some(&first), at("2026-01-05T01:00")).unwrap();
    assert_eq!(second.run_after, at("2026-01-05T01:00"));
    assert_ne!(second.logical_date, first.logical_date);
    let third = table.next(Some(&second), at("2026-01-05T03:00")).unwrap();
    assert_eq!(third, Planned::over(at("2026-01-05T01:00"), at("2026-01-05T03:00")));
    assert_eq!(table.next(Some(&third), at("2026-02-01T00:01")), None);
    let later = build(&of(When::Continuous), Some("2026-03-01"), None);
    assert_eq!(later.next(None, at("2026-01-05")), Some(Planned::at(at("2026-03-01"))));
}

#[test]
fn several_crons_are_one_schedule() {
    let schedule = crons(&["0 6 * * *", "0 6,18 * * 1", "30 6 * * *"]);
    let table = build(&schedule, None, None);
    let monday: Vec<_> =
        table.ticks_between(at("2026-01-05"), at("2026-01-06")).map(|p| p.run_after).collect();
    assert_eq!(monday, [at("2026-01-05T06:00"), at("2026-01-05T06:30"), at("2026-01-05T18:00")]);
    let last = Planned::at(at("2026-01-05T06:00"));
    let next = |missed, now| {
        build(&Schedule { missed, ..schedule.clone() }, None, None)
            .next(Some(&last), at(now))
            .unwrap()
            .run_after
    };
    assert_eq!(next(Missed::All, "2026-01-07"), at("2026-01-05T06:30"));
    assert_eq!(next(Missed::Latest, "2026-01-07"), at("2026-01-06T06:30"));
    assert_eq!(next(Missed::Latest, "2026-01-05T06:10"), at("2026-01-05T06:30"));
}

#[test]
fn a_coarser_schedule_goes_on_with_its_next_period() {
    // Airflow 3.2 stopped such a DAG for ever: the day's start was the logical date of the last hourly run.
    let daily = Schedule { timetable: TimetableKind::Interval, missed: Missed::All, ..crons(&["@daily"]) };
    let table = build(&daily, None, None);
    for hour in ["2026-05-04T00:00", "2026-05-04T05:00"] {
        let hourly = Planned::over(at(hour), at(hour).after(hours(1)));
        let next = table.next(Some(&hourly), at("2026-05-04T08:00"));
        assert_eq!(next, Some(Planned::over(at("2026-05-05"), at("2026-05-06"))));
    }
    // The other way: the last daily run ends where the hours begin.
    let hourly = Schedule { when: When::Crons(vec!["@hourly".into()]), ..daily };
    let last = Planned::over(at("2026-05-04"), at("2026-05-05"));
    let next = build(&hourly, None, None).next(Some(&last), at("2026-05-05T08:00"));
    assert_eq!(next, Some(Planned::over(at("2026-05-05"), at("2026-05-05T01:00"))));
}

#[test]
fn a_half_hour_overlap_keeps_every_quarter_past() {
    // Airflow answers 15:15Z, 01:45 on the wall, and then its interval timetable raises.
    let schedule = Schedule { timezone: "Australia/Lord_Howe".into(), ..crons(&["15 * * * *"]) };
    for timetable in [TimetableKind::Trigger, TimetableKind::Interval] {
        let table = build(&Schedule { timetable, ..schedule.clone() }, None, None);
        let ticks: Vec<_> = table
            .ticks_between(at("2026-04-04T13:00"), at("2026-04-04T17:00"))
            .map(|planned| planned.logical_date.unwrap())
            .collect();
        // 00:15, 01:15 (+11:00), 02:15, 03:15 (+10:30): the repeated half hour from 01:30 has no quarter past.
        let expected = ["2026-04-04T13:15", "2026-04-04T14:15", "2026-04-04T15:45", "2026-04-04T16:45"];
        assert_eq!(ticks, expected.map(at));
    }
}

#[test]
fn manual_runs_stand_for_the_last_complete_period() {
    let interval = |schedule| Schedule { timetable: TimetableKind::Interval, ..schedule };
    let daily = build(&interval(crons(&["@daily"])), None, None);
    let ninth = Some(DataInterval { start: at("2026-01-09"), end: at("2026-01-10") });
    assert_eq!(daily.manual_interval(at("2026-01-10T06:00")), ninth);
    assert_eq!(daily.manual_interval(at("2026-01-10")), ninth);
    let period = build(&interval(every("6h")), None, None);
    let expected = DataInterval { start: at("2026-01-10T01:00"), end: at("2026-01-10T07:00") };
    assert_eq!(period.manual_interval(at("2026-01-10T07:00")), Some(expected));
}

#[test]
fn a_backfill_stays_in_range_and_bounds() {
    let daily = crons(&["@daily"]);
    let dates = |table: &Timetable, from, to| -> Vec<String> {
        table.ticks_between(at(from), at(to)).map(|p| p.logical_date.unwrap().to_string()).collect()
    };
    let table = build(&daily, Some("2026-01-02"), Some("2026-01-04"));
    assert_eq!(
        dates(&table, "2026-01-01", "2026-01-09"),
        ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"]
    );
    assert_eq!(dates(&table, "2026-01-03T00:01", "2026-01-03T23:00").len(), 0);
    assert_eq!(dates(&table, "2026-01-04", "2026-01-03").len(), 0);
    // Fixed periods keep to the start date's grid.
    let table = build(&every("1d"), Some("2026-01-01T09:00"), None);
    assert_eq!(
        dates(&table, "2026-01-05", "2026-01-06T09:00"),
        ["2026-01-05T09:00:00Z", "2026-01-06T09:00:00Z"]
    );
}

#[test]
fn rare_days() {
    let next = |cron: &str, now| {
        build(&crons(&[cron]), None, None).next(Some(&Planned::at(at(now))), at(now)).unwrap().run_after
    };
    assert_eq!(next("0 0 29 2 *", "2096-03-01"), at("2104-02-29"));
    assert_eq!(next("0 0 * 2 5#5", "2008-03-01"), at("2036-02-29"));
    assert_eq!(next("0 0 31 * *", "2026-01-31"), at("2026-03-31"));
    assert_eq!(next("0 0 L 2 *", "2026-03-01"), at("2027-02-28"));
    assert_eq!(next("0 0 LW * *", "2026-01-01"), at("2026-01-30"));
    assert_eq!(next("0 0 1W 8 *", "2026-01-01"), at("2026-08-03"));
    assert_eq!(next("0 0 * * 5L", "2026-01-01"), at("2026-01-30"));
    assert_eq!(next("0 0 * * 1#5", "2026-01-01"), at("2026-03-30"));
    assert_eq!(next("30 6 * * * 15", "2026-01-01"), Timestamp(at("2026-01-01T06:30").0 + 15_000_000));
}

#[test]
fn what_cannot_be_a_schedule_says_why() {
    let error = |schedule: &Schedule| Timetable::new(schedule, Bounds::default()).unwrap_err();
    insta::assert_snapshot!(error(&crons(&["0 0 31 2 *"])), @"cron expression `0 0 31 2 *` never fires: no day within 41 years matches its day and month");
    insta::assert_snapshot!(error(&crons(&["0 25 * * *"])), @"cron expression `0 25 * * *`: the hour `25` is out of range: 0 to 23");
    insta::assert_snapshot!(error(&Schedule { timezone: "Europe/Belin".into(), ..crons(&["@daily"]) }), @"unknown time zone `Europe/Belin` (did you mean `Europe/Berlin`?): use an IANA name such as `Europe/Berlin` or `UTC`");
    insta::assert_snapshot!(error(&Schedule { timezone: "tokyo".into(), ..of(When::Never) }), @"unknown time zone `tokyo` (did you mean `Asia/Tokyo`?): use an IANA name such as `Europe/Berlin` or `UTC`");
    insta::assert_snapshot!(error(&every("500ms")), @"the period 500ms is too short: at least 1s; for runs back to back write `continuous`");
    assert_eq!(error(&crons(&[])), InvalidSchedule::NoCron);
    assert!(matches!(
        error(&Schedule { timezone: "qqq".into(), ..of(When::Once) }),
        InvalidSchedule::UnknownZone { suggestion: None, .. }
    ));
}

#[test]
fn instants_at_the_end_of_the_calendar_are_no_panic() {
    let table = build(&crons(&["@daily"]), None, None);
    for now in [
        Timestamp::MIN,
        Timestamp::MAX,
        at("9990-12-31"),
        Timestamp(253_402_207_200_000_000),
        Timestamp(-377_705_023_201_000_000),
    ] {
        for kind in [TimetableKind::Trigger, TimetableKind::Interval] {
            for schedule in [crons(&["@daily"]), every("1d")] {
                let table = build(
                    &Schedule { timetable: kind, timezone: "Europe/Berlin".into(), ..schedule },
                    None,
                    None,
                );
                table.next(None, now);
                table.next(Some(&Planned::at(now)), now);
                table.manual_interval(now);
            }
        }
    }
    assert_eq!(table.next(None, Timestamp::MAX), None);
}
