//! A journal in memory: for the local runner, whose runs end with the process, and for the simulator.
//!
//! As strict as the database: a row that isn't in the expected state, a name or a date that exists twice is a conflict.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
};

use dags::{
    ids::{AlertId, AttemptId, BundleId, DagId, DagVersion, PoolName, RunId, RunName, TaskId, TenantId},
    model::Dag,
    time::Timestamp,
};

use crate::{
    command::{Command, InboxRow, Refusal},
    journal::{Commit, Conflict, Inbox, Journal, Known, Load, Loaded, Position},
    rows::{
        AlertRow, AssetEventRow, AttemptRow, BackfillRow, Batch, ContinuationRow, DagRow, EventRow, InputRow,
        MemberKey, MemberRow, PendingAssetRow, PoolRow, QuarantineRow, ResultRow, RunRow, Snapshot, Subject,
        TaskRow,
    },
    state::TaskState,
};

/// The key of a task instance.
pub type TaskKey = (RunId, TaskId, i32);

/// All tables, in memory.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct MemoryJournal {
    /// The shard's clock.
    pub now: Timestamp,
    /// The number of the last batch.
    pub batch: u64,
    /// Stored models.
    pub versions: BTreeMap<DagVersion, Arc<Dag>>,
    /// DAGs.
    pub dags: BTreeMap<(TenantId, DagId), DagRow>,
    /// Runs.
    pub runs: BTreeMap<RunId, RunRow>,
    names: BTreeMap<(TenantId, DagId, RunName), RunId>,
    dates: BTreeMap<(TenantId, DagId, Timestamp), RunId>,
    unfinished: BTreeSet<RunId>,
    /// Task instances.
    pub tasks: BTreeMap<TaskKey, TaskRow>,
    /// Tries that are over.
    pub attempts: Vec<AttemptRow>,
    /// Members of gangs.
    pub members: BTreeMap<MemberKey, MemberRow>,
    /// Results of current attempts.
    pub results: BTreeMap<TaskKey, ResultRow>,
    /// Quotas.
    pub quotas: BTreeMap<crate::rows::QuotaNode, crate::rows::QuotaRow>,
    /// Tenants that are suspended: not the engine's to write.
    pub suspended: std::collections::BTreeSet<TenantId>,
    /// The bundle of each tenant that was made active last.
    pub active_bundles: BTreeMap<TenantId, BundleId>,
    /// Pools.
    pub pools: BTreeMap<(TenantId, PoolName), PoolRow>,
    /// Asset events.
    pub asset_events: Vec<AssetEventRow>,
    /// Pending asset events.
    pub pending_assets: BTreeMap<(TenantId, DagId, Arc<str>), PendingAssetRow>,
    /// Backfills.
    pub backfills: BTreeMap<(TenantId, i64), BackfillRow>,
    /// History, in order.
    pub events: Vec<EventRow>,
    /// Alerts.
    pub alerts: BTreeMap<AlertId, AlertRow>,
    /// Questions to people.
    pub inputs: BTreeMap<AttemptId, InputRow>,
    /// Unfinished work.
    pub continuations: BTreeMap<i64, ContinuationRow>,
    /// Requests that weren't taken.
    pub waiting: BTreeMap<i64, InboxRow>,
    /// Outcomes of requests.
    pub outcomes: BTreeMap<i64, Result<serde_json::Value, Refusal>>,
    /// What the engine leaves alone, and why.
    pub quarantined: BTreeMap<Subject, Arc<str>>,
    next_request: i64,
    /// The tries in `attempts`.
    kept: BTreeSet<AttemptId>,
}

impl MemoryJournal {
    /// Puts a request into the inbox and says its number.
    pub fn request(&mut self, tenant: TenantId, actor: &str, command: Command) -> i64 {
        self.next_request += 1;
        let id = self.next_request;
        self.waiting.insert(id, InboxRow { id, tenant, actor: actor.to_owned(), command });
        id
    }

    /// The task instances of a run.
    pub fn tasks_of(&self, run: RunId) -> impl Iterator<Item = &TaskRow> {
        let first = TaskId::parse("-").expect("invariant: a hyphen is a name");
        self.tasks
            .range((run, first, i32::MIN)..)
            .take_while(move |((owner, ..), _)| *owner == run)
            .map(|(_, row)| row)
    }

    /// Writes a batch if it follows the last one and everything is as it expects.
    pub fn write(&mut self, batch: &Batch) -> Commit {
        if batch.number != self.batch + 1 {
            return Commit::Fenced;
        }
        if let Err(conflict) = self.check(batch) {
            let culprits = self.culprits(batch);
            return Commit::Conflict(Conflict { what: conflict, culprits });
        }
        self.apply(batch);
        Commit::Done
    }

