//! What Airflow's contract doesn't have: our own routes, under `/api/updraft/v1`.

use axum::{Router, routing::get};

use crate::state::Api;

pub mod alerts;

/// Every route, declared here and nowhere else.
pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/alerts", get(alerts::list))
}
