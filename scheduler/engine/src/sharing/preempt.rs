//! Whom to end for whom.
//!
//! **Why this ends.** Call the time between two outside events (a submission, completion, cancel, quota, capacity, suspend or
//! resume; not the passing of time, not a victim's confirmed end) an episode. A preemptor and the victims whose core is taken
//! are *spent* until the next one, and who is spent doesn't preempt. So in an episode each workload preempts at most once and
//! none after it was a victim: there are at most as many preemptions as workloads, and between two of them a cycle only
//! admits, drops or holds, each of which some counter bounds.
//!
//! **Why it doesn't go back and forth over episodes either.** A victim can't take its preemptor back in the assignment that
//! it ran in. After *priority* the order of priorities is strict. After *reclaim* the preemptor's side is inside its quota,
//! where nobody else may take from it. After *fair* the share of the preemptor's side is below that of the victim's side with
//! the victim back, which is the opposite of what the victim would need; that is tested for each victim put back alone. The
//! place that was freed is reserved from the decision on, so a victim doesn't come back by plain admission.
//!
//! **What a hold gave doesn't count against its side** when fair shares are compared ([`Ledger::earned`]). A hold goes by age
//! alone, so it may bring a tenant over its fair share; if that counted, the others would take as much back from what else
//! the tenant runs, and while all wait for longer than their holds take, a task would be ended for each that ends by itself.
//! The share that is left is the smaller one, so the argument above stands; and while holds alone let tenants in, what may be
//! taken only becomes less.
//!
//! [`Ledger::earned`]: super::tree::Ledger::earned

use std::cmp::{Ordering, Reverse};

use super::{
    decision::{Decision, How, Part, Rule},
    gate::Gate,
    hosts::At,
    pool::{Pool, Reserved, State, Unit, charge, plan, shape_in},
    share::Share,
    tree::{Fr, Wanted},
};

/// A unit that is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Victim {
    slot: u32,
    n: u32,
    rule: Rule,
}

/// Whose place is looked for.
struct Quest {
    slot: u32,
    tenant: u32,
    priority: i32,
    index: usize,
    wanted: Wanted,
    flavors: Vec<u16>,
}

/// By what victims are compared after tier and shares: priority, whether it is a core, its admission, which of its units.
type Rest = (i32, bool, Reverse<u64>, Reverse<u32>);

impl Pool {
    /// Tries to make room for a workload that fits nowhere by ending others.
    pub(super) fn try_preempt(&mut self, slot: u32, gate: &mut dyn Gate) -> bool {
        let work = self.work(slot);
        let (number, spent, plain) = (work.shape, work.spent, work.reserved == Reserved::No);
        let shape = self.shape(number);
        if spent || !shape.may_preempt {
            return false;
        }
        let tenant = shape.tenant;
        let changed = self.changed;
        if plain
            && self.tenant(tenant).buckets.get(&(number, false)).is_some_and(|bucket| bucket.tame == changed)
        {
            return false;
        }
        self.view(Some((slot, How::Nominal)));
        let shape = self.shape(number);
        let (within, others): (Vec<usize>, Vec<usize>) = shape.possible().partition(|index| {
            let wanted = &shape.assignments[*index].wanted;
            self.planned.over_nominal(&self.tree, tenant, wanted).is_none()
        });
        for (how, indices) in [(How::Nominal, within), (How::Borrow, others)] {
            for index in indices {
                let assignment = &self.shape(number).assignments[index];
                let quest = Quest {
                    slot,
                    tenant,
                    priority: self.shape(number).priority,
                    index,
                    wanted: assignment.wanted.clone(),
                    flavors: assignment.flavors.clone(),
                };
                self.view(Some((slot, how)));
                if let Some((victims, places)) = self.victims(&quest) {
                    self.preempt(&quest, how, &victims, places, gate);
                    return true;
                }
            }
        }
        if plain && let Some(bucket) = self.tenant_mut(tenant).buckets.get_mut(&(number, false)) {
            bucket.tame = changed;
        }
        false
    }

