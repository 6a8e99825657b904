//! The settings of a service: one typed struct per component, its defaults, and what each value means.
//!
//! A value comes from the file, is replaced by `UPDRAFT__SECTION__KEY` in the environment, and that by a flag. [`load`]
//! puts the layers together and checks them against [`keys`], the list of keys that is made from these structs, as
//! `docs/configuration.md` is by [`page`]. To add a setting, add a field here: everything else follows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use dags::{ids::ExecutorName, time::Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) mod check;
pub(crate) mod clusters;
pub(crate) mod keys;
pub(crate) mod load;
pub(crate) mod page;
pub(crate) mod place;

/// Everything that can be set.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// This machine.
    pub(crate) node: Node,
    /// The database that all processes of a service share.
    pub(crate) database: Database,
    /// The keys that secrets are kept with.
    pub(crate) keys: Keys,
    /// Where bundles, logs and large results are kept.
    pub(crate) objects: Objects,
    /// The DAGs that are loaded without anybody's command.
    pub(crate) dags: Dags,
    /// Who decides what runs.
    pub(crate) scheduler: Scheduler,
    /// Who carries attempts out, by the name that tasks call it by; `local` if none is set.
    #[schemars(with = "BTreeMap<String, Executor>")]
    pub(crate) executors: BTreeMap<ExecutorName, Executor>,
    /// What tasks may reach.
    pub(crate) tasks: Tasks,
    /// The HTTP API.
    pub(crate) api: Api,
    /// The message broker between the owner of the shard and its workers; needed with an executor of kind `workers`.
    pub(crate) broker: Broker,
    /// What workers and pods ask for the attempts that they run: served by `standalone` and `api` with an executor of kind
    /// `workers` or `kubernetes`.
    pub(crate) task_api: TaskApi,
    /// What `updraft worker` is and offers.
    pub(crate) worker: Worker,
    /// What the process writes to its standard error.
    pub(crate) log: Log,
    /// How long what is over is kept.
    pub(crate) retention: Retention,
    /// How the process is: `/livez`, `/readyz`, `/metrics` and `/debug/state`. They are on the API's Unix socket as well, and
    /// the first two on its port.
    pub(crate) monitoring: Monitoring,
    /// Traces of runs by OTLP, for a collector of OpenTelemetry. Workers make no spans; those of their attempts are made by the
    /// scheduler.
    pub(crate) tracing: Tracing,
}

/// Settings of this machine.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Node {
    /// The folder for what belongs to this machine alone: sockets, the supervisor's files and, where nothing else is set,
    /// the database, the master key and the objects. Made with mode 0700 if it isn't there.
    pub(crate) data: Option<PathBuf>,
}

/// Settings of the database.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Database {
    /// `postgres://user:password@host/database`, or `sqlite:PATH` for `standalone`; if absent, `standalone` uses the file
    /// `updraft.db` in `node.data`.
    #[schemars(extend("x-secret" = "url"))]
    pub(crate) url: Option<Secret>,
}

/// Settings of the keys.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Keys {
    /// The file with the master key, mode 0600, the same for all processes of a service; `master.key` in `node.data` if
    /// absent. `standalone` and the first `migrate up` make it, everybody else must be given it.
    pub(crate) master_file: Option<PathBuf>,
}

/// Settings of the object store.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Objects {
    /// A folder that all processes of a service share; `objects` in `node.data` if absent, which is enough on one machine.
    pub(crate) folder: Option<PathBuf>,
}

/// Settings of the folder of DAGs.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Dags {
    /// A folder of DAGs that is watched by whoever owns the shard; a changed file is live in under a second. Every machine
    /// with a scheduler needs the same folder. If absent, nothing is watched.
    pub(crate) folder: Option<PathBuf>,
}

/// Settings of the scheduler.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Scheduler {
    /// How long the lease on the shard lasts, in milliseconds. It is renewed three times as often. A scheduler that is killed
    /// is succeeded after at most this long and a moment; a shorter lease is lost sooner when the database is slow.
    #[schemars(range(min = 1000, max = 60000))]
    pub(crate) lease_ms: u32,
    /// How long the first signal lets attempts of this machine end before the scheduler does, in seconds; nothing new is
    /// started meanwhile. Whatever still runs then goes on under its supervisor. If absent, 30 for `standalone` and 0 for
    /// `scheduler`, which hands over to a standby at once.
    #[schemars(range(min = 0, max = 86400))]
    pub(crate) drain_s: Option<u32>,
    /// The executor of tasks that name none.
    #[schemars(with = "String")]
    pub(crate) default_executor: ExecutorName,
    /// The slots of a tenant's `default_pool` as long as nobody sets them; -1 for no limit. The API needs the same value.
    #[schemars(range(min = -1, max = 1_000_000))]
    pub(crate) default_pool_slots: i32,
}

