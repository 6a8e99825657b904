//! `DELETE /dags/{dag_id}`

use axum::Json;
use dags::ids::DagId;
use engine::command::Command;
use migrations::policy::{Action, Kind};
use serde_json::{Map, Value};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
};

/// Forgets a DAG that has no unfinished run, with all its runs. A bundle that has it brings it back.
pub(crate) async fn delete(
    access: Access,
    Named(dag_id): Named<DagId>,
) -> Result<Json<Map<String, Value>>, Error> {
    let may = access.authorize(Resource::dag(Kind::Dag, &dag_id), Action::Delete).await?;
    may.request(Command::DeleteDag { dag_id }).await?;
    Ok(Json(Map::new()))
}
