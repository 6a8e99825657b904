//! Counting everything afresh: what must hold between any two calls. The simulator asks after each step.

use std::collections::{BTreeMap, BTreeSet};

use dags::ids::{AttemptId, DispatchId, ExecutorName};

use crate::{
    engine::Engine,
    plan::TaskIdx,
    queue::{Pending, Ticket},
    run::{Run, RunIdx, TiRef, flag},
    state::{RunState, TaskState},
};

/// How far a limit is used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usage {
    /// What is limited.
    pub what: String,
    /// How much of it is taken.
    pub used: i64,
    /// How much there is; none for no limit.
    pub limit: Option<i64>,
}

/// What a run ought to say about itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    unfinished: u32,
    moving: u32,
    failed_leaves: u32,
    active: u32,
}

macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

impl Engine {
    /// Recounts what the engine keeps count of. Costs a walk over everything in memory.
    ///
    /// Says in a sentence what differs.
    pub fn check(&self) -> Result<(), String> {
        let mut tickets: Vec<Ticket> = self.ending.values().filter_map(|ending| ending.ticket).collect();
        let mut lanes: BTreeMap<u32, BTreeSet<Pending>> = BTreeMap::new();
        for (index, run) in self.runs.iter().enumerate() {
            let Some(run) = run.as_deref() else { continue };
            self.check_run(index as RunIdx, run).map_err(|why| format!("run {}: {why}", run.row.run_name))?;
            tickets.extend(run.tis.iter().filter_map(|ti| ti.live.as_ref().and_then(|live| live.ticket)));
            for pending in &run.window {
                let task = run.tis[pending.at.ti as usize].task;
                lanes.entry(run.lanes[task as usize]).or_default().insert(*pending);
            }
        }
        self.check_attempts()?;
        self.check_dags()?;
        self.check_queue(&tickets, &lanes)
    }

    fn check_run(&self, index: RunIdx, run: &Run) -> Result<(), String> {
        let plan = &run.plan;
        let mut sums = Sums::default();
        for task in 0..plan.tasks.len() as TaskIdx {
            let span = run.spans[task as usize];
            let name = &plan.model(task).task_id;
            ensure!(
                span.units == 1 || span.units == span.len,
                "`{name}` has {} units for {}",
                span.units,
                span.len
            );
            for unit in span.first_unit..span.first_unit + span.units {
                let (known, fresh) = (run.units[unit as usize], run.surroundings(task, unit));
                ensure!(
                    known == fresh,
                    "unit {} of `{name}` counts {known:?}, it is {fresh:?}",
                    unit - span.first_unit
                );
            }
            for ti in run.instances(task) {
                let it = &run.tis[ti as usize];
                ensure!(
                    it.task == task && !it.has(flag::DEAD),
                    "an instance of `{name}` lies in the wrong place"
                );
                let at = TiRef { run: index, ti };
                self.check_instance(at, run)
                    .map_err(|why| format!("{name}[{}] {}: {why}", it.map_index, it.state))?;
                sums.unfinished += u32::from(!it.state.is_finished());
                let failed = matches!(it.state, TaskState::Failed | TaskState::UpstreamFailed);
                sums.failed_leaves += u32::from(failed && plan.tasks[task as usize].leaf);
                let moving = !it.state.is_finished() && it.state != TaskState::None || it.has(flag::ASKING);
                sums.moving += u32::from(moving);
                sums.active += u32::from(it.live.as_ref().is_some_and(|live| live.ticket.is_some()));
            }
        }
        let Run { unfinished, moving, failed_leaves, active, .. } = *run;
        let known = Sums { unfinished, moving, failed_leaves, active };
        ensure!(known == sums, "it counts {known:?}, it is {sums:?}");
        let most = plan.dag().max_active_tasks;
        let taken = active + run.window.len() as u32;
        ensure!(
            taken <= most.max(active),
            "{active} active and {} in the queue, of {most}",
            run.window.len()
        );
        let halted = self.dags[run.dag as usize].halted();
        ensure!(
            halted || run.parked.is_empty() || taken >= most,
            "{} wait though there is room",
            run.parked.len()
        );
        ensure!(!halted || run.window.is_empty(), "its DAG stands still and it is in the queue");
        Ok(())
    }

