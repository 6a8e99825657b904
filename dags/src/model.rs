//! What a DAG is: the one validated model that both front ends produce and everything else consumes.
//!
//! Its JSON form, complete with defaults and sorted by key, is the **canonical form**; a DAG's version is that form's
//! hash. Nothing here knows how a DAG was written down.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ids::{DagId, ExecutorName, GroupId, PoolName, TaskId},
    time::{Span, Timestamp},
};

/// The number of the canonical form that this release writes.
pub const FORMAT: u32 = 1;

/// A validated DAG, complete with defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dag {
    /// The number of the canonical form, [`FORMAT`].
    pub format: u32,
    /// The DAG's name.
    pub dag_id: DagId,
    /// Markdown for people.
    pub doc: Option<String>,
    /// Who answers for the DAG.
    pub owner: Option<String>,
    /// Labels to find it by.
    pub tags: BTreeSet<String>,
    /// When runs are made.
    pub schedule: Schedule,
    /// No run covers anything earlier.
    pub start_date: Option<Timestamp>,
    /// No run covers anything later.
    pub end_date: Option<Timestamp>,
    /// Parameters of a run: name to JSON Schema, `default` inside.
    pub params: BTreeMap<String, Value>,
    /// How many runs may be active at once.
    pub max_active_runs: u32,
    /// How many task instances of one run may be queued or running at once.
    pub max_active_tasks: u32,
    /// Pause the DAG after so many failed runs in a row; 0 means never.
    pub max_consecutive_failed_runs: u32,
    /// Whether the first failed task ends the run.
    pub fail_fast: bool,
    /// How long a run may take from its start.
    pub run_timeout: Option<Span>,
    /// Who hears of a failed run.
    pub on_failure: Vec<Notify>,
    /// Who hears of a successful run.
    pub on_success: Vec<Notify>,
    /// Promises about when a run is done.
    pub deadlines: Vec<Deadline>,
    /// Groups, sorted by name.
    pub groups: Vec<Group>,
    /// Tasks, sorted by name.
    pub tasks: Vec<Task>,
    /// Files beside the DAG that the model names: path to SHA-256.
    pub files: BTreeMap<String, String>,
    /// Plugins that the model uses: operator name to SHA-256.
    pub plugins: BTreeMap<String, String>,
}

impl Dag {
    /// From now on no run is made but by hand. The schedule still says which interval such a run stands for.
    pub fn only_by_hand(&mut self) {
        // With its end in the past a schedule fires no more.
        self.end_date = Some(Timestamp::MIN);
        match &mut self.schedule.when {
            When::Assets(_) => self.schedule.when = When::Never,
            When::AssetsOrCrons { crons, .. } => self.schedule.when = When::Crons(std::mem::take(crons)),
            When::Never | When::Once | When::Continuous | When::Every(_) | When::Crons(_) => {}
        }
    }
}

/// When runs are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// What sets the times.
    pub when: When,
    /// The IANA time zone that wall-clock rules are read in.
    pub timezone: String,
    /// Whether a run stands for the instant of its tick or for the interval that ends there.
    pub timetable: TimetableKind,
    /// What happens to a local time that doesn't exist.
    pub on_gap: OnGap,
    /// What happens to a local time that exists twice.
    pub on_overlap: OnOverlap,
    /// What happens to ticks that were missed while paused or down.
    pub missed: Missed,
    /// A missed tick older than this gets no run.
    pub max_lateness: Option<Span>,
}

/// What sets the times of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Only by hand or API.
    Never,
    /// One run, at the start date or now.
    Once,
    /// The next run starts when the last one ended.
    Continuous,
    /// A fixed distance between runs.
    Every(Span),
    /// One or more cron expressions of five or six fields.
    Crons(Vec<String>),
    /// Asset events.
    Assets(AssetCondition),
    /// Asset events or cron expressions, whichever comes.
    AssetsOrCrons {
        /// The condition over assets.
        assets: AssetCondition,
        /// The cron expressions.
        crons: Vec<String>,
    },
}

/// A condition over assets that have events pending.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssetCondition {
    /// This asset, by name.
    Asset(String),
    /// Any one of these.
    Any(Vec<AssetCondition>),
    /// All of these.
    All(Vec<AssetCondition>),
}

impl AssetCondition {
    /// The assets that it names.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut rest = vec![self];
        while let Some(condition) = rest.pop() {
            match condition {
                Self::Asset(name) => _ = names.insert(name.clone()),
                Self::Any(list) | Self::All(list) => rest.extend(list),
            }
        }
        names
    }
}

impl When {
    /// The condition over assets, if that is what makes runs.
    pub fn assets(&self) -> Option<&AssetCondition> {
        match self {
            Self::Assets(condition) | Self::AssetsOrCrons { assets: condition, .. } => Some(condition),
            Self::Never | Self::Once | Self::Continuous | Self::Every(_) | Self::Crons(_) => None,
        }
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? } default $default:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }
        impl $name {
            /// Every choice with the word that authors write.
            pub const ALL: &'static [(&'static str, Self)] = &[$(($text, Self::$variant)),+];
            /// The word that authors write.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            /// The choice of that word.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice)
            }
        }
        impl Default for $name {
            fn default() -> Self { Self::$default }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}

