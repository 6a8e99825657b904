//! `updraft schedule`: the runs that a schedule will make, as the scheduler would make them.
//!
//! [`preview`] asks the same timetable as the engine, in the same order: for each run once the one before was created.
//! [`render_text`] is for people, [`render_json`] for programs. The clock comes in with the request.

mod json;
mod text;

use dags::{
    model::{Missed, OnGap, OnOverlap, Schedule, TimetableKind, When},
    time::{Span, Timestamp},
    timetable::{Bounds, InvalidSchedule, Planned, Timetable},
};
pub use json::render_json;
pub use text::render_text;

/// The most runs that one request lists.
pub const COUNT_MAX: usize = 10_000;

/// Which runs to list.
#[derive(Debug, Clone)]
pub struct Request {
    /// The schedule: a DAG's, or one of [`adhoc`].
    pub schedule: Schedule,
    /// The DAG's start and end date.
    pub bounds: Bounds,
    /// The present instant.
    pub now: Timestamp,
    /// Where the schedule stands: the end of what the last automated run covered, its tick in the trigger family.
    pub last_end: Option<Timestamp>,
    /// List only runs that are due later than this.
    pub after: Option<Timestamp>,
    /// How many runs to list at most, up to [`COUNT_MAX`].
    pub count: usize,
}

/// Why no runs can be listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The schedule itself is wrong.
    #[error(transparent)]
    Schedule(#[from] InvalidSchedule),
    /// Too many runs asked for.
    #[error("{0} runs are too many to list: at most {COUNT_MAX}")]
    Count(usize),
}

/// A schedule that stands in no file, with the defaults of the DAG language: `--cron` or `--interval` with `--timezone`,
/// `--timetable` and `--catchup`.
pub fn adhoc(when: When, timezone: &str, timetable: TimetableKind, catchup: bool) -> Schedule {
    Schedule {
        when,
        timezone: timezone.to_owned(),
        timetable,
        on_gap: OnGap::default(),
        on_overlap: OnOverlap::default(),
        missed: if catchup { Missed::All } else { Missed::default() },
        max_lateness: None,
    }
}

/// The next runs, in order. Those that are overdue come first; a `continuous` schedule shows its next run only, because
/// the one after begins when that has ended.
pub fn preview(request: &Request) -> Result<Vec<Planned>, Error> {
    if request.count > COUNT_MAX {
        return Err(Error::Count(request.count));
    }
    let timetable = Timetable::new(&request.schedule, request.bounds)?;
    let mut last = request.last_end.map(|end| last_run(request, &timetable, end));
    let count = if request.schedule.when == When::Continuous { request.count.min(1) } else { request.count };
    let mut runs = Vec::new();
    while runs.len() < count {
        let clock = last.map_or(request.now, |last| request.now.max(last.run_after));
        let Some(next) = timetable.next(last.as_ref(), clock) else { break };
        last = match request.after {
            Some(after) if next.run_after <= after => match skip_to(request, &timetable, next, after) {
                Some(skipped) => Some(skipped),
                None => break,
            },
            _ => {
                runs.push(next);
                Some(next)
            }
        };
    }
    Ok(runs)
}

/// The last automated run, of which only the end is known.
fn last_run(request: &Request, timetable: &Timetable, end: Timestamp) -> Planned {
    let start = match request.schedule.when {
        // The next run begins where this one ended; any length will do.
        When::Continuous => end.before(Span(1)),
        _ => timetable.manual_interval(end).map_or(end, |interval| interval.start),
    };
    Planned::over(start, end)
}

/// The last run that is due at `after` or earlier, found without walking there; `next` is an earlier one or the same.
/// None if the schedule has no ticks to go on with.
fn skip_to(request: &Request, timetable: &Timetable, next: Planned, after: Timestamp) -> Option<Planned> {
    match (&request.schedule.when, next.interval) {
        (When::Every(period), Some(interval)) => {
            let steps = after.since(next.run_after).0 / period.0;
            let ahead = Span(steps.saturating_mul(period.0));
            Some(Planned::over(interval.start.after(ahead), interval.end.after(ahead)))
        }
        (When::Crons(_) | When::AssetsOrCrons { .. }, _)
            if request.schedule.timetable == TimetableKind::Trigger =>
        {
            Some(Planned::at(after))
        }
        (When::Crons(_) | When::AssetsOrCrons { .. }, _) => {
            timetable.manual_interval(after).map(|interval| Planned::over(interval.start, interval.end))
        }
        _ => None,
    }
}

/// Why a schedule makes no further run.
fn no_run(request: &Request) -> &'static str {
    let Schedule { when, timetable, missed, .. } = &request.schedule;
    let unanchored = request.bounds.start_date.is_none() && request.last_end.is_none();
    match when {
        When::Never => "the schedule is `never`: runs are started by hand or by the API",
        When::Assets(_) => "runs are made when assets are updated, which can't be foreseen",
        When::Once if request.last_end.is_some() => "the one run of `once` has been",
        When::Every(_) | When::Crons(_) | When::AssetsOrCrons { .. }
            if *timetable == TimetableKind::Interval && *missed == Missed::All && unanchored =>
        {
            "an interval timetable with `missed: all` begins at the start date, and there is none"
        }
        _ if request.bounds.end_date.is_some() => "the end date leaves room for none",
        _ => "the schedule makes no further run",
    }
}

#[cfg(test)]
mod tests;
