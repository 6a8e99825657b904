//! Properties of decisions, and of the state after a settling.

use std::collections::BTreeSet;

use engine::sharing::{How, Name, Rule};

use super::{At, Plain, State, Unit, Victim, over};

impl Plain {
    /// Panics if one doesn't hold. The first two hold only while nobody changed quotas and capacity.
    pub(crate) fn assert_properties(&self, unchanged: bool) {
        let held = self.held();
        for node in (0..self.nodes.len()).filter(|_| unchanged) {
            for fr in 0..self.frs() {
                assert!(!over(self.limit(node, fr), held.nodes[node][fr]), "no usage is over a limit");
            }
        }
        for ((flavor, host), used) in held.hosts.iter().filter(|_| unchanged) {
            let capacity = self.capacity(*flavor, host);
            assert!(used.iter().zip(&capacity).all(|(used, all)| used <= all), "no host is overfull");
        }
        self.assert_caps();
        self.assert_gangs();
        let mut flavors = BTreeSet::new();
        for hold in self.reservations.iter().filter(|reservation| reservation.hold) {
            let own: BTreeSet<usize> = hold.assignment.iter().copied().collect();
            assert!(own.into_iter().all(|flavor| flavors.insert(flavor)), "no flavor carries two holds");
        }
        for reservation in &self.reservations {
            let tenant = self.works[&reservation.id].tenant;
            assert!(!self.nodes[tenant].tenant.as_ref().unwrap().suspended, "nothing suspended is reserved");
        }
        for work in self.works.values().filter(|work| work.state == State::Pending) {
            assert!(self.blocker(work.id).is_some(), "what waits has a blocker");
            let suspended = self.nodes[work.tenant].tenant.as_ref().unwrap().suspended;
            if suspended || self.core_capped(work.id).is_some() {
                continue;
            }
            for how in [How::Nominal, How::Borrow] {
                for assignment in self.possible_of(work.id) {
                    assert!(!self.would_fit(work.id, &assignment, how), "what fits is admitted");
                }
            }
        }
    }

    fn would_fit(&self, id: u64, assignment: &[usize], how: How) -> bool {
        let work = &self.works[&id];
        let wanted = self.core(&work.spec, assignment);
        let (held, planned) = (self.held(), self.planned_for(id, how));
        let allowed = match how {
            How::Nominal => self.inside_nominal(&planned, work.tenant, &wanted, &wanted),
            How::Borrow => work.spec.preemptible,
        };
        let free = |flavor: usize, host: &Name| self.free(&[&held, &planned], flavor, host);
        allowed
            && self.short(&held, work.tenant, &wanted).is_none()
            && self.short(&planned, work.tenant, &wanted).is_none()
            && self.place(&work.spec, assignment, false, free).is_some()
    }

    fn assert_caps(&self) {
        for cap in &self.caps {
            let mut members = 0;
            for work in self.works.values().filter(|work| work.state == State::Held) {
                if self.caps_of(work).iter().any(|other| std::ptr::eq(*other, cap)) {
                    let places = work.units.iter().flat_map(|unit| &unit.places);
                    let groups: Vec<usize> = places.map(|(group, ..)| *group).collect();
                    members += self.counted(cap, work, &groups).0;
                }
            }
            assert!(!over(cap.max, members), "no cap is exceeded");
        }
    }

    fn assert_gangs(&self) {
        for work in self.works.values().filter(|work| work.state == State::Held) {
            let mut clusters = BTreeSet::new();
            for (group, of) in work.spec.groups.iter().enumerate() {
                let places = work.units.iter().flat_map(|unit| &unit.places);
                let own: Vec<_> = places.filter(|(at, ..)| *at == group).collect();
                assert!((of.count..=of.max).contains(&(own.len() as u32)), "a held gang has all its members");
                clusters.extend(own.iter().map(|(_, flavor, _)| &self.flavors[*flavor].cluster));
            }
            assert!(work.spec.span_clusters || clusters.len() == 1, "a gang stays in one cluster");
        }
        for tenant in 0..self.nodes.len() {
            let mut ledger = self.empty();
            let fixed = self
                .works
                .values()
                .filter(|work| work.state == State::Held && work.tenant == tenant && !work.spec.preemptible);
            for work in fixed.filter(|_| self.quotas_changed == 0) {
                work.units.iter().for_each(|unit| self.charge(&mut ledger, &work.spec, tenant, &unit.places));
            }
            let within = |fr: usize| ledger.nodes[tenant][fr] <= self.quota(tenant, fr).nominal.max(0);
            assert!((0..self.frs()).all(within), "what can't be preempted is within the nominal quota");
        }
    }

