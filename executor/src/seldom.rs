//! What is said when the same fails again and again: once, then rarely.

use std::time::{Duration, Instant};

use crate::clock;

/// How often the same is said again.
const SAY_AGAIN: Duration = Duration::from_mins(1);

/// What was said last, and when.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Option<(String, Instant)>);

impl Seldom {
    /// Whether this is worth a line in the log: it is something else than the last time, or that was a minute ago.
    pub(crate) fn is_news(&mut self, why: &str) -> bool {
        let known = |(before, at): &(String, Instant)| before == why && at.elapsed() < SAY_AGAIN;
        let news = !self.0.as_ref().is_some_and(known);
        if news {
            self.0 = Some((why.to_owned(), clock::monotonic()));
        }
        news
    }

    /// Says that a session with the broker ended and is begun again.
    pub(crate) fn session_ended(&mut self, error: &str, failures: u32) {
        if self.is_news(error) {
            tracing::warn!(error, failures, "the session with the broker ended; trying again");
        }
    }

    /// It works again. True if something was said.
    pub(crate) fn over(&mut self) -> bool {
        self.0.take().is_some()
    }
}
