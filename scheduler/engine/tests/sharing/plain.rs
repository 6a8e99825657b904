//! The rules of sharing without any optimisation: every number is computed anew from what is held and reserved whenever
//! it is needed. It is what the real pool is compared with.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use engine::sharing::{
    Blocker, Cap, CapKind, Decision, Flavor, How, Name, Part, Quota, Quotas, Rule, Share, Vector, Weight,
    Workload, share::Fraction,
};

mod cycle;
mod preempt;
mod properties;
mod why;

use crate::scenario::{Pool, Setup};

/// An index of a flavor and resource: flavors by name, then resources by name.
type Fr = usize;

#[derive(Debug, Clone)]
struct Node {
    id: Name,
    parent: Option<usize>,
    weight: Weight,
    quotas: Quotas,
    /// Set for tenants.
    tenant: Option<TenantPart>,
}

#[derive(Debug, Clone)]
struct TenantPart {
    max_queued: Option<u32>,
    suspended: bool,
    hold_after: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Held,
    Done,
}

/// A member's place: group, flavor, host.
type At = (usize, usize, Name);

#[derive(Debug, Clone)]
struct Unit {
    /// 0 for the core.
    n: u32,
    places: Vec<At>,
    ending_for: Option<u64>,
}

#[derive(Debug, Clone)]
struct Work {
    id: u64,
    spec: Workload,
    tenant: usize,
    pending_since: i64,
    state: State,
    units: Vec<Unit>,
    admission: u64,
    protected: bool,
    spent: bool,
    tried: bool,
}

#[derive(Debug, Clone)]
struct Reservation {
    id: u64,
    hold: bool,
    created: u64,
    assignment: Vec<usize>,
    places: Vec<At>,
    class_g: bool,
}

