//! Reads cron expressions of five or six fields into bit masks.
//!
//! The dialect is Airflow's: Sunday is 0 and 7, names, lists, ranges (also ones that wrap, `22-2`), steps, `L`, `W`, `#`,
//! nicknames; day of month and day of week both restricted means either; a sixth field stands last and holds seconds.
//! We read it ourselves because a parsed croner pattern takes 5 kB (a bit map of years) and a service keeps tens of
//! thousands; croner is the oracle of the tests. Matching is in the module `calendar`.

use super::error::{CRON_BYTES_MAX, InvalidCron};

/// A cron expression, compiled. Says nothing about time zones: it matches wall-clock times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    /// Bits 0 to 59.
    pub(super) seconds: u64,
    /// Bits 0 to 59.
    pub(super) minutes: u64,
    /// Bits 0 to 23.
    pub(super) hours: u32,
    /// Bits 1 to 12.
    pub(super) months: u16,
    pub(super) days: Days,
}

/// The two fields that choose days.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Days {
    /// The day of month is `*`.
    pub(super) any_day: bool,
    /// The day of week is `*`.
    pub(super) any_weekday: bool,
    /// Bits 1 to 31.
    pub(super) of_month: u32,
    /// Bits 1 to 31: the working day nearest to this one (`15W`).
    pub(super) nearest: u32,
    /// The last day of the month (`L`).
    pub(super) last: bool,
    /// The last working day of the month (`LW`).
    pub(super) last_working: bool,
    /// Bits 0 (Sunday) to 6, in every week.
    pub(super) of_week: u8,
    /// Bits 0 to 6, in the first to fifth week (`1#2`).
    pub(super) nth: [u8; 5],
    /// Bits 0 to 6, the last one of the month (`5L`, `L5`).
    pub(super) last_of_week: u8,
}

const ALL_HOURS: u32 = (1 << 24) - 1;
const NICKNAMES: [(&str, &str); 8] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@quarterly", "0 0 1 */3 *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// Reads an expression or a nickname.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidCron> {
        if text.len() > CRON_BYTES_MAX {
            return Err(InvalidCron::Long(text.len()));
        }
        let text = text.trim().to_lowercase();
        let text = if text.starts_with('@') { nickname(&text)? } else { &text };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (&[minute, hour, day, month, weekday], second) = match fields.as_slice() {
            [five @ .., sixth] if five.len() == 5 => (first_five(five), *sixth),
            five if five.len() == 5 => (first_five(five), "0"),
            other => return Err(InvalidCron::Fields(other.len())),
        };
        let mut days = Days { any_day: is_star(day), any_weekday: is_star(weekday), ..Days::default() };
        DAY.read(day, |item| match item {
            Item::Value(day) => days.of_month |= 1 << day,
            Item::Special(special) => days.add(special),
        })?;
        WEEKDAY.read(weekday, |item| match item {
            Item::Value(day) => days.of_week |= 1 << (day % 7),
            Item::Special(special) => days.add(special),
        })?;
        Ok(Self {
            seconds: SECOND.mask(second)?,
            minutes: MINUTE.mask(minute)?,
            hours: HOUR.mask(hour)? as u32,
            months: MONTH.mask(month)? as u16,
            days,
        })
    }

    /// Whether the hour field matches every hour. Such an expression follows absolute time through a DST change.
    pub(super) fn covers_every_hour(&self) -> bool {
        self.hours == ALL_HOURS
    }
}

fn first_five<'a, 'b>(fields: &'a [&'b str]) -> &'a [&'b str; 5] {
    fields.first_chunk().expect("invariant: the caller counted five fields")
}

fn nickname(text: &str) -> Result<&'static str, InvalidCron> {
    match text {
        "@once" => Err(InvalidCron::NotCron("once")),
        "@continuous" => Err(InvalidCron::NotCron("continuous")),
        _ => (NICKNAMES.iter().find(|(name, _)| *name == text).map(|(_, cron)| *cron))
            .ok_or_else(|| InvalidCron::Nickname(text.to_owned())),
    }
}

fn is_star(field: &str) -> bool {
    field == "*" || field == "?"
}

impl Days {
    fn add(&mut self, special: Special) {
        match special {
            Special::LastDay => self.last = true,
            Special::LastWorkingDay => self.last_working = true,
            Special::Nearest(day) => self.nearest |= 1 << day,
            Special::LastWeekday(day) => self.last_of_week |= 1 << (day % 7),
            Special::Nth(day, n) => self.nth[usize::from(n) - 1] |= 1 << (day % 7),
        }
    }
}

