//! What changes the pool from outside.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    decision::Part,
    pool::{Invalid, Pool, Reserved, State, Work, charge, count, plan, shape_in},
    share::Weight,
    spec::{Age, CapKind, Name, Quotas, Vector, Workload},
};

impl Pool {
    /// Puts a workload into the queue. Its number is new, and larger than those of all that were submitted before.
    pub fn submit(&mut self, now: i64, id: u64, workload: &Workload) -> Result<(), Invalid> {
        self.outside(now);
        self.arrive(id, Age::default(), now, false, workload)
    }

    /// Puts a workload into the queue that has waited since then, without an event from outside: a victim, `spent`, that comes
    /// back under another number.
    pub fn arrive(
        &mut self,
        id: u64,
        age: Age,
        since: i64,
        spent: bool,
        workload: &Workload,
    ) -> Result<(), Invalid> {
        let node = self.node_of.get(&workload.tenant).copied();
        let Some(node) = node.filter(|node| self.tenants[*node as usize].is_some()) else {
            return Err(Invalid::Unknown(workload.tenant.clone()));
        };
        if self.slot_of.contains_key(&id) {
            return Err(Invalid::Repeated(id));
        }
        if workload.groups.is_empty()
            || workload.groups.iter().any(|group| group.count == 0 || group.max < group.count)
        {
            return Err(Invalid::Empty);
        }
        let state = self.tenant(node);
        if let Some(max) = state.max_queued
            && state.pending >= max
        {
            return Err(Invalid::QueueFull { tenant: workload.tenant.clone(), max });
        }
        let shape = self.shape_for(node, workload);
        self.shapes[shape as usize].as_mut().expect("invariant: the shape was just found").users += 1;
        let work = Work {
            id,
            age,
            shape,
            state: State::Pending,
            protected: false,
            spent,
            reserved: Reserved::No,
            tried: 0,
            pending_since: since,
            admission: 0,
            units: Vec::new(),
        };
        let slot = if let Some(free) = self.free_works.pop() {
            self.works[free as usize] = Some(work);
            free
        } else {
            self.works.push(Some(work));
            self.works.len() as u32 - 1
        };
        self.slot_of.insert(id, slot);
        if spent {
            self.spent.push(slot);
        }
        self.tenant_mut(node).pending += 1;
        self.enter(slot);
        Ok(())
    }

    /// Something happened outside: time goes on, and who was spent may preempt again.
    pub fn outside(&mut self, now: i64) {
        self.now = self.now.max(now);
        for slot in std::mem::take(&mut self.spent) {
            let pending = self.works[slot as usize].as_ref().is_some_and(|work| {
                work.spent && work.state == State::Pending && work.reserved == Reserved::No
            });
            if pending {
                self.leave(slot);
            }
            if let Some(work) = self.works[slot as usize].as_mut() {
                work.spent = false;
            }
            if pending {
                self.enter(slot);
            }
        }
    }

    pub(super) fn spend(&mut self, slot: u32) {
        let work = self.work_mut(slot);
        if !work.spent {
            work.spent = true;
            self.spent.push(slot);
        }
    }

    /// Puts a pending workload where the tournament finds it.
    pub(super) fn enter(&mut self, slot: u32) {
        let work = self.work(slot);
        let (order, shape, spent, since, reserved) =
            (work.order(), work.shape, work.spent, work.pending_since, work.reserved);
        let tenant = self.shape(shape).tenant;
        self.tournament.touch(tenant);
        let state = self.tenant_mut(tenant);
        match reserved {
            Reserved::No => {
                let bucket = state.buckets.entry((shape, spent)).or_default();
                bucket.waiting.insert((order, slot));
                let (is_new, starves) = (bucket.waiting.len() == 1, state.hold_after.is_some());
                if is_new {
                    self.lot.enter((tenant, shape, spent));
                }
                if starves {
                    let flavors = self.shape(shape).flavors;
                    self.waiting.entry(flavors).or_default().insert((since, order, slot));
                }
            }
            Reserved::Hold => {
                state.holders.insert((order, slot));
            }
            Reserved::Victims => {}
        }
    }

    /// The reverse of `enter`.
    pub(super) fn leave(&mut self, slot: u32) {
        let work = self.work(slot);
        let (order, shape, spent, since, reserved) =
            (work.order(), work.shape, work.spent, work.pending_since, work.reserved);
        let tenant = self.shape(shape).tenant;
        self.tournament.touch(tenant);
        let state = self.tenant_mut(tenant);
        match reserved {
            Reserved::No => {
                if let Some(bucket) = state.buckets.get_mut(&(shape, spent)) {
                    bucket.waiting.remove(&(order, slot));
                    if bucket.waiting.is_empty() {
                        self.drop_bucket((tenant, shape, spent));
                    }
                }
                let flavors = self.shape(shape).flavors;
                if let Some(waiting) = self.waiting.get_mut(&flavors) {
                    waiting.remove(&(since, order, slot));
                }
            }
            Reserved::Hold => {
                state.holders.remove(&(order, slot));
            }
            Reserved::Victims => {}
        }
    }

