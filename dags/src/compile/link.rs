//! What crosses tasks: who waits for whom, groups, maps, branches, teardowns, results and files.

mod cycle;

use std::collections::{BTreeMap, BTreeSet};

use super::{Context, RELATIONS_MAX, groups::GroupDraft, task::TaskDraft};
use crate::{
    diagnostic::{Draft, code},
    ids::{GroupId, TaskId},
    model::{Dag, Runner},
    template::Reference,
    tree::ByteRange,
};

/// Joins tasks and groups into the DAG. `declared` are the names of tasks that couldn't be read.
pub(super) fn link(
    context: &mut Context<'_, '_>,
    dag: &mut Dag,
    tasks: Vec<TaskDraft<'_>>,
    groups: Vec<GroupDraft<'_>>,
    declared: &BTreeSet<&str>,
) {
    let names: Vec<TaskId> = tasks.iter().map(|draft| draft.task.task_id.clone()).collect();
    let index = names.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect();
    let group_names = groups.iter().map(|draft| draft.group.group_id.to_string()).collect();
    let up = vec![Vec::new(); tasks.len()];
    let mapped_group = vec![None; tasks.len()];
    let mut link =
        Link { context, tasks, groups, index, declared, group_names, up, mapped_group, relations: 0 };
    link.membership();
    link.mapped_groups();
    link.needs();
    link.maps();
    link.teardowns();
    link.tidy();
    link.branches();
    link.cycles();
    link.references(dag);
    link.files(dag);
    link.finish(dag);
}

struct Link<'l, 'c, 's, 'n> {
    context: &'l mut Context<'c, 's>,
    tasks: Vec<TaskDraft<'n>>,
    groups: Vec<GroupDraft<'n>>,
    index: BTreeMap<&'l str, usize>,
    declared: &'l BTreeSet<&'l str>,
    group_names: BTreeSet<String>,
    /// Direct upstream tasks of each task, with the place that says so.
    up: Vec<Vec<(usize, ByteRange)>>,
    /// The mapped group that each task is in, if any.
    mapped_group: Vec<Option<usize>>,
    relations: usize,
}

impl Link<'_, '_, '_, '_> {
    fn name(&self, task: usize) -> &TaskId {
        &self.tasks[task].task.task_id
    }

    /// The task of that name; reports it if there is none.
    fn find(&mut self, name: &str, at: ByteRange) -> Option<usize> {
        if let Some(task) = self.index.get(name) {
            return Some(*task);
        }
        if self.declared.contains(name) {
            return None;
        }
        let help = if self.group_names.contains(name) {
            Some(format!("`{name}` is a group: name its tasks"))
        } else {
            self.context.reporter.did_you_mean(name, self.index.keys().copied()).or_else(|| {
                let few = (1..=8).contains(&self.index.len());
                few.then(|| {
                    format!("the DAG has {}", crate::suggest::list(self.index.keys().copied(), "and"))
                })
            })
        };
        let message = format!("there is no task `{name}`");
        self.context.push(Draft::error(code::DAG_UNKNOWN_TASK, message).at(at, "unknown task").help(help));
        None
    }

    fn add(&mut self, task: usize, upstream: usize, at: ByteRange) {
        self.relations += 1;
        if self.relations <= RELATIONS_MAX {
            self.up[task].push((upstream, at));
        }
        if self.relations == RELATIONS_MAX + 1 {
            let message = format!("the DAG has more than {RELATIONS_MAX} relations between tasks");
            self.context.push(
                Draft::error(code::DAG_LIMIT, message)
                    .at(at, "the limit is met here")
                    .help("put an `empty` task between two large sets of tasks".to_owned()),
            );
        }
    }

