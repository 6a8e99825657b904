//! Requests that come in by the inbox.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dags::{
    ids::{DagId, DagVersion, RunName, TaskId, TenantId},
    model::Dag,
};
use serde_json::{Value, json};

use crate::{
    blame::BusyWith,
    command::{Clear, Command, InboxRow, Refusal, Response, Selection, Trigger},
    engine::Engine,
    explain::quarantined,
    journal::{Load, Loaded},
    past::Before,
    plan::TaskIdx,
    quota::Limits,
    rows::{InboxOutcome, PoolRow, QuotaNode, QuotaRow, RunRow, TaskRow},
    run::{RunIdx, TiIdx, TiRef},
    select::no_task,
    state::{RunState, TaskState},
    work::{Bulk, BulkKind},
};

/// What becomes of a request: an outcome, or it waits until a run has been read.
pub(crate) enum Step {
    Done(Result<Value, Refusal>),
    Wait(Load),
}

impl From<Result<Value, Refusal>> for Step {
    fn from(outcome: Result<Value, Refusal>) -> Self {
        Self::Done(outcome)
    }
}

impl Engine {
    /// A request. Its outcome is part of the batch in which it takes effect.
    pub fn request(&mut self, row: InboxRow, versions: &BTreeMap<DagVersion, Arc<Dag>>) {
        self.busy_with = BusyWith::Request(row.id);
        let step = self.carry_out(&row, versions);
        self.after_request(row, step);
    }

    fn after_request(&mut self, row: InboxRow, step: Step) {
        match step {
            Step::Done(outcome) => self.out.inbox.push(InboxOutcome { id: row.id, outcome }),
            Step::Wait(load) => self.ask_load(load).requests.push(row),
        }
        self.busy_with = BusyWith::Nobody;
    }

    /// A request that can't be read has this outcome.
    pub fn refuse(&mut self, id: i64, refusal: Refusal) {
        self.out.inbox.push(InboxOutcome { id, outcome: Err(refusal) });
    }

    /// A run that was asked for has been read.
    pub fn loaded(&mut self, loaded: Loaded) {
        if self.is_outdated(&loaded) {
            for left in &mut self.left {
                left.asked.remove(&loaded.load);
            }
            self.loads.push(loaded.load);
            return;
        }
        let Some(awaited) = self.awaited.remove(&loaded.load) else { return };
        if let Some(known) = &loaded.quarantined {
            for left in &mut self.left {
                left.asked.remove(&loaded.load);
            }
            self.left.retain(|left| !left.asked.is_empty());
            self.found_quarantined(awaited, known);
            return;
        }
        // Names that were free when they were looked up, before this was asked for, may be taken since.
        let mut names: Vec<RunName> = Vec::new();
        for left in &mut self.left {
            if left.asked.remove(&loaded.load) {
                names.push(left.name.clone());
            }
        }
        let again = |trigger: &Trigger| trigger.run_name.as_ref().is_some_and(|name| names.contains(name));
        self.left.retain(|left| !left.asked.is_empty());
        let only_pasts = awaited.only_pasts();
        for (run, seq) in awaited.pasts {
            if self.is_run(run, seq) {
                self.for_run(run);
                self.past_found(run, loaded.run.as_ref().map(|(row, tasks, _)| Before::of(row, tasks)));
            }
        }
        let found = match loaded.run {
            Some((row, tasks, model)) if !only_pasts => self.bring_back(row, tasks, &model),
            Some(_) | None => None,
        };
        for key in awaited.backfills {
            let row = found.map(|run| self.run(run).row.clone());
            self.backfill_found(key, row, found, false);
        }
        for row in awaited.requests {
            self.busy_with = BusyWith::Request(row.id);
            let step = match (&row.command, found) {
                (_, Some(_)) => self.carry_out(&row, &BTreeMap::new()),
                (Command::Trigger(trigger), None) if again(trigger) => self.carry_out(&row, &BTreeMap::new()),
                (_, None) => self.carry_out_without(&row, &loaded.load),
            };
            self.after_request(row, step);
        }
        for (id, make) in awaited.tasks {
            let absent = (found.is_none() && !again(&make.trigger)).then_some(&loaded.load);
            self.trigger_from_task(id, make, absent);
        }
        if let Some(run) = found {
            // A run that nothing was done with leaves memory again.
            if self.runs[run as usize].is_some() {
                self.list_run(run);
            }
        }
    }

