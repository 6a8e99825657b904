//! The pool's state, and the events that change it from outside.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    decision::{Decision, How, Part, Place},
    hosts::{At, Hosts},
    order::Tournament,
    shape::{Assignment, Shape, ShapeKey},
    share::Weight,
    spec::{Cap, CapKind, Cohort, Flavor, Name, Quotas, Tenant, Vector, Workload},
    tree::{Ledger, Tree, Wanted},
};

/// What is wrong with a description of the pool, or with a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// No cohort is the root, or several are.
    #[error("a pool has exactly one cohort without parent, not {0}")]
    Roots(usize),
    /// A node names a parent that isn't a cohort.
    #[error("`{node}` names `{parent}` as its parent, which is no cohort")]
    Parent {
        /// The node.
        node: Name,
        /// Its parent.
        parent: Name,
    },
    /// Two nodes have one name.
    #[error("two tenants or cohorts are named `{0}`")]
    Twice(Name),
    /// A cohort is its own ancestor.
    #[error("cohort `{0}` lies below itself")]
    Cycle(Name),
    /// Nothing has that name.
    #[error("there is no tenant, cohort or flavor `{0}`")]
    Unknown(Name),
    /// A workload of that number is there already.
    #[error("workload {0} was submitted before")]
    Repeated(u64),
    /// A workload without groups, an empty group, or one whose maximum is below its count.
    #[error("a workload has groups, and each at least one member and no maximum below that")]
    Empty,
    /// The tenant has as many pending workloads as it may have.
    #[error("tenant `{tenant}` has {max} workloads waiting, the most it may have")]
    QueueFull {
        /// The tenant.
        tenant: Name,
        /// Its limit.
        max: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Held,
    /// Ended with a reservation, which is given up at the next settling.
    Done,
}

/// What is taken and given back as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// 0 for the core, else the number of the extra member.
    pub(super) n: u32,
    pub(super) places: Vec<At>,
    pub(super) ending_for: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) id: u64,
    pub(super) shape: u32,
    pub(super) state: State,
    pub(super) protected: bool,
    pub(super) spent: bool,
    pub(super) reserved: Reserved,
    /// The cycle in which it was tried, for one with a hold.
    pub(super) tried: u64,
    pub(super) pending_since: i64,
    pub(super) admission: u64,
    pub(super) units: Vec<Unit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reserved {
    No,
    Hold,
    Victims,
}

#[derive(Debug, Clone)]
pub(super) struct Reservation {
    pub(super) slot: u32,
    pub(super) hold: bool,
    pub(super) created: u64,
    pub(super) assignment: Vec<u16>,
    pub(super) wanted: Wanted,
    pub(super) places: Vec<At>,
    pub(super) class_g: bool,
    /// It is in the planned ledger as that stands now.
    pub(super) charged: bool,
}

impl Reservation {
    pub(super) fn rank(&self) -> (u8, u64) {
        let kind = if self.hold { 2 } else { u8::from(!self.class_g) };
        (kind, self.created)
    }
}

