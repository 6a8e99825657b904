//! What tasks ask for, against what the installation offers.

use super::{Context, object::Object};
use crate::{
    diagnostic::{Draft, code},
    ids::ExecutorName,
    installation::Offer,
    model::{Runner, Task},
    suggest,
    tree::{ByteRange, Node},
};

/// Where a task, or `defaults`, asks for what not every executor has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    gpu: Option<ByteRange>,
    custom: Option<ByteRange>,
}

impl Wanted {
    pub(super) fn of(resources: &Node) -> Self {
        let at = |key: &str| resources.get(key).map(|node| node.span);
        Self { gpu: at("gpu"), custom: at("custom") }
    }
}

impl Context<'_, '_> {
    /// An executor's name, which must be one of the installation's.
    pub(super) fn executor(&mut self, node: &Node) -> Option<ExecutorName> {
        let name: ExecutorName = self.name(node, "executor")?;
        let catalog = self.catalog;
        if let Some(installation) = catalog.installation()
            && !installation.executors.contains_key(&name)
        {
            let known = installation.executors.keys().map(ExecutorName::as_str);
            let meant = self.reporter.did_you_mean(name.as_str(), known).map(|meant| meant + " ");
            let help = format!(
                "{}it has {}; another one is made in its settings, as `executors.{name}`",
                meant.unwrap_or_default(),
                installation.list()
            );
            let message = format!("this installation has no executor `{name}`");
            self.push(
                Draft::error(code::INSTALLATION_EXECUTOR, message).at(node.span, "not there").help(help),
            );
        }
        Some(name)
    }

    /// Whether the task's executor can do what the task asks for.
    pub(super) fn check_offer(&mut self, task: &Task, object: &Object<'_>, wanted: Wanted) {
        let catalog = self.catalog;
        let Some(installation) = catalog.installation().filter(|_| task.runner == Runner::Executor) else {
            return;
        };
        let executor = task.executor.as_ref().unwrap_or(&installation.default_executor);
        // An executor that isn't there was reported where it is named.
        let Some(offer) = installation.executors.get(executor) else { return };
        let id = &task.task_id;
        let lacks = |what: &str, able: fn(&Offer) -> bool| match installation.executors.values().any(able) {
            true => {
                format!("name an executor that has {what} with `executor`: {}", installation.list_of(able))
            }
            false => format!("no executor of this installation has {what}: it has {}", installation.list()),
        };
        if let (Some(gpu), Some(at)) = (&task.resources.gpu, wanted.gpu) {
            let model = gpu.model.as_deref().map(|model| format!("{model} ")).unwrap_or_default();
            let asked = format!("{} {model}GPU{}", gpu.count, if gpu.count == 1 { "" } else { "s" });
            if !offer.gpus {
                let message = format!("task `{id}` needs {asked}, and the executor `{executor}` has none");
                self.lacking(at, format!("not on `{executor}`"), message, lacks("GPUs", |offer| offer.gpus));
            } else if let (Some(model), Some(models)) = (&gpu.model, &offer.gpu_models)
                && !models.contains(model)
            {
                let message = format!(
                    "task `{id}` needs {asked}, and the executor `{executor}` has none of that model"
                );
                let known = || models.iter().map(String::as_str);
                let meant = self.reporter.did_you_mean(model, known()).map(|meant| meant + " ");
                let help = match models.is_empty() {
                    true => "its settings name no models: leave `model` out".to_owned(),
                    false => format!("{}it has {}", meant.unwrap_or_default(), suggest::list(known(), "and")),
                };
                self.lacking(at, format!("not on `{executor}`"), message, help);
            }
        }
        if let (Some((name, _)), Some(at), false) =
            (task.resources.custom.first_key_value(), wanted.custom, offer.custom)
        {
            let message = format!("task `{id}` needs `{name}`, which the executor `{executor}` can't give");
            self.lacking(
                at,
                format!("not on `{executor}`"),
                message,
                lacks("resources of other kinds", |offer| offer.custom),
            );
        }
        let Some(at) = object.get("gang").map(|node| node.span).filter(|_| task.gang > 1) else { return };
        let gang = task.gang;
        if !offer.gangs {
            let message = format!(
                "the {gang} members of task `{id}` can't find each other on the executor `{executor}`"
            );
            let label = format!("no gangs on `{executor}`");
            self.lacking(at, label, message, lacks("room for gangs on one machine", |offer| offer.gangs));
        } else if let Some(slots) = offer.slots.filter(|slots| *slots < gang) {
            let message = format!(
                "the {gang} members of task `{id}` run at once, and the executor `{executor}` has {slots} {}",
                if slots == 1 { "slot" } else { "slots" }
            );
            let help = format!(
                "make the gang smaller, set `executors.{executor}.slots` to {gang} or more, or name another executor"
            );
            self.lacking(at, format!("too many for `{executor}`"), message, help);
        }
    }

    /// Whether the task's executor makes pods like those that the task asks for.
    pub(super) fn check_pod(&mut self, task: &Task, object: &Object<'_>, at: Option<ByteRange>) {
        let catalog = self.catalog;
        let (Some(pod), Some(at), Some(installation)) = (&task.pod, at, catalog.installation()) else {
            return;
        };
        let executor = task.executor.as_ref().unwrap_or(&installation.default_executor);
        let id = &task.task_id;
        let Some(offer) = installation.executors.get(executor) else { return };
        let Some(pods) = offer.pods.as_ref().filter(|_| task.runner == Runner::Executor) else {
            // What `defaults` say of pods is for those tasks that run in some.
            if object.get("pod").is_some() {
                let message = format!("task `{id}` says what its pod is like, but doesn't run in one");
                let help = format!(
                    "remove `pod`, or name an executor that makes pods with `executor`: it has {}",
                    installation.list_of(|offer| offer.pods.is_some())
                );
                self.lacking(at, format!("there are no pods on `{executor}`"), message, help);
            }
            return;
        };
        for refused in pods.refused(pod) {
            let message =
                format!("task `{id}` asks for {refused}, which the executor `{executor}` doesn't allow");
            let help = format!(
                "{}; an administrator adds to them: `executors.{executor}.{}`",
                pods.instead(&refused),
                refused.setting()
            );
            self.push(Draft::error(code::INSTALLATION_LACKS, message).at(at, "not allowed").help(help));
        }
    }

    fn lacking(&mut self, at: ByteRange, label: String, message: String, help: String) {
        // What `defaults` say is wrong once, not once for each task.
        if self.lacking.insert(at.start) {
            self.push(Draft::error(code::INSTALLATION_LACKS, message).at(at, label).help(help));
        }
    }

    /// A notification route that the installation doesn't know may be made later.
    pub(super) fn check_route(&mut self, route: &str, at: ByteRange) {
        let catalog = self.catalog;
        let Some(routes) = catalog.installation().and_then(|installation| installation.routes.as_ref())
        else {
            return;
        };
        if routes.contains(route) {
            return;
        }
        let known = || routes.iter().map(String::as_str);
        let meant = self.reporter.did_you_mean(route, known()).map(|meant| meant + " ");
        let message = format!("there is no notification route `{route}` yet: its alerts will wait");
        let help = format!(
            "{}there are {}; a route is a connection: `updraft connections set {route} --type notify_email ...`",
            meant.unwrap_or_default(),
            suggest::list(known(), "and")
        );
        self.push(Draft::warning(code::INSTALLATION_ROUTE, message).at(at, "not there yet").help(help));
    }
}
