//! An executor with a namespace of its own, and the real task API.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dags::ids::{BundleId, DispatchId, ShardId};
use engine::dispatch::{Dispatch, Held, Kill, Report};
use executor::{
    Capacity, Error, Executor, Work,
    conformance::{self, Harness},
    kubernetes::{self, KubernetesExecutor, Options, Patience, Template},
    log::LogChunk,
};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, ServiceAccount};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use rustix::process::{Pid, Signal};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::asked::{Asked, Shared, lock, until};

/// Images of the tests' node.
pub(crate) const TASKS: &str = "updraft.test/tasks:1";
pub(crate) const UPDRAFT: &str = "updraft.test/updraft:dev";
/// The longest log of an attempt.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Reports that may wait for a case.
const REPORTS_MAX: usize = 10_000;

/// What tests are told about the cluster.
pub(crate) fn told(name: &str) -> String {
    let value = std::env::var(name);
    value.unwrap_or_else(|_| panic!("{name} isn't set: eval \"$(cargo xtask services up kubernetes)\""))
}

/// The executor, with what the database does for it.
#[derive(Clone)]
pub(crate) struct Placed {
    inner: KubernetesExecutor,
    given: Shared,
}

impl Executor for Placed {
    async fn submit(&self, work: Work) -> Result<(), Error> {
        lock(&self.given).works.entry(work.dispatch.id).or_insert_with(|| work.clone());
        self.inner.submit(work).await
    }

    async fn kill(&self, kill: Kill) -> Result<(), Error> {
        self.inner.kill(kill).await
    }

    async fn list(&self) -> Result<Vec<Held>, Error> {
        self.inner.list().await
    }

    async fn confirm(&self, dispatch: DispatchId, member: u32) -> Result<(), Error> {
        self.inner.confirm(dispatch, member).await?;
        lock(&self.given).confirmed.insert((dispatch, member));
        Ok(())
    }

    async fn logs(&self, dispatch: DispatchId, member: u32, offset: u64) -> Result<LogChunk, Error> {
        self.inner.logs(dispatch, member, offset).await
    }

    async fn capacity(&self) -> Result<Capacity, Error> {
        self.inner.capacity().await
    }
}

/// The scheduler's side, until it is restarted.
struct Side {
    placed: Placed,
    reports: mpsc::Receiver<Report>,
    cancel: CancellationToken,
    service: JoinHandle<()>,
}

pub(crate) struct Pods {
    _root: tempfile::TempDir,
    work: PathBuf,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) options: Options,
    bundle: BundleId,
    given: Shared,
    end: CancellationToken,
    side: Side,
}

/// A new cluster client.
pub(crate) async fn connect() -> Client {
    kubernetes::connect(Some(Path::new(&told("UPDRAFT_TEST_KUBECONFIG"))), None).await.unwrap()
}

/// A namespace of a case's own, ready for pods.
pub(crate) async fn namespace(client: &Client) -> String {
    let name = format!("t-{}", &Uuid::now_v7().simple().to_string()[20..]);
    let namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    until("the namespace's service account", async || accounts.get_opt("default").await.unwrap().is_some())
        .await;
    name
}

