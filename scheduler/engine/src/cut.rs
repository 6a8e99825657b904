//! Taking what changed as one batch, and letting go of what is over.

use std::sync::Arc;

use crate::{
    apply::task_row,
    blame::BusyWith,
    engine::{Effects, Engine, Left},
    rows::{Batch, Changed, EventRow, RunRow, Transition},
    run::{Run, RunIdx, flag},
    state::TaskState,
};

impl Engine {
    /// Everything that changed since the last cut, each row once, with the effects that may follow when it is stored.
    ///
    /// The engine's clock moves on by a microsecond, so that names and ids made of instants differ between batches.
    pub fn cut(&mut self, number: u64) -> (Batch, Effects) {
        let mut batch = Batch { number, now: self.now, ..Batch::default() };
        for run in std::mem::take(&mut self.dirty_runs) {
            self.for_run(run);
            self.save_bulks(run);
            self.cut_run(run, &mut batch);
            self.let_run_go(run);
        }
        self.busy_with = BusyWith::Nobody;
        for dag in std::mem::take(&mut self.dirty_dags) {
            let state = &mut self.dags[dag as usize];
            state.dirty = false;
            if !state.deleted {
                batch.dags.push(state.row.clone());
            }
        }
        let out = std::mem::take(&mut self.out);
        batch.tasks.extend(out.removed_tasks);
        batch.new_tasks.extend(out.removed_new_tasks);
        batch.attempts = out.attempts;
        batch.members = out.members.into_values().collect();
        batch.results = out.results;
        batch.events.extend(out.events);
        batch.quarantine = out.quarantine;
        batch.quotas = out.quotas.into_iter().collect();
        batch.pools = out.pools;
        batch.deleted_pools = out.deleted_pools;
        batch.deleted_runs = out.deleted_runs;
        batch.deleted_dags = out.deleted_dags;
        batch.asset_events = out.asset_events;
        batch.pending_assets = out.pending_assets;
        batch.consumed_assets = out.consumed_assets;
        batch.backfills = out.backfills.into_values().collect();
        batch.inbox = out.inbox;
        batch.alerts = out.alerts;
        batch.inputs = out.inputs;
        batch.continuations = out.continuations.into_values().collect();
        self.now.0 += 1;
        (batch, out.effects)
    }

    /// Whether a cut would hold anything.
    pub fn has_changes(&self) -> bool {
        let out = &self.out;
        !(self.dirty_runs.is_empty()
            && self.dirty_dags.is_empty()
            && out.inbox.is_empty()
            && out.alerts.is_empty()
            && out.inputs.is_empty()
            && out.quotas.is_empty()
            && out.pools.is_empty()
            && out.deleted_pools.is_empty()
            && out.deleted_runs.is_empty()
            && out.deleted_dags.is_empty()
            && out.asset_events.is_empty()
            && out.pending_assets.is_empty()
            && out.consumed_assets.is_empty()
            && out.backfills.is_empty()
            && out.continuations.is_empty()
            && out.attempts.is_empty()
            && out.members.is_empty()
            && out.quarantine.is_empty()
            && out.results.is_empty()
            && out.removed_tasks.is_empty()
            && out.removed_new_tasks.is_empty()
            && out.effects == Effects::default())
    }

    /// Whether something is to be quarantined: that is stored alone, so that nothing else can hold it up.
    pub(crate) fn must_store_first(&self) -> bool {
        !self.out.quarantine.is_empty()
    }

