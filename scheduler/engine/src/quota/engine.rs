//! The engine's part: telling the pool, carrying out what it decides, keeping what can't be found again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dags::{
    ids::{AttemptId, DispatchId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Counted, Known, Sharing, age, limits, request, tenant_name, tree};
use crate::{
    command::Refusal,
    engine::{Engine, Holder, Timer},
    queue::{Pending, Ticket},
    rows::{ContinuationRow, QuotaNode, QuotaRow},
    run::{RunIdx, TiIdx, TiRef},
    sharing::{
        Cap, CapKind, Facts, Group, Labels, Name, Place, Pool, Rule, Vector, Workload,
        facts::{ReservationFact, Stage, UnitFact, WorkFact},
        spec::ANY_HOST,
    },
};

/// What of the pool is stored: what doesn't follow from the rows of task instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredSharing {
    reservations: Vec<StoredReservation>,
    /// Who is being ended for whom.
    ending: Vec<(DispatchId, AttemptId)>,
    /// Admitted from a hold.
    protected: Vec<AttemptId>,
    /// They wait, and mayn't have others ended for them before something happens outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    spent: Vec<AttemptId>,
}

impl StoredSharing {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredReservation {
    attempt: AttemptId,
    hold: bool,
    created: u64,
}

impl Engine {
    /// Tells the pool, if there is one, of an instance that is in the queue now.
    pub(crate) fn feed(&mut self, pending: Pending) {
        if self.queue.sharing.as_ref().is_none_or(|sharing| sharing.stale) {
            return;
        }
        let known = self.known(pending);
        let ti = &self.run(pending.at.run).tis[pending.at.ti as usize];
        let (now, since) = (self.now, ti.scheduled_at.unwrap_or(self.now));
        self.make_own_caps(&known.workload, pending.at);
        if let Some(sharing) = &mut self.queue.sharing {
            sharing.feed(now, since, known);
        }
    }

    fn known(&mut self, pending: Pending) -> Known {
        let at = pending.at;
        let lane = self.lane_of(at);
        let attempt = self.attempt_id(at);
        let counted = self.counted(at);
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let model = run.plan.model(ti.task);
        let mut labels = Labels {
            run: counted.run,
            dag: counted.dag,
            pool: Some(model.pool.as_str().into()),
            slots: i64::from(model.pool_slots),
            gate: lane,
            ..Labels::default()
        };
        if let Some(limits) = self.queue.limits(run.row.tenant) {
            limits.label(counted.user.as_ref(), &mut labels);
        }
        let dispatch = DispatchId { attempt, n: ti.dispatch_n + 1 };
        let (priority, preemptible) = (pending.weight.0, model.preemptible);
        let workload = self.workload(lane, priority, labels, preemptible);
        Known { lane, pending, dispatch, workload }
    }

    /// By what an instance counts against limits of its task and user.
    pub(crate) fn counted(&self, at: TiRef) -> Counted {
        let run = self.run(at.run);
        let model = run.plan.model(run.tis[at.ti as usize].task);
        Counted {
            run: model.max_active_per_run.map(|_| format!("{}/{}", run.row.run, model.task_id).into()),
            dag: model.max_active.map(|_| format!("{}/{}", run.row.dag_id, model.task_id).into()),
            user: run.row.triggered_by.clone(),
        }
    }

    fn workload(&self, lane: u32, priority: i32, labels: Labels, preemptible: bool) -> Workload {
        let key = &self.queue.lanes[lane as usize].key;
        // Limits of tasks and pools count an instance once, however many members it has.
        let labels = Labels { together: key.members, ..labels };
        let sharing = self.queue.sharing.as_ref();
        let request = sharing.map(|sharing| request(&key.needs, &sharing.resources)).unwrap_or_default();
        Workload {
            tenant: tenant_name(self.queue.tenants[key.tenant as usize].id),
            priority,
            groups: vec![Group {
                name: "0".into(),
                count: key.members,
                max: key.members,
                request,
                flavors: Some(vec![self.queue.executor_of(lane).as_str().into()]),
            }],
            span_clusters: false,
            labels,
            preemptible,
            may_preempt: true,
        }
    }

    /// Limits of tasks and users are caps of the pool.
    fn make_own_caps(&mut self, workload: &Workload, at: TiRef) {
        let of = self.own_caps(&workload.labels, at);
        let tenant = &workload.tenant;
        let Some(sharing) = &mut self.queue.sharing else { return };
        for (kind, key, max) in of {
            if !sharing.pool.set_cap(kind, tenant, &key, max) {
                let (tenant, resources) = (tenant.clone(), Vector::new());
                sharing.pool.add_cap(Cap { kind, tenant, key, max, resources });
            }
        }
    }

