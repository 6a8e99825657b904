//! What the shell must look up to run an attempt or answer a question: runs, results, variables, connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, PoisonError, Weak},
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
    rows::{AssetEventRow, InputResponse, RunRow, TaskRow},
    state::RunState,
};
use migrations::{
    Db, TenantScope,
    policy::Visible,
    seal::Sealer,
    store::{
        self,
        attempt_claim::{self, Wanted},
    },
};
use plugins::context::{ASSET_EVENTS_MAX, AssetEvent, Connection};
use serde_json::Value;

mod memory;

pub use memory::{MemoryFacts, SharedJournal};

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
    /// How much of their data tasks should take; nothing for all of it, as everywhere but in a run that tries things out.
    fn sample(&self) -> Option<u64> {
        None
    }

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

    /// The newest successful run of a DAG that stands for a date before this one.
    fn previous_success(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
        before: Timestamp,
    ) -> impl Future<Output = Result<Option<RunRow>, Error>> + Send;

    /// The events of assets in a window ([`RunRow::asset_window`]), by asset, the oldest first; of more than
    /// [`ASSET_EVENTS_MAX`] the newest.
    fn asset_events(
        &self,
        tenant: TenantId,
        assets: &BTreeSet<String>,
        window: (Timestamp, Timestamp),
    ) -> impl Future<Output = Result<BTreeMap<String, Vec<AssetEvent>>, Error>> + Send;

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

    /// Workers of an executor that registered before an instant and aren't heard are lost. Says how many there were.
    fn lose_unheard(
        &self,
        executor: &ExecutorName,
        heard: &BTreeSet<WorkerId>,
        registered_before: Timestamp,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

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

/// Events as templates see them, by asset.
fn by_asset(
    rows: impl Iterator<Item = AssetEventRow>,
    name: impl Fn(RunId) -> Option<(DagId, RunName)>,
) -> BTreeMap<String, Vec<AssetEvent>> {
    let mut events: BTreeMap<String, Vec<AssetEvent>> = BTreeMap::new();
    for row in rows {
        let run = row.source.as_ref().and_then(|(run, ..)| name(*run));
        let source = row.source.zip(run);
        events.entry(row.asset.to_string()).or_default().push(AssetEvent {
            timestamp: row.at,
            extra: (*row.extra).clone(),
            source_dag_id: source.as_ref().map(|(_, (dag_id, _))| dag_id.to_string()),
            source_run_id: source.as_ref().map(|(_, (_, name))| name.to_string()),
            source_task_id: source.as_ref().map(|((_, task, _), _)| task.to_string()),
            source_map_index: source.as_ref().map_or(-1, |((.., map_index), _)| *map_index),
        });
    }
    events
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
    /// The models of these runs: the next run of a version has the same.
    models: BTreeMap<(TenantId, DagId, DagVersion), Weak<Dag>>,
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

    /// The model of a version, if a run of it is remembered.
    fn model(&self, row: &RunRow) -> Option<Arc<Dag>> {
        let key = (row.tenant, row.dag_id.clone(), row.version.clone());
        self.models.get(&key).and_then(Weak::upgrade)
    }

    fn put(&mut self, row: &RunRow, dag: &Arc<Dag>) {
        if self.known.len() >= RUNS_REMEMBERED {
            // Half of them go at once, the least used ones, so that this is rare.
            let mut ages: Vec<u64> = self.known.values().map(|(used, ..)| *used).collect();
            ages.sort_unstable();
            let middle = ages[ages.len() / 2];
            self.known.retain(|_, (used, ..)| *used > middle);
            self.models.retain(|_, dag| dag.strong_count() > 0);
        }
        self.clock += 1;
        self.models.insert((row.tenant, row.dag_id.clone(), row.version.clone()), Arc::downgrade(dag));
        self.known.insert(row.run, (self.clock, row.clone(), dag.clone()));
    }
}

impl DbFacts {
    /// Facts from that database; secrets are opened with the sealer.
    pub fn new(db: Db, sealer: Sealer) -> Self {
        Self { db, sealer, runs: Arc::default() }
    }

    /// Looks up many runs of a tenant at once, so that [`Facts::run`] knows them. Of one that can't be read it says why.
    pub(crate) async fn foresee(&self, tenant: TenantId, runs: BTreeSet<RunId>) -> Result<(), Error> {
        let scope = TenantScope::new(tenant);
        let unknown: BTreeSet<RunId> = {
            let cache = self.cache();
            runs.into_iter().filter(|run| !cache.known.contains_key(run)).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let rows = store::run::by_ids(&self.db, scope, &unknown).await.map_err(Error::new("read runs"))?;
        let rows: Vec<RunRow> = {
            let mut cache = self.cache();
            let mut is_new = |row: &RunRow| match cache.model(row) {
                Some(model) => {
                    cache.put(row, &model);
                    false
                }
                None => true,
            };
            rows.into_iter().filter(|row| is_new(row)).collect()
        };
        if rows.is_empty() {
            return Ok(());
        }
        let wanted = rows.iter().map(|row| (row.dag_id.clone(), row.version.clone())).collect();
        let versions = store::bundle::some_versions(&self.db, scope, &wanted)
            .await
            .map_err(Error::new("read DAG versions"))?;
        let models: BTreeMap<_, _> = versions
            .into_iter()
            .map(|version| ((version.model.dag_id.clone(), version.version), version.model))
            .collect();
        let mut cache = self.cache();
        for row in &rows {
            if let Some(model) = models.get(&(row.dag_id.clone(), row.version.clone())) {
                cache.put(row, model);
            }
        }
        Ok(())
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
        let known = self.cache().model(&row);
        let model = match known {
            Some(model) => Some(model),
            None => store::bundle::version(&self.db, scope, &row.dag_id, &row.version)
                .await
                .map_err(Error::new("read a DAG version"))?
                .map(|version| version.model),
        };
        let Some(model) = model else { return Ok(None) };
        self.cache().put(&row, &model);
        Ok(Some((row, model)))
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

    async fn previous_success(
        &self,
        tenant: TenantId,
        dag_id: &DagId,
        before: Timestamp,
    ) -> Result<Option<RunRow>, Error> {
        store::run::previous_success(&self.db, TenantScope::new(tenant), dag_id, before)
            .await
            .map_err(Error::new("find the run before a run"))
    }

    async fn asset_events(
        &self,
        tenant: TenantId,
        assets: &BTreeSet<String>,
        window: (Timestamp, Timestamp),
    ) -> Result<BTreeMap<String, Vec<AssetEvent>>, Error> {
        let doing = "read the events of assets";
        let scope = TenantScope::new(tenant);
        let which = store::asset::EventFilter { assets: assets.clone(), within: Some(window) };
        let newest = store::Window { limit: ASSET_EVENTS_MAX, offset: 0 };
        let page = store::asset::events(&self.db, scope, &Visible::all(), &which, newest)
            .await
            .map_err(Error::new(doing))?;
        let runs = page.rows.iter().filter_map(|(_, row)| Some(row.source.as_ref()?.0)).collect();
        let names = store::run::names(&self.db, scope, &runs).await.map_err(Error::new(doing))?;
        let rows = page.rows.into_iter().rev().map(|(_, row)| row);
        Ok(by_asset(rows, |run| names.get(&run).cloned()))
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

    async fn lose_unheard(
        &self,
        executor: &ExecutorName,
        heard: &BTreeSet<WorkerId>,
        registered_before: Timestamp,
    ) -> Result<u64, Error> {
        store::worker::lose_unheard(&self.db, executor, heard, registered_before)
            .await
            .map_err(Error::new("look for workers that nobody hears"))
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
