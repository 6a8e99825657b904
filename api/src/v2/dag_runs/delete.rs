//! `DELETE /dags/{dag_id}/dagRuns/{dag_run_id}`

use dags::ids::{DagId, RunName};
use engine::command::Command;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    describe::Done,
    error::Error,
    extract::Named,
};

/// Forgets a finished run and everything about it.
pub(crate) async fn delete(
    access: Access,
    Named((dag_id, run_name)): Named<(DagId, RunName)>,
) -> Result<Done, Error> {
    let may = access.authorize(Resource::dag(Kind::Run, &dag_id), Action::Delete).await?;
    may.request(Command::DeleteRun { dag_id, run_name }).await?;
    Ok(Done)
}