    /// Admits what the pool lets in.
    pub(crate) fn admit_shared(&mut self) {
        let waits = |engine: &Self| engine.queue.sharing.as_ref().is_some_and(|s| !s.admitted.is_empty());
        if !waits(self) {
            let told = self.queue.tell_pools();
            if !told || self.queue.sharing.as_ref().is_none_or(|sharing| sharing.stale) {
                self.build_sharing(None);
                if self.queue.sharing.is_none() {
                    return;
                }
            }
            self.queue.changed = false;
            let victims = self.queue.settle(self.now);
            for (id, by, rule) in victims {
                self.give_way(id, by, rule);
            }
            self.store_sharing();
            self.watch_for_starving();
        }
        while self.budget > 0 {
            let Some(sharing) = &mut self.queue.sharing else { return };
            let Some(id) = sharing.admitted.pop_front() else {
                self.store_sharing();
                return;
            };
            let Some(known) = sharing.works.get(&id) else { continue };
            let (lane, pending, attempt) = (known.lane, known.pending, known.dispatch.attempt);
            sharing.waiting.remove(&pending.at);
            sharing.moved |= sharing.stored.reservations.iter().any(|it| it.attempt == attempt);
            self.queue.remove(lane, &pending);
            self.run_mut(pending.at.run).window.remove(&pending);
            if self.queue.is_void(id) {
                self.queue.depart(id);
                self.enqueue(pending.at);
            } else if self.over_own_limit(pending.at, pending) {
                self.queue.depart(id);
                self.refill(pending.at.run);
            } else if !self.admit_one(pending.at, lane, id) {
                self.queue.depart(id);
            }
        }
        self.store_sharing();
        self.queue.changed = true;
    }

    /// Ends an instance that must give way to another; when its end is confirmed it goes back to the queue, in the same try.
    fn give_way(&mut self, id: u64, by: u64, rule: Rule) {
        let Some(sharing) = &self.queue.sharing else { return };
        let (Some(victim), Some(winner)) = (sharing.works.get(&id), sharing.works.get(&by)) else { return };
        let dispatch = victim.dispatch;
        let why = if victim.workload.tenant == winner.workload.tenant {
            let at = winner.pending.at;
            let (task, _) = self.task_name(at);
            let dag = &self.run(at.run).row.dag_id;
            format!("it gave way to `{task}` of `{dag}`, which has a higher priority")
        } else if rule == Rule::Reclaim {
            "it gave way: the quota that it had borrowed is needed by those it belongs to".to_owned()
        } else {
            "it gave way: its tenant had borrowed more than the share of another".to_owned()
        };
        let Some(Holder { at, n, .. }) = self.attempts.get(&dispatch.attempt).copied() else { return };
        if n != dispatch.n || !self.run(at.run).tis[at.ti as usize].state.holds_slots() {
            return;
        }
        self.end_for_another(at, dispatch, why.into());
    }

    fn end_for_another(&mut self, at: TiRef, dispatch: DispatchId, why: Arc<str>) {
        let live = self.run_mut(at.run).tis[at.ti as usize].live();
        live.gives_way = Some(why.clone());
        let (executor, members) = (live.executor.clone(), live.members);
        if let Some(executor) = executor {
            self.kill(dispatch, members, executor, &why);
        }
    }

    fn watch_for_starving(&mut self) {
        let now = self.now;
        let Some(sharing) = &mut self.queue.sharing else { return };
        let Some(at) = sharing.pool.deadline(now.0).map(Timestamp) else { return };
        if sharing.armed.is_none_or(|armed| armed <= now || at < armed) {
            sharing.armed = Some(at);
            self.at(at, Timer::Admission);
        }
    }

    /// What must survive a restart, if it changed.
    fn store_sharing(&mut self) {
        let Some(sharing) = &mut self.queue.sharing else { return };
        if !std::mem::take(&mut sharing.moved) {
            return;
        }
        let stored = sharing.to_store();
        if stored == sharing.stored {
            return;
        }
        if sharing.row == 0 {
            sharing.row = self.next_continuation;
            self.next_continuation += 1;
        }
        let row = sharing.row;
        let written = if stored.is_empty() {
            // Nothing is promised any more; what is promised next gets a row of its own.
            sharing.row = 0;
            ContinuationRow::done(row)
        } else {
            ContinuationRow::new(row, json!({ "sharing": &stored }))
        };
        sharing.stored = stored;
        self.out.continuations.insert(row, written);
    }

