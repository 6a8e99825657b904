//! What must hold, seen from outside of the engine: in what is stored, what is handed over, and what runs.

use std::collections::{BTreeMap, BTreeSet};

use dags::{
    ids::{AttemptId, DispatchId, RunId, TaskId},
    model::{MapSource, Runner},
};
use engine::{
    Engine, Usage,
    dispatch::Dispatch,
    driver::Receipt,
    memory::{MemoryJournal, TaskKey},
    rows::{Batch, QuotaRow, TaskRow},
    state::{RunState, TaskState},
    transition::{Event, next},
};

use crate::{executor::Executor, world::Outcomes};

/// Remembered from step to step.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    usage: BTreeMap<String, Usage>,
    /// The quotas that the usage was seen with.
    quotas: Vec<QuotaRow>,
    /// The states that the history says instances have.
    told: BTreeMap<TaskKey, TaskState>,
    runs: BTreeMap<RunId, RunState>,
    /// What branches were told to leave out, by attempt; more than one answer if a second driver asked again.
    decided: BTreeMap<AttemptId, Vec<BTreeSet<TaskId>>>,
    /// How often an instance was cleared while it ran: each time it got one more try.
    restarts: BTreeMap<TaskKey, u32>,
}

/// What is looked up before a batch is written.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// For each run touched: the tasks that finished deciders skip, by decider.
    skips: BTreeMap<RunId, BTreeMap<TaskId, BTreeSet<TaskId>>>,
}

fn key(row: &TaskRow) -> TaskKey {
    (row.run, row.task.clone(), row.map_index)
}

/// Whether a task of index -1 decided against others, and which.
fn decision(row: &TaskRow) -> Option<BTreeSet<TaskId>> {
    let skips = row.skips.as_ref().filter(|_| row.state == TaskState::Success && row.map_index == -1)?;
    Some(skips.iter().cloned().collect())
}

impl Facts {
    /// A branch is told to leave these out.
    pub(crate) fn decided(&mut self, attempt: AttemptId, left_out: BTreeSet<TaskId>) {
        self.decided.entry(attempt).or_default().push(left_out);
    }

    pub(crate) fn new_owner(&mut self) {
        self.usage.clear();
    }

    /// No limit is exceeded but by what was there before it sank.
    pub(crate) fn usage(&mut self, engine: &Engine) -> Outcomes {
        let mut fresh = BTreeMap::new();
        let quotas: Vec<QuotaRow> = engine.quotas().cloned().collect();
        if quotas != self.quotas {
            // What a node has lent or borrowed counts elsewhere, though nobody was admitted.
            self.usage.retain(|what, _| !what.starts_with("quota of "));
            self.quotas = quotas;
        }
        for usage in engine.usage() {
            if let (Some(before), Some(limit)) = (self.usage.get(&usage.what), usage.limit) {
                let most = before.limit.map_or(i64::MAX, |before| before.max(limit));
                if usage.used > most && usage.used > before.used {
                    return Err(format!(
                        "{} rose from {} to {} of {limit}",
                        usage.what, before.used, usage.used
                    ));
                }
            }
            fresh.insert(usage.what.clone(), usage);
        }
        self.usage = fresh;
        Ok(())
    }

    /// What is handed over was committed.
    pub(crate) fn dispatched(dispatch: &Dispatch, store: &MemoryJournal) -> Outcomes {
        let key = (dispatch.run, dispatch.task_id.clone(), dispatch.map_index);
        let Some(row) = store.tasks.get(&key) else {
            // Its run was deleted since, which only a late driver can have missed.
            return if store.runs.contains_key(&dispatch.run) {
                Err(format!("{dispatch:?} has no row"))
            } else {
                Ok(())
            };
        };
        let newer = (row.try_number, row.dispatch_n) >= (dispatch.try_number, dispatch.id.n);
        let attempt = AttemptId::derive(row.run, &row.task, row.map_index, dispatch.try_number);
        if newer && attempt == dispatch.id.attempt {
            Ok(())
        } else {
            Err(format!("{dispatch:?} was handed over before it was stored: {row:?}"))
        }
    }

    /// Whether the store says that a dispatch may run.
    pub(crate) fn is_current(id: DispatchId, store: &MemoryJournal, dispatch: &Dispatch) -> bool {
        let row = store.tasks.get(&(dispatch.run, dispatch.task_id.clone(), dispatch.map_index));
        row.is_some_and(|row| {
            row.attempt() == id.attempt && row.dispatch_n == id.n && row.state.holds_slots()
        })
    }

