//! What to do about an engine that stops because the database isn't as it believes, or because it panicked.
//!
//! Most conflicts go away when the engine is built again, from what the database really has. One that comes back is
//! somebody's: of a run or DAG whose rows are broken. After [`EQUAL_MAX`] conflicts or panics that it is to blame for, it is
//! isolated, so that the others go on. A request over which the engine panicked is refused at once: whoever sent it can send
//! it again, and everybody else doesn't have to wait a second time.

use std::collections::BTreeMap;

use dags::time::{Span, Timestamp};
use engine::{
    blame::Culprit,
    command::Refusal,
    journal::Conflict,
    rows::{Broken, Subject},
};

use crate::contain::Panic;

/// Conflicts by the same run or DAG before it is isolated.
const EQUAL_MAX: u32 = 3;
/// Panics in a row that nobody can be blamed for, before it is given up.
const PANICS_MAX: u32 = 5;
/// After so long without another conflict, earlier ones are forgotten.
const FORGET: Span = Span::seconds(600);
/// The wait before the engine is built again.
const WAIT_MIN: Span = Span::seconds(1);
/// The longest wait, when nobody can be blamed and so nobody isolated.
const WAIT_MAX: Span = Span::seconds(60);

/// The conflicts of one owner, over the engines that it has built.
#[derive(Debug, Clone, Default)]
pub struct Conflicts {
    blamed: BTreeMap<Subject, Blame>,
    /// Requests over which the engine panicked, and what it said.
    refused: BTreeMap<i64, String>,
    /// Conflicts and panics in a row that nobody could be blamed for.
    unexplained: u32,
    /// The panics among them.
    panics: u32,
    last: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Blame {
    times: u32,
    what: String,
}

impl Conflicts {
    /// An engine stopped because of this conflict.
    pub fn note(&mut self, conflict: &Conflict, now: Timestamp) {
        self.begin(now);
        self.panics = 0;
        self.unexplained = if conflict.culprits.is_empty() { self.unexplained + 1 } else { 0 };
        for culprit in &conflict.culprits {
            self.blame(culprit, format!("the database refused its changes: {}", conflict.what));
        }
    }

    /// An engine panicked. False if that happened so often, with nobody to blame, that it makes no sense to go on.
    #[must_use]
    pub fn panicked(&mut self, panic: &Panic, now: Timestamp) -> bool {
        self.begin(now);
        match &panic.culprit {
            Some(Culprit::Subject(subject)) => self.blame(subject, panic.to_string()),
            Some(Culprit::Request(id)) => drop(self.refused.insert(*id, panic.message.clone())),
            None => {
                (self.unexplained, self.panics) = (self.unexplained + 1, self.panics + 1);
                return self.panics < PANICS_MAX;
            }
        }
        (self.unexplained, self.panics) = (0, 0);
        true
    }

    fn begin(&mut self, now: Timestamp) {
        if self.last.is_some_and(|last| now.since(last) > FORGET) {
            // What was isolated by then is marked in its row.
            *self = Self::default();
        }
        self.last = Some(now);
    }

    fn blame(&mut self, culprit: &Subject, what: String) {
        let blame =
            self.blamed.entry(culprit.clone()).or_insert_with(|| Blame { times: 0, what: String::new() });
        blame.times += 1;
        blame.what = what;
    }

    /// Something was released, or built anew for another reason: everybody gets another chance.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What the next engine is to leave alone.
    pub fn isolated(&self) -> Vec<Broken> {
        let isolated = |(subject, blame): (&Subject, &Blame)| {
            (blame.times >= EQUAL_MAX).then(|| Broken {
                subject: subject.clone(),
                dag_id: None,
                reason: format!("{} times the scheduler stopped because of it: {}", blame.times, blame.what),
            })
        };
        self.blamed.iter().filter_map(isolated).collect()
    }

    /// The requests that the next engine is to refuse.
    pub fn refused(&self) -> BTreeMap<i64, Refusal> {
        let refusal = |what: &String| {
            let message = format!(
                "the engine panicked over this request, so it isn't carried out: {what}. This is a bug"
            );
            Refusal::new("engine.panicked", message)
        };
        self.refused.iter().map(|(id, what)| (*id, refusal(what))).collect()
    }

