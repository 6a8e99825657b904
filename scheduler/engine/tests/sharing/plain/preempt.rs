//! Whom to end for whom.

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeSet,
};

use engine::sharing::{Decision, How, Part, Rule, Share};

use super::{At, Ledger, Plain, Reservation, State, Unit, Victim, Work};

/// Tier, shares of the victim's path, and its priority, whether it is a core, its admission, which of its units.
type Key = (bool, Vec<Share>, (i32, bool, Reverse<u64>, Reverse<u32>));

impl Plain {
    pub(super) fn try_preempt(&mut self, id: u64) -> bool {
        let work = &self.works[&id];
        if work.spent || !work.spec.may_preempt {
            return false;
        }
        let possible = self.possible_of(id);
        let nominal = self.planned_for(id, How::Nominal);
        let (within, others): (Vec<_>, Vec<_>) = possible.into_iter().partition(|assignment| {
            let wanted = self.core(&self.works[&id].spec, assignment);
            self.inside_nominal(&nominal, self.works[&id].tenant, &wanted, &wanted)
        });
        for (how, assignments) in [(How::Nominal, within), (How::Borrow, others)] {
            for assignment in assignments {
                if let Some((victims, places)) = self.victims(id, &assignment, how) {
                    self.preempt(id, how, assignment, victims, places);
                    return true;
                }
            }
        }
        false
    }

    /// Whom to end for a workload in an assignment, in order of choice, and where it would run.
    pub(super) fn victims(&self, id: u64, assignment: &[usize], how: How) -> Option<(Vec<Victim>, Vec<At>)> {
        let work = &self.works[&id];
        let wanted = self.core(&work.spec, assignment);
        let holds = self.binding(id, how).into_iter().filter(|other| other.hold);
        for hold in holds {
            let charged = self.core(&self.works[&hold.id].spec, &hold.assignment);
            if charged.iter().zip(&wanted).any(|(charged, wanted)| *charged > 0 && *wanted > 0) {
                return None;
            }
        }
        let mut chosen: Vec<Victim> = Vec::new();
        while self.room(id, assignment, how, &chosen).is_none() {
            chosen.push(self.choose(id, &wanted, how, &chosen)?);
        }
        let mut index = chosen.len();
        while index > 0 {
            index -= 1;
            let victim = &chosen[index];
            if victim.n > 0 && chosen.iter().any(|other| other.id == victim.id && other.n == 0) {
                chosen.remove(index);
                continue;
            }
            let mut fewer = chosen.clone();
            fewer.remove(index);
            if self.room(id, assignment, how, &fewer).is_some() && self.justified(id, &wanted, how, &fewer) {
                chosen = fewer;
            }
        }
        if !self.justified(id, &wanted, how, &chosen) {
            return None;
        }
        let ledger = self.without(id, how, &chosen);
        if !work.spec.preemptible && !self.inside_nominal(&ledger, work.tenant, &wanted, &wanted) {
            return None;
        }
        let places = self.room(id, assignment, how, &chosen)?;
        Some((chosen, places))
    }

    pub(super) fn gone(&self, victims: &[Victim]) -> BTreeSet<(u64, u32)> {
        let mut gone = BTreeSet::new();
        for victim in victims {
            gone.insert((victim.id, victim.n));
            if victim.n == 0 {
                gone.extend(self.works[&victim.id].units.iter().map(|unit| (victim.id, unit.n)));
            }
        }
        gone
    }

    /// The planned ledger of a workload once those have ended.
    pub(super) fn without(&self, id: u64, how: How, victims: &[Victim]) -> Ledger {
        self.planned(self.binding(id, how).into_iter(), &self.gone(victims))
    }

    /// Where the core would run once those have ended.
    pub(super) fn room(
        &self,
        id: u64,
        assignment: &[usize],
        how: How,
        victims: &[Victim],
    ) -> Option<Vec<At>> {
        let work = &self.works[&id];
        let ledger = self.without(id, how, victims);
        let wanted = self.core(&work.spec, assignment);
        if self.short(&ledger, work.tenant, &wanted).is_some() {
            return None;
        }
        if !work.spec.preemptible && !self.inside_nominal(&ledger, work.tenant, &wanted, &wanted) {
            return None;
        }
        self.place(&work.spec, assignment, false, |f, h| self.free(&[&ledger], f, h))
    }