    /// What an executor may forget is stored.
    pub(crate) fn confirmed(
        receipt: &Receipt,
        sent: &BTreeMap<DispatchId, Dispatch>,
        store: &MemoryJournal,
    ) -> Outcomes {
        let Some(dispatch) = sent.get(&receipt.dispatch).filter(|_| receipt.ended) else { return Ok(()) };
        if Self::is_current(receipt.dispatch, store, dispatch) {
            return Err(format!(
                "the end of {receipt:?} ({}) is confirmed and isn't stored",
                dispatch.task_id
            ));
        }
        Ok(())
    }

    /// No attempt runs twice at a time.
    pub(crate) fn one_at_a_time(executors: &[Executor]) -> Outcomes {
        let mut seen = BTreeMap::new();
        for job in executors.iter().flat_map(|executor| executor.jobs.values()).filter(|job| job.is_live()) {
            if let Some(other) = seen.insert(job.dispatch.id.attempt, job.dispatch.id) {
                return Err(format!(
                    "{other} and {} of `{}` run at once",
                    job.dispatch.id, job.dispatch.task_id
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn before(store: &MemoryJournal, batch: &Batch) -> Before {
        let mut before = Before::default();
        for event in &batch.events {
            let decided = store
                .tasks_of(event.run)
                .filter_map(|row| Some((row.task.clone(), decision(row)?)))
                .collect();
            before.skips.insert(event.run, decided);
        }
        before
    }

    /// A batch was written: its history consists of legal steps that lead to its rows.
    pub(crate) fn written(&mut self, before: &Before, batch: &Batch, store: &MemoryJournal) -> Outcomes {
        for (_, run, task, index) in &batch.deleted_tasks {
            self.told.remove(&(*run, task.clone(), *index));
        }
        for event in &batch.events {
            let mut last = None;
            for step in &event.transitions {
                if last.is_some_and(|last| step.at < last) {
                    return Err(format!("history runs back in time: {event:?}"));
                }
                last = Some(step.at);
                // What was put right isn't a step.
                if &*step.to == "repaired" {
                    continue;
                }
                let Some((task, index)) = &step.task else {
                    let to = RunState::parse(&step.to).ok_or_else(|| format!("unknown state {}", step.to))?;
                    self.run_step(event.run, to)?;
                    continue;
                };
                let to = TaskState::parse(&step.to).ok_or_else(|| format!("unknown state {}", step.to))?;
                let key = (event.run, task.clone(), *index);
                if to == TaskState::Restarting {
                    *self.restarts.entry(key.clone()).or_default() += 1;
                }
                let from = self.told.insert(key, to).unwrap_or(TaskState::None);
                if !Event::ALL.iter().any(|event| next(from, *event) == Ok(to)) {
                    return Err(format!("`{task}`[{index}] went from {from} to {to}"));
                }
                if to == TaskState::Scheduled && from == TaskState::None {
                    skipped_by_nobody(before, store, event.run, task)?;
                }
            }
        }
        for changed in &batch.tasks {
            if changed.row.state == TaskState::Removed {
                self.told.insert(key(&changed.row), TaskState::Removed);
            }
        }
        for row in batch.new_tasks.iter().chain(batch.tasks.iter().map(|changed| &changed.row)) {
            let told = self.told.get(&key(row)).copied().unwrap_or(TaskState::None);
            if told != row.state {
                return Err(format!(
                    "`{}`[{}] is stored as {}, its history says {told}",
                    row.task, row.map_index, row.state
                ));
            }
            if row.members > 1 && row.state == TaskState::Running && row.executor.is_some() {
                let there = store.members.values().filter(|known| {
                    (known.run, &known.task, known.map_index) == (row.run, &row.task, row.map_index)
                        && (known.try_number, known.dispatch_n) == (row.try_number, row.dispatch_n)
                });
                if there.count() < row.members as usize {
                    return Err(format!("the gang `{}` runs without all of its members", row.task));
                }
            }
            let skips: BTreeSet<TaskId> = row.skips.iter().flat_map(|skips| skips.iter().cloned()).collect();
            if let Some(told) = self.decided.get(&row.attempt())
                && row.state == TaskState::Success
                && row.marked_by.is_none()
                && !told.contains(&skips)
            {
                return Err(format!("`{}`[{}] leaves out {skips:?}, not {told:?}", row.task, row.map_index));
            }
            let more = self.restarts.get(&key(row)).copied().unwrap_or_default();
            if row.try_number > row.max_tries + 1 + more {
                return Err(format!(
                    "`{}`[{}] is at try {} of {}",
                    row.task,
                    row.map_index,
                    row.try_number,
                    row.max_tries + 1
                ));
            }
        }
        Ok(())
    }

    fn run_step(&mut self, run: RunId, to: RunState) -> Outcomes {
        let from = self.runs.insert(run, to);
        let legal = matches!(
            (from, to),
            (None, RunState::Queued)
                | (Some(RunState::Queued), RunState::Running)
                | (
                    Some(RunState::Success | RunState::Failed),
                    RunState::Queued | RunState::Success | RunState::Failed
                )
                | (Some(RunState::Queued | RunState::Running), RunState::Success | RunState::Failed)
        );
        if legal { Ok(()) } else { Err(format!("run {run} went from {from:?} to {to}")) }
    }

    /// Everything has come to rest.
    pub(crate) fn at_rest(store: &MemoryJournal) -> Outcomes {
        if !store.continuations.is_empty() {
            return Err(format!("work is left: {:?}", store.continuations));
        }
        for run in store.runs.values().filter(|run| run.state.is_finished()) {
            if let Some(open) = store.tasks_of(run.run).find(|row| !row.state.is_finished()) {
                return Err(format!(
                    "run {} is {}, but `{}`[{}] is {}",
                    run.run_name, run.state, open.task, open.map_index, open.state
                ));
            }
            if run.reason.as_deref() == Some("all_tasks_deadlocked") {
                return Err(format!("run {} got stuck", run.run_name));
            }
            Self::lengths(store, run.run)?;
        }
        for result in store.results.values() {
            let key = (result.run, result.task.clone(), result.map_index);
            if !store.tasks.contains_key(&key) {
                return Err(format!("a result of `{}`[{}], which has no row", result.task, result.map_index));
            }
        }
        Ok(())
    }

    /// A task that is repeated over results has as many instances as they say.
    fn lengths(store: &MemoryJournal, run: RunId) -> Outcomes {
        let Some(dag) = store.runs.get(&run).and_then(|row| store.versions.get(&row.version)) else {
            return Ok(());
        };
        for task in dag.tasks.iter().filter(|task| task.group.is_none()) {
            let Some(map) = &task.map else { continue };
            let instances: Vec<&TaskRow> =
                store.tasks_of(run).filter(|row| row.task == task.task_id).collect();
            let kept = instances.iter().filter(|row| row.state != TaskState::Removed).count() as u64;
            if instances.iter().all(|row| row.map_index == -1) {
                continue;
            }
            let mut lengths = Vec::new();
            for (_, source) in &map.over {
                match source {
                    MapSource::Literal(values) => lengths.push(values.len() as u64),
                    MapSource::Output(up) => {
                        // One that is repeated itself gives a list of its instances; its row of index -1 is of a version
                        // in which it wasn't.
                        if dag.tasks.iter().any(|known| known.task_id == *up && known.map.is_some()) {
                            continue;
                        }
                        let rows: Vec<&TaskRow> = store.tasks_of(run).filter(|row| row.task == *up).collect();
                        let [row] = rows[..] else { continue };
                        if let (-1, TaskState::Success, Some(length)) =
                            (row.map_index, row.state, row.mapped_length)
                        {
                            lengths.push(u64::from(length));
                        }
                    }
                }
            }
            if lengths.len() < map.over.len() {
                continue;
            }
            let expected =
                if map.zip { lengths.into_iter().min().unwrap_or(0) } else { lengths.into_iter().product() };
            if kept != expected.min(1_024) {
                return Err(format!("`{}` has {kept} instances, not {expected}", task.task_id));
            }
        }
        Ok(())
    }
}

/// Whether a task decides in the version that a run is in now: the run may have moved on since it did.
fn decides(store: &MemoryJournal, run: RunId, task: &TaskId) -> bool {
    let dag = store.runs.get(&run).and_then(|row| store.versions.get(&row.version));
    let known = dag.and_then(|dag| dag.tasks.iter().find(|known| known.task_id == *task));
    known.is_some_and(|known| known.runner == Runner::Engine)
}

/// A task that a finished branch decided against isn't scheduled.
fn skipped_by_nobody(before: &Before, store: &MemoryJournal, run: RunId, task: &TaskId) -> Outcomes {
    let Some(decided) = before.skips.get(&run) else { return Ok(()) };
    for (decider, skips) in decided {
        // What the batch itself changed may have been decided in between.
        let now = store.tasks.get(&(run, decider.clone(), -1)).and_then(decision);
        let again = store
            .tasks
            .get(&(run, decider.clone(), -1))
            .is_some_and(|row| row.ended_at.is_some_and(|at| at >= store.now));
        if now.as_ref() == Some(skips) && !again && skips.contains(task) && decides(store, run, decider) {
            return Err(format!("`{task}` is scheduled though `{decider}` decided against it"));
        }
    }
    Ok(())
}
