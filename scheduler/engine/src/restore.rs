//! Building the engine from what is stored: counters, queues and timers follow from rows.

use std::{collections::BTreeMap, sync::Arc};

use dags::ids::{BundleId, RunId};

use crate::{
    command::Refusal,
    engine::{Config, Engine, Timer},
    plan::{Plan, TaskIdx},
    rows::{Changed, RunRow, Snapshot, TaskRow},
    run::{Live, RunIdx, Span, Ti, TiIdx, TiRef, Unit, flag},
    state::{RunState, TaskState},
    work::{Bulk, RunWork},
};

impl Engine {
    /// The engine as it was when the last batch was committed, but for effects: those are all asked for again.
    ///
    /// Refused if the snapshot contradicts itself, for example if a run's version is missing.
    pub fn restore(config: Config, snapshot: Snapshot) -> Result<Self, Refusal> {
        let mut engine = Self::new(config);
        engine.now = snapshot.now;
        engine.last_backfill = snapshot.last_backfill;
        for row in snapshot.pools {
            let pool = engine.queue.pool_mut(row.tenant, &row.name);
            pool.row = Some(row);
        }
        let missing = |version: &dags::ids::DagVersion| {
            Refusal::new("restore.version", format!("the model of version {version} isn't stored"))
        };
        for row in snapshot.dags {
            let model = snapshot.versions.get(&row.version).ok_or_else(|| missing(&row.version))?;
            let plan = engine.plan(&row.version, model);
            engine.insert_dag(row, plan);
        }
        for row in snapshot.pending_assets {
            if let Some(dag) = engine.find_dag(row.tenant, &row.dag_id) {
                engine.restore_pending(dag, row.asset, row.at);
            }
        }
        for row in snapshot.backfills {
            let state = crate::backfill::State { row, running: 0, open: 0, looking: false };
            engine.backfills.insert((state.row.tenant, state.row.id), state);
        }
        let mut runs: BTreeMap<RunId, RunIdx> = BTreeMap::new();
        for (row, tasks) in snapshot.runs {
            let Some(dag) = engine.find_dag(row.tenant, &row.dag_id) else {
                let message = format!("run `{}` belongs to the unknown DAG `{}`", row.run_name, row.dag_id);
                return Err(Refusal::new("restore.dag", message));
            };
            let model = snapshot.versions.get(&row.version).ok_or_else(|| missing(&row.version))?;
            let plan = engine.plan(&row.version, model);
            let id = row.run;
            runs.insert(id, engine.restore_run(dag, plan, row, tasks));
        }
        for row in snapshot.continuations {
            engine.next_continuation = engine.next_continuation.max(row.id + 1);
            let Some(work) = row.work else { continue };
            let parsed: Option<(RunId, Bulk)> = serde_json::from_value(work["run"].clone())
                .ok()
                .zip(serde_json::from_value(work["bulk"].clone()).ok());
            let Some((run, bulk)) = parsed else {
                return Err(Refusal::new("restore.continuation", format!("work {} can't be read", row.id)));
            };
            if let Some(run) = runs.get(&run) {
                engine.push_work(*run, RunWork::Bulk(bulk));
            }
        }
        for dag in 0..engine.dags.len() as u32 {
            engine.keep_plan(dag);
            engine.dag_work(dag);
        }
        for (tenant, id) in engine.backfills.keys().copied().collect::<Vec<_>>() {
            engine.look_at_backfill(tenant, id);
        }
        Ok(engine)
    }

    /// Puts a stored run into memory, and everything about it in motion.
    pub(crate) fn restore_run(
        &mut self,
        dag: u32,
        plan: Arc<Plan>,
        row: RunRow,
        tasks: Vec<TaskRow>,
    ) -> RunIdx {
        let mut by_task: BTreeMap<TaskIdx, Vec<Ti>> = BTreeMap::new();
        for task in tasks {
            // Rows of tasks that the version doesn't have are history: they were removed.
            if let Some(index) = plan.find(&task.task) {
                by_task.entry(index).or_default().push(ti_of(index, &task));
            }
        }
        let run = self.insert_run(dag, plan, row, true);
        self.assemble(run, by_task);
        self.set_in_motion(run);
        run
    }

