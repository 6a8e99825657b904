//! `GET /dags/{dag_id}`

use axum::Json;
use dags::ids::DagId;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
    v2::dags::{Dag, find, view},
};

/// One DAG.
pub(crate) async fn get(access: Access, Named(dag_id): Named<DagId>) -> Result<Json<Dag>, Error> {
    let may = access.authorize(Resource::dag(Kind::Dag, &dag_id), Action::Read).await?;
    Ok(Json(view(&find(&may, &dag_id).await?)))
}
