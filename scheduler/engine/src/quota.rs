//! Quotas for real: while somebody has set one, the resource pool decides who is admitted.
//!
//! Without quotas the queue decides by itself, at a fraction of the cost. With the first quota everything that waits and
//! everything that is held is told to a [`Pool`]; from then on both are kept in step. A flavor is an executor, the
//! resources are `members` and whatever else a quota names; pools and limits of tasks are caps. Workers stay the choice of
//! their fleet, which is the pool's gate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dags::{
    ids::{AttemptId, DispatchId, TenantId},
    time::Timestamp,
};

use crate::{
    fleet::Needs,
    queue::{ExecutorState, Lane, Pending, Queue, Tenant},
    run::TiRef,
    sharing::{Age, Decision, Gate, Name, Pool, Rule, Vector, Workload, spec::AMOUNT_MAX},
};

mod describe;
mod engine;
pub mod figures;
mod limits;
mod tree;

pub use limits::{GroupLimit, Limits};
pub use tree::mend;

pub(crate) use engine::StoredSharing;

/// The resource that counts members.
pub const MEMBERS: &str = "members";
/// The cohort above all others.
pub const ROOT: &str = "root";

/// What the pool knows of an instance that waits or holds something.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) lane: u32,
    /// Its place in the queue; of one that holds something, what it was.
    pub(crate) pending: Pending,
    /// The dispatch that it has, or will have.
    pub(crate) dispatch: DispatchId,
    pub(crate) workload: Workload,
}

/// By what an instance counts against limits, of its task and of who asked for its run.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Counted {
    /// Its task in its run, if that has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<Name>,
    /// Its task in its DAG, if that has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dag: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<Name>,
}

impl Counted {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The pool, and who is who in it.
#[derive(Debug)]
pub(crate) struct Sharing {
    pub(crate) pool: Pool,
    pub(crate) works: BTreeMap<u64, Known>,
    /// Those that wait.
    pub(crate) waiting: BTreeMap<TiRef, u64>,
    /// Admitted by the pool, and nobody was told yet.
    pub(crate) admitted: VecDeque<u64>,
    /// Attempts that gave way: they come back without being news.
    pub(crate) gave_way: BTreeSet<AttemptId>,
    /// Resources that quotas name.
    pub(crate) resources: BTreeSet<Name>,
    next: u64,
    /// Something changed that the pool can't be told: it is to be built anew.
    pub(crate) stale: bool,
    /// Reservations, or who is being ended for whom, changed.
    pub(crate) moved: bool,
    /// When it is looked for who has waited too long.
    armed: Option<Timestamp>,
    /// What is stored, and under which number; 0 before the first time.
    stored: StoredSharing,
    row: i64,
}

/// The workers of fleets, as the pool asks for them.
struct Workers<'a> {
    works: &'a BTreeMap<u64, Known>,
    lanes: &'a [Lane],
    tenants: &'a [Tenant],
    executors: &'a mut [ExecutorState],
    now: Timestamp,
}

impl Gate for Workers<'_> {
    fn place(&mut self, id: u64) -> bool {
        let Some(Known { lane, dispatch, .. }) = self.works.get(&id) else { return false };
        let key = &self.lanes[*lane as usize].key;
        let Some(fleet) = &mut self.executors[key.executor as usize].fleet else { return true };
        let tenant = self.tenants[key.tenant as usize].id;
        let Some(worker) = fleet.choose(tenant, &key.needs, key.members) else { return false };
        fleet.place(*dispatch, worker, key.needs.clone(), key.members, self.now);
        true
    }

    fn give_back(&mut self, id: u64) {
        let Some(Known { lane, dispatch, .. }) = self.works.get(&id) else { return };
        let key = &self.lanes[*lane as usize].key;
        if let Some(fleet) = &mut self.executors[key.executor as usize].fleet {
            fleet.unplace(*dispatch);
        }
    }

    fn possible(&self, id: u64) -> bool {
        let Some(Known { lane, .. }) = self.works.get(&id) else { return false };
        let key = &self.lanes[*lane as usize].key;
        let tenant = self.tenants[key.tenant as usize].id;
        let fleet = self.executors[key.executor as usize].fleet.as_ref();
        fleet.is_none_or(|fleet| fleet.candidates(tenant, &key.needs, key.members).open > 0)
    }

    fn is_known(&self, id: u64) -> bool {
        let Some(Known { lane, .. }) = self.works.get(&id) else { return true };
        let executor = &self.executors[self.lanes[*lane as usize].key.executor as usize];
        // One that is being drained comes back, or isn't used by anybody.
        executor.slots.is_some_and(|slots| slots > 0)
            && executor.fleet.as_ref().is_none_or(|fleet| fleet.has_met(self.now))
    }
}

