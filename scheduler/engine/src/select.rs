//! Which task instances a request is about. The API asks the same functions for a dry run.

use std::collections::BTreeMap;

use dags::ids::TaskId;

use crate::{
    command::{Clear, Refusal, Selection},
    plan::{Plan, TaskIdx},
    state::TaskState,
};

impl Plan {
    /// The tasks that a selection names, each with its map indexes or all of them, in the order of the plan. Names that
    /// the plan doesn't have are left out. What surrounds a task that runs again is needed again: `with_setups` adds its
    /// setups, and what cleans up after them.
    pub(crate) fn chosen(
        &self,
        select: &Selection,
        with_setups: bool,
    ) -> BTreeMap<TaskIdx, Option<Vec<i32>>> {
        let mut chosen: BTreeMap<TaskIdx, Option<Vec<i32>>> = BTreeMap::new();
        for (name, index) in &select.tasks {
            let Some(task) = self.find(name) else { continue };
            match (chosen.entry(task).or_insert_with(|| Some(Vec::new())), index) {
                (Some(list), Some(index)) => list.push(*index),
                (all, _) => *all = None,
            }
        }
        if select.tasks.is_empty() {
            chosen.extend((0..self.tasks.len() as TaskIdx).map(|task| (task, None)));
        }
        let named: Vec<TaskIdx> = chosen.keys().copied().collect();
        let mut more = Vec::new();
        if select.upstream {
            more.extend(self.closure(&named, &self.ups));
        }
        if select.downstream {
            more.extend(self.closure(&named, &self.downs));
        }
        for task in more {
            chosen.entry(task).or_insert(None);
        }
        if with_setups && !select.tasks.is_empty() {
            for task in chosen.keys().copied().collect::<Vec<_>>() {
                for setup in &self.tasks[task as usize].setups {
                    chosen.entry(*setup).or_insert(None);
                    let name = &self.model(*setup).task_id;
                    for (end, model) in self.dag().tasks.iter().enumerate() {
                        if model.teardown_of.contains(name) {
                            chosen.entry(end as TaskIdx).or_insert(None);
                        }
                    }
                }
            }
        }
        chosen
    }

    /// The tasks that clearing a selection is about, by name, each with its map indexes or all of them.
    pub fn select(&self, select: &Selection) -> Result<BTreeMap<TaskId, Option<Vec<i32>>>, Refusal> {
        if let Some((name, _)) = select.tasks.iter().find(|(name, _)| self.find(name).is_none()) {
            return Err(no_task(name));
        }
        let chosen = self.chosen(select, true);
        Ok(chosen.into_iter().map(|(task, indexes)| (self.model(task).task_id.clone(), indexes)).collect())
    }
}

impl Clear {
    /// Whether a selected instance in that state is cleared.
    pub const fn takes(&self, state: TaskState) -> bool {
        // An index that is gone stays gone.
        !matches!(state, TaskState::Removed)
            && (!self.only_failed || matches!(state, TaskState::Failed | TaskState::UpstreamFailed))
            && (!self.only_running || state.holds_slots())
    }
}

pub(crate) fn no_task(name: &TaskId) -> Refusal {
    Refusal::new("task.not_found", format!("the DAG has no task `{name}`"))
}
