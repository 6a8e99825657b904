//! Why is it waiting: what keeps a workload out, with the numbers, and what would free it.

use std::collections::BTreeSet;

use super::{
    decision::{Blocker, How, Short},
    hosts,
    pool::{Order, Pool, Reserved, State},
    share::{Fraction, Share},
    spec::Name,
    tree::Shortage,
};

/// Where a pending workload stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// What keeps it out, in order; the first is what to look at first.
    pub blockers: Vec<Blocker<u64>>,
    /// How many of its tenant come before it.
    pub ahead: usize,
    /// How much its tenant borrows.
    pub share: Share,
    /// How much of its own quota its tenant uses.
    pub fill: Fraction,
    /// When it will have waited so long that what becomes free is kept for it; none if never, or if that is so already.
    pub starves_at: Option<i64>,
    /// Held workloads that use what the first blocker names, with the amount; at most [`HOLDERS_MAX`], the largest first.
    pub held_by: Vec<(u64, i64)>,
}

/// The most workloads that an answer names.
pub const HOLDERS_MAX: usize = 20;

impl Pool {
    /// Where a workload stands; none if it isn't pending.
    pub fn standing(&self, id: u64) -> Option<Standing> {
        let slot = self.slot_of.get(&id).copied().filter(|slot| self.work(*slot).state == State::Pending)?;
        let blockers = self.blockers(slot);
        let planned = self.seen(None);
        let work = self.work(slot);
        let shape = self.shape(work.shape);
        let state = self.tenant(shape.tenant);
        let mine = (std::cmp::Reverse(shape.priority), work.order());
        let before = |shape: u32, order: Order| (std::cmp::Reverse(self.shape(shape).priority), order) < mine;
        let in_buckets: usize = state
            .buckets
            .iter()
            .map(|((shape, _), bucket)| {
                bucket.waiting.iter().take_while(|(other, _)| before(*shape, *other)).count()
            })
            .sum();
        let holding =
            state.holders.iter().filter(|(other, slot)| before(self.work(*slot).shape, *other)).count();
        let starves_at = state.hold_after.map(|after| work.pending_since + after).filter(|at| *at > self.now);
        Some(Standing {
            ahead: in_buckets + holding,
            share: planned.share(&self.tree, shape.tenant, shape.tenant, &[]),
            fill: planned.fill(&self.tree, shape.tenant),
            starves_at,
            held_by: blockers.first().map(|first| self.held_by(first)).unwrap_or_default(),
            blockers,
        })
    }

    /// The workloads that hold what a blocker names.
    fn held_by(&self, blocker: &Blocker<u64>) -> Vec<(u64, i64)> {
        let (node, flavor, resource) = match blocker {
            Blocker::Quota(short) => (self.node_of.get(&short.node), &short.flavor, &short.resource),
            Blocker::Capacity { flavor, resource, .. } => (Some(&self.tree.root), flavor, resource),
            _ => return Vec::new(),
        };
        let (Some(node), Ok(flavor), Ok(r)) =
            (node, self.flavors.binary_search(flavor), self.resources.binary_search(resource))
        else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for work in self.works.iter().flatten().filter(|work| work.state == State::Held) {
            let shape = self.shape(work.shape);
            if !self.tree.path(shape.tenant).any(|above| above == *node) {
                continue;
            }
            let on = work.units.iter().flat_map(|unit| &unit.places);
            let amount: i64 = on
                .filter(|at| usize::from(at.flavor) == flavor)
                .flat_map(|at| &shape.requests[usize::from(at.group)])
                .filter(|(of, _)| *of == r)
                .map(|(_, amount)| amount)
                .sum();
            if amount > 0 {
                found.push((work.id, amount));
            }
        }
        found.sort_by_key(|(id, amount)| (std::cmp::Reverse(*amount), *id));
        found.truncate(HOLDERS_MAX);
        found
    }