/// Usage of every node and host.
#[derive(Debug, Clone, PartialEq)]
struct Ledger {
    nodes: Vec<Vec<i64>>,
    /// What of it holds gave or keep, in plain sums.
    given: Vec<Vec<i64>>,
    hosts: BTreeMap<(usize, Name), Vec<i64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Victim {
    id: u64,
    n: u32,
    rule: Rule,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Plain {
    flavors: Vec<Flavor>,
    resources: Vec<Name>,
    nodes: Vec<Node>,
    caps: Vec<Cap>,
    works: BTreeMap<u64, Work>,
    reservations: Vec<Reservation>,
    admissions: u64,
    created: u64,
    now: i64,
    /// How often somebody changed quotas.
    quotas_changed: u32,
    /// Admitted in this settling.
    fresh: BTreeSet<u64>,
    /// Of these, those that had a reservation.
    redeemed: BTreeSet<u64>,
    out: Vec<Decision<u64>>,
}

fn over(limit: Option<i64>, amount: i64) -> bool {
    limit.is_some_and(|limit| amount > limit)
}

impl Plain {
    // Quotas.

    fn frs(&self) -> usize {
        self.flavors.len() * self.resources.len()
    }

    fn fr(&self, flavor: usize, resource: usize) -> Fr {
        flavor * self.resources.len() + resource
    }

    fn quota(&self, node: usize, fr: Fr) -> Quota {
        let (flavor, resource) = (fr / self.resources.len(), fr % self.resources.len());
        let of = self.nodes[node].quotas.get(&self.flavors[flavor].id);
        of.and_then(|of| of.get(&self.resources[resource])).copied().unwrap_or_default()
    }

    fn subtree(&self, node: usize, fr: Fr) -> i64 {
        let below = (0..self.nodes.len()).filter(|child| self.nodes[*child].parent == Some(node));
        let lent = below.map(|child| {
            let all = self.subtree(child, fr);
            self.quota(child, fr).lend.map_or(all, |lend| all.min(lend))
        });
        self.quota(node, fr).nominal + lent.sum::<i64>()
    }

    fn local(&self, node: usize, fr: Fr) -> i64 {
        if self.nodes[node].parent.is_none() {
            return 0;
        }
        self.quota(node, fr).lend.map_or(0, |lend| (self.subtree(node, fr) - lend).max(0))
    }

    fn limit(&self, node: usize, fr: Fr) -> Option<i64> {
        let all = self.subtree(node, fr);
        if self.nodes[node].parent.is_none() {
            return Some(all);
        }
        self.quota(node, fr).borrow.map(|borrow| all + borrow)
    }

    /// From the node to the root.
    fn path(&self, node: usize) -> Vec<usize> {
        std::iter::successors(Some(node), |node| self.nodes[*node].parent).collect()
    }

    // Ledgers.

    fn empty(&self) -> Ledger {
        let nothing = vec![vec![0; self.frs()]; self.nodes.len()];
        Ledger { nodes: nothing.clone(), given: nothing, hosts: BTreeMap::new() }
    }

    fn request(&self, spec: &Workload, group: usize) -> Vec<i64> {
        self.resources
            .iter()
            .map(|name| spec.groups[group].request.get(name).copied().unwrap_or_default())
            .collect()
    }

    /// Charges members with the tenant and the hosts; cohorts follow from `sum_up`.
    fn charge(&self, ledger: &mut Ledger, spec: &Workload, tenant: usize, places: &[At]) {
        for (group, flavor, host) in places {
            for (resource, amount) in self.request(spec, *group).into_iter().enumerate() {
                ledger.nodes[tenant][self.fr(*flavor, resource)] += amount;
                let on = ledger.hosts.entry((*flavor, host.clone()));
                on.or_insert_with(|| vec![0; self.resources.len()])[resource] += amount;
            }
        }
    }

    /// Notes that a hold gave or keeps these.
    fn give(&self, ledger: &mut Ledger, spec: &Workload, tenant: usize, places: &[At]) {
        for (group, flavor, _) in places {
            for (resource, amount) in self.request(spec, *group).into_iter().enumerate() {
                for node in self.path(tenant) {
                    ledger.given[node][self.fr(*flavor, resource)] += amount;
                }
            }
        }
    }

    fn sum_up(&self, mut ledger: Ledger) -> Ledger {
        for node in 0..self.nodes.len() {
            if self.nodes[node].tenant.is_none() {
                ledger.nodes[node] = vec![0; self.frs()];
            }
        }
        // Deepest first, so that a cohort is complete when it is passed on.
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|node| Reverse(self.path(*node).len()));
        for node in order {
            let Some(parent) = self.nodes[node].parent else { continue };
            for fr in 0..self.frs() {
                let seen = (ledger.nodes[node][fr] - self.local(node, fr)).max(0);
                ledger.nodes[parent][fr] += seen;
            }
        }
        ledger
    }

    fn held(&self) -> Ledger {
        let mut ledger = self.empty();
        for work in self.works.values().filter(|work| work.state == State::Held) {
            for unit in &work.units {
                self.charge(&mut ledger, &work.spec, work.tenant, &unit.places);
            }
        }
        self.sum_up(ledger)
    }

    /// Held without terminating and without these victims, plus these reservations.
    fn planned<'a>(
        &'a self,
        bound: impl Iterator<Item = &'a Reservation>,
        gone: &BTreeSet<(u64, u32)>,
    ) -> Ledger {
        let mut ledger = self.empty();
        for work in self.works.values().filter(|work| work.state == State::Held) {
            for unit in work.units.iter().filter(|unit| unit.ending_for.is_none()) {
                if !gone.contains(&(work.id, unit.n)) {
                    self.charge(&mut ledger, &work.spec, work.tenant, &unit.places);
                    if work.protected {
                        self.give(&mut ledger, &work.spec, work.tenant, &unit.places);
                    }
                }
            }
        }
        for reservation in bound {
            let work = &self.works[&reservation.id];
            self.charge(&mut ledger, &work.spec, work.tenant, &reservation.places);
            if reservation.hold {
                self.give(&mut ledger, &work.spec, work.tenant, &reservation.places);
            }
        }
        self.sum_up(ledger)
    }

    fn planned_all(&self) -> Ledger {
        self.planned(self.reservations.iter(), &BTreeSet::new())
    }

    fn planned_for(&self, id: u64, how: How) -> Ledger {
        self.planned(self.binding(id, how).into_iter(), &BTreeSet::new())
    }