impl Queue {
    /// Lets the pool decide. What it admits waits in [`Sharing::admitted`]; the victims are returned: who, for whom, why.
    pub(crate) fn settle(&mut self, now: Timestamp) -> Vec<(u64, u64, Rule)> {
        let Self { sharing, lanes, tenants, executors, .. } = self;
        let Some(Sharing { pool, works, admitted, moved, .. }) = sharing.as_deref_mut() else {
            return Vec::new();
        };
        let mut gate = Workers { works, lanes, tenants, executors, now };
        let mut victims = Vec::new();
        for decision in pool.settle_with(now.0, &mut gate) {
            match decision {
                Decision::Admit { id, .. } => admitted.push_back(id),
                Decision::Preempt { id, by, rule, .. } => victims.push((id, by, rule)),
                Decision::Reserve { .. } | Decision::Hold { .. } | Decision::Drop { .. } => {}
            }
            *moved = true;
        }
        victims
    }

    /// Whether something that is admitted and not told yet can't be any more: the worker that was chosen for it has been lost,
    /// or its pool or executor has become smaller.
    pub(crate) fn is_void(&self, id: u64) -> bool {
        let Some(known) = self.sharing.as_ref().and_then(|sharing| sharing.works.get(&id)) else {
            return false;
        };
        let key = &self.lanes[known.lane as usize].key;
        let executor = &self.executors[key.executor as usize];
        let worker_is_gone = executor.fleet.as_ref().is_some_and(|fleet| {
            fleet.place_of(known.dispatch).is_some_and(|worker| !fleet.is_there(worker))
        });
        worker_is_gone
            || self.pools[key.pool as usize].open() < i64::from(key.slots)
            || executor.slots.is_none_or(|slots| slots.saturating_sub(executor.used) < key.members)
    }

    /// The members of an executor that are admitted and not told yet.
    pub(crate) fn members_admitted(&self, executor: u32) -> u32 {
        let Some(sharing) = &self.sharing else { return 0 };
        let keys = sharing.admitted.iter().filter_map(|id| sharing.works.get(id));
        let keys = keys.map(|known| &self.lanes[known.lane as usize].key);
        keys.filter(|key| key.executor == executor).map(|key| key.members).sum()
    }

    /// An instance waits no more, and wasn't admitted.
    pub(crate) fn withdraw(&mut self, at: TiRef) {
        let Some(sharing) = &mut self.sharing else { return };
        if let Some(id) = sharing.waiting.remove(&at) {
            self.depart(id);
        }
    }

    /// A workload ends: what it holds, or its place in the queue, is free.
    pub(crate) fn depart(&mut self, id: u64) {
        let Self { sharing, lanes, executors, now, .. } = self;
        let Some(sharing) = sharing.as_deref_mut() else { return };
        let Some(known) = sharing.works.remove(&id) else { return };
        // What was promised to it is void.
        sharing.moved |= !sharing.stored.is_empty();
        if sharing.pool.is_held(id) {
            // It was admitted, and is let go before anybody was told: a worker was chosen.
            let executor = lanes[known.lane as usize].key.executor;
            if let Some(fleet) = &mut executors[executor as usize].fleet {
                fleet.unplace(known.dispatch);
            }
        }
        if sharing.pool.is_ending(id) {
            sharing.gave_way.insert(known.dispatch.attempt);
            sharing.moved = true;
            sharing.pool.depart(id);
        } else {
            sharing.gave_way.clear();
            sharing.pool.end(now.0, id);
        }
        self.changed = true;
    }
}

impl Sharing {
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Tells the pool of an instance that waits since then.
    pub(crate) fn feed(&mut self, now: Timestamp, since: Timestamp, known: Known) {
        let id = self.number();
        let back = self.gave_way.remove(&known.dispatch.attempt);
        if !back {
            self.gave_way.clear();
            self.pool.outside(now.0);
            self.moved |= !self.stored.is_empty();
        }
        let arrived = self.pool.arrive(id, age(&known.pending), since.0, back, &known.workload);
        if arrived.is_err() {
            // Its tenant, or whatever else it names, is new.
            self.stale = true;
            return;
        }
        self.waiting.insert(known.pending.at, id);
        self.works.insert(id, known);
    }
}

pub(crate) fn age(pending: &Pending) -> Age {
    let index = (i64::from(pending.map_index) << 32) + i64::from(pending.at.ti);
    Age { date: pending.date.0, run: pending.run_seq, index }
}

/// What a member needs, of those resources.
pub(crate) fn request(needs: &Needs, resources: &BTreeSet<Name>) -> Vector {
    let clamp = |amount: u64| i64::try_from(amount).unwrap_or(AMOUNT_MAX).min(AMOUNT_MAX);
    let amount = |name: &str| match name {
        MEMBERS => 1,
        "cpu" => clamp(needs.cpu_milli),
        "memory" => clamp(needs.memory_bytes),
        "gpu" => needs.gpu.as_ref().map_or(0, |(count, _)| i64::from(*count)),
        other => match (other.strip_prefix("gpu/"), &needs.gpu) {
            (Some(model), Some((count, Some(wanted)))) if wanted == model => i64::from(*count),
            (Some(_), _) => 0,
            (None, _) => needs.custom.get(other).copied().map_or(0, clamp),
        },
    };
    let all = resources.iter().map(|name| (name.clone(), amount(name)));
    all.filter(|(_, amount)| *amount > 0).collect()
}

/// The tenant's name in the pool.
pub(crate) fn tenant_name(tenant: TenantId) -> Name {
    tenant.to_string().into()
}
