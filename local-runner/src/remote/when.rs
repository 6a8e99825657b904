//! Times as people read and write them.

use dags::time::Timestamp;

use crate::Error;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// `2026-03-01 03:00:05Z (2h ago)`.
pub(super) fn shown(at: Timestamp, now: Timestamp) -> String {
    let whole = Timestamp(at.0.div_euclid(SECOND) * SECOND);
    format!("{} ({})", whole.to_string().replacen('T', " ", 1), distance(at, now))
}

/// `2h ago`, `in 3d`, `now`.
fn distance(at: Timestamp, now: Timestamp) -> String {
    let (length, past) = if at <= now { (now.since(at).0, true) } else { (at.since(now).0, false) };
    let text = match length {
        ..SECOND => return "now".to_owned(),
        SECOND..MINUTE => format!("{}s", length / SECOND),
        MINUTE..HOUR => format!("{}m", length / MINUTE),
        HOUR..DAY => format!("{}h", length / HOUR),
        DAY.. => format!("{}d", length / DAY),
    };
    if past { format!("{text} ago") } else { format!("in {text}") }
}

/// A time with an offset, or a date: its midnight in UTC.
pub(super) fn read(option: &str, text: &str) -> Result<Timestamp, Error> {
    let midnight = || format!("{text}T00:00:00Z").parse().ok().filter(|_| text.len() == 10);
    text.parse().ok().or_else(midnight).ok_or_else(|| {
        Error::usage(
            format!("`{option} {text}` is neither a date nor a time with an offset"),
            "write a date such as 2026-01-31 or a time such as 2026-01-31T06:00:00Z",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_short() {
        let now = Timestamp(10 * DAY);
        let far = |n| distance(Timestamp(now.0 + n), now);
        assert_eq!(
            [far(0), far(-5 * SECOND), far(90 * MINUTE), far(-DAY), far(-61 * MINUTE), far(59 * SECOND)],
            ["now", "5s ago", "in 1h", "1d ago", "1h ago", "in 59s"]
        );
        assert_eq!(shown(Timestamp(1), now), "1970-01-01 00:00:00Z (9d ago)");
    }

    #[test]
    fn dates_and_times_are_read() {
        let day = read("--date", "2026-03-01").unwrap();
        assert_eq!(day, read("--date", "2026-03-01T01:00:00+01:00").unwrap());
        assert!(read("--date", "yesterday").unwrap_err().is_usage());
        assert!(read("--date", "2026-03-01T01:00:00").is_err());
    }
}