/// Pending workloads of one shape without reservation, all spent or none.
#[derive(Debug, Clone, Default)]
pub(super) struct Bucket {
    /// By age.
    pub(super) waiting: BTreeSet<(u64, u32)>,
    /// Tried in that cycle, so are all of them.
    pub(super) tried: u64,
    /// None fits while nothing was given back since.
    pub(super) unfit: u64,
    /// None can preempt while nothing changed since.
    pub(super) tame: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct TenantState {
    pub(super) max_queued: Option<u32>,
    pub(super) suspended: bool,
    pub(super) hold_after: Option<i64>,
    pub(super) buckets: BTreeMap<(u32, bool), Bucket>,
    /// Pending with a hold.
    pub(super) holders: BTreeSet<(u64, u32)>,
    pub(super) pending: u32,
    /// Held, the first to be taken in front.
    pub(super) held: BTreeSet<(i32, Reverse<u64>, u32)>,
}

/// The resource pool: see [`crate::sharing`].
#[derive(Debug, Clone)]
pub struct Pool {
    pub(super) now: i64,
    pub(super) flavors: Vec<Name>,
    pub(super) clusters: Vec<Name>,
    pub(super) hosts: Vec<Hosts>,
    pub(super) resources: Vec<Name>,
    pub(super) tree: Tree,
    /// By node; none for cohorts.
    pub(super) tenants: Vec<Option<TenantState>>,
    pub(super) node_of: BTreeMap<Name, u32>,
    pub(super) caps: Vec<Cap>,
    cap_of: BTreeMap<(CapKind, Name, Name), u32>,
    /// By cap: members (or slots) and amounts that are held.
    pub(super) cap_held: Vec<(i64, Vec<i64>)>,
    pub(super) shapes: Vec<Option<Shape>>,
    free_shapes: Vec<u32>,
    shape_of: BTreeMap<ShapeKey, u32>,
    pub(super) works: Vec<Option<Work>>,
    free_works: Vec<u32>,
    pub(super) slot_of: BTreeMap<u64, u32>,
    pub(super) reservations: Vec<Reservation>,
    pub(super) held: Ledger,
    /// Held without the terminating, plus the reservations that are `charged`.
    pub(super) planned: Ledger,
    pub(super) admissions: u64,
    pub(super) created: u64,
    pub(super) cycle: u64,
    /// Grows when something was given back, or a limit moved: what didn't fit may now.
    pub(super) loosened: u64,
    /// Grows with every change.
    pub(super) changed: u64,
    /// Pending without reservation that will starve, by time of entry.
    pub(super) waiting: BTreeSet<(i64, u64, u32)>,
    pub(super) spent: Vec<u32>,
    /// Admitted in this settling.
    pub(super) fresh: BTreeMap<u32, usize>,
    pub(super) out: Vec<Option<Decision<u64>>>,
    pub(super) tournament: Tournament,
}

impl Pool {
    /// A pool without work.
    pub fn new(
        flavors: &[Flavor],
        cohorts: &[Cohort],
        tenants: &[Tenant],
        caps: &[Cap],
    ) -> Result<Self, Invalid> {
        let mut flavors: Vec<&Flavor> = flavors.iter().collect();
        flavors.sort_by(|a, b| a.id.cmp(&b.id));
        let (tree, tenants, node_of) = plant(cohorts, tenants)?;
        let mut names: BTreeSet<Name> = flavors
            .iter()
            .flat_map(|flavor| flavor.hosts.values().flat_map(|of| of.keys().cloned()))
            .collect();
        names.extend(tree.quotas.iter().flat_map(|of| of.values().flat_map(|of| of.keys().cloned())));
        let mut pool = Self {
            now: i64::MIN,
            clusters: flavors.iter().map(|flavor| flavor.cluster.clone()).collect(),
            hosts: flavors.iter().map(|flavor| Hosts::of(&flavor.hosts)).collect(),
            flavors: flavors.iter().map(|flavor| flavor.id.clone()).collect(),
            resources: names.into_iter().collect(),
            tournament: Tournament::new(&tree),
            tree,
            tenants,
            node_of,
            caps: caps.to_vec(),
            cap_of: BTreeMap::new(),
            cap_held: Vec::new(),
            shapes: Vec::new(),
            free_shapes: Vec::new(),
            shape_of: BTreeMap::new(),
            works: Vec::new(),
            free_works: Vec::new(),
            slot_of: BTreeMap::new(),
            reservations: Vec::new(),
            held: Ledger::default(),
            planned: Ledger::default(),
            admissions: 0,
            created: 0,
            cycle: 1,
            loosened: 1,
            changed: 1,
            waiting: BTreeSet::new(),
            spent: Vec::new(),
            fresh: BTreeMap::new(),
            out: Vec::new(),
        };
        pool.index();
        Ok(pool)
    }

