//! Making runs by hand, by request or by a task: their names and dates must be free, in memory and in the database.

use std::sync::Arc;

use dags::{
    ids::{DagId, RunName, TenantId},
    timetable::DataInterval,
};
use serde_json::json;

use crate::{
    command::{Refusal, Trigger},
    engine::Engine,
    journal::Load,
    request::Step,
    rows::RunType,
    run::RunIdx,
    runs::NewRun,
};

impl Engine {
    pub(crate) fn trigger(&mut self, tenant: TenantId, trigger: &Trigger, actor: Arc<str>) -> Step {
        if let Err(refusal) = self.room_in_queue(tenant) {
            return Err(refusal).into();
        }
        match self.must_be_absent(tenant, trigger, None) {
            Ok(Some(load)) => Step::Wait(load),
            Ok(None) => self.trigger_now(tenant, trigger, actor, None),
            Err(refusal) => Err(refusal).into(),
        }
    }

    pub(crate) fn trigger_now(
        &mut self,
        tenant: TenantId,
        trigger: &Trigger,
        actor: Arc<str>,
        absent: Option<&Load>,
    ) -> Step {
        let made = self.make_triggered(tenant, trigger, Some(actor), absent);
        made.map(|run| {
            let row = &self.run(run).row;
            json!({ "run_id": row.run_name, "id": row.run })
        })
        .into()
    }

    /// What must be looked up before a run is made, given what was looked up and isn't there: a name or date that a
    /// finished run has is known to the database only.
    pub(crate) fn must_be_absent(
        &self,
        tenant: TenantId,
        trigger: &Trigger,
        absent: Option<&Load>,
    ) -> Result<Option<Load>, Refusal> {
        let dag = self.known_dag(tenant, &trigger.dag_id)?;
        if let Some(kind) = trigger.run_name.as_ref().and_then(reserved_kind) {
            let message = format!("names that begin with `{kind}__` are kept for runs of that type");
            return Err(Refusal::new("run.name_reserved", message));
        }
        if trigger.logical_date.is_some_and(|date| self.date_taken(dag, date)) {
            return Err(date_taken(&trigger.dag_id));
        }
        let at = trigger.logical_date.map(|date| Load::At(tenant, trigger.dag_id.clone(), date));
        let runs = &self.dags[dag as usize].runs;
        if let Some(name) = trigger.run_name.as_ref().filter(|name| runs.contains_key(name.as_str())) {
            return Err(taken(&trigger.dag_id, name));
        }
        // Looked up, and taken since by another.
        let absent = absent.filter(|load| !matches!(load, Load::Run(.., name) if runs.contains_key(name)));
        Ok(match (absent, self.fixed_name(dag, trigger)) {
            (None, Some(name)) => Some(Load::Run(tenant, trigger.dag_id.clone(), name)),
            (None, None) | (Some(Load::Run(..)), _) => at,
            (Some(_), _) => None,
        })
    }

    /// The name that the run will have, if an older run may have it.
    pub(crate) fn fixed_name(&self, dag: u32, trigger: &Trigger) -> Option<RunName> {
        match (&trigger.run_name, trigger.run_after) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(run_after)) => self.free_name(dag, RunType::Manual, trigger.logical_date, run_after),
            (None, None) => None,
        }
    }

    /// Makes a run by hand or for a task; that its name and date are free in the database is known, by `absent` if it was looked up.
    pub(crate) fn make_triggered(
        &mut self,
        tenant: TenantId,
        trigger: &Trigger,
        by: Option<Arc<str>>,
        absent: Option<&Load>,
    ) -> Result<RunIdx, Refusal> {
        let dag = self.known_dag(tenant, &trigger.dag_id)?;
        let state = &self.dags[dag as usize];
        if state.row.stale {
            let message = format!("the newest bundle no longer has `{}`", trigger.dag_id);
            return Err(Refusal::new("dag.stale", message));
        }
        let run_after = trigger.run_after.unwrap_or(self.now);
        let interval = state
            .timetable
            .as_ref()
            .and_then(|timetable| timetable.manual_interval(trigger.logical_date.unwrap_or(run_after)))
            .filter(|_| trigger.logical_date.is_some())
            .map(|DataInterval { start, end }| (start, end));
        let name = match (&trigger.run_name, absent) {
            (Some(name), _) if state.runs.contains_key(name) => return Err(taken(&trigger.dag_id, name)),
            (Some(name), _) | (None, Some(Load::Run(.., name))) => name.clone(),
            (None, _) => self
                .free_name(dag, RunType::Manual, trigger.logical_date, run_after)
                .ok_or_else(|| Refusal::new("run.exists", "a run of that date exists already"))?,
        };
        if trigger.logical_date.is_some_and(|date| self.date_taken(dag, date)) {
            return Err(date_taken(&trigger.dag_id));
        }
        let new = NewRun {
            name,
            kind: RunType::Manual,
            logical_date: trigger.logical_date,
            interval,
            run_after,
            conf: Arc::new(trigger.conf.clone()),
            note: trigger.note.as_deref().map(Into::into),
            backfill: None,
            by,
            chain_depth: trigger.chain_depth,
            asset_window: None,
        };
        self.reserve(dag, new.logical_date);
        Ok(self.make_run(dag, new))
    }
}

/// The run type that a name by its beginning belongs to, if people can't choose such names.
fn reserved_kind(name: &RunName) -> Option<RunType> {
    let kind = RunType::parse(name.as_str().split_once("__")?.0)?;
    (kind != RunType::Manual).then_some(kind)
}

fn date_taken(dag_id: &DagId) -> Refusal {
    Refusal::new("run.date_exists", format!("`{dag_id}` has a run with that logical date already"))
}

fn taken(dag_id: &DagId, name: &RunName) -> Refusal {
    Refusal::new("run.exists", format!("`{dag_id}` has a run `{name}` already"))
}
