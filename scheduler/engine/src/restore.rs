//! Building the engine from what is stored: counters, queues and timers follow from rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dags::ids::{BundleId, DispatchId, RunId};

use serde::Deserialize as _;

use crate::{
    command::Refusal,
    ending::StoredEnding,
    engine::{Config, Engine, Timer},
    format,
    plan::{Plan, TaskIdx},
    quarantine::fits,
    quota::StoredSharing,
    rows::{Broken, CONTINUATION_FORMAT, Changed, ContinuationRow, MemberRow, RunRow, Snapshot, TaskRow},
    run::{Live, RunIdx, Span, Ti, TiIdx, TiRef, Unit, flag},
    state::{RunState, TaskState},
    transition::Event,
    watch::StoredWatch,
    work::{Bulk, RunWork},
};

/// Work to continue, as it is stored.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
enum Continuation {
    Ending { ending: StoredEnding },
    Watch { watch: StoredWatch },
    Sharing { sharing: StoredSharing },
    Bulk { run: RunId, bulk: Bulk },
}

impl Engine {
    /// The engine as it was when the last batch was committed, but for effects: those are all asked for again.
    ///
    /// What can't be worked with is quarantined. Refused if work to continue has a format that this release doesn't know.
    pub fn restore(config: Config, snapshot: Snapshot) -> Result<Self, Refusal> {
        let mut engine = Self::new(config);
        // Names and ids made of instants differ between batches, also across a restart.
        engine.now = snapshot.now.after(dags::time::Span(1));
        engine.queue.now = engine.now;
        engine.queue.quotas = snapshot.quotas.into_iter().map(|row| (row.node.clone(), row)).collect();
        engine.suspended = snapshot.suspended;
        engine.active_bundles = snapshot.active_bundles;
        engine.last_backfill = snapshot.last_backfill;
        for row in snapshot.pools {
            let pool = engine.queue.pool_mut(row.tenant, &row.name);
            pool.row = Some(row);
        }
        engine.unreadable_pools = snapshot.unreadable_pools;
        engine.unreadable_backfills = snapshot.unreadable_backfills;
        let mut left_alone = snapshot.left_alone;
        engine.quarantined_dags = snapshot.quarantined_dags;
        let missing =
            |version: &dags::ids::DagVersion| format!("the model of its version {version} isn't stored");
        for broken in snapshot.broken {
            left_alone.extend(broken.subject.run());
            engine.quarantine(broken);
        }
        for row in snapshot.dags {
            let Some(model) = snapshot.versions.get(&row.version) else {
                let why = missing(&row.version);
                engine.quarantine(Broken::dag(row.tenant, row.dag_id, why));
                continue;
            };
            let plan = engine.plan(&row.version, model);
            engine.insert_dag(row, plan);
        }
        for row in snapshot.pending_assets {
            if let Some(dag) = engine.find_dag(row.tenant, &row.dag_id) {
                engine.restore_pending(dag, row.asset, row.at);
            }
        }
        for row in snapshot.backfills {
            let state = crate::backfill::State { row, running: 0, looking: false };
            engine.backfills.insert((state.row.tenant, state.row.id), state);
        }
        let mut members: BTreeMap<RunId, Vec<MemberRow>> = BTreeMap::new();
        for row in snapshot.members {
            members.entry(row.run).or_default().push(row);
        }
        let mut work = Vec::with_capacity(snapshot.continuations.len());
        let mut unreadable: BTreeMap<RunId, String> = BTreeMap::new();
        for row in snapshot.continuations {
            engine.next_continuation = engine.next_continuation.max(row.id + 1);
            match read(row) {
                Ok(known) => work.extend(known),
                Err(Unreadable { run: Some(run), why }) => drop(unreadable.insert(run, why.message)),
                Err(Unreadable { run: None, why }) => return Err(why),
            }
        }
        let mut runs: BTreeMap<RunId, RunIdx> = BTreeMap::new();
        for (row, tasks) in snapshot.runs {
            let id = row.run;
            // Unless it gets into memory.
            left_alone.insert(id);
            let broken = |why: String| Broken::run(row.tenant, id, Some(row.dag_id.clone()), why);
            let Some(dag) = engine.find_dag(row.tenant, &row.dag_id) else {
                // A run of a quarantined DAG is left alone with it.
                if !engine.quarantined_dags.contains_key(&(row.tenant, row.dag_id.clone())) {
                    let why = format!("it belongs to the DAG `{}`, which isn't there", row.dag_id);
                    engine.quarantine(broken(why));
                }
                continue;
            };
            let Some(model) = snapshot.versions.get(&row.version) else {
                engine.quarantine(broken(missing(&row.version)));
                continue;
            };
            let plan = engine.plan(&row.version, model);
            if let Some(why) = unreadable.remove(&id) {
                engine.quarantine(broken(why));
                continue;
            }
            if let Err(why) = fits(&plan, &row, &tasks, engine.config.map_length_max) {
                engine.quarantine(broken(why));
                continue;
            }
            let members = members.remove(&id).unwrap_or_default();
            left_alone.remove(&id);
            runs.insert(id, engine.restore_run(dag, plan, row, tasks, members));
        }
        engine.inputs = snapshot.inputs.into_iter().map(|row| (row.attempt, row)).collect();
        let mut sharing = None;
        for (id, work) in work {
            engine.restore_continuation(id, work, &runs, &left_alone, &mut sharing);
        }
        if let Some((_, stored)) = &sharing {
            engine.end_for_others_again(stored);
        }
        engine.build_sharing(sharing);
        for dag in 0..engine.dags.len() as u32 {
            engine.keep_plan(dag);
            engine.dag_work(dag);
        }
        for (tenant, id) in engine.backfills.keys().copied().collect::<Vec<_>>() {
            engine.look_at_backfill(tenant, id);
        }
        Ok(engine)
    }