    /// Computes everything anew that follows from quotas, capacities, caps and what is held.
    pub(super) fn index(&mut self) {
        self.tree.index(&self.flavors, &self.resources);
        for hosts in &mut self.hosts {
            hosts.index(&self.resources);
        }
        self.cap_of = self
            .caps
            .iter()
            .enumerate()
            .map(|(index, cap)| ((cap.kind, cap.tenant.clone(), cap.key.clone()), index as u32))
            .collect();
        for shape in 0..self.shapes.len() {
            if let Some(old) = self.shapes[shape].take() {
                let mut shape_again = self.compile(old.key);
                shape_again.users = old.users;
                self.shapes[shape] = Some(shape_again);
            }
        }
        self.recount();
        for index in 0..self.reservations.len() {
            let Reservation { slot, assignment, .. } = &self.reservations[index];
            let wanted = self.wanted(&self.shape_of_work(*slot).key, assignment);
            self.reservations[index].wanted = wanted;
        }
        self.loosened += 1;
        self.changed += 1;
        self.tournament.touch_all();
    }

    /// Both ledgers and the caps from what is held and reserved.
    pub(super) fn recount(&mut self) {
        let (held, planned, caps) = self.counted();
        (self.held, self.planned, self.cap_held) = (held, planned, caps);
        self.reservations.iter_mut().for_each(|reservation| reservation.charged = true);
    }

    /// What the ledgers must hold with all reservations.
    pub(super) fn counted(&self) -> (Ledger, Ledger, Vec<(i64, Vec<i64>)>) {
        let empty = || Ledger::new(&self.tree, self.hosts.iter().map(|hosts| hosts.names.len()));
        let (mut held, mut planned) = (empty(), empty());
        let mut caps = vec![(0, vec![0; self.resources.len()]); self.caps.len()];
        for work in self.works.iter().flatten() {
            let shape = self.shape(work.shape);
            for unit in &work.units {
                charge(&self.tree, &mut held, shape, &unit.places, 1);
                if unit.ending_for.is_none() {
                    charge(&self.tree, &mut planned, shape, &unit.places, 1);
                }
                count(&self.caps, &mut caps, shape, &unit.places, 1);
            }
        }
        for reservation in &self.reservations {
            charge(&self.tree, &mut planned, self.shape_of_work(reservation.slot), &reservation.places, 1);
        }
        (held, planned, caps)
    }

    pub(super) fn work(&self, slot: u32) -> &Work {
        self.works[slot as usize].as_ref().expect("invariant: a slot that is referred to is in use")
    }

    pub(super) fn work_mut(&mut self, slot: u32) -> &mut Work {
        self.works[slot as usize].as_mut().expect("invariant: a slot that is referred to is in use")
    }

    pub(super) fn shape(&self, shape: u32) -> &Shape {
        self.shapes[shape as usize].as_ref().expect("invariant: a shape that is referred to is in use")
    }

    pub(super) fn shape_of_work(&self, slot: u32) -> &Shape {
        self.shape(self.work(slot).shape)
    }

    pub(super) fn tenant(&self, node: u32) -> &TenantState {
        self.tenants[node as usize].as_ref().expect("invariant: a workload belongs to a leaf")
    }

    pub(super) fn tenant_mut(&mut self, node: u32) -> &mut TenantState {
        self.tenants[node as usize].as_mut().expect("invariant: a workload belongs to a leaf")
    }

    /// What a core needs in an assignment.
    fn wanted(&self, key: &ShapeKey, flavors: &[u16]) -> Wanted {
        let mut wanted = BTreeMap::new();
        for (group, flavor) in key.groups.iter().zip(flavors) {
            for (name, amount) in group.request.iter().filter(|(_, amount)| **amount > 0) {
                if let Ok(r) = self.resources.binary_search(name) {
                    let fr = usize::from(*flavor) * self.resources.len() + r;
                    *wanted.entry(fr as u32).or_insert(0) += amount * i64::from(group.count);
                }
            }
        }
        wanted.into_iter().collect()
    }

