//! What the engine asks because it can't decide it itself, and the answers.

use dags::{
    ids::{BundleId, DagId, DagVersion, DispatchId, RunId, RunName, TaskId, TenantId},
    time::Timestamp,
};
use serde_json::Value;

use crate::{command::Trigger, rows::Input};

/// A question that the engine can't decide itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The fence: an answer to a question that is no longer open is dropped.
    pub id: DispatchId,
    /// What is asked.
    pub ask: Ask,
    /// Whose it is.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// The DAG.
    pub dag_id: DagId,
    /// The run's name.
    pub run_name: RunName,
    /// The version that the run is pinned to.
    pub version: DagVersion,
    /// The bundle that the run is pinned to.
    pub bundle: BundleId,
    /// The task.
    pub task_id: TaskId,
    /// The map index.
    pub map_index: i32,
    /// The try that the answer belongs to.
    pub try_number: u32,
    /// When the try started, for waits that are counted from there.
    pub started_at: Option<Timestamp>,
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Whether the task's `when` holds; answered by [`Answer::Holds`].
    When,
    /// What the task, which the engine runs itself, comes to; answered by anything else.
    Task,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Whether the `when` holds.
    Holds(bool),
    /// The task is done.
    Done,
    /// The task is done and returned this.
    Return(Value),
    /// A branch follows these of its direct downstream tasks.
    Follow(Vec<TaskId>),
    /// A short circuit: skip all that follow, or with `direct` only the direct downstream tasks.
    Stop {
        /// Leave the tasks further down to their trigger rules.
        direct: bool,
    },
    /// Make a run.
    Trigger(Box<MakeRun>),
    /// Ask again then.
    Again(Timestamp),
    /// Ask again when something of that DAG has ended, or then at the latest.
    Watch(Watch),
    /// Ask people; be asked again when they have answered.
    Ask(Box<AskPeople>),
    /// The task is skipped, for that reason.
    Skip(String),
    /// It couldn't be evaluated, or came to nothing; the task fails, and its retries apply.
    Error(String),
    /// The task fails without retries.
    FailForGood(String),
}

/// A run that a task wants to be made. What it returns is `{ dag_id, run_id, state }`, stored as soon as the run is made.
#[derive(Debug, Clone, PartialEq)]
pub struct MakeRun {
    /// The run.
    pub trigger: Trigger,
    /// What happens if there is a run of that name or logical date.
    pub if_exists: IfExists,
    /// Be asked again when the run has ended. Otherwise the task is done when it is made.
    pub wait: Option<Watch>,
}

/// What happens if a run that is to be made is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// The task fails.
    Fail,
    /// The task is skipped.
    Skip,
    /// The one that is there stands for it.
    Use,
}

/// A question to people.
#[derive(Debug, Clone, PartialEq)]
pub struct AskPeople {
    /// What is asked.
    pub input: Input,
    /// Until when an answer is waited for.
    pub until: Option<Timestamp>,
    /// The routes that hear of the question.
    pub notify: Vec<String>,
}

/// A wait for another DAG of the same tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// The DAG. It needn't exist yet.
    pub dag_id: DagId,
    /// Whether the end of each task instance matters, not only that of runs.
    pub tasks: bool,
    /// When to ask in any case.
    pub until: Option<Timestamp>,
    /// What it waits for, in words.
    pub reason: String,
}