impl Default for Scheduler {
    fn default() -> Self {
        let local = Kind::Local.name();
        let engine = engine::Config::new(local.clone());
        Self {
            lease_ms: 3_000,
            drain_s: None,
            default_executor: local,
            default_pool_slots: engine.default_pool_slots,
        }
    }
}

impl Scheduler {
    /// How long the lease lasts.
    pub(crate) const fn lease(&self) -> Span {
        Span::millis(self.lease_ms as i64)
    }

    /// What the engine is told.
    pub(crate) fn engine(&self) -> engine::Config {
        engine::Config {
            default_pool_slots: self.default_pool_slots,
            ..engine::Config::new(self.default_executor.clone())
        }
    }
}

/// Settings of one executor.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Executor {
    /// What it is; may be left out if the executor's name is that of its kind.
    pub(crate) kind: Option<Kind>,
    /// How many attempts may run there at once.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) slots: Option<u32>,
    /// Of kind `kubernetes`: the file that says where the cluster is and who we are there. If absent, it is the cluster in which
    /// this process runs, by the service account of its pod.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Of kind `kubernetes`: which of the file's contexts; its current one if absent.
    pub(crate) context: Option<String>,
    /// Of kind `kubernetes`: where pods are made, `updraft` if absent. It must be there.
    pub(crate) namespace: Option<String>,
    /// Of kind `kubernetes`: the image that tasks run in.
    pub(crate) image: Option<String>,
    /// Of kind `kubernetes`: the image with Updraft of this release, whose program `/usr/local/bin/updraft-pod` an init container
    /// brings into each pod.
    pub(crate) updraft_image: Option<String>,
    /// Of kind `kubernetes`: a file with a pod template, YAML or JSON, that all pods are made from; its container `task`, if it has
    /// one, is the base of the attempt's.
    pub(crate) pod_template: Option<PathBuf>,
    /// Of kind `kubernetes`: the images that tasks may choose with `pod.image`, without tag and digest; `registry.example/team/`
    /// stands for all below it. The executor's own is always one of them.
    pub(crate) allowed_images: Option<BTreeSet<String>>,
    /// Of kind `kubernetes`: the service accounts that tasks may choose with `pod.service_account`; none if absent.
    pub(crate) allowed_service_accounts: Option<BTreeSet<String>>,
    /// Of kind `kubernetes`: the labels by which tasks may choose nodes with `pod.node_selector`; none if absent.
    pub(crate) allowed_node_labels: Option<BTreeSet<String>>,
    /// Of kind `kubernetes`: the keys of taints that tasks may tolerate with `pod.tolerations`; none if absent.
    pub(crate) allowed_taints: Option<BTreeSet<String>>,
    /// Of kind `kubernetes`: the extended resource that GPUs are, such as `nvidia.com/gpu`. If absent, tasks that need GPUs are
    /// refused.
    pub(crate) gpu_resource: Option<String>,
    /// Of kind `kubernetes`: the label of nodes that says which model their GPUs are, such as `nvidia.com/gpu.product`.
    pub(crate) gpu_model_label: Option<String>,
    /// Of kind `kubernetes`: the models that tasks may ask for, as `MODEL=VALUE` with the label's value, such as
    /// `h200=NVIDIA-H200`.
    pub(crate) gpu_models: Option<Vec<String>>,
    /// Of kind `kubernetes`: the URL at which pods reach `task_api`, such as `https://updraft.example:8480`.
    pub(crate) task_api_url: Option<String>,
    /// Of kind `kubernetes`: a file with the certificates, PEM, that the task API is to be known by. If absent, pods trust what
    /// their image trusts.
    pub(crate) task_api_authorities: Option<PathBuf>,
    /// Of kind `kubernetes`: how many seconds a pod may wait for a node; 600 if absent.
    #[schemars(range(min = 1, max = 604_800))]
    pub(crate) unschedulable_s: Option<u32>,
    /// Of kind `kubernetes`: how many seconds an image may take, and a container that can't be made; 120 if absent.
    #[schemars(range(min = 1, max = 86_400))]
    pub(crate) unstartable_s: Option<u32>,
    /// Of kind `kubernetes`: after how many seconds of silence a node's pods count as lost; 60 if absent.
    #[schemars(range(min = 5, max = 86_400))]
    pub(crate) node_lost_s: Option<u32>,
    /// Of kind `kubernetes`: the longest log of an attempt in MiB, which its node must have room for while it runs; 256 if absent.
    #[schemars(range(min = 1, max = 1_000))]
    pub(crate) log_mib_max: Option<u32>,
}

