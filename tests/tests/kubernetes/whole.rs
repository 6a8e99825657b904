//! A service whose tasks run in pods, as an administrator would set it up: no privileges, the pods' own network, TLS.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    sync::{Arc, Mutex, Once},
};

use dags::ids::TaskId;
use engine::{
    dispatch::ResultRef,
    state::{RunState, TaskState},
};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod, Secret, ServiceAccount};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use libtest_mimic::Trial;
use migrations::store;
use serde_json::json;

use crate::{
    asked::{certificate, until},
    harness::{TASKS, UPDRAFT, connect, namespace, remove, told},
    site::{LATE, SCOPE, Service, Site, program},
};

/// Gives the node the image of what was built, once.
pub(crate) fn load_image() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        let output = Command::new("cargo").args(["xtask", "services", "load-image"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    });
}

pub(crate) fn trials() -> Vec<Trial> {
    fn trial(name: &str, unschedulable_s: u32, run: impl AsyncFn(Place) + Send + 'static) -> Trial {
        Trial::test(name.to_owned(), move || {
            load_image();
            crate::runtime().block_on(async {
                let place = Place::new(unschedulable_s).await;
                Box::pin(run(place)).await;
            });
            Ok(())
        })
    }
    vec![
        trial("a_dag_runs_in_pods_and_hands_results_on", 600, a_dag_runs_in_pods_and_hands_results_on),
        trial(
            "a_service_that_is_killed_finds_its_pods_again",
            600,
            a_service_that_is_killed_finds_its_pods_again,
        ),
        trial(
            "a_service_killed_again_and_again_loses_no_pod",
            600,
            a_service_killed_again_and_again_loses_no_pod,
        ),
        trial("a_task_chooses_its_pod", 600, a_task_chooses_its_pod),
        trial("gpus_are_a_resource_of_nodes", 5, gpus_are_a_resource_of_nodes),
        trial("a_task_that_no_node_takes_says_why", 8, a_task_that_no_node_takes_says_why),
    ]
}

/// A service, its namespace and its settings.
struct Place {
    site: Site,
    client: Client,
    namespace: String,
}

impl Place {
    async fn new(unschedulable_s: u32) -> Self {
        let (site, client) = (Site::sqlite().await, connect().await);
        let namespace = namespace(&client).await;
        let machine = told("UPDRAFT_TEST_KUBERNETES_MACHINE");
        certificate(&site.path(""), &machine);
        // Free now, and nobody else's business in the moment until the service has it.
        let port = std::net::TcpListener::bind((machine.as_str(), 0)).unwrap().local_addr().unwrap().port();
        let shown = |name: &str| format!("{:?}", site.path(name).display().to_string());
        fs::write(
            site.path("pod.yaml"),
            "spec:\n  containers:\n  - name: task\n    imagePullPolicy: Never\n",
        )
        .unwrap();
        let settings = format!(
            "[executors.local]\nslots = 4\n\n[executors.k8s]\nkind = \"kubernetes\"\nkubeconfig = {:?}\n\
             namespace = \"{namespace}\"\nimage = \"{TASKS}\"\nupdraft_image = \"{UPDRAFT}\"\npod_template = {}\n\
             task_api_url = \"https://{machine}:{port}\"\ntask_api_authorities = {}\nunschedulable_s = {unschedulable_s}\n\
             allowed_service_accounts = [\"trainer\"]\nallowed_node_labels = [\"kubernetes.io/os\"]\nallowed_taints = [\"gpu\"]\n\
             gpu_resource = \"updraft.test/gpu\"\ngpu_model_label = \"updraft.test/model\"\ngpu_models = [\"h200=H200-SXM\"]\n\n\
             [task_api]\nlisten = \"{machine}:{port}\"\ntls_certificate = {}\ntls_key = {}\nhosts = [\"{machine}\"]\n",
            told("UPDRAFT_TEST_KUBECONFIG"),
            shown("pod.yaml"),
            shown("ca.pem"),
            shown("cert.pem"),
            shown("key.pem"),
        );
        fs::write(site.path("updraft.toml"), settings).unwrap();
        Self { site, client, namespace }
    }

    fn start(&self) -> Service {
        let settings = self.site.path("updraft.toml");
        self.site.start_with(&["--config", settings.to_str().unwrap()])
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Nothing is left in the cluster once everything is confirmed.
    async fn is_clean(&self) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        until("a namespace without pods and secrets", async || {
            let pods = self.pods().list(&ListParams::default()).await.unwrap();
            let secrets = secrets.list(&ListParams::default()).await.unwrap();
            pods.items.is_empty() && secrets.items.is_empty()
        })
        .await;
    }

    /// What the command says of a task of this run.
    fn updraft(&self, arguments: &[&str]) -> String {
        let socket = self.site.path("data/updraft.sock");
        let output = Command::new(program()).args(arguments).arg("--socket").arg(socket).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let namespace = self.namespace.clone();
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(remove(&namespace));
        });
        removed.join().unwrap();
    }
}

