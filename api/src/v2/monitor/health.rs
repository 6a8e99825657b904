//! `GET /monitor/health`

use axum::Json;
use migrations::{TenantScope, store::shard};
use serde::{Deserialize, Serialize};

use crate::access::Public;

/// How the parts of the service are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The database.
    pub metadatabase: Component,
    /// Whoever takes requests.
    pub scheduler: Component,
    /// There is none.
    pub triggerer: Component,
    /// There is none.
    pub dag_processor: Component,
}

/// How a part of the service is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// `healthy` or `unhealthy`; none if there is no such part.
    pub status: Option<String>,
    /// Until when it is trusted, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_scheduler_heartbeat: Option<String>,
}

/// How the service is. Always 200: what isn't well is in the answer.
pub(crate) async fn health(Public(state): Public) -> Json<Health> {
    let found = shard::ownership(&state.db, TenantScope::new(state.tenant)).await;
    let of = |well: bool| Component {
        status: Some(if well { "healthy" } else { "unhealthy" }.to_owned()),
        ..Component::default()
    };
    let (metadatabase, scheduler) = match found {
        Ok(shard) => {
            let until = shard.owned.then(|| shard.expires_at.to_string());
            (of(true), Component { latest_scheduler_heartbeat: until, ..of(shard.owned) })
        }
        Err(error) => {
            tracing::error!(%error, "failed to read the database for a question about its health");
            (of(false), of(false))
        }
    };
    let none = Component::default();
    Json(Health { metadatabase, scheduler, triggerer: none.clone(), dag_processor: none })
}
