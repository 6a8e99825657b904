//! Turns a DAG's schedule into instants: when the next run is due, what it stands for, which runs a backfill makes.
//!
//! The only place that knows time zones. The rules are Airflow's (trigger and interval families, catch-up, cron in local
//! time); where Airflow leaves a choice or goes wrong at a DST change, the schedule names the policy. Nothing here reads
//! a clock or a database: `now` comes in, and the caller remembers the last automated run.
//!
//! **Keep the answer.** [`Timetable::next`] depends on `now`, so the caller asks when a run was created, stores the
//! [`Planned`] and creates it when `run_after` has come; asking again just before that could move the run on, because a
//! tick that isn't a moment old already counts as missed. Only automated runs are `last`; manual runs and backfills don't
//! move the schedule.
//!
//! `cron` reads expressions, `calendar` matches wall-clock times, `zone` cuts time where the offset changes, `ticks` joins
//! them; `error` says what can be wrong.

mod calendar;
mod cron;
mod error;
mod ticks;
mod zone;

pub use error::{CRON_BYTES_MAX, HORIZON_YEARS, InvalidCron, InvalidSchedule, PERIOD_MIN};
use ticks::Ticks;

use crate::{
    model::{Missed, Schedule, TimetableKind, When},
    time::{Span, Timestamp},
};

/// The stretch of time that a run stands for. Start and end are equal in the trigger family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataInterval {
    /// Where it begins.
    pub start: Timestamp,
    /// Where it ends, exclusive.
    pub end: Timestamp,
}

/// A run that the schedule makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Planned {
    /// The run is due at this instant, not before.
    pub run_after: Timestamp,
    /// What identifies the run within its DAG: the start of its interval. None for runs that assets trigger.
    pub logical_date: Option<Timestamp>,
    /// What it stands for.
    pub interval: Option<DataInterval>,
}

/// The time that a DAG's runs may cover.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// No run covers anything earlier.
    pub start_date: Option<Timestamp>,
    /// No run's logical date is later.
    pub end_date: Option<Timestamp>,
}

/// A schedule, ready to be asked.
#[derive(Debug, Clone)]
pub struct Timetable {
    rule: Rule,
    kind: TimetableKind,
    missed: Missed,
    max_lateness: Option<Span>,
    bounds: Bounds,
}

#[derive(Debug, Clone)]
enum Rule {
    Never,
    Once,
    Continuous,
    Every(Span),
    Crons(Ticks),
}

impl DataInterval {
    fn instant(at: Timestamp) -> Self {
        Self { start: at, end: at }
    }
}

impl Planned {
    /// A run that stands for an instant and is due then.
    pub fn at(tick: Timestamp) -> Self {
        Self::over(tick, tick)
    }

    /// A run that stands for an interval and is due at its end.
    pub fn over(start: Timestamp, end: Timestamp) -> Self {
        Self { run_after: end, logical_date: Some(start), interval: Some(DataInterval { start, end }) }
    }

    /// Where the schedule goes on after this run: the end of what it stands for.
    fn end(&self) -> Timestamp {
        self.interval.map_or(self.run_after, |interval| interval.end)
    }

    fn start(&self) -> Timestamp {
        self.interval.map_or(self.run_after, |interval| interval.start)
    }
}

impl Timetable {
    /// Checks a schedule and prepares it. Takes microseconds, once the zone has been read.
    pub fn new(schedule: &Schedule, bounds: Bounds) -> Result<Self, InvalidSchedule> {
        let rule = match &schedule.when {
            When::Never | When::Assets(_) => Rule::Never,
            When::Once => Rule::Once,
            When::Continuous => Rule::Continuous,
            When::Every(period) if *period < PERIOD_MIN => return Err(InvalidSchedule::Period(*period)),
            When::Every(period) => Rule::Every(*period),
            When::Crons(crons) | When::AssetsOrCrons { crons, .. } => {
                Rule::Crons(Ticks::new(crons, schedule)?)
            }
        };
        // The zone is checked even where no rule reads it: a misspelt one would only show when a cron is added.
        if !matches!(rule, Rule::Crons(_)) {
            zone::Zone::find(&schedule.timezone)?;
        }
        let Schedule { timetable: kind, missed, max_lateness, .. } = *schedule;
        Ok(Self { rule, kind, missed, max_lateness, bounds })
    }

