//! `GET /monitor/health`

use axum::Json;
use migrations::{TenantScope, store::shard};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::Public;

/// How the parts of the service are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// The database.
    pub metadatabase: Component,
    /// Whoever takes requests.
    pub scheduler: SchedulerHealth,
    /// There is none.
    pub triggerer: TriggererHealth,
    /// There is none.
    pub dag_processor: DagProcessorHealth,
}

/// How a part of the service is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Component {
    /// `healthy` or `unhealthy`; none if there is no such part.
    pub status: Option<String>,
}

/// How whoever takes requests is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchedulerHealth {
    /// `healthy` or `unhealthy`.
    pub status: Option<String>,
    /// Until when it is trusted; none if it isn't.
    pub latest_scheduler_heartbeat: Option<String>,
}

/// A part that Airflow has and this service hasn't.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TriggererHealth {
    /// None.
    pub status: Option<String>,
    /// None.
    pub latest_triggerer_heartbeat: Option<String>,
}

/// A part that Airflow has and this service hasn't.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DagProcessorHealth {
    /// None.
    pub status: Option<String>,
    /// None.
    pub latest_dag_processor_heartbeat: Option<String>,
}

/// How the service is. Always 200: what isn't well is in the answer.
pub(crate) async fn health(Public(state): Public) -> Json<Health> {
    let found = shard::ownership(&state.db, TenantScope::new(state.tenant)).await;
    let of = |well: bool| Some(if well { "healthy" } else { "unhealthy" }.to_owned());
    let (reached, owned, until) = match found {
        Ok(shard) => (true, shard.owned, shard.owned.then(|| shard.expires_at.to_string())),
        Err(error) => {
            tracing::error!(%error, "failed to read the database for a question about its health");
            (false, false, None)
        }
    };
    Json(Health {
        metadatabase: Component { status: of(reached) },
        scheduler: SchedulerHealth { status: of(owned), latest_scheduler_heartbeat: until },
        triggerer: TriggererHealth::default(),
        dag_processor: DagProcessorHealth::default(),
    })
}
