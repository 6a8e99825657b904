//! Matches wall-clock times against a cron expression.
//!
//! A wall-clock time is counted in seconds since 1970-01-01 00:00 on the same wall clock, whatever the zone. Searches are
//! bounded by the caller and go month by month, then by bit operations.

use super::cron::{Cron, Days};

const DAY: i64 = 86_400;

impl Cron {
    /// The first match in `from..to`.
    pub(super) fn first_in(&self, from: i64, to: i64) -> Option<i64> {
        let (day, second) = (from.div_euclid(DAY), from.rem_euclid(DAY) as u32);
        let mut month = Month::of(day)?;
        let mut least = (day - month.first + 1) as u32;
        let mut start = second;
        while month.first * DAY < to {
            let mut days = self.days_of(&month) & (u32::MAX << least);
            if least == 0 || days & 1 << least == 0 {
                start = 0;
            }
            while days != 0 {
                let found = days.trailing_zeros();
                if let Some(time) = self.time_from(start) {
                    let at = (month.first + i64::from(found) - 1) * DAY + i64::from(time);
                    return (at < to).then_some(at);
                }
                days &= days - 1;
                start = 0;
            }
            (month, least, start) = (month.next(), 0, 0);
        }
        None
    }

    /// The last match in `from..to`.
    pub(super) fn last_in(&self, from: i64, to: i64) -> Option<i64> {
        let to = to - 1;
        let (day, second) = (to.div_euclid(DAY), to.rem_euclid(DAY) as u32);
        let mut month = Month::of(day)?;
        let mut most = (day - month.first + 1) as u32;
        let mut end = second;
        loop {
            let mut days = self.days_of(&month) & (u32::MAX >> (31 - most));
            if days & 1 << most == 0 {
                end = DAY as u32 - 1;
            }
            while days != 0 {
                let found = days.ilog2();
                if let Some(time) = self.time_until(end) {
                    let at = (month.first + i64::from(found) - 1) * DAY + i64::from(time);
                    return (at >= from).then_some(at);
                }
                days &= !(1 << found);
                end = DAY as u32 - 1;
            }
            if month.first * DAY <= from {
                return None;
            }
            (month, most, end) = (month.previous(), 31, DAY as u32 - 1);
        }
    }

    fn days_of(&self, month: &Month) -> u32 {
        if self.months >> month.month & 1 == 1 { self.days.of(month) } else { 0 }
    }

    /// The first matching second of the day from `start` on.
    fn time_from(&self, start: u32) -> Option<u32> {
        let (hour, minute, second) = (start / 3600, start / 60 % 60, start % 60);
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(s) = lowest(self.seconds & (!0 << second))
            {
                return Some(hour * 3600 + minute * 60 + s);
            }
            if let Some(m) = lowest(self.minutes & (!1 << minute)) {
                return Some(hour * 3600 + m * 60 + lowest(self.seconds)?);
            }
        }
        let h = lowest(u64::from(self.hours & (!1 << hour)))?;
        Some(h * 3600 + lowest(self.minutes)? * 60 + lowest(self.seconds)?)
    }

    /// The last matching second of the day up to `end`.
    fn time_until(&self, end: u32) -> Option<u32> {
        let (hour, minute, second) = (end / 3600, end / 60 % 60, end % 60);
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(s) = highest(self.seconds & !(!1 << second))
            {
                return Some(hour * 3600 + minute * 60 + s);
            }
            if let Some(m) = highest(self.minutes & !(!0 << minute)) {
                return Some(hour * 3600 + m * 60 + highest(self.seconds)?);
            }
        }
        let h = highest(u64::from(self.hours & !(!0 << hour)))?;
        Some(h * 3600 + highest(self.minutes)? * 60 + highest(self.seconds)?)
    }
}

fn lowest(mask: u64) -> Option<u32> {
    (mask != 0).then(|| mask.trailing_zeros())
}

fn highest(mask: u64) -> Option<u32> {
    mask.checked_ilog2()
}

/// A month of the proleptic Gregorian calendar.
struct Month {
    year: i16,
    /// 1 to 12.
    month: u8,
    /// Its first day, counted from 1970-01-01.
    first: i64,
    /// How many days it has.
    length: u32,
}

impl Month {
    /// The month that a day, counted from 1970-01-01, lies in; none beyond the years that the calendar knows.
    fn of(day: i64) -> Option<Self> {
        let instant = jiff::Timestamp::from_second(day.checked_mul(DAY)?).ok()?;
        let date = jiff::tz::Offset::UTC.to_datetime(instant).date();
        Some(Self {
            year: date.year(),
            month: date.month() as u8,
            first: day - i64::from(date.day()) + 1,
            length: date.days_in_month() as u32,
        })
    }