    // Reservations.

    fn rank(reservation: &Reservation) -> (u8, u64) {
        let kind = if reservation.hold { 2 } else { u8::from(!reservation.class_g) };
        (kind, reservation.created)
    }

    fn ranked(&self) -> Vec<&Reservation> {
        let mut all: Vec<&Reservation> = self.reservations.iter().collect();
        all.sort_by_key(|reservation| Self::rank(reservation));
        all
    }

    fn reservation(&self, id: u64) -> Option<&Reservation> {
        self.reservations.iter().find(|reservation| reservation.id == id)
    }

    /// Reservations that bind a workload, by rank.
    fn binding(&self, id: u64, how: How) -> Vec<&Reservation> {
        let own = self.reservation(id).map(Self::rank);
        let tenant = self.works[&id].tenant;
        self.ranked()
            .into_iter()
            .filter(|other| own.is_none_or(|own| Self::rank(other) < own))
            .filter(|other| how == How::Borrow || other.class_g || self.works[&other.id].tenant == tenant)
            .collect()
    }

    fn classify(&mut self) {
        let mut order: Vec<usize> = (0..self.reservations.len()).collect();
        order.sort_by_key(|index| self.reservations[*index].created);
        let mut charged = self.planned(std::iter::empty(), &BTreeSet::new());
        for index in order {
            let reservation = &self.reservations[index];
            let work = &self.works[&reservation.id];
            self.charge(&mut charged, &work.spec, work.tenant, &reservation.places);
            let wanted = self.core(&work.spec, &reservation.assignment);
            let class_g = self.inside_nominal(&charged, work.tenant, &wanted, &vec![0; self.frs()]);
            self.reservations[index].class_g = class_g;
        }
    }

    // Workloads.

    /// What the core needs in an assignment, by flavor and resource.
    fn core(&self, spec: &Workload, assignment: &[usize]) -> Vec<i64> {
        let mut wanted = vec![0; self.frs()];
        for (group, flavor) in assignment.iter().enumerate() {
            for (resource, amount) in self.request(spec, group).into_iter().enumerate() {
                wanted[self.fr(*flavor, resource)] += amount * i64::from(spec.groups[group].count);
            }
        }
        wanted
    }

    /// All assignments, those tried first in front.
    fn assignments(&self, spec: &Workload) -> Vec<Vec<usize>> {
        let mut found: Vec<Vec<usize>> = vec![Vec::new()];
        for group in &spec.groups {
            let flavors: Vec<usize> = match &group.flavors {
                None => (0..self.flavors.len()).collect(),
                Some(names) => names
                    .iter()
                    .filter_map(|name| self.flavors.iter().position(|flavor| flavor.id == *name))
                    .collect(),
            };
            found = found
                .iter()
                .flat_map(|prefix| {
                    flavors.iter().map(move |flavor| prefix.iter().copied().chain([*flavor]).collect())
                })
                .collect();
        }
        found.retain(|assignment: &Vec<usize>| {
            let cluster = |flavor: &usize| &self.flavors[*flavor].cluster;
            spec.span_clusters || assignment.windows(2).all(|pair| cluster(&pair[0]) == cluster(&pair[1]))
        });
        found
    }

    /// Whether usage plus what is wanted is within the tenant's nominal where something is wanted.
    fn inside_nominal(&self, ledger: &Ledger, tenant: usize, wanted: &[i64], plus: &[i64]) -> bool {
        (0..self.frs())
            .filter(|fr| wanted[*fr] > 0)
            .all(|fr| ledger.nodes[tenant][fr] + plus[fr] <= self.quota(tenant, fr).nominal)
    }

    /// Why what is wanted doesn't fit: node, flavor and resource, what is wanted, what is used there, the limit.
    fn short(&self, ledger: &Ledger, tenant: usize, wanted: &[i64]) -> Option<(usize, Fr, i64, i64, i64)> {
        for fr in (0..self.frs()).filter(|fr| wanted[*fr] > 0) {
            let mut more = wanted[fr];
            for node in self.path(tenant) {
                let used = ledger.nodes[node][fr];
                let limit = self.limit(node, fr);
                if over(limit, used + more) {
                    return Some((node, fr, wanted[fr], used, limit.unwrap()));
                }
                let local = self.local(node, fr);
                more = (used + more - local).max(0) - (used - local).max(0);
                if more == 0 {
                    break;
                }
            }
        }
        None
    }

