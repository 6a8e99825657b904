//! What the engine stores: rows, and the batch that writes them in one transaction.
//!
//! The engine owns these tables; nobody else writes them. A batch holds each row at most once, in the state that it has
//! at the end of the batch, with the state that the database must still show before.

mod batch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use dags::run_name::RunType;
use dags::{
    ids::{
        AlertId, AttemptId, BundleId, DagId, DagVersion, ExecutorName, PoolName, RunId, RunName, ShardId,
        TaskId, TenantId, WorkerId,
    },
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    command::{Backfill, Refusal},
    dispatch::{End, ResultRef},
    quota::Limits,
    sharing::{Quotas, Weight},
    state::{RunState, TaskState},
};

pub use self::batch::{Batch, Changed, Snapshot};

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Whose run it is.
    pub tenant: TenantId,
    /// Its identity.
    pub run: RunId,
    /// The DAG.
    pub dag_id: DagId,
    /// Its name, unique within the DAG.
    pub run_name: RunName,
    /// Why it exists.
    pub run_type: RunType,
    /// The DAG version that it is pinned to.
    pub version: DagVersion,
    /// The bundle that it is pinned to.
    pub bundle: BundleId,
    /// Its state.
    pub state: RunState,
    /// What it stands for, unique within the DAG.
    pub logical_date: Option<Timestamp>,
    /// Start and end of its data interval.
    pub interval: Option<(Timestamp, Timestamp)>,
    /// When it is due.
    pub run_after: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last queued.
    pub queued_at: Timestamp,
    /// When it started, since it was last queued.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What the caller passed.
    pub conf: Arc<Map<String, Value>>,
    /// Why it ended as it did, where that isn't plain.
    pub reason: Option<Arc<str>>,
    /// A note for people.
    pub note: Option<Arc<str>>,
    /// How often it was cleared.
    pub clear_number: u32,
    /// How many of its tasks have their first instance stored: the cursor of its creation.
    pub created_tasks: u32,
    /// The backfill that made it, and its place there.
    pub backfill: Option<(i64, u32)>,
    /// Who asked for it.
    pub triggered_by: Option<Arc<str>>,
    /// How many runs started each other by `trigger_dag` before it; 0 if no task did.
    pub chain_depth: u32,
    /// For a run that assets made: the events that it stands for are those after the first time, up to the second.
    pub asset_window: Option<(Timestamp, Timestamp)>,
}

/// Who has a quota.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaNode {
    /// A group of tenants, by name.
    Cohort(Arc<str>),
    /// A tenant.
    Tenant(TenantId),
}

/// A tenant's or cohort's place in the tree of quotas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaRow {
    /// Whose it is.
    pub node: QuotaNode,
    /// The cohort that it belongs to; none for the one above all.
    pub parent: Option<Arc<str>>,
    /// Its weight among its siblings.
    pub weight: Weight,
    /// By executor and resource.
    pub quotas: Quotas,
    /// For a tenant: what it may have at once, whatever its quotas.
    pub limits: Limits,
}

/// A task instance with its current attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// The index of a mapped task's instance, -1 for an ordinary task or one that isn't expanded.
    pub map_index: i32,
    /// Its state.
    pub state: TaskState,
    /// The current try, 0 before the first.
    pub try_number: u32,
    /// The last try that retries allow.
    pub max_tries: u32,
    /// The current dispatch of the current attempt, 0 before the first.
    pub dispatch_n: u32,
    /// Times that the current attempt was preempted.
    pub preempted: u32,
    /// Times that the current attempt went back because no executor started it.
    pub requeued: u32,
    /// When the current try was first scheduled; none once it is history, kept as a row of its own.
    pub scheduled_at: Option<Timestamp>,
    /// When the current dispatch was admitted.
    pub queued_at: Option<Timestamp>,
    /// When the current try started.
    pub started_at: Option<Timestamp>,
    /// When the current try ended.
    pub ended_at: Option<Timestamp>,
    /// When something happens by itself: the next retry, call of a sensor, or end of a wait.
    pub wake_at: Option<Timestamp>,
    /// The executor of the current dispatch.
    pub executor: Option<ExecutorName>,
    /// How many members the current dispatch has, or the next one if there was none; 1 but for gangs.
    pub members: u32,
    /// The machine that the current dispatch runs on; of a gang, that of its first member.
    pub host: Option<Arc<str>>,
    /// Its worker, where the executor has several.
    pub worker: Option<WorkerId>,
    /// The pool.
    pub pool: PoolName,
    /// The pool slots that it takes.
    pub pool_slots: u32,
    /// Its effective priority.
    pub weight: i32,
    /// Why it is in this state, where that isn't plain.
    pub reason: Option<Arc<str>>,
    /// The exit code of the last attempt that had one.
    pub exit_code: Option<i32>,
    /// The number of elements of its result.
    pub mapped_length: Option<u32>,
    /// The tasks that its decision, as a branch or short circuit, skips.
    pub skips: Option<Arc<[TaskId]>>,
    /// When it was marked or cleared by hand: who did it.
    pub marked_by: Option<Arc<str>>,
}

