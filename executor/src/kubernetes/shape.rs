//! How pods and their secrets look, and what can be read back from them.

use std::collections::BTreeMap;

use dags::{
    ids::DispatchId,
    model::{Gpu, TaintEffect, Toleration},
};
use engine::{
    dispatch::{Dispatch, End},
    execution::Ticket,
};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, Secret};
use serde_json::{Map, Value, json};

use super::{Key, Options};
use crate::{
    contract::{Error, Work},
    worker::pod::Orders,
};

/// The container that runs the attempt.
pub(super) const TASK: &str = "task";
/// Keeps a pod's object until its end is confirmed.
pub(super) const FINALIZER: &str = "updraft.dev/attempt";
/// No node takes a pod with this.
const NEVER: &str = "updraft.dev/killed-before-it-came";
/// Labels and annotations.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const EXECUTOR: &str = "updraft.dev/executor";
const SHARD: &str = "updraft.dev/shard";
const DISPATCH: &str = "updraft.dev/dispatch";
const MEMBER: &str = "updraft.dev/member";
const TENANT: &str = "updraft.dev/tenant";
const TICKET: &str = "updraft.dev/ticket";
const END: &str = "updraft.dev/end";
const MEMORY: &str = "updraft.dev/memory-bytes";
/// Where the program that runs the attempt is in the pod, and what it uses.
const HOME: &str = "/updraft/home";
const PROGRAM: &str = "/updraft/home/updraft-pod";
const ORDERS: &str = "/updraft/orders";
const ORDERS_FILE: &str = "orders.json";
/// What a container has on top of the task's limit: the attempt's supervisor.
const OVERHEAD_BYTES: u64 = 64 << 20;
/// The user of pods for whom nobody says anything else.
const USER: u32 = 65_532;

/// What an administrator adds to all pods of an executor: a pod template, whose container `task`, if it has one, is the base of the
/// attempt's.
#[derive(Debug, Clone, Default)]
pub struct Template(Map<String, Value>);

impl Template {
    /// A pod template; an error says what is wrong with it.
    pub fn new(template: Value) -> Result<Self, String> {
        serde_json::from_value::<PodTemplateSpec>(template.clone()).map_err(|error| error.to_string())?;
        match template {
            Value::Object(fields) => {
                let unknown = fields.keys().find(|name| !["metadata", "spec"].contains(&name.as_str()));
                match unknown {
                    Some(name) => Err(format!(
                        "`{name}` isn't a part of a pod template, which has `metadata` and `spec`"
                    )),
                    None => Ok(Self(fields)),
                }
            }
            _ => Err("a pod template is a mapping with `metadata` and `spec`".to_owned()),
        }
    }

    fn at(&self, path: &[&str]) -> Value {
        let start = Value::Object(self.0.clone());
        path.iter().try_fold(&start, |value, name| value.get(name)).cloned().unwrap_or(Value::Null)
    }

    fn list(&self, name: &str) -> Vec<Value> {
        match self.at(&["spec", name]) {
            Value::Array(elements) => elements,
            _ => Vec::new(),
        }
    }
}

/// The name of a member's pod and of its secret.
pub(super) fn name(dispatch: DispatchId, member: u32) -> String {
    format!("updraft-{dispatch}-{member}")
}

/// Selects the pods of an executor.
pub(super) fn selector(options: &Options) -> String {
    format!("{MANAGED_BY}=updraft,{EXECUTOR}={},{SHARD}={}", options.name, options.shard)
}

/// Which member a pod is for: what its labels say and its name does, which nobody can have twice.
pub(super) fn key(pod: &Pod) -> Option<Key> {
    let labels = pod.metadata.labels.as_ref()?;
    let key = (labels.get(DISPATCH)?.parse().ok()?, labels.get(MEMBER)?.parse().ok()?);
    (pod.metadata.name.as_deref() == Some(&name(key.0, key.1))).then_some(key)
}

