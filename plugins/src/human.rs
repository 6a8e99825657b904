//! The operators by which people have a say: `approval` and `human_input`. The engine carries them out.

use std::collections::BTreeMap;

use dags::time::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{flow::Names, schema};

/// The option that lets an [`Approval`] go on.
pub const APPROVE: &str = "Approve";
/// The option that ends it.
pub const REJECT: &str = "Reject";

/// Asks people whether to go on; if they reject, everything downstream is skipped.
///
/// The task waits in state `awaiting_input` without a slot until somebody answers: with
/// `updraft tasks answer DAG RUN TASK --option Approve`, or by the route `hitlDetails` of the API, as in Airflow.
/// The result is `{ chosen_options, params_input, responded_by_user, responded_at }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The question, one line.
    pub subject: String,
    /// What there is to know before one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// More that is asked for: name to JSON Schema, with a `default` if it needn't be given.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// Who may answer, by name; everybody who may change the run if empty.
    #[serde(default)]
    pub assigned_users: Vec<String>,
    /// How long to wait, from the try's start, for an answer; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub respond_within: Option<Span>,
    /// What counts as the answer when nobody gave one in time: `Approve` or `Reject`. The task fails if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Verdict>,
    /// Fail when people reject, instead of skipping what is downstream.
    #[serde(default)]
    pub fail_on_reject: bool,
    /// With a rejection: skip all tasks downstream, whatever their trigger rules say; `false` skips the direct ones and
    /// lets rules decide about the rest.
    #[serde(default = "yes")]
    pub ignore_downstream_rules: bool,
    /// The route, or routes, that hears of the question.
    #[serde(default = "nobody")]
    pub notify: Names,
}

/// An answer to an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Go on.
    Approve,
    /// Don't.
    Reject,
}

impl Verdict {
    /// The option that stands for it.
    pub fn option(self) -> &'static str {
        match self {
            Self::Approve => APPROVE,
            Self::Reject => REJECT,
        }
    }
}

/// Asks people for a choice and, if wanted, for values.
///
/// The task waits in state `awaiting_input` without a slot until somebody answers: with
/// `updraft tasks answer DAG RUN TASK --option NAME --input name=value`, or by the route `hitlDetails` of the API, as in
/// Airflow. The result is `{ chosen_options, params_input, responded_by_user, responded_at }`, so a `branch` behind it
/// reads `outputs.ask.chosen_options`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HumanInput {
    /// The question, one line.
    pub subject: String,
    /// What there is to know before one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What there is to choose from.
    #[serde(default = "ok")]
    #[schemars(length(min = 1))]
    pub options: Vec<String>,
    /// Whether several may be chosen.
    #[serde(default)]
    pub multiple: bool,
    /// What is asked for beside the choice: name to JSON Schema, with a `default` if it needn't be given.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// Who may answer, by name; everybody who may change the run if empty.
    #[serde(default)]
    pub assigned_users: Vec<String>,
    /// How long to wait, from the try's start, for an answer; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub respond_within: Option<Span>,
    /// The option, or options, that count as chosen when nobody answered in time. The task fails if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Names>,
    /// The route, or routes, that hears of the question.
    #[serde(default = "nobody")]
    pub notify: Names,
}

const fn yes() -> bool {
    true
}

fn ok() -> Vec<String> {
    vec!["OK".to_owned()]
}

fn nobody() -> Names {
    Names::Several(Vec::new())
}
