//! Executors of kind `kubernetes`: what their settings must say, and how they are opened.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use dags::{
    ids::{ExecutorName, ShardId},
    installation::Pods,
};
use executor::{
    kubernetes::{self, Gpus, Options, Patience, Template},
    worker::Api,
};
use plugins::token::Keys;
use scheduler::objects::Objects;

use crate::{
    args::pairs,
    settings::{Executor, Kind, Settings},
};

/// Where pods are made if nobody says.
const NAMESPACE: &str = "updraft";
/// The longest log of an attempt in MiB if nobody says.
const LOG_MIB_MAX: u32 = 256;
/// The longest value of a label.
const LABEL_BYTES_MAX: usize = 63;

/// A cluster, as the settings describe it.
#[derive(Debug, Clone)]
pub(crate) struct ClusterSettings {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    namespace: String,
    image: String,
    updraft_image: String,
    template: Template,
    pods: Pods,
    gpus: Option<Gpus>,
    task_api: String,
    authorities: Option<String>,
    patience: Patience,
    log_bytes_max: u64,
}

impl Settings {
    /// The clusters by the names of their executors.
    pub(crate) fn clusters(&self) -> anyhow::Result<BTreeMap<ExecutorName, ClusterSettings>> {
        let chosen = self.executors()?;
        let mut clusters = BTreeMap::new();
        for (name, executor) in &self.executors {
            if chosen.get(name).is_some_and(|chosen| chosen.kind == Kind::Kubernetes) {
                clusters.insert(name.clone(), cluster(name, executor)?);
            } else if let Some(key) = foreign(executor) {
                bail!(
                    "`executors.{name}.{key}` is set, but the executor isn't of kind `kubernetes`: remove one or change the other"
                );
            }
        }
        Ok(clusters)
    }
}

/// A key that only clusters have.
fn foreign(executor: &Executor) -> Option<&'static str> {
    let Executor {
        kind: _,
        slots: _,
        kubeconfig,
        context,
        namespace,
        image,
        updraft_image,
        pod_template,
        allowed_images,
        allowed_service_accounts,
        allowed_node_labels,
        allowed_taints,
        gpu_resource,
        gpu_model_label,
        gpu_models,
        task_api_url,
        task_api_authorities,
        unschedulable_s,
        unstartable_s,
        node_lost_s,
        log_mib_max,
    } = executor;
    let set = [
        ("kubeconfig", kubeconfig.is_some()),
        ("context", context.is_some()),
        ("namespace", namespace.is_some()),
        ("image", image.is_some()),
        ("updraft_image", updraft_image.is_some()),
        ("pod_template", pod_template.is_some()),
        ("allowed_images", allowed_images.is_some()),
        ("allowed_service_accounts", allowed_service_accounts.is_some()),
        ("allowed_node_labels", allowed_node_labels.is_some()),
        ("allowed_taints", allowed_taints.is_some()),
        ("gpu_resource", gpu_resource.is_some()),
        ("gpu_model_label", gpu_model_label.is_some()),
        ("gpu_models", gpu_models.is_some()),
        ("task_api_url", task_api_url.is_some()),
        ("task_api_authorities", task_api_authorities.is_some()),
        ("unschedulable_s", unschedulable_s.is_some()),
        ("unstartable_s", unstartable_s.is_some()),
        ("node_lost_s", node_lost_s.is_some()),
        ("log_mib_max", log_mib_max.is_some()),
    ];
    set.into_iter().find(|(_, set)| *set).map(|(key, _)| key)
}

/// What DAGs may ask of the pods of an executor.
pub(super) fn pods(executor: &Executor) -> Pods {
    let own = executor.image.iter().map(|image| without_version(image).to_owned());
    Pods {
        images: executor.allowed_images.iter().flatten().cloned().chain(own).collect(),
        service_accounts: executor.allowed_service_accounts.clone().unwrap_or_default(),
        node_labels: executor.allowed_node_labels.clone().unwrap_or_default(),
        taints: executor.allowed_taints.clone().unwrap_or_default(),
    }
}

/// An image without its tag and digest.
fn without_version(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    // A registry may have a port.
    let folder = image.rfind('/').map_or(0, |at| at + 1);
    image[folder..].find(':').map_or(image, |at| &image[..folder + at])
}

/// The models of GPUs that there may be, by their names in DAGs.
pub(super) fn gpu_models(executor: &Executor) -> BTreeSet<String> {
    let model = |text: &String| text.split_once('=').map_or(text.as_str(), |(model, _)| model).to_owned();
    executor.gpu_models.iter().flatten().map(model).collect()
}

