//! Backfills: runs for past dates, in order, a few at a time, behind all other runs.

use std::sync::Arc;

use dags::{
    ids::TenantId,
    timetable::{DataInterval, Planned},
};
use serde_json::{Value, json};

use crate::{
    command::{Backfill, BackfillChange, Refusal, Reprocess},
    engine::Engine,
    journal::Load,
    rows::{BackfillRow, RunRow, RunType},
    run::RunIdx,
    runs::NewRun,
    state::RunState,
    work::{Bulk, BulkKind},
};

/// A backfill in memory.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) row: BackfillRow,
    /// Its runs that are running.
    pub(crate) running: u32,
    /// A date is being looked up.
    pub(crate) looking: bool,
}

impl Engine {
    /// The DAG of a backfill that can be made as it is.
    pub(crate) fn check_backfill(&self, tenant: TenantId, spec: &Backfill) -> Result<u32, Refusal> {
        let dag = self.known_dag(tenant, &spec.dag_id)?;
        let periodic =
            self.dags[dag as usize].timetable.as_ref().is_some_and(dags::timetable::Timetable::is_periodic);
        if !periodic {
            return Err(Refusal::new(
                "backfill.not_periodic",
                format!("`{}` has no periodic schedule", spec.dag_id),
            ));
        }
        if spec.from > spec.to {
            return Err(Refusal::new(
                "backfill.range",
                format!("`from` ({}) is after `to` ({})", spec.from, spec.to),
            ));
        }
        if spec.to > self.now {
            return Err(Refusal::new("backfill.future", format!("`to` ({}) lies in the future", spec.to)));
        }
        if spec.max_active_runs == 0 {
            return Err(Refusal::new("backfill.max_active_runs", "`max_active_runs` must be 1 or more"));
        }
        let active = self
            .backfills
            .values()
            .find(|b| b.row.tenant == tenant && b.row.spec.dag_id == spec.dag_id && b.row.ended_at.is_none());
        if let Some(active) = active {
            let message = format!("backfill {} of `{}` isn't finished", active.row.id, spec.dag_id);
            return Err(Refusal::new("backfill.active", message));
        }
        let plan = self.dags[dag as usize].plan.clone();
        if spec.reverse && plan.has_past {
            let message = "a task depends on its past, so the dates must go forward";
            return Err(Refusal::new("backfill.reverse", message));
        }
        if plan.has_past && spec.reprocess == Reprocess::None {
            let message = "a task depends on its past: choose to reprocess failed or completed runs";
            return Err(Refusal::new("backfill.reprocess", message));
        }
        Ok(dag)
    }

    pub(crate) fn create_backfill(&mut self, tenant: TenantId, spec: &Backfill) -> Result<Value, Refusal> {
        let dag = self.check_backfill(tenant, spec)?;
        let first = self.backfill_date(dag, spec, None);
        let id = self.last_backfill.entry(tenant).or_insert(0);
        *id += 1;
        let id = *id;
        let row = BackfillRow {
            tenant,
            id,
            spec: Arc::new(spec.clone()),
            paused: false,
            created_at: self.now,
            ended_at: None,
            next_date: first.and_then(|planned| planned.logical_date),
            made: 0,
        };
        self.out.backfills.insert((tenant, id), row.clone());
        self.backfills.insert((tenant, id), State { row, running: 0, looking: false });
        self.look_at_backfill(tenant, id);
        Ok(json!({ "id": id }))
    }

