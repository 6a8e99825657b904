//! Calls to the API server: what they answer, in the words of executors.

use std::{path::Path, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::contract::Error;

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many objects are listed at once.
const PAGE: u32 = 500;
/// The longest grace that is asked for.
const GRACE_MAX: Duration = Duration::from_hours(7 * 24);

/// A cluster by a kubeconfig and one of its contexts; without a kubeconfig, the cluster in which this process runs.
pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, String> {
    // Fails if a provider is installed already, which is the state we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).map_err(|error| chain(&error))?;
            let options =
                KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(read, &options).await.map_err(|error| chain(&error))?
        }
        None => Config::incluster().map_err(|error| chain(&error))?,
    };
    Client::try_from(config).map_err(|error| chain(&error))
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = inner.source();
    }
    text
}

/// The cluster, and our namespace in it.
#[derive(Clone)]
pub(super) struct Cluster {
    client: Client,
    pub(super) pods: Api<Pod>,
    secrets: Api<Secret>,
}

/// What became of a call.
async fn call<T>(doing: &str, asked: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Called> {
    match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            404 => Called::Missing(format!("failed to {doing}: {}", status.message)),
            409 if status.reason == "AlreadyExists" => {
                Called::Exists(format!("failed to {doing}: {}", status.message))
            }
            409 => Called::Conflict(format!("failed to {doing}: {}", status.message)),
            code => Called::Failed(said(doing, code, &status.message)),
        }),
        Ok(Err(error)) => {
            Err(Called::Failed(Error::Unavailable(format!("failed to {doing}: {}", chain(&error)))))
        }
        Err(_) => Err(Called::Failed(Error::Unavailable(format!(
            "failed to {doing} within {} s",
            TIMEOUT.as_secs()
        )))),
    }
}

/// Why a call failed.
enum Called {
    Missing(String),
    /// One of that name is there.
    Exists(String),
    /// It isn't as it was when it was seen, or something else was changed at the same moment, such as a quota.
    Conflict(String),
    Failed(Error),
}

impl Called {
    fn unexpected(self) -> Error {
        match self {
            Self::Missing(why) => Error::Refused(why),
            Self::Exists(why) | Self::Conflict(why) => Error::Unavailable(why),
            Self::Failed(error) => error,
        }
    }
}

/// What a status means: that it may pass, or that it is for good.
fn said(doing: &str, code: u16, message: &str) -> Error {
    let text = format!("failed to {doing}: {message}");
    // A full quota is a matter of waiting, and so is an account that a new namespace doesn't have yet.
    let passes = message.contains("exceeded quota") || message.contains("error looking up service account");
    match code {
        400 | 405 | 413 | 422 => Error::Refused(text),
        403 if !passes => Error::Refused(text),
        _ => Error::Unavailable(text),
    }
}

impl Cluster {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            pods: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            client,
        }
    }

    /// Makes a pod; none if one of its name is there.
    pub(super) async fn create(&self, pod: &Pod) -> Result<Option<Pod>, Error> {
        match call("make a pod", self.pods.create(&PostParams::default(), pod)).await {
            Ok(made) => Ok(Some(made)),
            Err(Called::Exists(_)) => Ok(None),
            Err(other) => Err(other.unexpected()),
        }
    }

    /// The pod of that name, if it is there.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Pod>, Error> {
        call("read a pod", self.pods.get_opt(name)).await.map_err(Called::unexpected)
    }

    /// Makes a secret unless it is there.
    pub(super) async fn create_secret(&self, secret: &Secret) -> Result<(), Error> {
        match call("make a pod's secret", self.secrets.create(&PostParams::default(), secret)).await {
            Ok(_) | Err(Called::Exists(_)) => Ok(()),
            Err(other) => Err(other.unexpected()),
        }
    }

    /// Asks for a pod's end within that time; false if it is another one by now, or gone.
    pub(super) async fn delete(
        &self,
        name: &str,
        uid: Option<&str>,
        grace: Option<Duration>,
    ) -> Result<bool, Error> {
        let preconditions =
            uid.map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let grace = grace.map(|grace| grace.min(GRACE_MAX).as_secs_f64().ceil() as u32);
        let wanted = DeleteParams { grace_period_seconds: grace, preconditions, ..DeleteParams::default() };
        match call("delete a pod", self.pods.delete(name, &wanted)).await {
            Ok(_) => Ok(true),
            Err(Called::Missing(_) | Called::Conflict(_)) => Ok(false),
            Err(other) => Err(other.unexpected()),
        }
    }

    /// Asks for the end of a pod that is still as it was seen; an error if it isn't. One that is gone is fine.
    pub(super) async fn delete_as_seen(&self, pod: &Pod, grace: Duration) -> Result<(), Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let preconditions = Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
        };
        let wanted = DeleteParams {
            grace_period_seconds: Some(grace.as_secs() as u32),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match call("give up a pod", self.pods.delete(name, &wanted)).await {
            Ok(_) | Err(Called::Missing(_)) => Ok(()),
            Err(other) => Err(other.unexpected()),
        }
    }

    /// Lets go of a pod: whoever deletes it from now on removes it. One that is gone is fine.
    pub(super) async fn release(&self, name: &str) -> Result<(), Error> {
        self.merge("release a pod", name, &json!({ "metadata": { "finalizers": null } })).await.map(drop)
    }

    /// Changes a pod; none if it is gone.
    pub(super) async fn merge(&self, doing: &str, name: &str, change: &Value) -> Result<Option<Pod>, Error> {
        match call(doing, self.pods.patch(name, &PatchParams::default(), &Patch::Merge(change))).await {
            Ok(pod) => Ok(Some(pod)),
            Err(Called::Missing(_)) => Ok(None),
            Err(other) => Err(other.unexpected()),
        }
    }

    /// All nodes.
    pub(super) async fn nodes(&self) -> Result<Vec<Node>, Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let (mut found, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
        loop {
            let page = call("list the nodes", nodes.list(&params)).await.map_err(Called::unexpected)?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(found),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again() {
        let passes = |code, message: &str| matches!(said("x", code, message), Error::Unavailable(_));
        assert!(passes(403, "pods \"a\" is forbidden: exceeded quota: q, requested: pods=1"));
        assert!(passes(403, "pods \"a\" is forbidden: error looking up service account n/default"));
        assert!(passes(429, "too many requests") && passes(500, "") && passes(503, "") && passes(401, ""));
        assert!(!passes(403, "User \"x\" cannot create resource \"pods\""));
        assert!(!passes(422, "spec.containers[0].image: Required value") && !passes(400, ""));
    }
}