    fn cut_run(&mut self, run: RunIdx, batch: &mut Batch) {
        let Some(state) = self.runs.get_mut(run as usize).and_then(Option::as_deref_mut) else { return };
        state.listed = false;
        state.flush_steps();
        let transitions = std::mem::take(&mut state.extra);
        if !transitions.is_empty() {
            batch.events.push(EventRow {
                tenant: state.row.tenant,
                run: state.row.run,
                dag_id: state.row.dag_id.clone(),
                at: batch.now,
                transitions,
            });
        }
        match state.stored {
            None => batch.new_runs.push(state.row.clone()),
            Some(before) if state.dirty => batch.runs.push(Changed { before, row: state.row.clone() }),
            Some(_) => {}
        }
        state.dirty = false;
        state.stored = Some(state.row.state);
        for name in std::mem::take(&mut state.renamed) {
            batch.deleted_tasks.push((state.row.tenant, state.row.run, name, -1));
        }
        for ti in std::mem::take(&mut state.dirty_tis) {
            let row = task_row(state, &state.tis[ti as usize]);
            let ti = &mut state.tis[ti as usize];
            ti.unset(flag::DIRTY);
            if ti.has(flag::STORED) {
                batch.tasks.push(Changed { before: ti.stored, row });
            } else {
                ti.set(flag::STORED);
                batch.new_tasks.push(row);
            }
            ti.stored = ti.state;
        }
    }

    /// A run that is over and has nothing left to do leaves memory.
    pub(crate) fn let_run_go(&mut self, run: RunIdx) {
        let Some(state) = self.runs.get(run as usize).and_then(Option::as_deref) else { return };
        if state.row.state.is_finished() && state.unfinished == 0 && state.work.is_empty() {
            self.past_is_over(run);
            self.forget_run(run);
        }
    }

    /// A run is deleted: nothing more of it is written.
    pub(crate) fn drop_rows(&mut self, run: RunIdx) {
        let id = self.run(run).row.run;
        self.out.attempts.retain(|attempt| attempt.row.run != id);
        self.out.members.retain(|_, member| member.run != id);
        self.out.results.retain(|result| result.run != id);
        self.out.inputs.retain(|input| input.run != id);
        self.out.removed_tasks.retain(|changed| changed.row.run != id);
        self.out.removed_new_tasks.retain(|row| row.run != id);
    }

    /// Takes a run out of memory.
    pub(crate) fn forget_run(&mut self, run: RunIdx) {
        let Some(state) = self.runs[run as usize].take() else { return };
        if !self.awaited.is_empty() {
            let RunRow { tenant, run, dag_id, run_name, logical_date, .. } = &state.row;
            self.left.push(Left {
                tenant: *tenant,
                run: *run,
                dag_id: dag_id.clone(),
                name: run_name.clone(),
                date: *logical_date,
                asked: self.awaited.keys().cloned().collect(),
            });
        }
        self.free_runs.push(run);
        // Only where it is: many runs may end at once, and each of these lists may be long.
        if state.has_work {
            self.busy_runs.retain(|busy| *busy != run);
        }
        if state.listed {
            self.dirty_runs.retain(|dirty| *dirty != run);
        }
        let dag = &mut self.dags[state.dag as usize];
        dag.runs.remove(&state.row.run_name);
        if !Arc::ptr_eq(&state.plan, &dag.plan) {
            let version = state.plan.version.clone();
            drop(state);
            // Ours and the map's are the last two: nothing else needs that version.
            if self.plans.get(&version).is_some_and(|plan| Arc::strong_count(plan) == 1) {
                self.plans.remove(&version);
            }
        }
    }
}

impl Run {
    /// Turns noted steps into history; afterwards instances may change places.
    pub(crate) fn flush_steps(&mut self) {
        for step in std::mem::take(&mut self.steps) {
            let ti = &self.tis[step.ti as usize];
            let name = self.plan.model(ti.task).task_id.clone();
            self.extra.push(Transition {
                task: Some((name, ti.map_index)),
                to: state_name(step.to),
                try_number: step.try_number,
                at: step.at,
                reason: step.reason,
            });
        }
    }
}

/// The shared text of a state's name, so that history costs no allocation per step.
fn state_name(state: TaskState) -> Arc<str> {
    thread_local! {
        static NAMES: Vec<Arc<str>> = TaskState::ALL.iter().map(|state| Arc::from(state.as_str())).collect();
    }
    NAMES.with(|names| names[state as usize].clone())
}
