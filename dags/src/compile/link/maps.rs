//! Maps: what tasks and groups are repeated over, and that it can be.

use std::collections::{BTreeMap, BTreeSet};

use super::{Link, TaskDraft};
use crate::{
    diagnostic::{Draft, code},
    ids::GroupId,
    model::Runner,
    tree::ByteRange,
};

impl Link<'_, '_, '_, '_> {
    /// Finds the mapped group around each task.
    pub(super) fn mapped_groups(&mut self) {
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

    pub(super) fn maps(&mut self) {
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
}