    fn compile(&self, key: ShapeKey) -> Shape {
        let mut found: Vec<Vec<u16>> = vec![Vec::new()];
        for group in &key.groups {
            let flavors: Vec<u16> = match &group.flavors {
                None => (0..self.flavors.len() as u16).collect(),
                Some(names) => names
                    .iter()
                    .filter_map(|name| self.flavors.binary_search(name).ok().map(|index| index as u16))
                    .collect(),
            };
            let longer = |prefix: &Vec<u16>| {
                let prefix = prefix.clone();
                flavors.iter().map(move |flavor| prefix.iter().copied().chain([*flavor]).collect())
            };
            found = found.iter().flat_map(longer).collect::<Vec<Vec<u16>>>();
        }
        let cluster = |flavor: &u16| &self.clusters[usize::from(*flavor)];
        found.retain(|flavors| {
            key.span_clusters || flavors.windows(2).all(|pair| cluster(&pair[0]) == cluster(&pair[1]))
        });
        let request = |of: &Vector| {
            self.resources
                .iter()
                .enumerate()
                .filter_map(|(r, name)| of.get(name).filter(|amount| **amount > 0).map(|amount| (r, *amount)))
                .collect()
        };
        let tenant = &self.tree.ids[key.tenant as usize];
        let labels = &key.labels;
        let mut groups = labels.groups.clone();
        groups.sort();
        groups.dedup();
        let mut keys: Vec<(CapKind, Name)> = Vec::new();
        keys.extend(labels.run.clone().map(|key| (CapKind::Run, key)));
        keys.extend(labels.dag.clone().map(|key| (CapKind::Dag, key)));
        keys.extend(labels.pool.clone().map(|key| (CapKind::Pool, key)));
        keys.extend(labels.user.clone().map(|key| (CapKind::User, key)));
        keys.extend(groups.into_iter().map(|key| (CapKind::Group, key)));
        let find = |kind, key| self.cap_of.get(&(kind, tenant.clone(), key)).copied();
        let mut caps: Vec<u32> = keys.into_iter().filter_map(|(kind, key)| find(kind, key)).collect();
        let of_tenant = self.caps.iter().position(|cap| cap.kind == CapKind::Tenant && cap.tenant == *tenant);
        caps.extend(of_tenant.map(|index| index as u32));
        let pool_missing =
            labels.pool.as_ref().is_some_and(|pool| find(CapKind::Pool, pool.clone()).is_none());
        let mut shape = Shape {
            tenant: key.tenant,
            priority: key.priority,
            groups: key.groups.clone(),
            requests: key.groups.iter().map(|group| request(&group.request)).collect(),
            members: key.groups.iter().map(|group| group.count).sum(),
            preemptible: key.preemptible,
            may_preempt: key.may_preempt,
            assignments: Vec::new(),
            caps,
            pool_missing,
            users: 0,
            key,
        };
        let nothing = Ledger::new(&self.tree, self.hosts.iter().map(|hosts| hosts.names.len()));
        for flavors in found {
            let wanted = self.wanted(&shape.key, &flavors);
            let possible = nothing.short(&self.tree, shape.tenant, &wanted).is_none()
                && (shape.preemptible || nothing.over_nominal(&self.tree, shape.tenant, &wanted).is_none())
                && super::hosts::place(
                    &self.hosts,
                    &[&nothing],
                    &shape,
                    &flavors,
                    self.resources.len(),
                    false,
                )
                .is_some();
            shape.assignments.push(Assignment { flavors, wanted, possible });
        }
        shape
    }

    fn learn(&mut self, workload: &Workload) {
        let mut new = false;
        for name in workload.groups.iter().flat_map(|group| group.request.keys()) {
            if let Err(at) = self.resources.binary_search(name) {
                self.resources.insert(at, name.clone());
                new = true;
            }
        }
        if new {
            self.index();
        }
    }

