//! `PATCH /dags/{dag_id}`

use axum::Json;
use dags::ids::DagId;
use engine::command::Command;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Asked, Body, Named},
    list::Masked,
    v2::dags::{Dag, DagPatch, find, view},
};

/// Pauses a DAG or lets it go on.
pub(crate) async fn patch(
    access: Access,
    Named(dag_id): Named<DagId>,
    query: Asked<Masked>,
    Body(patch): Body<DagPatch>,
) -> Result<Json<Dag>, Error> {
    let may = access.authorize(Resource::dag(Kind::Dag, &dag_id), Action::Change).await?;
    query.mask(&["is_paused"])?;
    may.request(Command::PauseDag { dag_id: dag_id.clone(), paused: patch.is_paused }).await?;
    Ok(Json(view(&find(&may, &dag_id).await?)))
}