    fn check_instance(&self, at: TiRef, run: &Run) -> Result<(), String> {
        let ti = &run.tis[at.ti as usize];
        let (plan, state) = (&run.plan.tasks[ti.task as usize], ti.state);
        let model = run.plan.model(ti.task);
        let ticket = ti.live.as_ref().and_then(|live| live.ticket);
        let in_engine = plan.engine.is_some();
        ensure!(ticket.is_some() == (state.holds_slots() && !in_engine), "its slots are {ticket:?}");
        ensure!(
            !ti.has(flag::DIRTY) || run.dirty_tis.contains(&at.ti),
            "it is marked as changed and isn't listed"
        );
        ensure!(ti.has(flag::DIRTY) || ti.stored == state, "its change of state isn't listed");
        let pending = [&run.window, &run.parked]
            .into_iter()
            .chain(run.limited.get(&ti.task).map(|limited| &limited.parked))
            .chain(self.dags[run.dag as usize].limited.get(&model.task_id).map(|limited| &limited.parked));
        let places = pending.map(|set| set.iter().filter(|pending| pending.at == at).count()).sum::<usize>();
        let waits = usize::from(state == TaskState::Scheduled);
        ensure!(
            places == waits && ti.has(flag::PENDING) == (waits == 1),
            "it waits for admission in {places} places"
        );
        if state.holds_slots() || ti.has(flag::ASKING) {
            let tries = ti.try_number + u32::from(ti.has(flag::ASKING));
            let attempt = AttemptId::derive(run.row.run, &model.task_id, ti.map_index, tries);
            let n = if ti.has(flag::ASKING) { 0 } else { ti.dispatch_n };
            let known = self.attempts.get(&attempt).is_some_and(|holder| holder.at == at && holder.n == n);
            ensure!(known, "its dispatch isn't known");
        }
        let sleeps = match state {
            TaskState::UpForRetry | TaskState::UpForReschedule => !ti.has(flag::DUE),
            TaskState::Deferred => true,
            _ => false,
        };
        if sleeps {
            let wake = ti.live.as_ref().and_then(|live| live.wake_at);
            ensure!(wake.is_some(), "it sleeps without end");
        }
        Ok(())
    }

    fn check_attempts(&self) -> Result<(), String> {
        for (attempt, holder) in &self.attempts {
            let run = self.runs.get(holder.at.run as usize).and_then(Option::as_deref);
            let ti = run.and_then(|run| run.tis.get(holder.at.ti as usize));
            let current = ti.is_some_and(|ti| ti.state.holds_slots() || ti.has(flag::ASKING));
            ensure!(current, "attempt {attempt} is kept and isn't current");
        }
        Ok(())
    }

    fn check_dags(&self) -> Result<(), String> {
        for (index, dag) in self.dags.iter().enumerate() {
            let name = &dag.row.dag_id;
            let of = |run: &&Run| run.dag as usize == index;
            let runs: Vec<&Run> = self.runs.iter().filter_map(Option::as_deref).filter(of).collect();
            ensure!(runs.len() == dag.runs.len(), "`{name}` lists {} runs of {}", dag.runs.len(), runs.len());
            let normal = |state| {
                runs.iter().filter(|r| r.row.state == state && r.row.backfill.is_none()).count() as u32
            };
            let (queued, running) = (normal(RunState::Queued), normal(RunState::Running));
            ensure!(dag.running == running, "`{name}` counts {} running runs of {running}", dag.running);
            ensure!(
                dag.active == queued + running,
                "`{name}` counts {} active runs of {}",
                dag.active,
                queued + running
            );
            let line = runs.iter().filter(|run| run.row.state == RunState::Queued).count();
            ensure!(dag.queued.len() == line, "`{name}` has {} runs in line, not {line}", dag.queued.len());
            for (task, limited) in &dag.limited {
                let mut active = 0;
                for run in &runs {
                    let Some(task) = run.plan.find(task).filter(|t| run.plan.model(*t).max_active.is_some())
                    else {
                        continue;
                    };
                    active += run.instances(task).filter(|ti| run.tis[*ti as usize].state.is_active()).count()
                        as u32;
                }
                ensure!(
                    limited.active == active,
                    "`{name}`.`{task}` counts {} active of {active}",
                    limited.active
                );
            }
        }
        Ok(())
    }

