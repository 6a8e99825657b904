//! `GET /pools/{pool_name}`

use axum::Json;
use dags::ids::PoolName;

use crate::{
    access::{Access, Action, Resource},
    error::Error,
    extract::Named,
    v2::pools::{Pool, read},
};

/// One pool.
pub(crate) async fn get(access: Access, Named(name): Named<PoolName>) -> Result<Json<Pool>, Error> {
    let may = access.authorize(Resource::Pool, Action::Read)?;
    Ok(Json(read(&may, &name).await?))
}
