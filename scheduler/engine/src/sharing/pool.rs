//! The pool's state.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    decision::{Decision, Place},
    hosts::{At, Hosts},
    order::Tournament,
    park::{Lot, Parked},
    shape::{Shape, ShapeKey},
    spec::{Age, Cap, CapKind, Cohort, Flavor, Name, Tenant},
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
    /// A reservation is kept for a workload that isn't.
    #[error("a reservation belongs to workload {0}, which isn't there")]
    Reservation(u64),
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

/// What comes first inside a tenant and priority.
pub(super) type Order = (Age, u64);

#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) id: u64,
    pub(super) age: Age,
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

impl Work {
    pub(super) fn order(&self) -> Order {
        (self.age, self.id)
    }
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
    pub(super) waiting: BTreeSet<(Order, u32)>,
    /// Tried in that cycle, so are all of them.
    pub(super) tried: u64,
    /// None fits while nothing was given back since.
    pub(super) unfit: u64,
    /// When they didn't fit, it was the gate that had no room.
    pub(super) turned_away: bool,
    /// None can preempt while nothing changed since.
    pub(super) tame: u64,
    /// What keeps all of them out, if they wait for that.
    pub(super) parked: Option<Parked>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct TenantState {
    pub(super) max_queued: Option<u32>,
    pub(super) suspended: bool,
    pub(super) hold_after: Option<i64>,
    pub(super) buckets: BTreeMap<(u32, bool), Bucket>,
    /// Pending with a hold.
    pub(super) holders: BTreeSet<(Order, u32)>,
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
    pub(super) cap_of: BTreeMap<(CapKind, Name, Name), u32>,
    /// By cap: members (or slots) and amounts that are held.
    pub(super) cap_held: Vec<(i64, Vec<i64>)>,
    pub(super) shapes: Vec<Option<Shape>>,
    pub(super) free_shapes: Vec<u32>,
    pub(super) shape_of: BTreeMap<ShapeKey, u32>,
    pub(super) works: Vec<Option<Work>>,
    pub(super) free_works: Vec<u32>,
    pub(super) slot_of: BTreeMap<u64, u32>,
    pub(super) reservations: Vec<Reservation>,
    pub(super) held: Ledger,
    /// Held without the terminating, plus the reservations that are `charged`.
    pub(super) planned: Ledger,
    /// Held without the terminating: the least that anybody can count on being used.
    pub(super) firm: Ledger,
    pub(super) admissions: u64,
    pub(super) created: u64,
    pub(super) cycle: u64,
    /// Workloads that were looked at in their turn, ever.
    pub(super) attempts: u64,
    /// Grows when something was given back, or a limit moved: what didn't fit may now.
    pub(super) loosened: u64,
    /// Grows with every change.
    pub(super) changed: u64,
    /// Pending without reservation that will starve, by time of entry, for each set of flavors that they could run on.
    pub(super) waiting: BTreeMap<u64, BTreeSet<(i64, Order, u32)>>,
    /// The shortest and the longest time after which somebody starves.
    pub(super) hold_after: Option<(i64, i64)>,
    /// Held and being ended, or protected.
    pub(super) pledged: BTreeSet<u32>,
    pub(super) spent: Vec<u32>,
    /// Admitted in this settling.
    pub(super) fresh: BTreeMap<u32, usize>,
    pub(super) out: Vec<Option<Decision<u64>>>,
    pub(super) tournament: Tournament,
    pub(super) lot: Lot,
    /// Tenants of whom something was tried in this cycle.
    pub(super) tried: Vec<u32>,
    /// Workloads that were passed over in their turn because a number keeps them out, ever.
    pub(super) passed: u64,
    /// Who was tried last would fit, but the gate has no room for it.
    pub(super) turned_away: bool,
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
            lot: Lot::default(),
            tried: Vec::new(),
            passed: 0,
            hold_after: hold_after(&tenants),
            pledged: BTreeSet::new(),
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
            firm: Ledger::default(),
            admissions: 0,
            created: 0,
            cycle: 1,
            attempts: 0,
            loosened: 1,
            changed: 1,
            waiting: BTreeMap::new(),
            spent: Vec::new(),
            fresh: BTreeMap::new(),
            out: Vec::new(),
            turned_away: false,
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
        self.wait_anew();
        self.open_lot();
    }

    /// Files those that may starve by the flavors that they could run on now.
    fn wait_anew(&mut self) {
        let all: Vec<(i64, Order, u32)> = std::mem::take(&mut self.waiting).into_values().flatten().collect();
        for entry in all {
            self.waiting.entry(self.shape_of_work(entry.2).flavors).or_default().insert(entry);
        }
    }

