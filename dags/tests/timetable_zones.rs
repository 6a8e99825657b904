//! Cron ticks around every offset change of every IANA zone from 2000 to 2040, against an enumeration that knows nothing
//! of segments or bit masks: it walks local minutes, asks jiff what instants they are and applies the policy.
//!
//! Zones that change from the same offset to the same offset at the same instants are one case: links and neighbours
//! would only repeat it.

#![cfg(test)]

use std::collections::BTreeMap;

use dags::{
    model::{Missed, OnGap, OnOverlap, Schedule, TimetableKind, When},
    time::Timestamp,
    timetable::{Bounds, Timetable},
};
use jiff::{
    ToSpan as _,
    tz::{AmbiguousOffset, TimeZone},
};

/// Crons with the minutes and hours that they stand for.
const CRONS: [(&str, &[i8], &[i8]); 9] = [
    ("30 2 * * *", &[30], &[2]),
    ("0 0 * * *", &[0], &[0]),
    ("59 23 * * *", &[59], &[23]),
    ("15,45 1-3 * * *", &[15, 45], &[1, 2, 3]),
    ("0 */2 * * *", &[0], &[0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22]),
    ("10 22-2 * * *", &[10], &[22, 23, 0, 1, 2]),
    ("20 0-22 * * *", &[20], EVERY.first_chunk::<23>().expect("invariant: 24 hours")),
    ("30 * * * *", &[30], &EVERY),
    ("*/15 * * * *", &[0, 15, 30, 45], &EVERY),
];
const EVERY: [i8; 24] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];
const POLICIES: [(OnGap, OnOverlap); 6] = [
    (OnGap::Shift, OnOverlap::First),
    (OnGap::Shift, OnOverlap::Last),
    (OnGap::Shift, OnOverlap::Both),
    (OnGap::Skip, OnOverlap::First),
    (OnGap::Skip, OnOverlap::Last),
    (OnGap::Skip, OnOverlap::Both),
];
const HOUR: i64 = 3600;
/// How far around a change ticks are compared. Twice it holds every change that can matter.
const WINDOW: i64 = 40 * HOUR;

/// The changes of offset near one change: instant, offset before, offset after.
type Seam = Vec<(i64, i32, i32)>;

/// Every different seam of the years 2000 to 2040 with one zone that has it.
fn seams() -> BTreeMap<(i64, Seam), String> {
    let (first, last) = ("2000-01-01T00:00:00Z", "2041-01-01T00:00:00Z");
    let (first, last): (jiff::Timestamp, jiff::Timestamp) = (first.parse().unwrap(), last.parse().unwrap());
    let mut seams = BTreeMap::new();
    let mut zones = 0;
    for name in jiff::tz::db().available() {
        let Ok(zone) = TimeZone::get(name.as_str()) else { continue };
        zones += 1;
        let changes: Seam = zone
            .following(first)
            .take_while(|change| change.timestamp() < last)
            .map(|change| {
                let before = zone.to_offset(change.timestamp() - 1.second());
                (change.timestamp().as_second(), before.seconds(), change.offset().seconds())
            })
            .filter(|(_, before, after)| before != after)
            .collect();
        for (at, ..) in &changes {
            let near = |other: &&(i64, i32, i32)| (other.0 - at).abs() <= 2 * WINDOW;
            seams
                .entry((*at, changes.iter().filter(near).copied().collect()))
                .or_insert_with(|| name.to_string());
        }
    }
    assert!(zones > 400, "the time zone database has only {zones} zones");
    seams
}

fn timetable(cron: &str, zone: &str, gap: OnGap, overlap: OnOverlap, kind: TimetableKind) -> Timetable {
    let schedule = Schedule {
        when: When::Crons(vec![cron.into()]),
        timezone: zone.into(),
        timetable: kind,
        on_gap: gap,
        on_overlap: overlap,
        missed: Missed::All,
        max_lateness: None,
    };
    Timetable::new(&schedule, Bounds::default()).unwrap()
}