    /// With what is wanted added at the tenant, the usage of each node on its path by flavor and resource.
    fn with(&self, ledger: &Ledger, tenant: usize, wanted: &[i64]) -> Ledger {
        let mut ledger = ledger.clone();
        for (fr, amount) in wanted.iter().enumerate() {
            ledger.nodes[tenant][fr] += amount;
        }
        self.sum_up(ledger)
    }

    fn inside(&self, ledger: &Ledger, node: usize, tenant: usize, wanted: &[i64]) -> bool {
        let after = self.with(ledger, tenant, wanted);
        (0..self.frs()).filter(|fr| wanted[*fr] > 0).all(|fr| after.nodes[node][fr] <= self.subtree(node, fr))
    }

    fn borrows(&self, ledger: &Ledger, node: usize, fr: Fr) -> bool {
        ledger.nodes[node][fr] > self.subtree(node, fr)
    }

    fn share(&self, ledger: &Ledger, node: usize) -> Share {
        self.share_of(node, |fr| ledger.nodes[node][fr])
    }

    /// The share without what holds gave.
    fn earned(&self, ledger: &Ledger, node: usize) -> Share {
        self.share_of(node, |fr| ledger.nodes[node][fr] - ledger.given[node][fr])
    }

    fn share_of(&self, node: usize, used: impl Fn(Fr) -> i64) -> Share {
        let by_resource = (0..self.resources.len()).map(|resource| {
            let mut borrowed = 0;
            let mut total = 0;
            for flavor in 0..self.flavors.len() {
                let fr = self.fr(flavor, resource);
                borrowed += i128::from((used(fr) - self.subtree(node, fr)).max(0));
                total +=
                    (0..self.nodes.len()).map(|node| i128::from(self.quota(node, fr).nominal)).sum::<i128>();
            }
            (borrowed, total)
        });
        Share::of(self.nodes[node].weight, by_resource)
    }

    fn fill(&self, ledger: &Ledger, node: usize) -> Fraction {
        let mut fill = Fraction::ZERO;
        for resource in 0..self.resources.len() {
            let sum = |of: &dyn Fn(Fr) -> i64| -> i128 {
                (0..self.flavors.len()).map(|flavor| i128::from(of(self.fr(flavor, resource)))).sum()
            };
            let quota = sum(&|fr| self.subtree(node, fr));
            let used = sum(&|fr| ledger.nodes[node][fr]);
            if quota > 0 {
                fill = fill.max(Fraction::new(used.unsigned_abs(), quota.unsigned_abs()));
            }
        }
        fill
    }

    /// First-fit of a core's members, on what the closure says is free.
    fn place(
        &self,
        spec: &Workload,
        assignment: &[usize],
        descending: bool,
        free: impl Fn(usize, &Name) -> Vec<i64>,
    ) -> Option<Vec<At>> {
        let mut taken: BTreeMap<(usize, Name), Vec<i64>> = BTreeMap::new();
        let mut places = Vec::new();
        for (group, flavor) in assignment.iter().enumerate() {
            let request = self.request(spec, group);
            for _ in 0..spec.groups[group].count {
                let mut hosts: Vec<&Name> = self.flavors[*flavor].hosts.keys().collect();
                if descending {
                    hosts.reverse();
                }
                let host = hosts.into_iter().find(|host| {
                    let free = free(*flavor, host);
                    let taken = taken.get(&(*flavor, (*host).clone()));
                    let used = |resource| taken.map_or(0, |taken: &Vec<i64>| taken[resource]);
                    request.iter().enumerate().all(|(r, x)| *x == 0 || free[r] - used(r) >= *x)
                })?;
                let on = taken.entry((*flavor, host.clone()));
                let on = on.or_insert_with(|| vec![0; self.resources.len()]);
                on.iter_mut().zip(&request).for_each(|(on, x)| *on += x);
                places.push((group, *flavor, host.clone()));
            }
        }
        Some(places)
    }