/// The kinds of executors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Processes of the scheduler's machine, under its supervisor; 16 slots if nothing else is set. One per scheduler.
    Local,
    /// Attempts that succeed at once without running anything, for figures and dry runs; 1024 slots if nothing else is set.
    Noop,
    /// Machines that run `updraft worker`, reached through `broker.url`. Each has slots of its own; `slots` limits all of
    /// them together. One per service.
    Workers,
    /// Pods of a cluster, one for each attempt; 100 slots if nothing else is set. As many as there are clusters.
    Kubernetes,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Local, Self::Noop, Self::Workers, Self::Kubernetes];

    /// The executor that is there if no other is set, and needs no `kind` if it is.
    pub(crate) fn name(self) -> ExecutorName {
        let name = match self {
            Self::Local => "local",
            Self::Noop => "noop",
            Self::Workers => "workers",
            Self::Kubernetes => "kubernetes",
        };
        name.parse().expect("invariant: a plain word is a name")
    }

    /// The slots of an executor that sets none.
    pub(crate) const fn slots(self) -> u32 {
        match self {
            Self::Local => 16,
            Self::Noop => 1_024,
            Self::Kubernetes => 100,
            // Each worker has its own limit.
            Self::Workers => u32::MAX,
        }
    }
}

/// Settings of what tasks may reach.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tasks {
    /// Folders, besides the attempt's own and its DAG's, in which the operators `sql`, `sql_check` and `sql_sensor` may open
    /// SQLite files. They are open to the tasks of every tenant. If absent, `files` in `node.data` for `standalone`, and none
    /// for `scheduler`.
    pub(crate) data_folders: Option<Vec<PathBuf>>,
}

/// Settings of the API.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Api {
    /// The Unix socket that the API answers on, open to this process's user only; `updraft.sock` in `node.data` if absent.
    pub(crate) socket: Option<PathBuf>,
    /// How long a request waits for a scheduler before it is withdrawn and answered with 503, in seconds.
    #[schemars(range(min = 1, max = 300))]
    pub(crate) owner_wait_s: u32,
    /// How many requests of one account are answered in a second, by each process and as soon as there are two tenants; twice
    /// as many after a pause. More are refused with 429. 0 for any number.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(crate) requests_per_account: u32,
    /// The same for requests about one tenant, whoever makes them.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(crate) requests_per_tenant: u32,
}

impl Default for Api {
    fn default() -> Self {
        Self { socket: None, owner_wait_s: 10, requests_per_account: 50, requests_per_tenant: 500 }
    }
}

impl Api {
    /// How many requests are answered.
    pub(crate) fn rates(&self) -> api::RateSettings {
        api::RateSettings { account: self.requests_per_account, tenant: self.requests_per_tenant }
    }
}

/// Settings of the broker.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Broker {
    /// RabbitMQ, `amqps://user:password@host/vhost`, or `amqp` on this machine; the same for the schedulers and the workers.
    #[schemars(extend("x-secret" = "url"))]
    pub(crate) url: Option<Secret>,
}

/// Settings of the task-facing API.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TaskApi {
    /// The address that workers ask; beyond this machine only with a certificate, or behind a trusted proxy.
    #[schemars(with = "String")]
    pub(crate) listen: SocketAddr,
    /// The certificate for TLS, a PEM file.
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The certificate's key, a PEM file of mode 0600.
    pub(crate) tls_key: Option<PathBuf>,
    /// Proxies that end TLS and say where requests come from.
    #[schemars(with = "Vec<String>")]
    pub(crate) trusted_proxies: Vec<IpAddr>,
    /// The names under which workers reach the address; on loopback `localhost` and the addresses come on top.
    pub(crate) hosts: Vec<String>,
}

impl Default for TaskApi {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8480)),
            tls_certificate: None,
            tls_key: None,
            trusted_proxies: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