    /// The ledgers and the caps from what is held and reserved.
    pub(super) fn recount(&mut self) {
        let Counted { held, planned, firm, caps } = self.counted();
        (self.held, self.planned, self.firm, self.cap_held) = (held, planned, firm, caps);
        self.reservations.iter_mut().for_each(|reservation| reservation.charged = true);
    }

    /// What the ledgers must hold with all reservations.
    pub(super) fn counted(&self) -> Counted {
        let empty = || Ledger::new(&self.tree, self.hosts.iter().map(|hosts| hosts.names.len()));
        let (mut held, mut planned, mut firm) = (empty(), empty(), empty());
        let mut caps = vec![(0, vec![0; self.resources.len()]); self.caps.len()];
        for work in self.works.iter().flatten() {
            let shape = self.shape(work.shape);
            for unit in &work.units {
                charge(&self.tree, &mut held, shape, &unit.places, 1);
                if unit.ending_for.is_none() {
                    charge(&self.tree, &mut firm, shape, &unit.places, 1);
                    plan(&self.tree, &mut planned, shape, &unit.places, 1, work.protected);
                }
                count(&self.caps, &mut caps, shape, &unit.places, 1);
            }
        }
        for Reservation { slot, places, hold, .. } in &self.reservations {
            plan(&self.tree, &mut planned, self.shape_of_work(*slot), places, 1, *hold);
        }
        Counted { held, planned, firm, caps }
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

    /// Whether a workload is held: admitted, and its end not confirmed.
    pub fn is_held(&self, id: u64) -> bool {
        self.slot_of.get(&id).is_some_and(|slot| self.work(*slot).state == State::Held)
    }

    /// How many decisions about a workload were made since the pool was built, admissions and refusals: for figures.
    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    /// How many workloads were passed over in their turn, since it was known that nothing had become free for them.
    pub fn passed(&self) -> u64 {
        self.passed
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
        let (shortest, longest) = self.hold_after?;
        let mut next: Option<i64> = None;
        for waiting in self.waiting.values() {
            // Whoever waits longer than the longest time is starving already.
            for (since, _, slot) in waiting.range((now.saturating_sub(longest), Order::default(), 0)..) {
                if next.is_some_and(|next| since.saturating_add(shortest) >= next) {
                    break;
                }
                let after = self.tenant(self.shape_of_work(*slot).tenant).hold_after;
                let at = after.map(|after| since.saturating_add(after)).filter(|at| *at > now);
                next = next.into_iter().chain(at).min();
            }
        }
        next
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

/// Charges the planned ledger, or gives back. What a hold gave or keeps is noted as such.
pub(super) fn plan(
    tree: &Tree,
    planned: &mut Ledger,
    shape: &Shape,
    places: &[At],
    sign: i64,
    from_hold: bool,
) {
    charge(tree, planned, shape, places, sign);
    if from_hold {
        give(tree, planned, shape, places, sign);
    }
}

/// Notes that a hold gave what is charged there, or takes the note away.
pub(super) fn give(tree: &Tree, planned: &mut Ledger, shape: &Shape, places: &[At], sign: i64) {
    for at in places {
        for (r, amount) in &shape.requests[usize::from(at.group)] {
            let fr = usize::from(at.flavor) * tree.resources + r;
            planned.give(tree, shape.tenant, fr as u32, sign * amount);
        }
    }
}

/// Counts members against the caps of their shape, or gives back.
pub(super) fn count(caps: &[Cap], held: &mut [(i64, Vec<i64>)], shape: &Shape, places: &[At], sign: i64) {
    for index in &shape.caps {
        let (members, sums) = &mut held[*index as usize];
        let slots = if caps[*index as usize].kind == CapKind::Pool { shape.key.labels.slots } else { 1 };
        *members += sign * slots * shape.key.labels.counted(places.len());
        for at in places {
            for (r, amount) in &shape.requests[usize::from(at.group)] {
                sums[*r] += sign * amount;
            }
        }
    }
}

/// The shortest and the longest time after which a workload starves.
fn hold_after(tenants: &[Option<TenantState>]) -> Option<(i64, i64)> {
    let all = || tenants.iter().flatten().filter_map(|tenant| tenant.hold_after);
    Some((all().min()?, all().max()?))
}

/// What the ledgers must hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) held: Ledger,
    pub(super) planned: Ledger,
    pub(super) firm: Ledger,
    /// By cap: members (or slots) and amounts.
    pub(super) caps: Vec<(i64, Vec<i64>)>,
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
