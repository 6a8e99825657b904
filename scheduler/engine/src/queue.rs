//! Admission: which scheduled task instances get slots next.
//!
//! Waiting instances lie in **lanes**; all of one lane ask for the same (tenant, pool, executor, slots, members), so a lane
//! that doesn't fit is passed over as a whole and a smaller request behind it may pass. Between tenants the one that
//! holds least goes first; inside a tenant the order is priority, logical date, age, map index.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use dags::{
    ids::{DispatchId, ExecutorName, PoolName, TenantId, WorkerId},
    time::Timestamp,
};

use crate::{
    fleet::{Fleet, Needs},
    quota::Sharing,
    rows::{PoolRow, QuotaNode, QuotaRow},
    run::TiRef,
};

/// A task instance that waits, in the order of admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pending {
    pub(crate) weight: Reverse<i32>,
    pub(crate) date: Timestamp,
    pub(crate) run_seq: u64,
    pub(crate) map_index: i32,
    pub(crate) at: TiRef,
}

/// What an admitted instance holds until its end is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) lane: u32,
    /// Its number in the resource pool; 0 if there was none.
    pub(crate) work: u64,
}

/// What an admitted instance holds, by name.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Holds {
    pub(crate) tenant: TenantId,
    pub(crate) pool: PoolName,
    pub(crate) executor: ExecutorName,
    pub(crate) slots: u32,
    pub(crate) members: u32,
    #[serde(default)]
    pub(crate) needs: Needs,
    #[serde(default)]
    pub(crate) worker: Option<WorkerId>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneKey {
    pub(crate) tenant: u32,
    pub(crate) pool: u32,
    pub(crate) executor: u32,
    pub(crate) slots: u32,
    pub(crate) members: u32,
    pub(crate) needs: Needs,
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) key: LaneKey,
    pub(crate) pending: BTreeSet<Pending>,
    /// The generation of the fleet in which no worker had room; nothing is asked again before the next one.
    full_at: Option<u64>,
}

/// A pool and what is taken of it.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) tenant: TenantId,
    pub(crate) name: PoolName,
    /// None while tasks name a pool that doesn't exist.
    pub(crate) row: Option<PoolRow>,
    pub(crate) used: i64,
    pub(crate) deferred: i64,
    pub(crate) waiting: u32,
}

impl Pool {
    /// The most slots that may be used by what runs; none for no limit.
    pub(crate) fn most(&self) -> Option<i64> {
        let row = self.row.as_ref().filter(|row| row.slots >= 0)?;
        Some(i64::from(row.slots) - if row.include_deferred { self.deferred } else { 0 })
    }

    /// Free slots; `i64::MAX` without limit.
    pub(crate) fn open(&self) -> i64 {
        match &self.row {
            None => 0,
            Some(row) if row.slots < 0 => i64::MAX,
            Some(row) => {
                i64::from(row.slots) - self.used - if row.include_deferred { self.deferred } else { 0 }
            }
        }
    }
}

/// An executor and how much of it is taken.
#[derive(Debug)]
pub(crate) struct ExecutorState {
    pub(crate) name: ExecutorName,
    /// Members that may run at once; none while tasks name an executor that isn't there.
    pub(crate) slots: Option<u32>,
    pub(crate) used: u32,
    /// Its workers, if it has any.
    pub(crate) fleet: Option<Fleet>,
}

impl ExecutorState {
    /// Whether a worker has room for what a lane asks for. Executors without workers have none that could be full.
    fn has_worker(&self, tenant: TenantId, key: &LaneKey, full_at: &mut Option<u64>) -> bool {
        let Some(fleet) = &self.fleet else { return true };
        if *full_at == Some(fleet.generation) {
            return false;
        }
        let found = fleet.choose(tenant, &key.needs, key.members).is_some();
        *full_at = (!found).then_some(fleet.generation);
        found
    }
}

#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) used: u64,
    /// Instances that wait.
    pub(crate) waiting: u32,
    pub(crate) lanes: BTreeSet<u32>,
}

