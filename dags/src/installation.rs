//! What an installation offers to the tasks of DAGs, as data.
//!
//! The settings of a service say it; here it is only compared with what a DAG asks for, so that a task which could never
//! start is an error of its file and not a run that waits.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ids::ExecutorName, model::Pod, suggest};

/// What DAGs find where they are to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Installation {
    /// The executor of tasks that name none.
    pub default_executor: ExecutorName,
    /// Those that there are.
    pub executors: BTreeMap<ExecutorName, Offer>,
    /// The notification routes that there are. Nothing if that isn't known, and then no route is missed.
    pub routes: Option<BTreeSet<String>>,
}

/// What one executor can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// What it is, in the settings' word, such as `workers`.
    pub kind: String,
    /// How many attempts may run there at once: the largest gang. Nothing if that depends on who joins.
    pub slots: Option<u32>,
    /// Whether the members of a gang find each other there.
    pub gangs: bool,
    /// Whether machines with GPUs may belong to it.
    pub gpus: bool,
    /// The models that there may be. Nothing if that depends on who joins.
    pub gpu_models: Option<BTreeSet<String>>,
    /// Whether it knows resources of other kinds, by name.
    pub custom: bool,
    /// What DAGs may ask of its pods. Nothing if it makes none.
    pub pods: Option<Pods>,
}

/// What DAGs may ask of the pods of an executor: all else is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pods {
    /// Images, without tag and digest; all below a path if the entry ends with `/`.
    pub images: BTreeSet<String>,
    /// Names of service accounts.
    pub service_accounts: BTreeSet<String>,
    /// Names of labels that nodes may be chosen by.
    pub node_labels: BTreeSet<String>,
    /// Keys of taints that may be tolerated.
    pub taints: BTreeSet<String>,
}

/// Something about a pod that isn't allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused<'p> {
    /// This image.
    Image(&'p str),
    /// This service account.
    ServiceAccount(&'p str),
    /// The choice of nodes by this label.
    NodeLabel(&'p str),
    /// The toleration of this taint.
    Taint(&'p str),
}

impl std::fmt::Display for Refused<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(name) => write!(f, "the image `{name}`"),
            Self::ServiceAccount(name) => write!(f, "the service account `{name}`"),
            Self::NodeLabel(name) => write!(f, "nodes by their label `{name}`"),
            Self::Taint(name) => write!(f, "nodes with the taint `{name}`"),
        }
    }
}

impl Refused<'_> {
    /// The executor's setting that would allow it.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Image(_) => "allowed_images",
            Self::ServiceAccount(_) => "allowed_service_accounts",
            Self::NodeLabel(_) => "allowed_node_labels",
            Self::Taint(_) => "allowed_taints",
        }
    }
}

impl Pods {
    /// What isn't allowed of what a task asks for.
    pub fn refused<'p>(&self, pod: &'p Pod) -> Vec<Refused<'p>> {
        let image = pod.image.as_deref().filter(|image| !self.allows_image(image)).map(Refused::Image);
        let account = pod.service_account.as_deref().filter(|name| !self.service_accounts.contains(*name));
        let labels = pod.node_selector.keys().filter(|name| !self.node_labels.contains(*name));
        let taints = pod.tolerations.iter().map(|one| &one.key).filter(|key| !self.taints.contains(*key));
        image
            .into_iter()
            .chain(account.map(Refused::ServiceAccount))
            .chain(labels.map(|name| Refused::NodeLabel(name)))
            .chain(taints.map(|key| Refused::Taint(key)))
            .collect()
    }

    /// What there is instead, for people.
    pub(crate) fn instead(&self, refused: &Refused<'_>) -> String {
        let (what, allowed) = match refused {
            Refused::Image(_) => ("images", &self.images),
            Refused::ServiceAccount(_) => ("service accounts", &self.service_accounts),
            Refused::NodeLabel(_) => ("labels of nodes", &self.node_labels),
            Refused::Taint(_) => ("taints", &self.taints),
        };
        match allowed.is_empty() {
            true => format!("a DAG may choose no {what} there"),
            false => {
                format!("its {what} are {}", suggest::list(allowed.iter().map(String::as_str), "and"))
            }
        }
    }

    fn allows_image(&self, image: &str) -> bool {
        let fits = |entry: &String| match image.strip_prefix(entry.as_str()) {
            // What follows a colon may be a port, and then the image is another one.
            Some(rest) => {
                entry.ends_with('/') || rest.is_empty() || rest.starts_with([':', '@']) && !rest.contains('/')
            }
            None => false,
        };
        self.images.iter().any(fits)
    }
}

impl Installation {
    /// The executors for people: "`local` and `lab` (workers)". A kind that is the name isn't repeated.
    pub fn list(&self) -> String {
        self.list_of(|_| true)
    }

    /// The same of those executors that can do something.
    pub(crate) fn list_of(&self, can: impl Fn(&Offer) -> bool) -> String {
        let able = self.executors.iter().filter(|(_, offer)| can(offer));
        let names: Vec<String> = able
            .map(|(name, offer)| match offer.kind == name.as_str() {
                true => format!("`{name}`"),
                false => format!("`{name}` ({})", offer.kind),
            })
            .collect();
        match names.as_slice() {
            [] => "none".to_owned(),
            [one] => one.clone(),
            [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_that_are_named_are_allowed() {
        let pods = Pods {
            images: ["registry.example/tasks", "registry.example/team/"].map(str::to_owned).into(),
            ..Pods::default()
        };
        let allows = |image: &str| {
            let pod = Pod { image: Some(image.to_owned()), ..Pod::default() };
            pods.refused(&pod).is_empty()
        };
        for image in ["registry.example/tasks", "registry.example/tasks:7", "registry.example/team/x/y:1"] {
            assert!(allows(image), "{image}");
        }
        assert!(allows("registry.example/tasks@sha256:00"));
        for image in [
            "registry.example/tasks:5000/x:1",
            "registry.example/tasks2",
            "registry.example/tasks/x",
            "registry.example/team",
            "tasks",
        ] {
            assert!(!allows(image), "{image}");
        }
    }
}