fn annotation<'p>(pod: &'p Pod, name: &str) -> Option<&'p str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// How the attempt of a pod ended, as it was written to it.
pub(super) fn end(pod: &Pod) -> Option<End> {
    serde_json::from_str(annotation(pod, END)?).ok()
}

/// The change that writes it there, to this pod and to no other of its name.
pub(super) fn write_end(pod: &Pod, end: &End) -> Result<Value, serde_json::Error> {
    let text = serde_json::to_string(end)?;
    Ok(json!({ "metadata": { "uid": pod.metadata.uid, "annotations": { END: text } } }))
}

/// The limit of its memory that the task asked for.
pub(super) fn memory(pod: &Pod) -> Option<u64> {
    annotation(pod, MEMORY)?.parse().ok()
}

/// The ticket of a dispatch, without its proof.
pub(super) fn ticket(dispatch: &Dispatch) -> Ticket {
    Ticket {
        dispatch: dispatch.id,
        members: dispatch.members,
        tenant: dispatch.tenant,
        run: dispatch.run,
        version: dispatch.version.clone(),
        task: dispatch.task_id.clone(),
        map_index: dispatch.map_index,
        try_number: dispatch.try_number,
        proof: String::new(),
    }
}

/// The ticket that a pod was made with, without its proof.
pub(super) fn ticket_of(pod: &Pod) -> Option<Ticket> {
    serde_json::from_str(annotation(pod, TICKET)?).ok()
}

/// What a pod may ask the task API with: the only thing that proves anything, and in the secret only.
pub(super) fn orders(options: &Options, pod: &Pod, ticket: Ticket, member: u32) -> Result<Secret, Error> {
    let (Some(name), Some(uid)) = (&pod.metadata.name, &pod.metadata.uid) else {
        return Err(Error::Unavailable("the API server made a pod without a name".to_owned()));
    };
    let proof = options.keys.pod_proof(ticket.dispatch, member);
    let orders = Orders::new(
        options.task_api.clone(),
        options.authorities.clone(),
        member,
        options.log_bytes_max,
        Ticket { proof, ..ticket },
    );
    let text = serde_json::to_string(&orders).map_err(|error| Error::Refused(error.to_string()))?;
    let secret = json!({
        "metadata": {
            "name": name,
            "labels": { MANAGED_BY: "updraft", EXECUTOR: options.name.as_str() },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid, "controller": true }],
        },
        "immutable": true,
        "type": "updraft.dev/orders",
        "stringData": { ORDERS_FILE: text },
    });
    serde_json::from_value(secret).map_err(|error| Error::Refused(error.to_string()))
}

fn metadata(options: &Options, key: Key, annotations: BTreeMap<&str, String>) -> Value {
    let template = options.template.at(&["metadata"]);
    let ours = json!({
        "name": name(key.0, key.1),
        "labels": {
            MANAGED_BY: "updraft",
            EXECUTOR: options.name.as_str(),
            SHARD: options.shard.to_string(),
            DISPATCH: key.0.to_string(),
            MEMBER: key.1.to_string(),
        },
        "annotations": annotations,
        "finalizers": [FINALIZER],
    });
    merge(template, ours)
}