    /// Builds the pool from everything that waits and everything that is held; without quotas there is none.
    pub(crate) fn build_sharing(&mut self, stored: Option<(i64, StoredSharing)>) {
        let old = self.queue.sharing.take();
        // What is promised now, and what of it the store has already.
        let (row, stored, written) = match (stored, &old) {
            (Some((row, stored)), _) => (row, stored.clone(), stored),
            (None, Some(old)) => (old.row, old.to_store(), old.stored.clone()),
            (None, None) => Default::default(),
        };
        self.queue.changed = true;
        if self.queue.quotas.is_empty() {
            if row != 0 {
                self.out.continuations.insert(row, ContinuationRow::done(row));
            }
            return;
        }
        if old.is_none() {
            self.unpark_own();
        }
        let ground = self.queue.ground(self.config.hold_after.0);
        let empty = Pool::new(&ground.flavors, &ground.cohorts, &ground.tenants, &ground.caps)
            .expect("invariant: quotas were checked when they were set");
        let mut sharing = Sharing::new(empty, ground.resources.clone());
        sharing.row = row;
        self.queue.sharing = Some(Box::new(sharing));
        let mut caps: BTreeMap<(CapKind, Name, Name), Cap> = BTreeMap::new();
        let mut facts = Facts::default();
        let mut works: BTreeMap<u64, Known> = BTreeMap::new();
        let mut numbers: BTreeMap<AttemptId, u64> = BTreeMap::new();
        for (at, since) in self.everything_held() {
            let known = self.known_held(at);
            self.note_own_caps(&known.workload, at, &mut caps);
            let id = self.next_work();
            numbers.insert(known.dispatch.attempt, id);
            if let Some(ticket) =
                self.run_mut(at.run).tis[at.ti as usize].live.as_mut().and_then(|live| live.ticket.as_mut())
            {
                ticket.work = id;
            }
            let protected = stored.protected.contains(&known.dispatch.attempt);
            facts.works.push(held_fact(id, &known, since, protected, None));
            works.insert(id, known);
        }
        let endings: Vec<DispatchId> = self.ending.keys().copied().collect();
        for dispatch in endings {
            let Some(ticket) = self.ending[&dispatch].ticket else { continue };
            let key = &self.queue.lanes[ticket.lane as usize].key;
            let pool = &self.queue.pools[key.pool as usize];
            let (pool, slots) = (pool.row.is_some().then(|| pool.name.as_str().into()), i64::from(key.slots));
            let counted = &self.ending[&dispatch].counted;
            let mut labels = Labels {
                run: counted.run.clone(),
                dag: counted.dag.clone(),
                pool,
                slots,
                ..Labels::default()
            };
            let limits = self.queue.limits(self.queue.tenants[key.tenant as usize].id);
            if let Some(limits) = limits {
                limits.label(counted.user.as_ref(), &mut labels);
            }
            let own = limits::own(&labels, None, None, limits);
            let workload = self.workload(ticket.lane, 0, labels, true);
            for (kind, key, max) in own {
                // Whoever waits for the same limit knows how much it is.
                let (tenant, resources) = (workload.tenant.clone(), Vector::new());
                let cap = Cap { kind, tenant: tenant.clone(), key: key.clone(), max, resources };
                caps.entry((kind, tenant, key)).or_insert(cap);
            }
            let id = self.next_work();
            if let Some(ticket) = self.ending.get_mut(&dispatch).and_then(|ending| ending.ticket.as_mut()) {
                ticket.work = id;
            }
            let known = Known { lane: ticket.lane, pending: nobody(), dispatch, workload };
            facts.works.push(held_fact(id, &known, Timestamp(0), false, Some(id)));
            works.insert(id, known);
        }
        let mut waiting = BTreeMap::new();
        for pending in self.everything_queued() {
            let known = self.known(pending);
            self.note_own_caps(&known.workload, pending.at, &mut caps);
            let id = self.next_work();
            numbers.insert(known.dispatch.attempt, id);
            let since = self.run(pending.at.run).tis[pending.at.ti as usize].scheduled_at;
            facts.works.push(WorkFact {
                id,
                age: age(&pending),
                workload: known.workload.clone(),
                stage: Stage::Pending,
                pending_since: since.unwrap_or(self.now).0,
                admission: 0,
                protected: false,
                spent: stored.spent.contains(&known.dispatch.attempt),
                units: Vec::new(),
            });
            waiting.insert(pending.at, id);
            works.insert(id, known);
        }
        for (dispatch, by) in &stored.ending {
            let id = numbers.get(&dispatch.attempt).filter(|id| works[id].dispatch == *dispatch);
            let Some(id) = id.copied() else { continue };
            // Whoever it was for may be gone, and then its own attempt is named; nobody has the number 0.
            let by = numbers.get(by).copied().filter(|by| *by != id).unwrap_or(0);
            for fact in facts.works.iter_mut().filter(|fact| fact.id == id) {
                fact.units.iter_mut().for_each(|unit| unit.ending_for = Some(by));
            }
        }
        for StoredReservation { attempt, hold, created } in &stored.reservations {
            let Some(id) = numbers.get(attempt).copied().filter(|id| waiting.values().any(|it| it == id))
            else {
                continue;
            };
            let group = &works[&id].workload.groups[0];
            let Some(flavor) = group.flavors.as_ref().and_then(|flavors| flavors.first()) else { continue };
            facts.reservations.push(ReservationFact {
                id,
                hold: *hold,
                created: *created,
                flavors: vec![flavor.clone()],
                places: places(flavor, group.count),
            });
        }
        let mut all = ground.caps;
        all.extend(caps.into_values());
        let pool = Pool::restore(&ground.flavors, &ground.cohorts, &ground.tenants, &all, &facts)
            .expect("invariant: tenants and executors of what waits and is held are known");
        if let Some(sharing) = &mut self.queue.sharing {
            (sharing.pool, sharing.works, sharing.waiting) = (pool, works, waiting);
            sharing.stored = written;
            sharing.moved = true;
        }
    }

