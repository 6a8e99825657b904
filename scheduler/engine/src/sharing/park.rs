//! Parking: whoever is kept out by a number isn't looked at again before that number has changed by enough.
//!
//! A bucket that was tried in vain is parked under what keeps it out whatever is reserved and whoever is ended: for each of
//! its assignments a quota or a flavor's room that is used up by what isn't being ended, or a cap. It keeps its place in the
//! tournament, where it may stand before others, but in its turn it is passed over, as if it had been tried and had failed. A
//! cycle is over when nobody is left who isn't parked, so it looks at those only for whom something became free.
//!
//! Who may preempt could do so although nothing became free: because others borrow more now, or its own side less. By node the
//! lowest share is kept that a parked candidate below would bring its side to, and the share that the node has: a cohort is
//! *tense* while the first of one child is below the second of another. Those who make it so are parked no more.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    pool::{Bucket, Pool, Reserved, State},
    shape::Shape,
    share::Share,
    spec::CapKind,
    tree::{Fr, Wanted},
};

/// Different requests below a node that are told apart.
const KINDS_MAX: usize = 32;

/// Something that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Number {
    /// What a node may use.
    Quota(u32, Fr),
    /// What a tenant is guaranteed.
    Nominal(u32, Fr),
    /// The room of a flavor that has one host.
    Room(Fr),
    /// A limit on members.
    Cap(u32),
}

/// A bucket: its tenant, its shape, and whether its workloads are spent.
pub(super) type Key = (u32, u32, bool);

/// What keeps a bucket out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parked {
    /// Numbers, and how much of each must be free before it needs to be looked at; none if it never fits.
    numbers: Vec<(Number, i64)>,
    /// What it asks for in each assignment, if it may preempt.
    kinds: Vec<Wanted>,
}

/// Who is parked where.
#[derive(Debug, Clone, Default)]
pub(super) struct Lot {
    queues: BTreeMap<Number, BTreeSet<(i64, Key)>>,
    /// Numbers under which somebody is parked and that changed since it was seen that they keep all of them out.
    fallen: BTreeSet<Number>,
    /// Buckets that aren't parked.
    loose: BTreeSet<Key>,
    /// Those of them that weren't tried in this cycle.
    untried: BTreeSet<Key>,
    sides: Vec<Side>,
    /// Nodes of which something changed, the deepest first.
    dirty: BTreeSet<(Reverse<u32>, u32)>,
    tense: BTreeSet<u32>,
}

/// A node, as a side of a preemption.
#[derive(Debug, Clone)]
struct Side {
    /// What is asked for by parked buckets below it that may preempt, and by how many.
    kinds: BTreeMap<Wanted, u32>,
    low: Option<Share>,
    high: Share,
    /// A parked candidate would be inside the quota of this node or of one below it.
    insider: bool,
    /// The same of its children.
    lows: BTreeSet<(Share, u32)>,
    highs: BTreeSet<(Share, u32)>,
    insiders: BTreeSet<u32>,
}

impl Side {
    const EMPTY: Self = Self {
        kinds: BTreeMap::new(),
        low: None,
        high: Share::Nothing,
        insider: false,
        lows: BTreeSet::new(),
        highs: BTreeSet::new(),
        insiders: BTreeSet::new(),
    };

    fn is_tense(&self) -> bool {
        self.lows.first().zip(self.highs.last()).is_some_and(|((low, _), (high, _))| low < high)
    }
}

impl Lot {
    /// A bucket has got its first workload.
    pub(super) fn enter(&mut self, key: Key) {
        self.loose.insert(key);
        self.untried.insert(key);
    }

    pub(super) fn tried(&mut self, key: Key) {
        self.untried.remove(&key);
    }

    /// Less is counted by these caps, or they allow more.
    pub(super) fn caps_fell(&mut self, caps: &[u32]) {
        let numbers = caps.iter().map(|cap| Number::Cap(*cap));
        self.fallen.extend(numbers.filter(|number| self.queues.contains_key(number)));
    }
}

