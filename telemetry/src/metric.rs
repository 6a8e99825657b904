//! All metrics.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It is a value of now.
    Gauge,
    /// Values are sorted into buckets, with these upper bounds.
    Histogram(&'static [f64]),
}

/// Seconds, from a tenth of a millisecond up to ten minutes.
const SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];
/// Rows.
const ROWS: &[f64] = &[1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0];

/// One line of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [(&'static str, &'static str)],
    pub(crate) roles: &'static str,
    pub(crate) help: &'static str,
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $kind:expr, [$(($label:literal, $values:literal)),*], $roles:literal;)+) => {
        /// A metric.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Metric {
            /// All of them, in the order of the page.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub(crate) const fn row(self) -> &'static Row {
                match self {
                    $(Self::$variant => &Row {
                        name: $name,
                        kind: $kind,
                        labels: &[$(($label, $values)),*],
                        roles: $roles,
                        help: concat!($($doc),+),
                    },)+
                }
            }
        }
    };
}

metrics! {
    /// How long each step to a running task took, in seconds. `created`: from when a run was due until it was stored.
    /// `queued`: from when a task was ready until it was admitted; this holds every wait for a limit or for room.
    /// `handed_over`: from its admission, through the commit, until its executor had it. `running`: from then until its start
    /// was known.
    SchedulingDelay = "updraft_scheduling_delay_seconds", Kind::Histogram(SECONDS),
        [("phase", "created, queued, handed_over, running")], "scheduler, standalone";
    /// Ready task instances that wait, by what holds them: `dag_paused`, `max_active_tasks` of their run, `max_active` of
    /// their task, a full `pool`, an `executor` without room, `workers` none of which has room, a `pool_missing` or
    /// `executor_missing`; or `next`, which are about to be admitted.
    QueueDepth = "updraft_queue_depth", Kind::Gauge,
        [("cause", "dag_paused, max_active_tasks, max_active, pool, pool_missing, executor, executor_missing, workers, next")],
        "scheduler, standalone";
    /// Unfinished runs by state.
    Runs = "updraft_runs", Kind::Gauge, [("state", "queued, running")], "scheduler, standalone";
    /// Transitions of task instances.
    Transitions = "updraft_transitions_total", Kind::Counter, [], "scheduler, standalone";
    /// Attempts that an executor runs or is about to.
    ExecutorUsed = "updraft_executor_used", Kind::Gauge, [("executor", "its name")], "scheduler, standalone";
    /// Attempts that an executor may run at once; for workers their slots taken together.
    ExecutorSlots = "updraft_executor_slots", Kind::Gauge, [("executor", "its name")], "scheduler, standalone";
    /// Dispatches that are being ended and still hold what they held.
    Ending = "updraft_ending_dispatches", Kind::Gauge, [], "scheduler, standalone";
    /// Batches by how their commit ended. `failed` and `unknown` ones are sent again; after `fenced` another scheduler owns
    /// the shard; `conflict` means that the engine is built again from the database.
    Commits = "updraft_commits_total", Kind::Counter,
        [("outcome", "done, failed, unknown, fenced, conflict")], "scheduler, standalone";
    /// How long a commit took, in seconds.
    CommitTime = "updraft_commit_seconds", Kind::Histogram(SECONDS), [], "scheduler, standalone";
    /// How many rows a commit wrote.
    CommitRows = "updraft_commit_rows", Kind::Histogram(ROWS), [], "scheduler, standalone";
    /// Reports of executors that counted.
    Reports = "updraft_reports_total", Kind::Counter, [], "scheduler, standalone";
    /// Reports that were dropped. `stale`: about a dispatch that isn't current; `repeat`: known already; `unproved`: of a
    /// worker that wasn't sent the dispatch; `unreadable`: gone to the dead-letter queue.
    ReportsDropped = "updraft_reports_dropped_total", Kind::Counter,
        [("reason", "stale, repeat, unproved, unreadable")], "scheduler, standalone";
    /// Task instances that the engine put right by itself, because whoever should have acted didn't.
    Repairs = "updraft_repairs_total", Kind::Counter,
        [("what", "handed_over_again, ended_stranger, lost, taken_back, ended_again, asked_again, woken, let_go")], "scheduler, standalone";
    /// 1 while this process owns the shard, else 0. Over all schedulers the sum is 1, and 0 for some seconds of a takeover.
    ShardOwned = "updraft_shard_owned", Kind::Gauge, [], "scheduler, standalone";
    /// How often the shard was taken over, ever.
    ShardEpoch = "updraft_shard_epoch", Kind::Gauge, [], "scheduler, standalone";
    /// Renewals of the lease. After one that `failed` it is tried again until the lease is over.
    LeaseRenewals = "updraft_lease_renewals_total", Kind::Counter, [("outcome", "done, failed, fenced")], "scheduler, standalone";
    /// Workers by state. `unknown`: something was placed there before a restart and it hasn't been heard since.
    Workers = "updraft_workers", Kind::Gauge, [("state", "open, draining, silent, unknown")], "scheduler, standalone";
    /// Slots of all workers.
    WorkerSlots = "updraft_workers_slots", Kind::Gauge, [("state", "used, free")], "scheduler, standalone";
    /// Messages to workers. One that was `unroutable` found no queue: its worker is gone.
    BrokerMessages = "updraft_broker_messages_total", Kind::Counter,
        [("outcome", "stored, unroutable")], "scheduler, standalone";
    /// Requests in the inbox that no scheduler has taken.
    InboxWaiting = "updraft_inbox_waiting", Kind::Gauge, [], "scheduler, api, standalone";
    /// How long the oldest of them has waited, in seconds.
    InboxLag = "updraft_inbox_lag_seconds", Kind::Gauge, [], "scheduler, api, standalone";
    /// Answers of the API.
    Requests = "updraft_http_requests_total", Kind::Counter,
        [("method", "GET, ..."), ("route", "as it is declared"), ("status", "200, ...")], "api, standalone";
    /// How long an answer of the API took until it began, in seconds.
    RequestTime = "updraft_http_request_seconds", Kind::Histogram(SECONDS), [("route", "as it is declared")], "api, standalone";
    /// Connections to the API's port that are open.
    Connections = "updraft_http_connections", Kind::Gauge, [], "api, standalone";
    /// Spans for a collector (`tracing.endpoint`), by what became of them: the collector has them (`sent`), it didn't take
    /// them (`failed`), or more waited than it takes (`dropped`).
    TraceSpans = "updraft_trace_spans_total", Kind::Counter, [("outcome", "sent, failed, dropped")], "all";
    /// Connections to the database that this process keeps.
    DatabaseConnections = "updraft_database_connections", Kind::Gauge, [("state", "used, idle")], "scheduler, api, standalone";
    /// Dispatches that the worker holds, by how far they are: `taken` and not yet started, `started`, or `ended` and not yet
    /// confirmed by the scheduler.
    WorkerHeld = "updraft_worker_held", Kind::Gauge, [("stage", "taken, started, ended")], "worker";
    /// Attempts that the worker may run at once.
    WorkerOwnSlots = "updraft_worker_slots", Kind::Gauge, [], "worker";
    /// 1 while the worker takes nothing new because it is about to end, else 0.
    WorkerDraining = "updraft_worker_draining", Kind::Gauge, [], "worker";
    /// 1 while this process has its connection to the broker, else 0.
    BrokerConnected = "updraft_broker_connected", Kind::Gauge, [], "scheduler, standalone, worker";
    /// 1 if the process is ready, else 0; `/readyz` says why it isn't.
    Ready = "updraft_ready", Kind::Gauge, [], "all";
    /// Always 1: which release this is and what it does.
    Build = "updraft_build_info", Kind::Gauge, [("version", "the release"), ("role", "standalone, scheduler, api or worker")], "all";
    /// CPU time of this process, in seconds.
    ProcessCpu = "process_cpu_seconds_total", Kind::Gauge, [], "all";
    /// Memory of this process, in bytes.
    ProcessMemory = "process_resident_memory_bytes", Kind::Gauge, [], "all";
    /// Files that this process has open.
    ProcessFiles = "process_open_fds", Kind::Gauge, [], "all";
    /// When this process started, in seconds since 1970.
    ProcessStart = "process_start_time_seconds", Kind::Gauge, [], "all";
}

impl Metric {
    /// Its name.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What it is.
    pub const fn kind(self) -> Kind {
        self.row().kind
    }
}
