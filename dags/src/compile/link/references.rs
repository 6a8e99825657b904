//! What expressions take from elsewhere: results of upstream tasks, params, mapped variables.

use super::Link;
use crate::{
    diagnostic::{Draft, code},
    model::Dag,
    template::Reference,
    tree::ByteRange,
};

impl Link<'_, '_, '_, '_> {
    pub(super) fn references(&mut self, dag: &Dag) {
        for task in 0..self.tasks.len() {
            for found in std::mem::take(&mut self.tasks[task].found) {
                self.reference(task, &found.reference, found.at, dag);
            }
        }
    }

    fn reference(&mut self, task: usize, reference: &Reference, at: ByteRange, dag: &Dag) {
        let member = reference.member.as_deref();
        match (reference.root.as_str(), member) {
            ("outputs", Some(name)) => self.output(task, name, at),
            ("ti" | "task_instance", Some("xcom_pull")) => {
                if let Some(name) = &reference.argument {
                    self.output(task, name, at);
                }
            }
            ("params", Some(name))
                if !reference.guarded && !dag.params.contains_key(name) && !is_method(name) =>
            {
                let meant = self.context.reporter.did_you_mean(name, dag.params.keys().map(String::as_str));
                let help = meant.unwrap_or_else(|| {
                    format!("declare it: `params: {{ {name}: {{ type: string, default: ... }} }}`")
                });
                let message = format!("the DAG has no param `{name}`");
                self.context
                    .push(Draft::error(code::TEMPLATE_NAME, message).at(at, "unknown param").help(help));
            }
            ("map", Some(name)) if !reference.guarded => self.map_variable(task, name, at),
            _ => {}
        }
    }

    fn output(&mut self, task: usize, name: &str, at: ByteRange) {
        if is_method(name) {
            return;
        }
        let Some(upstream) = self.find(name, at) else { return };
        if upstream == task || self.is_direct(task, upstream) {
            if upstream == task {
                let message = format!("task `{name}` can't use its own result");
                self.context
                    .push(Draft::error(code::DAG_NOT_UPSTREAM, message).at(at, "it has none before it ends"));
            }
            return;
        }
        let message =
            format!("`{}` uses the result of `{name}`, which isn't directly upstream", self.name(task));
        let help = format!(
            "add `{name}` to the `needs` of `{}`: a task is given the results of what it needs",
            self.name(task)
        );
        let task_at = self.tasks[task].at;
        self.context.push(
            Draft::error(code::DAG_NOT_UPSTREAM, message)
                .at(at, "used here")
                .at(task_at, format!("doesn't need `{name}`"))
                .help(help),
        );
    }

    fn map_variable(&mut self, task: usize, name: &str, at: ByteRange) {
        if self.tasks[task].map_broken {
            return;
        }
        let own = self.tasks[task].task.map.iter();
        let group = self.mapped_group[task].and_then(|group| self.groups[group].group.map.as_ref());
        let variables: Vec<String> =
            own.chain(group).flat_map(|map| map.over.iter().map(|(name, _)| name.clone())).collect();
        if variables.iter().any(|variable| variable == name) || is_method(name) {
            return;
        }
        let meant = self.context.reporter.did_you_mean(name, variables.iter().map(String::as_str));
        let help = meant.unwrap_or_else(|| {
            if variables.is_empty() {
                format!("add `map: {{ {name}: [...] }}` to the task or its group")
            } else {
                format!(
                    "it is mapped over {}",
                    crate::suggest::list(variables.iter().map(String::as_str), "and")
                )
            }
        });
        let message = format!("task `{}` has no mapped variable `{name}`", self.name(task));
        self.context.push(Draft::error(code::TEMPLATE_NAME, message).at(at, "unknown variable").help(help));
    }
}

/// Methods of maps in templates, which aren't names of tasks or params.
fn is_method(name: &str) -> bool {
    matches!(name, "get" | "items" | "keys" | "values")
}