impl Pool {
    /// Nobody is parked: what keeps them out may be another number.
    pub(super) fn open_lot(&mut self) {
        let mut lot = Lot { sides: vec![Side::EMPTY; self.tree.ids.len()], ..Lot::default() };
        for (node, state) in self.tenants.iter_mut().enumerate() {
            lot.dirty.insert((Reverse(self.tournament.depth(node as u32)), node as u32));
            for ((shape, spent), bucket) in state.iter_mut().flat_map(|state| &mut state.buckets) {
                bucket.parked = None;
                lot.enter((node as u32, *shape, *spent));
            }
        }
        self.lot = lot;
    }

    /// A cycle begins.
    pub(super) fn try_all_again(&mut self) {
        let goes = |(tenant, ..): &&Key| !self.tenant(*tenant).suspended;
        self.lot.untried = self.lot.loose.iter().filter(goes).copied().collect();
    }

    fn bucket(&self, (tenant, shape, spent): Key) -> Option<&Bucket> {
        self.tenant(tenant).buckets.get(&(shape, spent))
    }

    fn key_of(&self, slot: u32) -> Option<Key> {
        let work = self.work(slot);
        let waits = work.state == State::Pending && work.reserved == Reserved::No;
        waits.then(|| (self.shape(work.shape).tenant, work.shape, work.spent))
    }

    /// Something that a tenant or one of its reservations uses became more.
    pub(super) fn rose(&mut self, tenant: u32) {
        self.lot.dirty.insert((Reverse(self.tournament.depth(tenant)), tenant));
    }

    /// The same became less, or may do so soon.
    pub(super) fn fell(&mut self, tenant: u32) {
        self.rose(tenant);
        let Lot { queues, fallen, .. } = &mut self.lot;
        let fell = |number: &Number| match *number {
            Number::Quota(node, _) => self.tree.path(tenant).any(|above| above == node),
            Number::Nominal(node, _) => node == tenant,
            Number::Room(_) => true,
            Number::Cap(_) => false,
        };
        // Most often few numbers keep all of them out; those of a tenant's path are always few.
        if queues.len() <= self.tree.width {
            fallen.extend(queues.keys().filter(|number| fell(number)));
            return;
        }
        for fr in 0..self.tree.width as Fr {
            let of_nodes = self.tree.path(tenant).map(|node| Number::Quota(node, fr));
            let numbers = of_nodes.chain([Number::Nominal(tenant, fr), Number::Room(fr)]);
            fallen.extend(numbers.filter(|number| queues.contains_key(number)));
        }
    }

    /// A tenant holds something of that priority: what of it has a higher one may preempt that.
    pub(super) fn has_lower(&mut self, tenant: u32, priority: i32) {
        let buckets = self.tenant(tenant).buckets.iter();
        let may = buckets.filter(|((shape, _), bucket)| {
            bucket.parked.as_ref().is_some_and(|parked| !parked.kinds.is_empty())
                && self.shape(*shape).priority > priority
        });
        let keys: Vec<Key> = may.map(|((shape, spent), _)| (tenant, *shape, *spent)).collect();
        for key in keys {
            self.let_go(key);
        }
    }

    /// Takes away a bucket in which nobody waits any more.
    pub(super) fn drop_bucket(&mut self, key: Key) {
        self.unpark(key);
        self.lot.loose.remove(&key);
        self.lot.untried.remove(&key);
        let (tenant, shape, spent) = key;
        self.tenant_mut(tenant).buckets.remove(&(shape, spent));
    }

    /// Whether a workload whose turn it is need not be looked at.
    pub(super) fn is_parked(&mut self, slot: u32) -> bool {
        let Some(key) = self.key_of(slot) else { return false };
        let Some(parked) = self.bucket(key).and_then(|bucket| bucket.parked.as_ref()) else { return false };
        if !parked.numbers.iter().any(|(number, wanted)| self.free(*number) >= *wanted)
            && !self.may_take(key, &parked.kinds)
        {
            return true;
        }
        self.let_go(key);
        false
    }

    /// Parks the bucket of a workload that was tried in vain, if what keeps it out is known.
    pub(super) fn park(&mut self, slot: u32) {
        if let Some(key) = self.key_of(slot) {
            self.refresh();
            self.park_bucket(key);
        }
    }