    /// Nodes from a tenant up to, not including, the nearest cohort above both.
    pub(super) fn side(&self, tenant: usize, other: usize) -> Vec<usize> {
        let above = self.path(other);
        self.path(tenant).into_iter().take_while(|node| !above.contains(node)).collect()
    }

    pub(super) fn side_inside(&self, ledger: &Ledger, tenant: usize, other: usize, wanted: &[i64]) -> bool {
        self.side(tenant, other).into_iter().any(|node| self.inside(ledger, node, tenant, wanted))
    }

    pub(super) fn unit_frs(&self, work: &Work, unit: &Unit) -> Vec<bool> {
        let mut uses = vec![false; self.frs()];
        for (group, flavor, _) in &unit.places {
            for (resource, amount) in self.request(&work.spec, *group).into_iter().enumerate() {
                uses[self.fr(*flavor, resource)] |= amount > 0;
            }
        }
        uses
    }

    pub(super) fn side_borrows(
        &self,
        ledger: &Ledger,
        tenant: usize,
        other: usize,
        uses: &[bool],
        wanted: &[i64],
    ) -> bool {
        let side = self.side(tenant, other);
        (0..self.frs())
            .filter(|fr| uses[*fr] && wanted[*fr] > 0)
            .any(|fr| side.iter().all(|node| self.borrows(ledger, *node, fr)))
    }

    /// Whether the share of the preemptor's side would stay below that of the victim's, what holds gave to that left out.
    pub(super) fn fair(&self, ledger: &Ledger, tenant: usize, other: usize, wanted: &[i64]) -> bool {
        let after = self.with(ledger, tenant, wanted);
        let (a, b) = (self.side(tenant, other), self.side(other, tenant));
        self.share(&after, *a.last().unwrap()) < self.earned(ledger, *b.last().unwrap())
    }

    /// By which rule a unit may be taken in that state.
    pub(super) fn rule(
        &self,
        ledger: &Ledger,
        id: u64,
        wanted: &[i64],
        victim: &Work,
        unit: &Unit,
    ) -> Option<Rule> {
        let work = &self.works[&id];
        let uses = self.unit_frs(victim, unit);
        if !victim.spec.preemptible
            || unit.ending_for.is_some()
            || !uses.iter().zip(wanted).any(|(uses, wanted)| *uses && *wanted > 0)
        {
            return None;
        }
        if victim.tenant == work.tenant {
            let lower = victim.spec.priority < work.spec.priority && !victim.protected;
            return lower.then_some(Rule::Priority);
        }
        if !self.side_borrows(ledger, victim.tenant, work.tenant, &uses, wanted) {
            return None;
        }
        if self.side_inside(ledger, work.tenant, victim.tenant, wanted) {
            return Some(Rule::Reclaim);
        }
        (!victim.protected && self.fair(ledger, work.tenant, victim.tenant, wanted)).then_some(Rule::Fair)
    }

    pub(super) fn choose(&self, id: u64, wanted: &[i64], how: How, chosen: &[Victim]) -> Option<Victim> {
        let work = &self.works[&id];
        let ledger = self.without(id, how, chosen);
        let gone = self.gone(chosen);
        let others_first = self.inside(&ledger, work.tenant, work.tenant, wanted);
        let mut best: Option<(Key, Victim)> = None;
        for victim in self.works.values().filter(|work| work.state == State::Held) {
            for unit in victim.units.iter().filter(|unit| !gone.contains(&(victim.id, unit.n))) {
                let Some(rule) = self.rule(&ledger, id, wanted, victim, unit) else { continue };
                let own = victim.tenant == work.tenant;
                let shares = if own {
                    Vec::new()
                } else {
                    let mut path = self.path(victim.tenant);
                    path.pop();
                    path.iter().rev().map(|node| self.share(&ledger, *node)).collect()
                };
                let rest = (victim.spec.priority, unit.n == 0, Reverse(victim.admission), Reverse(unit.n));
                let better = best.as_ref().is_none_or(|(known, _)| {
                    let order = (own == others_first).cmp(&known.0);
                    let order = order.then_with(|| larger_first(&shares, &known.1));
                    order.then_with(|| rest.cmp(&known.2)) == Ordering::Less
                });
                if better {
                    let key = (own == others_first, shares, rest);
                    best = Some((key, Victim { id: victim.id, n: unit.n, rule }));
                }
            }
        }
        best.map(|(_, victim)| victim)
    }

