//! The settling: reservations, tournament, holds, until nothing changes.

use std::{cmp::Reverse, collections::BTreeSet, ops::Bound};

use super::{
    decision::{Blocker, Decision, How},
    gate::{Gate, Open},
    hosts::{self, At},
    pool::{Order, Pool, Reserved, State, Unit, charge, count, give, plan, shape_in},
    spec::CapKind,
    tree::Wanted,
};

impl Pool {
    /// Decides until nothing changes, and says what is to be done, in order.
    pub fn settle(&mut self, now: i64) -> Vec<Decision<u64>> {
        self.settle_with(now, &mut Open)
    }

    /// The same, where somebody else places what is let in.
    pub fn settle_with(&mut self, now: i64, gate: &mut dyn Gate) -> Vec<Decision<u64>> {
        self.now = self.now.max(now);
        self.fresh.clear();
        while self.run_cycle(gate) {}
        self.view(None);
        self.number_fresh();
        std::mem::take(&mut self.out).into_iter().flatten().collect()
    }

    /// What is admitted names its members in order, so their numbers have no gaps where some were taken back.
    fn number_fresh(&mut self) {
        for slot in self.fresh.keys() {
            let units = self.works[*slot as usize].iter_mut().flat_map(|work| &mut work.units);
            units.zip(0..).for_each(|(unit, n)| unit.n = n);
        }
    }

    /// Everybody may be tried again.
    fn next_cycle(&mut self) {
        self.cycle += 1;
        for tenant in std::mem::take(&mut self.tried) {
            self.tournament.touch(tenant);
        }
        self.try_all_again();
    }

    fn run_cycle(&mut self, gate: &mut dyn Gate) -> bool {
        let mut changed = false;
        self.next_cycle();
        self.classify();
        let mut order: Vec<((u8, u64), u32)> =
            self.reservations.iter().map(|reservation| (reservation.rank(), reservation.slot)).collect();
        order.sort_unstable();
        for (_, slot) in order {
            changed |= self.redeem(slot, gate);
        }
        loop {
            self.classify();
            if !self.is_anybody_left() {
                break;
            }
            let Some(slot) = self.pick() else { break };
            let tenant = self.shape_of_work(slot).tenant;
            self.tournament.touch(tenant);
            if self.is_parked(slot) {
                self.passed += 1;
                self.mark_tried(slot);
                continue;
            }
            self.attempts += 1;
            if self.core_capped(slot).is_some() {
                self.mark_tried(slot);
                self.park(slot);
            } else if self.try_fit(slot, gate) {
                changed = true;
            } else if !std::mem::take(&mut self.turned_away) && self.try_preempt(slot, gate) {
                changed = true;
                self.next_cycle();
            } else {
                self.mark_tried(slot);
                self.park(slot);
            }
        }
        changed | self.hold(gate)
    }

    /// A workload was tried in vain, and so all that are equal to it were.
    fn mark_tried(&mut self, slot: u32) {
        let cycle = self.cycle;
        let work = self.work_mut(slot);
        work.tried = cycle;
        let (shape, spent, reserved) = (work.shape, work.spent, work.reserved);
        let tenant = self.shape(shape).tenant;
        self.tried.push(tenant);
        if reserved == Reserved::No {
            self.lot.tried((tenant, shape, spent));
            if let Some(bucket) = self.tenant_mut(tenant).buckets.get_mut(&(shape, spent)) {
                bucket.tried = cycle;
            }
        }
    }

    /// The first cap that keeps the core out.
    pub(super) fn core_capped(&self, slot: u32) -> Option<Blocker<u64>> {
        let shape = self.shape_of_work(slot);
        if shape.pool_missing {
            let pool = shape.key.labels.pool.clone().expect("invariant: a missing pool has a name");
            return Some(Blocker::PoolMissing { pool });
        }
        if shape.caps.is_empty() {
            return None;
        }
        let groups: Vec<usize> = (0..shape.groups.len())
            .flat_map(|group| std::iter::repeat_n(group, shape.groups[group].count as usize))
            .collect();
        self.capped(slot, &[], &groups)
    }

