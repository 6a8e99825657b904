//! An instant as templates see it: UTC, with the attributes and methods that Airflow's authors know.

use std::{cmp::Ordering, fmt, sync::Arc};

use jiff::{Span, Timestamp, ToSpan as _, Zoned, civil, tz::TimeZone};
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{DynObject, Kwargs, Object, ObjectRepr, from_args},
};

use crate::error::refused;

/// An instant. Prints as `2026-01-31T06:00:00+00:00`, with microseconds only if there are any.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instant(pub(crate) Zoned);

impl Instant {
    /// Reads RFC 3339, or a date or local time, which are taken as UTC.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let at = text
            .parse::<Timestamp>()
            .ok()
            .map(|t| t.to_zoned(TimeZone::UTC))
            .or_else(|| text.parse::<civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok())?;
        Some(Self(at))
    }

    /// The instant that a filter or macro was given: one of ours or a text.
    pub(crate) fn of(value: &Value) -> Result<Self, Error> {
        if let Some(instant) = value.downcast_object_ref::<Self>() {
            return Ok(instant.clone());
        }
        value.as_str().and_then(Self::parse).ok_or_else(|| {
            refused(
                format_args!("{value:?} isn't an instant"),
                "give a date such as `2026-01-31` or `logical_date`",
            )
        })
    }

    pub(crate) fn value(self) -> Value {
        Value::from_object(self)
    }

    /// Formats by the directives of `strftime`, as Python reads them.
    pub(crate) fn strftime(&self, format: &str) -> Result<String, Error> {
        // Python's `%f` is always six digits.
        jiff::fmt::strtime::format(format.replace("%f", "%6f"), &self.0).map_err(|e| {
            refused(format_args!("can't format an instant as {format:?}: {e}"), "for example `%Y-%m-%d`")
        })
    }

    pub(crate) fn isoformat(&self) -> String {
        let micros = self.0.timestamp().as_microsecond().rem_euclid(1_000_000);
        let head = self.0.strftime("%Y-%m-%dT%H:%M:%S");
        if micros == 0 { format!("{head}+00:00") } else { format!("{head}.{micros:06}+00:00") }
    }

    pub(crate) fn add(&self, span: Span) -> Result<Self, Error> {
        self.0
            .checked_add(span)
            .map(Self)
            .map_err(|_| refused("the instant lies outside of years -9999 to 9999", "use a smaller distance"))
    }

    fn start_of(&self, unit: &str) -> Result<Self, Error> {
        let date = self.0.date();
        let date = match unit {
            "day" => date,
            "week" => date
                .checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days())
                .map_err(|_| Error::from(ErrorKind::InvalidOperation))?,
            "month" => date.first_of_month(),
            "year" => date.first_of_year(),
            "hour" => {
                let time = civil::time(self.0.hour(), 0, 0, 0);
                return zoned(date.to_datetime(time));
            }
            other => {
                return Err(refused(
                    format_args!("there is no start of {other:?}"),
                    "units are hour, day, week, month, year",
                ));
            }
        };
        zoned(date.to_datetime(civil::Time::midnight()))
    }

    fn replace(&self, kwargs: &Kwargs) -> Result<Self, Error> {
        let at = self.0.datetime();
        let mut with = at.with();
        if let Some(year) = kwargs.get::<Option<i16>>("year")? {
            with = with.year(year);
        }
        if let Some(month) = kwargs.get::<Option<i8>>("month")? {
            with = with.month(month);
        }
        if let Some(day) = kwargs.get::<Option<i8>>("day")? {
            with = with.day(day);
        }
        if let Some(hour) = kwargs.get::<Option<i8>>("hour")? {
            with = with.hour(hour);
        }
        if let Some(minute) = kwargs.get::<Option<i8>>("minute")? {
            with = with.minute(minute);
        }
        if let Some(second) = kwargs.get::<Option<i8>>("second")? {
            with = with.second(second);
        }
        if let Some(micro) = kwargs.get::<Option<i32>>("microsecond")? {
            with = with.subsec_nanosecond(micro.saturating_mul(1000));
        }
        kwargs.assert_all_used()?;
        let at = with
            .build()
            .map_err(|e| refused(format_args!("there is no such instant: {e}"), "check the parts"))?;
        zoned(at)
    }
}

