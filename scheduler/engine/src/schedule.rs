//! DAGs: new versions, pausing, and the runs that their schedules make.

use std::{collections::BTreeMap, sync::Arc};

use dags::{
    ids::{BundleId, DagId, DagVersion, PoolName, RunName, TenantId},
    model::{Dag, Missed, When},
    run_name::run_name_nth,
    time::{Span, Timestamp},
    timetable::{Bounds, DataInterval, Planned, Timetable},
};

use crate::{
    engine::{DagState, Engine, Timer},
    plan::Plan,
    rows::{Cursor, DagRow, PoolRow, RunType},
    runs::NewRun,
    work::RunWork,
};

/// After that long it is looked again if a tenant's queue, which was full when a run was due, has room.
const QUEUE_FULL: Span = Span::seconds(10);

impl Engine {
    /// Puts a DAG into memory, from its row and the model of its newest version.
    pub(crate) fn insert_dag(&mut self, row: DagRow, plan: Arc<Plan>) -> u32 {
        let key = (row.tenant, row.dag_id.clone());
        let index = self.dags.len() as u32;
        self.restore_window(row.listening_since);
        let suspended = self.suspended.contains(&row.tenant);
        self.dags.push(DagState {
            row,
            plan,
            timetable: None,
            next: None,
            runs: BTreeMap::new(),
            queued: std::collections::BTreeSet::new(),
            running: 0,
            active: 0,
            held: false,
            has_work: false,
            limited: BTreeMap::new(),
            deleted: false,
            suspended,
            dirty: false,
            generation: 0,
            news: Timestamp::MIN,
        });
        self.dag_index.insert(key, index);
        self.take_timetable(index);
        index
    }

    fn take_timetable(&mut self, dag: u32) {
        let state = &mut self.dags[dag as usize];
        let model = state.plan.dag();
        let bounds = Bounds { start_date: model.start_date, end_date: model.end_date };
        // A schedule that was valid when it was compiled can only fail here if the time zone data shrank.
        state.timetable = Timetable::new(&model.schedule, bounds).ok();
        self.listen(dag);
    }

    /// A bundle has this version of a DAG: new runs follow it.
    pub(crate) fn activate_dag(
        &mut self,
        tenant: TenantId,
        bundle: &BundleId,
        version: &DagVersion,
        model: &Arc<Dag>,
        paused_upon_creation: bool,
    ) {
        let plan = self.plan(version, model);
        if let Some(dag) = self.find_dag(tenant, &model.dag_id) {
            let until = self.close_window();
            let state = &mut self.dags[dag as usize];
            let was_stale = state.row.stale;
            let same = state.row.version == *version && !was_stale;
            let listened = state.plan.dag().schedule.when.assets().is_some();
            state.row.bundle = bundle.clone();
            (state.row.version, state.row.stale) = (version.clone(), false);
            state.plan = plan;
            if !listened && state.plan.dag().schedule.when.assets().is_some() {
                state.row.listening_since = Some(until);
            }
            if !same {
                self.take_timetable(dag);
                self.plan_next(dag);
                self.dag_work(dag);
            }
            if was_stale {
                self.set_runs_going(dag);
            }
            self.touch_dag(dag);
            return;
        }
        self.make_default_pool(tenant);
        let row = DagRow {
            tenant,
            dag_id: model.dag_id.clone(),
            version: version.clone(),
            bundle: bundle.clone(),
            paused: paused_upon_creation,
            stale: false,
            cursor: None,
            next: None,
            listening_since: Some(self.close_window()),
            failed_in_row: 0,
            reserved: std::collections::BTreeSet::new(),
        };
        let dag = self.insert_dag(row, plan);
        self.plan_next(dag);
        self.touch_dag(dag);
        self.dag_work(dag);
    }

    /// A tenant with DAGs has a pool for those that name none.
    fn make_default_pool(&mut self, tenant: TenantId) {
        let name = PoolName::parse("default_pool").expect("invariant: the name follows the grammar");
        let slots = self.config.default_pool_slots;
        if self.unreadable_pools.contains_key(&(tenant, name.clone())) {
            return;
        }
        let pool = self.queue.pool_mut(tenant, &name);
        if pool.row.is_none() {
            let row = PoolRow { tenant, name, slots, include_deferred: false };
            pool.row = Some(row.clone());
            self.out.pools.push(row);
        }
    }