    fn restore_continuation(
        &mut self,
        id: i64,
        work: Continuation,
        runs: &BTreeMap<RunId, RunIdx>,
        left_alone: &BTreeSet<RunId>,
        sharing: &mut Option<(i64, StoredSharing)>,
    ) {
        match work {
            Continuation::Ending { ending } => self.restore_ending(id, ending),
            Continuation::Sharing { sharing: stored } => *sharing = Some((id, stored)),
            Continuation::Watch { watch } => {
                let kept = left_alone.contains(&watch.run);
                self.restore_watch(runs.get(&watch.run).copied(), kept, id, watch);
            }
            Continuation::Bulk { run, bulk } => match runs.get(&run) {
                Some(run) => self.push_work(*run, RunWork::Bulk(bulk)),
                // If it is released, its work goes on.
                None if left_alone.contains(&run) => {}
                None => drop(self.out.continuations.insert(id, ContinuationRow::done(id))),
            },
        }
    }

    /// Puts a stored run into memory, and everything about it in motion.
    pub(crate) fn restore_run(
        &mut self,
        dag: u32,
        plan: Arc<Plan>,
        row: RunRow,
        tasks: Vec<TaskRow>,
        members: Vec<MemberRow>,
    ) -> RunIdx {
        let mut by_task: BTreeMap<TaskIdx, Vec<Ti>> = BTreeMap::new();
        let mut gone = Vec::new();
        for task in tasks {
            match place_in(&plan, &task.task, task.map_index) {
                Some(index) => by_task.entry(index).or_default().push(ti_of(index, &task)),
                None => gone.push(task),
            }
        }
        let run = self.insert_run(dag, plan, row, true);
        self.run_mut(run).gone = gone;
        self.assemble(run, by_task);
        for member in members {
            let state = self.run(run);
            let Some(task) = place_in(&state.plan, &member.task, member.map_index) else { continue };
            let found =
                state.instances(task).find(|ti| state.tis[*ti as usize].map_index == member.map_index);
            if let Some(ti) = found {
                self.restore_member(TiRef { run, ti }, member);
            }
        }
        self.set_in_motion(run);
        run
    }

