//! The list of runs for people: weekday, local time and UTC, what each run covers, how far away it is, and where the
//! clocks change between two runs.

use std::fmt::Write as _;

use dags::{
    model::{Missed, TimetableKind, When},
    time::{Span, Timestamp},
    timetable::Planned,
};
use jiff::{Zoned, tz::TimeZone};

use super::{Error, Request, no_run};

/// More changes of the clocks between two runs than this are only counted.
const CHANGES_SHOWN: usize = 2;

/// A table with a line per run. Ends with a line feed.
pub fn render_text(request: &Request, runs: &[Planned]) -> Result<String, Error> {
    let zone = zone(request)?;
    let mut text = String::new();
    line(&mut text, &format!("{}, {}", describe(request), request.schedule.timezone));
    line(&mut text, &format!("now: {}", local(request.now, &zone).strftime("%a %Y-%m-%d %H:%M:%S %Z")));
    line(&mut text, "");
    if runs.is_empty() {
        line(&mut text, &format!("no runs: {}", no_run(request)));
        return Ok(text);
    }
    let rows: Vec<[String; 5]> =
        runs.iter().enumerate().map(|(n, run)| row(n, run, request.now, &zone)).collect();
    let covers = rows.iter().any(|row| !row[3].is_empty());
    let second = if is_utc(&zone) { "" } else { "UTC" };
    let header = ["#", &request.schedule.timezone, second, if covers { "covers from (UTC)" } else { "" }, ""];
    let widths: [usize; 5] =
        std::array::from_fn(|i| rows.iter().map(|row| row[i].len()).max().unwrap_or(0).max(header[i].len()));
    let columns = |cells: [&str; 5]| {
        let cell = |i: usize| format!("{:<width$}", cells[i], width = widths[i]);
        let shown = [0, 1, 2, 3, 4].into_iter().filter(|i| widths[*i] > 0);
        shown.map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    line(&mut text, &columns(header));
    let mut before = None;
    for (run, row) in runs.iter().zip(&rows) {
        if let Some(before) = before {
            changes(&mut text, before, run.run_after, &zone, widths[0]);
        }
        line(&mut text, &columns(std::array::from_fn(|i| row[i].as_str())));
        before = Some(run.run_after);
    }
    if request.schedule.when == When::Continuous {
        line(&mut text, "and the next whenever that has ended");
    }
    Ok(text)
}

fn zone(request: &Request) -> Result<TimeZone, Error> {
    let name = &request.schedule.timezone;
    TimeZone::get(name).map_err(|_| {
        Error::Schedule(dags::timetable::InvalidSchedule::UnknownZone {
            name: name.clone(),
            suggestion: None,
        })
    })
}

fn is_utc(zone: &TimeZone) -> bool {
    zone.to_fixed_offset().is_ok_and(jiff::tz::Offset::is_zero)
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}

fn local(at: Timestamp, zone: &TimeZone) -> Zoned {
    at.to_jiff().to_zoned(zone.clone())
}

fn describe(request: &Request) -> String {
    let schedule = &request.schedule;
    let crons =
        |crons: &[String]| crons.iter().map(|cron| format!("`{cron}`")).collect::<Vec<_>>().join(" and ");
    let when = match &schedule.when {
        When::Never => return "never".to_owned(),
        When::Once => return "once".to_owned(),
        When::Continuous => return "continuous".to_owned(),
        When::Assets(_) => return "when assets are updated".to_owned(),
        When::Every(period) => format!("every {period}"),
        When::Crons(list) => crons(list),
        When::AssetsOrCrons { crons: list, .. } => format!("{} and when assets are updated", crons(list)),
    };
    let kind = match schedule.timetable {
        TimetableKind::Trigger => "a run at each tick",
        TimetableKind::Interval => "a run at the end of each interval",
    };
    let missed = match schedule.missed {
        Missed::Latest => "one run for all that were missed",
        Missed::All => "a run for each that was missed",
        Missed::None => "none for those that were missed",
    };
    format!("{when}, {kind}, {missed}")
}

fn row(n: usize, run: &Planned, now: Timestamp, zone: &TimeZone) -> [String; 5] {
    let covered = run.interval.filter(|interval| interval.start < interval.end);
    [
        (n + 1).to_string(),
        local(run.run_after, zone).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string(),
        if is_utc(zone) { String::new() } else { run.run_after.to_string() },
        covered.map(|interval| interval.start.to_string()).unwrap_or_default(),
        distance(run.run_after, now),
    ]
}

/// How far an instant is from now, in its two largest units.
fn distance(at: Timestamp, now: Timestamp) -> String {
    let (ahead, overdue) = (at.since(now), now.since(at));
    match () {
        () if ahead > Span::ZERO => format!("in {}", rough(ahead)),
        () if overdue > Span::ZERO => format!("{} overdue", rough(overdue)),
        () => "now".to_owned(),
    }
}

fn rough(span: Span) -> String {
    let seconds = span.0 / 1_000_000;
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let Some(first) = units.iter().position(|(_, length)| seconds >= *length) else {
        return "less than 1s".to_owned();
    };
    let mut text = String::new();
    let mut rest = seconds;
    for (unit, length) in units.iter().skip(first).take(2) {
        if rest / length > 0 {
            write!(text, "{}{unit}", rest / length).expect("invariant: a string takes whatever is written");
        }
        rest %= length;
    }
    text
}

/// A line for each change of the clocks after one run and not after the other.
fn changes(text: &mut String, from: Timestamp, to: Timestamp, zone: &TimeZone, indent: usize) {
    let mut shown = 0;
    let mut more = 0;
    for change in zone.following(from.to_jiff()).take_while(|change| change.timestamp() <= to.to_jiff()) {
        let at = change.timestamp();
        let before = zone.to_offset_info(at - jiff::SignedDuration::from_nanos(1));
        let moved = change.offset().seconds() - before.offset().seconds();
        if moved == 0 {
            continue;
        }
        if shown == CHANGES_SHOWN {
            more += 1;
            continue;
        }
        shown += 1;
        let wall = before.offset().to_datetime(at);
        let direction = if moved > 0 { "forward" } else { "back" };
        let by = rough(Span::seconds(i64::from(moved.abs())));
        line(
            text,
            &format!(
                "{:indent$}  ~ {} {}: clocks go {direction} {by}, to {} {}",
                "",
                wall.strftime("%a %Y-%m-%d %H:%M"),
                before.abbreviation(),
                change.offset().to_datetime(at).strftime("%H:%M"),
                change.abbreviation(),
            ),
        );
    }
    if more > 0 {
        line(text, &format!("{:indent$}  ~ and {more} more changes of the clocks", ""));
    }
}