    fn check_queue(
        &self,
        tickets: &[Ticket],
        lanes: &BTreeMap<u32, BTreeSet<Pending>>,
    ) -> Result<(), String> {
        let queue = &self.queue;
        let none = BTreeSet::new();
        for (index, lane) in queue.lanes.iter().enumerate() {
            let known = lanes.get(&(index as u32)).unwrap_or(&none);
            ensure!(lane.pending == *known, "lane {index} holds {:?}, not {known:?}", lane.pending);
        }
        let keys: Vec<_> = tickets.iter().map(|ticket| &queue.lanes[ticket.lane as usize].key).collect();
        for (index, pool) in queue.pools.iter().enumerate() {
            let used: i64 =
                keys.iter().filter(|k| k.pool as usize == index).map(|k| i64::from(k.slots)).sum();
            ensure!(pool.used == used, "pool `{}` counts {} slots of {used}", pool.name, pool.used);
        }
        for (index, executor) in queue.executors.iter().enumerate() {
            let used: u32 = keys.iter().filter(|k| k.executor as usize == index).map(|k| k.members).sum();
            ensure!(executor.used == used, "executor `{}` counts {} of {used}", executor.name, executor.used);
            if let Some(fleet) = &executor.fleet {
                let placed = fleet.members_placed();
                // What a lost worker held is dealt with bit by bit, and so is what the resource pool admits.
                let held = used + queue.members_admitted(index as u32);
                ensure!(placed <= held, "the workers of `{}` count {placed} of {held}", executor.name);
            }
        }
        if let Some(sharing) = queue.sharing.as_deref().filter(|sharing| !sharing.stale) {
            sharing.pool.check();
            let waits: BTreeSet<TiRef> = lanes.values().flatten().map(|pending| pending.at).collect();
            ensure!(
                sharing.waiting.keys().copied().collect::<BTreeSet<_>>() == waits,
                "the pool knows of others that wait"
            );
            let known = tickets.iter().all(|ticket| sharing.pool.is_held(ticket.work));
            ensure!(known, "something is held that the pool doesn't know");
            let all = waits.len() + tickets.len();
            ensure!(sharing.works.len() == all, "the pool knows {} of {all}", sharing.works.len());
        }
        for (index, tenant) in queue.tenants.iter().enumerate() {
            let of = |key: &&&crate::queue::LaneKey| key.tenant as usize == index;
            let used: u64 = keys.iter().filter(of).map(|k| u64::from(k.slots.max(1))).sum();
            ensure!(tenant.used == used, "tenant {} counts {} of {used}", tenant.id, tenant.used);
            let waits = queue.ready.contains(&(tenant.used, index as u32));
            ensure!(
                waits != tenant.lanes.is_empty(),
                "tenant {} is in line and has nothing waiting, or the reverse",
                tenant.id
            );
        }
        Ok(())
    }

