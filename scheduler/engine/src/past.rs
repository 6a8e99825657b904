//! `depends_on_past` and `wait_for_downstream`: what a run must know of the one before it.

use std::{collections::BTreeSet, sync::Arc};

use dags::{
    ids::{TaskId, TenantId},
    model::{Dag, Missed},
    time::Timestamp,
};

use crate::{
    engine::Engine,
    journal::Load,
    plan::TaskIdx,
    rows::{RunRow, RunType, TaskRow},
    run::{Past, Run, RunIdx, TiRef, flag},
    state::TaskState,
    work::RunWork,
};

/// The tasks of a finished run that a later run's past dependency would stumble over.
fn blocking(tasks: impl Iterator<Item = (TaskId, TaskState)>) -> BTreeSet<TaskId> {
    tasks
        .filter(|(_, state)| !matches!(state, TaskState::Success | TaskState::Skipped | TaskState::Removed))
        .map(|(task, _)| task)
        .collect()
}

/// Whether runs of that type count as the run before, under the DAG's policy for missed runs.
fn counts(dag: &Dag, kind: RunType) -> bool {
    dag.schedule.missed != Missed::All || kind != RunType::Manual
}

/// What matters of an earlier run that isn't in memory.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) tenant: TenantId,
    pub(crate) date: Option<Timestamp>,
    /// None if it can't be said: then it counts.
    pub(crate) run_type: Option<RunType>,
    /// The tasks of it that block.
    pub(crate) blocked: BTreeSet<TaskId>,
}

impl Before {
    pub(crate) fn of(row: &RunRow, tasks: &[TaskRow]) -> Self {
        let blocked = blocking(tasks.iter().map(|row| (row.task.clone(), row.state)));
        Self { tenant: row.tenant, date: row.logical_date, run_type: Some(row.run_type), blocked }
    }
}

impl Engine {
    /// Whether a skip or block may happen now, for tasks that want their past settled first.
    pub(crate) fn past_allows_skip(&mut self, at: TiRef) -> bool {
        let task = self.run(at.run).tis[at.ti as usize].task;
        !self.model_of(at.run, task).wait_for_past_before_skipping || self.past_allows(at)
    }

    /// Whether the past dependencies are met. If not, the instance is looked at again when they may be.
    pub(crate) fn past_allows(&mut self, at: TiRef) -> bool {
        let run = self.run(at.run);
        let task = run.tis[at.ti as usize].task;
        if !run.plan.tasks[task as usize].past {
            return true;
        }
        self.find_past(at.run);
        let allowed = match &self.run(at.run).past {
            Past::Unknown | Past::Loading => false,
            Past::None => true,
            Past::Over(blocked) => !self.looks_at(at).iter().any(|name| blocked.contains(name)),
            Past::Run(before) => {
                let before = self.run(*before);
                self.looks_at(at)
                    .iter()
                    .filter_map(|name| before.plan.find(name))
                    .all(|task| settled(before, task))
            }
        };
        let ti = &mut self.run_mut(at.run).tis[at.ti as usize];
        if allowed {
            ti.unset(flag::WAITS_FOR_PAST);
        } else {
            ti.set(flag::WAITS_FOR_PAST);
        }
        allowed
    }

    /// The tasks of the run before that must have ended well.
    pub(crate) fn looks_at(&self, at: TiRef) -> Vec<TaskId> {
        let run = self.run(at.run);
        let task = run.tis[at.ti as usize].task;
        let mut tasks = vec![run.plan.model(task).task_id.clone()];
        if run.plan.model(task).wait_for_downstream {
            tasks.extend(run.plan.downs.of(task).iter().map(|down| run.plan.model(*down).task_id.clone()));
        }
        tasks
    }

    /// Finds out about the run before: first in memory, then in the database.
    fn find_past(&mut self, run: RunIdx) {
        if !matches!(self.run(run).past, Past::Unknown) {
            return;
        }
        let state = self.run(run);
        let Some(date) = state.row.logical_date else {
            self.run_mut(run).past = Past::None;
            return;
        };
        if state.row.backfill.is_some_and(|(_, ordinal)| ordinal == 1) {
            // Whatever ran before, a backfill begins somewhere.
            self.run_mut(run).past = Past::None;
            return;
        }
        let (tenant, dag_id, seq) = (state.row.tenant, state.row.dag_id.clone(), state.seq);
        self.run_mut(run).past = Past::Loading;
        self.ask_load(Load::Before(tenant, dag_id, date)).pasts.push((run, seq));
    }