    /// The newest bundle no longer has this DAG.
    pub(crate) fn retire_dag(&mut self, dag: u32) {
        let state = &mut self.dags[dag as usize];
        if !std::mem::replace(&mut state.row.stale, true) {
            self.listen(dag);
            self.plan_next(dag);
            self.touch_dag(dag);
            for run in self.dags[dag as usize].runs.values().copied().collect::<Vec<_>>() {
                self.park_all(run);
            }
        }
    }

    /// A DAG goes on: its runs are looked at again.
    fn set_runs_going(&mut self, dag: u32) {
        if self.dags[dag as usize].halted() {
            return;
        }
        for run in self.dags[dag as usize].runs.values().copied().collect::<Vec<_>>() {
            self.push_work(run, RunWork::Everything { next: 0 });
            self.refill(run);
        }
        self.dag_work(dag);
    }

    /// Finds out when the next scheduled run is due, and sets the timer.
    pub(crate) fn plan_next(&mut self, dag: u32) {
        let now = self.now;
        let state = &mut self.dags[dag as usize];
        state.generation += 1;
        let last = state.row.cursor.map(planned);
        let off = state.halted() || state.deleted;
        let continuous = state.plan.dag().schedule.when == When::Continuous;
        let waits = continuous && state.active > 0;
        state.next = match &state.timetable {
            Some(timetable) if !off && !waits => {
                // Without a start date and a last run nothing but what was planned says that a tick has come meanwhile.
                let due = state.row.next.map(|next| next.run_after);
                let came = due.filter(|due| last.is_none() && *due <= now);
                let came = came.filter(|_| state.plan.dag().schedule.missed != Missed::None);
                let came =
                    came.and_then(|due| timetable.next(None, due).filter(|planned| planned.run_after == due));
                let next = timetable.next(last.as_ref(), now);
                next.filter(|planned| planned.run_after <= now).or(came).or(next)
            }
            Some(_) | None => None,
        };
        let next = state.next.map(|planned| Cursor {
            run_after: planned.run_after,
            logical_date: planned.logical_date,
            interval: planned.interval.map(|DataInterval { start, end }| (start, end)),
        });
        if state.row.next != next {
            state.row.next = next;
            self.touch_dag(dag);
        }
        self.set_dag_timer(dag);
    }

    /// What was planned before a restart stays planned.
    pub(crate) fn keep_plan(&mut self, dag: u32) {
        let state = &mut self.dags[dag as usize];
        state.next = state.row.next.map(planned);
        self.set_dag_timer(dag);
    }

    fn set_dag_timer(&mut self, dag: u32) {
        let state = &self.dags[dag as usize];
        let generation = state.generation;
        if let Some(next) = state.next {
            self.at(next.run_after, Timer::Dag { dag, generation });
        }
    }

    /// Does what a DAG's state calls for: runs that are due are made, queued ones started.
    pub(crate) fn look_at_dag(&mut self, dag: u32) {
        if self.dags[dag as usize].deleted {
            return;
        }
        if self.dags[dag as usize].next.is_none()
            && self.dags[dag as usize].plan.dag().schedule.when == When::Continuous
            && self.dags[dag as usize].active == 0
        {
            self.plan_next(dag);
        }
        self.run_for_assets(dag);
        let now = self.now;
        let full = self.queue.is_full(self.dags[dag as usize].row.tenant).is_some();
        let state = &mut self.dags[dag as usize];
        let room = state.active < state.plan.dag().max_active_runs && !full;
        let due = state.next.is_some_and(|planned| planned.run_after <= now);
        let generation = state.generation;
        if due && std::mem::replace(&mut state.held, !room) && room {
            // Ticks that came while there was no room were missed, as they are while a DAG is paused.
            self.plan_next(dag);
        }
        if due && full {
            self.at(now.after(QUEUE_FULL), Timer::Dag { dag, generation });
        }
        let state = &self.dags[dag as usize];
        if let Some(planned) = state.next
            && planned.run_after <= self.now
            && room
            && !state.halted()
        {
            self.make_scheduled(dag, planned);
            self.dag_work(dag);
        }
        self.start_runs(dag);
    }

