//! The attempt's clock: how long a wait or a query has taken. It decides nothing about the schedule.

use std::time::Instant;

/// Monotonic time now.
#[expect(clippy::disallowed_methods, reason = "an attempt is a shell: it measures its own waits and queries")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