    /// Moves a run to another version of its DAG. Its instances keep their states; those of tasks that are gone are removed.
    pub(crate) fn rebuild_run(&mut self, run: RunIdx, plan: Arc<Plan>, bundle: BundleId) {
        self.run_mut(run).flush_steps();
        let mut by_task: BTreeMap<TaskIdx, Vec<Ti>> = BTreeMap::new();
        let tis = std::mem::take(&mut self.run_mut(run).tis);
        let old = self.run(run);
        let before = old.plan.clone();
        let mut removed = Vec::new();
        for mut ti in tis {
            if ti.has(flag::DEAD) {
                continue;
            }
            if let Some(index) = plan.find(&before.model(ti.task).task_id) {
                ti.task = index;
                by_task.entry(index).or_default().push(ti);
            } else if ti.has(flag::STORED) {
                let stored = ti.stored;
                ti.state = TaskState::Removed;
                let mut row = crate::apply::task_row(old, &ti);
                row.reason = Some("the task isn't in the version that the run was moved to".into());
                removed.push(Changed { before: stored, row });
            }
        }
        self.out.removed_tasks.append(&mut removed);
        let old = self.runs[run as usize].take().expect("invariant: the run was just used");
        let mut row = old.row.clone();
        row.version = plan.version.clone();
        row.bundle = bundle;
        row.created_tasks = 0;
        self.free_runs.push(run);
        let again = self.insert_run(old.dag, plan, row, true);
        debug_assert_eq!(run, again, "the place that was just freed is used again");
        let fresh = self.run_mut(run);
        fresh.seq = old.seq;
        fresh.stored = old.stored;
        fresh.listed = old.listed;
        fresh.extra = old.extra;
        fresh.renamed = Vec::new();
        fresh.followers = old.followers;
        fresh.generation = old.generation + 1;
        fresh.work = old.work;
        fresh.has_work = old.has_work;
        self.assemble(run, by_task);
        let dirty: Vec<TiIdx> = (0..self.run(run).tis.len() as TiIdx)
            .filter(|ti| self.run(run).tis[*ti as usize].has(flag::DIRTY))
            .collect();
        self.run_mut(run).dirty_tis = dirty;
        self.touch_run(run);
    }

    /// Places instances side by side and counts what follows from their states.
    fn assemble(&mut self, run: RunIdx, by_task: BTreeMap<TaskIdx, Vec<Ti>>) {
        let state = self.run_mut(run);
        let plan = state.plan.clone();
        for (task, mut list) in by_task {
            list.sort_by_key(|ti| ti.map_index);
            let grouped = plan.tasks[task as usize].scope.is_some();
            let highest = list.last().map_or(-1, |ti| ti.map_index);
            let span = state.spans[task as usize];
            if highest < 0 {
                if let Some(only) = list.pop() {
                    state.tis[span.first as usize] = only;
                }
                continue;
            }
            let mut placed: BTreeMap<i32, Ti> = list.into_iter().map(|ti| (ti.map_index, ti)).collect();
            placed.remove(&-1);
            let retries = plan.model(task).retries;
            let len = highest as u32 + 1;
            let first = if len == 1 { span.first } else { state.tis.len() as TiIdx };
            if len > 1 {
                let dead = &mut state.tis[span.first as usize];
                (dead.state, dead.stored, dead.flags) = (TaskState::Removed, TaskState::Removed, flag::DEAD);
            }
            for index in 0..len as i32 {
                let ti = placed.remove(&index).unwrap_or_else(|| Ti::new(task, index, retries));
                if len == 1 {
                    state.tis[first as usize] = ti;
                } else {
                    state.tis.push(ti);
                }
            }
            let (first_unit, units) = if grouped && len > 1 {
                let first_unit = state.units.len() as u32;
                state.units.extend(std::iter::repeat_n(Unit::default(), len as usize));
                (first_unit, len)
            } else {
                (span.first_unit, 1)
            };
            state.spans[task as usize] = Span { first, len, first_unit, units, expanded: true };
        }
        let alive = || state.tis.iter().filter(|ti| !ti.has(flag::DEAD));
        state.unfinished = alive().filter(|ti| !ti.state.is_finished()).count() as u32;
        state.moving =
            alive().filter(|ti| !ti.state.is_finished() && ti.state != TaskState::None).count() as u32;
        state.failed_leaves = alive()
            .filter(|ti| plan.tasks[ti.task as usize].leaf)
            .filter(|ti| matches!(ti.state, TaskState::Failed | TaskState::UpstreamFailed))
            .count() as u32;
        self.count_everything(run);
        if !self.run(run).row.state.is_finished() {
            self.expand_literals(run);
        }
    }

