//! `GET /version`

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::Public;

/// Which release this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Updraft's version.
    pub version: String,
    /// Unknown.
    pub git_version: Option<String>,
}

/// Which release this is.
pub(crate) async fn version(_: Public) -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned(), git_version: None })
}