    /// Ends a pending or held workload at once; false if it is neither.
    pub fn end(&mut self, now: i64, id: u64) -> bool {
        if !self.slot_of.contains_key(&id) {
            return false;
        }
        self.outside(now);
        self.depart(id)
    }

    /// The same without an event from outside: the end of a victim.
    pub fn depart(&mut self, id: u64) -> bool {
        let Some(slot) = self.slot_of.get(&id).copied() else { return false };
        let work = self.work(slot);
        let (shape, state, reserved) = (work.shape, work.state, work.reserved);
        match state {
            State::Pending => {
                self.leave(slot);
                let tenant = self.shape(shape).tenant;
                self.tenant_mut(tenant).pending -= 1;
            }
            State::Held => self.release(slot),
            State::Done => return false,
        }
        self.slot_of.remove(&id);
        if reserved == Reserved::No {
            self.forget(slot);
        } else {
            self.work_mut(slot).state = State::Done;
        }
        true
    }

    /// Frees the place of a workload that ended.
    pub(super) fn forget(&mut self, slot: u32) {
        let shape = self.work(slot).shape;
        self.works[slot as usize] = None;
        self.free_works.push(slot);
        self.leave_shape(shape);
    }

    /// Gives back all that a held workload holds.
    pub(super) fn release(&mut self, slot: u32) {
        let mut work =
            self.works[slot as usize].take().expect("invariant: a slot that is referred to is in use");
        let shape = self.shape(work.shape);
        let (tenant, priority) = (shape.tenant, shape.priority);
        for unit in &work.units {
            charge(&self.tree, &mut self.held, shape_in(&self.shapes, work.shape), &unit.places, -1);
            if unit.ending_for.is_none() {
                let shape = shape_in(&self.shapes, work.shape);
                plan(&self.tree, &mut self.planned, shape, &unit.places, -1, work.protected);
                charge(&self.tree, &mut self.firm, shape, &unit.places, -1);
            }
            count(&self.caps, &mut self.cap_held, shape_in(&self.shapes, work.shape), &unit.places, -1);
        }
        work.units = Vec::new();
        self.pledged.remove(&slot);
        self.lot.caps_fell(&shape_in(&self.shapes, work.shape).caps);
        self.tenant_mut(tenant).held.remove(&(priority, Reverse(work.admission), slot));
        self.works[slot as usize] = Some(work);
        self.loosen(tenant);
    }

    /// Something of a tenant was given back.
    pub(super) fn loosen(&mut self, tenant: u32) {
        self.loosened += 1;
        self.changed += 1;
        self.tournament.touch(tenant);
        self.fell(tenant);
    }

    /// A held workload is being ended, for nobody in the pool: what it holds is given back when that is confirmed.
    pub fn let_end(&mut self, id: u64) {
        let Some(slot) = self.slot_of.get(&id).copied() else { return };
        let work =
            self.works[slot as usize].as_mut().expect("invariant: a slot that is referred to is in use");
        let shape = shape_in(&self.shapes, work.shape);
        for unit in work.units.iter_mut().filter(|unit| unit.ending_for.is_none()) {
            unit.ending_for = Some(id);
            plan(&self.tree, &mut self.planned, shape, &unit.places, -1, work.protected);
            charge(&self.tree, &mut self.firm, shape, &unit.places, -1);
            self.pledged.insert(slot);
        }
        let tenant = shape.tenant;
        self.loosen(tenant);
    }

    /// Whether a held workload is being ended.
    pub fn is_ending(&self, id: u64) -> bool {
        let work = self.slot_of.get(&id).map(|slot| self.work(*slot));
        work.is_some_and(|work| work.units.iter().any(|unit| unit.ending_for.is_some()))
    }

    /// The numbers of workloads that are pending with a reservation.
    pub fn reserved(&self) -> impl Iterator<Item = u64> {
        self.reservations.iter().map(|reservation| self.work(reservation.slot).id)
    }

    /// Changes the limit of a cap that counts members; false if there is no such cap.
    pub fn set_cap(&mut self, kind: CapKind, tenant: &Name, key: &Name, max: Option<i64>) -> bool {
        let Some(index) = self.cap_of.get(&(kind, tenant.clone(), key.clone())) else { return false };
        let cap = &mut self.caps[*index as usize];
        if cap.max != max {
            cap.max = max;
            self.lot.caps_fell(&[*index]);
            self.loosened += 1;
            self.changed += 1;
        }
        true
    }