    /// The runs and DAGs whose part of a refused batch is refused by itself, too.
    fn culprits(&self, batch: &Batch) -> Vec<Subject> {
        let refused = |(subject, part): (Subject, Batch)| self.check(&part).is_err().then_some(subject);
        batch.parts().into_iter().filter_map(refused).collect()
    }

    fn check(&self, batch: &Batch) -> Result<(), String> {
        let deleted = |run: &RunId| {
            let of = |row: &RunRow| batch.deleted_dags.contains(&(row.tenant, row.dag_id.clone()));
            batch.deleted_runs.iter().any(|(_, gone)| gone == run) || self.runs.get(run).is_some_and(of)
        };
        let holds = |run: Option<&RunId>| run.is_some_and(|run| !deleted(run));
        let mut names = BTreeSet::new();
        for row in &batch.new_runs {
            let name = (row.tenant, row.dag_id.clone(), row.run_name.clone());
            let date = row.logical_date.map(|date| (row.tenant, row.dag_id.clone(), date));
            if self.runs.contains_key(&row.run) || holds(self.names.get(&name)) || !names.insert(name) {
                return Err(format!("run {} of {} exists already", row.run_name, row.dag_id));
            }
            if date.is_some_and(|date| holds(self.dates.get(&date))) {
                return Err(format!(
                    "a run of {} with the date of {} exists already",
                    row.dag_id, row.run_name
                ));
            }
        }
        for changed in &batch.runs {
            match self.runs.get(&changed.row.run) {
                Some(row) if row.state == changed.before => {}
                Some(row) => {
                    return Err(format!("run {} is {}, not {}", row.run_name, row.state, changed.before));
                }
                None => return Err(format!("run {} isn't there", changed.row.run_name)),
            }
        }
        let mut tries = BTreeSet::new();
        for attempt in &batch.attempts {
            let id = attempt.row.attempt();
            if self.kept.contains(&id) || !tries.insert(id) {
                return Err(format!("try {} of {} is kept twice", attempt.row.try_number, attempt.row.task));
            }
        }
        let gone: BTreeSet<TaskKey> =
            batch.deleted_tasks.iter().map(|(_, run, task, index)| (*run, task.clone(), *index)).collect();
        let mut keys = BTreeSet::new();
        for row in &batch.new_tasks {
            let key = (row.run, row.task.clone(), row.map_index);
            if self.tasks.contains_key(&key) && !gone.contains(&key) || !keys.insert(key) {
                return Err(format!("task {}[{}] exists already", row.task, row.map_index));
            }
        }
        for changed in &batch.tasks {
            let key = (changed.row.run, changed.row.task.clone(), changed.row.map_index);
            match self.tasks.get(&key) {
                Some(row) if row.state == changed.before => {}
                Some(row) => {
                    return Err(format!(
                        "task {}[{}] is {}, not {}",
                        row.task, row.map_index, row.state, changed.before
                    ));
                }
                None => {
                    return Err(format!("task {}[{}] isn't there", changed.row.task, changed.row.map_index));
                }
            }
            if !keys.insert(key) {
                return Err(format!("task {}[{}] is written twice", changed.row.task, changed.row.map_index));
            }
        }
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) {
        self.batch = batch.number;
        self.now = batch.now;
        for (tenant, run) in &batch.deleted_runs {
            self.remove_run(*tenant, *run);
        }
        for (tenant, dag_id) in &batch.deleted_dags {
            self.dags.remove(&(*tenant, dag_id.clone()));
            self.quarantined.remove(&Subject::Dag(*tenant, dag_id.clone()));
            let of = |row: &&RunRow| row.tenant == *tenant && row.dag_id == *dag_id;
            for run in self.runs.values().filter(of).map(|row| row.run).collect::<Vec<_>>() {
                self.remove_run(*tenant, run);
            }
        }
        for (_, run, task, index) in &batch.deleted_tasks {
            let key = (*run, task.clone(), *index);
            self.tasks.remove(&key);
            self.results.remove(&key);
        }
        for row in batch.new_runs.iter().chain(batch.runs.iter().map(|changed| &changed.row)) {
            self.put_run(row);
        }
        for row in batch.new_tasks.iter().chain(batch.tasks.iter().map(|changed| &changed.row)) {
            self.tasks.insert((row.run, row.task.clone(), row.map_index), row.clone());
        }
        self.kept.extend(batch.attempts.iter().map(|attempt| attempt.row.attempt()));
        self.attempts.extend(batch.attempts.iter().cloned());
        for row in &batch.members {
            self.members.insert(row.key(), row.clone());
        }
        for row in &batch.results {
            self.results.insert((row.run, row.task.clone(), row.map_index), row.clone());
        }
        for row in &batch.inputs {
            self.inputs.insert(row.attempt, row.clone());
        }
        for row in &batch.alerts {
            self.alerts.entry(row.id).or_insert_with(|| row.clone());
        }
        for row in &batch.dags {
            self.dags.insert((row.tenant, row.dag_id.clone()), row.clone());
        }
        for (node, row) in &batch.quotas {
            match row {
                Some(row) => self.quotas.insert(node.clone(), row.clone()),
                None => self.quotas.remove(node),
            };
        }
        for (tenant, name) in &batch.deleted_pools {
            self.pools.remove(&(*tenant, name.clone()));
        }
        for row in &batch.pools {
            self.pools.insert((row.tenant, row.name.clone()), row.clone());
        }
        self.asset_events.extend(batch.asset_events.iter().cloned());
        for (tenant, dag_id) in &batch.consumed_assets {
            self.pending_assets.retain(|(owner, dag, _), _| (owner, dag) != (tenant, dag_id));
        }
        for row in &batch.pending_assets {
            self.pending_assets.insert((row.tenant, row.dag_id.clone(), row.asset.clone()), row.clone());
        }
        for row in &batch.backfills {
            self.backfills.insert((row.tenant, row.id), row.clone());
        }
        self.events.extend(batch.events.iter().cloned());
        for row in &batch.continuations {
            match row.work {
                Some(_) => self.continuations.insert(row.id, row.clone()),
                None => self.continuations.remove(&row.id),
            };
        }
        for QuarantineRow { subject, reason } in &batch.quarantine {
            match reason {
                Some(reason) => self.quarantined.insert(subject.clone(), reason.clone()),
                None => self.quarantined.remove(subject),
            };
        }
        for outcome in &batch.inbox {
            let row = self.waiting.remove(&outcome.id);
            if let Some(InboxRow { tenant, command: Command::ActivateBundle { bundle, .. }, .. }) = row
                && outcome.outcome.is_ok()
            {
                self.active_bundles.insert(tenant, bundle);
            }
            self.outcomes.insert(outcome.id, outcome.outcome.clone());
        }
    }