    fn capacity(&self, flavor: usize, host: &Name) -> Vec<i64> {
        let of = &self.flavors[flavor].hosts[host];
        self.resources.iter().map(|name| of.get(name).copied().unwrap_or_default()).collect()
    }

    fn free(&self, ledgers: &[&Ledger], flavor: usize, host: &Name) -> Vec<i64> {
        let used = |resource: usize| {
            let on =
                |ledger: &&Ledger| ledger.hosts.get(&(flavor, host.clone())).map_or(0, |on| on[resource]);
            ledgers.iter().map(on).max().unwrap_or(0)
        };
        self.capacity(flavor, host).into_iter().enumerate().map(|(r, all)| all - used(r)).collect()
    }

    fn possible(&self, work: &Work, assignment: &[usize]) -> bool {
        let wanted = self.core(&work.spec, assignment);
        let nothing = self.empty();
        self.short(&nothing, work.tenant, &wanted).is_none()
            && self.place(&work.spec, assignment, false, |f, h| self.capacity(f, h)).is_some()
            && (work.spec.preemptible || self.inside_nominal(&nothing, work.tenant, &wanted, &wanted))
    }

    fn possible_of(&self, id: u64) -> Vec<Vec<usize>> {
        let work = &self.works[&id];
        let all = self.assignments(&work.spec);
        all.into_iter().filter(|assignment| self.possible(work, assignment)).collect()
    }

    // Caps.

    /// The caps that count a workload, in order.
    fn caps_of(&self, work: &Work) -> Vec<&Cap> {
        let labels = &work.spec.labels;
        let mut keys: Vec<(CapKind, Name)> = Vec::new();
        let mut groups = labels.groups.clone();
        groups.sort();
        groups.dedup();
        keys.extend(labels.run.clone().map(|key| (CapKind::Run, key)));
        keys.extend(labels.dag.clone().map(|key| (CapKind::Dag, key)));
        keys.extend(labels.pool.clone().map(|key| (CapKind::Pool, key)));
        keys.extend(labels.user.clone().map(|key| (CapKind::User, key)));
        keys.extend(groups.into_iter().map(|key| (CapKind::Group, key)));
        let tenant = &self.nodes[work.tenant].id;
        let mut found = Vec::new();
        for (kind, key) in keys {
            found.extend(
                self.caps.iter().find(|cap| cap.kind == kind && cap.key == key && cap.tenant == *tenant),
            );
        }
        found.extend(self.caps.iter().find(|cap| cap.kind == CapKind::Tenant && cap.tenant == *tenant));
        found
    }

    /// What members count against a cap: number, and each resource.
    fn counted(&self, cap: &Cap, work: &Work, groups: &[usize]) -> (i64, Vec<i64>) {
        let slots = if cap.kind == CapKind::Pool { work.spec.labels.slots } else { 1 };
        let mut sums = vec![0; self.resources.len()];
        for group in groups {
            sums.iter_mut().zip(self.request(&work.spec, *group)).for_each(|(sum, x)| *sum += x);
        }
        (groups.len() as i64 * slots, sums)
    }

    fn cap_used(&self, cap: &Cap, for_whom: u64) -> (i64, Vec<i64>) {
        let mut members = 0;
        let mut sums = vec![0; self.resources.len()];
        let mut add = |work: &Work, places: &[At]| {
            if self.caps_of(work).iter().any(|other| std::ptr::eq(*other, cap)) {
                let groups: Vec<usize> = places.iter().map(|(group, ..)| *group).collect();
                let (more, of) = self.counted(cap, work, &groups);
                members += more;
                sums.iter_mut().zip(of).for_each(|(sum, x)| *sum += x);
            }
        };
        for work in self.works.values().filter(|work| work.state == State::Held) {
            work.units.iter().for_each(|unit| add(work, &unit.places));
        }
        for reservation in self.binding(for_whom, How::Borrow) {
            add(&self.works[&reservation.id], &reservation.places);
        }
        (members, sums)
    }