impl TaskRow {
    /// The identity of the current attempt.
    pub fn attempt(&self) -> AttemptId {
        AttemptId::derive(self.run, &self.task, self.map_index, self.try_number)
    }
}

/// A member of a gang that has started or ended. A dispatch with a single member has none: the instance's row says it all.
///
/// Its log is the one of (dispatch, member), as for every dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// The map index.
    pub map_index: i32,
    /// The try.
    pub try_number: u32,
    /// The dispatch of the try.
    pub dispatch_n: u32,
    /// The member, from 0.
    pub member: u32,
    /// The machine that it runs on.
    pub host: Option<Arc<str>>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub end: Option<End>,
}

/// What tells members apart: run, task, map index, try, dispatch, member.
pub type MemberKey = (RunId, TaskId, i32, u32, u32, u32);

impl MemberRow {
    /// Its key.
    pub fn key(&self) -> MemberKey {
        (self.run, self.task.clone(), self.map_index, self.try_number, self.dispatch_n, self.member)
    }
}

/// A try that is over and has a successor: history.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRow {
    /// The task instance as it was when the try ended.
    pub row: TaskRow,
}

/// What an attempt returned, committed together with its success.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// The map index.
    pub map_index: i32,
    /// The attempt; readers see values of the current attempt only.
    pub attempt: AttemptId,
    /// The value or where it is.
    pub value: ResultRef,
}

/// What the engine keeps about a DAG, apart from its versions.
#[derive(Debug, Clone, PartialEq)]
pub struct DagRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The DAG.
    pub dag_id: DagId,
    /// The newest version.
    pub version: DagVersion,
    /// The bundle that it came from.
    pub bundle: BundleId,
    /// Whether new runs and tasks wait.
    pub paused: bool,
    /// Whether the newest bundle no longer has it.
    pub stale: bool,
    /// The last automated run: the schedule's cursor, never derived from run rows.
    pub cursor: Option<Cursor>,
    /// The next automated run. It stays what it was when it was planned: asked again after a pause in service, the
    /// timetable would count it as missed.
    pub next: Option<Cursor>,
    /// From when asset events count for this consumer.
    pub listening_since: Option<Timestamp>,
    /// How many runs in a row failed last.
    pub failed_in_row: u32,
    /// Logical dates after the cursor that runs made by hand or by a backfill stand for already.
    pub reserved: BTreeSet<Timestamp>,
}

/// Where a schedule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// When the last automated run was due.
    pub run_after: Timestamp,
    /// What it stood for.
    pub logical_date: Option<Timestamp>,
    /// Its data interval.
    pub interval: Option<(Timestamp, Timestamp)>,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: PoolName,
    /// Its slots; -1 for no limit.
    pub slots: i32,
    /// Whether deferred task instances keep their slots.
    pub include_deferred: bool,
}

/// A recorded event of an asset.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetEventRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The asset's name.
    pub asset: Arc<str>,
    /// When it happened.
    pub at: Timestamp,
    /// The task instance that made it, if one did.
    pub source: Option<(RunId, TaskId, i32)>,
    /// Whatever the producer wants consumers to see.
    pub extra: Arc<Map<String, Value>>,
}

/// An asset's event that a consumer hasn't used yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingAssetRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The consumer.
    pub dag_id: DagId,
    /// The asset's name.
    pub asset: Arc<str>,
    /// The newest event's time.
    pub at: Timestamp,
}

/// A backfill.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its number, per tenant.
    pub id: i64,
    /// What was asked for.
    pub spec: Arc<Backfill>,
    /// Whether it starts no more runs.
    pub paused: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was completed or cancelled.
    pub ended_at: Option<Timestamp>,
    /// The next date to look at; none when all were.
    pub next_date: Option<Timestamp>,
    /// How many of its runs were made.
    pub made: u32,
}

/// One step of a task instance or, without a task, of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The task and map index; none for the run.
    #[serde(rename = "t", skip_serializing_if = "Option::is_none", default)]
    pub task: Option<(TaskId, i32)>,
    /// The state after it.
    #[serde(rename = "s")]
    pub to: Arc<str>,
    /// The try.
    #[serde(rename = "n", default)]
    pub try_number: u32,
    /// When.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// Why, where that isn't plain.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Arc<str>>,
}

/// What happened to one run in one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// The DAG.
    pub dag_id: DagId,
    /// The batch's instant.
    pub at: Timestamp,
    /// In order.
    pub transitions: Vec<Transition>,
}

