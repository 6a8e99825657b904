//! How a run ended: a table and logs for people, one object for programs.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use dags::time::Timestamp;
use engine::state::{RunState, TaskState};
use serde::Serialize;
use serde_json::Value;

use super::{Cut, Ended, Outcome, failed, logs::Log, progress::label};
use crate::terminal::{Tone, count, duration, paint};

/// How many lines of a log are shown; the rest is in a file.
const TAIL_LINES: usize = 20;
/// The longest result that is shown in the table's notes.
const OUTPUT_SHOWN: usize = 60;

#[derive(Serialize)]
struct Report<'a> {
    run_id: &'a str,
    state: &'static str,
    task_instances: Vec<Instance<'a>>,
}

#[derive(Serialize)]
struct Instance<'a> {
    task_id: &'a str,
    map_index: i32,
    state: &'static str,
    try_number: u32,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    output: Option<&'a Value>,
}

/// The run as one JSON object. Ends with a line feed.
pub fn json(outcome: &Outcome) -> String {
    let instance = |ended: &'_ Ended| {
        let row = &ended.row;
        (row.map_index, row.state.as_str(), row.try_number, row.started_at, row.ended_at)
    };
    let report = Report {
        run_id: outcome.run.run_name.as_str(),
        state: outcome.run.state.as_str(),
        task_instances: outcome
            .tasks
            .iter()
            .map(|ended| {
                let (map_index, state, try_number, start, end) = instance(ended);
                let (task_id, output) = (ended.row.task.as_str(), ended.output.as_ref());
                Instance { task_id, map_index, state, try_number, start, end, output }
            })
            .collect(),
    };
    let mut text = serde_json::to_string_pretty(&report).expect("invariant: texts and numbers are JSON");
    text.push('\n');
    text
}

/// The logs that were kept, the table of all task instances, notes, and how the run ended.
pub fn text(outcome: &Outcome, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    show_logs(outcome, colour, out)?;
    table(outcome, colour, out)?;
    for note in &outcome.notes {
        writeln!(out, "{} {note}", paint("note:", Tone::Dim, colour))?;
    }
    let state = outcome.run.state;
    let elapsed = duration(outcome.elapsed);
    let how = match outcome.cut {
        Some(Cut::Interrupted) => paint("interrupted", Tone::Bad, colour),
        Some(Cut::Timeout) => paint("ended by its `--timeout`", Tone::Bad, colour),
        None => paint(state.as_str(), Tone::of_run(state), colour),
    };
    let reason = outcome.run.reason.as_deref().filter(|_| state == RunState::Failed && outcome.cut.is_none());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    writeln!(out, "\n{} {} {how} in {elapsed}{reason}", outcome.run.dag_id, outcome.run.run_name)
}

/// The ends of the logs that were kept; whole ones of those that are longer go to files that stay.
pub fn show_logs(outcome: &Outcome, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut folder: Option<PathBuf> = None;
    for ended in &outcome.tasks {
        let Some(log) = &ended.log else { continue };
        if log.lines.is_empty() && !failed(&ended.row) {
            continue;
        }
        let name = label(ended.row.task.as_str(), ended.row.map_index);
        let what = format!("log of {name}, try {}", ended.row.try_number);
        let shown = log.lines.len().min(TAIL_LINES);
        let hidden = log.lines.len() - shown + log.dropped;
        let more = if hidden > 0 { format!(", last {}", count(shown, "line")) } else { String::new() };
        writeln!(out, "\n{}", paint(&format!("--- {what}{more}"), Tone::Strong, colour))?;
        for line in &log.lines[log.lines.len() - shown..] {
            writeln!(out, "  {line}")?;
        }
        if log.lines.is_empty() {
            let why = ended.row.reason.as_deref().map_or_else(String::new, |why| format!(": {why}"));
            writeln!(out, "  {}", paint(&format!("(it wrote nothing{why})"), Tone::Dim, colour))?;
        }
        if hidden > 0 {
            let path = match &folder {
                Some(folder) => keep(folder, &name, log),
                None => new_folder().and_then(|new| keep(folder.insert(new), &name, log)),
            };
            match path {
                Ok(path) => writeln!(out, "  {} {}", paint("all of it:", Tone::Dim, colour), path.display())?,
                Err(error) => writeln!(out, "  the rest can't be kept: {error}")?,
            }
        }
    }
    Ok(())
}

fn new_folder() -> io::Result<PathBuf> {
    Ok(tempfile::Builder::new().prefix("updraft-logs-").tempdir()?.keep())
}

fn keep(folder: &Path, name: &str, log: &Log) -> io::Result<PathBuf> {
    let path = folder.join(format!("{name}.log"));
    let mut text = match log.dropped {
        0 => String::new(),
        dropped => format!("({} before this aren't kept)\n", count(dropped, "line")),
    };
    for line in &log.lines {
        text.push_str(line);
        text.push('\n');
    }
    fs::write(&path, text)?;
    Ok(path)
}

fn table(outcome: &Outcome, colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let rows: Vec<[String; 5]> = outcome.tasks.iter().map(row).collect();
    let header = ["task", "state", "tries", "duration", ""].map(str::to_owned);
    let width = |column: usize| {
        rows.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |cells: &[String; 5], tone: Option<Tone>| {
        let state = format!("{:<w$}", cells[1], w = widths[1]);
        let state = tone.map_or_else(|| state.clone(), |tone| paint(&state, tone, colour));
        let [w0, _, w2, w3] = widths;
        let text = format!("{:<w0$}  {state}  {:>w2$}  {:>w3$}  {}", cells[0], cells[2], cells[3], cells[4]);
        text.trim_end().to_owned()
    };
    writeln!(out)?;
    writeln!(out, "{}", paint(&line(&header, None), Tone::Dim, colour))?;
    for (ended, cells) in outcome.tasks.iter().zip(&rows) {
        writeln!(out, "{}", line(cells, Some(Tone::of_task(ended.row.state))))?;
    }
    Ok(())
}

fn row(ended: &Ended) -> [String; 5] {
    let row = &ended.row;
    let length = match (row.started_at, row.ended_at) {
        (Some(start), Some(end)) if ended.instead.is_none() => duration(end.since(start).to_std()),
        _ => String::new(),
    };
    let tries = match row.try_number {
        0 => String::new(),
        n => n.to_string(),
    };
    let note = match (ended.instead, row.reason.as_deref(), &ended.output) {
        (Some(instead), Some(reason), _) if reason != instead => format!("{instead}: {reason}"),
        (Some(instead), ..) => instead.to_owned(),
        (None, Some(reason), _) => reason.to_owned(),
        (None, None, Some(output)) if row.state == TaskState::Success => shorten(&format!("= {output}")),
        (None, None, _) => String::new(),
    };
    [label(row.task.as_str(), row.map_index), row.state.to_string(), tries, length, note]
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= OUTPUT_SHOWN {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(OUTPUT_SHOWN - 1).collect();
    short.push('…');
    short
}