    fn make_scheduled(&mut self, dag: u32, planned: Planned) {
        let interval = planned.interval.map(|DataInterval { start, end }| (start, end));
        let state = &mut self.dags[dag as usize];
        state.row.cursor =
            Some(Cursor { run_after: planned.run_after, logical_date: planned.logical_date, interval });
        self.touch_dag(dag);
        let free = self.free_name(dag, RunType::Scheduled, planned.logical_date, planned.run_after);
        let date_taken = planned
            .logical_date
            .is_some_and(|date| self.date_taken(dag, date) || self.is_reserved(dag, date));
        if let (Some(name), false) = (free, date_taken) {
            let new = NewRun {
                name,
                kind: RunType::Scheduled,
                logical_date: planned.logical_date,
                interval,
                run_after: planned.run_after,
                conf: Arc::default(),
                note: None,
                backfill: None,
                by: None,
                chain_depth: 0,
                asset_window: None,
            };
            self.make_run(dag, new);
        }
        self.plan_next(dag);
    }

    /// A run name that no run in memory has; none if it is taken and can't vary.
    pub(crate) fn free_name(
        &self,
        dag: u32,
        kind: RunType,
        logical_date: Option<Timestamp>,
        run_after: Timestamp,
    ) -> Option<RunName> {
        let taken = &self.dags[dag as usize].runs;
        let most = if logical_date.is_some() { 1 } else { 10_000 };
        (0..most)
            .map(|nth| run_name_nth(kind, logical_date, run_after, nth))
            .find(|name| !taken.contains_key(name))
    }

    /// Remembers a date that the schedule has yet to come to, so that it leaves it out.
    pub(crate) fn reserve(&mut self, dag: u32, date: Option<Timestamp>) {
        let state = &mut self.dags[dag as usize];
        let cursor = state.row.cursor.and_then(|cursor| cursor.logical_date);
        if let Some(date) = date.filter(|date| cursor.is_none_or(|cursor| *date > cursor)) {
            state.row.reserved.insert(date);
            self.touch_dag(dag);
        }
    }

    fn is_reserved(&mut self, dag: u32, date: Timestamp) -> bool {
        let reserved = &mut self.dags[dag as usize].row.reserved;
        let taken = reserved.contains(&date);
        *reserved = reserved.split_off(&date.after(dags::time::Span(1)));
        taken
    }

    /// Whether a run in memory stands for that date.
    pub(crate) fn date_taken(&self, dag: u32, date: Timestamp) -> bool {
        self.dags[dag as usize].runs.values().any(|run| self.run(*run).row.logical_date == Some(date))
    }

    /// Pauses or unpauses a DAG.
    pub(crate) fn pause_dag(&mut self, dag: u32, paused: bool) {
        let state = &mut self.dags[dag as usize];
        if state.row.paused == paused {
            return;
        }
        state.row.paused = paused;
        let runs: Vec<_> = state.runs.values().copied().collect();
        self.touch_dag(dag);
        if paused {
            for run in runs {
                self.park_all(run);
            }
        } else {
            self.set_runs_going(dag);
        }
        self.plan_next(dag);
        self.dag_work(dag);
    }

    /// Lets nothing of a tenant start any more, or things start again.
    pub(crate) fn suspend_tenant(&mut self, tenant: TenantId, suspended: bool) {
        if suspended {
            self.suspended.insert(tenant);
        } else {
            self.suspended.remove(&tenant);
        }
        for dag in 0..self.dags.len() as u32 {
            let state = &mut self.dags[dag as usize];
            if state.row.tenant != tenant || std::mem::replace(&mut state.suspended, suspended) == suspended {
                continue;
            }
            if suspended {
                let runs: Vec<_> = state.runs.values().copied().collect();
                runs.into_iter().for_each(|run| self.park_all(run));
            } else {
                self.set_runs_going(dag);
            }
            self.plan_next(dag);
            self.dag_work(dag);
        }
    }

    /// The DAG of that name.
    pub(crate) fn known_dag(&self, tenant: TenantId, dag_id: &DagId) -> Result<u32, crate::command::Refusal> {
        self.find_dag(tenant, dag_id).ok_or_else(|| {
            self.dag_refusal(tenant, dag_id).unwrap_or_else(|| {
                crate::command::Refusal::new("dag.not_found", format!("there is no DAG `{dag_id}`"))
            })
        })
    }
}

fn planned(cursor: Cursor) -> Planned {
    Planned {
        run_after: cursor.run_after,
        logical_date: cursor.logical_date,
        interval: cursor.interval.map(|(start, end)| DataInterval { start, end }),
    }
}
