//! What an installation offers to the tasks of DAGs, as data.
//!
//! The settings of a service say it; here it is only compared with what a DAG asks for, so that a task which could never
//! start is an error of its file and not a run that waits.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::ExecutorName;

/// What DAGs find where they are to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Installation {
    /// The executor of tasks that name none.
    pub default_executor: ExecutorName,
    /// Those that there are.
    pub executors: BTreeMap<ExecutorName, Offer>,
    /// The notification routes that there are. Nothing if that isn't known, and then no route is missed.
    pub routes: Option<BTreeSet<String>>,
}

/// What one executor can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// What it is, in the settings' word, such as `workers`.
    pub kind: String,
    /// How many attempts may run there at once: the largest gang. Nothing if that depends on who joins.
    pub slots: Option<u32>,
    /// Whether machines with GPUs may belong to it.
    pub gpus: bool,
    /// Whether it knows resources of other kinds, by name.
    pub custom: bool,
}

impl Installation {
    /// The executors for people: "`local` and `lab` (workers)". A kind that is the name isn't repeated.
    pub fn list(&self) -> String {
        self.list_of(|_| true)
    }

    /// The same of those executors that can do something.
    pub(crate) fn list_of(&self, can: impl Fn(&Offer) -> bool) -> String {
        let able = self.executors.iter().filter(|(_, offer)| can(offer));
        let names: Vec<String> = able
            .map(|(name, offer)| match offer.kind == name.as_str() {
                true => format!("`{name}`"),
                false => format!("`{name}` ({})", offer.kind),
            })
            .collect();
        match names.as_slice() {
            [] => "none".to_owned(),
            [one] => one.clone(),
            [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
        }
    }
}
