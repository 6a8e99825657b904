//! What enters the engine by its one door, the inbox: the requests of people and services.

use dags::{
    ids::{BundleId, DagId, DagVersion, PoolName, RunName, TaskId, TenantId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    format,
    quota::Limits,
    sharing::{Quotas, Weight},
    state::{RunState, TaskState},
};

/// The number of the command format that this release writes.
pub const FORMAT: u32 = 1;

/// One row of the inbox, taken by the shard's owner.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRow {
    /// Its number, unique in the shard.
    pub id: i64,
    /// Whose request it is.
    pub tenant: TenantId,
    /// Who asked, for the audit log.
    pub actor: String,
    /// What is asked.
    pub command: Command,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Make these DAG versions the newest ones; DAGs of the tenant's bundle that aren't listed become stale.
    ActivateBundle {
        /// The bundle that new runs are pinned to.
        bundle: BundleId,
        /// What must be active before.
        #[serde(default, skip_serializing_if = "Base::is_any")]
        base: Base,
        /// The DAGs in it. The versions' models are stored already.
        dags: Vec<ActivatedDag>,
    },
    /// Make a run now.
    Trigger(Trigger),
    /// Pause or unpause a DAG: no new runs and no new tasks, running ones go on.
    PauseDag {
        /// The DAG.
        dag_id: DagId,
        /// Whether it is paused from now on.
        paused: bool,
    },
    /// Run task instances again.
    Clear(Clear),
    /// Set the state of task instances by hand.
    MarkTasks {
        /// Which ones.
        select: Selection,
        /// `success`, `failed` or `skipped`.
        state: TaskState,
    },
    /// Answer what a task instance asks.
    Respond(Response),
    /// Set the state of a run by hand.
    MarkRun {
        /// The DAG.
        dag_id: DagId,
        /// The run.
        run_name: RunName,
        /// `success` or `failed`: unfinished tasks follow; `queued`: the run goes on.
        state: RunState,
    },
    /// Create or change a pool.
    SetPool {
        /// The pool.
        name: PoolName,
        /// Its slots; -1 for no limit.
        slots: i32,
        /// Whether deferred task instances keep their slots.
        include_deferred: bool,
    },
    /// Delete a pool. Tasks that name it wait until there is one of that name again.
    DeletePool {
        /// The pool.
        name: PoolName,
    },
    /// Set the quota of the tenant: what it is guaranteed, may borrow and lends, by executor and resource.
    SetQuota {
        /// The cohort that it belongs to; none for the one above all.
        #[serde(default)]
        cohort: Option<std::sync::Arc<str>>,
        /// Its weight among its siblings.
        #[serde(default)]
        weight: Weight,
        /// By executor and resource.
        quotas: Quotas,
        /// What it may have at once, whatever its quotas.
        #[serde(default)]
        limits: Limits,
    },
    /// The tenant has no quota of its own any more.
    DeleteQuota {},
    /// Nothing of the tenant starts from now on, or things start again. Whether it is so is stored with the tenant.
    SuspendTenant {
        /// Whether nothing starts.
        suspended: bool,
    },
    /// Make or change a cohort: a group of tenants that share quotas.
    SetCohort {
        /// Its name; `root` is the one above all.
        name: std::sync::Arc<str>,
        /// The cohort above it; none for `root`.
        #[serde(default)]
        parent: Option<std::sync::Arc<str>>,
        /// Its weight among its siblings.
        #[serde(default)]
        weight: Weight,
        /// By executor and resource.
        quotas: Quotas,
    },
    /// Delete a cohort that nobody belongs to.
    DeleteCohort {
        /// Its name.
        name: std::sync::Arc<str>,
    },
    /// Record an event of an asset from outside of a task.
    AssetEvent {
        /// The asset's name.
        asset: String,
        /// Whatever the caller wants consumers to see.
        extra: Map<String, Value>,
    },
    /// Make runs for past dates.
    Backfill(Backfill),
    /// Say whether a backfill could be made as it is. Changes nothing.
    CheckBackfill(Backfill),
    /// Pause, go on with or cancel a backfill.
    ChangeBackfill {
        /// The backfill's number.
        id: i64,
        /// What to do.
        change: BackfillChange,
    },
    /// Forget a finished run and everything about it.
    DeleteRun {
        /// The DAG.
        dag_id: DagId,
        /// The run.
        run_name: RunName,
    },
    /// Work again with a run, or without a name with a whole DAG, that is quarantined: what was wrong with it is mended.
    Release {
        /// The DAG.
        dag_id: DagId,
        /// The run.
        #[serde(default)]
        run_name: Option<RunName>,
    },
    /// Forget a DAG that has no unfinished run.
    DeleteDag {
        /// The DAG.
        dag_id: DagId,
    },
    /// Say what quotas are set and how much of them is used: `{ "quotas": [...] }` with
    /// [`crate::quota::figures::QuotaFigures`]. Changes nothing.
    ReadQuotas {
        /// Only the tenant's own and those of the cohorts above it: others' are none of its business.
        #[serde(default)]
        own: bool,
    },
    /// Say what holds a task instance: `{ "waiting": ... }` with a [`crate::explain::Waiting`], or null if nothing does.
    /// Changes nothing.
    Explain {
        /// The DAG.
        dag_id: DagId,
        /// The run.
        run_name: RunName,
        /// The task.
        task_id: TaskId,
        /// Which instance of a mapped task; -1 for any other.
        map_index: i32,
    },
}

