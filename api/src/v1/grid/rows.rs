//! The rows of a grid: groups and tasks in the order in which they run, each group before what is in it.

use std::collections::{BTreeMap, BTreeSet};

use dags::{ids::TaskId, model::Dag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The task or group.
    pub id: String,
    /// What it is.
    pub kind: RowKind,
    /// The group that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// How many groups it is in.
    pub depth: u32,
    /// Direct upstream tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// The operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The trigger rule, unless it is the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Whether only older versions have it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// A task.
    Task,
    /// A task that is repeated.
    Mapped,
    /// A group.
    Group,
}

/// The rows of a DAG, with tasks at the end that it no longer has.
pub(super) fn of(model: &Dag, gone: &BTreeSet<&TaskId>) -> Vec<Row> {
    let places = Places::of(model);
    let mut rows = Vec::with_capacity(model.tasks.len() + model.groups.len() + gone.len());
    places.add(None, 0, &mut rows);
    rows.extend(gone.iter().map(|task| Row {
        id: task.to_string(),
        kind: RowKind::Task,
        parent: None,
        depth: 0,
        needs: Vec::new(),
        operator: None,
        rule: None,
        gone: true,
    }));
    rows
}

struct Places<'a> {
    model: &'a Dag,
    /// What is directly in a group, or in none, by the place of its first task.
    inside: BTreeMap<Option<&'a str>, Vec<(usize, Member<'a>)>>,
}

#[derive(Clone, Copy)]
enum Member<'a> {
    Task(usize),
    Group(&'a str),
}

impl<'a> Places<'a> {
    fn of(model: &'a Dag) -> Self {
        let place = order(model);
        let parents: BTreeMap<&str, Option<&str>> = model
            .groups
            .iter()
            .map(|group| (group.group_id.as_str(), group.parent.as_ref().map(dags::ids::GroupId::as_str)))
            .collect();
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        let mut inside: BTreeMap<Option<&str>, Vec<(usize, Member<'a>)>> = BTreeMap::new();
        for (index, task) in model.tasks.iter().enumerate() {
            let mut group = task.group.as_ref().map(dags::ids::GroupId::as_str);
            inside.entry(group).or_default().push((place[index], Member::Task(index)));
            while let Some(name) = group {
                let known = first.entry(name).or_insert(usize::MAX);
                *known = (*known).min(place[index]);
                group = parents.get(name).copied().flatten();
            }
        }
        for (name, parent) in &parents {
            let place = first.get(name).copied().unwrap_or(usize::MAX);
            inside.entry(*parent).or_default().push((place, Member::Group(name)));
        }
        for members in inside.values_mut() {
            members.sort_by_key(|(place, _)| *place);
        }
        Self { model, inside }
    }

    fn add(&self, group: Option<&str>, depth: u32, rows: &mut Vec<Row>) {
        for (_, member) in self.inside.get(&group).into_iter().flatten() {
            match member {
                Member::Task(index) => rows.push(self.task(*index, group, depth)),
                Member::Group(name) => {
                    rows.push(Row {
                        id: (*name).to_owned(),
                        kind: RowKind::Group,
                        parent: group.map(str::to_owned),
                        depth,
                        needs: Vec::new(),
                        operator: None,
                        rule: None,
                        gone: false,
                    });
                    self.add(Some(name), depth + 1, rows);
                }
            }
        }
    }

    fn task(&self, index: usize, group: Option<&str>, depth: u32) -> Row {
        let task = &self.model.tasks[index];
        let rule = Some(task.trigger_rule).filter(|rule| *rule != dags::model::TriggerRule::default());
        let groups = self.model.groups.iter();
        let in_mapped_group = task
            .group
            .as_ref()
            .is_some_and(|own| groups.clone().any(|group| group.group_id == *own && group.map.is_some()));
        Row {
            id: task.task_id.to_string(),
            kind: if task.map.is_some() || in_mapped_group { RowKind::Mapped } else { RowKind::Task },
            parent: group.map(str::to_owned),
            depth,
            needs: task.needs.iter().map(ToString::to_string).collect(),
            operator: Some(task.operator.clone()),
            rule: rule.map(|rule| rule.as_str().to_owned()),
            gone: false,
        }
    }
}

/// The place of each task in an order in which upstreams come first, ties by name.
fn order(model: &Dag) -> Vec<usize> {
    let index: BTreeMap<&TaskId, usize> =
        model.tasks.iter().enumerate().map(|(index, task)| (&task.task_id, index)).collect();
    let mut open: Vec<usize> = model.tasks.iter().map(|task| task.needs.len()).collect();
    let mut downstream: Vec<Vec<usize>> = vec![Vec::new(); model.tasks.len()];
    for (below, task) in model.tasks.iter().enumerate() {
        for above in task.needs.iter().filter_map(|needed| index.get(needed)) {
            downstream[*above].push(below);
        }
    }
    // Depth first from each source, so that a chain stays together.
    let mut ready: Vec<usize> = (0..model.tasks.len()).rev().filter(|task| open[*task] == 0).collect();
    let mut place = vec![usize::MAX; model.tasks.len()];
    let mut next = 0;
    while let Some(task) = ready.pop() {
        place[task] = next;
        next += 1;
        for below in downstream[task].iter().rev() {
            open[*below] -= 1;
            if open[*below] == 0 {
                ready.push(*below);
            }
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use dags::{
        compile::{self, NoFiles},
        diagnostic::Source,
    };

    use super::*;

    fn shown(text: &str, gone: &[&str]) -> Vec<String> {
        let compiled = compile::compile(&Source::new("d.yaml", text), &plugins::catalog(), &NoFiles);
        assert!(!compiled.has_errors(), "{:?}", compiled.diagnostics);
        let gone: Vec<TaskId> = gone.iter().map(|task| TaskId::parse(task).unwrap()).collect();
        let rows = of(&compiled.dags[0], &gone.iter().collect());
        rows.iter().map(|row| format!("{}{}", " ".repeat(row.depth as usize), row.id)).collect()
    }

    #[test]
    fn rows_follow_the_order_of_work_and_groups_stay_together() {
        let text = "
dag: d
tasks:
  zero: { bash: 'true' }
  after: { needs: [b, lone], bash: 'true' }
  lone: { needs: zero, bash: 'true' }
  b: { needs: a, bash: 'true' }
  a: { needs: zero, bash: 'true' }
groups:
  g: { tasks: [a, b] }
";
        assert_eq!(shown(text, &["old"]), ["zero", "g", " a", " b", "lone", "after", "old"]);
    }
}