    fn put_run(&mut self, row: &RunRow) {
        self.names.insert((row.tenant, row.dag_id.clone(), row.run_name.clone()), row.run);
        if let Some(date) = row.logical_date {
            self.dates.insert((row.tenant, row.dag_id.clone(), date), row.run);
        }
        if row.state.is_finished() {
            self.unfinished.remove(&row.run)
        } else {
            self.unfinished.insert(row.run)
        };
        self.runs.insert(row.run, row.clone());
    }

    fn remove_run(&mut self, tenant: TenantId, run: RunId) {
        let Some(row) = self.runs.remove(&run) else { return };
        self.names.remove(&(tenant, row.dag_id.clone(), row.run_name));
        if let Some(date) = row.logical_date {
            self.dates.remove(&(tenant, row.dag_id, date));
        }
        self.unfinished.remove(&run);
        self.quarantined.remove(&Subject::Run(tenant, run));
        self.events.retain(|event| event.run != run);
        self.tasks.retain(|(owner, ..), _| *owner != run);
        self.results.retain(|(owner, ..), _| *owner != run);
        self.inputs.retain(|_, row| row.run != run);
        self.attempts.retain(|attempt| attempt.row.run != run);
        self.members.retain(|(owner, ..), _| *owner != run);
    }

    /// Everything that an engine is rebuilt from.
    pub fn read(&self) -> Snapshot {
        let mut last_backfill = BTreeMap::new();
        for (tenant, id) in self.backfills.keys() {
            last_backfill.insert(*tenant, *id);
        }
        Snapshot {
            now: self.now,
            batch: self.batch,
            dags: self.dags.values().filter(|row| !self.is_left_alone(row)).cloned().collect(),
            versions: self.versions.clone(),
            runs: self
                .unfinished
                .iter()
                .filter(|run| self.reason_of(run).is_none())
                .map(|run| (self.runs[run].clone(), self.tasks_of(*run).cloned().collect()))
                .collect(),
            members: self
                .members
                .values()
                .filter(|row| self.unfinished.contains(&row.run))
                .cloned()
                .collect(),
            quotas: self.quotas.values().cloned().collect(),
            suspended: self.suspended.clone(),
            active_bundles: self.active_bundles.clone(),
            pools: self.pools.values().cloned().collect(),
            pending_assets: self.pending_assets.values().cloned().collect(),
            backfills: self.backfills.values().filter(|row| row.ended_at.is_none()).cloned().collect(),
            last_backfill,
            continuations: self.continuations.values().cloned().collect(),
            inputs: self.inputs.values().filter(|row| self.waits_for(row)).cloned().collect(),
            quarantined_dags: self
                .quarantined
                .iter()
                .filter_map(|(subject, reason)| match subject {
                    Subject::Dag(tenant, dag_id) => Some(((*tenant, dag_id.clone()), reason.clone())),
                    Subject::Run(..) => None,
                })
                .collect(),
            broken: Vec::new(),
            left_alone: self.unfinished.iter().filter(|run| self.reason_of(run).is_some()).copied().collect(),
            unreadable_pools: BTreeMap::new(),
            unreadable_backfills: BTreeMap::new(),
        }
    }