    /// Whether a run that the answer is or would be about left memory since it was asked for: the answer may lack its
    /// last changes.
    pub(crate) fn is_outdated(&self, loaded: &Loaded) -> bool {
        let read = loaded.run.as_ref().and_then(|(row, ..)| row.logical_date);
        self.left.iter().filter(|left| left.asked.contains(&loaded.load)).any(|left| match &loaded.load {
            Load::Run(tenant, dag_id, name) => {
                (left.tenant, &left.dag_id, &left.name) == (*tenant, dag_id, name)
            }
            Load::ById(run) => left.run == *run,
            Load::At(tenant, dag_id, date) => {
                (left.tenant, &left.dag_id, left.date) == (*tenant, dag_id, Some(*date))
            }
            Load::Before(tenant, dag_id, date) => {
                let newer =
                    left.date.is_some_and(|left| left < *date && read.is_none_or(|read| left >= read));
                (left.tenant, &left.dag_id) == (*tenant, dag_id) && newer
            }
        })
    }

    /// A request about a run that exists neither in memory nor in the database.
    pub(crate) fn carry_out_without(&mut self, row: &InboxRow, load: &Load) -> Step {
        match &row.command {
            Command::Trigger(trigger) => match self.must_be_absent(row.tenant, trigger, Some(load)) {
                Ok(Some(load)) => Step::Wait(load),
                Ok(None) => self.trigger_now(row.tenant, trigger, row.actor.as_str().into(), Some(load)),
                Err(refusal) => Err(refusal).into(),
            },
            Command::Clear(Clear { select, .. }) | Command::MarkTasks { select, .. } => {
                Err(no_run(&select.dag_id, &select.run_name)).into()
            }
            Command::MarkRun { dag_id, run_name, .. }
            | Command::DeleteRun { dag_id, run_name }
            | Command::Respond(Response { dag_id, run_name, .. })
            | Command::Explain { dag_id, run_name, .. }
            | Command::Release { dag_id, run_name: Some(run_name) } => Err(no_run(dag_id, run_name)).into(),
            Command::ActivateBundle { .. }
            | Command::PauseDag { .. }
            | Command::SetPool { .. }
            | Command::DeletePool { .. }
            | Command::SetQuota { .. }
            | Command::DeleteQuota {}
            | Command::SuspendTenant { .. }
            | Command::SetCohort { .. }
            | Command::DeleteCohort { .. }
            | Command::ReadQuotas { .. }
            | Command::AssetEvent { .. }
            | Command::Backfill(_)
            | Command::CheckBackfill(_)
            | Command::ChangeBackfill { .. }
            | Command::Release { run_name: None, .. }
            | Command::DeleteDag { .. } => {
                Err(Refusal::new("request.internal", "this request needs no run")).into()
            }
        }
    }

