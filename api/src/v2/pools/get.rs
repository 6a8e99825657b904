//! `GET /pools/{pool_name}`

use axum::Json;
use dags::ids::PoolName;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
    v2::pools::{Pool, read},
};

/// One pool.
pub(crate) async fn get(access: Access, Named(name): Named<PoolName>) -> Result<Json<Pool>, Error> {
    let may = access.authorize(Resource::named(Kind::Pool, name.as_str()), Action::Read).await?;
    Ok(Json(read(&may, &name).await?))
}
