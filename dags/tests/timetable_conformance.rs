//! What Airflow 3.3.2 answered when it was executed, vector by vector.

#![cfg(test)]

use std::path::Path;

use dags::{
    model::{Missed, OnGap, OnOverlap, Schedule, TimetableKind, When},
    time::{Span, Timestamp},
    timetable::{Bounds, Planned, Timetable},
};
use serde::Deserialize;

fn load<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn schedule(when: When, timezone: &str, timetable: TimetableKind, missed: Missed) -> Schedule {
    Schedule {
        when,
        timezone: timezone.into(),
        timetable,
        on_gap: OnGap::default(),
        on_overlap: OnOverlap::default(),
        missed,
        max_lateness: None,
    }
}

#[derive(Deserialize)]
struct Cron {
    name: String,
    cron: String,
    tz: String,
    after: Timestamp,
    trigger_ticks: Vec<Timestamp>,
    #[serde(default)]
    data_intervals_start_end_runafter: Vec<(Timestamp, Timestamp, Timestamp)>,
}

#[test]
fn cron_under_dst() {
    let vectors: Vec<Cron> = load("cron-dst.json");
    assert!(vectors.len() >= 147);
    for vector in vectors {
        let timetable = |kind| {
            let schedule = schedule(When::Crons(vec![vector.cron.clone()]), &vector.tz, kind, Missed::All);
            Timetable::new(&schedule, Bounds::default()).unwrap()
        };
        let trigger = timetable(TimetableKind::Trigger);
        let mut last = Planned::at(vector.after);
        for expected in &vector.trigger_ticks {
            last = trigger.next(Some(&last), vector.after).unwrap();
            assert_eq!(last, Planned::at(*expected), "{}", vector.name);
        }
        let interval = timetable(TimetableKind::Interval);
        // The first interval is asked for as if another had ended where it starts.
        let first = vector.data_intervals_start_end_runafter.first();
        let mut last = first.map(|(start, ..)| Planned::over(start.before(Span(1)), *start));
        for (start, end, run_after) in &vector.data_intervals_start_end_runafter {
            last = interval.next(last.as_ref(), vector.after);
            assert_eq!(last, Some(Planned::over(*start, *end)), "{}", vector.name);
            assert_eq!(end, run_after);
        }
    }
}

#[derive(Deserialize)]
struct NextRun {
    timetable: String,
    schedule: String,
    catchup: bool,
    now: Timestamp,
    earliest: Option<Timestamp>,
    last_end: Option<Timestamp>,
    next: Option<Next>,
}

#[derive(Deserialize, Debug, PartialEq)]
struct Next {
    logical: Timestamp,
    start: Timestamp,
    end: Timestamp,
    run_after: Timestamp,
}

#[test]
fn the_next_run() {
    let vectors: Vec<NextRun> = load("next-run.json");
    assert!(vectors.len() >= 71);
    let day = Span::seconds(86_400);
    for (n, vector) in vectors.iter().enumerate() {
        assert_eq!(vector.schedule, "daily");
        let cron = || When::Crons(vec!["@daily".into()]);
        let (when, kind) = match vector.timetable.as_str() {
            "trigger" => (cron(), TimetableKind::Trigger),
            "interval" => (cron(), TimetableKind::Interval),
            "delta_trigger_1d" => (When::Every(day), TimetableKind::Trigger),
            "delta_interval_1d" => (When::Every(day), TimetableKind::Interval),
            other => panic!("unknown timetable {other}"),
        };
        let missed = if vector.catchup { Missed::All } else { Missed::Latest };
        let bounds = Bounds { start_date: vector.earliest, end_date: None };
        let timetable = Timetable::new(&schedule(when, "UTC", kind, missed), bounds).unwrap();
        let last = vector.last_end.map(|end| match kind {
            TimetableKind::Trigger => Planned::at(end),
            TimetableKind::Interval => Planned::over(end.before(day), end),
        });
        let next = timetable.next(last.as_ref(), vector.now).map(|planned| {
            let interval = planned.interval.unwrap();
            let logical = planned.logical_date.unwrap();
            Next { logical, start: interval.start, end: interval.end, run_after: planned.run_after }
        });
        assert_eq!(
            next,
            vector.next,
            "vector {n}: {} {:?}",
            vector.timetable,
            (vector.catchup, vector.now, vector.earliest, vector.last_end)
        );
    }
}
