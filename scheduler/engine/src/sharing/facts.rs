//! What of the pool must be kept to build it again; everything else follows.

use std::cmp::Reverse;

use super::{
    decision::Place,
    hosts::At,
    pool::{Invalid, Pool, Reservation, Reserved, State, Unit, Work},
    shape::ShapeKey,
    spec::{Age, Cap, Cohort, Flavor, Name, Tenant, Workload},
};

/// How far a workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits.
    Pending,
    /// It was admitted, and its end isn't confirmed.
    Held,
    /// It ended with a reservation that isn't given up yet.
    Over,
}

/// What is kept of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkFact {
    /// Its number.
    pub id: u64,
    /// By what it is ordered.
    pub age: Age,
    /// What it asks for.
    pub workload: Workload,
    /// How far it is.
    pub stage: Stage,
    /// When it began to wait, the last time.
    pub pending_since: i64,
    /// The number of its admission; 0 before the first.
    pub admission: u64,
    /// It was admitted from a hold.
    pub protected: bool,
    /// It preempted, or was preempted, since the last event from outside.
    pub spent: bool,
    /// What it holds.
    pub units: Vec<UnitFact>,
}

/// What is kept of a part of a workload that is taken and given back as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFact {
    /// 0 for the core, else the number of the member beyond it.
    pub n: u32,
    /// Where its members are.
    pub places: Vec<Place>,
    /// For whom it is being ended.
    pub ending_for: Option<u64>,
}

/// What is kept of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationFact {
    /// For whom.
    pub id: u64,
    /// Because it waited too long, not because others are ended for it.
    pub hold: bool,
    /// Its number in the order of creation.
    pub created: u64,
    /// The flavor of each group.
    pub flavors: Vec<Name>,
    /// Where the members of the core would be.
    pub places: Vec<Place>,
}

/// Everything that is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Workloads, by number.
    pub works: Vec<WorkFact>,
    /// Reservations, in order of creation.
    pub reservations: Vec<ReservationFact>,
}

/// What of the facts doesn't follow from who waits and who runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pledges {
    /// Reservations of those that wait, in order of creation.
    pub reservations: Vec<ReservationFact>,
    /// Who is being ended, and for whom.
    pub ending: Vec<(u64, u64)>,
    /// Who was admitted from a hold.
    pub protected: Vec<u64>,
    /// Who waits and mayn't preempt before something happens outside.
    pub spent: Vec<u64>,
}

impl Pool {
    /// What is promised.
    pub fn pledges(&self) -> Pledges {
        let mut pledges = Pledges { reservations: self.reservation_facts(), ..Pledges::default() };
        pledges.reservations.retain(|it| self.slot_of.contains_key(&it.id));
        for slot in &self.pledged {
            let work = self.work(*slot);
            let by = work.units.iter().find_map(|unit| unit.ending_for);
            pledges.ending.extend(by.map(|by| (work.id, by)));
            if work.protected {
                pledges.protected.push(work.id);
            }
        }
        let waits = self.spent.iter().filter_map(|slot| self.works[*slot as usize].as_ref());
        let waits = waits.filter(|work| work.spent && work.state == State::Pending);
        pledges.spent = waits.map(|work| work.id).collect();
        pledges.spent.sort_unstable();
        pledges.spent.dedup();
        pledges.ending.sort_unstable();
        pledges.protected.sort_unstable();
        pledges
    }

    /// What must be kept to build the pool again, at any instant.
    pub fn facts(&self) -> Facts {
        let mut works: Vec<WorkFact> = self.works.iter().flatten().map(|work| self.fact(work)).collect();
        works.sort_by_key(|work| work.id);
        Facts { works, reservations: self.reservation_facts() }
    }

    fn reservation_facts(&self) -> Vec<ReservationFact> {
        let reservation = |it: &Reservation| ReservationFact {
            id: self.work(it.slot).id,
            hold: it.hold,
            created: it.created,
            flavors: it.assignment.iter().map(|at| self.flavors[usize::from(*at)].clone()).collect(),
            places: self.names(&it.places),
        };
        let mut reservations: Vec<ReservationFact> = self.reservations.iter().map(reservation).collect();
        reservations.sort_by_key(|it| it.created);
        reservations
    }

    fn fact(&self, work: &Work) -> WorkFact {
        let unit = |unit: &Unit| UnitFact {
            n: unit.n,
            places: self.names(&unit.places),
            ending_for: unit.ending_for,
        };
        WorkFact {
            id: work.id,
            age: work.age,
            workload: self.workload(&self.shape(work.shape).key),
            stage: match work.state {
                State::Pending => Stage::Pending,
                State::Held => Stage::Held,
                State::Done => Stage::Over,
            },
            pending_since: work.pending_since,
            admission: work.admission,
            protected: work.protected,
            spent: work.spent,
            units: work.units.iter().map(unit).collect(),
        }
    }