/// A run or a whole DAG.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A DAG, with all its runs.
    Dag(TenantId, DagId),
    /// A run.
    Run(TenantId, RunId),
}

impl Subject {
    /// The run, if it is one.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Self::Run(_, run) => Some(*run),
            Self::Dag(..) => None,
        }
    }
}
/// The mark of a run that is being deleted because its tenant no longer keeps it. It is quarantined, so that nobody works with
/// it, and it can't be released.
pub const RETIRED: &str = "its tenant no longer keeps it: it is being deleted";

/// A run or DAG whose rows can't be worked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub subject: Subject,
    /// Its DAG, if that can be read.
    pub dag_id: Option<DagId>,
    /// Why, in a sentence for people.
    pub reason: String,
}

/// A run or DAG that the engine leaves alone from now on, or no longer. Its row is marked whatever else it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineRow {
    /// Which.
    pub subject: Subject,
    /// Why; none if it is released.
    pub reason: Option<Arc<str>>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxOutcome {
    /// The inbox row.
    pub id: i64,
    /// What the caller gets, or why not.
    pub outcome: Result<Value, Refusal>,
}

/// The number of the format of [`Input`] and [`InputResponse`] that this release writes.
pub const INPUT_FORMAT: i32 = 1;

/// A question to people that a task instance waits for, with the answer once there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct InputRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// The map index.
    pub map_index: i32,
    /// The attempt that asks. It asks once.
    pub attempt: AttemptId,
    /// Its try.
    pub try_number: u32,
    /// What is asked.
    pub input: Arc<Input>,
    /// When.
    pub created_at: Timestamp,
    /// Until when an answer is waited for.
    pub respond_by: Option<Timestamp>,
    /// The answer.
    pub response: Option<InputResponse>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The question, one line.
    pub subject: String,
    /// What there is to know before one answers.
    pub body: Option<String>,
    /// What there is to choose from.
    pub options: Vec<String>,
    /// What counts as chosen if nobody answers in time.
    pub defaults: Option<Vec<String>>,
    /// Whether several may be chosen.
    pub multiple: bool,
    /// What is asked for beside the choice: name to JSON Schema.
    pub params: BTreeMap<String, Value>,
    /// Who may answer; everybody who may change the run if empty.
    pub assigned: Vec<String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputResponse {
    /// What was chosen.
    pub chosen: Vec<String>,
    /// What was given beside the choice, complete with defaults.
    pub params: Map<String, Value>,
    /// Who answered; nobody if the time was over and the defaults count.
    pub by: Option<Arc<str>>,
    /// When.
    pub at: Timestamp,
}

/// Something that a route is to hear of. A row of the same identity that is there already stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its identity, derived from its cause.
    pub id: AlertId,
    /// The route, by the tenant's name for it.
    pub route: Arc<str>,
    /// What happened.
    pub what: AlertKind,
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run: RunId,
    /// The run's name.
    pub run_name: RunName,
    /// The task, map index and try, if it is about one.
    pub task: Option<(TaskId, i32, u32)>,
    /// Why, where that isn't plain.
    pub reason: Option<Arc<str>>,
    /// When it happened.
    pub at: Timestamp,
    /// [`RunRow::chain_depth`] of the run: a route may start a run in turn.
    pub chain_depth: u32,
}

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A run or a task failed.
    Failure,
    /// A run or a task succeeded.
    Success,
    /// A try failed and is repeated.
    Retry,
    /// A run isn't done when it was promised to be.
    Deadline,
    /// A task asks people.
    Input,
}

impl AlertKind {
    /// Every kind.
    pub const ALL: &'static [Self] =
        &[Self::Failure, Self::Success, Self::Retry, Self::Deadline, Self::Input];

    /// The name in the database, the API and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Success => "success",
            Self::Retry => "retry",
            Self::Deadline => "deadline",
            Self::Input => "input",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}
/// The number of the format of [`ContinuationRow::work`] that this release writes and reads.
pub const CONTINUATION_FORMAT: u32 = 1;

/// Work that was begun and is continued in later steps; survives a crash.
#[derive(Debug, Clone, PartialEq)]
pub struct ContinuationRow {
    /// Its number, unique in the shard.
    pub id: i64,
    /// The number of the work's format.
    pub format: u32,
    /// The work and its cursor; the engine's own format. None deletes it.
    pub work: Option<Value>,
}

impl ContinuationRow {
    /// Work in the present format.
    pub fn new(id: i64, work: Value) -> Self {
        Self { id, format: CONTINUATION_FORMAT, work: Some(work) }
    }

    /// Work that is done.
    pub fn done(id: i64) -> Self {
        Self { id, format: CONTINUATION_FORMAT, work: None }
    }
}

/// Which shard, and the fence of its present owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The shard.
    pub shard: ShardId,
    /// Grows with each change of owner.
    pub epoch: i64,
}