    fn needs(&mut self) {
        for task in 0..self.tasks.len() {
            let mut seen = BTreeMap::new();
            for (name, at) in std::mem::take(&mut self.tasks[task].needs) {
                if let Some(before) = seen.insert(name, at) {
                    let message = format!("`needs` names `{name}` twice");
                    self.context
                        .push(Draft::error(code::DAG_DUPLICATE, message).at(at, "again").at(before, "first"));
                    continue;
                }
                let Some(upstream) = self.find(name, at) else { continue };
                if upstream == task {
                    let message = format!("task `{name}` needs itself");
                    self.context.push(Draft::error(code::DAG_CYCLE, message).at(at, "it could never start"));
                } else {
                    self.add(task, upstream, at);
                }
            }
        }
    }

    fn membership(&mut self) {
        let mut first: BTreeMap<usize, (usize, ByteRange)> = BTreeMap::new();
        for group in 0..self.groups.len() {
            for (name, at) in std::mem::take(&mut self.groups[group].members) {
                let Some(task) = self.find(name, at) else { continue };
                if let Some((other, before)) = first.insert(task, (group, at)) {
                    let other = &self.groups[other].group.group_id;
                    let message = format!(
                        "task `{name}` is in the groups `{other}` and `{}`",
                        self.groups[group].group.group_id
                    );
                    let (message, help) = if *other == self.groups[group].group.group_id {
                        (format!("group `{other}` names the task `{name}` twice"), None)
                    } else {
                        (message, Some("a task is in one group; groups may be nested by `parent`".to_owned()))
                    };
                    self.context.push(
                        Draft::error(code::DAG_GROUP, message).at(at, "again").at(before, "first").help(help),
                    );
                    continue;
                }
                self.tasks[task].task.group = Some(self.groups[group].group.group_id.clone());
            }
        }
    }

    /// Finds the mapped group around each task.
    fn mapped_groups(&mut self) {
        let index: BTreeMap<&GroupId, usize> =
            self.groups.iter().enumerate().map(|(n, draft)| (&draft.group.group_id, n)).collect();
        // Rings are reported before; the count keeps them from being walked for ever.
        let outermost = |start: usize| {
            let mut group = Some(start);
            for _ in 0..=self.groups.len() {
                let draft = &self.groups[group?];
                if draft.map.is_some() {
                    return group;
                }
                group = draft.group.parent.as_ref().and_then(|parent| index.get(parent).copied());
            }
            None
        };
        let around: Vec<Option<usize>> = (0..self.groups.len()).map(outermost).collect();
        let of_task = |draft: &TaskDraft<'_>| around[*index.get(draft.task.group.as_ref()?)?];
        self.mapped_group = self.tasks.iter().map(of_task).collect();
    }

    fn maps(&mut self) {
        for task in 0..self.tasks.len() {
            let Some(map) = self.tasks[task].map.take() else { continue };
            if let Some(group) = self.mapped_group[task] {
                let message = format!(
                    "task `{}` is mapped inside of the mapped group `{}`, which isn't supported",
                    self.name(task),
                    self.groups[group].group.group_id
                );
                let group_at = self.groups[group].at;
                self.context.push(
                    Draft::error(code::DAG_MAP, message)
                        .at(map.at, "mapped")
                        .at(group_at, "inside of this mapped group")
                        .help("map the group over the product: `map` takes several variables".to_owned()),
                );
            }
            if self.tasks[task].task.operator == "branch" {
                self.context.push(
                    Draft::error(code::DAG_MAP, "a `branch` can't be mapped: it chooses once per run")
                        .at(map.at, "mapped")
                        .help("put the branch and its cases into a group and map the group".to_owned()),
                );
            }
            for (name, at) in &map.outputs {
                self.map_source(task, name, *at);
            }
            self.tasks[task].task.map = Some(map.map);
        }
        self.group_maps();
    }