    /// Whether each victim of another tenant may be taken with exactly these taken. An extra whose core is taken is no victim
    /// of its own: it goes, and would come back, with its core.
    pub(super) fn justified(&self, id: u64, wanted: &[i64], how: How, victims: &[Victim]) -> bool {
        let work = &self.works[&id];
        let with_core = |of: &Victim| of.n > 0 && victims.iter().any(|core| core.id == of.id && core.n == 0);
        let victims: Vec<Victim> = victims.iter().filter(|victim| !with_core(victim)).cloned().collect();
        let victims = &victims[..];
        let after = self.without(id, how, victims);
        victims.iter().all(|victim| {
            let of = &self.works[&victim.id];
            if of.tenant == work.tenant || self.side_inside(&after, work.tenant, of.tenant, wanted) {
                return true;
            }
            let others: Vec<Victim> = victims.iter().filter(|other| *other != victim).cloned().collect();
            let back = self.without(id, how, &others);
            let unit = of.units.iter().find(|unit| unit.n == victim.n).unwrap();
            self.rule(&back, id, wanted, of, unit) == Some(Rule::Fair)
        })
    }

    pub(super) fn preempt(
        &mut self,
        id: u64,
        how: How,
        assignment: Vec<usize>,
        victims: Vec<Victim>,
        places: Vec<At>,
    ) {
        self.assert_victims(id, how, &assignment, &victims);
        self.reservations.retain(|reservation| reservation.id != id);
        self.created += 1;
        let names = self.names(&places);
        let created = self.created;
        let taken: Vec<(u64, Vec<At>)> = victims
            .iter()
            .filter(|victim| victim.n == 0 && self.works[&victim.id].units.len() == 1)
            .map(|victim| (victim.id, self.works[&victim.id].units[0].places.clone()))
            .collect();
        self.reservations.push(Reservation { id, hold: false, created, assignment, places, class_g: false });
        self.out.push(Decision::Reserve { id, how, places: names });
        self.works.get_mut(&id).unwrap().spent = true;
        for victim in victims {
            let fresh = self.fresh.contains(&victim.id);
            let work = self.works.get_mut(&victim.id).unwrap();
            if victim.n == 0 {
                work.spent = true;
            }
            if fresh {
                self.take_back(victim.id, victim.n);
                continue;
            }
            for unit in work.units.iter_mut().filter(|unit| unit.n == victim.n || victim.n == 0) {
                unit.ending_for.get_or_insert(id);
            }
            let part = if victim.n == 0 { Part::Whole } else { Part::Member };
            self.out.push(Decision::Preempt {
                id: victim.id,
                by: id,
                rule: victim.rule,
                part: (part, victim.n),
            });
        }
        for (victim, places) in taken {
            self.assert_no_way_back(id, victim, &places);
        }
    }

    /// Strikes an admission of this settling, or one member of it.
    pub(super) fn take_back(&mut self, id: u64, n: u32) {
        let is_it =
            |decision: &Decision<u64>| matches!(decision, Decision::Admit { id: of, .. } if *of == id);
        let index = self.out.iter().position(is_it).unwrap();
        let work = self.works.get_mut(&id).unwrap();
        if n == 0 {
            self.out.remove(index);
            self.fresh.remove(&id);
            work.state = State::Pending;
            work.units.clear();
            work.protected = false;
            return;
        }
        work.units.retain(|unit| unit.n != n);
        let all: Vec<At> = work.units.iter().flat_map(|unit| unit.places.clone()).collect();
        let names = self.names(&all);
        if let Decision::Admit { places, .. } = &mut self.out[index] {
            *places = names;
        }
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
