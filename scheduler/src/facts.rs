//! What the shell must look up to run an attempt or answer a question: runs, results, variables, connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use dags::{
    ids::{AttemptId, DagId, DagVersion, DispatchId, RunId, RunName, TaskId, TenantId, WorkerId},
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
use migrations::{
    Db, TenantScope,
    seal::Sealer,
    store::{
        self,
        attempt_claim::{self, Wanted},
    },
};
use plugins::context::Connection;
use serde_json::Value;
use tokio::sync::Notify;

/// Why something couldn't be looked up.
#[derive(Debug, thiserror::Error)]
#[error("failed to {doing}")]
pub struct Error {
    doing: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    /// Whether asking again may help: what is stored isn't at fault.
    pub fn may_pass(&self) -> bool {
        self.source.downcast_ref::<migrations::Error>().is_none_or(migrations::Error::may_pass)
    }

    fn new(doing: &'static str) -> impl FnOnce(migrations::Error) -> Self {
        move |source| Self { doing, source: Box::new(source) }
    }
}

/// A run with its tasks.
pub type Whole = (RunRow, Vec<TaskRow>);

/// A variable as an attempt gets it.
#[derive(Clone, PartialEq)]
pub struct Variable {
    /// Its value.
    pub value: Value,
    /// Whether the value is secret.
    pub secret: bool,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variable").field("secret", &self.secret).finish_non_exhaustive()
    }
}

/// What the shell looks up. Everything is of one tenant.
pub trait Facts: Clone + Send + Sync + 'static {
    /// A run and the model of the version that it is pinned to: this one, unless the run has moved on since.
    fn run(
        &self,
        tenant: TenantId,
        run: RunId,
        version: &DagVersion,
    ) -> impl Future<Output = Result<Option<(RunRow, Arc<Dag>)>, Error>> + Send;

    /// The results of a task's instances, by map index.
    fn results(
        &self,
        tenant: TenantId,
        run: RunId,
        task: &TaskId,
    ) -> impl Future<Output = Result<Vec<(i32, ResultRef)>, Error>> + Send;

    /// The run of a DAG that stands for a date.
    fn run_at(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
        date: Timestamp,
    ) -> impl Future<Output = Result<Option<Whole>, Error>> + Send;

    /// The state of a run.
    fn state_of(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
        name: &RunName,
    ) -> impl Future<Output = Result<Option<RunState>, Error>> + Send;

    /// What the current attempt of a task instance stored so far.
    fn own_result(
        &self,
        tenant: TenantId,
        run: RunId,
        task: &TaskId,
        map_index: i32,
    ) -> impl Future<Output = Result<Option<Value>, Error>> + Send;

    /// What people answered to an attempt's question, if they did.
    fn response(
        &self,
        tenant: TenantId,
        attempt: AttemptId,
    ) -> impl Future<Output = Result<Option<InputResponse>, Error>> + Send;

    /// Whether a DAG is known, and its tasks.
    fn tasks_of(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
    ) -> impl Future<Output = Result<Option<BTreeSet<TaskId>>, Error>> + Send;

    /// The values of variables; one that isn't there is missing in the answer.
    fn variables(
        &self,
        tenant: TenantId,
        names: &BTreeSet<String>,
    ) -> impl Future<Output = Result<BTreeMap<String, Variable>, Error>> + Send;

    /// Connections with their secrets; one that isn't there is missing in the answer.
    fn connections(
        &self,
        tenant: TenantId,
        names: &BTreeSet<String>,
    ) -> impl Future<Output = Result<BTreeMap<String, Connection>, Error>> + Send;

    /// What a worker that is registered offers; none if it isn't, or not any more.
    fn worker(&self, worker: WorkerId) -> impl Future<Output = Result<Option<WorkerSpec>, Error>> + Send;

    /// A worker is lost or has left. It may come back, unless it said goodbye.
    fn worker_lost(&self, worker: WorkerId) -> impl Future<Output = Result<(), Error>> + Send;

    /// Those of some workers that have ended or may not be workers any more.
    fn absent(
        &self,
        workers: &BTreeSet<WorkerId>,
    ) -> impl Future<Output = Result<BTreeSet<WorkerId>, Error>> + Send;

    /// Sees to it that nobody starts these dispatches any more, and says which had been claimed before.
    fn withdraw(
        &self,
        withdrawals: &[Withdrawal],
    ) -> impl Future<Output = Result<Vec<(DispatchId, Withdrawn)>, Error>> + Send;
}