    pub(crate) fn carry_out(&mut self, row: &InboxRow, versions: &BTreeMap<DagVersion, Arc<Dag>>) -> Step {
        let tenant = row.tenant;
        let actor: Arc<str> = row.actor.as_str().into();
        match &row.command {
            Command::ActivateBundle { bundle, base, dags } => {
                let active = self.active_bundles.get(&tenant);
                if !base.holds(active) {
                    let active =
                        active.map_or("no bundle".to_owned(), |active| format!("the bundle {active}"));
                    let message =
                        format!("{active} is active, and not the one that this one was compared with");
                    return Err(Refusal::new("bundle.overtaken", message)).into();
                }
                let mut left_alone = Vec::new();
                for dag in dags {
                    let Some(model) = versions.get(&dag.version) else {
                        let message = format!("version {} of `{}` isn't stored", dag.version, dag.dag_id);
                        return Err(Refusal::new("dag_version.not_found", message)).into();
                    };
                    if self.quarantined_dags.contains_key(&(tenant, dag.dag_id.clone())) {
                        left_alone.push(&dag.dag_id);
                        continue;
                    }
                    let bundle = dag.bundle.as_ref().unwrap_or(bundle);
                    self.activate_dag(tenant, bundle, &dag.version, model, dag.paused_upon_creation);
                }
                let gone: Vec<u32> = self
                    .dag_index
                    .range((tenant, smallest())..)
                    .take_while(|((owner, _), _)| *owner == tenant)
                    .filter(|((_, dag_id), _)| !dags.iter().any(|dag| dag.dag_id == *dag_id))
                    .map(|(_, dag)| *dag)
                    .collect();
                for dag in &gone {
                    self.retire_dag(*dag);
                }
                self.active_bundles.insert(tenant, bundle.clone());
                let active = dags.len() - left_alone.len();
                let mut outcome = json!({ "active": active, "stale": gone.len() });
                if !left_alone.is_empty() {
                    outcome["quarantined"] = json!(left_alone);
                }
                Ok(outcome).into()
            }
            Command::Trigger(trigger) => self.trigger(tenant, trigger, actor),
            Command::PauseDag { dag_id, paused } => self
                .known_dag(tenant, dag_id)
                .map(|dag| {
                    self.pause_dag(dag, *paused);
                    json!({ "paused": paused })
                })
                .into(),
            Command::Clear(clear) => self.clear(tenant, clear, actor),
            Command::MarkTasks { select, state } => self.mark_tasks(tenant, select, *state, actor),
            Command::Respond(response) => self.respond(tenant, response, &actor),
            Command::MarkRun { dag_id, run_name, state } => {
                self.mark_run(tenant, dag_id, run_name, *state, actor)
            }
            Command::SetPool { name, slots, include_deferred } => {
                if *slots < -1 {
                    return Err(Refusal::new("pool.slots", "slots must be -1 (no limit), 0 or more")).into();
                }
                let row = PoolRow {
                    tenant,
                    name: name.clone(),
                    slots: *slots,
                    include_deferred: *include_deferred,
                };
                self.unreadable_pools.remove(&(tenant, name.clone()));
                self.queue.pool_mut(tenant, name).row = Some(row.clone());
                self.out.deleted_pools.retain(|key| *key != (tenant, name.clone()));
                self.out.pools.retain(|known| (known.tenant, &known.name) != (tenant, name));
                self.out.pools.push(row);
                Ok(json!({ "name": name, "slots": slots })).into()
            }
            Command::DeletePool { name } => {
                if name.as_str() == "default_pool" {
                    return Err(Refusal::new("pool.default", "`default_pool` can't be deleted")).into();
                }
                let known = self.queue.pool_mut(tenant, name).row.take();
                let unreadable = self.unreadable_pools.remove(&(tenant, name.clone()));
                if known.is_none() && unreadable.is_none() {
                    return Err(Refusal::new("pool.not_found", format!("there is no pool `{name}`"))).into();
                }
                self.out.pools.retain(|row| (row.tenant, &row.name) != (tenant, name));
                self.out.deleted_pools.push((tenant, name.clone()));
                Ok(json!({ "name": name })).into()
            }
            Command::SetQuota { cohort, weight, quotas, limits } => {
                let node = QuotaNode::Tenant(tenant);
                let (parent, weight, quotas) = (cohort.clone(), *weight, quotas.clone());
                let limits = limits.clone();
                self.set_quota(node.clone(), Some(QuotaRow { node, parent, weight, quotas, limits })).into()
            }
            Command::SuspendTenant { suspended } => {
                self.suspend_tenant(tenant, *suspended);
                Ok(json!({ "suspended": suspended })).into()
            }
            Command::DeleteQuota {} => self.set_quota(QuotaNode::Tenant(tenant), None).into(),
            Command::SetCohort { name, parent, weight, quotas } => {
                let node = QuotaNode::Cohort(name.clone());
                let (parent, weight, quotas) = (parent.clone(), *weight, quotas.clone());
                let limits = Limits::default();
                self.set_quota(node.clone(), Some(QuotaRow { node, parent, weight, quotas, limits })).into()
            }
            Command::ReadQuotas { own: true } => {
                Ok(json!({ "quotas": self.quota_figures_of(tenant) })).into()
            }
            Command::ReadQuotas { own: false } => Ok(json!({ "quotas": self.quota_figures() })).into(),
            Command::DeleteCohort { name } => self.set_quota(QuotaNode::Cohort(name.clone()), None).into(),
            Command::AssetEvent { asset, extra } => {
                self.asset_event(tenant, asset, None, extra.clone());
                Ok(json!({ "asset": asset })).into()
            }
            Command::Backfill(spec) => self.create_backfill(tenant, spec).into(),
            Command::CheckBackfill(spec) => self.check_backfill(tenant, spec).map(|_| json!({})).into(),
            Command::ChangeBackfill { id, change } => self.change_backfill(tenant, *id, *change).into(),
            Command::DeleteRun { dag_id, run_name } => self.delete_run(tenant, dag_id, run_name),
            Command::Release { dag_id, run_name: None } => self.release_dag(tenant, dag_id).into(),
            Command::Release { dag_id, run_name: Some(run_name) } => {
                match self.wanted_run(tenant, dag_id, run_name) {
                    Ok(_) => {
                        let message = format!("run `{run_name}` of `{dag_id}` isn't quarantined");
                        Err(Refusal::new("run.not_quarantined", message)).into()
                    }
                    Err(step) => step,
                }
            }
            Command::DeleteDag { dag_id } => self.delete_dag(tenant, dag_id).into(),
            Command::Explain { dag_id, run_name, task_id, map_index } => {
                if let Some(reason) = self.quarantined_dags.get(&(tenant, dag_id.clone())) {
                    let hold = quarantined(reason, true);
                    return Ok(json!({ "waiting": null, "quarantined": hold })).into();
                }
                match self.wanted_run(tenant, dag_id, run_name) {
                    Ok(_) => {
                        let waiting = self.explain(tenant, dag_id, run_name, task_id, *map_index);
                        Ok(json!({ "waiting": waiting })).into()
                    }
                    Err(step) => step,
                }
            }
        }
    }

