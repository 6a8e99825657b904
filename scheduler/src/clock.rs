//! The wall clock: the only place of this crate that reads it.

use dags::time::Timestamp;

/// The time now, in whole microseconds.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Timestamp {
    of(std::time::SystemTime::now())
}

/// What the wall clock showed at that time, for example when a file was written.
pub fn of(time: std::time::SystemTime) -> Timestamp {
    let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH);
    // A clock before 1970 is broken; the lease refuses it because it differs from the database's.
    Timestamp(since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)))
}

/// The time now as files have it.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn system() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// An instant of the monotonic clock, which only counts durations within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(std::time::Instant);

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn monotonic() -> Monotonic {
    Monotonic(std::time::Instant::now())
}

impl Monotonic {
    /// How long ago it was.
    pub fn elapsed(self) -> dags::time::Span {
        let elapsed = monotonic().0.saturating_duration_since(self.0);
        dags::time::Span(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Waits so long by the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub async fn sleep(span: dags::time::Span) {
    tokio::time::sleep(span.to_std()).await;
}

/// Starts a task that lives as long as the service or ends by itself after bounded work.
#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
pub(crate) fn spawn<F>(tracker: &tokio_util::task::TaskTracker, task: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    drop(tokio::spawn(tracker.track_future(task)));
}

/// Starts a task that nobody waits for and that holds nothing which must be given back.
#[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
pub fn background(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}