    /// After a restart: who was being ended for another is told again.
    pub(crate) fn end_for_others_again(&mut self, stored: &StoredSharing) {
        for (dispatch, _) in &stored.ending {
            let Some(Holder { at, n, .. }) = self.attempts.get(&dispatch.attempt).copied() else { continue };
            if n == dispatch.n && self.run(at.run).tis[at.ti as usize].state.holds_slots() {
                self.end_for_another(at, *dispatch, "it gave way to another before the restart".into());
            }
        }
    }

    fn next_work(&mut self) -> u64 {
        self.queue.sharing.as_mut().map_or(0, |sharing| sharing.number())
    }

    /// Instances that hold slots, in the order of their admission.
    fn everything_held(&self) -> Vec<(TiRef, Timestamp)> {
        let mut held = Vec::new();
        for (run, state) in self.runs.iter().enumerate() {
            for (ti, it) in state.iter().flat_map(|state| state.tis.iter().enumerate()) {
                let Some(live) = it.live.as_deref().filter(|live| live.ticket.is_some()) else { continue };
                let at = TiRef { run: run as RunIdx, ti: ti as TiIdx };
                held.push((live.queued_at.unwrap_or(self.now), at));
            }
        }
        held.sort_by_key(|(since, at)| (*since, self.attempt_id(*at)));
        held.into_iter().map(|(since, at)| (at, since)).collect()
    }

    fn known_held(&mut self, at: TiRef) -> Known {
        let pending = self.run(at.run).pending(at);
        let mut known = self.known(pending);
        let ti = &self.run(at.run).tis[at.ti as usize];
        known.dispatch.n = ti.dispatch_n;
        if let Some(Ticket { lane, .. }) = ti.live.as_ref().and_then(|live| live.ticket) {
            known.lane = lane;
        }
        known
    }

    fn everything_queued(&self) -> Vec<Pending> {
        self.runs.iter().flatten().flat_map(|run| run.window.iter().copied()).collect()
    }

    fn note_own_caps(&self, workload: &Workload, at: TiRef, caps: &mut BTreeMap<(CapKind, Name, Name), Cap>) {
        for (kind, key, max) in self.own_caps(&workload.labels, at) {
            let (tenant, resources) = (workload.tenant.clone(), Vector::new());
            let cap = Cap { kind, tenant: tenant.clone(), key: key.clone(), max, resources };
            caps.insert((kind, tenant, key), cap);
        }
    }

    /// What waits for its task's own limits waits in the queue from now on.
    fn unpark_own(&mut self) {
        let mut found: Vec<Pending> = Vec::new();
        for run in self.runs.iter_mut().flatten() {
            for limited in run.limited.values_mut() {
                found.extend(std::mem::take(&mut limited.parked));
            }
        }
        for dag in &mut self.dags {
            for limited in dag.limited.values_mut() {
                found.extend(std::mem::take(&mut limited.parked));
            }
        }
        for pending in found {
            self.enqueue_pending(pending);
        }
    }

