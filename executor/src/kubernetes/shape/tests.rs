//! Pods as they are made, looked at as an API server and an auditor would.

use std::{sync::Arc, time::Duration};

use dags::{
    ids::ShardId,
    installation::Pods,
    model::{Pod as Wanted, TaintEffect, Toleration},
};
use engine::{
    dispatch::End,
    execution::{Ending, Waits},
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{Client, Config};
use plugins::token::Keys;

use super::*;
use crate::{
    conformance::work,
    fleet::{self, StoredResult},
    kubernetes::{Gpus, Kept, Patience},
    log::LogChunk,
};

/// Nothing is kept.
struct Nothing;

impl fleet::Kept for Nothing {
    fn log(&self, _: DispatchId, _: u32, _: u64) -> std::io::Result<Option<LogChunk>> {
        Ok(None)
    }

    fn result(&self, _: DispatchId, _: &str) -> std::io::Result<Option<StoredResult>> {
        Ok(None)
    }
}

impl Kept for Nothing {
    fn end(&self, _: DispatchId, _: u32) -> std::io::Result<Option<End>> {
        Ok(None)
    }

    fn put_ending(&self, _: DispatchId, _: u32, _: &Ending) -> std::io::Result<()> {
        Ok(())
    }

    fn ending(&self, _: DispatchId, _: u32) -> std::io::Result<Option<Ending>> {
        Ok(None)
    }

    fn put_waits(&self, _: DispatchId, _: u32, _: Option<&Waits>) -> std::io::Result<()> {
        Ok(())
    }
}

fn options(template: Value) -> Options {
    // Fails if a provider is installed already, which is the state we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Options {
        name: "k8s".parse().expect("what a test gives is right"),
        shard: ShardId::DEFAULT,
        client: Client::try_from(Config::new(
            "https://127.0.0.1:1".parse().expect("what a test gives is right"),
        ))
        .expect("what a test gives is right"),
        namespace: "updraft".to_owned(),
        image: "tasks:7".to_owned(),
        updraft_image: "updraft:1".to_owned(),
        template: Template::new(template).expect("what a test gives is right"),
        pods: Pods {
            images: ["registry.example/team/".to_owned()].into(),
            service_accounts: ["trainer".to_owned()].into(),
            node_labels: ["disk".to_owned()].into(),
            taints: ["gpu".to_owned()].into(),
        },
        gpus: Some(Gpus {
            resource: "example.com/gpu".to_owned(),
            models: Some((
                "example.com/model".to_owned(),
                BTreeMap::from([("h200".to_owned(), "H200-SXM".to_owned())]),
            )),
        }),
        task_api: "https://updraft.example".to_owned(),
        authorities: None,
        slots: 1,
        log_bytes_max: 1 << 20,
        patience: Patience { node_lost: Duration::from_secs(9), ..Patience::default() },
        keys: Keys::new(&[7; 32]),
        kept: Arc::new(Nothing),
    }
}

#[tokio::test]
async fn a_pod_is_restricted_says_whose_it_is_and_holds_no_secret() {
    let options = options(json!({}));
    let mut work = work("/".into(), "true");
    (work.context.task.memory_bytes, work.context.task.cpu_milli) = (1 << 30, 1500);
    let pod = pod(&options, &work).unwrap();
    assert_eq!(key(&pod), Some((work.dispatch.id, 0)));
    assert_eq!(memory(&pod), Some(1 << 30));
    assert_eq!(ticket_of(&pod), Some(ticket(&work.dispatch)));
    assert_eq!(pod.metadata.finalizers.as_deref(), Some(&[FINALIZER.to_owned()][..]));
    assert!(pod.metadata.name.as_ref().unwrap().len() <= 63);
    let text = serde_json::to_string(&pod).unwrap();
    assert!(!text.contains(&options.keys.pod_proof(work.dispatch.id, 0)));
    let spec = serde_json::to_value(pod.spec.as_ref().unwrap()).unwrap();
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    for container in [&spec["containers"][0], &spec["initContainers"][0]] {
        let security = &container["securityContext"];
        assert_eq!(
            (&security["allowPrivilegeEscalation"], &security["readOnlyRootFilesystem"]),
            (&json!(false), &json!(true))
        );
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(
            container["resources"]["limits"],
            json!({ "cpu": "1500m", "memory": ((1_u64 << 30) + OVERHEAD_BYTES).to_string() })
        );
    }
    let uid = Some("u-1".to_owned());
    let made = Pod {
        metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta { uid, ..pod.metadata.clone() },
        ..pod
    };
    let secret = orders(&options, &made, ticket(&work.dispatch), 0).unwrap();
    assert_eq!(secret.metadata.owner_references.as_ref().unwrap()[0].uid, "u-1");
    assert!(secret.string_data.unwrap()[ORDERS_FILE].contains(&options.keys.pod_proof(work.dispatch.id, 0)));
}