/// Settings of a worker.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Worker {
    /// Where the service answers workers, such as `https://updraft.example:8480`.
    pub(crate) api: Option<String>,
    /// A file with an enrolment token, for the first start; `updraft workers enrol` makes one.
    pub(crate) enrolment_token_file: Option<PathBuf>,
    /// What the machine is called when it enrols; its host name if absent.
    pub(crate) name: Option<String>,
    /// How many attempts, members of gangs counted one by one, may run at once.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) slots: u32,
    /// Thousandths of a CPU that it offers; the machine's if absent.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(crate) cpu_milli: Option<u64>,
    /// Bytes of memory that it offers; the machine's if absent.
    #[schemars(range(min = 0, max = 1_000_000_000_000_000_i64))]
    pub(crate) memory_bytes: Option<u64>,
    /// GPUs that it offers, each as `MODEL=COUNT`.
    pub(crate) gpus: Vec<String>,
    /// The queues that it serves; `default` if none is named.
    pub(crate) queues: Vec<String>,
    /// Words about it for people, each as `NAME=VALUE`.
    pub(crate) labels: Vec<String>,
    /// How long the first signal lets running attempts end, in seconds; then they are ended and given back to the queue.
    #[schemars(range(min = 0, max = 86400))]
    pub(crate) drain_s: u32,
    /// Lets every attempt succeed at once instead of running it, to load everything else.
    pub(crate) noop: bool,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            api: None,
            enrolment_token_file: None,
            name: None,
            slots: 16,
            cpu_milli: None,
            memory_bytes: None,
            gpus: Vec::new(),
            queues: Vec::new(),
            labels: Vec::new(),
            drain_s: 300,
            noop: false,
        }
    }
}

/// Settings of the log.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// How lines are written.
    pub(crate) format: LogFormat,
    /// Which lines are written: a level, or levels by module such as `info,scheduler=debug`.
    pub(crate) filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info".to_owned() }
    }
}

/// Settings of what is kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retention {
    /// How many days a tenant keeps its finished runs, with their logs and results, if it doesn't say so itself (`updraft
    /// retention`); 0 for ever. A DAG's last run stays, since the next may depend on it.
    #[schemars(range(min = 0, max = 36_500))]
    pub(crate) run_days: u32,
    /// How many days the history of runs is kept at most, also of runs that are kept longer; 0 as long as the run. On
    /// PostgreSQL it goes a month at once.
    #[schemars(range(min = 0, max = 36_500))]
    pub(crate) event_days: u32,
    /// How many days the audit log is kept, of all tenants and of the platform; 0 for ever. On PostgreSQL it goes a month at
    /// once.
    #[schemars(range(min = 0, max = 36_500))]
    pub(crate) audit_days: u32,
    /// How many days what happened to assets is kept; 0 for ever. What runs wait for isn't touched. On PostgreSQL it goes a
    /// month at once.
    #[schemars(range(min = 0, max = 36_500))]
    pub(crate) asset_event_days: u32,
    /// How many days bundles and versions of DAGs are kept that no run and no DAG has any more, counted from when they were last
    /// stored; 0 for ever.
    #[schemars(range(min = 0, max = 36_500))]
    pub(crate) bundle_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { run_days: 0, event_days: 0, audit_days: 0, asset_event_days: 0, bundle_days: 7 }
    }
}

/// Settings of monitoring.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Monitoring {
    /// The address of a port for monitoring alone, such as `127.0.0.1:9180`, different for each process of a machine. If absent,
    /// there is none. It has no TLS.
    #[schemars(with = "Option<String>")]
    pub(crate) listen: Option<SocketAddr>,
    /// A file with a token that `/metrics` and `/debug/state` demand as `Authorization: Bearer TOKEN`. Without it they answer
    /// on loopback only; `/livez` and `/readyz` answer everybody.
    pub(crate) token_file: Option<PathBuf>,
}

/// Settings of tracing.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tracing {
    /// The URL of a collector that takes OTLP over HTTP in protobuf, such as `http://127.0.0.1:4318`; `/v1/traces` is added. If
    /// absent, there are no traces.
    pub(crate) endpoint: Option<String>,
    /// A file with headers for the collector, such as a token, a line each: `Name: value`.
    pub(crate) headers_file: Option<PathBuf>,
    /// How many of a hundred runs are traced; all processes choose the same ones.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) sample_percent: u32,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { endpoint: None, headers_file: None, sample_percent: 100 }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// `text` on a terminal, else `json`.
    Auto,
    /// For people.
    Text,
    /// One object per line, for programs.
    Json,
}

/// A text that is never shown.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text itself: hand it to whoever needs it, never to a log.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}
