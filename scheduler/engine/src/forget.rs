//! Forgetting runs and DAGs on request.

use dags::ids::{DagId, RunId, RunName, TenantId};
use serde_json::{Value, json};

use crate::{
    command::Refusal,
    engine::Engine,
    journal::Load,
    request::Step,
    rows::{QuarantineRow, RETIRED, Subject},
    run::RunIdx,
};

impl Engine {
    pub(crate) fn delete_run(&mut self, tenant: TenantId, dag_id: &DagId, run_name: &RunName) -> Step {
        let run = match self.wanted_run(tenant, dag_id, run_name) {
            Ok(run) => run,
            Err(step) => return step,
        };
        let state = self.run(run);
        if !state.row.state.is_finished() || state.unfinished > 0 {
            let message = format!("run `{run_name}` isn't finished");
            return Err(Refusal::new("run.unfinished", message)).into();
        }
        let id = state.row.run;
        self.past_is_gone(run);
        self.drop_rows(run);
        self.out.deleted_runs.push((tenant, id));
        let dag = self.run(run).dag;
        self.forget_run(run);
        self.news(dag, true);
        Ok(json!({ "deleted": run_name })).into()
    }

    /// Marks a finished run as being deleted, unless it is in memory or somebody has asked for it: then it is for another time.
    pub(crate) fn retire(&mut self, tenant: TenantId, dag_id: &DagId, run: RunId) {
        if let Some(dag) = self.find_dag(tenant, dag_id)
            && self.dags[dag as usize].runs.values().any(|known| self.run(*known).row.run == run)
        {
            return;
        }
        let asked = |load: &Load| match load {
            Load::Run(of, dag, _) | Load::Before(of, dag, _) | Load::At(of, dag, _) => {
                *of == tenant && dag == dag_id
            }
            Load::ById(asked) => *asked == run,
        };
        if self.awaited.keys().any(asked) {
            return;
        }
        let (subject, reason) = (Subject::Run(tenant, run), Some(RETIRED.into()));
        self.out.quarantine.push(QuarantineRow { subject, reason });
    }

    pub(crate) fn delete_dag(&mut self, tenant: TenantId, dag_id: &DagId) -> Result<Value, Refusal> {
        if self.delete_quarantined_dag(tenant, dag_id) {
            return Ok(json!({ "deleted": dag_id }));
        }
        let dag = self.known_dag(tenant, dag_id)?;
        let state = &self.dags[dag as usize];
        let open = |run: &RunIdx| !self.run(*run).row.state.is_finished() || self.run(*run).unfinished > 0;
        if state.runs.values().any(open) {
            return Err(Refusal::new("dag.has_runs", format!("`{dag_id}` has unfinished runs")));
        }
        for run in state.runs.values().copied().collect::<Vec<_>>() {
            self.drop_rows(run);
            self.forget_run(run);
        }
        self.end_backfills(dag);
        self.forget_pending(dag);
        let state = &mut self.dags[dag as usize];
        (state.deleted, state.next) = (true, None);
        state.generation += 1;
        self.listen(dag);
        self.dag_index.remove(&(tenant, dag_id.clone()));
        self.out.deleted_dags.push((tenant, dag_id.clone()));
        Ok(json!({ "deleted": dag_id }))
    }
}