    /// The run if it is in memory, otherwise what must be read.
    pub(crate) fn wanted_run(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
        run_name: &RunName,
    ) -> Result<RunIdx, Step> {
        let dag = match self.known_dag(tenant, dag_id) {
            Ok(dag) => dag,
            Err(refusal) => return Err(Step::Done(Err(refusal))),
        };
        match self.dags[dag as usize].runs.get(run_name) {
            Some(run) => Ok(*run),
            None => Err(Step::Wait(Load::Run(tenant, dag_id.clone(), run_name.clone()))),
        }
    }

    /// The instances that a selection names, in order of task and index. Names that the run's version doesn't have are
    /// left out. What surrounds a task that runs again is needed again: `with_setups` adds its setups, and what cleans up
    /// after them.
    pub(crate) fn selected(&self, run: RunIdx, select: &Selection, with_setups: bool) -> Vec<TiIdx> {
        let state = self.run(run);
        let mut instances = Vec::new();
        for (task, indexes) in state.plan.chosen(select, with_setups) {
            for ti in state.instances(task) {
                let index = state.tis[ti as usize].map_index;
                if indexes.as_ref().is_none_or(|list| list.contains(&index)) {
                    instances.push(ti);
                }
            }
        }
        instances
    }

    /// The instances that are to be cleared.
    pub(crate) fn to_clear(&self, run: RunIdx, clear: &Clear) -> Vec<(TaskId, i32)> {
        let state = self.run(run);
        self.selected(run, &clear.select, true)
            .into_iter()
            .filter(|ti| clear.takes(state.tis[*ti as usize].state))
            .map(|ti| self.task_name(TiRef { run, ti }))
            .collect()
    }

