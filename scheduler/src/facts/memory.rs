//! Facts from a journal in memory: for `updraft test`, and tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use dags::{
    ids::{
        AttemptId, DagId, DagVersion, DispatchId, ExecutorName, RunId, RunName, TaskId, TenantId, WorkerId,
    },
    model::Dag,
    time::Timestamp,
};
use engine::{
    dispatch::{ResultRef, Withdrawal, Withdrawn},
    fleet::WorkerSpec,
    journal::{Commit, Inbox, Journal, Load, Loaded, Position},
    memory::MemoryJournal,
    rows::{Batch, InputResponse, RunRow, Snapshot, TaskRow},
    state::RunState,
};
use plugins::context::{ASSET_EVENTS_MAX, AssetEvent, Connection};
use serde_json::Value;
use tokio::sync::Notify;

use super::{Error, Facts, Variable, Whole, by_asset, inline};

/// A journal in memory that others read while a shell writes it: [`MemoryFacts`], and whoever waits for a run.
#[derive(Debug, Clone, Default)]
pub struct SharedJournal {
    /// The journal.
    pub journal: Arc<Mutex<MemoryJournal>>,
    /// Rings after each commit.
    pub committed: Arc<Notify>,
}

impl SharedJournal {
    /// The journal. Nothing that holds it can leave it half-written.
    pub fn lock(&self) -> std::sync::MutexGuard<'_, MemoryJournal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for SharedJournal {
    type Error = Infallible;

    async fn snapshot(&mut self) -> Result<Snapshot, Infallible> {
        Ok(self.lock().read())
    }

    async fn inbox(&mut self, skip: &[i64], limit: usize) -> Result<Inbox, Infallible> {
        Ok(self.lock().requests(skip, limit))
    }

    async fn load(&mut self, load: Load) -> Result<Loaded, Infallible> {
        Ok(self.lock().find(load))
    }

    async fn commit(&mut self, batch: &Batch) -> Commit {
        let commit = self.lock().write(batch);
        self.committed.notify_one();
        commit
    }

    async fn position(&mut self) -> Result<Position, Infallible> {
        Ok(Position { ours: true, batch: self.lock().batch })
    }
}

/// Facts from a journal in memory, with variables and connections given beforehand.
#[derive(Debug, Clone, Default)]
pub struct MemoryFacts {
    /// The journal, shared with the shell that writes it.
    pub journal: Arc<Mutex<MemoryJournal>>,
    /// Variables.
    pub variables: Arc<BTreeMap<String, Value>>,
    /// Connections.
    pub connections: Arc<BTreeMap<String, Connection>>,
    /// How much of their data tasks should take.
    pub sample: Option<u64>,
}

impl MemoryFacts {
    /// The journal.
    pub fn journal(&self) -> std::sync::MutexGuard<'_, MemoryJournal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, load: Load) -> Option<(RunRow, Vec<TaskRow>, Arc<Dag>)> {
        let Loaded { run, .. } = self.journal().find(load);
        run
    }
}

impl Facts for MemoryFacts {
    fn sample(&self) -> Option<u64> {
        self.sample
    }

    async fn run(
        &self,
        _tenant: TenantId,
        run: RunId,
        _version: &DagVersion,
    ) -> Result<Option<(RunRow, Arc<Dag>)>, Error> {
        Ok(self.find(Load::ById(run)).map(|(row, _, dag)| (row, dag)))
    }

    async fn results(
        &self,
        _tenant: TenantId,
        run: RunId,
        task: &TaskId,
    ) -> Result<Vec<(i32, ResultRef)>, Error> {
        let journal = self.journal();
        let first = (run, task.clone(), i32::MIN);
        let of_task = journal.results.range(first..).take_while(|((r, t, _), _)| (r, t) == (&run, task));
        Ok(of_task.map(|((_, _, index), row)| (*index, row.value.clone())).collect())
    }

    async fn run_at(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
        date: Timestamp,
    ) -> Result<Option<Whole>, Error> {
        Ok(self.find(Load::At(tenant, dag_id.clone(), date)).map(|(row, tasks, _)| (row, tasks)))
    }

