//! `POST /dags/{dag_id}/dagRuns/{dag_run_id}/release`

use axum::Json;
use dags::ids::{DagId, RunName};
use engine::command::Command;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
    v2::dag_runs::{DagRun, read},
};

/// Works again with a run that is quarantined: what was wrong with it is mended.
pub(crate) async fn release(
    access: Access,
    Named((dag_id, name)): Named<(DagId, RunName)>,
) -> Result<Json<DagRun>, Error> {
    let may = access.authorize(Resource::dag(Kind::Run, &dag_id), Action::Change).await?;
    may.request(Command::Release { dag_id: dag_id.clone(), run_name: Some(name.clone()) }).await?;
    Ok(Json(read(&may, &dag_id, &name).await?))
}