    fn shape_for(&mut self, tenant: u32, workload: &Workload) -> u32 {
        self.learn(workload);
        let key = ShapeKey::new(tenant, workload);
        if let Some(shape) = self.shape_of.get(&key) {
            return *shape;
        }
        let compiled = Some(self.compile(key.clone()));
        let shape = if let Some(free) = self.free_shapes.pop() {
            self.shapes[free as usize] = compiled;
            free
        } else {
            self.shapes.push(compiled);
            self.shapes.len() as u32 - 1
        };
        self.shape_of.insert(key, shape);
        shape
    }

    fn leave_shape(&mut self, shape: u32) {
        let of = self.shapes[shape as usize].as_mut().expect("invariant: a shape that is left is in use");
        of.users -= 1;
        if of.users == 0 {
            let (tenant, key) = (of.tenant, of.key.clone());
            for spent in [false, true] {
                self.tenant_mut(tenant).buckets.remove(&(shape, spent));
            }
            self.shape_of.remove(&key);
            self.shapes[shape as usize] = None;
            self.free_shapes.push(shape);
        }
    }

    /// Puts a workload into the queue. Its number is new, and larger than those of all that were submitted before.
    pub fn submit(&mut self, now: i64, id: u64, workload: &Workload) -> Result<(), Invalid> {
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
        self.outside(now);
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
            shape,
            state: State::Pending,
            protected: false,
            spent: false,
            reserved: Reserved::No,
            tried: 0,
            pending_since: now,
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
        self.tenant_mut(node).pending += 1;
        self.enter(slot);
        Ok(())
    }

    /// Something happened outside: time goes on, and who was spent may preempt again.
    pub(super) fn outside(&mut self, now: i64) {
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
        let (id, shape, spent, since, reserved) =
            (work.id, work.shape, work.spent, work.pending_since, work.reserved);
        let tenant = self.shape(shape).tenant;
        self.tournament.touch(tenant);
        let state = self.tenant_mut(tenant);
        match reserved {
            Reserved::No => {
                let bucket = state.buckets.entry((shape, spent)).or_default();
                bucket.waiting.insert((id, slot));
                if state.hold_after.is_some() {
                    self.waiting.insert((since, id, slot));
                }
            }
            Reserved::Hold => {
                state.holders.insert((id, slot));
            }
            Reserved::Victims => {}
        }
    }

    /// The reverse of `enter`.
    pub(super) fn leave(&mut self, slot: u32) {
        let work = self.work(slot);
        let (id, shape, spent, since, reserved) =
            (work.id, work.shape, work.spent, work.pending_since, work.reserved);
        let tenant = self.shape(shape).tenant;
        self.tournament.touch(tenant);
        let state = self.tenant_mut(tenant);
        match reserved {
            Reserved::No => {
                if let Some(bucket) = state.buckets.get_mut(&(shape, spent)) {
                    bucket.waiting.remove(&(id, slot));
                    if bucket.waiting.is_empty() {
                        state.buckets.remove(&(shape, spent));
                    }
                }
                self.waiting.remove(&(since, id, slot));
            }
            Reserved::Hold => {
                state.holders.remove(&(id, slot));
            }
            Reserved::Victims => {}
        }
    }