    fn is_left_alone(&self, row: &DagRow) -> bool {
        self.quarantined.contains_key(&Subject::Dag(row.tenant, row.dag_id.clone()))
    }

    /// Why a run is left alone, if it is: by itself or with its DAG.
    fn reason_of(&self, run: &RunId) -> Option<Arc<str>> {
        let row = self.runs.get(run)?;
        let with_dag = Subject::Dag(row.tenant, row.dag_id.clone());
        self.quarantined.get(&Subject::Run(row.tenant, *run)).or(self.quarantined.get(&with_dag)).cloned()
    }

    /// Whether a task instance waits for the answer.
    fn waits_for(&self, row: &InputRow) -> bool {
        let asks = self.tasks.get(&(row.run, row.task.clone(), row.map_index));
        asks.is_some_and(|asks| asks.state == TaskState::AwaitingInput && asks.attempt() == row.attempt)
    }

    /// A run that isn't in the engine's memory.
    pub fn find(&self, load: Load) -> Loaded {
        let found = match &load {
            Load::Run(tenant, dag_id, name) => {
                self.names.get(&(*tenant, dag_id.clone(), name.clone())).copied()
            }
            Load::ById(run) => self.runs.contains_key(run).then_some(*run),
            Load::At(tenant, dag_id, date) => self.dates.get(&(*tenant, dag_id.clone(), *date)).copied(),
            Load::Before(tenant, dag_id, date) => self
                .dates
                .range((*tenant, dag_id.clone(), Timestamp::MIN)..(*tenant, dag_id.clone(), *date))
                .next_back()
                .map(|(_, run)| *run),
        };
        if let Some((run, reason)) = found.and_then(|run| Some((run, self.reason_of(&run)?))) {
            let RunRow { tenant, logical_date: date, .. } = self.runs[&run];
            let known = Known { tenant, run, date, reason: reason.to_string() };
            return Loaded { quarantined: Some(known), ..Loaded::new(load, None) };
        }
        let run = found.and_then(|run| {
            let row = self.runs.get(&run)?;
            let model = self.versions.get(&row.version)?;
            Some((row.clone(), self.tasks_of(run).cloned().collect(), model.clone()))
        });
        Loaded::new(load, run)
    }

    /// Requests that weren't taken.
    pub fn requests(&self, skip: &[i64], limit: usize) -> Inbox {
        let rows: Vec<InboxRow> =
            self.waiting.values().filter(|row| !skip.contains(&row.id)).take(limit).cloned().collect();
        let mut versions = BTreeMap::new();
        for row in &rows {
            if let Command::ActivateBundle { dags, .. } = &row.command {
                for dag in dags {
                    if let Some(model) = self.versions.get(&dag.version) {
                        versions.insert(dag.version.clone(), model.clone());
                    }
                }
            }
        }
        Inbox { rows, refused: Vec::new(), versions }
    }
}

impl Journal for MemoryJournal {
    type Error = Infallible;

    async fn snapshot(&mut self) -> Result<Snapshot, Infallible> {
        Ok(self.read())
    }

    async fn inbox(&mut self, skip: &[i64], limit: usize) -> Result<Inbox, Infallible> {
        Ok(self.requests(skip, limit))
    }

    async fn load(&mut self, load: Load) -> Result<Loaded, Infallible> {
        Ok(self.find(load))
    }

    async fn commit(&mut self, batch: &Batch) -> Commit {
        self.write(batch)
    }

    async fn position(&mut self) -> Result<Position, Infallible> {
        Ok(Position { ours: true, batch: self.batch })
    }
}
