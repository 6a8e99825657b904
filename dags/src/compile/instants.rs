//! Dates and times.

use jiff::{civil::Date, tz::TimeZone};

use super::Context;
use crate::{
    diagnostic::{Draft, code},
    time::Timestamp,
    tree::{Kind, Node},
};

impl Context<'_, '_> {
    /// A time with an offset, or a date, which is its midnight in the zone of the schedule.
    pub(super) fn instant(&mut self, node: &Node, what: &str, zone: &TimeZone) -> Option<Timestamp> {
        let Kind::Str(text) = &node.kind else {
            self.expected(
                node,
                what,
                "a date such as `2026-01-31` or a time such as `2026-01-31T06:00:00Z`",
                None,
            );
            return None;
        };
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some(instant);
        }
        if text.len() == 10
            && let Ok(date) = text.parse::<Date>()
            && let Ok(midnight) = date.to_zoned(zone.clone())
        {
            return Some(Timestamp::from_jiff(midnight.timestamp()));
        }
        let help = if text.parse::<jiff::civil::DateTime>().is_ok() && text.len() > 10 {
            format!("a time without an offset is ambiguous: write `{text}Z` for UTC, or `{text}+01:00`")
        } else {
            "write a date such as `2026-01-31` or a time such as `2026-01-31T06:00:00Z`".to_owned()
        };
        let message = format!("`{what}` isn't a date or time: {}", node.describe());
        self.push(Draft::error(code::DAG_TIME, message).at(node.span, "this value").help(help));
        None
    }

    /// The zone of that name.
    pub(super) fn zone(&mut self, name: &str, node: &Node) -> Option<TimeZone> {
        // `get` takes any case; the model keeps the name as the database spells it.
        if let Ok(zone) = TimeZone::get(name)
            && zone.iana_name().is_some_and(|known| known == name)
        {
            return Some(zone);
        }
        let names: Vec<_> = jiff::tz::db().available().collect();
        let help = self
            .reporter
            .did_you_mean(name, names.iter().map(jiff::tz::TimeZoneName::as_str))
            .unwrap_or_else(|| {
                "write a name of the IANA database such as `Europe/Berlin` or `UTC`".to_owned()
            });
        let message = format!("there is no time zone `{name}`");
        self.push(Draft::error(code::SCHEDULE_TIMEZONE, message).at(node.span, "unknown zone").help(help));
        None
    }
}