    /// A task's result that another is mapped over: it becomes upstream.
    fn map_source(&mut self, task: usize, name: &str, at: ByteRange) {
        let Some(source) = self.find(name, at) else { return };
        if source == task {
            self.context.push(
                Draft::error(code::DAG_MAP, format!("task `{name}` is mapped over its own result"))
                    .at(at, "it has none before it starts"),
            );
            return;
        }
        if self.tasks[source].task.runner == Runner::Engine {
            let message = format!(
                "`{name}` can't be mapped over: `{}` has no result",
                self.tasks[source].task.operator
            );
            self.context.push(
                Draft::error(code::DAG_MAP, message)
                    .at(at, "no list comes from here")
                    .help("map over a task that writes a list, such as `python` or `bash`".to_owned()),
            );
            return;
        }
        self.add(task, source, at);
    }

    fn group_maps(&mut self) {
        let mut members_of: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (task, group) in self.mapped_group.iter().enumerate() {
            members_of.entry(group.unwrap_or(usize::MAX)).or_default().insert(task);
        }
        for group in 0..self.groups.len() {
            let Some(map) = self.groups[group].map.take() else { continue };
            let outputs = map.outputs;
            self.groups[group].group.map = Some(map.map);
            let members = members_of.remove(&group).unwrap_or_default();
            let starts: Vec<usize> = members
                .iter()
                .copied()
                .filter(|task| self.up[*task].iter().all(|(up, _)| !members.contains(up)))
                .collect();
            for (name, at) in outputs {
                let inside = self.index.get(name).is_some_and(|source| members.contains(source));
                if inside {
                    let message =
                        format!("the group is mapped over the result of `{name}`, which is inside of it");
                    self.context.push(
                        Draft::error(code::DAG_MAP, message)
                            .at(at, "it has no result before the group starts")
                            .help("move the task out of the group".to_owned()),
                    );
                    continue;
                }
                for task in &starts {
                    self.map_source(*task, name, at);
                }
            }
        }
    }

    fn teardowns(&mut self) {
        for task in 0..self.tasks.len() {
            for (name, at) in std::mem::take(&mut self.tasks[task].teardown_of) {
                let Some(setup) = self.find(name, at) else { continue };
                if setup == task {
                    let message = format!("task `{name}` can't clean up after itself");
                    self.context.push(Draft::error(code::DAG_TEARDOWN, message).at(at, "its own name"));
                    continue;
                }
                let name = self.name(setup).clone();
                self.tasks[task].task.teardown_of.push(name);
                self.tasks[setup].task.setup = true;
                // A teardown waits for its setup, and its rule looks at it.
                self.add(task, setup, at);
            }
            self.tasks[task].task.teardown_of.sort();
            self.tasks[task].task.teardown_of.dedup();
        }
        for task in 0..self.tasks.len() {
            if self.tasks[task].task.setup && !self.tasks[task].task.teardown_of.is_empty() {
                let message = format!("task `{}` can't be a setup and a teardown at once", self.name(task));
                let at = self.tasks[task].at;
                self.context.push(
                    Draft::error(code::DAG_TEARDOWN, message)
                        .at(at, "has `teardown_of` and is named in another's"),
                );
            }
        }
    }

    /// Each upstream task once, sorted by name.
    fn tidy(&mut self) {
        for task in 0..self.tasks.len() {
            let mut up = std::mem::take(&mut self.up[task]);
            up.sort_by(|a, b| self.name(a.0).cmp(self.name(b.0)));
            up.dedup_by_key(|(upstream, _)| *upstream);
            self.tasks[task].task.needs =
                up.iter().map(|(upstream, _)| self.name(*upstream).clone()).collect();
            self.up[task] = up;
        }
    }

    fn is_direct(&self, task: usize, upstream: usize) -> bool {
        self.tasks[task].task.needs.binary_search(self.name(upstream)).is_ok()
    }

