//! The cycle: order, fit, holds.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use engine::sharing::{Decision, How, Name, Place};

use super::{At, Ledger, Plain, Reservation, State, Unit, Work};

impl Plain {
    pub(super) fn order(work: &Work) -> (Reverse<i32>, u64) {
        (Reverse(work.spec.priority), work.id)
    }

    pub(super) fn class_of(&self, id: u64) -> bool {
        let work = &self.works[&id];
        let own = self.binding(id, How::Borrow).into_iter();
        let own = own.filter(|other| self.works[&other.id].tenant == work.tenant);
        let ledger = self.planned(own, &BTreeSet::new());
        self.possible_of(id).iter().any(|assignment| {
            let wanted = self.core(&work.spec, assignment);
            self.inside_nominal(&ledger, work.tenant, &wanted, &wanted)
        })
    }

    pub(super) fn candidate(&self, tenant: usize) -> Option<u64> {
        if self.nodes[tenant].tenant.as_ref().unwrap().suspended {
            return None;
        }
        self.works
            .values()
            .filter(|work| work.tenant == tenant && work.state == State::Pending && !work.tried)
            .filter(|work| self.reservation(work.id).is_none_or(|reservation| reservation.hold))
            .min_by_key(|work| Self::order(work))
            .map(|work| work.id)
    }

    /// The candidate that wins below a node.
    pub(super) fn winner(&self, ledger: &Ledger, node: usize) -> Option<u64> {
        if self.nodes[node].tenant.is_some() {
            return self.candidate(node);
        }
        let children = (0..self.nodes.len()).filter(|child| self.nodes[*child].parent == Some(node));
        children
            .filter_map(|child| {
                let id = self.winner(ledger, child)?;
                let work = &self.works[&id];
                let inside = self.possible_of(id).iter().any(|assignment| {
                    self.inside(ledger, child, work.tenant, &self.core(&work.spec, assignment))
                });
                let key =
                    (!self.class_of(id), !inside, self.share(ledger, child), self.fill(ledger, child), id);
                Some((key, id))
            })
            .min_by(|(a, _), (b, _)| a.cmp(b))
            .map(|(_, id)| id)
    }

    /// Tries one assignment in one mode; admits if it fits.
    pub(super) fn try_admit(&mut self, id: u64, assignment: &[usize], how: How) -> bool {
        let work = &self.works[&id];
        let (spec, tenant) = (work.spec.clone(), work.tenant);
        if how == How::Borrow && !spec.preemptible {
            return false;
        }
        let wanted = self.core(&spec, assignment);
        let held = self.held();
        let planned = self.planned_for(id, how);
        if how == How::Nominal && !self.inside_nominal(&planned, tenant, &wanted, &wanted) {
            return false;
        }
        if self.short(&held, tenant, &wanted).is_some() || self.short(&planned, tenant, &wanted).is_some() {
            return false;
        }
        let free = |flavor: usize, host: &Name| self.free(&[&held, &planned], flavor, host);
        let Some(core) = self.place(&spec, assignment, false, free) else { return false };
        let mut units = vec![Unit { n: 0, places: core.clone(), ending_for: None }];
        let (mut held, mut planned) = (held, planned);
        let mut add = |places: &[At]| {
            for ledger in [&mut held, &mut planned] {
                self.charge(ledger, &spec, tenant, places);
                *ledger = self.sum_up(ledger.clone());
            }
            (held.clone(), planned.clone())
        };
        let (mut held, mut planned) = add(&core);
        let mut groups = Self::core_groups(&spec);
        for (group, flavor) in assignment.iter().enumerate() {
            for _ in spec.groups[group].count..spec.groups[group].max {
                let request = self.request(&spec, group);
                let mut more = vec![0; self.frs()];
                for (resource, amount) in request.iter().enumerate() {
                    more[self.fr(*flavor, resource)] = *amount;
                }
                if self.capped(id, &groups, &[group]).is_some()
                    || how == How::Nominal && !self.inside_nominal(&planned, tenant, &more, &more)
                    || self.short(&held, tenant, &more).is_some()
                    || self.short(&planned, tenant, &more).is_some()
                {
                    break;
                }
                let hosts = self.flavors[*flavor].hosts.keys();
                let host = hosts.into_iter().find(|host| {
                    let free = self.free(&[&held, &planned], *flavor, host);
                    request.iter().zip(free).all(|(x, free)| *x == 0 || free >= *x)
                });
                let Some(host) = host else { break };
                let at = (group, *flavor, host.clone());
                groups.push(group);
                units.push(Unit { n: units.len() as u32, places: vec![at.clone()], ending_for: None });
                (held, planned) = add(&[at]);
            }
        }
        let from_hold = self.reservation(id).is_some_and(|reservation| reservation.hold);
        self.reservations.retain(|reservation| reservation.id != id);
        self.admissions += 1;
        let places = units.iter().flat_map(|unit| self.names(&unit.places)).collect();
        let work = self.works.get_mut(&id).unwrap();
        work.state = State::Held;
        work.units = units;
        work.admission = self.admissions;
        work.protected = from_hold;
        self.fresh.insert(id);
        self.out.push(Decision::Admit { id, how, places });
        true
    }

    pub(super) fn names(&self, places: &[At]) -> Vec<Place> {
        places
            .iter()
            .map(|(group, flavor, host)| Place {
                group: *group as u32,
                flavor: self.flavors[*flavor].id.clone(),
                host: host.clone(),
            })
            .collect()
    }

    pub(super) fn try_fit(&mut self, id: u64) -> bool {
        let possible = self.possible_of(id);
        [How::Nominal, How::Borrow]
            .into_iter()
            .any(|how| possible.iter().any(|assignment| self.try_admit(id, assignment, how)))
    }

