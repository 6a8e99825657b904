//! Draws a graph as lanes from top to bottom, one line for each task, in the manner of version control logs.
//!
//! A lane stands for a task that is still to come; all edges to that task share it. Columns never move, a free one is
//! used again.

use super::Graph;

/// Lines of a drawing: the lanes and, for lines that show a task, which one.
pub(super) type Rows = Vec<(String, Option<usize>)>;

/// The drawing; nothing if it would need more than `width_max` lanes.
pub(super) fn draw(graph: &Graph, order: &[usize], width_max: usize) -> Option<Rows> {
    let mut place = vec![0; graph.up.len()];
    for (n, task) in order.iter().enumerate() {
        place[*task] = n;
    }
    let mut lanes: Vec<Option<usize>> = Vec::new();
    let mut rows = Rows::new();
    for task in order {
        let column = lanes.iter().position(|lane| *lane == Some(*task)).unwrap_or_else(|| free(&mut lanes));
        lanes[column] = Some(*task);
        let cell = |(n, lane): (usize, &Option<usize>)| match lane {
            Some(_) if n == column => "●",
            Some(_) => "│",
            None => " ",
        };
        let node: Vec<&str> = lanes.iter().enumerate().map(cell).collect();
        rows.push((node.join(" ").trim_end().to_owned(), Some(*task)));

        let before: Vec<bool> = lanes.iter().map(Option::is_some).collect();
        lanes[column] = None;
        let mut targets = graph.down[*task].clone();
        targets.sort_by_key(|target| place[*target]);
        let mut ends = Vec::new();
        for target in targets {
            let known = lanes.iter().position(|lane| *lane == Some(target));
            let end = known.unwrap_or_else(|| {
                let end = if lanes[column].is_none() { column } else { free(&mut lanes) };
                lanes[end] = Some(target);
                end
            });
            ends.push(end);
            if lanes.len() > width_max {
                return None;
            }
        }
        if ends.iter().any(|end| *end != column) {
            rows.push((connect(column, &ends, &before, &lanes), None));
        }
    }
    Some(rows)
}

fn free(lanes: &mut Vec<Option<usize>>) -> usize {
    lanes.iter().position(Option::is_none).unwrap_or_else(|| {
        lanes.push(None);
        lanes.len() - 1
    })
}

/// The line beneath a task: from its column to the lanes of its downstream tasks.
fn connect(from: usize, ends: &[usize], before: &[bool], lanes: &[Option<usize>]) -> String {
    let left = ends.iter().copied().chain([from]).min().unwrap_or(from);
    let right = ends.iter().copied().chain([from]).max().unwrap_or(from);
    let mut line = String::new();
    for (column, lane) in lanes.iter().enumerate() {
        let up = before.get(column).copied().unwrap_or(false);
        let down = lane.is_some();
        let (to_left, to_right) = (column > left && column <= right, column < right && column >= left);
        let cell = if column == from || ends.contains(&column) {
            corner((up, down), (to_left, to_right))
        } else if up && down {
            // The line passes beneath a lane that has nothing to do with it.
            "│"
        } else if to_left && to_right {
            "─"
        } else {
            " "
        };
        line.push_str(cell);
        line.push_str(if to_right { "─" } else { " " });
    }
    line.trim_end().to_owned()
}

/// The character that joins (up, down) with (left, right).
fn corner((up, down): (bool, bool), (left, right): (bool, bool)) -> &'static str {
    match (up, down, left, right) {
        (true, true, true, true) => "┼",
        (true, true, true, false) => "┤",
        (true, true, false, true) => "├",
        (true, false, true, true) => "┴",
        (true, false, true, false) => "╯",
        (true, false, false, true) => "╰",
        (false, true, true, true) => "┬",
        (false, true, true, false) => "╮",
        (false, true, false, true) => "╭",
        (true, _, false, false) | (false, true, false, false) => "│",
        (false, false, false, false) => " ",
        (false, false, _, _) => "─",
    }
}