impl Pods {
    pub(crate) async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let work = root.path().join("work");
        fs::create_dir(&work).unwrap();
        let machine = told("UPDRAFT_TEST_KUBERNETES_MACHINE");
        let client = connect().await;
        let namespace = namespace(&client).await;
        let end = CancellationToken::new();
        let asked = Asked::serve(root.path(), Some(&machine), &end).await;
        let given = asked.given.clone();
        // Cases look at processes and files of this machine.
        let template = Template::new(json!({ "spec": {
            "hostPID": true,
            "securityContext": { "runAsNonRoot": false, "runAsUser": 0, "runAsGroup": 0, "fsGroup": null },
            "containers": [{ "name": "task", "image": TASKS, "imagePullPolicy": "Never",
                "volumeMounts": [{ "name": "work", "mountPath": work }] }],
            "volumes": [{ "name": "work", "hostPath": { "path": work, "type": "Directory" } }],
        }}));
        let options = Options {
            name: "k8s".parse().unwrap(),
            shard: ShardId::DEFAULT,
            client: client.clone(),
            namespace: namespace.clone(),
            image: TASKS.to_owned(),
            updraft_image: UPDRAFT.to_owned(),
            template: template.unwrap(),
            pods: Default::default(),
            gpus: None,
            task_api: asked.url,
            authorities: asked.authorities,
            slots: 100,
            log_bytes_max: LOG_BYTES_MAX,
            // A busy node takes its time; cases about those that never come have less.
            patience: Patience::default(),
            keys: asked.keys,
            kept: Arc::new(asked.objects),
        };
        let side = Side::open(&options, &given).await;
        Self { _root: root, work, client, namespace, options, bundle: asked.bundle, given, end, side }
    }

    /// Stops the scheduler's side, until it is restarted.
    pub(crate) async fn pause(&mut self) {
        self.side.cancel.cancel();
        (&mut self.side.service).await.unwrap();
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

impl Side {
    async fn open(options: &Options, given: &Shared) -> Self {
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        let (inner, service) = kubernetes::open(options.clone(), sender);
        let cancel = CancellationToken::new();
        let service = tokio::spawn(service.run(cancel.clone()));
        let placed = Placed { inner, given: given.clone() };
        let listed = async {
            while placed.list().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), listed).await.unwrap();
        Self { placed, reports, cancel, service }
    }
}

impl Harness for Pods {
    type Executor = Placed;

    fn executor(&self) -> Placed {
        self.side.placed.clone()
    }

    fn reports(&mut self) -> &mut mpsc::Receiver<Report> {
        &mut self.side.reports
    }

    fn folder(&self) -> &Path {
        &self.work
    }

    fn work(&self, command: &str) -> Work {
        // The bundle is in the pod, in a folder of its own.
        let command = format!("cd {}\n{command}", self.work.display());
        let mut work = conformance::work(PathBuf::new(), &command);
        let executor = self.options.name.clone();
        work.dispatch = Dispatch { bundle: self.bundle.clone(), executor, ..work.dispatch };
        work
    }

    fn without_its_files(&self, work: &mut Work) {
        work.dispatch.bundle = BundleId("0".repeat(64).into());
    }

    fn forgets_logs(&self) -> bool {
        // They are the service's.
        false
    }

    fn many(&self) -> usize {
        // A pod costs a node a second.
        24
    }

    fn tells_processes(&self) -> bool {
        false
    }

    fn log_bytes_max(&self) -> u64 {
        LOG_BYTES_MAX
    }

    async fn restart_client(&mut self) {
        if !self.side.cancel.is_cancelled() {
            self.pause().await;
        }
        self.side = Side::open(&self.options, &self.given).await;
    }

    async fn kill_runtime(&mut self) {
        let pods = self.pods().list(&ListParams::default()).await.unwrap();
        let marks: Vec<String> =
            pods.iter().filter_map(|pod| Some(format!("/pods/{}/", pod.metadata.uid.as_ref()?))).collect();
        let ours = |pid: Pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            command.starts_with(b"/updraft/home/updraft-pod\0run\0")
                && marks.iter().any(|mark| mounts.contains(mark))
        };
        for entry in fs::read_dir("/proc").unwrap() {
            let pid = entry.unwrap().file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            if let Some(pid) = pid.filter(|pid| ours(*pid)) {
                // It may have ended by itself just now.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.side.cancel.cancel();
        self.end.cancel();
        let namespace = self.namespace.clone();
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(remove(&namespace));
        });
        removed.join().unwrap();
    }
}

/// Removes a namespace with its pods, confirmed or not. The cluster goes on with that by itself.
pub(crate) async fn remove(namespace: &str) {
    // A client belongs to the runtime that made it.
    let client = connect().await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let (name, free) = (pod.metadata.name.unwrap(), json!({ "metadata": { "finalizers": null } }));
        // It may have gone just now.
        let _ = pods.patch(&name, &PatchParams::default(), &Patch::Merge(free)).await;
        let _ = pods.delete(&name, &now).await;
    }
    let removed = Api::<Namespace>::all(client).delete(namespace, &DeleteParams::default()).await;
    removed.unwrap();
}