    /// The database's answer; runs in memory that it may not have yet count too.
    pub(crate) fn past_found(&mut self, run: RunIdx, found: Option<Before>) {
        let state = self.run(run);
        let Some(date) = state.row.logical_date else { return };
        let dag = &self.dags[state.dag as usize];
        let model = state.plan.dag().clone();
        let in_memory: Option<(Timestamp, RunIdx)> = dag
            .runs
            .values()
            .filter_map(|other| self.run(*other).row.logical_date.map(|when| (when, *other)))
            .filter(|(when, other)| *when < date && counts(&model, self.run(*other).row.run_type))
            .max();
        // When catching up, what lies before the start date is no past.
        let start = if model.schedule.missed == Missed::All { model.start_date } else { None };
        let too_early = |when: Timestamp| start.is_some_and(|start| when < start);
        let past = match (in_memory, found) {
            (Some((when, other)), ref found)
                if found.as_ref().is_none_or(|found| found.date.is_none_or(|date| date <= when)) =>
            {
                if too_early(when) {
                    Past::None
                } else {
                    self.run_mut(other).followers.push(run);
                    Past::Run(other)
                }
            }
            (_, Some(found)) if found.run_type.is_some_and(|kind| !counts(&model, kind)) => {
                // It is passed over: the one before it is looked up.
                if let Some(date) = found.date {
                    let state = self.run(run);
                    let (dag_id, seq) = (state.row.dag_id.clone(), state.seq);
                    let load = Load::Before(found.tenant, dag_id, date);
                    self.ask_load(load).pasts.push((run, seq));
                }
                return;
            }
            (_, Some(found)) if found.date.is_some_and(too_early) => Past::None,
            (_, Some(found)) => Past::Over(Arc::new(found.blocked)),
            (_, None) => Past::None,
        };
        self.run_mut(run).past = past;
        self.push_work(run, RunWork::Everything { next: 0 });
    }

    /// A task's instance ended: later runs' tasks that look at it look again.
    pub(crate) fn past_moved(&mut self, run: RunIdx, task: TaskIdx) {
        let name = self.model_of(run, task).task_id.clone();
        for follower in self.run(run).followers.clone() {
            let Some(state) = self.runs[follower as usize].as_deref() else { continue };
            let plan = state.plan.clone();
            let Some(task) = plan.find(&name) else { continue };
            let ups = plan.ups.of(task).iter().filter(|up| plan.model(**up).wait_for_downstream);
            for task in ups.chain(plan.tasks[task as usize].past.then_some(&task)) {
                self.push_work(follower, RunWork::Task { task: *task, done: 0 });
            }
        }
    }

    /// A run ended: later runs look again.
    pub(crate) fn wake_followers(&mut self, run: RunIdx) {
        for follower in self.run(run).followers.clone() {
            if self.runs[follower as usize].is_some() {
                self.push_work(follower, RunWork::Everything { next: 0 });
            }
        }
    }

    /// A run is deleted: others have another past now.
    pub(crate) fn past_is_gone(&mut self, run: RunIdx) {
        self.past_changed(run);
        for follower in std::mem::take(&mut self.run_mut(run).followers) {
            if let Some(state) = self.runs[follower as usize].as_deref_mut()
                && matches!(state.past, Past::Run(before) if before == run)
            {
                state.past = Past::Unknown;
                self.push_work(follower, RunWork::Everything { next: 0 });
            }
        }
    }

    /// A run that others may have to look at came into memory: what later runs know of their past may be outdated.
    pub(crate) fn past_changed(&mut self, run: RunIdx) {
        let state = self.run(run);
        let Some(date) = state.row.logical_date else { return };
        let later: Vec<RunIdx> = self.dags[state.dag as usize]
            .runs
            .values()
            .copied()
            .filter(|other| {
                let other = self.run(*other);
                let knows = match other.past {
                    Past::None | Past::Over(_) => true,
                    // The run that it looks at may lie before this one.
                    Past::Run(before) => {
                        self.run(before).row.logical_date.is_some_and(|before| before < date)
                    }
                    Past::Unknown | Past::Loading => false,
                };
                other.plan.has_past && knows && other.row.logical_date.is_some_and(|later| later > date)
            })
            .collect();
        for other in later {
            if let Past::Run(before) = std::mem::replace(&mut self.run_mut(other).past, Past::Unknown) {
                self.run_mut(before).followers.retain(|follower| *follower != other);
            }
            self.push_work(other, RunWork::Everything { next: 0 });
        }
    }

    /// A run that isn't in memory is deleted: later runs look again for the one before them.
    pub(crate) fn look_for_pasts(&mut self, dag: u32) {
        let runs: Vec<RunIdx> = self.dags[dag as usize].runs.values().copied().collect();
        for run in runs {
            if matches!(self.run(run).past, Past::Over(_)) {
                self.run_mut(run).past = Past::Unknown;
                self.push_work(run, RunWork::Everything { next: 0 });
            }
        }
    }

    /// A run leaves memory: those that look at it keep what they need.
    pub(crate) fn past_is_over(&mut self, run: RunIdx) {
        let followers = std::mem::take(&mut self.run_mut(run).followers);
        if followers.is_empty() {
            return;
        }
        let state = self.run(run);
        let tasks = state.tis.iter().filter(|ti| !ti.has(flag::DEAD));
        let blocked =
            Arc::new(blocking(tasks.map(|ti| (state.plan.model(ti.task).task_id.clone(), ti.state))));
        for follower in followers {
            if let Some(state) = self.runs[follower as usize].as_deref_mut()
                && matches!(state.past, Past::Run(before) if before == run)
            {
                state.past = Past::Over(blocked.clone());
            }
        }
    }
}

pub(crate) fn settled(run: &Run, task: u32) -> bool {
    run.instances(task).all(|ti| {
        matches!(run.tis[ti as usize].state, TaskState::Success | TaskState::Skipped | TaskState::Removed)
    })
}
