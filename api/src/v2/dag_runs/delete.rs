//! `DELETE /dags/{dag_id}/dagRuns/{dag_run_id}`

use axum::http::StatusCode;
use dags::ids::{DagId, RunName};
use engine::command::Command;

use crate::{
    access::{Access, Action, Resource},
    error::Error,
    extract::Named,
};

/// Forgets a finished run and everything about it.
pub(crate) async fn delete(
    access: Access,
    Named((dag_id, run_name)): Named<(DagId, RunName)>,
) -> Result<StatusCode, Error> {
    let may = access.authorize(Resource::Run, Action::Delete)?;
    may.request(Command::DeleteRun { dag_id, run_name }).await?;
    Ok(StatusCode::NO_CONTENT)
}
