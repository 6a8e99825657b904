//! `/config`: how the process that answers is set up, to be read only. For platform administrators.

use axum::Json;
use migrations::policy::Action;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{access::Known, error::Error, v1::Items};

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// Such as `scheduler.lease_ms`.
    pub key: String,
    /// The value as it is written in a file of settings; none if it isn't set and has no default. What is secret is hidden.
    pub value: Option<String>,
    /// Where it comes from: `default`, a file with its line, a variable of the environment, or a flag.
    pub origin: String,
    /// What it means.
    pub doc: String,
}

/// `GET /config`: in the order of the reference.
pub(crate) async fn list(known: Known) -> Result<Json<Items<Setting>>, Error> {
    known.platform(Action::Read).await?;
    Ok(Items::all(known.state.config.iter().cloned()))
}