    fn next(&self) -> Self {
        let (year, month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        Self { year, month, first: self.first + i64::from(self.length), length: length(year, month) }
    }

    fn previous(&self) -> Self {
        let (year, month) = if self.month == 1 { (self.year - 1, 12) } else { (self.year, self.month - 1) };
        let length = length(year, month);
        Self { year, month, first: self.first - i64::from(length), length }
    }

    /// The first day of the month that is this weekday, 0 being Sunday.
    fn first_weekday(&self, weekday: u32) -> u32 {
        // 1970-01-01 was a Thursday.
        let first = (self.first + 4).rem_euclid(7) as u32;
        1 + (weekday + 7 - first) % 7
    }
}

fn length(year: i16, month: u8) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Days {
    /// The matching days of a month, as bits 1 to 31.
    fn of(&self, month: &Month) -> u32 {
        let all = (u32::MAX >> (31 - month.length)) & !1;
        match (self.any_day, self.any_weekday) {
            (true, true) => all,
            (true, false) => self.by_weekday(month) & all,
            (false, true) => self.by_day(month) & all,
            (false, false) => (self.by_day(month) | self.by_weekday(month)) & all,
        }
    }

    fn by_day(&self, month: &Month) -> u32 {
        let mut days = self.of_month;
        if self.last {
            days |= 1 << month.length;
        }
        if self.last_working {
            days |= 1 << nearest_working_day(month, month.length);
        }
        for day in (1..=month.length).filter(|day| self.nearest >> day & 1 == 1) {
            days |= 1 << nearest_working_day(month, day);
        }
        days
    }

    fn by_weekday(&self, month: &Month) -> u32 {
        const WEEKS: u32 = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;
        let mut days = 0;
        for weekday in 0..7 {
            let first = month.first_weekday(weekday);
            if self.of_week >> weekday & 1 == 1 {
                days |= WEEKS << first;
            }
            for (week, mask) in (0_u32..).zip(self.nth) {
                let day = first + 7 * week;
                if mask >> weekday & 1 == 1 && day <= 31 {
                    days |= 1 << day;
                }
            }
            if self.last_of_week >> weekday & 1 == 1 {
                days |= 1 << (first + (month.length - first) / 7 * 7);
            }
        }
        days
    }
}

/// The day of Monday to Friday that is nearest to `day` within the month.
fn nearest_working_day(month: &Month, day: u32) -> u32 {
    let (sunday, saturday) = (month.first_weekday(0), month.first_weekday(6));
    if (day + 35 - saturday).is_multiple_of(7) {
        if day > 1 { day - 1 } else { day + 2 }
    } else if (day + 35 - sunday).is_multiple_of(7) {
        if day < month.length { day + 1 } else { day - 2 }
    } else {
        day
    }
}

#[cfg(test)]
mod tests {
    use croner::parser::{CronParser, Year};
    use jiff::{Timestamp, Zoned, tz::TimeZone};
    use proptest::prelude::*;

    use super::*;

    /// A field's entries: numbers, ranges and steps within `min..=max`, and what `special` adds.
    fn field(min: u8, max: u8, special: &'static [&'static str]) -> impl Strategy<Value = String> {
        let value = min..=max;
        let range = (value.clone(), value.clone(), 1..=max)
            .prop_map(|(a, b, step)| (a.min(b), a.max(b), step))
            .prop_map(
                |(a, b, step)| if step % 2 == 0 { format!("{a}-{b}") } else { format!("{a}-{b}/{step}") },
            );
        let mut entry =
            prop_oneof![value.prop_map(|v| v.to_string()), range, (1..=max).prop_map(|n| format!("*/{n}"))]
                .boxed();
        if !special.is_empty() {
            entry = prop_oneof![3 => entry, 1 => proptest::sample::select(special).prop_map(str::to_owned)]
                .boxed();
        }
        prop_oneof![
            2 => Just("*".to_owned()),
            3 => proptest::collection::vec(entry, 1..3).prop_map(|entries| entries.join(",")),
        ]
    }

    fn expression() -> impl Strategy<Value = [String; 6]> {
        let fields = (
            field(0, 59, &[]),
            field(0, 59, &[]),
            field(0, 23, &[]),
            // croner reads `L` beside any `W` as `LW`.
            field(1, 31, &["1W", "15W", "31W"]),
            field(1, 12, &["jan", "Dec"]),
            field(0, 7, &["mon", "SUN", "1#1", "5#5", "7#2", "5L", "0L"]),
        );
        fields.prop_map(|(second, minute, hour, day, month, weekday)| {
            [second, minute, hour, day, month, weekday]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        /// croner, an independent implementation of the same dialect, finds the same wall-clock times.
        #[test]
        fn matches_are_croners(fields in expression(), start in 0_i64..4_000_000_000) {
            let [second, rest @ ..] = &fields;
            let ours = Cron::parse(&format!("{} {second}", rest.join(" "))).unwrap();
            let parser = CronParser::builder().year(Year::Disallowed).build();
            let theirs = parser.parse(&fields.join(" ")).unwrap();
            let zoned = |at: i64| Zoned::new(Timestamp::from_second(at).unwrap(), TimeZone::UTC);
            let mut at = start;
            for _ in 0..5 {
                let end = at + 41 * 366 * DAY;
                let found = ours.first_in(at, end);
                let expected = theirs.find_next_occurrence(&zoned(at), true).ok().map(|z| z.timestamp().as_second());
                prop_assert_eq!(found, expected, "{:?} from {}", fields, zoned(at));
                let Some(tick) = found else { return Ok(()) };
                // And backwards: nothing lies between, and the tick itself is found from behind.
                prop_assert_eq!(ours.last_in(at, tick), None);
                prop_assert_eq!(ours.last_in(at, tick + 1), Some(tick));
                at = tick + 1;
            }
        }
    }
}
