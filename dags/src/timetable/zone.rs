//! A time zone as a sequence of segments of constant offset: what turns wall-clock times into instants.

use jiff::{Timestamp, tz::TimeZone};

use super::error::InvalidSchedule;

/// A time zone.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    zone: TimeZone,
    /// The offset of a zone that never changes it, in seconds.
    fixed: Option<i64>,
}

/// A stretch of time, in seconds since the epoch, with one offset between wall clock and UTC, and its neighbours' offsets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) start: i64,
    /// Exclusive.
    pub(super) end: i64,
    /// What must be added to UTC to get the wall clock.
    pub(super) offset: i64,
    /// The offset before `start`; `offset` if nothing is before.
    pub(super) before: i64,
    /// The offset from `end` on; `offset` if nothing follows.
    pub(super) after: i64,
}

impl Zone {
    /// Finds a zone by its IANA name; jiff keeps what it has read in a cache of its own.
    pub(super) fn find(name: &str) -> Result<Self, InvalidSchedule> {
        let zone = TimeZone::get(name)
            .map_err(|_| InvalidSchedule::UnknownZone { name: name.to_owned(), suggestion: similar(name) })?;
        let fixed = zone.to_fixed_offset().ok().map(|offset| i64::from(offset.seconds()));
        Ok(Self { zone, fixed })
    }

    /// The segment that an instant lies in; none beyond the years that the calendar knows.
    pub(super) fn segment(&self, at: i64) -> Option<Segment> {
        if let Some(offset) = self.fixed {
            let (start, end) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
            return (start..end).contains(&at).then_some(Segment {
                start,
                end,
                offset,
                before: offset,
                after: offset,
            });
        }
        let next = Timestamp::from_second(at.checked_add(1)?).ok()?;
        let here = Timestamp::from_second(at).ok()?;
        let offset = self.offset(here);
        let (start, before) = match self.zone.preceding(next).next() {
            Some(change) => {
                let start = change.timestamp().as_second();
                (start, Timestamp::from_second(start - 1).map_or(offset, |t| self.offset(t)))
            }
            None => (Timestamp::MIN.as_second(), offset),
        };
        let (end, after) = match self.zone.following(here).next() {
            Some(change) => (change.timestamp().as_second(), i64::from(change.offset().seconds())),
            None => (Timestamp::MAX.as_second(), offset),
        };
        Some(Segment { start, end, offset, before, after })
    }

    fn offset(&self, at: Timestamp) -> i64 {
        i64::from(self.zone.to_offset(at).seconds())
    }
}

/// The longest name that may be a misspelt one. Comparing costs the product of the lengths, hundreds of times.
const MISSPELT_BYTES_MAX: usize = 64;

fn similar(name: &str) -> Option<String> {
    if name.len() > MISSPELT_BYTES_MAX {
        return None;
    }
    let wanted = name.to_lowercase();
    let score = |known: &str| {
        let known = known.to_lowercase();
        let city = known.rsplit('/').next().unwrap_or(&known);
        strsim::jaro_winkler(&wanted, &known).max(strsim::jaro_winkler(&wanted, city))
    };
    let best = jiff::tz::db().available().map(|zone| (score(zone.as_str()), zone.to_string()));
    best.filter(|(score, _)| *score > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
        .map(|(_, zone)| zone)
}