    /// The first cap that members beyond `already` don't fit under.
    fn capped(&self, id: u64, already: &[usize], groups: &[usize]) -> Option<Blocker<u64>> {
        let work = &self.works[&id];
        if let Some(pool) = &work.spec.labels.pool {
            let tenant = &self.nodes[work.tenant].id;
            if !self
                .caps
                .iter()
                .any(|cap| cap.kind == CapKind::Pool && cap.key == *pool && cap.tenant == *tenant)
            {
                return Some(Blocker::PoolMissing { pool: pool.clone() });
            }
        }
        for cap in self.caps_of(work) {
            let (used, used_of) = self.cap_used(cap, id);
            let (before, before_of) = self.counted(cap, work, already);
            let (wanted, wanted_of) = self.counted(cap, work, groups);
            let blocked = |used: i64, wanted: i64, limit: i64, resource: Option<Name>| {
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
            if let Some(max) = cap.max
                && let Some(blocker) = blocked(used + before, wanted, max, None)
            {
                return Some(blocker);
            }
            for (name, limit) in &cap.resources {
                if let Some(r) = self.resources.iter().position(|known| known == name)
                    && wanted_of[r] > 0
                    && let Some(blocker) =
                        blocked(used_of[r] + before_of[r], wanted_of[r], *limit, Some(name.clone()))
                {
                    return Some(blocker);
                }
            }
        }
        None
    }

    fn core_groups(spec: &Workload) -> Vec<usize> {
        let groups = spec.groups.iter().enumerate();
        groups.flat_map(|(group, of)| std::iter::repeat_n(group, of.count as usize)).collect()
    }

    fn core_capped(&self, id: u64) -> Option<Blocker<u64>> {
        self.capped(id, &[], &Self::core_groups(&self.works[&id].spec))
    }
}

impl Pool for Plain {
    fn build(setup: &Setup) -> Self {
        let mut flavors = setup.flavors.clone();
        flavors.sort_by(|a, b| a.id.cmp(&b.id));
        let mut nodes: Vec<Node> = Vec::new();
        for cohort in &setup.cohorts {
            nodes.push(Node {
                id: cohort.id.clone(),
                parent: None,
                weight: cohort.weight,
                quotas: cohort.quotas.clone(),
                tenant: None,
            });
        }
        for tenant in &setup.tenants {
            nodes.push(Node {
                id: tenant.id.clone(),
                parent: None,
                weight: tenant.weight,
                quotas: tenant.quotas.clone(),
                tenant: Some(TenantPart {
                    max_queued: tenant.max_queued,
                    suspended: tenant.suspended,
                    hold_after: tenant.hold_after,
                }),
            });
        }
        let cohorts = setup.cohorts.iter().map(|cohort| cohort.parent.clone());
        let parents: Vec<Option<Name>> =
            cohorts.chain(setup.tenants.iter().map(|tenant| Some(tenant.parent.clone()))).collect();
        for (index, parent) in parents.into_iter().enumerate() {
            nodes[index].parent =
                parent.map(|parent| nodes.iter().position(|node| node.id == parent).unwrap());
        }
        Self {
            flavors,
            resources: Vec::new(),
            nodes,
            caps: setup.caps.clone(),
            works: BTreeMap::new(),
            reservations: Vec::new(),
            admissions: 0,
            created: 0,
            now: 0,
            quotas_changed: 0,
            fresh: BTreeSet::new(),
            redeemed: BTreeSet::new(),
            out: Vec::new(),
        }
    }

    fn submit(&mut self, now: i64, id: u64, workload: &Workload) -> bool {
        self.now = now;
        self.clear_spent();
        for name in workload.groups.iter().flat_map(|group| group.request.keys()) {
            if !self.resources.contains(name) {
                self.resources.push(name.clone());
                self.resources.sort();
            }
        }
        let tenant = self.nodes.iter().position(|node| node.id == workload.tenant).unwrap();
        let pending =
            self.works.values().filter(|work| work.tenant == tenant && work.state == State::Pending).count();
        let part = self.nodes[tenant].tenant.as_ref().unwrap();
        if part.max_queued.is_some_and(|max| pending >= max as usize) {
            return false;
        }
        let work = Work {
            id,
            spec: workload.clone(),
            tenant,
            pending_since: now,
            state: State::Pending,
            units: Vec::new(),
            admission: 0,
            protected: false,
            spent: false,
            tried: false,
        };
        self.works.insert(id, work);
        true
    }