    /// How far every limit is used.
    pub fn usage(&self) -> Vec<Usage> {
        let mut usage = Vec::new();
        for pool in &self.queue.pools {
            let limit = match &pool.row {
                Some(row) if row.slots < 0 => None,
                Some(row) => Some(i64::from(row.slots)),
                None => Some(0),
            };
            // What is deferred counts at admission, but nobody is turned away for it: it holds no slot before.
            usage.push(Usage { what: format!("pool {}/{}", pool.tenant, pool.name), used: pool.used, limit });
        }
        for executor in &self.queue.executors {
            let limit = Some(i64::from(executor.slots.unwrap_or(0)));
            usage.push(Usage {
                what: format!("executor {}", executor.name),
                used: i64::from(executor.used),
                limit,
            });
        }
        let sharing = self.queue.sharing.as_deref().filter(|sharing| !sharing.stale);
        for node in sharing.map(|sharing| sharing.pool.figures()).unwrap_or_default() {
            usage.extend(node.amounts.into_iter().map(|of| Usage {
                what: format!("quota of {}: {} {}", node.id, of.flavor, of.resource),
                used: of.used,
                limit: of.limit,
            }));
        }
        for dag in &self.dags {
            let (what, most) =
                (format!("runs of {}/{}", dag.row.tenant, dag.row.dag_id), dag.plan.dag().max_active_runs);
            usage.push(Usage { what, used: i64::from(dag.running), limit: Some(i64::from(most)) });
        }
        for run in self.runs.iter().flatten() {
            let limit = |task: TaskIdx| run.plan.model(task).max_active_per_run.map(i64::from);
            for task in (0..run.plan.tasks.len() as TaskIdx).filter(|task| limit(*task).is_some()) {
                let holds =
                    |ti: &u32| run.tis[*ti as usize].live.as_ref().is_some_and(|live| live.ticket.is_some());
                let used = run.instances(task).filter(holds).count() as i64;
                let what = format!("task {}/{}", run.row.run, run.plan.model(task).task_id);
                usage.push(Usage { what, used, limit: limit(task) });
            }
        }
        usage
    }

    /// Whether something that an executor runs is known to run: as a current dispatch, or as one that is being ended.
    pub fn accounts_for(&self, id: DispatchId) -> bool {
        self.ending.contains_key(&id) || self.attempts.get(&id.attempt).is_some_and(|holder| holder.n == id.n)
    }

    /// What two engines have in common if they mean the same, a line for each fact, in order.
    pub fn digest(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for run in self.runs.iter().flatten() {
            let row = &run.row;
            lines.push(format!(
                "run {} {} {} {} {:?} {:?} {} {} {:?}",
                row.run,
                row.dag_id,
                row.run_name,
                row.state,
                row.started_at,
                row.ended_at,
                row.created_tasks,
                row.clear_number,
                row.backfill
            ));
            lines.push(format!(
                "run {} {} {} {} {}",
                row.run, row.run_name, run.unfinished, run.moving, run.active
            ));
            for ti in run.tis.iter().filter(|ti| !ti.has(flag::DEAD)) {
                let live = ti.live.as_deref();
                let sleeps = live.and_then(|live| live.wake_at).filter(|_| !ti.has(flag::DUE));
                lines.push(format!(
                    "task {} {} {} {} {} {}/{} {} {:?} {:?} {:?} {:?}",
                    row.run,
                    row.run_name,
                    run.plan.model(ti.task).task_id,
                    ti.map_index,
                    ti.state,
                    ti.try_number,
                    ti.max_tries,
                    ti.dispatch_n,
                    sleeps,
                    live.and_then(|live| live.executor.as_ref()).filter(|_| ti.state.holds_slots()),
                    live.and_then(|live| live.mapped_length),
                    live.and_then(|live| live.skips.as_ref()),
                ));
            }
        }
        for dag in self.dags.iter().filter(|dag| !dag.deleted) {
            let row = &dag.row;
            lines.push(format!(
                "dag {} {} {} {} {} {}",
                row.dag_id, row.version, row.paused, row.stale, dag.running, dag.active
            ));
        }
        for pool in
            self.queue.pools.iter().filter(|pool| pool.row.is_some() || pool.used != 0 || pool.deferred != 0)
        {
            lines.push(format!(
                "pool {} {} {} {} {:?}",
                pool.tenant, pool.name, pool.used, pool.deferred, pool.row
            ));
        }
        for executor in self.queue.executors.iter().filter(|executor| executor.used != 0) {
            lines.push(format!("executor {} {}", executor.name, executor.used));
        }
        lines.extend(self.queue.sharing.iter().flat_map(|sharing| sharing.promises()));
        let holds = self.ending.iter().filter(|(_, ending)| ending.ticket.is_some());
        lines.extend(holds.map(|(id, _)| format!("ending {id}")));
        lines.extend(self.backfills.values().map(|b| format!("backfill {:?} {}", b.row, b.running)));
        lines.sort();
        lines
    }