/// One thing that an entry of a field stands for.
enum Item {
    Value(u8),
    Special(Special),
}

/// What only the two fields of days know.
#[derive(Clone, Copy)]
enum Special {
    LastDay,
    LastWorkingDay,
    Nearest(u8),
    LastWeekday(u8),
    Nth(u8, u8),
}

/// How one field is read.
struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    /// Names for the numbers from `min` on.
    names: &'static [&'static str],
    expected: &'static str,
}

const PLAIN: &str = "`*`, a number, a range `a-b`, a step `*/n` or a list of them";
const SECOND: Field = Field { name: "second", min: 0, max: 59, names: &[], expected: PLAIN };
const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[], expected: PLAIN };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[], expected: PLAIN };
const DAY: Field = Field {
    name: "day of month",
    min: 1,
    max: 31,
    names: &[],
    expected: "`*`, a number, a range `a-b`, a step `*/n`, `L`, `LW`, `15W` or a list of them",
};
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &MONTHS,
    expected: "`*`, a number, a name `jan`, a range `a-b`, a step `*/n` or a list of them",
};
const WEEKDAY: Field = Field {
    name: "day of week",
    min: 0,
    max: 7,
    names: &WEEKDAYS,
    expected: "`*`, a number, a name `mon`, a range `a-b`, the second Monday `1#2`, the last Friday `5L` or a list of them",
};

impl Field {
    fn mask(&self, text: &str) -> Result<u64, InvalidCron> {
        let mut mask = 0;
        self.read(text, |item| {
            if let Item::Value(value) = item {
                mask |= 1 << value;
            }
        })?;
        Ok(mask)
    }

    fn read(&self, text: &str, mut found: impl FnMut(Item)) -> Result<(), InvalidCron> {
        for entry in text.split(',') {
            match self.special(entry)? {
                Some(special) => found(Item::Special(special)),
                None => self.range(entry, &mut found)?,
            }
        }
        Ok(())
    }

    fn special(&self, entry: &str) -> Result<Option<Special>, InvalidCron> {
        let weekday = self.name == WEEKDAY.name;
        Ok(match entry {
            "l" if self.name == DAY.name => Some(Special::LastDay),
            "lw" if self.name == DAY.name => Some(Special::LastWorkingDay),
            _ if self.name == DAY.name => match entry.strip_suffix('w') {
                Some(day) => Some(Special::Nearest(self.value(day)?)),
                None => None,
            },
            _ if weekday && entry.contains('#') => {
                let (day, n) = entry.split_once('#').ok_or_else(|| self.syntax(entry))?;
                let n = n.parse().ok().filter(|n| (1..=5).contains(n)).ok_or_else(|| self.syntax(entry))?;
                Some(Special::Nth(self.value(day)?, n))
            }
            _ if weekday && (entry.starts_with('l') || entry.ends_with('l')) => {
                Some(Special::LastWeekday(self.value(entry.trim_matches('l'))?))
            }
            _ => None,
        })
    }

    fn range(&self, entry: &str, found: &mut impl FnMut(Item)) -> Result<(), InvalidCron> {
        let (span, step) = match entry.split_once('/') {
            None => (entry, None),
            Some((span, step)) => match step.parse::<u8>() {
                Ok(n) if n > 0 => (span, Some(n)),
                _ => return Err(InvalidCron::Step { field: self.name, text: step.to_owned() }),
            },
        };
        // Sunday's second name is for numbers only; `*/2` must not see an eighth day.
        let max = if self.name == WEEKDAY.name { 6 } else { self.max };
        let (first, last) = if is_star(span) {
            (self.min, max)
        } else if let Some((first, last)) = span.split_once('-') {
            (self.value(first)?, self.value(last)?)
        } else {
            let first = self.value(span)?;
            (first, if step.is_some() { max.max(first) } else { first })
        };
        let first = if first > max && first > last { self.min } else { first };
        // A range that wraps, such as `22-2` or `fri-mon`, goes on from the field's start.
        let end =
            if first <= last { u16::from(last) } else { u16::from(last) + u16::from(max - self.min) + 1 };
        for value in (u16::from(first)..=end).step_by(usize::from(step.unwrap_or(1))) {
            let over = value > u16::from(max) && first > last;
            let value = if over { value - u16::from(max - self.min) - 1 } else { value };
            found(Item::Value(value as u8));
        }
        Ok(())
    }