fn gpus(name: &ExecutorName, executor: &Executor) -> anyhow::Result<Option<Gpus>> {
    let models = executor.gpu_models.clone().unwrap_or_default();
    let Some(resource) = executor.gpu_resource.clone() else {
        if executor.gpu_model_label.is_some() || !models.is_empty() {
            bail!(
                "`executors.{name}.gpu_resource` isn't set, but the models of its GPUs are: name the resource, such as `nvidia.com/gpu`"
            );
        }
        return Ok(None);
    };
    let models = pairs(&format!("executors.{name}.gpu_models"), &models)?;
    let models = match &executor.gpu_model_label {
        Some(label) => Some((label.clone(), models)),
        None if models.is_empty() => None,
        None => bail!(
            "`executors.{name}.gpu_models` is set, but not `executors.{name}.gpu_model_label`: name the label that has these values, \
             such as `nvidia.com/gpu.product`"
        ),
    };
    Ok(Some(Gpus { resource, models }))
}

fn cluster(name: &ExecutorName, executor: &Executor) -> anyhow::Result<ClusterSettings> {
    let plain = |c: char| c.is_ascii_alphanumeric();
    let text = name.as_str();
    if text.len() > LABEL_BYTES_MAX || !text.starts_with(plain) || !text.ends_with(plain) {
        bail!(
            "the executor `{name}` is of kind `kubernetes`, whose pods carry its name as a label: it may have at most \
             {LABEL_BYTES_MAX} characters and must begin and end with a letter or a digit"
        );
    }
    let needed = |key: &str, value: &Option<String>, example: &str| {
        let found = value.clone().filter(|value| !value.trim().is_empty());
        found.with_context(|| format!("`executors.{name}.{key}` isn't set: {example}"))
    };
    let namespace = executor.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned());
    let is_label = !namespace.is_empty()
        && namespace.len() <= LABEL_BYTES_MAX
        && namespace.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_label {
        bail!("`executors.{name}.namespace` is {namespace:?}, which can't be the name of a namespace");
    }
    let read = |key: &str, path: &PathBuf| {
        std::fs::read_to_string(path)
            .with_context(|| format!("failed to read `executors.{name}.{key}`, {}", path.display()))
    };
    let authorities =
        executor.task_api_authorities.as_ref().map(|path| read("task_api_authorities", path)).transpose()?;
    let task_api = needed(
        "task_api_url",
        &executor.task_api_url,
        "name the URL at which pods reach the task API, such as `https://updraft.example:8480`",
    )?;
    Api::trusting(&task_api, String::new(), authorities.as_deref()).with_context(|| {
        format!("`executors.{name}.task_api_url` or `task_api_authorities` can't be used")
    })?;
    let template = match &executor.pod_template {
        Some(path) => {
            let text = read("pod_template", path)?;
            let wrong =
                || format!("`executors.{name}.pod_template`, {}, isn't a pod template", path.display());
            let value: serde_json::Value = serde_saphyr::from_str(&text).with_context(wrong)?;
            Template::new(value).map_err(anyhow::Error::msg).with_context(wrong)?
        }
        None => Template::default(),
    };
    if let Some(path) = executor.kubeconfig.as_ref().filter(|path| !path.is_file()) {
        bail!("`executors.{name}.kubeconfig` is {}, where there is no file", path.display());
    }
    let default = Patience::default();
    let patient =
        |set: Option<u32>, default: Duration| set.map_or(default, |s| Duration::from_secs(s.into()));
    Ok(ClusterSettings {
        kubeconfig: executor.kubeconfig.clone(),
        context: executor.context.clone(),
        namespace,
        image: needed("image", &executor.image, "name the image that tasks run in")?,
        updraft_image: needed(
            "updraft_image",
            &executor.updraft_image,
            "name the image with Updraft of this release, which brings `updraft-pod`",
        )?,
        template,
        pods: pods(executor),
        gpus: gpus(name, executor)?,
        task_api,
        authorities,
        patience: Patience {
            unschedulable: patient(executor.unschedulable_s, default.unschedulable),
            unstartable: patient(executor.unstartable_s, default.unstartable),
            node_lost: patient(executor.node_lost_s, default.node_lost),
        },
        log_bytes_max: u64::from(executor.log_mib_max.unwrap_or(LOG_MIB_MAX)) << 20,
    })
}