    /// The next automated run after the `last` one, due now, earlier or in the future; none if there won't be one.
    ///
    /// * `missed: all` goes on from `last`, or from the start date; each missed tick is one answer.
    /// * `missed: latest` skips to the latest missed tick, so that one run makes up for all of them.
    /// * `missed: none` skips every tick before `now`.
    /// * `max_lateness` skips ticks whose run would be later than that, under each policy; under `none` it is the grace.
    /// * `continuous`: ask when the last run has ended; the answer is due at once and covers the time since.
    ///
    /// Without a start date and a last run, a trigger timetable waits for the next tick, and an interval timetable under
    /// `missed: all` has nowhere to begin and never runs.
    pub fn next(&self, last: Option<&Planned>, now: Timestamp) -> Option<Planned> {
        let planned = match &self.rule {
            Rule::Never => None,
            Rule::Once if last.is_some() => None,
            Rule::Once => {
                let planned = Planned::at(self.bounds.start_date.unwrap_or(now));
                self.max_lateness.is_none_or(|late| planned.run_after >= now.before(late)).then_some(planned)
            }
            Rule::Continuous => Some(self.continuous(last, now)),
            Rule::Every(period) => self.every(*period, last, now),
            Rule::Crons(ticks) => match self.kind {
                TimetableKind::Trigger => self.trigger(ticks, last, now),
                TimetableKind::Interval => self.interval(ticks, last, now),
            },
        }?;
        let date = match self.rule {
            Rule::Continuous => planned.end(),
            Rule::Never | Rule::Once | Rule::Every(_) | Rule::Crons(_) => planned.start(),
        };
        self.bounds.end_date.is_none_or(|end| date <= end).then_some(planned)
    }

    /// What a run that someone starts by hand stands for; none where the schedule has no tick before it.
    pub fn manual_interval(&self, run_after: Timestamp) -> Option<DataInterval> {
        match (&self.rule, self.kind) {
            (Rule::Crons(ticks), TimetableKind::Interval) => {
                let end = ticks.at_or_before(run_after)?;
                Some(DataInterval { start: ticks.before(end)?, end })
            }
            (Rule::Every(period), TimetableKind::Interval) => {
                Some(DataInterval { start: run_after.before(*period), end: run_after })
            }
            (Rule::Never | Rule::Once | Rule::Continuous, _) | (_, TimetableKind::Trigger) => {
                Some(DataInterval::instant(run_after))
            }
        }
    }

    /// Whether the schedule repeats by itself, so that a backfill knows which runs to make.
    pub fn is_periodic(&self) -> bool {
        matches!(self.rule, Rule::Every(_) | Rule::Crons(_))
    }

    /// The runs of a backfill: those whose logical date lies in `from..=to` and within the bounds, in order.
    /// Fixed periods count from the start date if there is one, otherwise from `from`.
    pub fn ticks_between(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Planned> {
        let to = self.bounds.end_date.map_or(to, |end| to.min(end));
        let from = self.bounds.start_date.map_or(from, |start| from.max(start));
        let first = match &self.rule {
            Rule::Crons(ticks) => ticks.at_or_after(from),
            Rule::Every(period) => Some(step_to(self.bounds.start_date.unwrap_or(from), *period, from)),
            Rule::Never | Rule::Once | Rule::Continuous => None,
        };
        std::iter::successors(first, |tick| self.after(*tick)).take_while(move |tick| *tick <= to).map_while(
            |start| match self.kind {
                TimetableKind::Trigger => Some(Planned::at(start)),
                TimetableKind::Interval => Some(Planned::over(start, self.after(start)?)),
            },
        )
    }

    /// The tick after a tick.
    fn after(&self, tick: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Crons(ticks) => ticks.after(tick),
            Rule::Every(period) => Some(tick.after(*period)),
            Rule::Never | Rule::Once | Rule::Continuous => None,
        }
    }

    /// The earliest instant at which a missed run may have been due.
    fn cutoff(&self, now: Timestamp) -> Option<Timestamp> {
        match (self.missed, self.max_lateness) {
            (_, Some(lateness)) => Some(now.before(lateness)),
            (Missed::None, None) => Some(now),
            (Missed::Latest | Missed::All, None) => None,
        }
    }

