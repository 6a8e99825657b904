//! Operators that start nothing: those of the engine, and `fail` and `sleep` for trying things out.

use dags::{model::Runner, time::Span};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Operator;
use crate::{
    flow::{Branch, Empty, ShortCircuit, TaskSensor, TimeSensor, TriggerDag},
    human::{Approval, HumanInput},
    operator::{Failure, Finished, Job, Step},
    schema,
};

macro_rules! of_the_engine {
    ($operator:ty, $name:literal, main: $main:expr, templated: $templated:expr) => {
        impl Operator for $operator {
            const NAME: &'static str = $name;
            const MAIN: Option<&'static str> = $main;
            const TEMPLATED: &'static [&'static str] = &$templated;
            const RUNNER: Runner = Runner::Engine;

            fn step(self, _: &Job<'_>) -> Result<Step, Failure> {
                Err(Failure::EngineOperator(Self::NAME.to_owned()))
            }
        }
    };
}

of_the_engine!(Empty, "empty", main: None, templated: []);
of_the_engine!(Branch, "branch", main: Some("cases"), templated: ["cases"]);
of_the_engine!(ShortCircuit, "short_circuit", main: Some("when"), templated: ["when"]);
of_the_engine!(TriggerDag, "trigger_dag", main: Some("dag_id"), templated: ["dag_id", "conf", "run_id", "logical_date"]);
of_the_engine!(TimeSensor, "time_sensor", main: Some("at"), templated: ["at"]);
of_the_engine!(Approval, "approval", main: Some("subject"), templated: ["subject", "body"]);
of_the_engine!(HumanInput, "human_input", main: Some("subject"), templated: ["subject", "body", "options"]);
of_the_engine!(TaskSensor, "task_sensor", main: Some("dag_id"), templated: []);

/// Fails. For trying out retries, trigger rules and notifications.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fail {
    /// The reason that is shown.
    #[serde(default = "asked")]
    reason: String,
    /// Fail without retries.
    #[serde(default)]
    for_good: bool,
}

fn asked() -> String {
    "the task is one that always fails".to_owned()
}

impl Operator for Fail {
    const NAME: &'static str = "fail";
    const MAIN: Option<&'static str> = Some("reason");
    const TEMPLATED: &'static [&'static str] = &["reason"];

    fn step(self, _: &Job<'_>) -> Result<Step, Failure> {
        let finished = if self.for_good {
            Finished::failed_for_good(self.reason)
        } else {
            Finished::failed(self.reason)
        };
        Ok(Step::Done(finished))
    }
}

/// Waits for a duration and succeeds, holding its slot. For trying out pools and limits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sleep {
    /// How long.
    #[schemars(schema_with = "schema::duration")]
    duration: Span,
}

impl Operator for Sleep {
    const NAME: &'static str = "sleep";
    const MAIN: Option<&'static str> = Some("duration");
    const TEMPLATED: &'static [&'static str] = &["duration"];

    fn step(self, _: &Job<'_>) -> Result<Step, Failure> {
        std::thread::sleep(self.duration.to_std());
        Ok(Step::Done(Finished::success(None)))
    }
}
