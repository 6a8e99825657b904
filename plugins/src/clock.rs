//! The attempt's clock: how long a wait or a query has taken, and the time that a signature names. It decides nothing
//! about the schedule.

use std::time::{Instant, SystemTime};

/// Monotonic time now.
#[expect(clippy::disallowed_methods, reason = "an attempt is a shell: it measures its own waits and queries")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Whole seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "whoever checks a signature compares it with their own clock")]
pub(crate) fn now_secs() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
