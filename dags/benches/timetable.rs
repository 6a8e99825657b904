//! What a timetable costs: `new` runs for each file of a cold start, `next` for each DAG whose run was created.

#![expect(clippy::unwrap_used, reason = "a benchmark has no one to report to")]

use dags::{
    model::{Missed, OnGap, OnOverlap, Schedule, TimetableKind, When},
    time::Timestamp,
    timetable::{Bounds, Planned, Timetable},
};

fn main() {
    divan::main();
}

const CASES: [(&str, &str); 4] = [
    ("0 0 * * *", "UTC"),
    ("30 2 * * 1-5", "Europe/Berlin"),
    ("*/15 * * * *", "Europe/Berlin"),
    ("0 0 29 2 *", "America/New_York"),
];

fn schedule(cron: &str, zone: &str) -> Schedule {
    Schedule {
        when: When::Crons(vec![cron.into()]),
        timezone: zone.into(),
        timetable: TimetableKind::Trigger,
        on_gap: OnGap::default(),
        on_overlap: OnOverlap::default(),
        missed: Missed::Latest,
        max_lateness: None,
    }
}

#[divan::bench(args = CASES)]
fn new(bencher: divan::Bencher, (cron, zone): (&str, &str)) {
    let schedule = schedule(cron, zone);
    bencher.bench(|| Timetable::new(&schedule, Bounds::default()).unwrap());
}

#[divan::bench(args = CASES)]
fn next(bencher: divan::Bencher, (cron, zone): (&str, &str)) {
    let table = Timetable::new(&schedule(cron, zone), Bounds::default()).unwrap();
    let now: Timestamp = "2026-11-21T06:00:00Z".parse().unwrap();
    let last = Planned::at(now);
    bencher.bench(|| table.next(Some(divan::black_box(&last)), divan::black_box(now)));
}
