//! `GET /dags/{dag_id}`

use axum::Json;
use dags::ids::DagId;

use crate::{
    access::{Access, Action, Resource},
    error::Error,
    extract::Named,
    v2::dags::{Dag, find, view},
};

/// One DAG.
pub(crate) async fn get(access: Access, Named(dag_id): Named<DagId>) -> Result<Json<Dag>, Error> {
    let may = access.authorize(Resource::Dag, Action::Read)?;
    Ok(Json(view(&find(&may, &dag_id).await?)))
}