    pub(crate) fn clear(&mut self, tenant: TenantId, clear: &Clear, actor: Arc<str>) -> Step {
        let run = match self.wanted_run(tenant, &clear.select.dag_id, &clear.select.run_name) {
            Ok(run) => run,
            Err(step) => return step,
        };
        let newest = &self.dags[self.run(run).dag as usize].plan;
        let target = if clear.run_on_latest_version { newest } else { &self.run(run).plan };
        if let Some((name, _)) = clear.select.tasks.iter().find(|(name, _)| target.find(name).is_none()) {
            return Err(no_task(name)).into();
        }
        let new_ones = clear.select.tasks.iter().any(|(name, _)| self.run(run).plan.find(name).is_none());
        let mut list = self.to_clear(run, clear);
        if list.is_empty() && !new_ones {
            return Ok(json!({ "cleared": 0 })).into();
        }
        if clear.run_on_latest_version {
            if let Err(refusal) = self.move_to_latest(run) {
                return Err(refusal).into();
            }
            list = self.to_clear(run, clear);
        }
        let cleared = list.len();
        self.reopen(run);
        self.start_bulk(run, Bulk { id: 0, kind: BulkKind::Clear, list, by: Some(actor), reason: None });
        Ok(json!({ "cleared": cleared })).into()
    }

    pub(crate) fn mark_tasks(
        &mut self,
        tenant: TenantId,
        select: &Selection,
        to: TaskState,
        actor: Arc<str>,
    ) -> Step {
        let kind = match to {
            TaskState::Success => BulkKind::MarkSuccess,
            TaskState::Failed => BulkKind::MarkFailed,
            TaskState::Skipped => BulkKind::MarkSkipped,
            TaskState::None
            | TaskState::Scheduled
            | TaskState::Queued
            | TaskState::Running
            | TaskState::Restarting
            | TaskState::UpForRetry
            | TaskState::UpForReschedule
            | TaskState::Deferred
            | TaskState::AwaitingInput
            | TaskState::UpstreamFailed
            | TaskState::Removed => {
                let message = format!("a task can be marked `success`, `failed` or `skipped`, not `{to}`");
                return Err(Refusal::new("task.mark", message)).into();
            }
        };
        let run = match self.wanted_run(tenant, &select.dag_id, &select.run_name) {
            Ok(run) => run,
            Err(step) => return step,
        };
        let state = self.run(run);
        if let Some((name, _)) = select.tasks.iter().find(|(name, _)| state.plan.find(name).is_none()) {
            return Err(no_task(name)).into();
        }
        let instances = self.selected(run, select, false);
        // What is gone stays gone: an index that its task's list no longer has isn't marked with the others.
        let changing: BTreeSet<TiIdx> = instances
            .into_iter()
            .filter(|ti| ![to, TaskState::Removed].contains(&state.tis[*ti as usize].state))
            .collect();
        let tasks: Vec<TaskIdx> = changing.iter().map(|ti| state.tis[*ti as usize].task).collect();
        // What failed only because of them gets another chance.
        let below: Vec<(TaskId, i32)> = if to == TaskState::Failed {
            Vec::new()
        } else {
            let plan = state.plan.clone();
            plan.closure(&tasks, &plan.downs)
                .into_iter()
                .flat_map(|task| state.instances(task))
                .filter(|ti| !changing.contains(ti))
                .filter(|ti| state.tis[*ti as usize].state == TaskState::UpstreamFailed)
                .map(|ti| self.task_name(TiRef { run, ti }))
                .collect()
        };
        let list: Vec<(TaskId, i32)> =
            changing.iter().map(|ti| self.task_name(TiRef { run, ti: *ti })).collect();
        let marked = list.len();
        if marked > 0 {
            let reason: Arc<str> = format!("marked {to} by {actor}").into();
            self.reopen(run);
            self.start_bulk(run, Bulk { id: 0, kind, list, by: Some(actor.clone()), reason: Some(reason) });
            if !below.is_empty() {
                let bulk = Bulk { id: 0, kind: BulkKind::Clear, list: below, by: Some(actor), reason: None };
                self.start_bulk(run, bulk);
            }
        }
        Ok(json!({ "marked": marked })).into()
    }