    /// Whether there is such a cap.
    pub fn has_cap(&self, kind: CapKind, tenant: &Name, key: &Name) -> bool {
        self.cap_of.contains_key(&(kind, tenant.clone(), key.clone()))
    }

    /// Adds a cap that counts workloads that come from now on.
    pub fn add_cap(&mut self, cap: super::spec::Cap) {
        let index = self.caps.len() as u32;
        self.cap_of.insert((cap.kind, cap.tenant.clone(), cap.key.clone()), index);
        self.caps.push(cap);
        self.cap_held.push((0, vec![0; self.resources.len()]));
    }

    /// The executor confirmed the end of a victim, or of one of its members: it waits again, or is smaller. False if it
    /// isn't being ended.
    pub fn confirm(&mut self, now: i64, id: u64, (part, n): (Part, u32)) -> bool {
        let Some(slot) = self.slot_of.get(&id).copied() else { return false };
        self.now = self.now.max(now);
        let work = self.work(slot);
        let ending = work.units.iter().any(|unit| unit.n == n && unit.ending_for.is_some());
        if work.state != State::Held || !ending {
            return false;
        }
        match part {
            Part::Whole => {
                let tenant = self.shape(work.shape).tenant;
                self.release(slot);
                let work = self.work_mut(slot);
                work.state = State::Pending;
                work.pending_since = now;
                work.protected = false;
                self.tenant_mut(tenant).pending += 1;
                self.enter(slot);
            }
            Part::Member => self.release_member(slot, n),
        }
        true
    }

    /// Gives back one member beyond the core.
    pub(super) fn release_member(&mut self, slot: u32, n: u32) {
        let work =
            self.works[slot as usize].as_mut().expect("invariant: a slot that is referred to is in use");
        let Some(index) = work.units.iter().position(|unit| unit.n == n) else { return };
        let unit = work.units.remove(index);
        let shape = shape_in(&self.shapes, work.shape);
        charge(&self.tree, &mut self.held, shape, &unit.places, -1);
        if unit.ending_for.is_none() {
            plan(&self.tree, &mut self.planned, shape, &unit.places, -1, work.protected);
            charge(&self.tree, &mut self.firm, shape, &unit.places, -1);
        }
        count(&self.caps, &mut self.cap_held, shape, &unit.places, -1);
        self.lot.caps_fell(&shape.caps);
        if work.units.iter().all(|unit| unit.ending_for.is_none()) && !work.protected {
            self.pledged.remove(&slot);
        }
        let tenant = shape.tenant;
        self.loosen(tenant);
    }

    pub(super) fn known(&self, node: &Name) -> Result<u32, Invalid> {
        self.node_of.get(node).copied().ok_or_else(|| Invalid::Unknown(node.clone()))
    }

    /// Replaces the quotas of a tenant or cohort, and its weight if given. Nobody is ended for it.
    pub fn set_quota(
        &mut self,
        now: i64,
        node: &Name,
        quotas: &Quotas,
        weight: Option<Weight>,
    ) -> Result<(), Invalid> {
        let index = self.known(node)?;
        self.outside(now);
        self.tree.quotas[index as usize] = quotas.clone();
        if let Some(weight) = weight {
            self.tree.weights[index as usize] = weight;
        }
        for name in quotas.values().flat_map(BTreeMap::keys) {
            if let Err(at) = self.resources.binary_search(name) {
                self.resources.insert(at, name.clone());
            }
        }
        self.index();
        Ok(())
    }

    /// Replaces the hosts of a flavor. Nobody is ended for it.
    pub fn set_capacity(
        &mut self,
        now: i64,
        flavor: &Name,
        hosts: &BTreeMap<Name, Vector>,
    ) -> Result<(), Invalid> {
        let index = self.flavors.binary_search(flavor).map_err(|_| Invalid::Unknown(flavor.clone()))?;
        self.outside(now);
        self.hosts[index].spec = hosts.clone();
        for name in hosts.values().flat_map(BTreeMap::keys) {
            if let Err(at) = self.resources.binary_search(name) {
                self.resources.insert(at, name.clone());
            }
        }
        self.index();
        Ok(())
    }

    /// Suspends or resumes a tenant: while suspended nothing of it is admitted, and what runs goes on.
    pub fn suspend(&mut self, now: i64, tenant: &Name, suspended: bool) -> Result<(), Invalid> {
        let node = self.known(tenant)?;
        self.outside(now);
        let state = self.tenants[node as usize].as_mut().ok_or_else(|| Invalid::Unknown(tenant.clone()))?;
        state.suspended = suspended;
        self.loosen(node);
        Ok(())
    }
}
