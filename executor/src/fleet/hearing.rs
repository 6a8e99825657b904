//! Whether workers can be heard: the owner sends itself a message through the queue that workers send theirs to.
//!
//! While it doesn't come back, silence says nothing about a worker, whatever holds up the queue: a broker that is paused, is
//! full, or has no quorum. When it does come back, everything that lay before it has been read.

use std::time::{Duration, Instant};

use super::wire::Mark;

/// The time between two echoes.
const EVERY: Duration = Duration::from_secs(2);
/// An echo that takes this long means that nobody can be heard. Well below a worker's lease.
const DEAF_AFTER: Duration = Duration::from_secs(5);

/// The echoes of one owner.
#[derive(Debug)]
pub(crate) struct Hearing {
    mark: Mark,
    /// When the newest echo was sent, if it hasn't come back.
    awaited: Option<Instant>,
    next: Option<Instant>,
    hearing: bool,
}

impl Hearing {
    pub(crate) fn new(epoch: u64) -> Self {
        Self { mark: Mark { epoch, n: 0 }, awaited: None, next: None, hearing: false }
    }

    /// The echo that is to be sent now, if one is.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Mark> {
        if self.awaited.is_some() || self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.mark.n += 1;
        (self.awaited, self.next) = (Some(now), Some(now + EVERY));
        Some(self.mark)
    }

    /// An echo came back. True if workers can be heard from now on.
    pub(crate) fn came(&mut self, mark: Mark) -> bool {
        // One of a former session or owner says nothing about this one.
        if mark != self.mark || self.awaited.take().is_none() {
            return false;
        }
        !std::mem::replace(&mut self.hearing, true)
    }

    /// Time passes. True if workers can't be heard any more.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        let late = self.awaited.is_some_and(|sent| now.duration_since(sent) >= DEAF_AFTER);
        late && std::mem::replace(&mut self.hearing, false)
    }

    /// The session is lost. True if workers could be heard before.
    pub(crate) fn lose(&mut self) -> bool {
        (self.awaited, self.next) = (None, None);
        std::mem::replace(&mut self.hearing, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn workers_can_be_heard_while_echoes_come_back() {
        let start = clock::monotonic();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut hearing = Hearing::new(7);
        let first = hearing.due(at(0)).unwrap();
        assert_eq!(first, Mark { epoch: 7, n: 1 });
        assert_eq!(hearing.due(at(10)), None, "one at a time");
        assert!(!hearing.look(at(10)), "nobody could be heard anyway");
        assert!(hearing.came(first) && !hearing.came(first));
        let second = hearing.due(at(10)).unwrap();
        assert!(!hearing.came(first) && hearing.awaited.is_some(), "a repeat of the one before");
        assert!(!hearing.look(at(14)));
        assert!(hearing.look(at(15)) && !hearing.look(at(16)));
        assert!(hearing.came(second), "it was late, and came");
        assert!(hearing.due(at(16)).is_some() && hearing.due(at(17)).is_none());
    }

    #[test]
    fn an_echo_of_a_lost_session_says_nothing() {
        let start = clock::monotonic();
        let mut hearing = Hearing::new(7);
        let old = hearing.due(start).unwrap();
        assert!(hearing.came(old) && hearing.lose() && !hearing.lose());
        let new = hearing.due(start).unwrap();
        assert!(!hearing.came(old) && !hearing.came(Mark { epoch: 6, ..new }));
        assert!(hearing.came(new));
    }
}