impl ClusterSettings {
    /// What the executor is opened with.
    pub(crate) async fn open(
        &self,
        name: &ExecutorName,
        shard: ShardId,
        slots: u32,
        keys: &Keys,
        objects: &Objects,
    ) -> anyhow::Result<Options> {
        let client = kubernetes::connect(self.kubeconfig.as_deref(), self.context.as_deref()).await;
        let client = client.map_err(anyhow::Error::msg).with_context(|| match &self.kubeconfig {
            Some(path) => format!("the cluster of the executor `{name}` can't be used, by {}", path.display()),
            None => format!(
                "the executor `{name}` can't use the cluster that this process runs in: set `executors.{name}.kubeconfig`"
            ),
        })?;
        Ok(Options {
            name: name.clone(),
            shard,
            client,
            namespace: self.namespace.clone(),
            image: self.image.clone(),
            updraft_image: self.updraft_image.clone(),
            template: self.template.clone(),
            pods: self.pods.clone(),
            gpus: self.gpus.clone(),
            task_api: self.task_api.clone(),
            authorities: self.authorities.clone(),
            slots,
            log_bytes_max: self.log_bytes_max,
            patience: self.patience,
            keys: keys.clone(),
            kept: Arc::new(objects.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> Settings {
        toml::from_str(&format!("[executors.local]\n[executors.k8s]\nkind = \"kubernetes\"\n{more}")).unwrap()
    }

    const GOOD: &str =
        "image = \"tasks\"\nupdraft_image = \"updraft\"\ntask_api_url = \"https://updraft.example:8480\"\n";

    fn wrong(more: &str) -> String {
        format!("{:#}", settings(more).clusters().unwrap_err())
    }

    #[test]
    fn a_cluster_says_what_it_lacks() {
        let found = settings(GOOD).clusters().unwrap();
        let cluster = &found["k8s"];
        assert_eq!((cluster.namespace.as_str(), cluster.patience), ("updraft", Patience::default()));
        assert!(wrong("").contains("`executors.k8s.task_api_url` isn't set"));
        let url = "task_api_url = \"https://updraft.example\"\n";
        assert!(wrong(url).contains("`executors.k8s.image` isn't set: name the image"));
        assert!(wrong(&GOOD.replace("https", "http")).contains("task_api_url"));
        assert!(wrong(&format!("{GOOD}namespace = \"No\"")).contains("can't be the name of a namespace"));
        assert!(wrong(&format!("{GOOD}kubeconfig = \"/nowhere\"")).contains("where there is no file"));
        assert!(wrong(&format!("{GOOD}pod_template = \"/nowhere\"")).contains("failed to read"));
        let models = "gpu_models = [\"h200=NVIDIA-H200\"]\n";
        assert!(wrong(&format!("{GOOD}{models}")).contains("`executors.k8s.gpu_resource` isn't set"));
        let resource = "gpu_resource = \"nvidia.com/gpu\"\n";
        assert!(wrong(&format!("{GOOD}{resource}{models}")).contains("gpu_model_label"));
        let whole = format!("{GOOD}{resource}{models}gpu_model_label = \"nvidia.com/gpu.product\"\n");
        let gpus = settings(&whole).clusters().unwrap()["k8s"].gpus.clone().unwrap();
        assert_eq!(gpus.models.unwrap().1["h200"], "NVIDIA-H200");
        let offer = settings(&whole).installation().unwrap().executors["k8s"].clone();
        assert!(offer.gpus && offer.gpu_models.unwrap().contains("h200"));
        assert!(wrong(&whole.replace("h200=", "h200")).contains("gpu_models"));
        let other: Settings = toml::from_str("[executors.local]\nimage = \"x\"").unwrap();
        assert!(other.clusters().unwrap_err().to_string().contains("`executors.local.image` is set, but"));
        let long: Settings =
            toml::from_str(&format!("[executors.local]\n[executors.-x]\nkind = \"kubernetes\"\n{GOOD}"))
                .unwrap();
        assert!(long.clusters().unwrap_err().to_string().contains("begin and end with a letter"));
    }

    #[test]
    fn an_executors_own_image_is_one_that_tasks_may_choose_in_any_version() {
        for (image, expected) in [
            ("tasks:7", "tasks"),
            ("registry.example:5000/tasks", "registry.example:5000/tasks"),
            ("registry.example:5000/team/tasks:1@sha256:00", "registry.example:5000/team/tasks"),
        ] {
            let executor = Executor { image: Some(image.to_owned()), ..Executor::default() };
            assert_eq!(pods(&executor).images, [expected.to_owned()].into());
        }
        let found =
            settings(&format!("{GOOD}allowed_images = [\"registry.example/\"]\nallowed_taints = [\"gpu\"]"));
        let offer = found.installation().unwrap().executors["k8s"].pods.clone().unwrap();
        assert_eq!(offer.images, ["registry.example/", "tasks"].map(str::to_owned).into());
        assert_eq!((offer.taints.len(), offer.node_labels.len()), (1, 0));
    }

    #[test]
    fn a_pod_template_is_looked_at_before_anything_starts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pod.yaml");
        let with = |text: &str| {
            std::fs::write(&path, text).unwrap();
            settings(&format!("{GOOD}pod_template = {path:?}")).clusters()
        };
        with("spec:\n  nodeSelector: {disk: fast}\n  containers:\n  - name: task\n").unwrap();
        for (text, expected) in [
            ("spec: [1]", "isn't a pod template"),
            ("spec:\n  containers: 3", "isn't a pod template"),
            ("kind: Pod\nspec: {}", "`kind` isn't a part of a pod template"),
            ("- 1", "isn't a pod template"),
        ] {
            let error = format!("{:#}", with(text).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