    /// Moves a run, none of whose instances holds slots, to another version of its DAG. Instances keep their states; those
    /// of tasks that are gone are removed, those of tasks that are back start anew.
    pub(crate) fn rebuild_run(&mut self, run: RunIdx, plan: Arc<Plan>, bundle: BundleId) {
        for ti in 0..self.run(run).tis.len() as TiIdx {
            let at = TiRef { run, ti };
            self.dequeue(at);
            self.close_question(at);
            let it = &self.run(run).tis[ti as usize];
            let name = &self.run(run).plan.model(it.task).task_id;
            if !it.has(flag::DEAD) && place_in(&plan, name, it.map_index).is_none() {
                let reason = "it isn't in the version that the run was moved to";
                self.apply(at, Event::Remove, Some(reason.into()));
            } else {
                self.take_out(at);
            }
        }
        self.run_mut(run).flush_steps();
        let mut by_task: BTreeMap<TaskIdx, Vec<Ti>> = BTreeMap::new();
        let tis = std::mem::take(&mut self.run_mut(run).tis);
        let mut old = self.runs[run as usize].take().expect("invariant: the run was just used");
        let mut gone = Vec::new();
        for mut ti in tis.into_iter().filter(|ti| !ti.has(flag::DEAD)) {
            if let Some(index) = place_in(&plan, &old.plan.model(ti.task).task_id, ti.map_index) {
                ti.task = index;
                by_task.entry(index).or_default().push(ti);
                continue;
            }
            let row = crate::apply::task_row(&old, &ti);
            if !ti.has(flag::STORED) {
                self.out.removed_new_tasks.push(row.clone());
            } else if ti.has(flag::DIRTY) {
                self.out.removed_tasks.push(Changed { before: ti.stored, row: row.clone() });
            }
            gone.push(row);
        }
        let mut back = Vec::new();
        for row in std::mem::take(&mut old.gone) {
            match place_in(&plan, &row.task, row.map_index) {
                Some(index) => {
                    by_task.entry(index).or_default().push(ti_of(index, &row));
                    back.push((index, row.map_index));
                }
                None => gone.push(row),
            }
        }
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
        fresh.renamed = old.renamed;
        fresh.gone = gone;
        fresh.followers = old.followers;
        fresh.generation = old.generation + 1;
        fresh.has_work = old.has_work;
        // Everything else is found again by looking at everything.
        fresh.work = old.work.into_iter().filter(|work| matches!(work, RunWork::Bulk(_))).collect();
        self.assemble(run, by_task);
        let dirty: Vec<TiIdx> = (0..self.run(run).tis.len() as TiIdx)
            .filter(|ti| self.run(run).tis[*ti as usize].has(flag::DIRTY))
            .collect();
        self.run_mut(run).dirty_tis = dirty;
        for ti in 0..self.run(run).tis.len() as TiIdx {
            let it = &self.run(run).tis[ti as usize];
            if it.has(flag::DEAD) {
                continue;
            }
            let at = TiRef { run, ti };
            if it.state == TaskState::Removed && back.contains(&(it.task, it.map_index)) {
                self.apply(at, Event::Clear, None);
            }
            let it = &self.run(run).tis[ti as usize];
            let retries = self.model_of(run, it.task).retries;
            if it.try_number == 0 && it.max_tries != retries {
                let stored = it.has(flag::STORED);
                self.run_mut(run).tis[ti as usize].max_tries = retries;
                if stored {
                    self.touch(at);
                }
            }
            self.put_in(at);
        }
        self.touch_run(run);
        if self.run(run).row.state == RunState::Running {
            self.set_run_timers(run);
            self.look_again(run);
        } else {
            self.expand_again(run);
        }
    }

    /// Takes an instance out of all that refers to its place, its plan or its pool.
    fn take_out(&mut self, at: TiRef) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        let (task, state) = (ti.task, ti.state);
        self.count_limits(at.run, task, state, TaskState::None);
        self.count_waiting(at, -1);
    }

    /// Counts an instance that waits without running.
    fn count_waiting(&mut self, at: TiRef, sign: i64) {
        let run = self.run(at.run);
        let ti = &run.tis[at.ti as usize];
        if ti.state == TaskState::Deferred {
            let (tenant, model) = (run.row.tenant, run.plan.model(ti.task));
            let (pool, slots) = (model.pool.clone(), i64::from(model.pool_slots));
            self.queue.count_deferred(tenant, &pool, sign * slots);
        }
    }

    /// The reverse of `take_out`, for an instance of a run that came into memory.
    fn put_in(&mut self, at: TiRef) {
        let ti = &self.run(at.run).tis[at.ti as usize];
        let (task, state, due) = (ti.task, ti.state, ti.has(flag::DUE));
        let wake = ti.live.as_ref().and_then(|live| live.wake_at);
        if state.is_active() {
            self.count_restored(at.run, task);
        }
        self.count_waiting(at, 1);
        if let (Some(wake), false) = (wake, due) {
            let seq = self.run(at.run).seq;
            self.at(wake, Timer::Ti { at, seq });
        } else if matches!(state, TaskState::UpForRetry | TaskState::UpForReschedule) {
            self.run_mut(at.run).tis[at.ti as usize].set(flag::DUE);
        }
        if state == TaskState::Scheduled {
            self.go_on(at);
        }
    }

    /// Looks at everything in a running run that nobody may have looked at.
    fn look_again(&mut self, run: RunIdx) {
        let created = self.run(run).row.created_tasks;
        if (created as usize) < self.run(run).plan.tasks.len() {
            self.push_work(run, RunWork::Create { next: created });
        }
        self.expand_again(run);
        self.push_work(run, RunWork::Everything { next: 0 });
    }

    /// Not all instances of a task may have been stored.
    fn expand_again(&mut self, run: RunIdx) {
        for task in 0..self.run(run).plan.tasks.len() as TaskIdx {
            if self.run(run).plan.tasks[task as usize].mapped {
                self.push_work(run, RunWork::Expand { task });
            }
        }
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
            if placed.remove(&-1).is_some_and(|ti| ti.has(flag::STORED)) {
                state.renamed.push(plan.model(task).task_id.clone());
            }
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
                let ticket = self.queue.take(lane, 0);
                let ti = &self.run(run).tis[ti as usize];
                let (n, worker) = (ti.dispatch_n, ti.live.as_ref().and_then(|live| live.worker));
                if worker.is_some() {
                    let id = DispatchId { attempt: self.attempt_id(at), n };
                    self.queue.place(lane, id, worker, self.now);
                }
                let ti = at.ti;
                let run = self.run_mut(run);
                run.active += 1;
                run.tis[ti as usize].live().ticket = Some(ticket);
            }
            if state.holds_slots() {
                self.hand_over_again(at);
            }
        }
        // Only now is it known how many are active.
        for ti in 0..self.run(run).tis.len() as TiIdx {
            if !self.run(run).tis[ti as usize].has(flag::DEAD) {
                self.put_in(TiRef { run, ti });
            }
        }
        let state = self.run(run);
        let dag = state.dag;
        match state.row.state {
            RunState::Queued => {
                self.queue_run(run);
                self.expand_again(run);
            }
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
                self.look_again(run);
            }
            // What is left of it is ended.
            RunState::Success | RunState::Failed => self.push_work(run, RunWork::Everything { next: 0 }),
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