    /// Ends a pending or held workload at once; false if it is neither.
    pub fn end(&mut self, now: i64, id: u64) -> bool {
        let Some(slot) = self.slot_of.get(&id).copied() else { return false };
        self.outside(now);
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
                charge(&self.tree, &mut self.planned, shape_in(&self.shapes, work.shape), &unit.places, -1);
            }
            count(&self.caps, &mut self.cap_held, shape_in(&self.shapes, work.shape), &unit.places, -1);
        }
        work.units = Vec::new();
        self.tenant_mut(tenant).held.remove(&(priority, Reverse(work.admission), slot));
        self.works[slot as usize] = Some(work);
        self.loosen(tenant);
    }

    /// Something of a tenant was given back.
    pub(super) fn loosen(&mut self, tenant: u32) {
        self.loosened += 1;
        self.changed += 1;
        self.tournament.touch(tenant);
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
            charge(&self.tree, &mut self.planned, shape, &unit.places, -1);
        }
        count(&self.caps, &mut self.cap_held, shape, &unit.places, -1);
        let tenant = shape.tenant;
        self.loosen(tenant);
    }

    fn known(&self, node: &Name) -> Result<u32, Invalid> {
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

    /// Whether a workload is held: admitted, and its end not confirmed.
    pub fn is_held(&self, id: u64) -> bool {
        self.slot_of.get(&id).is_some_and(|slot| self.work(*slot).state == State::Held)
    }

    /// What is held by node, flavor and resource, without zeros.
    pub fn usage(&self) -> impl Iterator<Item = (&Name, &Name, &Name, i64)> {
        let frs =
            (0..self.tree.ids.len()).flat_map(move |node| (0..self.tree.width).map(move |fr| (node, fr)));
        frs.filter_map(move |(node, fr)| {
            let used = self.held.used(&self.tree, node as u32, fr as u32);
            let r = self.resources.len();
            (used != 0).then(|| (&self.tree.ids[node], &self.flavors[fr / r], &self.resources[fr % r], used))
        })
    }

    /// The next instant after `now` at which a workload has waited so long that it gets a hold if it can.
    pub fn deadline(&self, now: i64) -> Option<i64> {
        let at = |(since, _, slot): &(i64, u64, u32)| {
            let after = self.tenant(self.shape_of_work(*slot).tenant).hold_after?;
            Some(since + after)
        };
        self.waiting.iter().filter_map(at).filter(|at| *at > now).min()
    }

    pub(super) fn names(&self, places: &[At]) -> Vec<Place> {
        places
            .iter()
            .map(|at| Place {
                group: at.group.into(),
                flavor: self.flavors[usize::from(at.flavor)].clone(),
                host: self.hosts[usize::from(at.flavor)].names[at.host as usize].clone(),
            })
            .collect()
    }

    pub(super) fn remove_reservation(&mut self, slot: u32) {
        let Some(index) = self.reservations.iter().position(|reservation| reservation.slot == slot) else {
            return;
        };
        let reservation = self.reservations.remove(index);
        if reservation.charged {
            let shape = shape_in(&self.shapes, self.work(slot).shape);
            charge(&self.tree, &mut self.planned, shape, &reservation.places, -1);
        }
        let tenant = self.shape_of_work(slot).tenant;
        self.work_mut(slot).reserved = Reserved::No;
        self.loosen(tenant);
    }

    /// Adds a reservation for a pending workload, in place of one that it has.
    pub(super) fn reserve(&mut self, slot: u32, hold: bool, assignment: Vec<u16>, places: Vec<At>) {
        self.leave(slot);
        self.remove_reservation(slot);
        self.created += 1;
        let shape = shape_in(&self.shapes, self.work(slot).shape);
        charge(&self.tree, &mut self.planned, shape, &places, 1);
        let wanted = self.wanted(&shape.key, &assignment);
        let created = self.created;
        self.work_mut(slot).reserved = if hold { Reserved::Hold } else { Reserved::Victims };
        self.reservations.push(Reservation {
            slot,
            hold,
            created,
            assignment,
            wanted,
            places,
            class_g: false,
            charged: true,
        });
        self.enter(slot);
        self.changed += 1;
    }

    /// Makes the planned ledger what a workload sees in that mode; for none, what there is with all reservations.
    pub(super) fn view(&mut self, of: Option<(u32, How)>) {
        if self.reservations.is_empty() {
            return;
        }
        let own = of.and_then(|(slot, _)| {
            self.reservations.iter().find(|reservation| reservation.slot == slot).map(Reservation::rank)
        });
        let tenant = of.map(|(slot, _)| self.shape_of_work(slot).tenant);
        for index in 0..self.reservations.len() {
            let other = &self.reservations[index];
            let shape = shape_in(&self.shapes, self.work(other.slot).shape);
            let binds = match of {
                None => true,
                Some((_, how)) => {
                    own.is_none_or(|own| other.rank() < own)
                        && (how == How::Borrow || other.class_g || Some(shape.tenant) == tenant)
                }
            };
            if binds != other.charged {
                charge(&self.tree, &mut self.planned, shape, &other.places, if binds { 1 } else { -1 });
                self.reservations[index].charged = binds;
            }
        }
    }
}