    /// The first cap that these members, beside others of the same workload, don't fit under.
    fn capped(&self, slot: u32, already: &[usize], groups: &[usize]) -> Option<Blocker<u64>> {
        let shape = self.shape_of_work(slot);
        let own = self.reservations.iter().find(|reservation| reservation.slot == slot);
        let own = own.map(super::pool::Reservation::rank);
        for index in &shape.caps {
            let cap = &self.caps[*index as usize];
            let slots = if cap.kind == CapKind::Pool { shape.key.labels.slots } else { 1 };
            let (mut used, mut sums) = self.cap_held[*index as usize].clone();
            for other in &self.reservations {
                let of = self.shape_of_work(other.slot);
                if own.is_none_or(|own| other.rank() < own) && of.caps.contains(index) {
                    let mut more = vec![(0, vec![0; sums.len()]); self.caps.len()];
                    count(&self.caps, &mut more, of, &other.places, 1);
                    let (members, of) = &more[*index as usize];
                    used += members;
                    sums.iter_mut().zip(of).for_each(|(sum, x)| *sum += x);
                }
            }
            used += slots * shape.key.labels.counted(already.len());
            let blocked = |used: i64, wanted: i64, limit: i64, resource| {
                (used + wanted > limit).then(|| Blocker::Cap {
                    never: wanted > limit,
                    kind: cap.kind,
                    key: cap.key.clone(),
                    resource,
                    used,
                    wanted,
                    limit,
                })
            };
            let wanted = slots * shape.key.labels.counted(groups.len());
            if let Some(max) = cap.max
                && let Some(blocker) = blocked(used, wanted, max, None)
            {
                return Some(blocker);
            }
            let sum = |groups: &[usize], r: usize| -> i64 {
                let of = groups.iter().flat_map(|group| &shape.requests[*group]);
                of.filter(|(of, _)| *of == r).map(|(_, amount)| amount).sum()
            };
            for (name, limit) in &cap.resources {
                let Ok(r) = self.resources.binary_search(name) else { continue };
                let (before, wanted) = (sum(already, r), sum(groups, r));
                if wanted > 0
                    && let Some(blocker) = blocked(sums[r] + before, wanted, *limit, Some(name.clone()))
                {
                    return Some(blocker);
                }
            }
        }
        None
    }

    /// Tries one assignment in one mode; admits if it fits.
    fn try_admit(&mut self, slot: u32, index: usize, how: How, gate: &mut dyn Gate) -> bool {
        let shape = self.shape_of_work(slot);
        let tenant = shape.tenant;
        if how == How::Borrow && !shape.preemptible {
            return false;
        }
        if self.held.short(&self.tree, tenant, &shape.assignments[index].wanted).is_some() {
            return false;
        }
        self.view(Some((slot, how)));
        let shape = shape_in(&self.shapes, self.work(slot).shape);
        let assignment = &shape.assignments[index];
        if how == How::Nominal && self.planned.over_nominal(&self.tree, tenant, &assignment.wanted).is_some()
            || self.planned.short(&self.tree, tenant, &assignment.wanted).is_some()
        {
            return false;
        }
        let r = self.resources.len();
        let ledgers = [&self.held, &self.planned];
        let Some(core) = hosts::place(&self.hosts, &ledgers, shape, &assignment.flavors, r, false) else {
            return false;
        };
        if !gate.place(self.work(slot).id) {
            self.turned_away = true;
            return false;
        }
        let flavors = assignment.flavors.clone();
        let shape_number = self.work(slot).shape;
        let reserved = self.work(slot).reserved;
        self.take(shape_number, &core);
        let mut units = vec![Unit { n: 0, places: core, ending_for: None }];
        if self.shape(shape_number).groups.iter().any(|group| group.max > group.count) {
            self.take_extras(slot, &flavors, how, &mut units);
        }
        let places = units.iter().flat_map(|unit| self.names(&unit.places)).collect();
        self.leave(slot);
        self.remove_reservation(slot);
        self.admissions += 1;
        let admission = self.admissions;
        let protected = reserved == Reserved::Hold;
        if protected {
            self.pledged.insert(slot);
            let shape = shape_in(&self.shapes, shape_number);
            units.iter().for_each(|unit| give(&self.tree, &mut self.planned, shape, &unit.places, 1));
        }
        let work = self.work_mut(slot);
        work.state = State::Held;
        work.units = units;
        work.admission = admission;
        work.protected = protected;
        let id = self.work(slot).id;
        let priority = self.shape(shape_number).priority;
        let state = self.tenant_mut(tenant);
        state.pending -= 1;
        state.held.insert((priority, Reverse(admission), slot));
        self.has_lower(tenant, priority);
        self.changed += 1;
        self.fresh.insert(slot, self.out.len());
        self.out.push(Some(Decision::Admit { id, how, places }));
        true
    }

    /// Charges members of a workload that is being admitted.
    fn take(&mut self, shape: u32, places: &[At]) {
        let shape = shape_in(&self.shapes, shape);
        charge(&self.tree, &mut self.held, shape, places, 1);
        charge(&self.tree, &mut self.planned, shape, places, 1);
        charge(&self.tree, &mut self.firm, shape, places, 1);
        count(&self.caps, &mut self.cap_held, shape, places, 1);
        let tenant = shape.tenant;
        self.tournament.touch(tenant);
        self.rose(tenant);
    }

