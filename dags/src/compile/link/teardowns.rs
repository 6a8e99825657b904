//! Teardowns and their setups.

use super::Link;
use crate::diagnostic::{Draft, code};

impl Link<'_, '_, '_, '_> {
    pub(super) fn teardowns(&mut self) {
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
}
