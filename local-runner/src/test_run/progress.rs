//! A line for whatever happens while it happens.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use dags::{ids::AlertId, time::Timestamp};
use engine::{
    rows::{AlertRow, EventRow},
    state::TaskState,
};
use scheduler::facts::SharedJournal;

use crate::terminal::{Tone, duration, paint};

/// Prints what is new in a journal.
#[derive(Debug)]
pub(super) struct Progress {
    /// When the run began, by the engine's clock.
    start: Timestamp,
    /// How many rows of the history were shown.
    seen: usize,
    /// Alerts that were shown.
    told: BTreeSet<AlertId>,
    colour: bool,
    /// The width of the longest name.
    width: usize,
}

/// The state of a waiting retry is worth a line, that of a task which waits for its turn isn't.
pub(crate) fn shown(state: TaskState) -> bool {
    match state {
        TaskState::Running
        | TaskState::UpForRetry
        | TaskState::UpForReschedule
        | TaskState::Success
        | TaskState::Failed
        | TaskState::Skipped
        | TaskState::UpstreamFailed
        | TaskState::Removed => true,
        TaskState::None
        | TaskState::Scheduled
        | TaskState::Queued
        | TaskState::Restarting
        | TaskState::Deferred
        | TaskState::AwaitingInput => false,
    }
}

impl Progress {
    pub(super) fn new(start: Timestamp, width: usize, colour: bool) -> Self {
        Self { start, seen: 0, told: BTreeSet::new(), colour, width }
    }

    /// Shows what happened since the last time.
    pub(super) fn show(&mut self, journal: &SharedJournal, out: &mut dyn Write) -> io::Result<()> {
        let new: Vec<EventRow> = {
            let journal = journal.lock();
            journal.events[self.seen..].to_vec()
        };
        self.seen += new.len();
        for transition in new.iter().flat_map(|row| &row.transitions) {
            let Some((task, index)) = &transition.task else { continue };
            let Some(state) = TaskState::parse(&transition.to).filter(|state| shown(*state)) else {
                continue;
            };
            let name = label(task.as_str(), *index);
            let at = duration(transition.at.since(self.start).to_std());
            let state_text = paint(&format!("{:<15}", state.as_str()), Tone::of_task(state), self.colour);
            let attempt = if transition.try_number > 1 {
                format!("try {}", transition.try_number)
            } else {
                String::new()
            };
            let reason = transition.reason.as_deref().unwrap_or_default();
            let rest = [attempt.as_str(), reason]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(": ");
            let line = format!("{at:>8}  {name:<width$}  {state_text} {rest}", width = self.width);
            writeln!(out, "{}", line.trim_end())?;
        }
        self.show_alerts(journal, out)?;
        out.flush()
    }

    /// Says who would hear of what.
    fn show_alerts(&mut self, journal: &SharedJournal, out: &mut dyn Write) -> io::Result<()> {
        let mut new: Vec<AlertRow> = {
            let journal = journal.lock();
            journal.alerts.values().filter(|alert| !self.told.contains(&alert.id)).cloned().collect()
        };
        new.sort_by_key(|alert| (alert.at, alert.id));
        for alert in new {
            let at = duration(alert.at.since(self.start).to_std());
            let subject = match &alert.task {
                Some((task, index, _)) => label(task.as_str(), *index),
                None => "the run".to_owned(),
            };
            let what = format!("{} of {subject}", alert.what.as_str());
            let reason = alert.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let line =
                format!("{at:>8}  notify `{}` of the {what}{reason} (not sent in a test)", alert.route);
            writeln!(out, "{}", paint(&line, Tone::Dim, self.colour))?;
            self.told.insert(alert.id);
        }
        Ok(())
    }
}

/// A task instance's name: `load`, `load[3]`.
pub(crate) fn label(task: &str, index: i32) -> String {
    if index < 0 { task.to_owned() } else { format!("{task}[{index}]") }
}