    pub(crate) fn mark_run(
        &mut self,
        tenant: TenantId,
        dag_id: &DagId,
        run_name: &RunName,
        to: RunState,
        actor: Arc<str>,
    ) -> Step {
        let run = match self.wanted_run(tenant, dag_id, run_name) {
            Ok(run) => run,
            Err(step) => return step,
        };
        let was = self.run(run).row.state;
        let reason: Arc<str> = format!("run marked {to} by {actor}").into();
        match to {
            RunState::Success | RunState::Failed if was.is_finished() => {
                if was != to {
                    let state = self.run_mut(run);
                    state.row.state = to;
                    state.row.reason = Some(reason.clone());
                    let dag = state.dag;
                    self.note_run(run, Some(reason));
                    self.news(dag, true);
                }
            }
            RunState::Success => {
                let state = self.run(run);
                let list = (0..state.tis.len() as TiIdx)
                    .filter(|ti| !state.tis[*ti as usize].has(crate::run::flag::DEAD))
                    .filter(|ti| {
                        !matches!(state.tis[*ti as usize].state, TaskState::Success | TaskState::Removed)
                    })
                    .map(|ti| self.task_name(TiRef { run, ti }))
                    .collect();
                let (by, kind) = (Some(actor), BulkKind::MarkSuccess);
                self.start_bulk(run, Bulk { id: 0, kind, list, by, reason: Some(reason) });
            }
            RunState::Failed => self.end_run(run, BulkKind::EndFailed, Some(actor), reason),
            RunState::Queued => self.reopen(run),
            RunState::Running => {
                let message = "a run can be marked `success`, `failed` or `queued`";
                return Err(Refusal::new("run.mark", message)).into();
            }
        }
        Ok(json!({ "state": to })).into()
    }

    /// Puts a finished run, as the database has it, back into memory.
    pub(crate) fn bring_back(
        &mut self,
        row: RunRow,
        tasks: Vec<TaskRow>,
        model: &Arc<Dag>,
    ) -> Option<RunIdx> {
        let dag = self.find_dag(row.tenant, &row.dag_id)?;
        if let Some(known) = self.dags[dag as usize].runs.get(&row.run_name) {
            return Some(*known);
        }
        self.busy_with = BusyWith::Run { tenant: row.tenant, run: row.run, stored: true };
        let plan = self.plan(&row.version, model);
        let run = self.restore_run(dag, plan, row, tasks, Vec::new());
        Some(run)
    }

    /// Moves a run to its DAG's newest version: tasks that are gone become removed, new ones are created.
    pub(crate) fn move_to_latest(&mut self, run: RunIdx) -> Result<(), Refusal> {
        let state = self.run(run);
        let dag = state.dag;
        let newest = self.dags[dag as usize].plan.clone();
        if newest.version == state.plan.version {
            return Ok(());
        }
        if state.tis.iter().any(|ti| ti.state.holds_slots()) {
            let message = "tasks of the run are running: wait for them, or clear on the run's own version";
            return Err(Refusal::new("run.busy", message));
        }
        let bundle = self.dags[dag as usize].row.bundle.clone();
        self.rebuild_run(run, newest, bundle);
        Ok(())
    }
}

fn smallest() -> DagId {
    DagId::parse("-").expect("invariant: a hyphen is a name")
}

pub(crate) fn no_run(dag_id: &DagId, run_name: &RunName) -> Refusal {
    Refusal::new("run.not_found", format!("`{dag_id}` has no run `{run_name}`"))
}
