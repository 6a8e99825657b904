//! Runs that tasks start, within limits: a DAG that starts itself, directly or through others, stops by itself.

use std::sync::Arc;

use dags::{
    ids::{DispatchId, TenantId},
    time::{Span, Timestamp},
};
use serde_json::{Value, json};

use crate::{
    command::{Refusal, Trigger},
    engine::Engine,
    journal::Load,
    question::{IfExists, MakeRun},
    rows::ResultRow,
    run::{RunIdx, TiRef},
    state::RunState,
    transition::Event,
};

/// How many runs may have started each other, one after the other, by `trigger_dag`.
pub const CHAIN_MAX: u32 = 10;
/// How many runs the tasks of one tenant may start per minute where several tenants share an installation.
pub const RUNS_PER_MINUTE: u32 = 600;

/// The time that [`RUNS_PER_MINUTE`] is counted over.
const MINUTE: Span = Span::seconds(60);

/// When the runs that a tenant's tasks started would have been started at an even pace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate(Timestamp);

impl Engine {
    /// A task asks for a run of another DAG; `absent` is what was looked up for it and isn't there.
    pub(crate) fn trigger_from_task(&mut self, id: DispatchId, mut make: MakeRun, absent: Option<&Load>) {
        let Some(at) =
            self.attempts.get(&id.attempt).filter(|holder| holder.n == id.n).map(|holder| holder.at)
        else {
            return;
        };
        let row = &self.run(at.run).row;
        let (tenant, depth) = (row.tenant, row.chain_depth + 1);
        let by: Arc<str> = format!("{}/{}", row.dag_id, row.run_name).into();
        make.trigger.chain_depth = depth;
        if depth > CHAIN_MAX {
            let started_by = row.triggered_by.clone().unwrap_or_default();
            self.attempts.swap_remove(&id.attempt);
            let reason = format!(
                "{CHAIN_MAX} runs have started each other by `trigger_dag`, this one was started by `{started_by}`, and \
                 `{}` would be one more: does a DAG start itself?",
                make.trigger.dag_id
            );
            self.failed(at, false, Some(reason.into()));
            return;
        }
        let outcome = match self.must_be_absent(tenant, &make.trigger, absent) {
            Ok(Some(load)) => {
                self.ask_load(load).tasks.push((id, make));
                return;
            }
            Ok(None) => match self.take_turn(tenant) {
                Ok(()) => self.make_triggered(tenant, &make.trigger, Some(by), absent),
                Err(when) => {
                    self.attempts.swap_remove(&id.attempt);
                    let reason =
                        format!("tasks of this tenant started {RUNS_PER_MINUTE} runs within a minute");
                    if self.apply(at, Event::Defer, Some(reason.into())) {
                        self.sleep_until(at, when);
                    }
                    return;
                }
            },
            Err(refusal) => Err(refusal),
        };
        self.attempts.swap_remove(&id.attempt);
        match outcome {
            Ok(run) => self.stands_for(at, make, run),
            Err(refusal) => self.not_made(at, make, refusal),
        }
    }

    /// The run wasn't made.
    fn not_made(&mut self, at: TiRef, make: MakeRun, refusal: Refusal) {
        let exists = matches!(refusal.code.as_str(), "run.exists" | "run.date_exists");
        let there = if exists { self.run_of(self.run(at.run).row.tenant, &make.trigger) } else { None };
        match (make.if_exists, there) {
            (IfExists::Use, Some(run)) => self.stands_for(at, make, run),
            (IfExists::Skip, Some(_)) => {
                self.apply(at, Event::Skip, Some(refusal.message.into()));
            }
            (IfExists::Fail, _) | (IfExists::Skip | IfExists::Use, None) => {
                self.failed(at, true, Some(refusal.message.into()));
            }
        }
    }

    /// The run, in memory, that has the name or date of the one that is asked for.
    fn run_of(&self, tenant: TenantId, trigger: &Trigger) -> Option<RunIdx> {
        let dag = &self.dags[self.find_dag(tenant, &trigger.dag_id)? as usize];
        let named = trigger.run_name.as_ref().and_then(|name| dag.runs.get(name));
        let dated = |run: &&RunIdx| {
            let date = self.run(**run).row.logical_date;
            date.is_some() && date == trigger.logical_date
        };
        named.or_else(|| dag.runs.values().find(dated)).copied()
    }

    /// The run is there: the task is done, or waits for its end.
    fn stands_for(&mut self, at: TiRef, make: MakeRun, run: RunIdx) {
        let row = &self.run(run).row;
        let (dag_id, name, state) = (row.dag_id.clone(), row.run_name.clone(), row.state);
        let value = json!({ "dag_id": dag_id, "run_id": name, "state": state });
        let Some(watch) = make.wait else {
            self.returned(at, value);
            return;
        };
        match state {
            RunState::Success => self.returned(at, value),
            RunState::Failed => {
                self.failed(at, true, Some(format!("run `{name}` of `{dag_id}` failed").into()));
            }
            RunState::Queued | RunState::Running if run == at.run => {
                self.failed(at, false, Some("it would wait for its own run".into()));
            }
            RunState::Queued | RunState::Running => {
                self.store_value(at, value);
                self.watch(at, watch);
            }
        }
    }

    /// Stores what an instance returned before it is done.
    pub(crate) fn store_value(&mut self, at: TiRef, value: Value) {
        let attempt = self.attempt_id(at);
        let (task, map_index) = self.task_name(at);
        let (tenant, run) = (self.run(at.run).row.tenant, self.run(at.run).row.run);
        let value = crate::dispatch::ResultRef::Inline(value);
        self.out.results.push(ResultRow { tenant, run, task, map_index, attempt, value });
    }

    /// Takes a turn of a tenant's tasks to start a run, or says when the next one is. An installation with one tenant has
    /// no such limit.
    fn take_turn(&mut self, tenant: TenantId) -> Result<(), Timestamp> {
        let owner =
            |entry: Option<(&(TenantId, dags::ids::DagId), &u32)>| entry.map(|((owner, _), _)| *owner);
        if owner(self.dag_index.first_key_value()) == owner(self.dag_index.last_key_value()) {
            return Ok(());
        }
        let apart = Span(MINUTE.0 / i64::from(RUNS_PER_MINUTE));
        let next = self.rates.get(&tenant).map_or(self.now, |rate| rate.0.max(self.now)).after(apart);
        if next.since(self.now) > MINUTE {
            return Err(next.before(MINUTE));
        }
        self.rates.insert(tenant, Rate(next));
        Ok(())
    }
}
