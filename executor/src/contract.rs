//! What every executor can do, and the words that it uses.

use dags::{ids::DispatchId, time::Span};
use engine::dispatch::{Dispatch, Held, Kill};
use plugins::context::AttemptContext;
use serde::{Deserialize, Serialize};

use crate::log::LogChunk;

/// One member of a dispatch, with everything that it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// The dispatch.
    pub dispatch: Dispatch,
    /// The member's context. Secret: never logged.
    pub context: AttemptContext,
}

/// What an executor can hold in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// How many attempts may run at once.
    pub slots: u32,
}

/// Why an executor couldn't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be reached; it goes on trying, and the caller may ask again.
    #[error("the executor can't be reached: {0}")]
    Unavailable(String),
    /// It doesn't hold that member of that dispatch.
    #[error("the executor holds no member {member} of dispatch {dispatch}")]
    Unknown {
        /// The dispatch.
        dispatch: DispatchId,
        /// The member.
        member: u32,
    },
    /// It refuses, and would refuse again.
    #[error("the executor refused: {0}")]
    Refused(String),
    /// It has stopped.
    #[error("the executor has stopped")]
    Stopped,
}

/// Something that runs attempts.
///
/// Every executor is given, where it is made, the sending end of a bounded channel for [`engine::dispatch::Report`]s.
/// It repeats the reports of everything that isn't confirmed after each restart of either side, so a report may come
/// twice but is never lost. Nothing that an executor holds goes away before [`Executor::confirm`].
pub trait Executor: Send + Sync {
    /// Takes a member of a dispatch. The same one twice starts once. `Ok` means that the executor answers for it from
    /// now on: a report about its end will come.
    fn submit(&self, work: Work) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends all members of a dispatch: TERM, then KILL after the grace period. What has ended stays as it is. A member
    /// that the executor has never seen is remembered and reported as killed, and a late submit won't start it.
    fn kill(&self, kill: Kill) -> impl Future<Output = Result<(), Error>> + Send;

    /// Every member that isn't confirmed.
    fn list(&self) -> impl Future<Output = Result<Vec<Held>, Error>> + Send;

    /// The end of this member is committed and its log and result are safe: the executor may delete what it has of it.
    fn confirm(&self, dispatch: DispatchId, member: u32) -> impl Future<Output = Result<(), Error>> + Send;

    /// A piece of the member's log, from `offset` (0, or one that an earlier piece named) on.
    fn logs(
        &self,
        dispatch: DispatchId,
        member: u32,
        offset: u64,
    ) -> impl Future<Output = Result<LogChunk, Error>> + Send;

    /// What it can hold in all.
    fn capacity(&self) -> impl Future<Output = Result<Capacity, Error>> + Send;
}

/// How long a task that ran into its timeout has between TERM and KILL.
pub const TIMEOUT_GRACE: Span = Span::seconds(5);
