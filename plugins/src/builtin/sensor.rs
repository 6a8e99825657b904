//! What all sensors share: how often they look, how long they wait, how they hold or give back their slot.

use std::time::Duration;

use dags::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    clock,
    operator::{Failure, Finished, Job, Outcome, Step},
};

/// How a sensor waits between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// Give the slot back and be started again: the right choice but for intervals of a few seconds.
    #[default]
    Reschedule,
    /// Stay, holding the slot.
    Poke,
}

pub(crate) const fn week() -> Span {
    Span::seconds(7 * 86_400)
}

pub(crate) const fn minute() -> Span {
    Span::seconds(60)
}

/// How a sensor waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) mode: Mode,
    pub(crate) interval: Span,
    pub(crate) timeout: Span,
    pub(crate) soft_fail: bool,
}

/// What one look found.
pub(crate) enum Look {
    /// It is there; this is the sensor's result.
    There(Option<Value>),
    /// Not yet; the text says what was found instead.
    NotYet(String),
    /// Waiting longer is pointless.
    Never(String),
}

impl Wait {
    /// Looks until it is there or the time is over; in [`Mode::Reschedule`] once.
    ///
    /// The timeout counts from the first start of this try, over all reschedules. It fails for good: a retry would
    /// only wait as long again.
    pub(crate) fn run(
        &self,
        job: &Job<'_>,
        mut look: impl FnMut() -> Result<Look, Failure>,
    ) -> Result<Step, Failure> {
        let (started, before) = (clock::now(), job.ctx.task.waited.to_std());
        let interval = self.interval.to_std().max(Duration::from_millis(10));
        loop {
            let found = match look()? {
                Look::There(result) => return Ok(Step::Done(Finished::success(result))),
                Look::Never(reason) => return Ok(Step::Done(Finished::failed_for_good(reason))),
                Look::NotYet(found) => found,
            };
            crate::log(&format!("not yet: {found}"));
            let left = self.timeout.to_std().saturating_sub(before + started.elapsed());
            if left.is_zero() {
                let reason = format!("gave up after {}: {found}", self.timeout);
                let outcome = if self.soft_fail {
                    Outcome::Skipped { reason }
                } else {
                    Outcome::FailedForGood { reason }
                };
                return Ok(Step::Done(Finished { outcome, result: None }));
            }
            let pause = interval.min(left);
            match self.mode {
                Mode::Poke => std::thread::sleep(pause),
                Mode::Reschedule => {
                    let after = Span(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX));
                    return Ok(Step::Done(Finished { outcome: Outcome::Reschedule { after }, result: None }));
                }
            }
        }
    }
}