/// All waiting instances and all capacity.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) lanes: Vec<Lane>,
    lane_index: BTreeMap<LaneKey, u32>,
    pub(crate) pools: Vec<Pool>,
    pool_index: BTreeMap<(TenantId, PoolName), u32>,
    pub(crate) executors: Vec<ExecutorState>,
    executor_index: BTreeMap<ExecutorName, u32>,
    pub(crate) tenants: Vec<Tenant>,
    tenant_index: BTreeMap<TenantId, u32>,
    /// Tenants that have something waiting, least served first.
    pub(crate) ready: BTreeSet<(u64, u32)>,
    /// Something was freed or came in since admission last found nothing.
    pub(crate) changed: bool,
    /// Quotas that are set.
    pub(crate) quotas: BTreeMap<QuotaNode, QuotaRow>,
    /// The resource pool, while quotas are set.
    pub(crate) sharing: Option<Box<Sharing>>,
    /// Pools came, went or changed since the resource pool was told.
    pub(crate) pools_moved: bool,
    /// The engine's clock.
    pub(crate) now: Timestamp,
}

impl Queue {
    /// Something came or went that the resource pool must be built anew for.
    pub(crate) fn ground_moved(&mut self) {
        self.changed = true;
        if let Some(sharing) = &mut self.sharing {
            sharing.stale = true;
        }
    }

    fn tenant(&mut self, id: TenantId) -> u32 {
        if !self.tenant_index.contains_key(&id) {
            self.ground_moved();
        }
        *self.tenant_index.entry(id).or_insert_with(|| {
            self.tenants.push(Tenant { id, used: 0, waiting: 0, lanes: BTreeSet::new() });
            self.tenants.len() as u32 - 1
        })
    }

    pub(crate) fn pool(&mut self, tenant: TenantId, name: &PoolName) -> u32 {
        if let Some(pool) = self.pool_index.get(&(tenant, name.clone())) {
            return *pool;
        }
        let index = self.pools.len() as u32;
        self.pools.push(Pool { tenant, name: name.clone(), row: None, used: 0, deferred: 0, waiting: 0 });
        self.pool_index.insert((tenant, name.clone()), index);
        index
    }

    pub(crate) fn pool_mut(&mut self, tenant: TenantId, name: &PoolName) -> &mut Pool {
        (self.changed, self.pools_moved) = (true, true);
        let index = self.pool(tenant, name);
        &mut self.pools[index as usize]
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter()
    }

    pub(crate) fn executor_mut(&mut self, name: &ExecutorName) -> &mut ExecutorState {
        self.ground_moved();
        let index = self.executor(name);
        &mut self.executors[index as usize]
    }

    pub(crate) fn executor_of_name(&self, name: &ExecutorName) -> Option<&ExecutorState> {
        self.executor_index.get(name).map(|index| &self.executors[*index as usize])
    }

    pub(crate) fn executor(&mut self, name: &ExecutorName) -> u32 {
        if let Some(executor) = self.executor_index.get(name) {
            return *executor;
        }
        self.ground_moved();
        let index = self.executors.len() as u32;
        self.executors.push(ExecutorState { name: name.clone(), slots: None, used: 0, fleet: None });
        self.executor_index.insert(name.clone(), index);
        index
    }

    pub(crate) fn executors(&self) -> impl Iterator<Item = &ExecutorState> {
        self.executors.iter()
    }

    /// The lane for such requests.
    pub(crate) fn lane(
        &mut self,
        tenant: TenantId,
        pool: &PoolName,
        executor: &ExecutorName,
        slots: u32,
        members: u32,
        needs: Needs,
    ) -> u32 {
        let key = LaneKey {
            tenant: self.tenant(tenant),
            pool: self.pool(tenant, pool),
            executor: self.executor(executor),
            slots,
            members,
            needs,
        };
        if let Some(lane) = self.lane_index.get(&key) {
            return *lane;
        }
        let index = self.lanes.len() as u32;
        self.lanes.push(Lane { key: key.clone(), pending: BTreeSet::new(), full_at: None });
        self.lane_index.insert(key, index);
        index
    }