async fn a_dag_runs_in_pods_and_hands_results_on(place: Place) {
    let site = &place.site;
    site.write_dag(
        "d.yaml",
        "dag: d\nschedule: null\ntasks:\n\
         \x20 make:\n    executor: k8s\n    bash: echo in a pod as $(id -u); echo '[3, 4]' > $UPDRAFT_RESULT\n\
         \x20 sum:\n    needs: [make]\n    bash: echo $(({{ outputs.make[0] }} + {{ outputs.make[1] }})) > $UPDRAFT_RESULT\n\
         \x20 last:\n    executor: k8s\n    needs: [sum]\n    resources: {cpu: 100m, memory: 64Mi}\n    bash: test {{ outputs.sum }} = 7\n",
    );
    let service = place.start();
    site.dag_is_there("d").await;
    site.trigger("d", "r").await;
    let run = site.ended("d", "r").await;
    assert_eq!(run.state, RunState::Success, "{:#?}", site.tasks(&run).await);
    let values =
        store::result::of_task(&site.db, SCOPE, run.run, &TaskId::parse("make").unwrap()).await.unwrap();
    assert_eq!(values[0].value, ResultRef::Inline(json!([3, 4])));
    let log = place.updraft(&["tasks", "logs", "d", "r", "make"]);
    assert!(log.contains("in a pod as 65532"), "{log}");
    place.is_clean().await;
    drop(service);
}

async fn a_service_that_is_killed_finds_its_pods_again(place: Place) {
    let site = &place.site;
    // Each line of the log is an effect: the log of an attempt is kept by the service, not by the pod.
    site.write_dag(
        "d.yaml",
        "dag: d\nschedule: null\ntasks:\n  long:\n    executor: k8s\n    bash: echo once; sleep 6; echo done\n",
    );
    let service = place.start();
    site.dag_is_there("d").await;
    site.trigger("d", "r").await;
    let run = site.find_run("d", "r").await.unwrap();
    let running = async || {
        let state = site.task(&run, "long").await.state;
        if state == TaskState::Running { Ok(()) } else { Err(format!("{state:?}")) }
    };
    site.until(LATE, "the task runs", running).await;
    service.kill();
    let service = place.start();
    let run = site.ended("d", "r").await;
    assert_eq!(run.state, RunState::Success);
    let task = site.task(&run, "long").await;
    assert_eq!(task.try_number, 1);
    let log = place.updraft(&["tasks", "logs", "d", "r", "long"]);
    assert_eq!((log.matches("once").count(), log.matches("done").count()), (1, 1), "{log}");
    place.is_clean().await;
    drop(service);
}

/// All pods that a namespace ever had, by name: one that is made anew has another UID.
#[derive(Clone, Default)]
struct Made(Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>);

impl Made {
    /// Watches a namespace until the runtime ends.
    fn watch(pods: Api<Pod>) -> Self {
        let made = Self::default();
        let seen = made.clone();
        drop(tokio::spawn(async move {
            let mut events = watcher(pods, watcher::Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                if let Ok(Event::Apply(pod) | Event::InitApply(pod) | Event::Delete(pod)) = event {
                    let metadata = pod.metadata;
                    let (name, uid) = (metadata.name.unwrap(), metadata.uid.unwrap());
                    seen.0.lock().unwrap().entry(name).or_default().insert(uid);
                }
            }
        }));
        made
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().values().map(BTreeSet::len).sum()
    }
}

async fn a_service_killed_again_and_again_loses_no_pod(place: Place) {
    const MANY: usize = 8;
    let site = &place.site;
    site.write_dag(
        "d.yaml",
        "dag: d\nschedule: null\ntasks:\n  many:\n    executor: k8s\n    map: {n: [1, 2, 3, 4, 5, 6, 7, 8]}\n\
         \x20   bash: echo once; sleep 4; echo done\n",
    );
    let made = Made::watch(place.pods());
    let mut service = place.start();
    site.dag_is_there("d").await;
    site.trigger("d", "r").await;
    // In the middle of making pods, of hearing of their starts and of confirming their ends.
    for n in [1, MANY / 2, MANY] {
        site.until(LATE, &format!("{n} pods were made"), async || match made.count() {
            seen if seen >= n => Ok(()),
            seen => Err(seen.to_string()),
        })
        .await;
        service.kill();
        service = place.start();
    }
    let run = site.find_run("d", "r").await.unwrap();
    site.until(LATE, "some tasks have ended", async || {
        let tasks = site.tasks(&run).await;
        let ended = tasks.iter().filter(|task| task.state.is_finished()).count();
        if ended >= 2 { Ok(()) } else { Err(format!("{ended} of {}", tasks.len())) }
    })
    .await;
    service.kill();
    let service = place.start();
    let run = site.ended("d", "r").await;
    assert_eq!(run.state, RunState::Success);
    let tasks = site.tasks(&run).await;
    assert_eq!((tasks.len(), made.count()), (MANY, MANY), "{:?}", made.0.lock().unwrap());
    for task in tasks {
        assert_eq!((task.try_number, task.dispatch_n), (1, 1));
        let one = format!("many[{}]", task.map_index);
        let log = place.updraft(&["tasks", "logs", "d", "r", &one]);
        assert_eq!((log.matches("once").count(), log.matches("done").count()), (1, 1), "{log}");
    }
    place.is_clean().await;
    drop(service);
}

