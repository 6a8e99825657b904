//! A DAG as a graph: the order of its tasks, and drawings of it for `updraft show`.

mod formats;
mod lanes;
mod text;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

pub use formats::{dot, json, mermaid};
pub use text::text;

use crate::{
    ids::{GroupId, TaskId},
    model::Dag,
};

/// Who comes after whom, by the index of the tasks in [`Dag::tasks`].
#[derive(Debug, Clone)]
pub struct Graph {
    /// The direct upstream tasks of each task.
    pub up: Vec<Vec<usize>>,
    /// The direct downstream tasks of each task.
    pub down: Vec<Vec<usize>>,
}

impl Graph {
    /// The graph of a DAG. Needs that name no task, which a compiled DAG doesn't have, are left out.
    pub fn of(dag: &Dag) -> Self {
        let index: BTreeMap<&TaskId, usize> =
            dag.tasks.iter().enumerate().map(|(n, task)| (&task.task_id, n)).collect();
        let up: Vec<Vec<usize>> = dag
            .tasks
            .iter()
            .map(|task| task.needs.iter().filter_map(|need| index.get(need).copied()).collect())
            .collect();
        let mut down = vec![Vec::new(); up.len()];
        for (task, upstream) in up.iter().enumerate() {
            for before in upstream {
                down[*before].push(task);
            }
        }
        Self { up, down }
    }

    /// The tasks, each after all that it needs. Of several that could come next, one of the group of the last one,
    /// else the deepest: drawings stay narrow that way. Tasks in a ring, which a compiled DAG doesn't have, are left out.
    pub fn order(&self, dag: &Dag) -> Vec<usize> {
        let depths = self.depths();
        let mut waiting: Vec<usize> = self.up.iter().map(Vec::len).collect();
        let mut done = vec![false; waiting.len()];
        let mut ready = BinaryHeap::new();
        let mut of_group: BTreeMap<&GroupId, BinaryHeap<_>> = BTreeMap::new();
        let mut order: Vec<usize> = Vec::with_capacity(waiting.len());
        let add = |task: usize, ready: &mut BinaryHeap<_>, of_group: &mut BTreeMap<_, BinaryHeap<_>>| {
            let key = (depths[task], Reverse(task));
            ready.push(key);
            if let Some(group) = &dag.tasks[task].group {
                of_group.entry(group).or_default().push(key);
            }
        };
        for task in (0..waiting.len()).filter(|task| waiting[*task] == 0) {
            add(task, &mut ready, &mut of_group);
        }
        loop {
            let group = order.last().and_then(|last| dag.tasks[*last].group.as_ref());
            let same_group = group.and_then(|group| of_group.get_mut(group)?.pop());
            let Some((_, Reverse(task))) = same_group.or_else(|| ready.pop()) else { return order };
            // Each task of a group stands in two heaps.
            if std::mem::replace(&mut done[task], true) {
                continue;
            }
            order.push(task);
            for after in &self.down[task] {
                waiting[*after] -= 1;
                if waiting[*after] == 0 {
                    add(*after, &mut ready, &mut of_group);
                }
            }
        }
    }

    /// These tasks and all that come after them.
    pub fn from(&self, tasks: &BTreeSet<usize>) -> BTreeSet<usize> {
        closure(tasks, &self.down)
    }

    /// These tasks and all that come before them.
    pub fn until(&self, tasks: &BTreeSet<usize>) -> BTreeSet<usize> {
        closure(tasks, &self.up)
    }

    /// How many steps each task is away from a start: 0 for tasks that need nothing.
    pub fn depths(&self) -> Vec<usize> {
        let mut waiting: Vec<usize> = self.up.iter().map(Vec::len).collect();
        let mut depths = vec![0; waiting.len()];
        let mut ready: Vec<usize> = (0..waiting.len()).filter(|task| waiting[*task] == 0).collect();
        while let Some(task) = ready.pop() {
            for after in &self.down[task] {
                depths[*after] = depths[*after].max(depths[task] + 1);
                waiting[*after] -= 1;
                if waiting[*after] == 0 {
                    ready.push(*after);
                }
            }
        }
        depths
    }
}

fn closure(tasks: &BTreeSet<usize>, next: &[Vec<usize>]) -> BTreeSet<usize> {
    let (mut found, mut stack) = (tasks.clone(), tasks.iter().copied().collect::<Vec<_>>());
    while let Some(task) = stack.pop() {
        stack.extend(next[task].iter().filter(|next| found.insert(**next)));
    }
    found
}