/// Facts from the database.
#[derive(Debug, Clone)]
pub struct DbFacts {
    db: Db,
    sealer: Sealer,
    runs: Arc<Mutex<RunCache>>,
}

/// Runs that were looked up last. What an attempt needs of a run doesn't change under one version.
#[derive(Debug, Default)]
struct RunCache {
    known: BTreeMap<RunId, (u64, RunRow, Arc<Dag>)>,
    clock: u64,
}

/// How many runs are remembered.
const RUNS_REMEMBERED: usize = 2_048;

impl RunCache {
    fn get(&mut self, run: RunId) -> Option<(RunRow, Arc<Dag>)> {
        self.clock += 1;
        let (used, row, dag) = self.known.get_mut(&run)?;
        *used = self.clock;
        Some((row.clone(), dag.clone()))
    }

    fn put(&mut self, row: &RunRow, dag: &Arc<Dag>) {
        if self.known.len() >= RUNS_REMEMBERED {
            // Half of them go at once, the least used ones, so that this is rare.
            let mut ages: Vec<u64> = self.known.values().map(|(used, ..)| *used).collect();
            ages.sort_unstable();
            let middle = ages[ages.len() / 2];
            self.known.retain(|_, (used, ..)| *used > middle);
        }
        self.clock += 1;
        self.known.insert(row.run, (self.clock, row.clone(), dag.clone()));
    }
}

