//! The wall clock, to be compared with what the service stores on the same machine.

use std::time::{SystemTime, UNIX_EPOCH};

use dags::time::Timestamp;

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("invariant: the clock is past 1970");
    Timestamp(since.as_micros() as i64)
}

/// Seconds between two instants.
pub(crate) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).0 as f64 / 1e6
}