    pub(crate) fn change_backfill(
        &mut self,
        tenant: TenantId,
        id: i64,
        change: BackfillChange,
    ) -> Result<Value, Refusal> {
        if let Some(reason) = self.unreadable_backfills.get(&(tenant, id)) {
            let message = format!("what backfill {id} asked for can't be read: {reason}");
            return Err(Refusal::new("backfill.unreadable", message));
        }
        let now = self.now;
        let Some(state) = self.backfills.get_mut(&(tenant, id)).filter(|b| b.row.ended_at.is_none()) else {
            return Err(Refusal::new(
                "backfill.not_found",
                format!("no active backfill has the number {id}"),
            ));
        };
        match change {
            BackfillChange::Pause => state.row.paused = true,
            BackfillChange::Unpause => state.row.paused = false,
            BackfillChange::Cancel => {
                (state.row.ended_at, state.row.next_date) = (Some(now), None);
            }
        }
        self.out.backfills.insert((tenant, id), state.row.clone());
        if change == BackfillChange::Cancel {
            // Its running runs end by themselves, without it.
            self.backfills.remove(&(tenant, id));
            let queued: Vec<RunIdx> = self.runs_of_backfill(tenant, id, RunState::Queued);
            for run in queued {
                self.end_run(run, BulkKind::SkipUnfinished, None, "its backfill was cancelled".into());
            }
        } else {
            self.look_at_backfill(tenant, id);
            let dag_id = self.backfills[&(tenant, id)].row.spec.dag_id.clone();
            if let Some(dag) = self.find_dag(tenant, &dag_id) {
                self.dag_work(dag);
            }
        }
        Ok(json!({ "id": id }))
    }