    /// Sets or removes the quota of a tenant or cohort.
    pub(crate) fn set_quota(&mut self, node: QuotaNode, row: Option<QuotaRow>) -> Result<Value, Refusal> {
        let mut rows = self.queue.quotas.clone();
        let before = match &row {
            Some(row) => rows.insert(node.clone(), row.clone()),
            None => rows.remove(&node),
        };
        let answer = json!({ "set": row.is_some(), "was_set": before.is_some() });
        if before == row {
            return Ok(answer);
        }
        if let (QuotaNode::Cohort(name), None) = (&node, &row)
            && let Some(member) = rows.values().find(|row| row.parent.as_ref() == Some(name))
        {
            let who = match &member.node {
                QuotaNode::Cohort(name) => format!("cohort `{name}`"),
                QuotaNode::Tenant(id) => format!("tenant {id}"),
            };
            let message = format!("{who} belongs to cohort `{name}`; move it to another one first");
            return Err(Refusal::new("cohort.in_use", message));
        }
        tree::validate(&rows)?;
        self.queue.quotas = rows;
        self.out.quotas.insert(node, row.clone());
        self.queue.changed = true;
        match &mut self.queue.sharing {
            Some(sharing) => {
                sharing.pool.outside(self.now.0);
                sharing.stale = true;
            }
            None => self.build_sharing(None),
        }
        Ok(answer)
    }

    /// The quotas that are set.
    pub fn quotas(&self) -> impl Iterator<Item = &QuotaRow> {
        self.queue.quotas.values()
    }
}

fn nobody() -> Pending {
    let at = TiRef { run: RunIdx::MAX, ti: TiIdx::MAX };
    Pending { weight: Reverse(0), date: Timestamp(0), run_seq: 0, map_index: 0, at }
}

fn places(flavor: &Name, members: u32) -> Vec<Place> {
    let place = Place { group: 0, flavor: flavor.clone(), host: ANY_HOST.into() };
    std::iter::repeat_n(place, members as usize).collect()
}

fn held_fact(id: u64, known: &Known, since: Timestamp, protected: bool, ending: Option<u64>) -> WorkFact {
    let group = &known.workload.groups[0];
    let flavor = group.flavors.as_ref().and_then(|flavors| flavors.first());
    let places = flavor.map(|flavor| places(flavor, group.count)).unwrap_or_default();
    WorkFact {
        id,
        age: age(&known.pending),
        workload: known.workload.clone(),
        stage: Stage::Held,
        pending_since: since.0,
        // Numbers are given in the order of admission.
        admission: id,
        protected,
        spent: false,
        units: vec![UnitFact { n: 0, places, ending_for: ending }],
    }
}

impl Sharing {
    fn new(pool: Pool, resources: std::collections::BTreeSet<Name>) -> Self {
        Self {
            pool,
            works: BTreeMap::new(),
            waiting: BTreeMap::new(),
            admitted: std::collections::VecDeque::new(),
            gave_way: std::collections::BTreeSet::new(),
            resources,
            next: 0,
            stale: false,
            moved: false,
            armed: None,
            stored: StoredSharing::default(),
            row: 0,
        }
    }

    /// What is promised, a line each.
    pub(crate) fn promises(&self) -> Vec<String> {
        let StoredSharing { reservations, ending, .. } = self.to_store();
        let kept = reservations.iter().map(|it| format!("promise {} {}", it.attempt, it.hold));
        kept.chain(ending.iter().map(|(id, by)| format!("giving way {id} {by}"))).collect()
    }

    fn to_store(&self) -> StoredSharing {
        let attempt = |id: &u64| self.works.get(id).map(|known| known.dispatch.attempt);
        let pledges = self.pool.pledges();
        let reservations = pledges.reservations.iter().filter_map(|it| {
            Some(StoredReservation { attempt: attempt(&it.id)?, hold: it.hold, created: it.created })
        });
        // What was promised stays promised until whoever was admitted for it has been told.
        let untold: BTreeSet<AttemptId> = self.admitted.iter().filter_map(attempt).collect();
        let kept = self.stored.reservations.iter().filter(|it| untold.contains(&it.attempt)).cloned();
        let mut reservations: Vec<StoredReservation> = reservations.chain(kept).collect();
        reservations.sort_by_key(|it| it.created);
        let ending = pledges.ending.iter().filter(|(id, by)| id != by).filter_map(|(id, by)| {
            Some((self.works.get(id)?.dispatch, attempt(by).or_else(|| attempt(id))?))
        });
        StoredSharing {
            reservations,
            ending: ending.collect(),
            protected: pledges.protected.iter().filter_map(attempt).collect(),
            spent: pledges.spent.iter().filter_map(attempt).collect(),
        }
    }
}