#[tokio::test]
async fn a_template_adds_what_a_cluster_needs_and_takes_nothing_away() {
    let options = options(json!({
        "metadata": { "labels": { "team": "data", DISPATCH: "forged" } },
        "spec": {
            "nodeSelector": { "disk": "fast" },
            "restartPolicy": "Always",
            "tolerations": [{ "key": "gpu", "operator": "Exists" }],
            "volumes": [{ "name": "cache", "emptyDir": {} }],
            "securityContext": { "runAsUser": 7 },
            "containers": [
                { "name": "proxy", "image": "proxy:1" },
                { "name": "task", "image": "own:1", "command": ["sh"], "volumeMounts": [{ "name": "cache", "mountPath": "/cache" }] },
            ],
        },
    }));
    let work = work("/".into(), "true");
    let pod = pod(&options, &work).unwrap();
    assert_eq!(key(&pod), Some((work.dispatch.id, 0)), "what we know it by can't be changed");
    assert_eq!(pod.metadata.labels.as_ref().unwrap()["team"], "data");
    let spec = serde_json::to_value(pod.spec.unwrap()).unwrap();
    assert_eq!(
        (&spec["restartPolicy"], &spec["nodeSelector"]),
        (&json!("Never"), &json!({ "disk": "fast" }))
    );
    assert_eq!(
        (&spec["securityContext"]["runAsUser"], &spec["securityContext"]["runAsNonRoot"]),
        (&json!(7), &json!(true))
    );
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 3);
    assert_eq!(spec["tolerations"][1]["tolerationSeconds"], 9);
    let (task, proxy) = (&spec["containers"][0], &spec["containers"][1]);
    assert_eq!((&task["image"], &proxy["name"]), (&json!("own:1"), &json!("proxy")));
    assert_eq!(task["command"][0], PROGRAM);
    let mounts: Vec<&str> =
        task["volumeMounts"].as_array().unwrap().iter().map(|m| m["mountPath"].as_str().unwrap()).collect();
    assert_eq!(mounts, ["/cache", HOME, ORDERS, "/tmp"]);
}

#[tokio::test]
async fn a_tombstone_holds_the_name_and_never_runs() {
    let options = options(json!({}));
    let id = work("/".into(), "true").dispatch.id;
    let killed = crate::kubernetes::killed("asked".to_owned());
    let pod = tombstone(&options, (id, 2), &killed).unwrap();
    assert_eq!((key(&pod), end(&pod)), (Some((id, 2)), Some(killed)));
    assert_eq!(pod.metadata.name, Some(name(id, 2)));
    assert_eq!(pod.spec.unwrap().scheduling_gates.unwrap().len(), 1);
}