    /// A DAG is deleted: its backfills are over.
    pub(crate) fn end_backfills(&mut self, dag: u32) {
        let (now, row) = (self.now, &self.dags[dag as usize].row);
        let of = |state: &State| state.row.tenant == row.tenant && state.row.spec.dag_id == row.dag_id;
        let keys: Vec<_> =
            self.backfills.iter().filter(|(_, state)| of(state)).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(State { mut row, .. }) = self.backfills.remove(&key) {
                row.next_date = None;
                row.ended_at = row.ended_at.or(Some(now));
                self.out.backfills.insert(key, row);
            }
        }
    }

    fn runs_of_backfill(&self, tenant: TenantId, id: i64, state: RunState) -> Vec<RunIdx> {
        let of = |run: &crate::run::Run| {
            run.row.tenant == tenant
                && run.row.state == state
                && run.row.backfill.is_some_and(|(b, _)| b == id)
        };
        let runs = self.runs.iter().enumerate();
        runs.filter(|(_, run)| run.as_deref().is_some_and(of)).map(|(index, _)| index as RunIdx).collect()
    }

    /// The first date, or the one after another.
    fn backfill_date(
        &self,
        dag: u32,
        spec: &Backfill,
        after: Option<dags::time::Timestamp>,
    ) -> Option<Planned> {
        let timetable = self.dags[dag as usize].timetable.as_ref()?;
        if spec.reverse {
            let to = after.map_or(spec.to, |date| date.before(dags::time::Span(1)));
            // Dates have no way back: the last one of the range is found by walking to it.
            (spec.from <= to).then(|| timetable.ticks_between(spec.from, to).last())?
        } else {
            // A fixed period without start date counts from where it is asked: that is the date before.
            let from = after.unwrap_or(spec.from);
            timetable.ticks_between(from, spec.to).find(|planned| planned.logical_date > after)
        }
    }

    pub(crate) fn backfill_has_room(&self, tenant: TenantId, id: i64, more: u32) -> bool {
        !self.unreadable_backfills.contains_key(&(tenant, id))
            && self
                .backfills
                .get(&(tenant, id))
                .is_none_or(|b| !b.row.paused && b.running + more < b.row.spec.max_active_runs)
    }

    pub(crate) fn count_backfill(&mut self, tenant: TenantId, id: i64, delta: i32) {
        if let Some(state) = self.backfills.get_mut(&(tenant, id)) {
            state.running = state.running.saturating_add_signed(delta);
        }
    }

    /// Looks up the next date, if there is room for its run.
    pub(crate) fn look_at_backfill(&mut self, tenant: TenantId, id: i64) {
        let open = self.runs_of_backfill(tenant, id, RunState::Queued).len()
            + self.runs_of_backfill(tenant, id, RunState::Running).len();
        let now = self.now;
        let Some(state) = self.backfills.get_mut(&(tenant, id)) else { return };
        if state.row.next_date.is_none() && open == 0 {
            if state.row.ended_at.is_none() {
                state.row.ended_at = Some(now);
            }
            self.out.backfills.insert((tenant, id), state.row.clone());
            self.backfills.remove(&(tenant, id));
            return;
        }
        if state.row.paused || state.looking || open >= state.row.spec.max_active_runs as usize {
            return;
        }
        if let Some(date) = state.row.next_date {
            state.looking = true;
            let dag_id = state.row.spec.dag_id.clone();
            self.ask_load(Load::At(tenant, dag_id, date)).backfills.push((tenant, id));
        }
    }

    /// It is known whether the next date has a run.
    pub(crate) fn backfill_found(
        &mut self,
        key: (TenantId, i64),
        loaded: Option<RunRow>,
        index: Option<RunIdx>,
        quarantined: bool,
    ) {
        let Some(state) = self.backfills.get_mut(&key) else { return };
        state.looking = false;
        let (spec, date) = (state.row.spec.clone(), state.row.next_date);
        let (Some(date), Some(dag)) = (date, self.find_dag(key.0, &spec.dag_id)) else { return };
        if self.backfills[&key].row.paused {
            return;
        }
        let planned =
            self.dags[dag as usize].timetable.as_ref().and_then(|t| t.ticks_between(date, date).next());
        // It may have been made while it was looked up.
        let made_since = || {
            let mut runs = self.dags[dag as usize].runs.values().copied();
            runs.find(|run| self.run(*run).row.logical_date == Some(date))
        };
        let index = index.or_else(|| if quarantined { None } else { made_since() });
        let loaded = loaded.or_else(|| index.map(|run| self.run(run).row.clone()));
        let following = self.backfill_date(dag, &spec, Some(date)).and_then(|planned| planned.logical_date);
        let ordinal = self.backfills[&key].row.made + 1;
        let mut made = false;
        match (loaded, index, planned) {
            // What is quarantined isn't touched.
            (None, None, Some(planned)) if !quarantined => {
                made = self.make_backfill_run(dag, key, &spec, planned, ordinal);
            }
            (Some(row), Some(run), _) => {
                let again = match spec.reprocess {
                    Reprocess::None => false,
                    Reprocess::Failed => row.state == RunState::Failed,
                    Reprocess::Completed => row.state.is_finished(),
                };
                if again {
                    self.run_mut(run).row.backfill = Some((key.1, ordinal));
                    self.clear_run(run);
                    made = true;
                }
            }
            (None | Some(_), _, _) => {}
        }
        if let Some(state) = self.backfills.get_mut(&key) {
            state.row.next_date = following;
            state.row.made += u32::from(made);
            self.out.backfills.insert(key, state.row.clone());
        }
        self.look_at_backfill(key.0, key.1);
    }

    fn make_backfill_run(
        &mut self,
        dag: u32,
        key: (TenantId, i64),
        spec: &Backfill,
        planned: Planned,
        ordinal: u32,
    ) -> bool {
        let Some(name) = self.free_name(dag, RunType::Backfill, planned.logical_date, planned.run_after)
        else {
            return false;
        };
        let new = NewRun {
            name,
            kind: RunType::Backfill,
            logical_date: planned.logical_date,
            interval: planned.interval.map(|DataInterval { start, end }| (start, end)),
            run_after: planned.run_after,
            conf: Arc::new(spec.conf.clone()),
            note: None,
            backfill: Some((key.1, ordinal)),
            by: None,
            chain_depth: 0,
            asset_window: None,
        };
        self.reserve(dag, new.logical_date);
        self.make_run(dag, new);
        true
    }

    fn clear_run(&mut self, run: RunIdx) {
        let state = self.run(run);
        let list = state
            .tis
            .iter()
            .filter(|ti| !ti.has(crate::run::flag::DEAD))
            .map(|ti| (state.plan.model(ti.task).task_id.clone(), ti.map_index))
            .collect();
        self.reopen(run);
        self.start_bulk(run, Bulk { id: 0, kind: BulkKind::Clear, list, by: None, reason: None });
    }
}
