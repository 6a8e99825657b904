//! What stands under `macros` in Airflow's templates, and its date filters.

use jiff::ToSpan as _;
use minijinja::{Environment, Error, Value, value::Kwargs};

use crate::{error::refused, instant::Instant};

fn ds(value: &Value) -> Result<String, Error> {
    Instant::of(value)?.strftime("%Y-%m-%d")
}

fn ds_nodash(value: &Value) -> Result<String, Error> {
    Instant::of(value)?.strftime("%Y%m%d")
}

fn ts(value: &Value) -> Result<String, Error> {
    Ok(Instant::of(value)?.isoformat())
}

fn ts_nodash(value: &Value) -> Result<String, Error> {
    Instant::of(value)?.strftime("%Y%m%dT%H%M%S")
}

fn ts_nodash_with_tz(value: &Value) -> Result<String, Error> {
    Instant::of(value)?.strftime("%Y%m%dT%H%M%S+0000")
}

fn ds_add(value: &Value, days: i64) -> Result<String, Error> {
    let span = jiff::Span::new().try_days(days).map_err(|e| refused(e, "use fewer days"))?;
    Instant::of(value)?.add(span)?.strftime("%Y-%m-%d")
}

fn ds_format(value: &str, input: &str, output: &str) -> Result<String, Error> {
    let parsed = jiff::fmt::strtime::parse(input, value).map_err(|e| {
        refused(format_args!("{value:?} doesn't match {input:?}: {e}"), "for example `%Y-%m-%d`")
    })?;
    let date = parsed.to_date().map_err(|e| refused(e, "the input format must hold year, month and day"))?;
    let time = parsed.to_time().unwrap_or_default();
    let at = date
        .to_datetime(time)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|e| refused(e, "use another date"))?;
    Instant(at).strftime(output)
}

fn datetime(year: i64, month: i64, day: i64, hour: Option<i64>, minute: Option<i64>) -> Result<Value, Error> {
    let text =
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:00Z", hour.unwrap_or(0), minute.unwrap_or(0));
    Instant::of(&Value::from(text)).map(Instant::value)
}

fn timedelta(_kwargs: Kwargs) -> Result<Value, Error> {
    Err(refused(
        "`macros.timedelta` doesn't exist here: instants have no `+` and `-`",
        "write `logical_date.add(days=1)` or `logical_date.subtract(hours=2)`",
    ))
}

fn yesterday(value: &Value) -> Result<String, Error> {
    Instant::of(value)?.add(-1.days())?.strftime("%Y-%m-%d")
}

fn tomorrow(value: &Value) -> Result<String, Error> {
    Instant::of(value)?.add(1.days())?.strftime("%Y-%m-%d")
}

/// Adds the date filters and the global `macros`.
pub(crate) fn add(env: &mut Environment<'_>) {
    env.add_filter("ds", ds);
    env.add_filter("ds_nodash", ds_nodash);
    env.add_filter("ts", ts);
    env.add_filter("ts_nodash", ts_nodash);
    env.add_filter("ts_nodash_with_tz", ts_nodash_with_tz);
    env.add_filter("yesterday_ds", yesterday);
    env.add_filter("tomorrow_ds", tomorrow);
    env.add_global(
        "macros",
        Value::from_pairs([
            ("ds_add", Value::from_function(ds_add)),
            ("ds_format", Value::from_function(ds_format)),
            ("datetime", Value::from_function(datetime)),
            ("timedelta", Value::from_function(timedelta)),
        ]),
    );
}
