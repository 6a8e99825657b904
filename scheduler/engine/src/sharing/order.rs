//! Whose turn it is: a tournament from the leaves of the tree up.
//!
//! Each cohort keeps its children in a tree of winners, so a change of one tenant's usage costs a comparison per level of it
//! on one path of the quota tree.

use std::collections::BTreeSet;

use super::{
    decision::How,
    pool::{Order, Pool, Reserved},
    share::{Fraction, Share},
    tree::Tree,
};

/// By what a candidate is compared with those of siblings; the smallest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    class_b: bool,
    outside: bool,
    share: Share,
    fill: Fraction,
    order: Order,
    slot: u32,
}

/// Candidates and winners.
#[derive(Debug, Clone)]
pub(super) struct Tournament {
    keys: Vec<Option<Key>>,
    /// By cohort: a heap-shaped tree whose leaves are the children, the root at 1; `u32::MAX` for nobody.
    winners: Vec<Vec<u32>>,
    /// By node: its place among its siblings.
    place: Vec<u32>,
    depth: Vec<u32>,
    dirty: BTreeSet<(std::cmp::Reverse<u32>, u32)>,
    /// Nodes without children.
    leaves: Vec<u32>,
}

const NOBODY: u32 = u32::MAX;

impl Tournament {
    pub(super) fn new(tree: &Tree) -> Self {
        let nodes = tree.ids.len();
        let mut place = vec![0; nodes];
        let mut winners = Vec::new();
        for children in &tree.children {
            for (index, child) in children.iter().enumerate() {
                place[*child as usize] = index as u32;
            }
            winners.push(vec![NOBODY; 2 * children.len().next_power_of_two()]);
        }
        let leaves = (0..nodes as u32).filter(|node| tree.children[*node as usize].is_empty()).collect();
        let depth = (0..nodes as u32).map(|node| tree.path(node).count() as u32).collect();
        Self { keys: vec![None; nodes], winners, place, depth, dirty: BTreeSet::new(), leaves }
    }

    /// The key of a tenant, or of what is above it, may have changed.
    pub(super) fn touch(&mut self, tenant: u32) {
        self.dirty.insert((std::cmp::Reverse(self.depth[tenant as usize]), tenant));
    }

    pub(super) fn depth(&self, node: u32) -> u32 {
        self.depth[node as usize]
    }

    pub(super) fn touch_all(&mut self) {
        for leaf in &self.leaves {
            self.dirty.insert((std::cmp::Reverse(self.depth[*leaf as usize]), *leaf));
        }
    }
}

impl Pool {
    /// The workload whose turn it is: its number and slot.
    pub(super) fn pick(&mut self) -> Option<u32> {
        self.view(None);
        while let Some((_, node)) = self.tournament.dirty.pop_first() {
            let slot =
                if self.tenants[node as usize].is_some() { self.candidate(node) } else { self.winner(node) };
            let Some(parent) = self.tree.parents[node as usize] else { continue };
            let key = slot.map(|slot| self.key(node, slot));
            // Who has nobody waiting still moves the usage, and so the key, of what is above it.
            if key.is_some() || self.tournament.keys[node as usize].is_some() {
                self.tournament.keys[node as usize] = key;
                self.replay(parent, node);
            }
            let depth = std::cmp::Reverse(self.tournament.depth[parent as usize]);
            self.tournament.dirty.insert((depth, parent));
        }
        self.winner(self.tree.root)
    }

    fn winner(&self, cohort: u32) -> Option<u32> {
        let child =
            self.tournament.winners[cohort as usize].get(1).copied().filter(|child| *child != NOBODY)?;
        self.tournament.keys[child as usize].map(|key| key.slot)
    }

    /// Plays the matches of a child again.
    fn replay(&mut self, cohort: u32, child: u32) {
        let Tournament { keys, winners, place, .. } = &mut self.tournament;
        let tree = &mut winners[cohort as usize];
        let mut at = tree.len() / 2 + place[child as usize] as usize;
        tree[at] = if keys[child as usize].is_some() { child } else { NOBODY };
        while at > 1 {
            let (a, b) = (tree[at & !1], tree[at | 1]);
            let key = |node: u32| keys[node as usize].as_ref();
            tree[at / 2] = match (a, b) {
                (NOBODY, other) | (other, NOBODY) => other,
                (a, b) if key(b) < key(a) => b,
                (a, _) => a,
            };
            at /= 2;
        }
    }

    /// The tenant's first workload, by priority and age, that wasn't tried in this cycle.
    fn candidate(&self, tenant: u32) -> Option<u32> {
        let state = self.tenant(tenant);
        if state.suspended {
            return None;
        }
        let mut best: Option<((std::cmp::Reverse<i32>, Order), u32)> = None;
        let mut offer = |priority: i32, order: Order, slot: u32| {
            let order = (std::cmp::Reverse(priority), order);
            if best.is_none_or(|(known, _)| order < known) {
                best = Some((order, slot));
            }
        };
        for ((shape, _), bucket) in &state.buckets {
            if bucket.tried != self.cycle
                && let Some((order, slot)) = bucket.waiting.first()
            {
                offer(self.shape(*shape).priority, *order, *slot);
            }
        }
        for (order, slot) in &state.holders {
            if self.work(*slot).tried != self.cycle {
                offer(self.shape_of_work(*slot).priority, *order, *slot);
            }
        }
        best.map(|(_, slot)| slot)
    }

    fn key(&mut self, node: u32, slot: u32) -> Key {
        let class_b = !self.is_class_g(slot);
        let shape = self.shape_of_work(slot);
        let inside = shape.possible().any(|index| {
            self.planned.inside(&self.tree, node, shape.tenant, &shape.assignments[index].wanted)
        });
        Key {
            class_b,
            outside: !inside,
            share: self.planned.share(&self.tree, node, node, &[]),
            fill: self.planned.fill(&self.tree, node),
            order: self.work(slot).order(),
            slot,
        }
    }

    /// Whether a pending workload would stay inside its tenant's nominal quota in some assignment. The planned ledger
    /// holds all reservations before and after.
    fn is_class_g(&mut self, slot: u32) -> bool {
        let held_back = self.work(slot).reserved == Reserved::Hold;
        if held_back {
            self.view(Some((slot, How::Borrow)));
        }
        let shape = self.shape_of_work(slot);
        let class_g = shape.possible().any(|index| {
            let wanted = &shape.assignments[index].wanted;
            self.planned.over_nominal(&self.tree, shape.tenant, wanted).is_none()
        });
        if held_back {
            self.view(None);
        }
        class_g
    }

    /// Computes the classes of reservations anew.
    pub(super) fn classify(&mut self) {
        if self.reservations.is_empty() {
            return;
        }
        // Without any reservation, then with one after the other, in order of creation.
        for index in 0..self.reservations.len() {
            self.set_charged(index, false);
        }
        for index in 0..self.reservations.len() {
            self.set_charged(index, true);
            let reservation = &self.reservations[index];
            let tenant = self.shape_of_work(reservation.slot).tenant;
            let nothing: Vec<_> = reservation.wanted.iter().map(|(fr, _)| (*fr, 0)).collect();
            let class_g = self.planned.over_nominal(&self.tree, tenant, &nothing).is_none();
            if class_g != reservation.class_g {
                // Whom it bound before may fit now.
                self.reservations[index].class_g = class_g;
                self.loosen(tenant);
            }
        }
    }
}
