//! What can be wrong with a schedule, said so that its author can mend it.

use crate::time::Span;

/// How far ahead a cron expression is searched for its next day, in years. `0 0 29 2 *` waits eight years around 2100,
/// which is no leap year, and `0 0 * 2 5#5`, a February with five Fridays, up to forty; nothing that fires waits longer.
pub const HORIZON_YEARS: i64 = 41;

/// The shortest distance between the runs of a fixed-period schedule.
pub const PERIOD_MIN: Span = Span::seconds(1);

/// Why a schedule can't be turned into a timetable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// A cron expression can't be read.
    #[error("cron expression `{expression}`: {problem}")]
    Cron {
        /// The expression as its author wrote it.
        expression: String,
        /// What is wrong with it.
        problem: InvalidCron,
    },
    /// No day matches a cron expression.
    #[error(
        "cron expression `{expression}` never fires: no day within {HORIZON_YEARS} years matches its day and month"
    )]
    NeverFires {
        /// The expression as its author wrote it.
        expression: String,
    },
    /// No such time zone.
    #[error("unknown time zone `{name}`{}: use an IANA name such as `Europe/Berlin` or `UTC`",
            suggestion.as_ref().map(|s| format!(" (did you mean `{s}`?)")).unwrap_or_default())]
    UnknownZone {
        /// The name as its author wrote it.
        name: String,
        /// The most similar name that exists, if one is similar.
        suggestion: Option<String>,
    },
    /// A list of cron expressions without an entry.
    #[error("the list of cron expressions is empty: write at least one")]
    NoCron,
    /// A period of zero or of parts of a second.
    #[error("the period {0} is too short: at least {PERIOD_MIN}; for runs back to back write `continuous`")]
    Period(Span),
}

/// The longest cron expression, in bytes; every minute of the hour written out takes 170.
pub const CRON_BYTES_MAX: usize = 1_000;

/// What is wrong with a cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCron {
    /// Too long to be meant.
    #[error("is {0} bytes long; at most {CRON_BYTES_MAX} are allowed")]
    Long(usize),
    /// Too few or too many fields.
    #[error(
        "has {0} fields; expected five (minute, hour, day of month, month, day of week) or a sixth for seconds"
    )]
    Fields(usize),
    /// An unknown nickname.
    #[error(
        "`{0}` is no nickname; known are @hourly, @daily, @midnight, @weekly, @monthly, @quarterly, @yearly and @annually"
    )]
    Nickname(String),
    /// `@once` or `@continuous`, which aren't cron expressions.
    #[error("`@{0}` is a schedule of its own, not a cron expression: write `{0}`")]
    NotCron(&'static str),
    /// A part of a field that means nothing.
    #[error("the {field} `{text}` isn't understood; expected {expected}")]
    Syntax {
        /// The field's name.
        field: &'static str,
        /// The part of the field.
        text: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A number outside of its field.
    #[error("the {field} `{text}` is out of range: {min} to {max}")]
    Range {
        /// The field's name.
        field: &'static str,
        /// The number.
        text: String,
        /// The least number allowed.
        min: u8,
        /// The greatest number allowed.
        max: u8,
    },
    /// A step of zero, or no number.
    #[error("the step `/{text}` of the {field} must be a number from 1 to 255")]
    Step {
        /// The field's name.
        field: &'static str,
        /// The step.
        text: String,
    },
}
