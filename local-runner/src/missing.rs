//! Variables and connections that tasks name and nobody has given.

use std::collections::{BTreeMap, BTreeSet};

use dags::{ids::TaskId, model::Task};
use plugins::needs;

use crate::terminal::count;

/// What a run would lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What, and whose: "the variable `day`, which `load` names".
    pub what: String,
    /// The options that give it.
    pub options: String,
}

/// What these tasks name beyond these variables and connections. `read` gives the text of a file of their folder.
pub fn of<'t>(
    tasks: impl IntoIterator<Item = &'t Task>,
    read: impl Fn(&str) -> Option<String>,
    variables: &BTreeSet<&str>,
    connections: &BTreeSet<&str>,
) -> Option<Missing> {
    let mut missing: BTreeMap<(bool, String), Vec<&TaskId>> = BTreeMap::new();
    for task in tasks {
        // A template that can't be read is reported by the attempt.
        let Ok(needs) = needs::of(task, &read) else { continue };
        for name in needs.connections.iter().filter(|name| !connections.contains(name.as_str())) {
            missing.entry((true, name.clone())).or_default().push(&task.task_id);
        }
        for name in needs.variables.iter().filter(|name| !variables.contains(name.as_str())) {
            missing.entry((false, name.clone())).or_default().push(&task.task_id);
        }
    }
    if missing.is_empty() {
        return None;
    }
    let (mut what, mut options) = (Vec::new(), Vec::new());
    for ((connection, name), tasks) in &missing {
        let (kind, option) = if *connection {
            ("connection", format!("`--conn {name}=URL`"))
        } else {
            ("variable", format!("`--var {name}=VALUE`"))
        };
        let shown: Vec<String> = tasks.iter().take(3).map(|task| format!("`{task}`")).collect();
        let more = tasks.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(" and {}", count(more, "more task")) } else { String::new() };
        let names = if tasks.len() == 1 { "names" } else { "name" };
        what.push(format!("the {kind} `{name}`, which {}{more} {names}", shown.join(", ")));
        options.push(option);
    }
    Some(Missing { what: what.join("; "), options: options.join(" ") })
}
