//! What workers say to the task-facing API and what it answers.
//!
//! The broker carries tickets, which name dispatches; everything that an attempt is made of comes from here.

use std::collections::BTreeMap;

use dags::{
    ids::{DagVersion, DispatchId, RunId, ShardId, TaskId, TenantId},
    time::Span,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{dispatch::Dispatch, fleet::WorkerSpec};

/// The number of this protocol.
pub const FORMAT: u32 = 2;

/// The most tickets of one [`Run`].
pub const TICKETS_MAX: usize = 256;

/// The longest piece of a log that is taken at once, in bytes.
pub const LOG_BYTES_MAX: usize = 1 << 20;

/// The longest result, in bytes of JSON.
pub const RESULT_BYTES_MAX: usize = 1 << 20;

/// A machine wants to be a worker.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The enrolment token; good once.
    pub token: String,
    /// What the machine calls itself.
    pub name: String,
}

/// It may.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// What it proves that with from now on.
    pub credential: String,
}

/// A worker has started.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// [`FORMAT`].
    pub format: u32,
    /// What it offers, under an id that it made for this start.
    pub spec: WorkerSpec,
    /// Words about it, for people.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The release that it runs.
    pub release: String,
}

/// It is known now.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// What it offers, cut to what it may.
    pub spec: WorkerSpec,
    /// Whose queue its reports go to.
    pub shard: ShardId,
    /// What it shows with all that it says through the broker: that it is this worker.
    pub proof: String,
}

/// A dispatch that was sent to a worker. It names a place and proves that the worker may ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// How many members it has; all of them are this worker's.
    pub members: u32,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its run.
    pub run: RunId,
    /// The version that its run is pinned to.
    pub version: DagVersion,
    /// Its task.
    pub task: TaskId,
    /// Its map index.
    pub map_index: i32,
    /// Its try.
    pub try_number: u32,
    /// That the dispatch was sent to the worker.
    pub proof: String,
}

/// A worker wants to run what it was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// [`FORMAT`].
    pub format: u32,
    /// At most [`TICKETS_MAX`].
    pub tickets: Vec<Ticket>,
}

/// The answers, in the order of the tickets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ran<C> {
    /// One for each ticket.
    pub answers: Vec<Answer<C>>,
}

/// Whether a worker may run a dispatch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<C> {
    /// It may, with this.
    Go(Box<Go<C>>),
    /// It was withdrawn: the same try goes elsewhere.
    Taken,
    /// It isn't current any more.
    Gone,
    /// Something that it needs can't be looked up now: ask again about this one.
    Later {
        /// Why, for people.
        reason: String,
    },
    /// What it needs isn't there: the attempt fails for this reason.
    Missing {
        /// The reason, for people.
        reason: String,
    },
}

/// What an attempt is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Go<C> {
    /// Opens what belongs to the attempt, as long as it is current. Secret.
    pub token: String,
    /// The dispatch.
    pub dispatch: Dispatch,
    /// The context of member 0; the others differ in that number only.
    pub context: C,
}

/// A pod wants to run the member of a dispatch that it was made for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunPod {
    /// [`FORMAT`].
    pub format: u32,
    /// A number that the pod made and that nobody else knows. The first one that claims the member runs it.
    pub claimant: Uuid,
    /// The member.
    pub member: u32,
    /// The dispatch, with the proof that the pod was made for that member of it.
    pub ticket: Ticket,
}

/// A pod's attempt is to be ended: it is told why, and how long it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// Why, for the log.
    pub reason: String,
    /// The time between TERM and KILL.
    pub grace: Span,
}

/// What holds an attempt that its executor has taken and that hasn't begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waits {
    /// What it is, in a sentence.
    pub says: String,
    /// What would free the attempt, in a sentence.
    pub frees: String,
}

/// A large result was stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Its SHA-256, hexadecimal.
    pub digest: String,
}