impl DbFacts {
    /// Facts from that database; secrets are opened with the sealer.
    pub fn new(db: Db, sealer: Sealer) -> Self {
        Self { db, sealer, runs: Arc::default() }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, RunCache> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts for DbFacts {
    async fn run(
        &self,
        tenant: TenantId,
        run: RunId,
        version: &DagVersion,
    ) -> Result<Option<(RunRow, Arc<Dag>)>, Error> {
        if let Some(known) = self.cache().get(run).filter(|(row, _)| row.version == *version) {
            return Ok(Some(known));
        }
        let scope = TenantScope::new(tenant);
        let Some(row) = store::run::by_id(&self.db, scope, run).await.map_err(Error::new("read a run"))?
        else {
            return Ok(None);
        };
        let version = store::bundle::version(&self.db, scope, &row.dag_id, &row.version)
            .await
            .map_err(Error::new("read a DAG version"))?;
        let Some(version) = version else { return Ok(None) };
        self.cache().put(&row, &version.model);
        Ok(Some((row, version.model)))
    }

    async fn results(
        &self,
        tenant: TenantId,
        run: RunId,
        task: &TaskId,
    ) -> Result<Vec<(i32, ResultRef)>, Error> {
        let rows = store::result::of_task(&self.db, TenantScope::new(tenant), run, task)
            .await
            .map_err(Error::new("read results"))?;
        Ok(rows.into_iter().map(|row| (row.map_index, row.value)).collect())
    }

    async fn run_at(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
        date: Timestamp,
    ) -> Result<Option<Whole>, Error> {
        let scope = TenantScope::new(tenant);
        let filter = store::run::RunFilter {
            dag_id: Some(dag_id.clone()),
            logical_date_from: Some(date),
            logical_date_to: Some(date),
            ..Default::default()
        };
        let window = store::Window { limit: 1, offset: 0 };
        let page =
            store::run::list(&self.db, scope, &filter, window).await.map_err(Error::new("find a run"))?;
        let Some(row) = page.rows.into_iter().next() else { return Ok(None) };
        let window = store::Window { limit: 100_000, offset: 0 };
        let tasks = store::task_instance::list(
            &self.db,
            scope,
            row.run,
            &store::task_instance::TaskFilter::default(),
            window,
        )
        .await
        .map_err(Error::new("read task instances"))?;
        Ok(Some((row, tasks.rows)))
    }

    async fn state_of(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
        name: &RunName,
    ) -> Result<Option<RunState>, Error> {
        let found = store::run::by_name(&self.db, TenantScope::new(tenant), dag_id, name)
            .await
            .map_err(Error::new("read a run"))?;
        Ok(found.map(|row| row.state))
    }

    async fn own_result(
        &self,
        tenant: TenantId,
        run: RunId,
        task: &TaskId,
        map_index: i32,
    ) -> Result<Option<Value>, Error> {
        let found = store::result::get(&self.db, TenantScope::new(tenant), run, task, map_index)
            .await
            .map_err(Error::new("read a result"))?;
        Ok(found.and_then(|row| inline(row.value)))
    }

    async fn response(&self, tenant: TenantId, attempt: AttemptId) -> Result<Option<InputResponse>, Error> {
        store::input_request::response(&self.db, TenantScope::new(tenant), attempt)
            .await
            .map_err(Error::new("read an answer"))
    }

    async fn tasks_of(&self, tenant: TenantId, dag_id: &DagId) -> Result<Option<BTreeSet<TaskId>>, Error> {
        let found = store::dag::get(&self.db, TenantScope::new(tenant), dag_id)
            .await
            .map_err(Error::new("read a DAG"))?;
        let Some(found) = found else { return Ok(None) };
        let model = found.model().map_err(Error::new("read a DAG"))?;
        Ok(Some(model.tasks.iter().map(|task| task.task_id.clone()).collect()))
    }

    async fn variables(
        &self,
        tenant: TenantId,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Variable>, Error> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names: Vec<String> = names.iter().cloned().collect();
        let values = store::variable::values(&self.db, TenantScope::new(tenant), &self.sealer, &names)
            .await
            .map_err(Error::new("read variables"))?;
        let read = |opened: store::variable::Opened| Variable {
            value: Value::String(opened.value),
            secret: opened.secret,
        };
        Ok(values.into_iter().map(|(name, opened)| (name, read(opened))).collect())
    }

    async fn connections(
        &self,
        tenant: TenantId,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Connection>, Error> {
        let mut found = BTreeMap::new();
        for name in names {
            let opened = store::connection::open(&self.db, TenantScope::new(tenant), &self.sealer, name)
                .await
                .map_err(Error::new("open a connection"))?;
            if let Some((address, secrets)) = opened {
                found.insert(name.clone(), connection(address, secrets));
            }
        }
        Ok(found)
    }

    async fn worker(&self, worker: WorkerId) -> Result<Option<WorkerSpec>, Error> {
        let found = store::worker::present(&self.db, worker).await.map_err(Error::new("read a worker"))?;
        if found.as_ref().is_some_and(|worker| worker.lost_at.is_some()) {
            store::worker::returned(&self.db, worker).await.map_err(Error::new("store a worker's return"))?;
        }
        Ok(found.map(|worker| worker.spec))
    }

    async fn worker_lost(&self, worker: WorkerId) -> Result<(), Error> {
        store::worker::lost(&self.db, worker).await.map_err(Error::new("store a worker's loss"))
    }

    async fn absent(&self, workers: &BTreeSet<WorkerId>) -> Result<BTreeSet<WorkerId>, Error> {
        store::worker::absent(&self.db, workers).await.map_err(Error::new("look for workers"))
    }

    async fn withdraw(&self, withdrawals: &[Withdrawal]) -> Result<Vec<(DispatchId, Withdrawn)>, Error> {
        let wanted: Vec<Wanted> = withdrawals
            .iter()
            .map(|withdrawal| Wanted {
                dispatch: withdrawal.id,
                member: attempt_claim::SPEAKER,
                tenant: withdrawal.tenant,
                run: withdrawal.run,
                task: withdrawal.task_id.clone(),
                map_index: withdrawal.map_index,
                try_number: withdrawal.try_number,
            })
            .collect();
        let outcomes = attempt_claim::withdraw(&self.db, &wanted).await;
        let outcomes = outcomes.map_err(Error::new("withdraw dispatches of lost workers"))?;
        Ok(withdrawals.iter().map(|withdrawal| withdrawal.id).zip(outcomes).collect())
    }
}

/// A connection, opened.
pub(crate) fn connection(
    address: store::connection::Address,
    secrets: store::connection::Secrets,
) -> Connection {
    Connection {
        conn_type: address.conn_type,
        host: address.host,
        port: address.port,
        schema: address.schema,
        login: address.login,
        password: secrets.password,
        extra: secrets.extra,
    }
}

/// A value that the engine stored itself: those are small.
fn inline(value: ResultRef) -> Option<Value> {
    match value {
        ResultRef::Inline(value) => Some(value),
        ResultRef::Stored { .. } => None,
    }
}

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

    async fn absent(&self, _workers: &BTreeSet<WorkerId>) -> Result<BTreeSet<WorkerId>, Error> {
        Ok(BTreeSet::new())
    }

    async fn withdraw(&self, withdrawals: &[Withdrawal]) -> Result<Vec<(DispatchId, Withdrawn)>, Error> {
        // Nobody claims anything here.
        Ok(withdrawals.iter().map(|withdrawal| (withdrawal.id, Withdrawn::Unclaimed)).collect())
    }
}