    /// Whether nobody could be taken, which a look at the shares on the path tells.
    fn hopeless(&self, quest: &Quest) -> bool {
        let lowest = self.tenant(quest.tenant).held.first();
        if lowest.is_some_and(|(priority, ..)| *priority < quest.priority) {
            return false;
        }
        let mut inside = false;
        for node in self.tree.path(quest.tenant) {
            let Some(parent) = self.tree.parents[node as usize] else { return true };
            inside |= self.planned.inside(&self.tree, node, quest.tenant, &quest.wanted);
            let ours = self.planned.share(&self.tree, node, quest.tenant, &quest.wanted);
            let worth = |child: &u32| {
                *child != node
                    && quest.wanted.iter().any(|(fr, _)| self.planned.borrows(&self.tree, *child, *fr))
                    && (inside || ours < self.planned.earned(&self.tree, *child))
            };
            if self.tree.children[parent as usize].iter().any(worth) {
                return false;
            }
        }
        true
    }

    /// Whom to end, in order of choice, and where the core would run. The planned ledger is as before afterwards.
    fn victims(&mut self, quest: &Quest) -> Option<(Vec<Victim>, Vec<At>)> {
        let blocked = self.reservations.iter().any(|other| {
            other.charged
                && other.hold
                && other.wanted.iter().any(|(fr, _)| quest.wanted.iter().any(|(of, _)| of == fr))
        });
        if blocked {
            return None;
        }
        if let Some(places) = self.room(quest.slot, quest.index) {
            return Some((Vec::new(), places));
        }
        if self.hopeless(quest) {
            return None;
        }
        let mut chosen: Vec<Victim> = Vec::new();
        let found = self.choose_all(quest, &mut chosen);
        let places = found.then(|| self.room(quest.slot, quest.index)).flatten();
        self.put_back(&chosen, true);
        places.map(|places| (chosen, places))
    }

    /// Chooses victims until the core fits, spares who needn't go, and says whether the rest is justified. The units of who
    /// is chosen are out of the planned ledger afterwards.
    fn choose_all(&mut self, quest: &Quest, chosen: &mut Vec<Victim>) -> bool {
        while self.room(quest.slot, quest.index).is_none() {
            let Some(victim) = self.choose(quest, chosen) else { return false };
            self.set_back(victim, chosen, false);
            chosen.push(victim);
        }
        let mut index = chosen.len();
        while index > 0 {
            index -= 1;
            let victim = chosen[index];
            if victim.n > 0 && chosen.iter().any(|other| other.slot == victim.slot && other.n == 0) {
                chosen.remove(index);
                continue;
            }
            chosen.remove(index);
            self.set_back(victim, chosen, true);
            if self.room(quest.slot, quest.index).is_none() || !self.justified(quest, chosen) {
                self.set_back(victim, chosen, false);
                chosen.insert(index, victim);
            }
        }
        self.justified(quest, chosen)
    }

    /// Takes a unit out of the planned ledger or puts it back; a core with those of its extras that `others` don't name.
    fn set_back(&mut self, victim: Victim, others: &[Victim], back: bool) {
        let work = self.works[victim.slot as usize].as_ref();
        let work = work.expect("invariant: a victim is held");
        let shape = shape_in(&self.shapes, work.shape);
        let named = |n: u32| others.iter().any(|other| other.slot == victim.slot && other.n == n);
        for unit in &work.units {
            let goes = unit.n == victim.n || victim.n == 0 && !named(unit.n);
            if goes && unit.ending_for.is_none() {
                let sign = if back { 1 } else { -1 };
                plan(&self.tree, &mut self.planned, shape, &unit.places, sign, work.protected);
            }
        }
    }

