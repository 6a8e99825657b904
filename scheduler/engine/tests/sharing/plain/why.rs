//! Why something waits.

use std::collections::BTreeSet;

use engine::sharing::{Blocker, How, Name, decision::Short};

use super::{Fr, Ledger, Plain};

impl Plain {
    pub(super) fn blocker(&self, id: u64) -> Option<Blocker<u64>> {
        let work = &self.works[&id];
        let tenant = &self.nodes[work.tenant];
        if tenant.tenant.as_ref().unwrap().suspended {
            return Some(Blocker::Suspended { tenant: tenant.id.clone() });
        }
        let all = self.assignments(&work.spec);
        let Some(first) = all.first() else { return Some(Blocker::NoFlavor) };
        let possible = self.possible_of(id);
        let name = |(node, fr, wanted, used, limit): (usize, Fr, i64, i64, i64)| Short {
            node: self.nodes[node].id.clone(),
            flavor: self.flavors[fr / self.resources.len()].id.clone(),
            resource: self.resources[fr % self.resources.len()].clone(),
            wanted,
            used,
            limit,
        };
        let over_nominal = |ledger: &Ledger, wanted: &[i64]| {
            (0..self.frs()).filter(|fr| wanted[*fr] > 0).find_map(|fr| {
                let (used, limit) = (ledger.nodes[work.tenant][fr], self.quota(work.tenant, fr).nominal);
                (used + wanted[fr] > limit).then_some((work.tenant, fr, wanted[fr], used, limit))
            })
        };
        let flavors = |assignment: &[usize]| -> Vec<Name> {
            let set: BTreeSet<usize> = assignment.iter().copied().collect();
            set.into_iter().map(|flavor| self.flavors[flavor].id.clone()).collect()
        };
        if possible.is_empty() {
            let wanted = self.core(&work.spec, first);
            let nothing = self.empty();
            if let Some(short) = self.short(&nothing, work.tenant, &wanted) {
                return Some(Blocker::ExceedsQuota(name(short)));
            }
            if !work.spec.preemptible
                && let Some(short) = over_nominal(&nothing, &wanted)
            {
                return Some(Blocker::ExceedsQuota(name(short)));
            }
            return Some(Blocker::ExceedsCapacity { flavors: flavors(first) });
        }
        if let Some(blocker) = self.core_capped(id) {
            return Some(blocker);
        }
        if self.reservation(id).is_some_and(|reservation| !reservation.hold) {
            let of: Vec<u64> = self
                .works
                .values()
                .filter(|other| other.units.iter().any(|unit| unit.ending_for == Some(id)))
                .map(|other| other.id)
                .collect();
            if !of.is_empty() {
                return Some(Blocker::Victims { of });
            }
        }
        let assignment = &possible[0];
        let wanted = self.core(&work.spec, assignment);
        let nominal = self.planned_for(id, How::Nominal);
        let how = if self.inside_nominal(&nominal, work.tenant, &wanted, &wanted) {
            How::Nominal
        } else {
            How::Borrow
        };
        let held = self.held();
        if !work.spec.preemptible
            && let Some(short) = over_nominal(&nominal, &wanted)
        {
            return Some(Blocker::Quota(name(short)));
        }
        if let Some(short) = self.short(&held, work.tenant, &wanted) {
            return Some(Blocker::Quota(name(short)));
        }
        for fr in (0..self.frs()).filter(|fr| wanted[*fr] > 0) {
            let (flavor, resource) = (fr / self.resources.len(), fr % self.resources.len());
            let hosts = self.flavors[flavor].hosts.keys();
            let free: i64 = hosts.map(|host| self.free(&[&held], flavor, host)[resource].max(0)).sum();
            if wanted[fr] > free {
                return Some(Blocker::Capacity {
                    flavor: self.flavors[flavor].id.clone(),
                    resource: self.resources[resource].clone(),
                    wanted: wanted[fr],
                    free,
                });
            }
        }
        if self.place(&work.spec, assignment, false, |f, h| self.free(&[&held], f, h)).is_none() {
            let members = Self::core_groups(&work.spec).len() as u32;
            return Some(Blocker::Fragmented { flavors: flavors(assignment), members });
        }
        self.binding(id, how)
            .into_iter()
            .find(|other| {
                let charged = self.core(&self.works[&other.id].spec, &other.assignment);
                charged.iter().zip(&wanted).any(|(charged, wanted)| *charged > 0 && *wanted > 0)
            })
            .map(|other| Blocker::Reserved { by: other.id })
    }
}
