//! `POST /dags/{dag_id}/release`

use dags::ids::DagId;
use engine::command::Command;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    describe::Done,
    error::Error,
    extract::Named,
};

/// Works again with a DAG that is quarantined, and with its runs: what was wrong with it is mended.
pub(crate) async fn release(access: Access, Named(dag_id): Named<DagId>) -> Result<Done, Error> {
    let may = access.authorize(Resource::dag(Kind::Dag, &dag_id), Action::Change).await?;
    may.request(Command::Release { dag_id, run_name: None }).await?;
    Ok(Done)
}
