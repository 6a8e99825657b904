//! What the engine leaves alone: runs and DAGs whose rows it can't work with. Everything else goes on.
//!
//! A row that can't be read, or a change that the database refuses again and again, would otherwise stop the whole shard:
//! the engine would be rebuilt, meet the same row and stop, for ever. Instead the run or DAG that causes it is marked in its
//! row and kept out of memory, until a person has mended it and releases it, or deletes it. Its attempts are ended, as
//! everything is that nobody knows of.

use std::sync::Arc;

use dags::ids::{DagId, RunId, TenantId};
use serde_json::{Value, json};

use crate::{
    command::{Command, Refusal},
    engine::{Awaited, Engine},
    explain,
    journal::Known,
    past::Before,
    plan::Plan,
    rows::{Broken, EventRow, InboxOutcome, QuarantineRow, RETIRED, RunRow, Subject, TaskRow, Transition},
};

/// The code of a refusal about something that is quarantined.
const RUN: &str = "run.quarantined";
const DAG: &str = "dag.quarantined";

impl Engine {
    /// Marks what can't be worked with; it was never taken into memory.
    pub(crate) fn quarantine(&mut self, broken: Broken) {
        let Broken { subject, dag_id, reason } = broken;
        let reason: Arc<str> = reason.into();
        match &subject {
            Subject::Dag(tenant, dag_id) => {
                self.quarantined_dags.insert((*tenant, dag_id.clone()), reason.clone());
            }
            Subject::Run(tenant, run) => {
                if let Some(dag_id) = dag_id.clone() {
                    let step = Transition {
                        task: None,
                        to: "quarantined".into(),
                        try_number: 0,
                        at: self.now,
                        reason: Some(reason.clone()),
                    };
                    let (tenant, run, at) = (*tenant, *run, self.now);
                    self.out.events.push(EventRow { tenant, run, dag_id, at, transitions: vec![step] });
                }
            }
        }
        self.out.effects.quarantined.push(Broken {
            subject: subject.clone(),
            dag_id,
            reason: reason.to_string(),
        });
        self.out.quarantine.push(QuarantineRow { subject, reason: Some(reason) });
    }

    /// Lets a person bring it back: the engine is rebuilt with it.
    fn release_subject(&mut self, subject: Subject) -> Value {
        self.out.quarantine.push(QuarantineRow { subject, reason: None });
        self.out.effects.rebuild = true;
        json!({ "released": true })
    }

    /// `Release` of a whole DAG.
    pub(crate) fn release_dag(&mut self, tenant: TenantId, dag_id: &DagId) -> Result<Value, Refusal> {
        if self.quarantined_dags.contains_key(&(tenant, dag_id.clone())) {
            return Ok(self.release_subject(Subject::Dag(tenant, dag_id.clone())));
        }
        self.known_dag(tenant, dag_id)?;
        Err(Refusal::new("dag.not_quarantined", format!("`{dag_id}` isn't quarantined")))
    }

    /// The refusal of whatever is asked about a quarantined DAG.
    pub(crate) fn dag_refusal(&self, tenant: TenantId, dag_id: &DagId) -> Option<Refusal> {
        let reason = self.quarantined_dags.get(&(tenant, dag_id.clone()))?;
        let message = format!("`{dag_id}` is quarantined: {reason}. Mend it and release it, or delete it");
        Some(Refusal::new(DAG, message))
    }

    /// A quarantined DAG may be deleted as it is.
    pub(crate) fn delete_quarantined_dag(&mut self, tenant: TenantId, dag_id: &DagId) -> bool {
        let known = self.quarantined_dags.remove(&(tenant, dag_id.clone())).is_some();
        if known {
            self.out.deleted_dags.push((tenant, dag_id.clone()));
        }
        known
    }

