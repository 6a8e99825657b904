//! The instants at which cron expressions fire in a zone: a sorted set without duplicates, walked in both directions.
//!
//! Within one segment of constant offset a local time is one instant and the set is simply the expression's matches. The
//! policies only concern the seams:
//!
//! ```text
//!   gap: the clock jumps from a+before to a+offset      overlap: it jumps back from b+offset to b+after
//!   local times between them don't exist                local times between them exist twice
//!     shift: they move on by the gap's length             last:  this segment leaves them to the next
//!     skip:  they are left out                            first: the next segment leaves them out
//!                                                         both:  nobody leaves them out
//! ```
//!
//! An expression that covers every hour follows absolute time: nothing is shifted, left out or kept from repeating.

use super::{
    cron::Cron,
    error::{HORIZON_YEARS, InvalidSchedule},
    zone::{Segment, Zone},
};
use crate::{
    model::{OnGap, OnOverlap, Schedule},
    time::Timestamp,
};

const HORIZON: i64 = HORIZON_YEARS * 366 * 86_400;
const SECOND: i64 = 1_000_000;
/// 2000-01-01, a leap year, so that `29 2` is found at once.
const PROBE: i64 = 946_684_800;

/// One or more cron expressions in a zone.
#[derive(Debug, Clone)]
pub(super) struct Ticks {
    crons: Vec<Cron>,
    zone: Zone,
    gap: OnGap,
    overlap: OnOverlap,
}

impl Ticks {
    pub(super) fn new(expressions: &[String], schedule: &Schedule) -> Result<Self, InvalidSchedule> {
        if expressions.is_empty() {
            return Err(InvalidSchedule::NoCron);
        }
        let crons = expressions.iter().map(|text| compile(text)).collect::<Result<_, _>>()?;
        let zone = Zone::find(&schedule.timezone)?;
        Ok(Self { crons, zone, gap: schedule.on_gap, overlap: schedule.on_overlap })
    }

    /// The first tick later than an instant.
    pub(super) fn after(&self, instant: Timestamp) -> Option<Timestamp> {
        let mut from = instant.0.div_euclid(SECOND).checked_add(1)?;
        let limit = from.checked_add(HORIZON)?;
        while from < limit {
            let segment = self.zone.segment(from)?;
            let found = self
                .windows(&segment)
                .filter_map(|(cron, window)| window.first_from(cron, from, limit))
                .min();
            if let Some(tick) = found {
                return Some(Timestamp(tick * SECOND));
            }
            from = segment.end;
        }
        None
    }

    /// The last tick earlier than an instant.
    pub(super) fn before(&self, instant: Timestamp) -> Option<Timestamp> {
        // The first second that is too late.
        let mut until = instant.0.checked_add(SECOND - 1)?.div_euclid(SECOND);
        let limit = until.checked_sub(HORIZON)?;
        while until > limit {
            let segment = self.zone.segment(until - 1)?;
            let found = self
                .windows(&segment)
                .filter_map(|(cron, window)| window.last_until(cron, until, limit))
                .max();
            if let Some(tick) = found {
                return Some(Timestamp(tick * SECOND));
            }
            until = segment.start;
        }
        None
    }

    /// The first tick not earlier than an instant.
    pub(super) fn at_or_after(&self, instant: Timestamp) -> Option<Timestamp> {
        self.after(Timestamp(instant.0.saturating_sub(1)))
    }

    /// The last tick not later than an instant.
    pub(super) fn at_or_before(&self, instant: Timestamp) -> Option<Timestamp> {
        self.before(Timestamp(instant.0.saturating_add(1)))
    }

    /// The stretches of wall-clock time whose matches are ticks of the segment.
    fn windows(&self, segment: &Segment) -> impl Iterator<Item = (&Cron, Window)> {
        self.crons.iter().flat_map(move |cron| {
            let absolute = (OnGap::Skip, OnOverlap::Both);
            let (gap, overlap) = if cron.covers_every_hour() { absolute } else { (self.gap, self.overlap) };
            let Segment { start, end, offset, before, after } = *segment;
            let from = if overlap == OnOverlap::First { offset.max(before) } else { offset };
            let to = if overlap == OnOverlap::Last { offset.min(after) } else { offset };
            let regular = Window { from: start + from, to: end + to, offset };
            let shifted = (gap == OnGap::Shift && before < offset).then(|| Window {
                from: start + before,
                to: (start + offset).min(end + before),
                offset: before,
            });
            std::iter::once((cron, regular)).chain(shifted.map(|window| (cron, window)))
        })
    }
}

/// A stretch of wall-clock time and the offset that makes instants of it.
struct Window {
    from: i64,
    to: i64,
    offset: i64,
}

impl Window {
    fn first_from(&self, cron: &Cron, from: i64, limit: i64) -> Option<i64> {
        let (from, to) = (self.from.max(from + self.offset), self.to.min(limit + self.offset));
        if from < to { cron.first_in(from, to).map(|local| local - self.offset) } else { None }
    }

    fn last_until(&self, cron: &Cron, until: i64, limit: i64) -> Option<i64> {
        let (from, to) = (self.from.max(limit + self.offset), self.to.min(until + self.offset));
        if from < to { cron.last_in(from, to).map(|local| local - self.offset) } else { None }
    }
}

fn compile(expression: &str) -> Result<Cron, InvalidSchedule> {
    let cron = Cron::parse(expression)
        .map_err(|problem| InvalidSchedule::Cron { expression: expression.to_owned(), problem })?;
    match cron.first_in(PROBE, PROBE + HORIZON) {
        Some(_) => Ok(cron),
        None => Err(InvalidSchedule::NeverFires { expression: expression.to_owned() }),
    }
}