    fn value(&self, text: &str) -> Result<u8, InvalidCron> {
        if let Some(index) = self.names.iter().position(|name| *name == text) {
            return Ok(self.min + index as u8);
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.syntax(text));
        }
        match text.parse() {
            Ok(value) if (self.min..=self.max).contains(&value) => Ok(value),
            _ => Err(InvalidCron::Range {
                field: self.name,
                text: text.to_owned(),
                min: self.min,
                max: self.max,
            }),
        }
    }

    fn syntax(&self, text: &str) -> InvalidCron {
        InvalidCron::Syntax { field: self.name, text: text.to_owned(), expected: self.expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(field: &str) -> Vec<u32> {
        let cron = Cron::parse(&format!("0 {field} * * *")).unwrap();
        (0..24).filter(|h| cron.hours >> h & 1 == 1).collect()
    }

    fn weekdays(field: &str) -> Vec<u32> {
        let cron = Cron::parse(&format!("0 0 * * {field}")).unwrap();
        (0..8).filter(|d| cron.days.of_week >> d & 1 == 1).collect()
    }

    #[test]
    fn entries_of_a_field() {
        assert_eq!(hours("1,3-5"), [1, 3, 4, 5]);
        assert_eq!(hours("*/9"), [0, 9, 18]);
        assert_eq!(hours("5/9"), [5, 14, 23]);
        assert_eq!(hours("22-2"), [0, 1, 2, 22, 23]);
        assert_eq!(hours("20-4/3"), [2, 20, 23]);
        assert_eq!(weekdays("7"), [0]);
        assert_eq!(weekdays("5-7"), [0, 5, 6]);
        assert_eq!(weekdays("FRI-mon"), [0, 1, 5, 6]);
        assert_eq!(weekdays("7-2"), [0, 1, 2]);
        assert_eq!(weekdays("*/2"), [0, 2, 4, 6]);
        assert_eq!(weekdays("0-7").len(), 7);
        assert_eq!(Cron::parse("0 0 * NOV-feb *").unwrap().months, 0b1_1000_0000_0110);
        assert_eq!(Cron::parse("1 2 * * * 7").unwrap().seconds, 1 << 7);
        assert_eq!(Cron::parse("0 0 * * L5").unwrap(), Cron::parse("0 0 * * 5L").unwrap());
        assert_eq!(Cron::parse("@Weekly").unwrap(), Cron::parse("0 0 * * 7").unwrap());
        assert!(Cron::parse("7 0-23 * * *").unwrap().covers_every_hour());
        assert!(!Cron::parse("7 0-22 * * *").unwrap().covers_every_hour());
    }

    #[test]
    fn errors_name_the_field() {
        let error = |text: &str| Cron::parse(text).unwrap_err().to_string();
        insta::assert_snapshot!(error("0 30 2 * * *"), @"the hour `30` is out of range: 0 to 23");
        insta::assert_snapshot!(error("0 0 * *"), @"has 4 fields; expected five (minute, hour, day of month, month, day of week) or a sixth for seconds");
        insta::assert_snapshot!(error("*/0 0 * * *"), @"the step `/0` of the minute must be a number from 1 to 255");
        insta::assert_snapshot!(error("0 0 * foo *"), @"the month `foo` isn't understood; expected `*`, a number, a name `jan`, a range `a-b`, a step `*/n` or a list of them");
        insta::assert_snapshot!(error("0 0 * * 1#6"), @"the day of week `1#6` isn't understood; expected `*`, a number, a name `mon`, a range `a-b`, the second Monday `1#2`, the last Friday `5L` or a list of them");
        insta::assert_snapshot!(error("@often"), @"`@often` is no nickname; known are @hourly, @daily, @midnight, @weekly, @monthly, @quarterly, @yearly and @annually");
        insta::assert_snapshot!(error("@once"), @"`@once` is a schedule of its own, not a cron expression: write `once`");
        for bad in [
            "",
            "1, * * * *",
            "- * * * *",
            "1-2-3 * * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "* l * * *",
            "* * w * *",
            "* * * * l",
            "* * * * #1",
            "+1 * * * *",
            "*5 * * * *",
            "999 * * * *",
        ] {
            assert!(Cron::parse(bad).is_err(), "{bad}");
        }
    }
}