    fn end(&mut self, now: i64, id: u64) -> bool {
        self.now = now;
        let Some(work) = self.works.get_mut(&id) else { return false };
        if work.state == State::Done {
            return false;
        }
        work.state = State::Done;
        work.units.clear();
        self.clear_spent();
        true
    }

    fn confirm(&mut self, now: i64, id: u64, (part, n): (Part, u32)) -> bool {
        self.now = now;
        let work = self.works.get_mut(&id).unwrap();
        if work.state != State::Held {
            return false;
        }
        match part {
            Part::Whole => {
                work.units.clear();
                work.state = State::Pending;
                work.pending_since = now;
                work.protected = false;
            }
            Part::Member => {
                let before = work.units.len();
                work.units.retain(|unit| unit.n != n);
                return work.units.len() < before;
            }
        }
        true
    }

    fn set_quota(&mut self, node: &Name, quotas: &Quotas, weight: Option<Weight>) {
        self.clear_spent();
        self.quotas_changed += 1;
        let node = self.nodes.iter_mut().find(|known| known.id == *node).unwrap();
        node.quotas = quotas.clone();
        node.weight = weight.unwrap_or(node.weight);
    }

    fn set_capacity(&mut self, flavor: &Name, hosts: &BTreeMap<Name, Vector>) {
        self.clear_spent();
        self.flavors.iter_mut().find(|known| known.id == *flavor).unwrap().hosts = hosts.clone();
    }

    fn suspend(&mut self, tenant: &Name, suspended: bool) {
        self.clear_spent();
        let node = self.nodes.iter_mut().find(|known| known.id == *tenant).unwrap();
        node.tenant.as_mut().unwrap().suspended = suspended;
    }

    fn settle(&mut self, now: i64) -> Vec<Decision<u64>> {
        self.now = now;
        self.fresh.clear();
        self.redeemed.clear();
        while self.cycle() {}
        for id in &self.fresh {
            let units = &mut self.works.get_mut(id).unwrap().units;
            units.iter_mut().zip(0..).for_each(|(unit, n)| unit.n = n);
        }
        std::mem::take(&mut self.out)
    }

    fn is_held(&self, id: u64) -> bool {
        self.works.get(&id).is_some_and(|work| work.state == State::Held)
    }

    fn next_starving(&self, now: i64) -> Option<i64> {
        // Who has a reservation gets no hold.
        let waits = |work: &&Work| work.state == State::Pending && self.reservation(work.id).is_none();
        self.works
            .values()
            .filter(waits)
            .filter_map(|work| {
                let after = self.nodes[work.tenant].tenant.as_ref().unwrap().hold_after?;
                Some(work.pending_since + after)
            })
            .filter(|at| *at > now)
            .min()
    }

    fn usage(&self) -> BTreeMap<Name, BTreeMap<String, i64>> {
        let held = self.held();
        let mut usage: BTreeMap<Name, BTreeMap<String, i64>> = BTreeMap::new();
        for (node, of) in self.nodes.iter().enumerate() {
            for fr in (0..self.frs()).filter(|fr| held.nodes[node][*fr] != 0) {
                let (flavor, resource) = (fr / self.resources.len(), fr % self.resources.len());
                let name = format!("{} {}", self.flavors[flavor].id, self.resources[resource]);
                usage.entry(of.id.clone()).or_default().insert(name, held.nodes[node][fr]);
            }
        }
        usage
    }

    fn waiting(&mut self, _now: i64) -> Vec<(u64, Blocker<u64>)> {
        self.works
            .values()
            .filter(|work| work.state == State::Pending)
            .filter_map(|work| Some((work.id, self.blocker(work.id)?)))
            .collect()
    }
}
