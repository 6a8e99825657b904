//! `PATCH /dags/{dag_id}/dagRuns/{dag_run_id}`

use axum::Json;
use dags::ids::{DagId, RunName};
use engine::command::Command;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Asked, Body, Named},
    list::Masked,
    v2::dag_runs::{DagRun, DagRunPatch, no_note, read},
};

/// Sets the state of a run by hand.
pub(crate) async fn patch(
    access: Access,
    Named((dag_id, name)): Named<(DagId, RunName)>,
    query: Asked<Masked>,
    Body(patch): Body<DagRunPatch>,
) -> Result<Json<DagRun>, Error> {
    let may = access.authorize(Resource::dag(Kind::Run, &dag_id), Action::Change).await?;
    query.mask(&["state"])?;
    no_note(patch.note.as_ref())?;
    let state =
        patch.state.ok_or_else(|| Error::BadRequest("there is nothing to change: set `state`".to_owned()))?;
    may.request(Command::MarkRun { dag_id: dag_id.clone(), run_name: name.clone(), state }).await?;
    Ok(Json(read(&may, &dag_id, &name).await?))
}