    /// Members beyond the core: groups in order, one at a time.
    fn take_extras(&mut self, slot: u32, flavors: &[u16], how: How, units: &mut Vec<Unit>) {
        let number = self.work(slot).shape;
        let r = self.resources.len();
        for (group, flavor) in flavors.iter().enumerate() {
            let (count, max) = (self.shape(number).groups[group].count, self.shape(number).groups[group].max);
            for _ in count..max {
                let shape = self.shape(number);
                let request = &shape.requests[group];
                let fr = |resource: usize| (usize::from(*flavor) * r + resource) as u32;
                let wanted: Wanted = request.iter().map(|(of, amount)| (fr(*of), *amount)).collect();
                let ledgers = [&self.held, &self.planned];
                if self.capped(slot, &[], &[group]).is_some()
                    || how == How::Nominal
                        && self.planned.over_nominal(&self.tree, shape.tenant, &wanted).is_some()
                    || ledgers.iter().any(|ledger| ledger.short(&self.tree, shape.tenant, &wanted).is_some())
                {
                    break;
                }
                let taken = std::collections::BTreeMap::new();
                let found = hosts::first_fit(&self.hosts, &ledgers, *flavor, request, r, &taken, false);
                let Some(host) = found else { break };
                let at = At { group: group as u16, flavor: *flavor, host };
                self.take(number, &[at]);
                units.push(Unit { n: units.len() as u32, places: vec![at], ending_for: None });
            }
        }
    }

    /// All possible assignments in nominal mode, then all in borrow mode.
    fn try_fit(&mut self, slot: u32, gate: &mut dyn Gate) -> bool {
        self.turned_away = false;
        let work = self.work(slot);
        let (number, spent, plain) = (work.shape, work.spent, work.reserved == Reserved::No);
        let loosened = self.loosened;
        let tenant = self.shape(number).tenant;
        if plain
            && self
                .tenant(tenant)
                .buckets
                .get(&(number, spent))
                .is_some_and(|bucket| bucket.unfit == loosened)
        {
            self.turned_away = self.tenant(tenant).buckets[&(number, spent)].turned_away;
            return false;
        }
        let possible: Vec<usize> = self.shape(number).possible().collect();
        for how in [How::Nominal, How::Borrow] {
            for index in &possible {
                if self.try_admit(slot, *index, how, gate) {
                    return true;
                }
            }
        }
        let turned_away = self.turned_away;
        if plain && let Some(bucket) = self.tenant_mut(tenant).buckets.get_mut(&(number, spent)) {
            (bucket.unfit, bucket.turned_away) = (loosened, turned_away);
        }
        false
    }

    /// Looks at one reservation; says whether something changed.
    fn redeem(&mut self, slot: u32, gate: &mut dyn Gate) -> bool {
        let Some(at) = self.reservations.iter().position(|reservation| reservation.slot == slot) else {
            return false;
        };
        let shape = self.shape_of_work(slot);
        let flavors = self.reservations[at].assignment.clone();
        let own = shape.assignments.iter().position(|it| it.flavors == flavors && it.possible);
        let suspended = self.tenant(shape.tenant).suspended;
        let pending = self.work(slot).state == State::Pending;
        if pending && !suspended && !gate.is_known(self.work(slot).id) {
            return false;
        }
        // Nothing is kept for whom the gate has no place at all.
        let lost = suspended || !gate.possible(self.work(slot).id);
        let (Some(own), true, false, None) = (own, pending, lost, self.core_capped(slot)) else {
            return self.give_up(slot);
        };
        let others = shape.possible().filter(|index| *index != own);
        let all: Vec<usize> = std::iter::once(own).chain(others).collect();
        for index in all {
            for how in [How::Nominal, How::Borrow] {
                if self.try_admit(slot, index, how, gate) {
                    return true;
                }
            }
        }
        let at = self.reservations.iter().position(|reservation| reservation.slot == slot);
        let at = at.expect("invariant: only an admission takes a reservation away");
        if self.reservations[at].hold {
            return !self.hosts_suffice(slot, at) && self.give_up(slot);
        }
        self.view(Some((slot, How::Nominal)));
        let shape = self.shape_of_work(slot);
        let (tenant, wanted) = (shape.tenant, shape.assignments[own].wanted.clone());
        let within = self.planned.over_nominal(&self.tree, tenant, &wanted).is_none();
        self.view(Some((slot, if within { How::Nominal } else { How::Borrow })));
        match self.room(slot, own) {
            Some(places) => {
                if self.reservations[at].places != places {
                    self.set_charged(at, false);
                    self.reservations[at].places = places;
                    self.loosen(tenant);
                }
                false
            }
            None => self.give_up(slot),
        }
    }