    fn put_back(&mut self, chosen: &[Victim], back: bool) {
        for (index, victim) in chosen.iter().enumerate() {
            // An extra that is listed beside its core is put back with itself only.
            let others: Vec<Victim> =
                chosen.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, other)| *other).collect();
            self.set_back(*victim, &others, back);
        }
    }

    fn side_inside(&self, quest: &Quest, other: u32) -> bool {
        self.tree
            .side(quest.tenant, other)
            .any(|node| self.planned.inside(&self.tree, node, quest.tenant, &quest.wanted))
    }

    /// Flavors and resources that a unit uses and the quest wants.
    fn shared(&self, quest: &Quest, slot: u32, unit: &Unit) -> Vec<Fr> {
        let shape = self.shape_of_work(slot);
        let r = self.resources.len();
        quest
            .wanted
            .iter()
            .map(|(fr, _)| *fr)
            .filter(|fr| {
                unit.places.iter().any(|at| {
                    usize::from(at.flavor) == *fr as usize / r
                        && shape.requests[usize::from(at.group)].iter().any(|(of, _)| *of == *fr as usize % r)
                })
            })
            .collect()
    }

    /// By which rule a unit may be taken, as the planned ledger stands.
    fn rule(&self, quest: &Quest, slot: u32, unit: &Unit) -> Option<Rule> {
        let victim = self.work(slot);
        let shape = self.shape(victim.shape);
        if !shape.preemptible || unit.ending_for.is_some() {
            return None;
        }
        let shared = self.shared(quest, slot, unit);
        if shared.is_empty() {
            return None;
        }
        if shape.tenant == quest.tenant {
            return (shape.priority < quest.priority && !victim.protected).then_some(Rule::Priority);
        }
        let borrows = shared.iter().any(|fr| {
            self.tree.side(shape.tenant, quest.tenant).all(|node| self.planned.borrows(&self.tree, node, *fr))
        });
        if !borrows {
            return None;
        }
        if self.side_inside(quest, shape.tenant) {
            return Some(Rule::Reclaim);
        }
        (!victim.protected && self.fair(quest, shape.tenant)).then_some(Rule::Fair)
    }

    /// Whether the share of the preemptor's side would stay below that of the victim's, what holds gave to that left out.
    fn fair(&self, quest: &Quest, other: u32) -> bool {
        let (Some(a), Some(b)) =
            (self.tree.side(quest.tenant, other).last(), self.tree.side(other, quest.tenant).last())
        else {
            return false;
        };
        self.planned.share(&self.tree, a, quest.tenant, &quest.wanted) < self.planned.earned(&self.tree, b)
    }

    /// The next victim.
    fn choose(&self, quest: &Quest, chosen: &[Victim]) -> Option<Victim> {
        let others_first = self.planned.inside(&self.tree, quest.tenant, quest.tenant, &quest.wanted);
        if !others_first && let Some(own) = self.best_of(quest, quest.tenant, chosen) {
            return Some(own.1);
        }
        let mut best: Option<(Vec<Share>, Rest, Victim)> = None;
        let mut tenants = Vec::new();
        self.borrowers(quest, &mut tenants);
        for tenant in tenants {
            let mut shares: Vec<Share> = self
                .tree
                .path(tenant)
                .filter(|node| *node != self.tree.root)
                .map(|node| self.planned.share(&self.tree, node, node, &[]))
                .collect();
            shares.reverse();
            let order = best.as_ref().map_or(Ordering::Less, |(known, ..)| larger_first(&shares, known));
            if order == Ordering::Greater {
                continue;
            }
            if let Some((rest, victim)) = self.best_of(quest, tenant, chosen)
                && best
                    .as_ref()
                    .is_none_or(|(_, known, _)| order.then_with(|| rest.cmp(known)) == Ordering::Less)
            {
                best = Some((shares, rest, victim));
            }
        }
        match best {
            Some((_, _, victim)) => Some(victim),
            None if others_first => self.best_of(quest, quest.tenant, chosen).map(|(_, victim)| victim),
            None => None,
        }
    }

    /// Other tenants that borrow something wanted, and all that is above them up to the common ancestor does.
    fn borrowers(&self, quest: &Quest, found: &mut Vec<u32>) {
        let mut below: Vec<(u32, Vec<Fr>)> = Vec::new();
        let all: Vec<Fr> = quest.wanted.iter().map(|(fr, _)| *fr).collect();
        for node in self.tree.path(quest.tenant) {
            let Some(parent) = self.tree.parents[node as usize] else { break };
            let children = self.tree.children[parent as usize].iter().filter(|child| **child != node);
            below.extend(children.map(|child| (*child, all.clone())));
        }
        while let Some((node, frs)) = below.pop() {
            let frs: Vec<Fr> =
                frs.into_iter().filter(|fr| self.planned.borrows(&self.tree, node, *fr)).collect();
            if frs.is_empty() {
                continue;
            }
            if self.tenants[node as usize].is_some() {
                found.push(node);
            }
            below.extend(self.tree.children[node as usize].iter().map(|child| (*child, frs.clone())));
        }
    }

    /// The first unit of a tenant to take, without those that are taken already.
    fn best_of(&self, quest: &Quest, tenant: u32, chosen: &[Victim]) -> Option<(Rest, Victim)> {
        let mut best: Option<(Rest, Victim)> = None;
        for (priority, admission, slot) in &self.tenant(tenant).held {
            if best.is_some_and(|((known, ..), _)| known < *priority)
                || tenant == quest.tenant && *priority >= quest.priority
            {
                break;
            }
            let taken =
                |n: u32| chosen.iter().any(|other| other.slot == *slot && (other.n == n || other.n == 0));
            for unit in self.work(*slot).units.iter().filter(|unit| !taken(unit.n)) {
                let rest = (*priority, unit.n == 0, *admission, Reverse(unit.n));
                if best.is_none_or(|(known, _)| rest < known)
                    && let Some(rule) = self.rule(quest, *slot, unit)
                {
                    best = Some((rest, Victim { slot: *slot, n: unit.n, rule }));
                }
            }
        }
        best
    }

    /// Whether each victim of another tenant may be taken with exactly these taken, as they are now. An extra whose core is
    /// taken is no victim of its own: it goes, and would come back, with its core.
    fn justified(&mut self, quest: &Quest, victims: &[Victim]) -> bool {
        let with_core =
            |of: &Victim| of.n > 0 && victims.iter().any(|core| core.slot == of.slot && core.n == 0);
        let victims: Vec<Victim> = victims.iter().filter(|victim| !with_core(victim)).copied().collect();
        victims.iter().enumerate().all(|(index, victim)| {
            let tenant = self.shape_of_work(victim.slot).tenant;
            if tenant == quest.tenant || self.side_inside(quest, tenant) {
                return true;
            }
            let mut others = victims.clone();
            others.remove(index);
            self.set_back(*victim, &others, true);
            let unit = self.work(victim.slot).units.iter().find(|unit| unit.n == victim.n);
            let rule = unit.and_then(|unit| self.rule(quest, victim.slot, unit));
            self.set_back(*victim, &others, false);
            rule == Some(Rule::Fair)
        })
    }

    fn preempt(&mut self, quest: &Quest, how: How, victims: &[Victim], places: Vec<At>, gate: &mut dyn Gate) {
        let id = self.work(quest.slot).id;
        let names = self.names(&places);
        self.leave(quest.slot);
        self.spend(quest.slot);
        self.enter(quest.slot);
        self.reserve(quest.slot, false, quest.flavors.clone(), places);
        self.out.push(Some(Decision::Reserve { id, how, places: names }));
        for victim in victims {
            if victim.n == 0 {
                self.spend(victim.slot);
            }
            if self.fresh.contains_key(&victim.slot) {
                self.take_back(*victim, gate);
                continue;
            }
            let work = self.works[victim.slot as usize].as_mut().expect("invariant: a victim is held");
            let shape = shape_in(&self.shapes, work.shape);
            for unit in &mut work.units {
                if (unit.n == victim.n || victim.n == 0) && unit.ending_for.is_none() {
                    unit.ending_for = Some(id);
                    plan(&self.tree, &mut self.planned, shape, &unit.places, -1, work.protected);
                    charge(&self.tree, &mut self.firm, shape, &unit.places, -1);
                }
            }
            self.pledged.insert(victim.slot);
            let tenant = shape.tenant;
            let part = if victim.n == 0 { Part::Whole } else { Part::Member };
            let id_of = work.id;
            self.out.push(Some(Decision::Preempt {
                id: id_of,
                by: id,
                rule: victim.rule,
                part: (part, victim.n),
            }));
            self.loosen(tenant);
        }
        self.loosen(quest.tenant);
    }

    /// Strikes an admission of this settling, or one member of it: nothing of it left the pool.
    fn take_back(&mut self, victim: Victim, gate: &mut dyn Gate) {
        let at = self.fresh[&victim.slot];
        if victim.n > 0 {
            self.release_member(victim.slot, victim.n);
            let work = self.work(victim.slot);
            let all = work.units.iter().flat_map(|unit| self.names(&unit.places)).collect();
            if let Some(Decision::Admit { places, .. }) = &mut self.out[at] {
                *places = all;
            }
            return;
        }
        self.out[at] = None;
        gate.give_back(self.work(victim.slot).id);
        self.fresh.remove(&victim.slot);
        self.release(victim.slot);
        let work = self.work_mut(victim.slot);
        work.state = State::Pending;
        work.protected = false;
        let tenant = self.shape_of_work(victim.slot).tenant;
        self.tenant_mut(tenant).pending += 1;
        self.enter(victim.slot);
    }
}

/// Compares paths of shares from the top: the larger share first, the shorter path first if equal.
fn larger_first(a: &[Share], b: &[Share]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        match b.cmp(a) {
            Ordering::Equal => {}
            order => return order,
        }
    }
    a.len().cmp(&b.len())
}
