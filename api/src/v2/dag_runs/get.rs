//! `GET /dags/{dag_id}/dagRuns/{dag_run_id}`

use axum::Json;
use dags::ids::{DagId, RunName};
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
    v2::dag_runs::{DagRun, read},
};

/// One run.
pub(crate) async fn get(
    access: Access,
    Named((dag_id, name)): Named<(DagId, RunName)>,
) -> Result<Json<DagRun>, Error> {
    let may = access.authorize(Resource::dag(Kind::Run, &dag_id), Action::Read).await?;
    Ok(Json(read(&may, &dag_id, &name).await?))
}
