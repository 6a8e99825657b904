//! The list of runs for programs.

use dags::{time::Timestamp, timetable::Planned};
use serde::Serialize;

#[derive(Serialize)]
struct Row {
    logical_date: Option<Timestamp>,
    data_interval_start: Option<Timestamp>,
    data_interval_end: Option<Timestamp>,
    run_after: Timestamp,
}

/// A JSON array with an object per run: `logical_date`, `data_interval_start`, `data_interval_end` and `run_after`,
/// RFC 3339 in UTC; null where a run has none. Ends with a line feed.
pub fn render_json(runs: &[Planned]) -> String {
    let rows: Vec<Row> = runs
        .iter()
        .map(|run| Row {
            logical_date: run.logical_date,
            data_interval_start: run.interval.map(|interval| interval.start),
            data_interval_end: run.interval.map(|interval| interval.end),
            run_after: run.run_after,
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&rows).expect("invariant: texts and nulls are always JSON");
    text.push('\n');
    text
}