    /// Parks a bucket of which nothing would be admitted if it were tried, and nobody would be ended for it, and says whether
    /// that is known. Shares of sides are up to date.
    fn park_bucket(&mut self, key: Key) -> bool {
        let shape = self.shape(key.1);
        let Some(numbers) = self.kept_out_by(shape) else { return false };
        let kinds = kinds_of(shape, key.2, &numbers);
        if self.may_take(key, &kinds) {
            return false;
        }
        for (number, wanted) in &numbers {
            self.lot.queues.entry(*number).or_default().insert((*wanted, key));
        }
        self.count_kinds(key, &kinds, true);
        self.lot.loose.remove(&key);
        self.lot.untried.remove(&key);
        let (tenant, shape, spent) = key;
        if let Some(bucket) = self.tenant_mut(tenant).buckets.get_mut(&(shape, spent)) {
            bucket.parked = Some(Parked { numbers, kinds });
        }
        true
    }

    fn unpark(&mut self, key: Key) {
        let (tenant, shape, spent) = key;
        let bucket = self.tenant_mut(tenant).buckets.get_mut(&(shape, spent));
        let Some(Parked { numbers, kinds }) = bucket.and_then(|bucket| bucket.parked.take()) else { return };
        for (number, wanted) in numbers {
            if let Some(queue) = self.lot.queues.get_mut(&number) {
                queue.remove(&(wanted, key));
                if queue.is_empty() {
                    self.lot.queues.remove(&number);
                }
            }
        }
        self.count_kinds(key, &kinds, false);
    }

    fn count_kinds(&mut self, key: Key, kinds: &[Wanted], more: bool) {
        if kinds.is_empty() {
            return;
        }
        for node in self.tree.path(key.0) {
            let known = &mut self.lot.sides[node as usize].kinds;
            for kind in kinds {
                let users = known.entry(kind.clone()).or_default();
                *users = if more { *users + 1 } else { users.saturating_sub(1) };
                if *users == 0 {
                    known.remove(kind);
                }
            }
        }
        self.rose(key.0);
    }

    /// How much of a number is free, whatever is reserved and whoever is ended.
    fn free(&self, number: Number) -> i64 {
        let of = |node: u32, fr: Fr, limit: i64| limit.saturating_sub(self.firm.used(&self.tree, node, fr));
        match number {
            Number::Quota(node, fr) => of(node, fr, self.tree.limit(node, fr).unwrap_or(i64::MAX)),
            Number::Nominal(node, fr) => of(node, fr, self.tree.nominal(node, fr)),
            Number::Room(fr) => self.room_of(fr).unwrap_or(i64::MAX),
            Number::Cap(cap) => {
                let max = self.caps[cap as usize].max.unwrap_or(i64::MAX);
                max.saturating_sub(self.cap_held[cap as usize].0)
            }
        }
    }

    /// What is free of a flavor that has one host.
    fn room_of(&self, fr: Fr) -> Option<i64> {
        let (flavor, r) = (fr as usize / self.resources.len(), fr as usize % self.resources.len());
        let hosts = &self.hosts[flavor];
        let [host] = hosts.order[..] else { return None };
        let at = host as usize * self.resources.len() + r;
        Some(hosts.capacity[at] - self.firm.hosts[flavor][at])
    }

    /// What keeps a pending workload out whatever is reserved and whoever is ended, and what of it must be free before that
    /// may be different; none if it isn't kept out by a number.
    fn kept_out_by(&self, shape: &Shape) -> Option<Vec<(Number, i64)>> {
        if shape.pool_missing {
            return Some(Vec::new());
        }
        for index in &shape.caps {
            let slots =
                if self.caps[*index as usize].kind == CapKind::Pool { shape.key.labels.slots } else { 1 };
            let wanted = slots * shape.key.labels.counted(shape.members as usize);
            let number = Number::Cap(*index);
            if self.free(number) < wanted {
                return Some(vec![(number, wanted)]);
            }
        }
        shape.possible().map(|index| self.first_short(shape, index)).collect()
    }