    /// A run that was asked for exists and is quarantined.
    pub(crate) fn found_quarantined(&mut self, awaited: Awaited, known: &Known) {
        let Known { tenant, run, date, reason } = known;
        let retired = reason == RETIRED;
        for (follower, seq) in awaited.pasts {
            if self.is_run(follower, seq) {
                if retired {
                    // It is only there to be deleted, and nothing that is kept lies before it.
                    self.past_found(follower, None);
                    continue;
                }
                // Nobody knows how its tasks ended: whoever depends on them waits.
                let plan = &self.run(follower).plan;
                let blocked =
                    (0..plan.tasks.len() as u32).map(|task| plan.model(task).task_id.clone()).collect();
                let before = Before { tenant: *tenant, date: *date, run_type: None, blocked };
                self.past_found(follower, Some(before));
            }
        }
        for key in awaited.backfills {
            self.backfill_found(key, None, None, true);
        }
        let refusal = |what: &str| {
            if retired {
                return Refusal::new(RUN, format!("{what} is gone in a moment: {reason}"));
            }
            let message = format!("{what} is quarantined: {reason}. Mend it and release it, or delete it");
            Refusal::new(RUN, message)
        };
        for row in awaited.requests {
            let outcome = match &row.command {
                Command::DeleteRun { run_name, dag_id } => {
                    self.out.deleted_runs.push((*tenant, *run));
                    if let Some(dag) = self.find_dag(*tenant, dag_id) {
                        self.look_for_pasts(dag);
                    }
                    Ok(json!({ "deleted": run_name }))
                }
                Command::Explain { .. } => {
                    Ok(json!({ "waiting": null, "quarantined": explain::quarantined(reason, false) }))
                }
                Command::Release { .. } if retired => Err(refusal("the run")),
                Command::Release { .. } => Ok(self.release_subject(Subject::Run(*tenant, *run))),
                Command::Trigger(trigger) => {
                    let what = format!("a run of `{}` with that name or logical date", trigger.dag_id);
                    Err(refusal(&what))
                }
                Command::Clear(_)
                | Command::MarkTasks { .. }
                | Command::Respond(_)
                | Command::MarkRun { .. }
                | Command::ActivateBundle { .. }
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
                | Command::DeleteDag { .. } => Err(refusal("the run")),
            };
            self.out.inbox.push(InboxOutcome { id: row.id, outcome });
        }
        for (id, make) in awaited.tasks {
            let what = format!("a run of `{}` with that name or logical date", make.trigger.dag_id);
            self.answer(id, crate::question::Answer::Error(refusal(&what).message));
        }
    }
}

/// Whether a run can be put into memory as it is stored.
pub(crate) fn fits(plan: &Plan, row: &RunRow, tasks: &[TaskRow], map_length_max: u32) -> Result<(), String> {
    if row.created_tasks as usize > plan.tasks.len() {
        let (made, all) = (row.created_tasks, plan.tasks.len());
        return Err(format!("it says that {made} of its tasks were made, and its version has {all}"));
    }
    // A tenant's own limit was checked when the task was expanded; this is about numbers that nothing explains.
    let most = i64::from(map_length_max).max(1_000_000);
    let strange = tasks.iter().find(|task| task.map_index < -1 || i64::from(task.map_index) >= most);
    match strange {
        Some(task) => Err(format!("task `{}` has the map index {}", task.task, task.map_index)),
        None => Ok(()),
    }
}

impl Broken {
    /// A run that can't be worked with.
    pub fn run(tenant: TenantId, run: RunId, dag_id: Option<DagId>, reason: impl Into<String>) -> Self {
        Self { subject: Subject::Run(tenant, run), dag_id, reason: reason.into() }
    }

    /// A DAG that can't be worked with.
    pub fn dag(tenant: TenantId, dag_id: DagId, reason: impl Into<String>) -> Self {
        Self { subject: Subject::Dag(tenant, dag_id.clone()), dag_id: Some(dag_id), reason: reason.into() }
    }
}
