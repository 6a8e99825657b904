//! Words in colour, where a person reads them.

use std::time::Duration;

use engine::state::{RunState, TaskState};

/// A colour, by what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Done.
    Good,
    /// Failed.
    Bad,
    /// Left out, or to be tried again.
    Warn,
    /// Of less weight.
    Dim,
    /// Of more weight.
    Strong,
}

impl Tone {
    /// What a task's state says.
    pub fn of_task(state: TaskState) -> Self {
        match state {
            TaskState::Success => Self::Good,
            TaskState::Failed | TaskState::UpstreamFailed => Self::Bad,
            TaskState::Skipped | TaskState::UpForRetry | TaskState::Removed => Self::Warn,
            TaskState::None
            | TaskState::Scheduled
            | TaskState::Queued
            | TaskState::Running
            | TaskState::Restarting
            | TaskState::UpForReschedule
            | TaskState::Deferred
            | TaskState::AwaitingInput => Self::Dim,
        }
    }

    /// What a run's state says.
    pub fn of_run(state: RunState) -> Self {
        match state {
            RunState::Success => Self::Good,
            RunState::Failed => Self::Bad,
            RunState::Queued | RunState::Running => Self::Dim,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warn => "33",
            Self::Dim => "2",
            Self::Strong => "1",
        }
    }
}

/// The text, in that colour if there is to be one.
pub fn paint(text: &str, tone: Tone, colour: bool) -> String {
    if colour { format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code()) } else { text.to_owned() }
}

/// A duration for people: `0.04s`, `12.3s`, `2m05s`.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs_f64();
    if seconds < 9.995 {
        format!("{seconds:.2}s")
    } else if seconds < 59.95 {
        format!("{seconds:.1}s")
    } else {
        let whole = length.as_secs();
        format!("{}m{:02}s", whole / 60, whole % 60)
    }
}

/// `1 error`, `2 errors`.
pub fn count(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let shown = |ms| duration(Duration::from_millis(ms));
        assert_eq!(
            [shown(0), shown(40), shown(9_996), shown(59_960), shown(125_000)],
            ["0.00s", "0.04s", "10.0s", "0m59s", "2m05s"]
        );
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        assert_eq!(paint("ok", Tone::Good, false), "ok");
        assert_eq!(paint("ok", Tone::Good, true), "\u{1b}[32mok\u{1b}[0m");
    }
}