    pub(super) fn cycle(&mut self) -> bool {
        let mut changed = false;
        for work in self.works.values_mut() {
            work.tried = false;
        }
        self.classify();
        let order: Vec<u64> = self.ranked().into_iter().map(|reservation| reservation.id).collect();
        for id in order {
            changed |= self.redeem(id);
        }
        loop {
            self.classify();
            let ledger = self.planned_all();
            let root = self.nodes.iter().position(|node| node.parent.is_none()).unwrap();
            let Some(id) = self.winner(&ledger, root) else { break };
            self.works.get_mut(&id).unwrap().tried = true;
            if self.core_capped(id).is_some() {
                self.mark_equals(id);
            } else if self.try_fit(id) {
                changed = true;
            } else if self.try_preempt(id) {
                changed = true;
                for work in self.works.values_mut() {
                    work.tried = false;
                }
            } else {
                self.mark_equals(id);
            }
        }
        changed | self.hold()
    }

    /// What failed for a workload fails for those that are equal in everything but age: they count as tried too.
    fn mark_equals(&mut self, id: u64) {
        if self.reservation(id).is_some() {
            return;
        }
        let (spec, spent) = (self.works[&id].spec.clone(), self.works[&id].spent);
        let reserved: BTreeSet<u64> = self.reservations.iter().map(|reservation| reservation.id).collect();
        for work in self.works.values_mut() {
            if work.state == State::Pending
                && work.spec == spec
                && work.spent == spent
                && !reserved.contains(&work.id)
            {
                work.tried = true;
            }
        }
    }

    /// Looks at one reservation; says whether something changed.
    pub(super) fn redeem(&mut self, id: u64) -> bool {
        let reservation = self.reservation(id).unwrap().clone();
        let work = &self.works[&id];
        let tenant = self.nodes[work.tenant].tenant.as_ref().unwrap();
        if work.state != State::Pending
            || tenant.suspended
            || self.core_capped(id).is_some()
            || !self.possible(work, &reservation.assignment)
        {
            return self.give_up(id);
        }
        let others = self.possible_of(id).into_iter().filter(|other| *other != reservation.assignment);
        let all: Vec<Vec<usize>> = [reservation.assignment.clone()].into_iter().chain(others).collect();
        for assignment in &all {
            for how in [How::Nominal, How::Borrow] {
                if self.try_admit(id, assignment, how) {
                    self.redeemed.insert(id);
                    return true;
                }
            }
        }
        let work = &self.works[&id];
        if reservation.hold {
            let mut on: BTreeMap<(usize, Name), Vec<i64>> = BTreeMap::new();
            for (group, flavor, host) in &reservation.places {
                let on = on.entry((*flavor, host.clone())).or_insert_with(|| vec![0; self.resources.len()]);
                on.iter_mut().zip(self.request(&work.spec, *group)).for_each(|(on, x)| *on += x);
            }
            let large = on.iter().all(|((flavor, host), needed)| {
                self.flavors[*flavor].hosts.contains_key(host)
                    && needed.iter().zip(self.capacity(*flavor, host)).all(|(x, all)| *x <= all)
            });
            return !large && self.give_up(id);
        }
        let wanted = self.core(&work.spec, &reservation.assignment);
        let nominal = self.planned_for(id, How::Nominal);
        let within = self.inside_nominal(&nominal, work.tenant, &wanted, &wanted);
        let how = if within { How::Nominal } else { How::Borrow };
        match self.room(id, &reservation.assignment, how, &[]) {
            Some(places) => {
                let it = self.reservations.iter_mut().find(|reservation| reservation.id == id).unwrap();
                it.places = places;
                false
            }
            None => self.give_up(id),
        }
    }

    pub(super) fn give_up(&mut self, id: u64) -> bool {
        self.reservations.retain(|reservation| reservation.id != id);
        self.out.push(Decision::Drop { id });
        true
    }

    pub(super) fn hold(&mut self) -> bool {
        let mut changed = false;
        let holds = self.reservations.iter().filter(|reservation| reservation.hold);
        let mut taken: BTreeSet<usize> = holds.flat_map(|hold| hold.assignment.clone()).collect();
        let mut starving: Vec<(i64, u64)> = Vec::new();
        for work in self.works.values().filter(|work| work.state == State::Pending) {
            let tenant = self.nodes[work.tenant].tenant.as_ref().unwrap();
            if !tenant.suspended
                && tenant.hold_after.is_some_and(|after| self.now - work.pending_since >= after)
                && self.reservation(work.id).is_none()
            {
                starving.push((work.pending_since, work.id));
            }
        }
        starving.sort_unstable();
        for (_, id) in starving {
            if self.core_capped(id).is_some() {
                continue;
            }
            let possible = self.possible_of(id);
            let Some(first) = possible.first() else { continue };
            let open = possible.iter().find(|assignment| assignment.iter().all(|f| !taken.contains(f)));
            let Some(assignment) = open else {
                taken.extend(first);
                continue;
            };
            let spec = &self.works[&id].spec;
            let empty = |flavor: usize, host: &Name| self.capacity(flavor, host);
            let places = self
                .place(spec, assignment, true, empty)
                .or_else(|| self.place(spec, assignment, false, empty))
                .unwrap();
            taken.extend(assignment);
            self.created += 1;
            let names = self.names(&places);
            let (assignment, created) = (assignment.clone(), self.created);
            self.reservations.push(Reservation {
                id,
                hold: true,
                created,
                assignment,
                places,
                class_g: false,
            });
            self.out.push(Decision::Hold { id, places: names });
            self.classify();
            changed = true;
        }
        changed
    }

    pub(super) fn clear_spent(&mut self) {
        for work in self.works.values_mut() {
            work.spent = false;
        }
    }
}