    async fn previous_success(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
        before: Timestamp,
    ) -> Result<Option<RunRow>, Error> {
        let journal = self.journal();
        let earlier = journal.runs.values().filter(|row| {
            (row.tenant, &row.dag_id, row.state) == (tenant, dag_id, RunState::Success)
                && row.logical_date.is_some_and(|date| date < before)
        });
        Ok(earlier.max_by_key(|row| row.logical_date).cloned())
    }

    async fn asset_events(
        &self,
        tenant: TenantId,
        assets: &BTreeSet<String>,
        (after, until): (Timestamp, Timestamp),
    ) -> Result<BTreeMap<String, Vec<AssetEvent>>, Error> {
        let journal = self.journal();
        let within = journal.asset_events.iter().filter(|row| {
            row.tenant == tenant && assets.contains(&*row.asset) && after < row.at && row.at <= until
        });
        let rows: Vec<_> = within.rev().take(ASSET_EVENTS_MAX as usize).cloned().collect();
        let name = |run| journal.runs.get(&run).map(|row| (row.dag_id.clone(), row.run_name.clone()));
        Ok(by_asset(rows.into_iter().rev(), name))
    }

    async fn state_of(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
        name: &RunName,
    ) -> Result<Option<RunState>, Error> {
        Ok(self.find(Load::Run(tenant, dag_id.clone(), name.clone())).map(|(row, ..)| row.state))
    }

    async fn own_result(
        &self,
        _tenant: TenantId,
        run: RunId,
        task: &TaskId,
        map_index: i32,
    ) -> Result<Option<Value>, Error> {
        let journal = self.journal();
        let key = (run, task.clone(), map_index);
        let current = journal.tasks.get(&key).map(TaskRow::attempt);
        let found = journal.results.get(&key).filter(|row| current == Some(row.attempt));
        Ok(found.and_then(|row| inline(row.value.clone())))
    }

    async fn response(&self, _tenant: TenantId, attempt: AttemptId) -> Result<Option<InputResponse>, Error> {
        Ok(self.journal().inputs.get(&attempt).and_then(|row| row.response.clone()))
    }

    async fn tasks_of(&self, tenant: TenantId, dag_id: &DagId) -> Result<Option<BTreeSet<TaskId>>, Error> {
        let journal = self.journal();
        let row = journal.dags.get(&(tenant, dag_id.clone()));
        let model = row.and_then(|row| journal.versions.get(&row.version));
        Ok(model.map(|dag| dag.tasks.iter().map(|task| task.task_id.clone()).collect()))
    }

    async fn variables(
        &self,
        _tenant: TenantId,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Variable>, Error> {
        let read = |value: &Value| Variable { value: value.clone(), secret: false };
        let known = names.iter().filter_map(|name| Some((name.clone(), read(self.variables.get(name)?))));
        Ok(known.collect())
    }

    async fn connections(
        &self,
        _tenant: TenantId,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Connection>, Error> {
        let known = names.iter().filter_map(|name| Some((name.clone(), self.connections.get(name)?.clone())));
        Ok(known.collect())
    }

    async fn worker(&self, _worker: WorkerId) -> Result<Option<WorkerSpec>, Error> {
        Ok(None)
    }

    async fn worker_lost(&self, _worker: WorkerId) -> Result<(), Error> {
        Ok(())
    }

    async fn lose_unheard(
        &self,
        _executor: &ExecutorName,
        _heard: &BTreeSet<WorkerId>,
        _registered_before: Timestamp,
    ) -> Result<u64, Error> {
        Ok(0)
    }

    async fn absent(&self, _workers: &BTreeSet<WorkerId>) -> Result<BTreeSet<WorkerId>, Error> {
        Ok(BTreeSet::new())
    }

    async fn withdraw(&self, withdrawals: &[Withdrawal]) -> Result<Vec<(DispatchId, Withdrawn)>, Error> {
        // Nobody claims anything here.
        Ok(withdrawals.iter().map(|withdrawal| (withdrawal.id, Withdrawn::Unclaimed)).collect())
    }
}