#[test]
fn a_template_that_is_none_is_refused() {
    for (wrong, expected) in [
        (json!([]), "invalid type"),
        (json!({ "spec": { "containers": 7 } }), "invalid type"),
        (json!({ "kind": "Pod" }), "`kind` isn't a part"),
    ] {
        let error = Template::new(wrong).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_task_chooses_what_the_settings_let_it_choose_and_nothing_else() {
    let options = options(json!({ "spec": { "nodeSelector": { "zone": "a" } } }));
    let mut work = work("/".into(), "true");
    let gpu = |value: Option<&str>| Toleration {
        key: "gpu".to_owned(),
        value: value.map(str::to_owned),
        effect: Some(TaintEffect::NoSchedule),
    };
    let wanted = Wanted {
        image: Some("registry.example/team/train:3".to_owned()),
        service_account: Some("trainer".to_owned()),
        node_selector: BTreeMap::from([("disk".to_owned(), "fast".to_owned())]),
        tolerations: vec![gpu(Some("yes")), gpu(None)],
    };
    work.context.task.pod = Some(wanted.clone());
    let made = pod(&options, &work).unwrap().spec.unwrap();
    assert_eq!(made.containers[0].image.as_deref(), Some("registry.example/team/train:3"));
    assert_eq!(made.init_containers.unwrap()[0].image.as_deref(), Some("updraft:1"));
    assert_eq!(made.service_account_name.as_deref(), Some("trainer"));
    assert_eq!(made.automount_service_account_token, Some(true));
    let expected = [("disk", "fast"), ("zone", "a")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(made.node_selector, Some(BTreeMap::from(expected)));
    let tolerations = made.tolerations.unwrap();
    let words = |n: usize| (tolerations[n].operator.as_deref(), tolerations[n].value.as_deref());
    assert_eq!((words(0), words(1)), ((Some("Equal"), Some("yes")), (Some("Exists"), None)));
    assert_eq!(tolerations[0].effect.as_deref(), Some("NoSchedule"));
    // Those of the node's own troubles stay.
    assert_eq!(tolerations.len(), 4);

    for (wanted, expected) in [
        (Wanted { image: Some("tasks:8".to_owned()), ..wanted.clone() }, "the image `tasks:8`"),
        (Wanted { service_account: Some("admin".to_owned()), ..wanted.clone() }, "allowed_service_accounts"),
        (
            Wanted { node_selector: BTreeMap::from([("zone".to_owned(), "b".to_owned())]), ..wanted.clone() },
            "nodes by their label `zone`",
        ),
        (
            Wanted {
                tolerations: vec![Toleration { key: "node.kubernetes.io/x".to_owned(), ..gpu(None) }],
                ..wanted
            },
            "allowed_taints",
        ),
    ] {
        work.context.task.pod = Some(wanted);
        let error = pod(&options, &work).unwrap_err();
        assert!(matches!(&error, Error::Refused(why) if why.contains(expected)), "{error}");
    }
}

#[tokio::test]
async fn gpus_are_a_resource_of_nodes_of_their_model() {
    let options = options(json!({ "spec": { "nodeSelector": { "zone": "a" } } }));
    let mut work = work("/".into(), "true");
    work.context.task.cpu_milli = 500;
    let with = |model: Option<&str>| Some(Gpu { count: 2, model: model.map(str::to_owned) });
    work.context.task.gpu = with(Some("h200"));
    let spec = pod(&options, &work).unwrap().spec.unwrap();
    let resources = spec.containers[0].resources.clone().unwrap();
    let of = |amounts: &BTreeMap<String, Quantity>, name: &str| amounts.get(name).map(|one| one.0.clone());
    for amounts in [resources.requests.unwrap(), resources.limits.unwrap()] {
        assert_eq!(of(&amounts, "example.com/gpu").as_deref(), Some("2"));
        assert_eq!(of(&amounts, "cpu").as_deref(), Some("500m"));
    }
    // Whoever installs the program needs none.
    let install = spec.init_containers.unwrap()[0].resources.clone().unwrap();
    assert!(!install.requests.unwrap().contains_key("example.com/gpu"));
    let nodes = spec.node_selector.unwrap();
    assert_eq!((nodes["zone"].as_str(), nodes["example.com/model"].as_str()), ("a", "H200-SXM"));
    assert!(spec.tolerations.unwrap().iter().any(|one| one.key.as_deref() == Some("example.com/gpu")));

    work.context.task.gpu = with(None);
    assert_eq!(pod(&options, &work).unwrap().spec.unwrap().node_selector.unwrap().len(), 1);
    work.context.task.gpu = with(Some("h100"));
    let error = pod(&options, &work).unwrap_err();
    assert!(matches!(&error, Error::Refused(why) if why.contains("GPUs of the model h100")), "{error}");
    work.context.task.gpu = with(None);
    let none = Options { gpus: None, ..options };
    let error = pod(&none, &work).unwrap_err();
    assert!(matches!(&error, Error::Refused(why) if why.contains("`executors.k8s.gpu_resource`")), "{error}");
}