fn zoned(at: civil::DateTime) -> Result<Instant, Error> {
    at.to_zoned(TimeZone::UTC)
        .map(Instant)
        .map_err(|e| refused(e, "use a date between the years -9999 and 9999"))
}

/// A distance in the words of `add(days=1, hours=2)`.
pub(crate) fn span(kwargs: &Kwargs) -> Result<Span, Error> {
    let mut span = Span::new();
    let outside = |e: jiff::Error| refused(e, "use a smaller distance");
    for unit in ["years", "months", "weeks", "days", "hours", "minutes", "seconds", "microseconds"] {
        let Some(n) = kwargs.get::<Option<i64>>(unit)? else { continue };
        span = match unit {
            "years" => span.try_years(n),
            "months" => span.try_months(n),
            "weeks" => span.try_weeks(n),
            "days" => span.try_days(n),
            "hours" => span.try_hours(n),
            "minutes" => span.try_minutes(n),
            "seconds" => span.try_seconds(n),
            _ => span.try_microseconds(n),
        }
        .map_err(outside)?;
    }
    kwargs.assert_all_used()?;
    Ok(span)
}

impl Object for Instant {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = &self.0;
        let number = match key.as_str()? {
            "year" => i64::from(at.year()),
            "month" => i64::from(at.month()),
            "day" => i64::from(at.day()),
            "hour" => i64::from(at.hour()),
            "minute" => i64::from(at.minute()),
            "second" => i64::from(at.second()),
            "microsecond" => i64::from(at.subsec_nanosecond() / 1000),
            "day_of_week" => i64::from(at.weekday().to_monday_zero_offset()),
            "day_of_year" => i64::from(at.day_of_year()),
            "week_of_year" => i64::from(at.date().iso_week_date().week()),
            "days_in_month" => i64::from(at.days_in_month()),
            "quarter" => i64::from((at.month() - 1) / 3 + 1),
            "int_timestamp" => at.timestamp().as_second(),
            _ => return None,
        };
        Some(Value::from(number))
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let nothing = || from_args::<()>(args);
        Ok(match method {
            "strftime" => {
                let (format,) = from_args::<(&str,)>(args)?;
                Value::from(self.strftime(format)?)
            }
            "isoformat" | "to_iso8601_string" => {
                nothing()?;
                Value::from(self.isoformat())
            }
            "date" | "to_date_string" => {
                nothing()?;
                Value::from(self.0.date().to_string())
            }
            "timestamp" => {
                nothing()?;
                Value::from(self.0.timestamp().as_microsecond() as f64 / 1e6)
            }
            "weekday" => {
                nothing()?;
                Value::from(self.0.weekday().to_monday_zero_offset())
            }
            "isoweekday" => {
                nothing()?;
                Value::from(self.0.weekday().to_monday_one_offset())
            }
            "add" => {
                let (kwargs,) = from_args::<(Kwargs,)>(args)?;
                self.add(span(&kwargs)?)?.value()
            }
            "subtract" => {
                let (kwargs,) = from_args::<(Kwargs,)>(args)?;
                self.add(-span(&kwargs)?)?.value()
            }
            "start_of" => {
                let (unit,) = from_args::<(&str,)>(args)?;
                self.start_of(unit)?.value()
            }
            "replace" => {
                let (kwargs,) = from_args::<(Kwargs,)>(args)?;
                self.replace(&kwargs)?.value()
            }
            "in_timezone" | "in_tz" | "astimezone" | "format" => {
                return Err(refused(
                    format_args!("an instant has no method `{method}` here: templates know UTC only"),
                    "use `strftime`, or convert the time in the task's own code",
                ));
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        })
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        Some(self.0.cmp(&other.downcast_ref::<Self>()?.0))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.isoformat())
    }
}
