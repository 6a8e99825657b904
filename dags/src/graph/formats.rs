//! The graph for other programs: Graphviz, Mermaid, JSON.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use super::Graph;
use crate::{
    ids::GroupId,
    model::{Dag, Task},
};

/// Groups by parent and tasks by group.
struct Nested<'d> {
    groups: BTreeMap<Option<&'d GroupId>, Vec<&'d GroupId>>,
    tasks: BTreeMap<Option<&'d GroupId>, Vec<usize>>,
}

/// How a format writes groups and tasks.
struct Style<'s> {
    open: &'s dyn Fn(&GroupId) -> String,
    task: &'s dyn Fn(usize) -> String,
    close: &'s str,
}

enum Step<'d> {
    Enter(&'d GroupId, usize),
    Leave(usize),
}

impl<'d> Nested<'d> {
    fn of(dag: &'d Dag) -> Self {
        let mut nested = Self { groups: BTreeMap::new(), tasks: BTreeMap::new() };
        for group in &dag.groups {
            nested.groups.entry(group.parent.as_ref()).or_default().push(&group.group_id);
        }
        for (n, task) in dag.tasks.iter().enumerate() {
            nested.tasks.entry(task.group.as_ref()).or_default().push(n);
        }
        nested
    }

    fn inside(&self, group: Option<&'d GroupId>, depth: usize) -> Vec<Step<'d>> {
        let groups = self.groups.get(&group).into_iter().flatten();
        groups.rev().map(|group| Step::Enter(group, depth)).collect()
    }

    fn tasks(&self, out: &mut String, group: Option<&GroupId>, depth: usize, style: &Style<'_>) {
        for n in self.tasks.get(&group).into_iter().flatten() {
            line(out, depth, &(style.task)(*n));
        }
    }

    /// Walks groups from outside to inside, without recursion.
    fn write(&self, out: &mut String, style: &Style<'_>) {
        self.tasks(out, None, 1, style);
        let mut steps = self.inside(None, 1);
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter(group, depth) => {
                    line(out, depth, &(style.open)(group));
                    self.tasks(out, Some(group), depth + 1, style);
                    steps.push(Step::Leave(depth));
                    steps.extend(self.inside(Some(group), depth + 1));
                }
                Step::Leave(depth) => line(out, depth, style.close),
            }
        }
    }
}

fn line(out: &mut String, depth: usize, text: &str) {
    out.extend(std::iter::repeat_n("  ", depth));
    out.push_str(text);
    out.push('\n');
}

fn label(task: &Task) -> String {
    let mapped = if task.map.is_some() { " []" } else { "" };
    format!("{}{mapped}", task.task_id)
}

/// The graph in Graphviz' language; groups are clusters.
pub fn dot(dag: &Dag) -> String {
    // Names have no quotes and no backslashes by their grammar.
    let mut out =
        format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box, style=rounded];\n", dag.dag_id);
    let open = |group: &GroupId| format!("subgraph \"cluster_{group}\" {{ label=\"{group}\";");
    let task = |n: usize| format!("\"{}\" [label=\"{}\"];", dag.tasks[n].task_id, label(&dag.tasks[n]));
    Nested::of(dag).write(&mut out, &Style { open: &open, task: &task, close: "}" });
    for task in &dag.tasks {
        for need in &task.needs {
            let style = if task.teardown_of.contains(need) { " [style=dashed]" } else { "" };
            line(&mut out, 1, &format!("\"{need}\" -> \"{}\"{style};", task.task_id));
        }
    }
    out.push_str("}\n");
    out
}

/// The graph in Mermaid's language, for Markdown; groups are subgraphs.
pub fn mermaid(dag: &Dag) -> String {
    let graph = Graph::of(dag);
    let mut out = "flowchart LR\n".to_owned();
    let open = |group: &GroupId| format!("subgraph g_{}[\"{group}\"]", identifier(group.as_str()));
    let task = |n: usize| format!("t{n}[\"{}\"]", label(&dag.tasks[n]));
    Nested::of(dag).write(&mut out, &Style { open: &open, task: &task, close: "end" });
    for (n, upstream) in graph.up.iter().enumerate() {
        for before in upstream {
            let teardown = dag.tasks[n].teardown_of.contains(&dag.tasks[*before].task_id);
            line(&mut out, 1, &format!("t{before} {} t{n}", if teardown { "-.->" } else { "-->" }));
        }
    }
    out
}

/// A name as an identifier: other characters become their code.
fn identifier(name: &str) -> String {
    name.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else {
            let _ = write!(out, "_{:x}_", c as u32);
        }
        out
    })
}

/// The graph as JSON: `nodes`, `edges`, `groups`, and `order`, the tasks in an order in which they can run.
pub fn json(dag: &Dag) -> Value {
    let graph = Graph::of(dag);
    let node = |(task, depth): (&Task, usize)| {
        json!({
            "id": task.task_id,
            "operator": task.operator,
            "group": task.group,
            "mapped": task.map.is_some(),
            "setup": task.setup,
            "teardown": !task.teardown_of.is_empty(),
            "trigger_rule": task.trigger_rule,
            "depth": depth,
        })
    };
    let nodes: Vec<Value> = dag.tasks.iter().zip(graph.depths()).map(node).collect();
    let edge = |task: &Task| -> Vec<Value> {
        task.needs.iter().map(|need| json!({"source": need, "target": task.task_id})).collect()
    };
    let edges: Vec<Value> = dag.tasks.iter().flat_map(edge).collect();
    let groups: Vec<Value> = dag
        .groups
        .iter()
        .map(|group| json!({"id": group.group_id, "parent": group.parent, "mapped": group.map.is_some()}))
        .collect();
    let order: Vec<_> = graph.order(dag).into_iter().map(|n| &dag.tasks[n].task_id).collect();
    json!({"dag_id": dag.dag_id, "nodes": nodes, "edges": edges, "groups": groups, "order": order})
}
