//! Causes of death that only a cluster knows, and what must not be left there.

use std::time::Duration;

use dags::time::Span;
use engine::dispatch::Outcome;
use executor::{
    Executor as _,
    conformance::{Bench, Harness as _, Run},
    kubernetes::Template,
};
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{asked::until, harness::Pods};

type Case = (&'static str, fn(Pods) -> Run);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        ("an_image_that_isnt_there_says_so", |pods| Box::pin(an_image_that_isnt_there_says_so(pods))),
        ("a_pod_that_no_node_takes_says_why", |pods| Box::pin(a_pod_that_no_node_takes_says_why(pods))),
        ("a_pod_that_somebody_deletes_is_lost_with_its_log", |pods| {
            Box::pin(a_pod_that_somebody_deletes_is_lost_with_its_log(pods))
        }),
        ("an_evicted_pod_says_so", |pods| Box::pin(an_evicted_pod_says_so(pods))),
        ("a_pod_on_a_node_that_falls_silent_is_lost", |pods| {
            Box::pin(a_pod_on_a_node_that_falls_silent_is_lost(pods))
        }),
        ("a_pod_removed_by_force_is_lost", |pods| Box::pin(a_pod_removed_by_force_is_lost(pods))),
        ("what_ends_while_nobody_watches_is_found", |pods| {
            Box::pin(what_ends_while_nobody_watches_is_found(pods))
        }),
        ("nothing_is_left_in_the_cluster", |pods| Box::pin(nothing_is_left_in_the_cluster(pods))),
    ]
}

async fn an_image_that_isnt_there_says_so(mut pods: Pods) {
    "updraft.test/nothing:1".clone_into(&mut pods.options.updraft_image);
    pods.restart_client().await;
    let mut bench = Bench::new(pods);
    let id = bench.submit(bench.bash("true")).await;
    let end = bench.ended(id).await;
    assert_eq!(end.outcome, Outcome::NotStarted, "{end:?}");
    let reason = end.reason.unwrap();
    assert!(reason.contains("updraft.test/nothing:1") && reason.contains("ErrImageNeverPull"), "{reason}");
    assert!(reason.contains("look whether there is such an image"), "{reason}");
    assert!(!bench.was_started(id));
    bench.harness.executor().confirm(id, 0).await.unwrap();
    bench.holds_nothing().await;
}

async fn a_pod_that_no_node_takes_says_why(mut pods: Pods) {
    pods.options.patience.unschedulable = Duration::from_secs(3);
    pods.restart_client().await;
    let mut bench = Bench::new(pods);
    let mut work = bench.bash("true");
    work.context.task.cpu_milli = 1_000_000;
    let id = bench.submit(work).await;
    let end = bench.ended(id).await;
    assert_eq!(end.outcome, Outcome::NotStarted, "{end:?}");
    let reason = end.reason.unwrap();
    assert!(reason.contains("no node has taken its pod") && reason.contains("Insufficient cpu"), "{reason}");
    assert!(reason.contains("make room"), "{reason}");
}

async fn a_pod_that_somebody_deletes_is_lost_with_its_log(pods: Pods) {
    let mut bench = Bench::new(pods);
    let id = bench.submit(bench.bash("trap 'echo saving; exit 0' TERM; echo ready; sleep 1000 & wait")).await;
    bench.wait_for_line(id, "ready").await;
    let all = bench.harness.pods();
    let name = all.list(&ListParams::default()).await.unwrap().items[0].metadata.name.clone().unwrap();
    all.delete(&name, &DeleteParams::default()).await.unwrap();
    let end = bench.ended(id).await;
    assert_eq!(end.outcome, Outcome::Lost, "{end:?}");
    assert!(end.reason.unwrap().contains("the cluster ends its pod"));
    let lines = bench.texts(id).await;
    assert!(lines.contains(&"saving".to_owned()), "the task could clean up: {lines:?}");
}

async fn an_evicted_pod_says_so(pods: Pods) {
    let mut bench = Bench::new(pods);
    let id = bench.submit(bench.bash("echo ready; sleep 1000")).await;
    bench.wait_for_line(id, "ready").await;
    let all = bench.harness.pods();
    let name = all.list(&ListParams::default()).await.unwrap().items[0].metadata.name.clone().unwrap();
    all.evict(&name, &kube::api::EvictParams::default()).await.unwrap();
    let end = bench.ended(id).await;
    assert_eq!(end.outcome, Outcome::Lost, "{end:?}");
    let reason = end.reason.unwrap();
    assert!(reason.contains("evicted"), "{reason}");
}

