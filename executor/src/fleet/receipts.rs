//! Which deliveries of the broker are settled: a delivery is acknowledged once every report in it is durable.
//!
//! Settled deliveries at the front are acknowledged together; behind one that takes long, one by one.

use std::collections::{BTreeMap, BTreeSet};

use dags::ids::{DispatchId, WorkerId};

/// A report.
pub(crate) type Key = (DispatchId, u32, u32);

/// Settled deliveries behind an unsettled one that may pile up.
const BEHIND_MAX: usize = 64;

/// What to tell the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ack {
    /// This delivery and all before it.
    Until(u64),
    /// This delivery.
    One(u64),
}

/// Deliveries of one channel that aren't acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    /// Reports that aren't settled, per delivery.
    open: BTreeMap<u64, u32>,
    /// Settled deliveries behind an open one.
    behind: BTreeSet<u64>,
    /// The deliveries that a report came in, and who sent it.
    reports: BTreeMap<Key, (WorkerId, Vec<u64>)>,
}

impl Deliveries {
    /// A delivery came without a report.
    pub(crate) fn came_empty(&mut self, tag: u64) {
        self.open.insert(tag, 0);
    }

    /// A delivery came with these reports, perhaps none.
    pub(crate) fn came(&mut self, tag: u64, worker: WorkerId, reports: &[Key]) {
        self.open.insert(tag, reports.len() as u32);
        for key in reports {
            self.reports.entry(*key).or_insert_with(|| (worker, Vec::new())).1.push(tag);
        }
    }

    /// A report is durable. Returns who sent it.
    pub(crate) fn settle(&mut self, key: Key) -> Option<WorkerId> {
        let (worker, tags) = self.reports.remove(&key)?;
        for tag in tags {
            if let Some(left) = self.open.get_mut(&tag) {
                *left = left.saturating_sub(1);
            }
        }
        Some(worker)
    }

    /// Every report of a member is settled.
    pub(crate) fn settle_member(&mut self, dispatch: DispatchId, member: u32) -> Option<WorkerId> {
        let keys: Vec<Key> = self
            .reports
            .range((dispatch, member, 0)..=(dispatch, member, u32::MAX))
            .map(|(k, _)| *k)
            .collect();
        let mut from = None;
        for key in keys {
            from = self.settle(key).or(from);
        }
        from
    }

    /// What can be acknowledged now.
    pub(crate) fn acks(&mut self) -> Vec<Ack> {
        let settled: Vec<u64> =
            self.open.iter().filter(|(_, left)| **left == 0).map(|(tag, _)| *tag).collect();
        for tag in settled {
            self.open.remove(&tag);
            self.behind.insert(tag);
        }
        let first_open = self.open.keys().next().copied().unwrap_or(u64::MAX);
        let rest = self.behind.split_off(&first_open);
        let mut acks: Vec<Ack> = self.behind.last().map(|tag| Ack::Until(*tag)).into_iter().collect();
        self.behind = rest;
        if self.behind.len() > BEHIND_MAX {
            acks.extend(std::mem::take(&mut self.behind).into_iter().map(Ack::One));
        }
        acks
    }

    /// The channel is another one: whatever wasn't acknowledged comes again.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use dags::ids::AttemptId;

    use super::*;

    fn key(n: u32) -> Key {
        let attempt: AttemptId = "00000000-0000-8000-8000-000000000001".parse().unwrap();
        (DispatchId { attempt, n }, 0, 1)
    }

    #[test]
    fn deliveries_are_acknowledged_together_when_everything_before_is_settled() {
        let worker = "00000000-0000-8000-8000-000000000002".parse().unwrap();
        let mut deliveries = Deliveries::default();
        deliveries.came(1, worker, &[key(1), key(2)]);
        deliveries.came(2, worker, &[]);
        deliveries.came(3, worker, &[key(1)]);
        assert_eq!(deliveries.acks(), []);
        assert_eq!(deliveries.settle(key(1)), Some(worker));
        assert_eq!(deliveries.acks(), []);
        assert_eq!(deliveries.settle(key(1)), None);
        deliveries.settle(key(2));
        assert_eq!(deliveries.acks(), [Ack::Until(3)]);
        assert_eq!(deliveries.acks(), []);
    }

    #[test]
    fn one_that_takes_long_does_not_hold_up_the_others() {
        let worker = "00000000-0000-8000-8000-000000000002".parse().unwrap();
        let mut deliveries = Deliveries::default();
        deliveries.came(1, worker, &[key(1)]);
        for tag in 2..=BEHIND_MAX as u64 + 2 {
            deliveries.came(tag, worker, &[]);
        }
        let acks = deliveries.acks();
        assert_eq!((acks.len(), acks[0]), (BEHIND_MAX + 1, Ack::One(2)));
        deliveries.settle(key(1));
        assert_eq!(deliveries.acks(), [Ack::Until(1)]);
        deliveries.came(200, worker, &[key(9)]);
        deliveries.forget();
        assert_eq!(deliveries.settle(key(9)), None);
    }
}