    /// Whether nothing is under way: no work, nothing to store, no run being read.
    pub fn is_quiet(&self) -> bool {
        !self.has_work() && !self.has_changes() && self.awaited.is_empty() && self.loads.is_empty()
    }

    /// Whether it waits to hear if a task's `when` holds. Built again from what is stored it wouldn't ask if the task's
    /// upstream was cleared meanwhile.
    pub fn asks_about_when(&self) -> bool {
        self.attempts.values().any(|holder| holder.n == 0)
    }

    /// What every executor may run at once.
    pub fn executor_slots(&self) -> Vec<(ExecutorName, Option<u32>)> {
        self.queue.executors.iter().map(|executor| (executor.name.clone(), executor.slots)).collect()
    }

    /// Whether every run has ended or waits for something that only a person, an earlier run or the calendar brings.
    pub fn all_ended_or_blocked(&self) -> bool {
        let may_wait = |run: &Run| {
            let dag = &self.dags[run.dag as usize];
            let later = run.row.run_after > self.now;
            let full = dag.running >= dag.plan.dag().max_active_runs;
            // What was cleared while it ran waits for those above it before it is tried again.
            let sleeps = |ti: &crate::run::Ti| ti.live.as_ref().and_then(|live| live.wake_at).is_some();
            let moves = |ti: &crate::run::Ti| match ti.state {
                _ if ti.has(flag::DEAD) => false,
                TaskState::None => ti.has(flag::ASKING),
                TaskState::UpForRetry => sleeps(ti),
                state => !state.is_finished(),
            };
            let past = |ti: &crate::run::Ti| ti.state == TaskState::None && ti.has(flag::WAITS_FOR_PAST);
            match run.row.state {
                _ if dag.halted() => run.active == 0,
                RunState::Queued => later || full || run.row.backfill.is_some(),
                RunState::Running => run.tis.iter().all(|ti| !moves(ti)) && run.tis.iter().any(past),
                RunState::Success | RunState::Failed => run.unfinished == 0,
            }
        };
        self.ending.is_empty() && self.runs.iter().flatten().all(|run| may_wait(run))
    }

    /// What isn't over, for people who look into a history that doesn't end: a line for each unfinished instance.
    pub fn open_ends(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for run in self.runs.iter().flatten() {
            let head = format!("{} {} {}", run.row.dag_id, run.row.run_name, run.row.state);
            lines.push(format!(
                "{head}: {} unfinished, {} moving, work {:?}, past {:?}",
                run.unfinished, run.moving, run.work, run.past
            ));
            for ti in run.tis.iter().filter(|ti| !ti.has(flag::DEAD) && !ti.state.is_finished()) {
                let wake = ti.live.as_ref().and_then(|live| live.wake_at);
                let name = &run.plan.model(ti.task).task_id;
                lines.push(format!(
                    "{head}: {name}[{}] {} flags {:08b} wake {wake:?}",
                    ti.map_index, ti.state, ti.flags
                ));
            }
        }
        lines
    }
}