async fn a_task_chooses_its_pod(place: Place) {
    let site = &place.site;
    let account = serde_json::from_value(json!({ "metadata": { "name": "trainer" } })).unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(place.client.clone(), &place.namespace);
    accounts.create(&PostParams::default(), &account).await.unwrap();
    site.write_dag(
        "d.yaml",
        &format!(
            "dag: d\nschedule: null\ndefaults:\n  executor: k8s\n  pod: {{service_account: trainer}}\ntasks:\n\
             \x20 chosen:\n    pod:\n      image: {TASKS}\n      node_selector: {{kubernetes.io/os: linux}}\n\
             \x20     tolerations: [{{key: gpu, value: \"yes\", effect: NoSchedule}}]\n\
             \x20   env: {{GREETING: hello}}\n\
             \x20   bash: test -s /var/run/secrets/kubernetes.io/serviceaccount/token; echo $GREETING\n\
             \x20 missing:\n    pod: {{image: \"updraft.test/tasks:none\"}}\n    bash: 'true'\n"
        ),
    );
    let service = place.start();
    site.dag_is_there("d").await;
    site.trigger("d", "r").await;
    let run = site.ended("d", "r").await;
    assert_eq!(site.task(&run, "chosen").await.state, TaskState::Success);
    let log = place.updraft(&["tasks", "logs", "d", "r", "chosen"]);
    assert!(log.contains("hello"), "{log}");
    let missing = site.task(&run, "missing").await;
    assert_eq!(missing.state, TaskState::Failed);
    assert!(missing.reason.unwrap().contains("updraft.test/tasks:none"));
    place.is_clean().await;
    drop(service);
}

/// The node says that it has GPUs, as a device plugin would make it say.
async fn gpus_are_a_resource_of_nodes(place: Place) {
    let nodes: Api<Node> = Api::all(place.client.clone());
    let name = "localhost";
    let amounts = json!({ "status": { "capacity": { "updraft.test/gpu": "4" } } });
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(amounts)).await.unwrap();
    let label = json!({ "metadata": { "labels": { "updraft.test/model": "H200-SXM" } } });
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    until("the node offers GPUs", async || {
        let offered = nodes.get(name).await.unwrap().status.and_then(|status| status.allocatable);
        offered.is_some_and(|amounts| amounts.contains_key("updraft.test/gpu"))
    })
    .await;
    let site = &place.site;
    site.write_dag(
        "d.yaml",
        "dag: d\nschedule: null\ndefaults: {executor: k8s}\ntasks:\n\
         \x20 some:\n    resources: {gpu: {count: 2, model: h200}}\n    bash: 'true'\n\
         \x20 many:\n    resources: {gpu: 5}\n    bash: 'true'\n",
    );
    let service = place.start();
    site.dag_is_there("d").await;
    site.trigger("d", "r").await;
    let run = site.ended("d", "r").await;
    assert_eq!(site.task(&run, "some").await.state, TaskState::Success);
    let many = site.task(&run, "many").await;
    assert_eq!(many.state, TaskState::Failed);
    assert!(many.reason.unwrap().contains("Insufficient updraft.test/gpu"));
    place.is_clean().await;
    drop(service);
}

async fn a_task_that_no_node_takes_says_why(place: Place) {
    let site = &place.site;
    site.write_dag(
        "d.yaml",
        "dag: d\nschedule: null\ntasks:\n  huge:\n    executor: k8s\n    resources: {cpu: 1000}\n    bash: 'true'\n",
    );
    let service = place.start();
    site.dag_is_there("d").await;
    site.trigger("d", "r").await;
    let why = site.until(LATE, "it is said why the pod waits", async || {
        let why = place.updraft(&["tasks", "why", "d", "r", "huge"]);
        if why.contains("Insufficient cpu") { Ok(why) } else { Err(why) }
    });
    let why = why.await;
    assert!(why.contains("no node has taken its pod yet") && why.contains("a node has room"), "{why}");
    let run = site.ended("d", "r").await;
    assert_eq!(run.state, RunState::Failed);
    let reason = site.task(&run, "huge").await.reason.unwrap();
    assert!(reason.contains("no node has taken its pod for") && reason.contains("`resources`"), "{reason}");
    place.is_clean().await;
    drop(service);
}