    fn continuous(&self, last: Option<&Planned>, now: Timestamp) -> Planned {
        let start = match last {
            // Logical dates must differ, also after a run that covered no time.
            Some(last) => last.end().max(last.start().after(Span(1))),
            None => self.bounds.start_date.unwrap_or(now),
        };
        Planned::over(start, start.max(now))
    }

    fn trigger(&self, ticks: &Ticks, last: Option<&Planned>, now: Timestamp) -> Option<Planned> {
        let start_date = self.bounds.start_date;
        let onward = match (last, start_date) {
            (Some(last), _) => ticks.after(last.end())?,
            (None, Some(start)) => ticks.at_or_after(start)?,
            (None, None) => ticks.at_or_after(now)?,
        };
        let mut tick = onward;
        if self.missed != Missed::All {
            tick = tick.max(ticks.at_or_before(now).unwrap_or(onward));
            if let Some(start) = start_date {
                tick = tick.max(ticks.at_or_after(start)?);
            }
        }
        match self.cutoff(now) {
            Some(cutoff) if tick < cutoff => ticks.at_or_after(cutoff).map(Planned::at),
            _ => Some(Planned::at(tick)),
        }
    }

    fn interval(&self, ticks: &Ticks, last: Option<&Planned>, now: Timestamp) -> Option<Planned> {
        let earliest = match self.bounds.start_date {
            Some(start) => Some(ticks.at_or_after(start)?),
            None => None,
        };
        let latest = || ticks.before(ticks.at_or_before(now)?);
        let earliest = if self.missed == Missed::All { earliest } else { earliest.max(latest()) };
        let mut start = match last {
            Some(last) => ticks.at_or_before(last.end()).max(earliest)?,
            None => earliest?,
        };
        if last.is_some_and(|last| start <= last.start()) {
            // The schedule became coarser, and the period that the last run lies in began before it.
            start = ticks.after(start.max(last?.start()))?;
        }
        let end = ticks.after(start)?;
        match self.cutoff(now) {
            Some(cutoff) if end < cutoff => {
                let end = ticks.at_or_after(cutoff)?;
                Some(Planned::over(ticks.before(end)?, end))
            }
            _ => Some(Planned::over(start, end)),
        }
    }

    fn every(&self, period: Span, last: Option<&Planned>, now: Timestamp) -> Option<Planned> {
        let start_date = self.bounds.start_date;
        let interval = self.kind == TimetableKind::Interval;
        let onward = match last {
            Some(last) if interval => Some(last.end().max(start_date.unwrap_or(Timestamp::MIN))),
            Some(last) => Some(last.end().after(period)),
            None => start_date,
        };
        // What Airflow does without catch-up: intervals end on the grid of the epoch, triggers fire at once.
        let latest = if interval { step_back(now, period).before(period) } else { now };
        let latest = latest.max(start_date.unwrap_or(Timestamp::MIN));
        let mut start = match self.missed {
            Missed::All if interval => onward?,
            Missed::All | Missed::None => onward.unwrap_or(latest),
            Missed::Latest => onward.map_or(latest, |onward| onward.max(latest)),
        };
        let due = |start: Timestamp| if interval { start.after(period) } else { start };
        if let Some(cutoff) = self.cutoff(now).filter(|cutoff| due(start) < *cutoff) {
            start = step_to(start, period, if interval { cutoff.before(period) } else { cutoff });
        }
        // A schedule that was a trigger one before ended its last run where this one would begin.
        if let Some(last) = last.filter(|last| start <= last.start()) {
            start = step_to(start, period, last.start().after(Span(1)));
        }
        Some(Planned::over(start, due(start)))
    }
}

/// The first instant at or after `target` that is a whole number of periods from `anchor`.
fn step_to(anchor: Timestamp, period: Span, target: Timestamp) -> Timestamp {
    let ahead = i128::from(target.0) - i128::from(anchor.0);
    if ahead <= 0 {
        return anchor;
    }
    let period = i128::from(period.0);
    let steps = (ahead + period - 1) / period;
    i64::try_from(i128::from(anchor.0) + steps * period).map_or(Timestamp::MAX, Timestamp)
}

/// The last instant at or before `instant` that is a whole number of periods from the epoch.
fn step_back(instant: Timestamp, period: Span) -> Timestamp {
    Timestamp(instant.0.saturating_sub(instant.0.rem_euclid(period.0)))
}