/// A node that nobody runs: it says once that it is ready, and never anything again.
async fn a_pod_on_a_node_that_falls_silent_is_lost(mut pods: Pods) {
    const ALONE: &str = "updraft.test/alone";
    let (client, node) = (pods.client.clone(), format!("node-{}", pods.namespace));
    let nodes: Api<Node> = Api::all(client);
    let object = json!({
        "metadata": { "name": node, "labels": { ALONE: node } },
        "spec": { "taints": [{ "key": ALONE, "effect": "NoSchedule" }] },
    });
    nodes.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let now = Time(Timestamp::now());
    let amounts = json!({ "cpu": "4", "memory": "8Gi", "pods": "10" });
    let ready = json!({ "status": {
        "capacity": amounts, "allocatable": amounts,
        "conditions": [{ "type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now }],
    }});
    nodes.patch_status(&node, &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    let template = json!({ "spec": {
        "nodeSelector": { ALONE: node }, "tolerations": [{ "key": ALONE, "operator": "Exists" }],
    }});
    pods.options.template = Template::new(template).unwrap();
    pods.options.patience.node_lost = Duration::from_secs(2);
    pods.restart_client().await;
    let mut bench = Bench::new(pods);
    let id = bench.submit(bench.bash("true")).await;
    let all = bench.harness.pods();
    let pod = async || all.list(&ListParams::default()).await.unwrap().items.remove(0);
    until("the node has the pod", async || pod().await.spec.unwrap().node_name.is_some()).await;
    let name = pod().await.metadata.name.unwrap();
    let state = json!({ "running": { "startedAt": now } });
    let running = json!({ "status": { "phase": "Running", "containerStatuses": [{
        "name": "task", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state }] } });
    all.patch_status(&name, &PatchParams::default(), &Patch::Merge(running)).await.unwrap();
    until("the cluster ends the pod", async || pod().await.metadata.deletion_timestamp.is_some()).await;
    let end = bench.ended(id).await;
    assert_eq!(end.outcome, Outcome::Lost, "{end:?}");
    assert!(bench.was_started(id));
    let reason = end.reason.unwrap();
    assert!(reason.contains(&node) && reason.contains("doesn't answer"), "{reason}");
    bench.harness.executor().confirm(id, 0).await.unwrap();
    bench.holds_nothing().await;
    nodes.delete(&node, &DeleteParams::default()).await.unwrap();
}

async fn a_pod_removed_by_force_is_lost(pods: Pods) {
    let mut bench = Bench::new(pods);
    let id = bench.submit(bench.bash("echo ready; sleep 1000")).await;
    bench.wait_for_line(id, "ready").await;
    let all = bench.harness.pods();
    let name = all.list(&ListParams::default()).await.unwrap().items[0].metadata.name.clone().unwrap();
    let free = serde_json::json!({ "metadata": { "finalizers": null } });
    all.patch(&name, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(free)).await.unwrap();
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    all.delete(&name, &now).await.unwrap();
    let end = bench.ended(id).await;
    assert_eq!(end.outcome, Outcome::Lost, "{end:?}");
    assert!(end.reason.unwrap().contains("its pod is gone"));
    bench.harness.executor().confirm(id, 0).await.unwrap();
    bench.holds_nothing().await;
}

async fn what_ends_while_nobody_watches_is_found(pods: Pods) {
    let mut bench = Bench::new(pods);
    let id = bench.submit(bench.bash("echo over; exit 5")).await;
    // The service is stopped before it can hear of the end.
    let all = bench.harness.pods();
    bench.harness.pause().await;
    until("the pod's end", async || {
        let pods = all.list(&ListParams::default()).await.unwrap();
        pods.items.iter().all(|pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Failed" | "Succeeded"))
        })
    })
    .await;
    // Somebody who tidies up takes the pod away, as far as it can be taken.
    let name = all.list(&ListParams::default()).await.unwrap().items[0].metadata.name.clone().unwrap();
    all.delete(&name, &DeleteParams::default()).await.unwrap();
    bench.restart_client().await;
    let end = bench.ended(id).await;
    assert_eq!((end.outcome, end.exit_code), (Outcome::Failed, Some(5)));
    assert_eq!(bench.texts(id).await, ["over"]);
}

async fn nothing_is_left_in_the_cluster(pods: Pods) {
    let mut bench = Bench::new(pods);
    let run = bench.submit(bench.bash("true")).await;
    let unseen = bench.bash("true").dispatch.id;
    bench.kill(unseen, Span::ZERO).await;
    let killed = bench.submit(bench.bash("sleep 1000")).await;
    bench.kill(killed, Span::ZERO).await;
    for id in [run, unseen, killed] {
        bench.ended(id).await;
        bench.harness.executor().confirm(id, 0).await.unwrap();
    }
    let (pods, secrets) = (bench.harness.pods(), bench.harness.secrets());
    until("an empty namespace", async || {
        let pods = pods.list(&ListParams::default()).await.unwrap();
        let secrets = secrets.list(&ListParams::default()).await.unwrap();
        pods.items.is_empty() && secrets.items.is_empty()
    })
    .await;
}
