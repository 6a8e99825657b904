//! The state of a session as lines that fill a terminal.

use std::collections::VecDeque;

use dags::{ids::DagId, time::Timestamp};
use engine::state::TaskState;

use super::run::{Instance, Run};
use crate::terminal::{Tone, count, duration, paint};

/// Lines of the log that are kept for the screen.
const LOG_LINES_MAX: usize = 1_000;
/// Lines that the log has at least, if it is shown.
const LOG_LINES_MIN: usize = 6;
/// What the keys do.
const KEYS: &str = "r run   c run without reuse   n next DAG   l log   o console   q quit";

/// What there is to see.
#[derive(Debug, Default)]
pub struct View {
    /// The folder.
    pub folder: String,
    /// Where the console is.
    pub console: String,
    /// The DAGs, and whether their files are broken.
    pub dags: Vec<(DagId, bool)>,
    /// The DAG that keys are about.
    pub chosen: Option<DagId>,
    /// What is wrong with files, drawn.
    pub problems: String,
    /// The run that is shown.
    pub run: Option<Run>,
    /// What tasks wrote and what is to be told.
    pub log: VecDeque<String>,
    /// Whether the log isn't shown.
    pub log_hidden: bool,
}

impl View {
    /// Adds a line to the log.
    pub fn push(&mut self, line: String) {
        if self.log.len() >= LOG_LINES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    /// The screen: as many lines as it has, none wider.
    pub fn frame(&self, now: Timestamp, width: usize, height: usize, colour: bool) -> Vec<String> {
        let mut top = vec![self.title(colour), String::new()];
        top.extend(self.problems.trim_end().lines().map(str::to_owned));
        if !self.problems.is_empty() {
            top.push(String::new());
        }
        match &self.run {
            Some(run) => top.extend(tree(run, now, colour)),
            None => top.push(self.nothing()),
        }
        let room = height.saturating_sub(1);
        let log_room =
            if self.log_hidden { 0 } else { room.saturating_sub(top.len() + 1).max(LOG_LINES_MIN) };
        let top_room = room.saturating_sub(if log_room > 0 { log_room + 1 } else { 0 });
        if top.len() > top_room {
            let more = top.len() + 1 - top_room.max(1);
            top.truncate(top_room.saturating_sub(1));
            top.push(paint(&format!("... and {}", count(more, "more line")), Tone::Dim, colour));
        }
        if log_room > 0 {
            top.push(String::new());
            top.extend(self.log.iter().skip(self.log.len().saturating_sub(log_room)).cloned());
        }
        top.resize(height.saturating_sub(1), String::new());
        top.push(paint(KEYS, Tone::Dim, colour));
        top.into_iter().map(|line| fit(&line, width)).collect()
    }

    fn title(&self, colour: bool) -> String {
        let broken = self.dags.iter().filter(|(_, broken)| *broken).count();
        let broken = if broken > 0 { format!(", {broken} broken") } else { String::new() };
        let dags = format!("{}{broken}", count(self.dags.len(), "DAG"));
        let name = paint(&self.folder, Tone::Strong, colour);
        format!("{name}  {dags}  {}", paint(&self.console, Tone::Dim, colour))
    }

    fn nothing(&self) -> String {
        match &self.chosen {
            Some(dag) => {
                format!("`{dag}` hasn't run yet: `r` runs it, and from then on each save that changes it")
            }
            None => "there is no DAG in this folder yet".to_owned(),
        }
    }
}

fn tree(run: &Run, now: Timestamp, colour: bool) -> Vec<String> {
    let state = paint(run.state.as_str(), Tone::of_run(run.state), colour);
    let unchanged = match run.unchanged() {
        0 => String::new(),
        n => format!(", {} unchanged", count(n, "task")),
    };
    let name = paint(run.dag.as_str(), Tone::Strong, colour);
    let mut lines = vec![format!("{name} {} {state} {}{unchanged}", run.name, duration(run.length(now)))];
    let name_of = |instance: &Instance| format!("{}{}", "  ".repeat(instance.depth.min(12)), instance.label);
    let width = run.instances.iter().map(|instance| name_of(instance).chars().count()).max().unwrap_or(0);
    for instance in &run.instances {
        let state = instance.row.state;
        let text = format!("{} {:<width$}", mark(state), name_of(instance));
        let length = instance.length(now).map(duration).unwrap_or_default();
        let word = paint(&format!("{:<15}", state.as_str()), Tone::of_task(state), colour);
        let note = paint(&instance.note(), Tone::Dim, colour);
        lines.push(format!("  {text}  {word} {length:>8}  {note}"));
    }
    lines
}

fn mark(state: TaskState) -> char {
    match state {
        TaskState::Success => '✓',
        TaskState::Failed | TaskState::UpstreamFailed => '✗',
        TaskState::Skipped | TaskState::Removed => '-',
        TaskState::Running | TaskState::Restarting => '▶',
        TaskState::UpForRetry
        | TaskState::UpForReschedule
        | TaskState::Deferred
        | TaskState::AwaitingInput => '…',
        TaskState::None | TaskState::Scheduled | TaskState::Queued => '·',
    }
}

/// As much of a line as fits. Colours take no room and are ended; whatever else would move the cursor is left out.
fn fit(line: &str, width: usize) -> String {
    let (mut fitted, mut room, mut coloured) = (String::new(), width, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            let sequence: String = chars.by_ref().take_while(|c| *c != 'm').collect();
            let is_colour = sequence
                .strip_prefix('[')
                .is_some_and(|numbers| numbers.chars().all(|c| c.is_ascii_digit() || c == ';'));
            if is_colour {
                coloured = true;
                fitted.push_str(&format!("\u{1b}{sequence}m"));
            }
        } else if room == 0 {
            break;
        } else {
            room -= 1;
            fitted.push(if c.is_control() { ' ' } else { c });
        }
    }
    if coloured {
        fitted.push_str("\u{1b}[0m");
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_the_terminal_ends() {
        assert_eq!(fit("abcdef", 4), "abcd");
        assert_eq!(fit("\u{1b}[32mabcdef\u{1b}[0m", 4), "\u{1b}[32mabcd\u{1b}[0m");
        assert_eq!(fit("a\tb", 4), "a b");
        assert_eq!(fit("a\u{1b}[2Jbm!", 4), "a!", "what isn't a colour would draw elsewhere");
    }

    #[test]
    fn a_frame_fills_the_screen_and_no_more() {
        let mut view = View { folder: "dags".to_owned(), ..View::default() };
        for n in 0..2_000 {
            view.push(format!("line {n}"));
        }
        for height in [3, 10, 40] {
            let frame = view.frame(Timestamp(0), 20, height, false);
            assert_eq!(frame.len(), height);
            assert!(frame.iter().all(|line| line.chars().count() <= 20), "{frame:?}");
        }
        let frame = view.frame(Timestamp(0), 80, 40, false);
        assert_eq!(frame[38], "line 1999");
        assert!(frame[39].starts_with("r run"));
        view.problems = "problem\n".repeat(100);
        let frame = view.frame(Timestamp(0), 80, 20, false);
        assert!(frame.iter().any(|line| line.contains("more lines")), "{frame:?}");
        assert!(frame.iter().any(|line| line == "line 1999"), "the log keeps some room: {frame:?}");
    }
}