/// Why a continuation can't be read, with the run that it is about if that much can be seen.
struct Unreadable {
    run: Option<RunId>,
    why: Refusal,
}

fn read(row: ContinuationRow) -> Result<Option<(i64, Continuation)>, Unreadable> {
    let ContinuationRow { id, format, work } = row;
    let refused = |why: String| Refusal::new("restore.continuation", format!("work {id}: {why}"));
    if let Err(unknown) = format::check(format, CONTINUATION_FORMAT) {
        return Err(Unreadable { run: None, why: refused(unknown.to_string()) });
    }
    let Some(work) = work else { return Ok(None) };
    let run = [&work["run"], &work["watch"]["run"]].into_iter().find_map(|run| RunId::deserialize(run).ok());
    match Continuation::deserialize(work) {
        Ok(work) => Ok(Some((id, work))),
        Err(why) => Err(Unreadable { run, why: refused(format!("it can't be read: {why}")) }),
    }
}

/// The task that an instance belongs to in a version; none if that version has no such instance.
fn place_in(plan: &Plan, name: &dags::ids::TaskId, map_index: i32) -> Option<TaskIdx> {
    plan.find(name).filter(|task| map_index == -1 || plan.tasks[*task as usize].mapped)
}

fn ti_of(task: TaskIdx, row: &TaskRow) -> Ti {
    Ti {
        task,
        map_index: row.map_index,
        state: row.state,
        stored: row.state,
        flags: flag::STORED,
        preempted: row.preempted as u8,
        requeued: row.requeued as u8,
        try_number: row.try_number,
        max_tries: row.max_tries,
        dispatch_n: row.dispatch_n,
        scheduled_at: row.scheduled_at,
        live: live_of(row).map(Box::new),
    }
}

/// What a row says beyond what every instance has; nothing for one that waits for its first admission.
fn live_of(row: &TaskRow) -> Option<Live> {
    let said = row.queued_at.is_some()
        || row.started_at.is_some()
        || row.ended_at.is_some()
        || row.wake_at.is_some()
        || row.executor.is_some()
        || row.host.is_some()
        || row.worker.is_some()
        || row.reason.is_some()
        || row.exit_code.is_some()
        || row.mapped_length.is_some()
        || row.skips.is_some()
        || row.marked_by.is_some();
    said.then(|| Live {
        queued_at: row.queued_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
        wake_at: row.wake_at,
        executor: row.executor.clone(),
        members: row.members,
        host: row.host.clone(),
        worker: row.worker,
        reason: row.reason.clone(),
        exit_code: row.exit_code,
        mapped_length: row.mapped_length,
        skips: row.skips.clone(),
        marked_by: row.marked_by.clone(),
        ticket: None,
        seq: 0,
        gang: None,
        taken_back: false,
        gives_way: None,
    })
}
