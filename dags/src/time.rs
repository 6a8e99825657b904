//! Instants and durations: whole microseconds, UTC, no zone.
//!
//! Time zones exist in the timetable only, which turns a wall-clock rule into instants.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An instant: microseconds since the Unix epoch. Its text form is RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// A duration in microseconds, zero or more. Its text form is `1h30m`, `20s`, `1.5s`, `0s`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub i64);

impl Timestamp {
    /// The instant before every other, used where "no instant yet" must sort first.
    pub const MIN: Self = Self(i64::MIN);
    /// The instant after every other.
    pub const MAX: Self = Self(i64::MAX);

    /// The same instant for the time-zone library. Instants outside the years -9999 to 9999 are clamped.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }

    /// The whole microsecond of an instant of the time-zone library.
    pub fn from_jiff(instant: jiff::Timestamp) -> Self {
        Self(instant.as_microsecond())
    }

    /// Later by `span`, stopping at [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// Earlier by `span`, stopping at [`Timestamp::MIN`].
    #[must_use]
    pub fn before(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The time since `earlier`, zero if that lies later.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }

    /// As Airflow prints an instant inside run ids: `2026-01-01T00:00:00+00:00`, microseconds only if there are any.
    pub fn airflow(self) -> String {
        let zoned = self.to_jiff().to_zoned(jiff::tz::TimeZone::UTC);
        let micros = self.0.rem_euclid(1_000_000);
        let head = zoned.strftime("%Y-%m-%dT%H:%M:%S");
        if micros == 0 { format!("{head}+00:00") } else { format!("{head}.{micros:06}+00:00") }
    }
}

/// Why a text isn't a time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimeOfDay {
    /// Neither `06:30` nor `06:30:15`.
    #[error("{0:?} is neither an RFC 3339 time nor a time of day such as `06:30`")]
    Syntax(String),
    /// No such zone.
    #[error("there is no time zone {0:?}")]
    Zone(String),
}

/// The instant of a time of day, in a zone, on the day that `day` falls on there. A local time that doesn't exist is
/// moved forward by the gap; of one that exists twice it is the first.
pub fn time_of_day(text: &str, zone: &str, day: Timestamp) -> Result<Timestamp, InvalidTimeOfDay> {
    let time: jiff::civil::Time = text.parse().map_err(|_| InvalidTimeOfDay::Syntax(text.to_owned()))?;
    let zone = jiff::tz::TimeZone::get(zone).map_err(|_| InvalidTimeOfDay::Zone(zone.to_owned()))?;
    let date = day.to_jiff().to_zoned(zone.clone()).date();
    let instant = zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible();
    instant.map(Timestamp::from_jiff).map_err(|_| InvalidTimeOfDay::Syntax(text.to_owned()))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_jiff(), f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self::from_jiff)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// Why a text isn't a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpan {
    /// Neither `20m`, `1h30m` nor ISO 8601.
    #[error("expected a duration such as `30s`, `20m`, `1h30m`, `1d` or ISO 8601 `PT20M`")]
    Syntax,
    /// A bare number: seconds, minutes?
    #[error("a number alone is ambiguous: write the unit, for example `{0}s` or `{0}m`")]
    NoUnit(String),
    /// Months and years have no fixed length.
    #[error("months and years have no fixed length: use days, hours, minutes or seconds")]
    Calendar,
    /// Longer than 10,000 days or negative.
    #[error("must be between 0 and 10000 days")]
    Range,
}