    pub(crate) fn executor_of(&self, lane: u32) -> &ExecutorName {
        &self.executors[self.lanes[lane as usize].key.executor as usize].name
    }

    pub(crate) fn push(&mut self, lane: u32, pending: Pending) {
        let Lane { key, pending: set, .. } = &mut self.lanes[lane as usize];
        if set.insert(pending) {
            self.pools[key.pool as usize].waiting += 1;
            let tenant = &mut self.tenants[key.tenant as usize];
            if tenant.lanes.is_empty() {
                self.ready.insert((tenant.used, key.tenant));
            }
            tenant.lanes.insert(lane);
            tenant.waiting += 1;
            self.changed = true;
        }
    }

    pub(crate) fn remove(&mut self, lane: u32, pending: &Pending) -> bool {
        if !self.lanes[lane as usize].pending.remove(pending) {
            return false;
        }
        if self.sharing.is_some() {
            self.withdraw(pending.at);
        }
        let Lane { key, pending: set, .. } = &self.lanes[lane as usize];
        self.pools[key.pool as usize].waiting -= 1;
        self.tenants[key.tenant as usize].waiting -= 1;
        if set.is_empty() {
            let tenant = &mut self.tenants[key.tenant as usize];
            tenant.lanes.remove(&lane);
            if tenant.lanes.is_empty() {
                self.ready.remove(&(tenant.used, key.tenant));
            }
        }
        true
    }

    /// The next instance to admit, with its lane; it is taken out of the queue but holds nothing yet.
    pub(crate) fn pop(&mut self) -> Option<(u32, Pending)> {
        let mut found = None;
        for (_, tenant) in &self.ready {
            let mut best: Option<(Pending, u32)> = None;
            let id = self.tenants[*tenant as usize].id;
            for lane in &self.tenants[*tenant as usize].lanes {
                let Lane { key, pending, full_at } = &mut self.lanes[*lane as usize];
                let executor = &self.executors[key.executor as usize];
                let fits = self.pools[key.pool as usize].open() >= i64::from(key.slots)
                    && executor.slots.is_some_and(|slots| slots.saturating_sub(executor.used) >= key.members);
                if let (true, Some(head)) = (fits, pending.first())
                    && best.is_none_or(|(known, _)| *head < known)
                    && executor.has_worker(id, key, full_at)
                {
                    best = Some((*head, *lane));
                }
            }
            if best.is_some() {
                found = best;
                break;
            }
        }
        let (pending, lane) = found?;
        self.remove(lane, &pending);
        Some((lane, pending))
    }

    /// Takes what an instance of the lane needs.
    pub(crate) fn take(&mut self, lane: u32, work: u64) -> Ticket {
        let key = self.lanes[lane as usize].key.clone();
        self.pools[key.pool as usize].used += i64::from(key.slots);
        self.executors[key.executor as usize].used += key.members;
        self.count_tenant(key.tenant, i64::from(key.slots.max(1)));
        if work == 0
            && let Some(sharing) = &mut self.sharing
        {
            // It came into memory with what it holds, which the pool wasn't told.
            sharing.stale = true;
        }
        Ticket { lane, work }
    }

    /// Puts a dispatch of the lane on a worker: on that one, or on the best that has room. Executors without workers
    /// need none.
    pub(crate) fn place(
        &mut self,
        lane: u32,
        id: DispatchId,
        on: Option<WorkerId>,
        now: Timestamp,
    ) -> Option<WorkerId> {
        let LaneKey { tenant, executor, members, needs, .. } = self.lanes[lane as usize].key.clone();
        let tenant = self.tenants[tenant as usize].id;
        let executor = &mut self.executors[executor as usize];
        if on.is_some() {
            executor.fleet.get_or_insert_default();
        }
        let fleet = executor.fleet.as_mut()?;
        if let (None, Some(worker)) = (on, fleet.place_of(id)) {
            // The resource pool's gate chose it.
            return Some(worker);
        }
        let worker = on.or_else(|| fleet.choose(tenant, &needs, members))?;
        fleet.place(id, worker, needs, members, now);
        Some(worker)
    }