impl Command {
    /// Reads a stored request. Refused, with a code for each cause, if this release can't: such a row is answered, and
    /// holds nothing else up.
    pub fn read(format: u32, payload: &str) -> Result<Self, Refusal> {
        format::check(format, FORMAT).map_err(|unknown| Refusal::new("inbox.format", unknown.to_string()))?;
        let broken = |why: serde_json::Error| {
            Refusal::new("inbox.unreadable", format!("the request can't be read: {why}"))
        };
        let value: Value = serde_json::from_str(payload).map_err(broken)?;
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        serde_json::from_value(value).map_err(|why| {
            if why.to_string().starts_with("unknown variant") {
                Refusal::new(
                    "inbox.unknown_kind",
                    format!("this release knows no request of the kind `{kind}`"),
                )
            } else {
                broken(why)
            }
        })
    }
}

/// What must be active for a bundle to become so. Whoever looked at what it changes doesn't undo what came meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// Whatever it is.
    #[default]
    Any,
    /// No bundle at all.
    Nothing,
    /// That bundle.
    Bundle(BundleId),
}

impl Base {
    fn is_any(&self) -> bool {
        *self == Self::Any
    }

    /// Whether it is so.
    pub(crate) fn holds(&self, active: Option<&BundleId>) -> bool {
        match self {
            Self::Any => true,
            Self::Nothing => active.is_none(),
            Self::Bundle(bundle) => active == Some(bundle),
        }
    }
}

/// A DAG version of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivatedDag {
    /// The DAG.
    pub dag_id: DagId,
    /// Its version.
    pub version: DagVersion,
    /// The bundle that has this version, if it isn't the one that is activated: a file that can't be compiled any more
    /// leaves its DAGs as they were.
    #[serde(default)]
    pub bundle: Option<BundleId>,
    /// Whether a DAG that is new starts out paused.
    #[serde(default)]
    pub paused_upon_creation: bool,
}

/// A run asked for by hand or API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// The DAG.
    pub dag_id: DagId,
    /// The run's name; made from the date if absent.
    #[serde(default)]
    pub run_name: Option<RunName>,
    /// What the run stands for, if anything.
    #[serde(default)]
    pub logical_date: Option<Timestamp>,
    /// When it may start; now if absent.
    #[serde(default)]
    pub run_after: Option<Timestamp>,
    /// Parameters and whatever else the caller passes.
    #[serde(default)]
    pub conf: Map<String, Value>,
    /// A note for people.
    #[serde(default)]
    pub note: Option<String>,
    /// How many runs started each other before this one; 0 if a person asks.
    #[serde(default)]
    pub chain_depth: u32,
}

/// An answer to what a task instance asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_name: RunName,
    /// The task.
    pub task_id: TaskId,
    /// The map index, -1 for an ordinary task.
    pub map_index: i32,
    /// What is chosen of the options.
    pub chosen_options: Vec<String>,
    /// What is given beside the choice.
    #[serde(default)]
    pub params_input: Map<String, Value>,
}

/// Which task instances of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_name: RunName,
    /// The tasks, with a map index or all indexes; empty for all tasks.
    #[serde(default)]
    pub tasks: Vec<(TaskId, Option<i32>)>,
    /// Also everything upstream of them.
    #[serde(default)]
    pub upstream: bool,
    /// Also everything downstream of them.
    #[serde(default)]
    pub downstream: bool,
}

/// Run task instances again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clear {
    /// Which ones.
    pub select: Selection,
    /// Of these only those that failed.
    #[serde(default)]
    pub only_failed: bool,
    /// Of these only those that are running.
    #[serde(default)]
    pub only_running: bool,
    /// Move the run to the DAG's newest version.
    #[serde(default)]
    pub run_on_latest_version: bool,
}

/// Runs for past dates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backfill {
    /// The DAG, which must have a periodic schedule.
    pub dag_id: DagId,
    /// The first logical date.
    pub from: Timestamp,
    /// The last logical date, inclusive.
    pub to: Timestamp,
    /// What happens to dates that have a run.
    pub reprocess: Reprocess,
    /// From the last date to the first.
    #[serde(default)]
    pub reverse: bool,
    /// How many of its runs may be active at once.
    pub max_active_runs: u32,
    /// What each run gets as its conf.
    #[serde(default)]
    pub conf: Map<String, Value>,
}

/// What a backfill does to dates that have a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reprocess {
    /// Leave them.
    None,
    /// Run failed ones again.
    Failed,
    /// Run finished ones again.
    Completed,
}

/// What to do with a backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillChange {
    /// Start no more runs.
    Pause,
    /// Go on.
    Unpause,
    /// Fail queued runs, let running ones end.
    Cancel,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// A stable code, such as `dag.not_found`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl Refusal {
    /// A refusal with that code and sentence.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cant_be_read_is_refused_by_cause() {
        let pause = r#"{"kind":"pause_dag","dag_id":"d","paused":true}"#;
        assert!(matches!(Command::read(FORMAT, pause), Ok(Command::PauseDag { paused: true, .. })));
        let code = |format, payload: &str| Command::read(format, payload).unwrap_err();
        let newer = code(FORMAT + 1, pause);
        assert_eq!(newer.code, "inbox.format");
        assert_eq!(newer.message, "a document has format 2, this release reads format 1");
        let other = code(FORMAT, r#"{"kind":"sing","aloud":true}"#);
        assert_eq!((other.code.as_str(), other.message.contains("`sing`")), ("inbox.unknown_kind", true));
        assert_eq!(code(FORMAT, r#"{"kind":"pause_dag","dag_id":"d"}"#).code, "inbox.unreadable");
        assert_eq!(code(FORMAT, "{").code, "inbox.unreadable");
    }
}
