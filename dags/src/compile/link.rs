//! What crosses tasks: who waits for whom, groups, maps, branches, teardowns, results and files.

mod branches;
mod cycle;
mod maps;
mod references;
mod teardowns;

use std::collections::{BTreeMap, BTreeSet};

use super::{Context, RELATIONS_MAX, groups::GroupDraft, task::TaskDraft};
use crate::{
    diagnostic::{Draft, code},
    ids::TaskId,
    model::Dag,
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
