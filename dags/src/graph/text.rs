//! The graph for a terminal.

use super::{Graph, lanes};
use crate::{
    ids::TaskId,
    model::{Dag, Task, TriggerRule},
};

/// With more lanes than this a drawing can't be followed any more.
const LANES_MAX: usize = 24;
/// How many needs a list shows for each task.
const NEEDS_SHOWN: usize = 6;

/// The graph for a terminal: a line for each task in an order in which they can run, with lanes that show who waits for
/// whom, its operator, its group in brackets and what is special about it. Graphs too wide to be followed become a list
/// with the needs of each task.
pub fn text(dag: &Dag) -> String {
    let graph = Graph::of(dag);
    let order = graph.order(dag);
    let drawn = lanes::draw(&graph, &order, LANES_MAX);
    let as_list = drawn.is_none();
    let rows = drawn.unwrap_or_else(|| order.iter().map(|task| (String::new(), Some(*task))).collect());
    let lane_width = rows.iter().map(|(lanes, _)| width(lanes)).max().map_or(0, |width| width + 2);
    let lane_width = if as_list { 0 } else { lane_width };
    let name_width = order.iter().map(|task| width(dag.tasks[*task].task_id.as_str())).max().unwrap_or(0);
    let operator_width = order.iter().map(|task| width(&dag.tasks[*task].operator)).max().unwrap_or(0);
    let mut out = String::new();
    for (lanes, task) in rows {
        let start = out.len();
        pad(&mut out, &lanes, lane_width);
        if let Some(task) = task.map(|task| &dag.tasks[task]) {
            pad(&mut out, task.task_id.as_str(), name_width + 2);
            pad(&mut out, &task.operator, operator_width + 2);
            out.push_str(&notes(task, as_list));
        }
        out.truncate(start + out[start..].trim_end().len());
        out.push('\n');
    }
    out
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn pad(out: &mut String, text: &str, to: usize) {
    out.push_str(text);
    out.extend(std::iter::repeat_n(' ', to.saturating_sub(width(text))));
}

/// What is special about a task.
fn notes(task: &Task, with_needs: bool) -> String {
    let mut notes = Vec::new();
    if let Some(group) = &task.group {
        notes.push(format!("[{group}]"));
    }
    if let Some(map) = &task.map {
        let names: Vec<&str> = map.over.iter().map(|(name, _)| name.as_str()).collect();
        notes.push(format!("map {}", names.join(if map.zip { "+" } else { "×" })));
    }
    if task.gang > 1 {
        notes.push(format!("gang {}", task.gang));
    }
    if task.setup {
        notes.push("setup".to_owned());
    }
    if !task.teardown_of.is_empty() {
        notes.push(format!("teardown of {}", names(&task.teardown_of)));
    } else if task.trigger_rule != TriggerRule::AllSuccess {
        notes.push(task.trigger_rule.to_string());
    }
    if let Some(when) = &task.when {
        let short: String = when.chars().take(40).collect();
        notes.push(format!("when {short}"));
    }
    if with_needs && !task.needs.is_empty() {
        notes.push(format!("<- {}", names(&task.needs)));
    }
    notes.join("  ")
}

fn names(tasks: &[TaskId]) -> String {
    let shown: Vec<&str> = tasks.iter().take(NEEDS_SHOWN).map(TaskId::as_str).collect();
    let more = tasks.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
