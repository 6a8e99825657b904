//! Cron expressions and durations, with what a timetable makes of them.
//!
//! An input has up to four lines: expressions (several with `;` between them), a time zone, an instant, and words that
//! choose policies as in a DAG file (`interval`, `all`, `none`, `skip`, `both`), `started` and `late`.

use dags::{
    model::{Missed, OnGap, OnOverlap, Schedule, TimetableKind, When},
    time::{Span, Timestamp},
    timetable::{Bounds, Planned, Timetable},
};

/// How many runs are asked for.
const RUNS: usize = 5;

pub(super) fn take(text: &str) {
    let mut lines = text.split('\n');
    let rule = lines.next().unwrap_or_default();
    let zone = lines.next().unwrap_or("UTC");
    let now: Timestamp =
        lines.next().and_then(|text| text.parse().ok()).unwrap_or(Timestamp(1_774_742_400_000_000));
    let words: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();

    let whens = [
        Some(When::Crons(rule.split(';').map(str::to_owned).collect())),
        rule.parse::<Span>().ok().map(|span| {
            assert_eq!(span.to_string().parse(), Ok(span), "a duration can be read again");
            When::Every(span)
        }),
    ];
    for when in whens.into_iter().flatten() {
        let schedule = Schedule {
            when,
            timezone: zone.to_owned(),
            timetable: words.iter().find_map(|word| TimetableKind::parse(word)).unwrap_or_default(),
            on_gap: words.iter().find_map(|word| OnGap::parse(word)).unwrap_or_default(),
            on_overlap: words.iter().find_map(|word| OnOverlap::parse(word)).unwrap_or_default(),
            missed: words.iter().find_map(|word| Missed::parse(word)).unwrap_or_default(),
            max_lateness: words.contains(&"late").then(|| Span::seconds(3_600)),
        };
        let start_date = words.contains(&"started").then(|| now.before(Span::seconds(86_400)));
        let bounds = Bounds { start_date, end_date: None };
        match Timetable::new(&schedule, bounds) {
            Ok(timetable) => ask(&timetable, now),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

fn ask(timetable: &Timetable, now: Timestamp) {
    let mut last: Option<Planned> = None;
    let mut now = now;
    for _ in 0..RUNS {
        let Some(next) = timetable.next(last.as_ref(), now) else { break };
        if let Some(last) = last {
            assert!(next.logical_date > last.logical_date, "{next:?} comes after {last:?}");
        }
        now = now.max(next.run_after);
        timetable.manual_interval(next.run_after);
        last = Some(next);
    }
    let ticks: Vec<_> = timetable.ticks_between(now, now.after(Span::seconds(86_400))).take(RUNS).collect();
    assert!(ticks.is_sorted_by(|a, b| a.logical_date < b.logical_date), "{ticks:?} are in order");
}
