//! Pods as they are made, looked at as an API server and an auditor would.

use std::{sync::Arc, time::Duration};

use dags::ids::ShardId;
use engine::{dispatch::End, execution::Ending};
use kube::{Client, Config};
use plugins::token::Keys;

use super::*;
use crate::{
    conformance::work,
    fleet::{self, StoredResult},
    kubernetes::{Kept, Patience},
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
