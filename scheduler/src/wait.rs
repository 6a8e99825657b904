//! The wait between two tries of something that failed and is tried until it works.
//!
//! For whoever must also keep quiet in the log meanwhile see [`crate::patience`].

use dags::time::Span;
use tokio_util::sync::CancellationToken;

use crate::clock;

/// The wait after the first try.
const FIRST: Span = Span::millis(50);
/// The longest wait.
const MAX: Span = Span::seconds(5);

/// Each wait is twice as long as the one before, at most 5 s.
#[derive(Debug)]
pub(crate) struct Wait(Span);

impl Wait {
    pub(crate) const fn new() -> Self {
        Self(FIRST)
    }

    pub(crate) async fn pass(&mut self) {
        clock::sleep(self.next()).await;
    }

    /// `false` if what is tried was called off meanwhile.
    pub(crate) async fn pass_unless(&mut self, called_off: &CancellationToken) -> bool {
        called_off.run_until_cancelled(self.pass()).await.is_some()
    }

    fn next(&mut self) -> Span {
        let next = self.0;
        self.0 = Span((next.0 * 2).min(MAX.0));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_doubled_up_to_five_seconds() {
        let mut wait = Wait::new();
        let waits: Vec<i64> = (0..9).map(|_| wait.next().0 / 1_000).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }

    #[tokio::test]
    async fn who_waits_hears_at_once_that_it_is_called_off() {
        let called_off = CancellationToken::new();
        let mut wait = Wait(Span::seconds(3_600));
        let (waited, ()) = tokio::join!(wait.pass_unless(&called_off), async { called_off.cancel() });
        assert!(!waited);
    }
}