    /// Whom a workload is about to take may be taken, and none of them in vain.
    pub(super) fn assert_victims(&self, id: u64, how: How, assignment: &[usize], victims: &[Victim]) {
        let work = &self.works[&id];
        let wanted = self.core(&work.spec, assignment);
        let before = self.without(id, how, &[]);
        for victim in victims {
            let of = &self.works[&victim.id];
            assert!(of.spec.preemptible, "what can't be preempted is no victim");
            assert!(!of.protected || victim.rule == Rule::Reclaim, "what came from a hold is reclaimed only");
            if of.tenant == work.tenant {
                assert!(victim.rule == Rule::Priority && of.spec.priority < work.spec.priority);
            } else {
                assert_ne!(victim.rule, Rule::Priority, "priority counts inside one tenant");
                let borrows =
                    |fr: usize| wanted[fr] > 0 && before.nodes[of.tenant][fr] > self.subtree(of.tenant, fr);
                assert!((0..self.frs()).any(borrows), "another tenant's victim is on borrowed quota");
            }
            let fewer: Vec<Victim> = victims.iter().filter(|other| *other != victim).cloned().collect();
            let spared =
                self.room(id, assignment, how, &fewer).is_some() && self.justified(id, &wanted, how, &fewer);
            assert!(victim.rule != Rule::Reclaim || !spared, "nobody is reclaimed in vain");
        }
    }

    /// A victim couldn't take its preemptor in the assignment in which it ran. One that had members beyond its core is left
    /// out: it may come back smaller, with a smaller share.
    pub(super) fn assert_no_way_back(&self, id: u64, victim: u64, places: &[At]) {
        let (work, victim) = (&self.works[&id], &self.works[&victim]);
        let reservation = self.reservation(id).unwrap();
        let mut assignment = vec![0; victim.spec.groups.len()];
        places.iter().for_each(|(group, flavor, _)| assignment[*group] = *flavor);
        let wanted = self.core(&victim.spec, &assignment);
        let unit = Unit { n: 0, places: reservation.places.clone(), ending_for: None };
        let rule = self.rule(&self.planned_all(), victim.id, &wanted, work, &unit);
        let could = rule.is_some() && victim.spec.may_preempt;
        assert!(!could, "a victim can't take its preemptor back");
    }

    /// Of two workloads that differ in priority and age only, the first in order is admitted first, reservations aside.
    pub(crate) fn assert_order(&self, admitted: &[u64]) {
        for late in admitted.iter().map(|id| &self.works[id]) {
            if late.state != State::Held || late.spent || late.protected || self.redeemed.contains(&late.id) {
                continue;
            }
            for early in self.works.values().filter(|work| work.state == State::Pending) {
                let mut spec = early.spec.clone();
                spec.priority = late.spec.priority;
                let equal = spec == late.spec && !early.spent && self.reservation(early.id).is_none();
                assert!(!equal || Self::order(late) < Self::order(early), "nobody passes his equal");
            }
        }
    }

    /// Where the hardware covers all nominal quotas, nobody waits who is inside its own.
    pub(crate) fn assert_guarantees(&self) {
        for work in self.works.values().filter(|work| work.state == State::Pending) {
            let suspended = self.nodes[work.tenant].tenant.as_ref().unwrap().suspended;
            let reserved = self.reservation(work.id).is_some();
            if suspended || reserved || work.spent || !work.spec.may_preempt {
                continue;
            }
            if self.core_capped(work.id).is_some() || !self.class_of(work.id) {
                continue;
            }
            let held_back = self.binding(work.id, How::Nominal).into_iter().any(|other| other.hold);
            assert!(held_back, "a guarantee is reached in one pass");
        }
    }
}