    /// The first number that an assignment doesn't fit under.
    fn first_short(&self, shape: &Shape, index: usize) -> Option<(Number, i64)> {
        let (tenant, wanted) = (shape.tenant, &shape.assignments[index].wanted);
        if !shape.preemptible
            && let Some(short) = self.firm.over_nominal(&self.tree, tenant, wanted)
        {
            return Some((Number::Nominal(tenant, short.fr), short.wanted));
        }
        for (fr, amount) in wanted {
            if let Some(short) = self.firm.short_of(&self.tree, tenant, *fr, *amount) {
                // What a node keeps to itself below may let less of it come up there some day.
                let mut below = self.tree.path(tenant).take_while(|node| *node != short.node);
                if below.all(|node| self.tree.local(node, *fr) == 0) {
                    return Some((Number::Quota(short.node, *fr), *amount));
                }
            }
            if self.room_of(*fr).is_some_and(|free| free < *amount) {
                return Some((Number::Room(*fr), *amount));
            }
        }
        None
    }

    /// Whether others could perhaps be ended for a bucket that asks for that.
    fn may_take(&self, (tenant, shape, _): Key, kinds: &[Wanted]) -> bool {
        if kinds.is_empty() {
            return false;
        }
        let lowest = self.tenant(tenant).held.first();
        if lowest.is_some_and(|(priority, ..)| *priority < self.shape(shape).priority) {
            return true;
        }
        kinds.iter().any(|wanted| {
            let mut inside = false;
            self.tree.path(tenant).any(|node| {
                let Some(parent) = self.tree.parents[node as usize] else { return false };
                inside |= self.firm.inside(&self.tree, node, tenant, wanted);
                let ours =
                    if inside { Share::Nothing } else { self.firm.share(&self.tree, node, tenant, wanted) };
                self.lot.sides[parent as usize].highs.last().is_some_and(|(theirs, _)| ours < *theirs)
            })
        })
    }

    /// Whether there may be somebody who wasn't tried in this cycle and must be.
    pub(super) fn is_anybody_left(&mut self) -> bool {
        self.relax();
        // Nobody needs to be tried of whom it is known already.
        while let Some(key) = self.lot.untried.first().copied() {
            if !self.park_bucket(key) {
                return true;
            }
        }
        if self.reservations.iter().any(|it| it.hold && self.matters(it.slot)) {
            return true;
        }
        while let Some(number) = self.lot.fallen.first().copied() {
            let first = self.lot.queues.get(&number).and_then(|queue| queue.first());
            if first.is_some_and(|(wanted, _)| self.free(number) >= *wanted) {
                return true;
            }
            self.lot.fallen.remove(&number);
        }
        false
    }

    /// Whether something could come of trying a workload that has a hold.
    fn matters(&self, slot: u32) -> bool {
        let work = self.work(slot);
        if work.tried == self.cycle {
            return false;
        }
        let shape = self.shape(work.shape);
        self.kept_out_by(shape).is_none_or(|numbers| {
            self.may_take((shape.tenant, work.shape, work.spent), &kinds_of(shape, work.spent, &numbers))
        })
    }

    /// Lets go whoever could perhaps have others ended for it.
    fn relax(&mut self) {
        self.refresh();
        while let Some(cohort) = self.lot.tense.first().copied() {
            let Side { lows, highs, .. } = &self.lot.sides[cohort as usize];
            let Some((high, _)) = highs.last() else { return };
            let mut below: Vec<u32> =
                lows.iter().take_while(|(low, _)| low < high).map(|(_, node)| *node).collect();
            let mut parked: Vec<(Key, bool)> = Vec::new();
            while let Some(node) = below.pop() {
                below.extend(&self.tree.children[node as usize]);
                let state = self.tenants[node as usize].as_ref();
                for ((shape, spent), bucket) in state.iter().flat_map(|state| &state.buckets) {
                    let of = bucket.parked.as_ref().filter(|parked| !parked.kinds.is_empty());
                    let key = (node, *shape, *spent);
                    parked.extend(of.map(|parked| (key, self.may_take(key, &parked.kinds))));
                }
            }
            // If the bound was too low for everybody it can't be told who: all are looked at.
            let any = parked.iter().any(|(_, may)| *may);
            for (key, _) in parked.into_iter().filter(|(_, may)| *may || !any) {
                self.let_go(key);
            }
            self.refresh();
        }
    }