pub(super) fn shape_in(shapes: &[Option<Shape>], shape: u32) -> &Shape {
    shapes[shape as usize].as_ref().expect("invariant: a shape that is referred to is in use")
}

/// Charges members with their tenant and hosts, or gives back.
pub(super) fn charge(tree: &Tree, ledger: &mut Ledger, shape: &Shape, places: &[At], sign: i64) {
    for at in places {
        let (flavor, group) = (usize::from(at.flavor), usize::from(at.group));
        for (r, amount) in &shape.requests[group] {
            ledger.add(tree, shape.tenant, (flavor * tree.resources + r) as u32, sign * amount);
            ledger.hosts[flavor][at.host as usize * tree.resources + r] += sign * amount;
        }
    }
}

/// Counts members against the caps of their shape, or gives back.
pub(super) fn count(caps: &[Cap], held: &mut [(i64, Vec<i64>)], shape: &Shape, places: &[At], sign: i64) {
    for index in &shape.caps {
        let (members, sums) = &mut held[*index as usize];
        let slots = if caps[*index as usize].kind == CapKind::Pool { shape.key.labels.slots } else { 1 };
        *members += sign * slots * places.len() as i64;
        for at in places {
            for (r, amount) in &shape.requests[usize::from(at.group)] {
                sums[*r] += sign * amount;
            }
        }
    }
}

type Planted = (Tree, Vec<Option<TenantState>>, BTreeMap<Name, u32>);

fn plant(cohorts: &[Cohort], tenants: &[Tenant]) -> Result<Planted, Invalid> {
    let mut tree = Tree::default();
    let mut states = Vec::new();
    let mut node_of = BTreeMap::new();
    let mut parents = Vec::new();
    let of_cohorts = cohorts.iter().map(|it| (&it.id, it.parent.as_ref(), it.weight, &it.quotas, None));
    let of_tenants = tenants.iter().map(|it| {
        let state = TenantState {
            max_queued: it.max_queued,
            suspended: it.suspended,
            hold_after: it.hold_after,
            ..TenantState::default()
        };
        (&it.id, Some(&it.parent), it.weight, &it.quotas, Some(state))
    });
    for (id, parent, weight, quotas, state) in of_cohorts.chain(of_tenants) {
        if node_of.insert(id.clone(), tree.ids.len() as u32).is_some() {
            return Err(Invalid::Twice(id.clone()));
        }
        tree.ids.push(id.clone());
        tree.weights.push(weight);
        tree.quotas.push(quotas.clone());
        tree.children.push(Vec::new());
        parents.push(parent);
        states.push(state);
    }
    let roots = parents.iter().filter(|parent| parent.is_none()).count();
    if roots != 1 {
        return Err(Invalid::Roots(roots));
    }
    for (node, parent) in parents.into_iter().enumerate() {
        let index = parent.map(|name| {
            let index = node_of.get(name).copied().filter(|index| states[*index as usize].is_none());
            index.ok_or_else(|| Invalid::Parent { node: tree.ids[node].clone(), parent: name.clone() })
        });
        let index = index.transpose()?;
        tree.parents.push(index);
        match index {
            Some(parent) => tree.children[parent as usize].push(node as u32),
            None => tree.root = node as u32,
        }
    }
    for node in 0..tree.ids.len() as u32 {
        if tree.path(node).take(tree.ids.len() + 1).count() > tree.ids.len() {
            return Err(Invalid::Cycle(tree.ids[node as usize].clone()));
        }
    }
    Ok((tree, states, node_of))
}
