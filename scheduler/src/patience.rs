//! Waiting for what must come back: ever longer, and without filling the log.

use dags::time::Span;

use crate::clock::{self, Monotonic};

/// How often the same is said again.
const SAY_AGAIN: Span = Span::seconds(60);

/// What somebody who tries again and again remembers.
#[derive(Debug, Clone)]
pub struct Patience {
    first: Span,
    longest: Span,
    next: Span,
    said: Option<(String, Monotonic)>,
}

impl Patience {
    /// Waits `first`, then twice as long each time, at most `longest`.
    pub const fn new(first: Span, longest: Span) -> Self {
        Self { first, longest, next: first, said: None }
    }

    /// Whether this is worth a line in the log: it is something else than the last time, or that was a minute ago.
    pub fn is_news(&mut self, why: &str) -> bool {
        let known = |(before, at): &(String, Monotonic)| before == why && at.elapsed() < SAY_AGAIN;
        let news = !self.said.as_ref().is_some_and(known);
        if news {
            self.said = Some((why.to_owned(), clock::monotonic()));
        }
        news
    }

    /// How long to wait now.
    pub fn pause(&mut self) -> Span {
        let pause = self.next;
        self.next = Span((pause.0 * 2).min(self.longest.0));
        pause
    }

    /// It came back. True if it had been missed.
    pub fn came_back(&mut self) -> bool {
        self.next = self.first;
        self.said.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_ever_longer_and_says_what_is_new() {
        let mut patience = Patience::new(Span::millis(200), Span::seconds(1));
        assert!(!patience.came_back());
        let pauses: Vec<i64> = (0..5).map(|_| patience.pause().0 / 1_000).collect();
        assert_eq!(pauses, [200, 400, 800, 1_000, 1_000]);
        let news = ["refused", "refused", "starting", "refused"].map(|why| patience.is_news(why));
        assert_eq!(news, [true, false, true, true]);
        assert!(patience.came_back());
        assert_eq!(patience.pause(), Span::millis(200));
        assert!(patience.is_news("refused"));
    }
}