    /// A bucket is looked at again, in this cycle if it wasn't before.
    fn let_go(&mut self, key: Key) {
        self.unpark(key);
        self.lot.loose.insert(key);
        if self.bucket(key).is_some_and(|bucket| bucket.tried != self.cycle) {
            self.lot.untried.insert(key);
        }
    }

    /// Brings shares of sides up to date.
    fn refresh(&mut self) {
        self.view(None);
        while let Some((_, node)) = self.lot.dirty.pop_first() {
            let Some(parent) = self.tree.parents[node as usize] else { continue };
            let insider = self.is_insider(node);
            let low = self.low(node, insider);
            let high = self.planned.share(&self.tree, node, node, &[]);
            let side = &mut self.lot.sides[node as usize];
            let (old_low, old_high) =
                (std::mem::replace(&mut side.low, low), std::mem::replace(&mut side.high, high));
            let was_insider = std::mem::replace(&mut side.insider, insider);
            let above = &mut self.lot.sides[parent as usize];
            if old_low != low {
                if let Some(old) = old_low {
                    above.lows.remove(&(old, node));
                }
                above.lows.extend(low.map(|low| (low, node)));
            }
            if old_high != high {
                above.highs.remove(&(old_high, node));
                above.highs.insert((high, node));
            }
            if insider && !was_insider {
                above.insiders.insert(node);
            } else if was_insider && !insider {
                above.insiders.remove(&node);
            }
            if above.is_tense() {
                self.lot.tense.insert(parent);
            } else {
                self.lot.tense.remove(&parent);
            }
            self.lot.dirty.insert((Reverse(self.tournament.depth(parent)), parent));
        }
    }

    fn is_insider(&self, node: u32) -> bool {
        let side = &self.lot.sides[node as usize];
        let inside = |wanted: &Wanted| {
            if self.tree.has_locals {
                let nothing: Wanted = wanted.iter().map(|(fr, _)| (*fr, 0)).collect();
                return self.firm.inside(&self.tree, node, node, &nothing);
            }
            self.firm.inside(&self.tree, node, node, wanted)
        };
        !side.insiders.is_empty() || side.kinds.keys().any(inside)
    }

    /// At most the lowest share that a parked candidate below a node would bring it to, from what isn't being ended; nothing for
    /// one that is inside a quota on the way up.
    fn low(&self, node: u32, insider: bool) -> Option<Share> {
        let kinds = &self.lot.sides[node as usize].kinds;
        if kinds.is_empty() {
            return None;
        }
        if insider {
            return Some(Share::Nothing);
        }
        let share = |wanted: &[(Fr, i64)]| self.firm.share(&self.tree, node, node, wanted);
        if self.tree.has_locals || kinds.len() > KINDS_MAX {
            return Some(share(&[]));
        }
        kinds.keys().map(|wanted| share(wanted)).min()
    }

    /// Panics if somebody is parked, or isn't, who ought not to be.
    pub(super) fn check_lot(&self) {
        let mut parked = 0;
        for (tenant, state) in self.tenants.iter().enumerate() {
            for ((shape, spent), bucket) in state.iter().flat_map(|state| &state.buckets) {
                let key = (tenant as u32, *shape, *spent);
                assert_eq!(self.lot.loose.contains(&key), bucket.parked.is_none(), "loose or parked");
                for (number, wanted) in bucket.parked.iter().flat_map(|parked| &parked.numbers) {
                    parked += 1;
                    assert!(self.lot.queues[number].contains(&(*wanted, key)), "parked where it says");
                    let open = self.free(*number) >= *wanted;
                    assert!(!open || self.lot.fallen.contains(number), "what fell is noticed");
                }
            }
        }
        let queued: usize = self.lot.queues.values().map(BTreeSet::len).sum();
        assert!(queued <= parked, "nobody else is parked");
    }
}

/// What a workload that these numbers keep out asks for in each assignment, if it may preempt. What a cap keeps out may not.
fn kinds_of(shape: &Shape, spent: bool, numbers: &[(Number, i64)]) -> Vec<Wanted> {
    let capped = shape.pool_missing || matches!(numbers.first(), Some((Number::Cap(_), _)));
    if capped || spent || !shape.may_preempt {
        return Vec::new();
    }
    shape.possible().map(|index| shape.assignments[index].wanted.clone()).collect()
}
