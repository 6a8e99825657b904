//! What passes between the engine and executors: dispatches out, kills out, reports in.

use dags::{
    ids::{
        BundleId, DagId, DagVersion, DispatchId, ExecutorName, RunId, RunName, TaskId, TenantId, WorkerId,
    },
    time::{Span, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::format::Format;

/// The format of dispatches and of reports. One number: each is of no use without the other.
pub type Contract = Format<1>;

/// One hand-over of an attempt to an executor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The number of this document's format.
    pub format: Contract,
    /// The idempotency key: the same dispatch twice starts once.
    pub id: DispatchId,
    /// Whose attempt it is.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// The DAG's name.
    pub dag_id: DagId,
    /// The run's name.
    pub run_name: RunName,
    /// The version of the DAG that the run is pinned to.
    pub version: DagVersion,
    /// The bundle that the run is pinned to.
    pub bundle: BundleId,
    /// The task.
    pub task_id: TaskId,
    /// The index of a mapped task's instance, -1 for an ordinary task.
    pub map_index: i32,
    /// Which try of the task instance the attempt is, from 1.
    pub try_number: u32,
    /// How many members start together; 1 but for gangs.
    pub members: u32,
    /// The executor that was chosen.
    pub executor: ExecutorName,
    /// The worker that was chosen, where the executor has several.
    #[serde(default)]
    pub worker: Option<WorkerId>,
    /// How long the attempt may run, counted by whoever runs it.
    pub timeout: Option<Span>,
    /// How long ago this try first started; more than zero for a later call of a sensor.
    #[serde(default)]
    pub waited: Span,
}

/// Ask an executor to end a dispatch: TERM, then KILL after the grace period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// What to end.
    pub id: DispatchId,
    /// How many members it has: of those that never came, the executor remembers that they must not start.
    pub members: u32,
    /// The executor that holds it.
    pub executor: ExecutorName,
    /// The worker that holds it, where the executor has several.
    #[serde(default)]
    pub worker: Option<WorkerId>,
    /// The time between TERM and KILL.
    pub grace: Span,
    /// Why, for the log.
    pub reason: String,
}

/// See to it that nobody starts a dispatch any more: its worker is lost, and nothing says that it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// The dispatch.
    pub id: DispatchId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its run.
    pub run: RunId,
    /// Its task.
    pub task_id: TaskId,
    /// Its map index.
    pub map_index: i32,
    /// Its try.
    pub try_number: u32,
}

/// What came of a [`Withdrawal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// Nobody had claimed the dispatch, and nobody can now.
    Unclaimed,
    /// Its worker had claimed it before: it may have begun.
    Claimed,
}

impl Report {
    /// A report in the present format.
    pub fn new(dispatch: DispatchId, member: u32, seq: u32, news: News) -> Self {
        Self { format: Format, dispatch, member, seq, news }
    }
}

/// A report that is durable: what its member has to say up to it, the executor may forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// The member.
    pub member: u32,
    /// The report's number; 0 if it isn't known any more.
    pub seq: u32,
    /// Whether it was the last of the member.
    pub ended: bool,
}

/// News about one member of a dispatch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The number of this document's format.
    pub format: Contract,
    /// The dispatch; a report about one that isn't current is dropped and counted.
    pub dispatch: DispatchId,
    /// The member of a gang, 0 for an ordinary task.
    pub member: u32,
    /// Grows by one with each report of the member; a repeat is ignored.
    pub seq: u32,
    /// What happened.
    pub news: News,
}

/// What happened to a member of a dispatch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// It started.
    Started {
        /// The machine.
        host: String,
        /// The process, where there is one.
        pid: Option<u32>,
    },
    /// It ended; nothing follows.
    Ended(End),
}

/// How a member of a dispatch ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The outcome.
    pub outcome: Outcome,
    /// How long it ran, by the monotonic clock of whoever ran it.
    pub duration: Span,
    /// The process's exit code, 128 + n for signal n.
    pub exit_code: Option<i32>,
    /// Why it failed, in a sentence for people.
    pub reason: Option<String>,
    /// What it returned.
    pub result: Option<ResultRef>,
    /// The number of elements of the result if it is a list or an object.
    pub mapped_length: Option<u32>,
}

impl End {
    /// A success without a process, with what it returned.
    pub fn success(result: Option<Value>) -> Self {
        let length = match &result {
            Some(Value::Array(list)) => Some(list.len()),
            Some(Value::Object(object)) => Some(object.len()),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => None,
        };
        Self {
            outcome: Outcome::Success,
            duration: Span::ZERO,
            exit_code: None,
            reason: None,
            result: result.map(ResultRef::Inline),
            mapped_length: length.map(|length| u32::try_from(length).unwrap_or(u32::MAX)),
        }
    }
}

/// How an attempt ended, seen by the one who ran it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did what it should.
    Success,
    /// It didn't; the task's retries apply.
    Failed,
    /// It didn't, and repeating it is pointless.
    FailedForGood,
    /// It ran longer than its timeout and was ended; the task's retries apply.
    TimedOut,
    /// It asked to be skipped.
    Skipped,
    /// It asked to be called again, in the same try.
    Reschedule {
        /// After this long.
        after: Span,
    },
    /// It was ended because we asked.
    Killed,
    /// Nobody knows how it ended: its host, supervisor or record is gone. The task's retries apply.
    Lost,
    /// It couldn't be started at all; the task's retries apply.
    NotStarted,
}

/// What an attempt returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultRef {
    /// The value itself, up to 64 KiB of JSON.
    Inline(Value),
    /// In the object store.
    Stored {
        /// The SHA-256 of the JSON text, hexadecimal.
        digest: String,
        /// Its length in bytes.
        bytes: u64,
    },
}

/// What a member that an executor holds is doing, as the executor lists it for repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The dispatch.
    pub id: DispatchId,
    /// The member.
    pub member: u32,
    /// When the executor took it, by the executor's clock; for people only.
    pub since: Timestamp,
    /// Whether it has ended and its report isn't confirmed yet.
    pub ended: bool,
}