const UNITS: [(&str, i64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];
const SPAN_MAX: i64 = 10_000 * 86_400_000_000;

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// So many seconds.
    pub const fn seconds(n: i64) -> Self {
        Self(n.saturating_mul(1_000_000))
    }

    /// So many milliseconds.
    pub const fn millis(n: i64) -> Self {
        Self(n.saturating_mul(1_000))
    }

    /// For the standard library's timers.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0.max(0) as u64)
    }

    fn parse_units(text: &str) -> Result<Self, InvalidSpan> {
        if text.parse::<f64>().is_ok() {
            return Err(InvalidSpan::NoUnit(text.to_owned()));
        }
        let mut rest = text;
        let (mut total, mut last_unit) = (0_i64, i64::MAX);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(InvalidSpan::Syntax)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let scale = UNITS.iter().find(|(name, _)| *name == unit).ok_or(InvalidSpan::Syntax)?.1;
            if scale >= last_unit {
                return Err(InvalidSpan::Syntax);
            }
            let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
            let whole: i64 = whole.parse().map_err(|_| InvalidSpan::Syntax)?;
            if fraction.is_empty() || fraction.len() > 6 {
                return Err(InvalidSpan::Syntax);
            }
            let parts: i64 = fraction.parse().map_err(|_| InvalidSpan::Syntax)?;
            let micros = whole.checked_mul(scale).ok_or(InvalidSpan::Range)?
                + i64::try_from(i128::from(parts) * i128::from(scale) / 10_i128.pow(fraction.len() as u32))
                    .map_err(|_| InvalidSpan::Range)?;
            total = total.checked_add(micros).ok_or(InvalidSpan::Range)?;
            (last_unit, rest) = (scale, tail);
        }
        Ok(Self(total))
    }

    fn parse_iso(text: &str) -> Result<Self, InvalidSpan> {
        let span: jiff::Span = text.parse().map_err(|_| InvalidSpan::Syntax)?;
        if span.get_months() != 0 || span.get_years() != 0 {
            return Err(InvalidSpan::Calendar);
        }
        let total = span
            .total(jiff::SpanTotal::from(jiff::Unit::Microsecond).days_are_24_hours())
            .map_err(|_| InvalidSpan::Range)?;
        Ok(Self(total as i64))
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;
    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let text = text.trim();
        let span = match text.as_bytes().first() {
            None | Some(b'-') => return Err(InvalidSpan::Syntax),
            Some(b'P') => Self::parse_iso(text)?,
            Some(_) => Self::parse_units(text)?,
        };
        if (0..=SPAN_MAX).contains(&span.0) { Ok(span) } else { Err(InvalidSpan::Range) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 <= 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, scale) in UNITS {
            let n = rest / scale;
            if n > 0 {
                write!(f, "{n}{unit}")?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl schemars::JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A duration, such as `1h30m`, `20s` or `PT20M`." })
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|e| serde::de::Error::custom(format_args!("{text:?}: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_what_people_write() {
        let span = |text: &str| text.parse::<Span>().map(|s| s.to_string());
        assert_eq!(span("90m"), Ok("1h30m".into()));
        assert_eq!(span("1.5s"), Ok("1s500ms".into()));
        assert_eq!(span("PT20M"), Ok("20m".into()));
        assert_eq!(span("P1DT1H"), Ok("1d1h".into()));
        assert_eq!(span("0s"), Ok("0s".into()));
        assert_eq!(span("30"), Err(InvalidSpan::NoUnit("30".into())));
        assert_eq!(span("P1M"), Err(InvalidSpan::Calendar));
        for bad in ["", "-5s", "5 m", "m", "5s5m", "5m5m", "99999d", "1e9s"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_span_survives_its_text_form(micros in 0..SPAN_MAX) {
            proptest::prop_assert_eq!(Span(micros).to_string().parse(), Ok(Span(micros)));
        }
        #[test]
        fn an_instant_survives_its_text_form(micros in -10_i64.pow(16)..10_i64.pow(16)) {
            proptest::prop_assert_eq!(Timestamp(micros).to_string().parse::<Timestamp>().ok(), Some(Timestamp(micros)));
        }
    }

    #[test]
    fn times_of_day_are_local() {
        let day = "2026-03-29T12:00:00Z".parse().unwrap();
        let at = |text| time_of_day(text, "Europe/Berlin", day).map(|at| at.to_string());
        assert_eq!(at("06:30"), Ok("2026-03-29T04:30:00Z".into()));
        assert_eq!(at("02:30"), Ok("2026-03-29T01:30:00Z".into()));
        assert_eq!(at("six"), Err(InvalidTimeOfDay::Syntax("six".into())));
        assert_eq!(
            time_of_day("06:30", "Europe/Bärlin", day),
            Err(InvalidTimeOfDay::Zone("Europe/Bärlin".into()))
        );
    }

    #[test]
    fn instants_print_as_airflow_prints_them() {
        assert_eq!(
            "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().airflow(),
            "2026-01-01T00:00:00+00:00"
        );
        assert_eq!(
            "2026-01-01T00:00:00.25Z".parse::<Timestamp>().unwrap().airflow(),
            "2026-01-01T00:00:00.250000+00:00"
        );
    }
}
