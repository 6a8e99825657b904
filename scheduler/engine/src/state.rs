//! The states of runs and task instances, under Airflow's names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }
        impl $name {
            /// Every state.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The name under which the state is stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            /// The state of that name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}

states!(
    /// The state of a task instance.
    TaskState {
        /// Not decided yet.
        None = "none",
        /// Its dependencies are met; it waits for admission and holds nothing.
        Scheduled = "scheduled",
        /// Admitted: it holds its slots until the executor has confirmed the end.
        Queued = "queued",
        /// An executor runs it.
        Running = "running",
        /// It was cleared while it ran; its present attempt is being ended.
        Restarting = "restarting",
        /// An attempt failed; the next waits for its time.
        UpForRetry = "up_for_retry",
        /// A sensor asked to be called again; the same try goes on.
        UpForReschedule = "up_for_reschedule",
        /// It waits for a trigger and holds no slot.
        Deferred = "deferred",
        /// It waits for a person's answer.
        AwaitingInput = "awaiting_input",
        /// It did what it should.
        Success = "success",
        /// Its last attempt failed.
        Failed = "failed",
        /// It was left out.
        Skipped = "skipped",
        /// It couldn't run because something upstream failed.
        UpstreamFailed = "upstream_failed",
        /// The task or its map index no longer exists.
        Removed = "removed",
    }
);

states!(
    /// The state of a run.
    RunState {
        /// It waits for its turn under the DAG's limit on active runs.
        Queued = "queued",
        /// Its tasks run.
        Running = "running",
        /// Every leaf ended well.
        Success = "success",
        /// A leaf failed, or the run was ended.
        Failed = "failed",
    }
);

impl TaskState {
    /// Whether nothing further happens by itself.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Skipped | Self::UpstreamFailed | Self::Removed)
    }
    /// Whether it holds pool slots and a place on an executor.
    pub const fn holds_slots(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Restarting)
    }
    /// Whether it counts against the limits on a task's own active instances.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Restarting | Self::Deferred | Self::AwaitingInput)
    }
}

impl RunState {
    /// Whether the run is over.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for state in TaskState::ALL {
            assert_eq!(TaskState::parse(state.as_str()), Some(*state));
        }
        for state in RunState::ALL {
            assert_eq!(RunState::parse(state.as_str()), Some(*state));
        }
        assert_eq!(TaskState::parse("gone"), None);
    }
}