    /// How long to wait before the engine is built again.
    pub fn wait(&self) -> Span {
        let doubled = WAIT_MIN.0.saturating_mul(1 << self.unexplained.saturating_sub(1).min(16));
        Span(doubled.min(WAIT_MAX.0))
    }
}

#[cfg(test)]
mod tests {
    use dags::ids::{DagId, RunId, RunName, TenantId};

    use super::*;

    fn run(n: i64) -> Subject {
        let (dag_id, name) = (DagId::parse("d").unwrap(), RunName::parse("r").unwrap());
        Subject::Run(TenantId::DEFAULT, RunId::derive(TenantId::DEFAULT, &dag_id, &name, n))
    }

    fn conflict(culprits: &[Subject]) -> Conflict {
        Conflict { what: "batch 7: no".to_owned(), culprits: culprits.to_vec() }
    }

    #[test]
    fn who_is_to_blame_three_times_is_isolated_even_if_others_are_in_between() {
        let (mut conflicts, now) = (Conflicts::default(), Timestamp(0));
        for culprit in [1, 2, 1, 2] {
            conflicts.note(&conflict(&[run(culprit)]), now);
        }
        assert!(conflicts.isolated().is_empty());
        conflicts.note(&conflict(&[run(1)]), now);
        let isolated = conflicts.isolated();
        assert_eq!(isolated.iter().map(|broken| &broken.subject).collect::<Vec<_>>(), [&run(1)]);
        assert!(isolated[0].reason.contains("3 times") && isolated[0].reason.contains("batch 7"));
        assert_eq!(conflicts.wait(), WAIT_MIN);
    }

    fn panic(culprit: Option<Culprit>) -> Panic {
        Panic { message: "index out of bounds".to_owned(), culprit }
    }

    #[test]
    fn who_makes_the_engine_panic_is_isolated_as_well() {
        let (mut conflicts, now) = (Conflicts::default(), Timestamp(0));
        conflicts.note(&conflict(&[run(1)]), now);
        assert!(conflicts.panicked(&panic(Some(Culprit::Subject(run(1)))), now));
        assert!(conflicts.isolated().is_empty());
        assert!(conflicts.panicked(&panic(Some(Culprit::Subject(run(1)))), now));
        let isolated = conflicts.isolated();
        assert_eq!(isolated[0].subject, run(1));
        assert!(isolated[0].reason.contains("panicked: index out of bounds"), "{}", isolated[0].reason);
    }

    #[test]
    fn a_request_over_which_the_engine_panicked_is_refused_at_once() {
        let mut conflicts = Conflicts::default();
        assert!(conflicts.panicked(&panic(Some(Culprit::Request(7))), Timestamp(0)));
        assert!(conflicts.isolated().is_empty());
        let refused = conflicts.refused();
        assert_eq!(refused.keys().collect::<Vec<_>>(), [&7]);
        assert_eq!(refused[&7].code, "engine.panicked");
        assert!(refused[&7].message.contains("index out of bounds"));
    }

    #[test]
    fn panics_that_nobody_is_to_blame_for_are_given_up() {
        let mut conflicts = Conflicts::default();
        let goes_on: Vec<bool> = (0..5).map(|_| conflicts.panicked(&panic(None), Timestamp(0))).collect();
        assert_eq!(goes_on, [true, true, true, true, false]);
        assert_eq!(conflicts.wait().0, 16_000_000);
        conflicts.note(&conflict(&[]), Timestamp(0));
        assert!(conflicts.panicked(&panic(None), Timestamp(0)), "they must be in a row");
    }

    #[test]
    fn old_conflicts_are_forgotten() {
        let mut conflicts = Conflicts::default();
        conflicts.note(&conflict(&[run(1)]), Timestamp(0));
        conflicts.note(&conflict(&[run(1)]), Timestamp(0));
        conflicts.note(&conflict(&[run(1)]), Timestamp(0).after(FORGET).after(Span(1)));
        assert!(conflicts.isolated().is_empty());
    }

    #[test]
    fn conflicts_without_a_culprit_are_tried_ever_more_slowly() {
        let mut conflicts = Conflicts::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            conflicts.note(&conflict(&[]), Timestamp(0));
            waits.push(conflicts.wait().0 / 1_000_000);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        conflicts.note(&conflict(&[run(1)]), Timestamp(0));
        assert_eq!(conflicts.wait(), WAIT_MIN);
    }
}