    /// Takes a dispatch off its worker.
    pub(crate) fn unplace(&mut self, ticket: Ticket, id: DispatchId) {
        let executor = self.lanes[ticket.lane as usize].key.executor;
        if let Some(fleet) = &mut self.executors[executor as usize].fleet {
            fleet.unplace(id);
        }
    }

    /// The worker that a dispatch is on.
    pub(crate) fn place_of(&self, executor: &ExecutorName, id: DispatchId) -> Option<WorkerId> {
        self.executor_of_name(executor)?.fleet.as_ref()?.place_of(id)
    }

    pub(crate) fn describe(&self, ticket: Ticket, id: DispatchId) -> Holds {
        let LaneKey { tenant, pool, executor, slots, members, needs } = &self.lanes[ticket.lane as usize].key;
        let name = &self.executors[*executor as usize].name;
        Holds {
            tenant: self.tenants[*tenant as usize].id,
            pool: self.pools[*pool as usize].name.clone(),
            executor: name.clone(),
            slots: *slots,
            members: *members,
            needs: needs.clone(),
            worker: self.place_of(name, id),
        }
    }

    /// Gives it back.
    pub(crate) fn release(&mut self, ticket: Ticket) {
        let key = self.lanes[ticket.lane as usize].key.clone();
        self.pools[key.pool as usize].used -= i64::from(key.slots);
        self.executors[key.executor as usize].used -= key.members;
        self.count_tenant(key.tenant, -i64::from(key.slots.max(1)));
        self.changed = true;
        if ticket.work != 0 {
            self.depart(ticket.work);
        }
    }

    /// Counts an instance that waits without running against a pool that counts those.
    pub(crate) fn count_deferred(&mut self, tenant: TenantId, pool: &PoolName, slots: i64) {
        let index = self.pool(tenant, pool) as usize;
        self.pools[index].deferred += slots;
        (self.changed, self.pools_moved) = (true, true);
    }

    fn count_tenant(&mut self, tenant: u32, slots: i64) {
        let state = &mut self.tenants[tenant as usize];
        let waiting = !state.lanes.is_empty();
        if waiting {
            self.ready.remove(&(state.used, tenant));
        }
        state.used = state.used.saturating_add_signed(slots);
        if waiting {
            self.ready.insert((state.used, tenant));
        }
    }

    /// How many of the same tenant would be admitted before this one, and why its lane doesn't move.
    pub(crate) fn standing(&self, lane: u32, pending: &Pending) -> Standing<'_> {
        let key = &self.lanes[lane as usize].key;
        let ahead = self.tenants[key.tenant as usize]
            .lanes
            .iter()
            .map(|lane| self.lanes[*lane as usize].pending.range(..pending).count())
            .sum();
        Standing {
            ahead,
            pool: &self.pools[key.pool as usize],
            executor: &self.executors[key.executor as usize],
            slots: key.slots,
            members: key.members,
            tenant: self.tenants[key.tenant as usize].id,
            needs: &key.needs,
        }
    }

    /// How many instances of a tenant wait.
    pub(crate) fn waiting_of(&self, tenant: TenantId) -> u32 {
        self.tenant_index.get(&tenant).map_or(0, |index| self.tenants[*index as usize].waiting)
    }

    /// What every tenant holds, for invariants.
    pub(crate) fn held(&self) -> impl Iterator<Item = (TenantId, u64)> {
        self.tenants.iter().map(|tenant| (tenant.id, tenant.used))
    }
}

/// Where a waiting instance stands.
#[derive(Debug)]
pub(crate) struct Standing<'a> {
    pub(crate) ahead: usize,
    pub(crate) tenant: TenantId,
    pub(crate) needs: &'a Needs,
    pub(crate) pool: &'a Pool,
    pub(crate) executor: &'a ExecutorState,
    pub(crate) slots: u32,
    pub(crate) members: u32,
}
