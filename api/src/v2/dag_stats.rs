//! `GET /dagStats`: how many runs each DAG has in each state.

use axum::Json;
use dags::ids::DagId;
use engine::state::RunState;
use migrations::{policy::Kind, store::run};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    error::Error,
    extract::{Asked, Parameter, Parameters},
};

/// A DAG's runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DagStats {
    /// The DAG.
    pub dag_id: String,
    /// The same.
    pub dag_display_name: String,
    /// A number for every state that there is.
    pub stats: Vec<StateCount>,
}

/// Runs in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateCount {
    /// The state.
    pub state: RunState,
    /// How many.
    pub count: u64,
}

/// The DAGs' runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DagStatsCollection {
    /// DAGs by name.
    pub dags: Vec<DagStats>,
    /// How many there are.
    pub total_entries: u64,
}

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[Parameter::many::<DagId>("dag_ids", "Only these DAGs.")];
}

/// DAGs that have any run, as in Airflow; with `dag_ids` those of these names.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<DagStatsCollection>, Error> {
    let may = access.list(Kind::Run).await?;
    let wanted = query.words("dag_ids", |text| DagId::parse(text).ok())?;
    let counts = run::counts(may.db(), may.scope, &wanted, &may.visible).await?;
    let dags: Vec<DagStats> = counts
        .into_iter()
        .map(|(dag_id, counts)| DagStats {
            dag_id: dag_id.to_string(),
            dag_display_name: dag_id.to_string(),
            stats: RunState::ALL
                .iter()
                .map(|state| StateCount { state: *state, count: counts.get(state).copied().unwrap_or(0) })
                .collect(),
        })
        .collect();
    Ok(Json(DagStatsCollection { total_entries: dags.len() as u64, dags }))
}