/// The pod of a member.
pub(super) fn pod(options: &Options, work: &Work) -> Result<Pod, Error> {
    let Work { dispatch, context } = work;
    let wanted = context.task.pod.clone().unwrap_or_default();
    // A version may be older than the settings.
    if let [refused, ..] = options.pods.refused(&wanted)[..] {
        let setting = refused.setting();
        return Err(Error::Refused(format!(
            "the task asks for {refused}, which the executor doesn't allow (`executors.{}.{setting}`)",
            options.name
        )));
    }
    let gpus = context.task.gpu.as_ref().map(|gpu| gpus(options, gpu)).transpose()?.unwrap_or_default();
    let key = (dispatch.id, context.member);
    let ticket =
        serde_json::to_string(&ticket(dispatch)).map_err(|error| Error::Refused(error.to_string()))?;
    let mut annotations = BTreeMap::from([
        (TICKET, ticket),
        ("updraft.dev/dag", dispatch.dag_id.to_string()),
        ("updraft.dev/run", dispatch.run_name.to_string()),
        ("updraft.dev/task", dispatch.task_id.to_string()),
        ("updraft.dev/map-index", dispatch.map_index.to_string()),
        ("updraft.dev/try", dispatch.try_number.to_string()),
    ]);
    if context.task.memory_bytes > 0 {
        annotations.insert(MEMORY, context.task.memory_bytes.to_string());
    }
    let mut metadata = metadata(options, key, annotations);
    metadata["labels"][TENANT] = dispatch.tenant.to_string().into();
    let template = &options.template;
    let restricted = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true });
    let (containers, sidecars): (Vec<Value>, Vec<Value>) =
        template.list("containers").into_iter().partition(|container| container["name"] == TASK);
    let base = containers.into_iter().next().unwrap_or(Value::Null);
    let mounts = json!([
        { "name": "updraft-home", "mountPath": HOME },
        { "name": "updraft-orders", "mountPath": ORDERS, "readOnly": true },
        { "name": "updraft-tmp", "mountPath": "/tmp" },
    ]);
    let mut container = merge(json!({ "image": options.image, "securityContext": restricted }), base);
    container["volumeMounts"] = chained([container["volumeMounts"].clone(), mounts]);
    let task = merge(
        container,
        json!({
            "name": TASK,
            "command": [PROGRAM, "run", "--orders", format!("{ORDERS}/{ORDERS_FILE}"), "--data", format!("{HOME}/run")],
            "args": [],
            "image": wanted.image,
            "resources": merge(resources(context.task.cpu_milli, context.task.memory_bytes), gpus.resources),
        }),
    );
    let install = json!({
        "name": "updraft-install",
        "image": options.updraft_image,
        "command": ["/usr/local/bin/updraft-pod", "install", PROGRAM],
        "securityContext": merge(restricted, task["securityContext"].clone()),
        "volumeMounts": [{ "name": "updraft-home", "mountPath": HOME }],
        "resources": resources(context.task.cpu_milli, context.task.memory_bytes),
        "imagePullPolicy": task.get("imagePullPolicy"),
    });
    let volumes = json!([
        { "name": "updraft-home", "emptyDir": {} },
        { "name": "updraft-tmp", "emptyDir": {} },
        { "name": "updraft-orders", "secret": { "secretName": name(key.0, key.1), "defaultMode": 0o440 } },
    ]);
    let lost = options.patience.node_lost.as_secs();
    let tolerate = |taint: &str| json!({ "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": lost });
    let chosen = Value::Array(wanted.tolerations.iter().map(toleration).collect());
    let tolerations =
        json!([tolerate("node.kubernetes.io/unreachable"), tolerate("node.kubernetes.io/not-ready")]);
    let defaults = json!({
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
    });
    let ours = json!({
        "restartPolicy": "Never",
        // Whoever names an account wants what it may do.
        "automountServiceAccountToken": wanted.service_account.is_some()
            || template.at(&["spec", "automountServiceAccountToken"]).as_bool().unwrap_or(false),
        "serviceAccountName": wanted.service_account,
        "nodeSelector": merge(json!(wanted.node_selector), gpus.nodes),
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": super::LAST_WORDS.as_secs() * 2,
        "containers": chained([json!([task]), Value::Array(sidecars)]),
        "initContainers": chained([json!([install]), Value::Array(template.list("initContainers"))]),
        "volumes": chained([Value::Array(template.list("volumes")), volumes]),
        "tolerations": chained([Value::Array(template.list("tolerations")), chosen, gpus.tolerations, tolerations]),
    });
    let spec = merge(merge(defaults, template.at(&["spec"])), ours);
    of_value(json!({ "metadata": metadata, "spec": spec }))
}