/// What a local time is: its instants, in order, and whether it exists.
struct Local {
    instants: [i64; 2],
    exists: bool,
}

/// The local times of the days around an instant that a cron asks for.
fn locals(zone: &TimeZone, around: i64, minutes: &[i8], hours: &[i8]) -> Vec<Local> {
    let day = zone.to_datetime(jiff::Timestamp::from_second(around).unwrap()).date();
    let mut locals = Vec::new();
    for day in (-3..=2).map(|n| day.checked_add(n.days()).unwrap()) {
        for &hour in hours {
            for &minute in minutes {
                let time = day.at(hour, minute, 0, 0);
                let at = |offset: jiff::tz::Offset| offset.to_timestamp(time).unwrap().as_second();
                let (instants, exists) = match zone.to_ambiguous_timestamp(time).offset() {
                    AmbiguousOffset::Unambiguous { offset } => ([at(offset); 2], true),
                    AmbiguousOffset::Fold { before, after } => ([at(before), at(after)], true),
                    AmbiguousOffset::Gap { before, .. } => ([at(before); 2], false),
                };
                locals.push(Local { instants, exists });
            }
        }
    }
    locals
}

fn expected(locals: &[Local], gap: OnGap, overlap: OnOverlap, window: &std::ops::Range<i64>) -> Vec<i64> {
    let mut ticks = Vec::new();
    for local in locals.iter().filter(|local| local.exists || gap == OnGap::Shift) {
        match overlap {
            OnOverlap::First => ticks.push(local.instants[0]),
            OnOverlap::Last => ticks.push(local.instants[1]),
            OnOverlap::Both => ticks.extend(local.instants),
        }
    }
    ticks.retain(|tick| window.contains(tick));
    ticks.sort_unstable();
    ticks.dedup();
    ticks
}

#[test]
fn ticks_around_every_change_are_those_of_the_policy() {
    let seams = seams();
    assert!(seams.len() > 500, "only {} different changes", seams.len());
    for ((at, seam), name) in &seams {
        let zone = TimeZone::get(name).unwrap();
        let window = at - WINDOW..at + WINDOW;
        for (cron, minutes, hours) in CRONS {
            let locals = locals(&zone, *at, minutes, hours);
            for (gap, overlap) in POLICIES {
                let rules = match hours.len() {
                    // Every hour matches: policies have nothing to say, which two of them suffice to show.
                    24 if overlap != OnOverlap::Last => continue,
                    24 => (OnGap::Skip, OnOverlap::Both),
                    _ => (gap, overlap),
                };
                let expected = expected(&locals, rules.0, rules.1, &window);
                let timetable = timetable(cron, name, gap, overlap, TimetableKind::Trigger);
                let ticks: Vec<i64> = timetable
                    .ticks_between(Timestamp(window.start * 1_000_000), Timestamp(window.end * 1_000_000 - 1))
                    .map(|planned| planned.run_after.0 / 1_000_000)
                    .collect();
                assert_eq!(ticks, expected, "{cron} in {name} at {seam:?}, {gap} and {overlap}");
            }
        }
    }
}

#[test]
fn backwards_and_forwards_agree_at_every_change() {
    for ((at, _), name) in &seams() {
        for (cron, ..) in CRONS {
            let timetable =
                timetable(cron, name, OnGap::default(), OnOverlap::default(), TimetableKind::Interval);
            for step in [-11, -6, -3, -1, 0, 1, 4, 9] {
                let now = Timestamp((at + step * 1300) * 1_000_000 + 250_000);
                // The last complete period ends at or before now; the period after it ends later than now.
                let interval = timetable.manual_interval(now).unwrap();
                assert!(interval.start < interval.end && interval.end <= now);
                let mut periods = timetable.ticks_between(interval.start, now);
                let complete = periods.next().unwrap().interval.unwrap();
                assert_eq!(complete, interval, "{cron} in {name} at {now}");
                let running = periods.next().unwrap();
                assert!(running.interval.unwrap().start == interval.end && running.run_after > now);
            }
        }
    }
}