choice!(
    /// Whether a run stands for an instant or an interval.
    TimetableKind {
        /// A run at the tick, standing for the tick.
        Trigger = "trigger",
        /// A run at the end of the interval between two ticks, standing for that interval.
        Interval = "interval",
    } default Trigger
);
choice!(
    /// What happens to a local time that doesn't exist.
    OnGap {
        /// The run moves forward by the length of the gap.
        Shift = "shift",
        /// There is no run.
        Skip = "skip",
    } default Shift
);
choice!(
    /// What happens to a local time that exists twice.
    OnOverlap {
        /// The earlier instant.
        First = "first",
        /// The later instant.
        Last = "last",
        /// Both instants.
        Both = "both",
    } default Last
);
choice!(
    /// What happens to ticks that were missed while paused or down.
    Missed {
        /// One run for the latest of them (Airflow's `catchup=False`).
        Latest = "latest",
        /// A run for each (Airflow's `catchup=True`).
        All = "all",
        /// No run; wait for the next tick.
        None = "none",
    } default Latest
);
choice!(
    /// When a task may start, given how its direct upstream tasks ended.
    TriggerRule {
        /// All succeeded.
        AllSuccess = "all_success",
        /// All failed or couldn't run because theirs failed.
        AllFailed = "all_failed",
        /// All ended, however.
        AllDone = "all_done",
        /// All ended and at least one succeeded.
        AllDoneMinOneSuccess = "all_done_min_one_success",
        /// All ended, and a setup among them succeeded: the rule of teardowns.
        AllDoneSetupSuccess = "all_done_setup_success",
        /// One succeeded; doesn't wait for the others.
        OneSuccess = "one_success",
        /// One failed; doesn't wait for the others.
        OneFailed = "one_failed",
        /// One succeeded or failed; doesn't wait for the others.
        OneDone = "one_done",
        /// None failed: all succeeded or were skipped.
        NoneFailed = "none_failed",
        /// None failed and at least one succeeded: the rule of joins after a branch.
        NoneFailedMinOneSuccess = "none_failed_min_one_success",
        /// None was skipped, and all ended.
        NoneSkipped = "none_skipped",
        /// All were skipped.
        AllSkipped = "all_skipped",
        /// At once, whatever happens upstream.
        Always = "always",
    } default AllSuccess
);
choice!(
    /// How a task's priority grows with its neighbours'.
    WeightRule {
        /// Its own and that of all tasks downstream.
        Downstream = "downstream",
        /// Its own and that of all tasks upstream.
        Upstream = "upstream",
        /// Its own.
        Absolute = "absolute",
    } default Downstream
);
choice!(
    /// Who carries out an operator.
    Runner {
        /// An executor, as an attempt.
        Executor = "executor",
        /// The engine itself: `empty`, `branch`, `short_circuit`, `trigger_dag`, time and task sensors.
        Engine = "engine",
    } default Executor
);
choice!(
    /// How a retry's delay is spread.
    Jitter {
        /// As Airflow: deterministic, between the backoff and twice it.
        Deterministic = "deterministic",
        /// Anywhere from zero to the backoff, by the attempt's hash.
        Full = "full",
    } default Deterministic
);