/// What GPUs are in a pod: null where they ask for nothing.
#[derive(Default)]
struct InPod {
    resources: Value,
    nodes: Value,
    tolerations: Value,
}

fn gpus(options: &Options, wanted: &Gpu) -> Result<InPod, Error> {
    // A version may be older than the settings.
    let name = &options.name;
    let lacks = |what: &str, setting| {
        Error::Refused(format!(
            "the task needs {what}, and the executor has none (`executors.{name}.{setting}`)"
        ))
    };
    let Some(gpus) = &options.gpus else { return Err(lacks("GPUs", "gpu_resource")) };
    let amounts = json!({ &gpus.resource: wanted.count });
    let nodes = match &wanted.model {
        Some(model) => {
            let known = gpus.models.as_ref().and_then(|(label, models)| Some((label, models.get(model)?)));
            let (label, value) =
                known.ok_or_else(|| lacks(&format!("GPUs of the model {model}"), "gpu_models"))?;
            json!({ label: value })
        }
        None => Value::Null,
    };
    Ok(InPod {
        resources: json!({ "requests": amounts, "limits": amounts }),
        nodes,
        // Nodes with GPUs are commonly kept from those who need none by a taint of that name.
        tolerations: json!([{ "key": gpus.resource, "operator": "Exists" }]),
    })
}

fn toleration(wanted: &Toleration) -> Value {
    let operator = if wanted.value.is_some() { "Equal" } else { "Exists" };
    json!({
        "key": wanted.key, "operator": operator, "value": wanted.value,
        "effect": wanted.effect.map(TaintEffect::as_str),
    })
}

/// A pod that holds the name of a member that was killed before it was seen, and that no node takes.
pub(super) fn tombstone(options: &Options, key: Key, end: &End) -> Result<Pod, Error> {
    let text = serde_json::to_string(end).map_err(|error| Error::Refused(error.to_string()))?;
    let metadata = metadata(options, key, BTreeMap::from([(END, text)]));
    let restricted = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    of_value(json!({
        "metadata": metadata,
        "spec": {
            "restartPolicy": "Never",
            "schedulingGates": [{ "name": NEVER }],
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": USER, "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{ "name": TASK, "image": options.updraft_image, "securityContext": restricted }],
        },
    }))
}

fn of_value(pod: Value) -> Result<Pod, Error> {
    serde_json::from_value(pod).map_err(|error| Error::Refused(format!("the pod can't be made: {error}")))
}

/// Requests and limits: what is granted is what may be used.
fn resources(cpu_milli: u64, memory_bytes: u64) -> Value {
    let mut amounts = Map::new();
    if cpu_milli > 0 {
        amounts.insert("cpu".to_owned(), format!("{cpu_milli}m").into());
    }
    if memory_bytes > 0 {
        amounts.insert("memory".to_owned(), (memory_bytes + OVERHEAD_BYTES).to_string().into());
    }
    if amounts.is_empty() {
        return json!({});
    }
    json!({ "requests": amounts, "limits": amounts })
}

fn chained<const N: usize>(lists: [Value; N]) -> Value {
    let elements = lists.into_iter().flat_map(|list| match list {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    });
    Value::Array(elements.collect())
}

/// Lays `over` onto `base`: mappings field by field, everything else as a whole.
fn merge(base: Value, over: Value) -> Value {
    match (base, over) {
        (base, Value::Null) => base,
        (Value::Object(mut fields), Value::Object(over)) => {
            for (name, value) in over {
                let before = fields.remove(&name).unwrap_or(Value::Null);
                fields.insert(name, merge(before, value));
            }
            Value::Object(fields)
        }
        (_, over) => over,
    }
}

#[cfg(all(test, feature = "test-support"))]
mod tests;