    /// Whether the hosts of a hold are still large enough for it.
    fn hosts_suffice(&self, slot: u32, at: usize) -> bool {
        let shape = self.shape_of_work(slot);
        let mut needed = std::collections::BTreeMap::new();
        for at in &self.reservations[at].places {
            for (r, amount) in &shape.requests[usize::from(at.group)] {
                *needed.entry((at.flavor, at.host, *r)).or_insert(0) += amount;
            }
        }
        let r = self.resources.len();
        let places = &self.reservations[at].places;
        places.iter().all(|at| self.hosts[usize::from(at.flavor)].is_there(at.host))
            && needed.iter().all(|((flavor, host, of), amount)| {
                *amount <= self.hosts[usize::from(*flavor)].capacity[*host as usize * r + of]
            })
    }

    /// Where the core would run by the planned ledger alone.
    pub(super) fn room(&self, slot: u32, index: usize) -> Option<Vec<At>> {
        let shape = self.shape_of_work(slot);
        let assignment = &shape.assignments[index];
        if self.planned.short(&self.tree, shape.tenant, &assignment.wanted).is_some()
            || !shape.preemptible
                && self.planned.over_nominal(&self.tree, shape.tenant, &assignment.wanted).is_some()
        {
            return None;
        }
        hosts::place(&self.hosts, &[&self.planned], shape, &assignment.flavors, self.resources.len(), false)
    }

    pub(super) fn set_charged(&mut self, at: usize, charged: bool) {
        let reservation = &mut self.reservations[at];
        if std::mem::replace(&mut reservation.charged, charged) != charged {
            let work = self.works[reservation.slot as usize].as_ref();
            let work = work.expect("invariant: a reservation belongs to a workload");
            let shape = shape_in(&self.shapes, work.shape);
            let sign = if charged { 1 } else { -1 };
            plan(&self.tree, &mut self.planned, shape, &reservation.places, sign, reservation.hold);
        }
    }

    fn give_up(&mut self, slot: u32) -> bool {
        let work = self.work(slot);
        let (id, pending) = (work.id, work.state == State::Pending);
        if pending {
            self.leave(slot);
        }
        self.remove_reservation(slot);
        if pending {
            self.enter(slot);
        } else {
            self.forget(slot);
        }
        self.out.push(Some(Decision::Drop { id }));
        true
    }

    /// Gives holds to those that wait too long.
    fn hold(&mut self, gate: &mut dyn Gate) -> bool {
        let mut changed = false;
        let holds = self.reservations.iter().filter(|reservation| reservation.hold);
        let mut taken: BTreeSet<u16> = holds.flat_map(|hold| hold.assignment.clone()).collect();
        let mut last = None;
        while let Some(next) = self.next_starving(last, &taken) {
            last = Some(next);
            let slot = next.2;
            if self.core_capped(slot).is_some() || !gate.possible(self.work(slot).id) {
                continue;
            }
            let shape = self.shape_of_work(slot);
            let Some(first) = shape.possible().next() else { continue };
            let open = shape
                .possible()
                .find(|index| shape.assignments[*index].flavors.iter().all(|flavor| !taken.contains(flavor)));
            let Some(open) = open else {
                taken.extend(&shape.assignments[first].flavors);
                continue;
            };
            let flavors = shape.assignments[open].flavors.clone();
            let r = self.resources.len();
            let empty = hosts::place(&self.hosts, &[], shape, &flavors, r, true);
            let places = empty.or_else(|| hosts::place(&self.hosts, &[], shape, &flavors, r, false));
            let places = places.expect("invariant: a possible assignment has room on empty hosts");
            taken.extend(&flavors);
            let names = self.names(&places);
            let id = self.work(slot).id;
            self.reserve(slot, true, flavors, places);
            self.out.push(Some(Decision::Hold { id, places: names }));
            self.classify();
            changed = true;
        }
        changed
    }
    /// The first that starves after that one and could run where not every flavor has a hold.
    fn next_starving(
        &self,
        after: Option<(i64, Order, u32)>,
        taken: &BTreeSet<u16>,
    ) -> Option<(i64, Order, u32)> {
        if taken.len() == self.flavors.len() {
            return None;
        }
        let (shortest, _) = self.hold_after?;
        let taken: Vec<u16> = taken.iter().copied().collect();
        let taken = if self.flavors.len() > 64 { 0 } else { self.flavor_bits(&taken) };
        let starves = |(since, _, slot): &&(i64, Order, u32)| {
            let state = self.tenant(self.shape_of_work(*slot).tenant);
            !state.suspended && state.hold_after.is_some_and(|after| self.now - since >= after)
        };
        let of = |waiting: &BTreeSet<(i64, Order, u32)>| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let all = waiting.range((from, Bound::Unbounded));
            all.take_while(|(since, ..)| self.now - since >= shortest).find(starves).copied()
        };
        self.waiting.iter().filter(|(flavors, _)| *flavors & !taken != 0).filter_map(|(_, it)| of(it)).min()
    }
}