/// One task of a DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The task's name, as its author wrote it: groups don't change it.
    pub task_id: TaskId,
    /// Markdown for people.
    pub doc: Option<String>,
    /// The operator's name in the catalog.
    pub operator: String,
    /// The operator's parameters, checked and complete with defaults. Templates are still text.
    pub args: serde_json::Map<String, Value>,
    /// Who carries the operator out.
    pub runner: Runner,
    /// The names of those parameters that hold an expression and must be rendered before use.
    pub templated: BTreeSet<String>,
    /// Direct upstream tasks, sorted.
    pub needs: Vec<TaskId>,
    /// The innermost group that the task is in.
    pub group: Option<GroupId>,
    /// When it may start.
    pub trigger_rule: TriggerRule,
    /// How many times a failed attempt is repeated.
    pub retries: u32,
    /// The wait before the first retry.
    pub retry_delay: Span,
    /// What the wait is multiplied with from one retry to the next; 0 or 1 keeps it constant.
    pub retry_backoff: f64,
    /// How the wait is spread.
    pub retry_jitter: Jitter,
    /// The longest wait between retries.
    pub max_retry_delay: Option<Span>,
    /// How long an attempt may run.
    pub timeout: Option<Span>,
    /// The pool whose slots it takes.
    pub pool: PoolName,
    /// How many slots it takes.
    pub pool_slots: u32,
    /// Its own priority; higher goes first.
    pub priority: i32,
    /// How the priority grows with its neighbours'.
    pub weight_rule: WeightRule,
    /// Whether it waits for its own success in the previous run.
    pub depends_on_past: bool,
    /// Whether it also waits for its direct downstream tasks in the previous run.
    pub wait_for_downstream: bool,
    /// Whether a skip waits until the past dependencies are met.
    pub wait_for_past_before_skipping: bool,
    /// How many instances of it may be active over all runs.
    pub max_active: Option<u32>,
    /// How many instances of it may be active in one run.
    pub max_active_per_run: Option<u32>,
    /// The executor, or the service's choice.
    pub executor: Option<ExecutorName>,
    /// The queue, a constraint on the worker.
    pub queue: Option<String>,
    /// What an attempt needs.
    pub resources: Resources,
    /// What its pods are to be like, on executors that make some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// How many equal members start together; 1 is an ordinary task.
    pub gang: u32,
    /// Whether it may be ended to give back borrowed capacity.
    pub preemptible: bool,
    /// Environment variables. Templates are still text.
    pub env: BTreeMap<String, String>,
    /// One whole expression in its braces, `{{ ... }}`; false skips the task after its rule allowed it.
    pub when: Option<String>,
    /// Assets that a success updates.
    pub outlets: Vec<String>,
    /// What it is repeated over.
    pub map: Option<Map>,
    /// Whether another task's `teardown_of` names it.
    pub setup: bool,
    /// The setups that it cleans up after; makes it a teardown.
    pub teardown_of: Vec<TaskId>,
    /// Whether a failed teardown fails the run.
    pub on_failure_fail_run: bool,
    /// Who hears of its failure, success or retry.
    pub notify: Vec<TaskNotify>,
}

/// What a task or group is repeated over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// The variables, in the order in which they were declared: the first varies slowest.
    pub over: Vec<(String, MapSource)>,
    /// Walk all lists in step instead of forming their product; the shortest ends it.
    pub zip: bool,
}

/// Where the values of a mapped variable come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MapSource {
    /// Known beforehand.
    Literal(Vec<Value>),
    /// The result, a list or an object, of an upstream task.
    Output(TaskId),
}

/// A group of tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The group's name, as its author wrote it.
    pub group_id: GroupId,
    /// The group that it is in.
    pub parent: Option<GroupId>,
    /// Markdown for people.
    pub doc: Option<String>,
    /// What the group as a whole is repeated over.
    pub map: Option<Map>,
}

/// What one attempt (each member of a gang) needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Thousandths of a CPU; 0 leaves it to the executor.
    pub cpu_milli: u64,
    /// Bytes of memory; 0 leaves it to the executor.
    pub memory_bytes: u64,
    /// GPUs.
    pub gpu: Option<Gpu>,
    /// Counters that the platform defines.
    pub custom: BTreeMap<String, u64>,
}

/// GPUs of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// How many.
    pub count: u32,
    /// Which; any if absent.
    pub model: Option<String>,
}

/// What the pods of a task are to be like, as far as the executor's settings let DAGs choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pod {
    /// The image that the attempt runs in; the executor's if absent.
    pub image: Option<String>,
    /// The service account, whose token the attempt finds where Kubernetes puts it; none if absent.
    pub service_account: Option<String>,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that a node may have.
    pub tolerations: Vec<Toleration>,
}

/// A taint that a node may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Toleration {
    /// The taint's key.
    pub key: String,
    /// Its value; any if absent.
    pub value: Option<String>,
    /// Its effect; any if absent.
    pub effect: Option<TaintEffect>,
}

choice!(
    /// What a taint does, in Kubernetes' words.
    TaintEffect {
        /// No pod comes to the node.
        NoSchedule = "NoSchedule",
        /// Pods come to the node if there is no other.
        PreferNoSchedule = "PreferNoSchedule",
        /// Pods leave the node as well.
        NoExecute = "NoExecute",
    } default NoSchedule
);

/// A notification route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// The route's name, as the tenant configured it.
    pub notify: String,
}

/// A notification about a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskNotify {
    /// What it is about.
    pub on: TaskEvent,
    /// The route's name, as the tenant configured it.
    pub notify: String,
}

choice!(
    /// What a task's notification is about.
    TaskEvent {
        /// The last attempt failed.
        Failure = "failure",
        /// It succeeded.
        Success = "success",
        /// An attempt failed and is repeated.
        Retry = "retry",
    } default Failure
);

choice!(
    /// From when a deadline counts.
    DeadlineFrom {
        /// When the run was due.
        Scheduled = "scheduled",
        /// When the run was queued.
        Queued = "queued",
        /// When the run started.
        Started = "started",
    } default Scheduled
);

/// A promise about when a run is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// From when it counts.
    pub from: DeadlineFrom,
    /// How long it may take.
    pub within: Span,
    /// The route that hears of a breach.
    pub notify: String,
}