    /// Queues, timers, slots and questions of a restored run.
    fn set_in_motion(&mut self, run: RunIdx) {
        for ti in 0..self.run(run).tis.len() as TiIdx {
            let at = TiRef { run, ti };
            let state = self.run(run).tis[ti as usize].state;
            if self.run(run).tis[ti as usize].has(flag::DEAD) {
                continue;
            }
            let task = self.run(run).tis[ti as usize].task;
            let in_engine = self.run(run).plan.tasks[task as usize].engine.is_some();
            if state.holds_slots() && !in_engine {
                let lane = self.lane_of(at);
                let ticket = self.queue.take(lane);
                let run = self.run_mut(run);
                run.active += 1;
                run.tis[ti as usize].live().ticket = Some(ticket);
            }
            if state.is_active() {
                self.count_restored(run, task);
            }
            if state == TaskState::Deferred {
                let row = self.run(run);
                let (tenant, model) = (row.row.tenant, row.plan.model(task));
                let (pool, slots) = (model.pool.clone(), i64::from(model.pool_slots));
                self.queue.count_deferred(tenant, &pool, slots);
            }
            let wake = self.run(run).tis[ti as usize].live.as_ref().and_then(|live| live.wake_at);
            if let Some(wake) = wake {
                let seq = self.run(run).seq;
                self.at(wake, Timer::Ti { at, seq });
            } else if matches!(state, TaskState::UpForRetry | TaskState::UpForReschedule) {
                self.run_mut(run).tis[ti as usize].set(flag::DUE);
            }
            if state.holds_slots() {
                self.hand_over_again(at);
            }
        }
        for ti in 0..self.run(run).tis.len() as TiIdx {
            if self.run(run).tis[ti as usize].state == TaskState::Scheduled {
                let at = TiRef { run, ti };
                let task = self.run(run).tis[ti as usize].task;
                if self.run(run).plan.tasks[task as usize].engine.is_some() {
                    self.run_in_engine(at);
                } else {
                    self.enqueue(at);
                }
            }
        }
        let state = self.run(run);
        let (dag, created) = (state.dag, state.row.created_tasks);
        match state.row.state {
            RunState::Queued => self.queue_run(run),
            RunState::Running => {
                let (backfill, tenant) = (state.row.backfill, state.row.tenant);
                match backfill {
                    None => {
                        self.dags[dag as usize].running += 1;
                        self.dags[dag as usize].active += 1;
                    }
                    Some((id, _)) => self.count_backfill(tenant, id, 1),
                }
                self.set_run_timers(run);
                if (created as usize) < self.run(run).plan.tasks.len() {
                    self.push_work(run, RunWork::Create { next: created });
                }
                for task in 0..self.run(run).plan.tasks.len() as TaskIdx {
                    if self.run(run).plan.tasks[task as usize].mapped {
                        self.push_work(run, RunWork::Expand { task });
                    }
                }
                self.push_work(run, RunWork::Everything { next: 0 });
            }
            RunState::Success | RunState::Failed => {}
        }
    }

    fn count_restored(&mut self, run: RunIdx, task: TaskIdx) {
        let model = self.model_of(run, task);
        let (of_dag, of_run, name) =
            (model.max_active.is_some(), model.max_active_per_run.is_some(), model.task_id.clone());
        if of_run {
            self.run_mut(run).limited.entry(task).or_default().active += 1;
        }
        if of_dag {
            let dag = self.run(run).dag as usize;
            self.dags[dag].limited.entry(name).or_default().active += 1;
        }
    }
}

fn ti_of(task: TaskIdx, row: &TaskRow) -> Ti {
    Ti {
        task,
        map_index: row.map_index,
        state: row.state,
        stored: row.state,
        flags: flag::STORED,
        preempted: row.preempted as u8,
        try_number: row.try_number,
        max_tries: row.max_tries,
        dispatch_n: row.dispatch_n,
        live: Some(Box::new(Live {
            scheduled_at: row.scheduled_at,
            queued_at: row.queued_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            wake_at: row.wake_at,
            executor: row.executor.clone(),
            reason: row.reason.clone(),
            exit_code: row.exit_code,
            mapped_length: row.mapped_length,
            skips: row.skips.clone(),
            marked_by: row.marked_by.clone(),
            ticket: None,
            seq: 0,
            members_done: 0,
        })),
    }
}