    fn workload(&self, key: &ShapeKey) -> Workload {
        Workload {
            tenant: self.tree.ids[key.tenant as usize].clone(),
            priority: key.priority,
            groups: key.groups.clone(),
            span_clusters: key.span_clusters,
            labels: key.labels.clone(),
            preemptible: key.preemptible,
            may_preempt: key.may_preempt,
        }
    }

    /// The pool as it was when the facts were read out, if the rest of its description is the same. Whatever differs counts
    /// as changed since: what is held stays held.
    pub fn restore(
        flavors: &[Flavor],
        cohorts: &[Cohort],
        tenants: &[Tenant],
        caps: &[Cap],
        facts: &Facts,
    ) -> Result<Self, Invalid> {
        let mut pool = Self::new(flavors, cohorts, tenants, caps)?;
        for fact in &facts.works {
            pool.put_back_work(fact)?;
        }
        for fact in &facts.reservations {
            let slot = pool.slot_of.get(&fact.id).copied().ok_or(Invalid::Reservation(fact.id))?;
            let assignment: Vec<u16> =
                fact.flavors.iter().map(|flavor| pool.flavor(flavor)).collect::<Result<_, _>>()?;
            let places = pool.numbers(&fact.places)?;
            let wanted = pool.wanted(&pool.shape_of_work(slot).key, &assignment);
            pool.created = pool.created.max(fact.created);
            pool.work_mut(slot).reserved = if fact.hold { Reserved::Hold } else { Reserved::Victims };
            let (hold, created) = (fact.hold, fact.created);
            pool.reservations.push(Reservation {
                slot,
                hold,
                created,
                assignment,
                wanted,
                places,
                class_g: false,
                charged: true,
            });
        }
        for slot in 0..pool.works.len() as u32 {
            let work = pool.work(slot);
            let (id, state, spent, admission) = (work.id, work.state, work.spent, work.admission);
            let shape = pool.shape(work.shape);
            let (tenant, priority) = (shape.tenant, shape.priority);
            if spent {
                pool.spent.push(slot);
            }
            match state {
                State::Pending => {
                    pool.tenant_mut(tenant).pending += 1;
                    pool.enter(slot);
                }
                State::Held => {
                    if pool.is_pledged(slot) {
                        pool.pledged.insert(slot);
                    }
                    pool.tenant_mut(tenant).held.insert((priority, Reverse(admission), slot));
                }
                State::Done => {
                    // It is known by its reservation only.
                    pool.slot_of.swap_remove(&id);
                }
            }
        }
        pool.index();
        pool.classify();
        pool.view(None);
        Ok(pool)
    }

    fn put_back_work(&mut self, fact: &WorkFact) -> Result<(), Invalid> {
        let node = self.node_of.get(&fact.workload.tenant).copied();
        let Some(node) = node.filter(|node| self.tenants[*node as usize].is_some()) else {
            return Err(Invalid::Unknown(fact.workload.tenant.clone()));
        };
        if self.slot_of.contains_key(&fact.id) {
            return Err(Invalid::Repeated(fact.id));
        }
        let shape = self.shape_for(node, &fact.workload);
        self.shapes[shape as usize].as_mut().expect("invariant: the shape was just found").users += 1;
        let mut units = Vec::with_capacity(fact.units.len());
        for unit in &fact.units {
            let places = self.numbers(&unit.places)?;
            units.push(Unit { n: unit.n, places, ending_for: unit.ending_for });
        }
        self.admissions = self.admissions.max(fact.admission);
        self.slot_of.insert(fact.id, self.works.len() as u32);
        self.works.push(Some(Work {
            id: fact.id,
            age: fact.age,
            shape,
            state: match fact.stage {
                Stage::Pending => State::Pending,
                Stage::Held => State::Held,
                Stage::Over => State::Done,
            },
            protected: fact.protected,
            spent: fact.spent,
            reserved: Reserved::No,
            tried: 0,
            pending_since: fact.pending_since,
            admission: fact.admission,
            units,
        }));
        Ok(())
    }

    fn is_pledged(&self, slot: u32) -> bool {
        let work = self.work(slot);
        work.protected || work.units.iter().any(|unit| unit.ending_for.is_some())
    }

    fn flavor(&self, name: &Name) -> Result<u16, Invalid> {
        let found = self.flavors.binary_search(name);
        found.map(|index| index as u16).map_err(|_| Invalid::Unknown(name.clone()))
    }

    /// Places by number. A host that is gone gets one, since something is held there.
    fn numbers(&mut self, places: &[Place]) -> Result<Vec<At>, Invalid> {
        let mut found = Vec::with_capacity(places.len());
        for place in places {
            let flavor = self.flavor(&place.flavor)?;
            let host = self.hosts[usize::from(flavor)].number(&place.host);
            found.push(At { group: place.group as u16, flavor, host });
        }
        Ok(found)
    }
}
