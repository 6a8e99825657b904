//! Instants as people write them.

use dags::time::Timestamp;
use local_runner::Error;

/// A time with an offset, or a date, which is its midnight in that zone.
pub(crate) fn parse(option: &str, text: &str, zone: &str) -> Result<Timestamp, Error> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let midnight = format!("{text}T00:00:00Z").parse::<Timestamp>().ok().filter(|_| text.len() == 10);
    // Noon is on the same day in every zone but the outermost ones.
    let day = midnight.map(|midnight| midnight.after(dags::time::Span::seconds(12 * 3600)));
    match day.map(|day| {
        if zone == "UTC" { Ok(midnight.unwrap_or(day)) } else { dags::time::time_of_day("00:00", zone, day) }
    }) {
        Some(Ok(instant)) => Ok(instant),
        Some(Err(error)) => Err(Error::usage(error.to_string(), "name a zone such as `Europe/Berlin`")),
        None => Err(Error::usage(
            format!("`{option} {text}` is neither a date nor a time with an offset"),
            "write a date such as 2026-01-31 or a time such as 2026-01-31T06:00:00Z",
        )),
    }
}