    fn branches(&mut self) {
        let branches: Vec<usize> =
            (0..self.tasks.len()).filter(|task| self.tasks[*task].task.operator == "branch").collect();
        if branches.is_empty() {
            return;
        }
        let mut chosen: BTreeSet<(usize, usize)> = BTreeSet::new();
        for branch in &branches {
            for (name, at) in std::mem::take(&mut self.tasks[*branch].targets) {
                let Some(target) = self.find(name, at) else { continue };
                chosen.insert((*branch, target));
                if !self.is_direct(target, *branch) {
                    let branch_name = self.name(*branch);
                    let message =
                        format!("`{branch_name}` can't choose `{name}`: it isn't directly downstream");
                    let help = format!("add `needs: {branch_name}` to `{name}`");
                    let target_at = self.tasks[target].at;
                    self.context.push(
                        Draft::error(code::DAG_BRANCH, message)
                            .at(at, "chosen here")
                            .at(target_at, format!("doesn't need `{}`", self.tasks[*branch].task.task_id))
                            .help(help),
                    );
                }
            }
        }
        for task in 0..self.tasks.len() {
            for (upstream, at) in self.up[task].clone() {
                let branch = self.tasks[upstream].task.operator == "branch";
                // A case that couldn't be read may be the one that runs it.
                if branch && self.context.reporter.errors() == 0 && !chosen.contains(&(upstream, task)) {
                    let message = format!("no case of `{}` runs `{}`", self.name(upstream), self.name(task));
                    self.context.push(
                        Draft::warning(code::DAG_BRANCH, message).at(at, "so it is always skipped").help(
                            "add a case that runs it, or let it need one of the branch's tasks instead"
                                .to_owned(),
                        ),
                    );
                }
            }
        }
    }

    fn cycles(&mut self) {
        for cycle in cycle::find(&self.up, &self.tasks.iter().map(|draft| draft.at).collect::<Vec<_>>()) {
            let mut path: Vec<&str> = cycle.iter().map(|task| self.name(*task).as_str()).collect();
            path.push(path[0]);
            // A ring of thousands helps nobody.
            let shown = if path.len() > 20 {
                format!("{} -> ... -> {}", path[..10].join(" -> "), path[path.len() - 9..].join(" -> "))
            } else {
                path.join(" -> ")
            };
            let mut draft = Draft::error(code::DAG_CYCLE, format!("the tasks wait for each other: {shown}"));
            for (n, task) in cycle.iter().enumerate().take(6) {
                let before = cycle[(n + cycle.len() - 1) % cycle.len()];
                let at = self.up[*task]
                    .iter()
                    .find(|(up, _)| *up == before)
                    .map_or(self.tasks[*task].at, |(_, at)| *at);
                draft = draft.at(at, format!("`{}` needs `{}`", self.name(*task), self.name(before)));
            }
            self.context.push(draft.help("remove one of these needs".to_owned()));
        }
    }

    fn references(&mut self, dag: &Dag) {
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

    fn files(&mut self, dag: &mut Dag) {
        for task in 0..self.tasks.len() {
            for (parameter, node) in std::mem::take(&mut self.tasks[task].files) {
                let what = format!("{}.{parameter}", self.tasks[task].task.operator);
                let Some((path, digest)) = self.context.file(node, &what) else { continue };
                // The canonical form names files from the root of the bundle.
                self.tasks[task].task.args.insert(parameter, path.clone().into());
                dag.files.insert(path, digest);
            }
        }
    }

    fn finish(self, dag: &mut Dag) {
        for draft in &self.tasks {
            let operator = &draft.task.operator;
            if let Some(digest) =
                self.context.catalog.get(operator).and_then(|operator| operator.plugin.clone())
            {
                dag.plugins.insert(operator.clone(), digest);
            }
        }
        dag.groups = self.groups.into_iter().map(|draft| draft.group).collect();
        dag.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        dag.tasks = self.tasks.into_iter().map(|draft| draft.task).collect();
        dag.tasks.sort_by(|a, b| a.task_id.cmp(&b.task_id));
    }
}

/// Methods of maps in templates, which aren't names of tasks or params.
fn is_method(name: &str) -> bool {
    matches!(name, "get" | "items" | "keys" | "values")
}
