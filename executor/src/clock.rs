//! The clocks of this machine, the only place in the crate that reads them.

use std::time::{Instant, SystemTime};

use dags::time::Timestamp;

/// The monotonic clock: what durations, timeouts and grace periods count on.
#[expect(clippy::disallowed_methods, reason = "whoever runs attempts counts their time; this is its clock")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// The wall clock: for people only, nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "whoever runs attempts says since when; this is its clock")]
pub(crate) fn wall() -> Timestamp {
    timestamp(SystemTime::now())
}

/// An instant of the wall clock, in whole microseconds.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Waits so long by the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the one place that waits for time to pass")]
pub(crate) async fn sleep(span: std::time::Duration) {
    tokio::time::sleep(span).await;
}
