//! Branches: every task that one chooses is directly downstream, and every such task can be chosen.

use std::collections::BTreeSet;

use super::Link;
use crate::diagnostic::{Draft, code};

impl Link<'_, '_, '_, '_> {
    pub(super) fn branches(&mut self) {
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
}
