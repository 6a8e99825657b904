//! Who stores the engine's rows: the database in the service, memory on the laptop and in the simulator.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use dags::{
    ids::{DagId, DagVersion, RunId, RunName, TenantId},
    model::Dag,
    time::Timestamp,
};

use crate::{
    command::{InboxRow, Refusal},
    rows::{Batch, RunRow, Snapshot, Subject, TaskRow},
};

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// It is durable.
    Done,
    /// Nothing was written, and the same batch may be sent again. Says why, for the log.
    Failed(String),
    /// The connection broke before an answer came: read [`Journal::position`].
    Unknown(String),
    /// Another owner holds the shard: drop the engine.
    Fenced,
    /// A row wasn't in the state that the batch expected, or vanished: a bug. Drop the engine and rebuild it.
    Conflict(Conflict),
}

/// A batch that the database refuses and would refuse again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What was refused and why.
    pub what: String,
    /// The runs and DAGs whose part of the batch is refused also by itself; empty if that can't be said.
    pub culprits: Vec<Subject>,
}

impl Conflict {
    /// A conflict that nobody in particular is to blame for.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), culprits: Vec::new() }
    }
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

/// Where a shard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Whether we still own it.
    pub ours: bool,
    /// The number of the last committed batch.
    pub batch: u64,
}

/// Requests that were not taken yet, with the DAG versions that they name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inbox {
    /// In order of their numbers.
    pub rows: Vec<InboxRow>,
    /// Requests that can't be read: of an unknown kind or format, or broken. Each is answered with its refusal.
    pub refused: Vec<(i64, Refusal)>,
    /// The models of the versions that the rows name.
    pub versions: BTreeMap<DagVersion, Arc<Dag>>,
}

/// A finished run that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// By name.
    Run(TenantId, DagId, RunName),
    /// The newest run with a logical date before this one, for `depends_on_past`.
    Before(TenantId, DagId, Timestamp),
    /// By identity.
    ById(RunId),
    /// By the logical date that it stands for, for backfills.
    At(TenantId, DagId, Timestamp),
}

impl Inbox {
    /// How many requests were read.
    pub fn len(&self) -> usize {
        self.rows.len() + self.refused.len()
    }

    /// These requests have that outcome, whatever they say.
    pub fn refuse(&mut self, refused: &BTreeMap<i64, Refusal>) {
        if refused.is_empty() {
            return;
        }
        self.rows.retain(|row| match refused.get(&row.id) {
            Some(refusal) => {
                self.refused.push((row.id, refusal.clone()));
                false
            }
            None => true,
        });
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The answer to a [`Load`].
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What was asked.
    pub load: Load,
    /// The run with all its task instances and its model; none if there is none.
    pub run: Option<(RunRow, Vec<TaskRow>, Arc<Dag>)>,
    /// Instead of the run: it is there, but quarantined.
    pub quarantined: Option<Known>,
}

/// What is known of a quarantined run without reading its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Whose it is.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// What it stands for.
    pub date: Option<Timestamp>,
    /// Why it is quarantined.
    pub reason: String,
}

impl Loaded {
    /// The answer that there is no such run, or this one.
    pub fn new(load: Load, run: Option<(RunRow, Vec<TaskRow>, Arc<Dag>)>) -> Self {
        Self { load, run, quarantined: None }
    }
}

/// Stores batches, in order, each whole or not at all, only for the shard's owner.
pub trait Journal {
    /// What can go wrong when reading.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Everything that the engine is rebuilt from. Called once, after the shard was taken over.
    fn snapshot(&mut self) -> impl Future<Output = Result<Snapshot, Self::Error>> + Send;

    /// Requests that were not taken yet and have a number not in `skip`, at most `limit`, oldest first.
    fn inbox(
        &mut self,
        skip: &[i64],
        limit: usize,
    ) -> impl Future<Output = Result<Inbox, Self::Error>> + Send;

    /// A run that isn't in memory.
    fn load(&mut self, load: Load) -> impl Future<Output = Result<Loaded, Self::Error>> + Send;

    /// Writes a batch in one transaction that starts with the fence: epoch ours, batch number one less than this one's.
    fn commit(&mut self, batch: &Batch) -> impl Future<Output = Commit> + Send;

    /// Where the shard stands, after a commit of unknown outcome.
    fn position(&mut self) -> impl Future<Output = Result<Position, Self::Error>> + Send;
}