    fn short(&self, of: Shortage) -> Short {
        let r = self.resources.len();
        Short {
            node: self.tree.ids[of.node as usize].clone(),
            flavor: self.flavors[of.fr as usize / r].clone(),
            resource: self.resources[of.fr as usize % r].clone(),
            wanted: of.wanted,
            used: of.used,
            limit: of.limit,
        }
    }

    fn flavor_names(&self, flavors: &[u16]) -> Vec<Name> {
        let set: BTreeSet<u16> = flavors.iter().copied().collect();
        set.into_iter().map(|flavor| self.flavors[usize::from(flavor)].clone()).collect()
    }

    /// All that keeps a pending workload out, in order. What can never fit has no others behind it.
    fn blockers(&self, slot: u32) -> Vec<Blocker<u64>> {
        let mut found = Vec::new();
        let id = self.work(slot).id;
        let shape = self.shape_of_work(slot);
        let tenant = shape.tenant;
        if self.tenant(tenant).suspended {
            found.push(Blocker::Suspended { tenant: self.tree.ids[tenant as usize].clone() });
        }
        let Some(first) = shape.assignments.first() else {
            found.push(Blocker::NoFlavor);
            return found;
        };
        let Some(index) = shape.possible().next() else {
            let nothing =
                super::tree::Ledger::new(&self.tree, self.hosts.iter().map(|hosts| hosts.names.len()));
            let short = nothing.short(&self.tree, tenant, &first.wanted).or_else(|| {
                let nominal = nothing.over_nominal(&self.tree, tenant, &first.wanted);
                nominal.filter(|_| !shape.preemptible)
            });
            found.push(match short {
                Some(short) => Blocker::ExceedsQuota(self.short(short)),
                None => Blocker::ExceedsCapacity { flavors: self.flavor_names(&first.flavors) },
            });
            return found;
        };
        found.extend(self.core_capped(slot));
        if self.work(slot).reserved == Reserved::Victims {
            let held = self.works.iter().flatten().filter(|work| work.state == State::Held);
            let mut of: Vec<u64> = held
                .filter(|work| work.units.iter().any(|unit| unit.ending_for == Some(id)))
                .map(|work| work.id)
                .collect();
            of.sort_unstable();
            if !of.is_empty() {
                found.push(Blocker::Victims { of });
            }
        }
        let planned = self.seen(Some((slot, How::Nominal)));
        let assignment = &shape.assignments[index];
        let over = planned.over_nominal(&self.tree, tenant, &assignment.wanted);
        if let Some(short) = over.filter(|_| !shape.preemptible) {
            found.push(Blocker::Quota(self.short(short)));
        }
        if let Some(short) = self.held.short(&self.tree, tenant, &assignment.wanted) {
            found.push(Blocker::Quota(self.short(short)));
        }
        let r = self.resources.len();
        let mut full = false;
        for (fr, wanted) in &assignment.wanted {
            let (flavor, of) = (*fr as usize / r, *fr as usize % r);
            let on = self.hosts[flavor].order.iter();
            let free: i64 = on
                .map(|host| hosts::free(&self.hosts, &[&self.held], flavor as u16, *host, of, r).max(0))
                .sum();
            if *wanted > free {
                full = true;
                found.push(Blocker::Capacity {
                    flavor: self.flavors[flavor].clone(),
                    resource: self.resources[of].clone(),
                    wanted: *wanted,
                    free,
                });
            }
        }
        if !full && hosts::place(&self.hosts, &[&self.held], shape, &assignment.flavors, r, false).is_none() {
            found.push(Blocker::Fragmented {
                flavors: self.flavor_names(&assignment.flavors),
                members: shape.members,
            });
        }
        let wanted = &assignment.wanted;
        let how = if over.is_some() { How::Borrow } else { How::Nominal };
        let by = self
            .reservations
            .iter()
            .filter(|other| self.binds(other, Some((slot, how))) && other.slot != slot)
            .filter(|other| other.wanted.iter().any(|(fr, _)| wanted.iter().any(|(of, _)| of == fr)))
            .min_by_key(|other| other.rank());
        if let Some(by) = by {
            found.push(Blocker::Reserved { by: self.work(by.slot).id });
        }
        found
    }
}
