//! `PATCH /pools/{pool_name}`

use axum::Json;
use dags::ids::PoolName;
use engine::command::Command;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Asked, Body, Named},
    list::Masked,
    v2::pools::{Pool, PoolPatch, find, plain, read},
};

/// Changes a pool.
pub(crate) async fn patch(
    access: Access,
    Named(name): Named<PoolName>,
    query: Asked<Masked>,
    Body(patch): Body<PoolPatch>,
) -> Result<Json<Pool>, Error> {
    let may = access.authorize(Resource::named(Kind::Pool, name.as_str()), Action::Change).await?;
    let mask = query.mask(&["pool", "slots", "include_deferred"])?;
    plain(patch.description.as_ref(), patch.team_name.as_ref())?;
    if patch.pool.as_deref().is_some_and(|other| other != name.as_str()) {
        return Err(Error::BadRequest("a pool's name can't be changed: make another pool".to_owned()));
    }
    let now = find(&may, &name).await?;
    let slots = patch.slots.filter(|_| mask.contains(&"slots")).unwrap_or(now.slots);
    let include_deferred = patch.include_deferred.filter(|_| mask.contains(&"include_deferred"));
    let include_deferred = include_deferred.unwrap_or(now.include_deferred);
    may.request(Command::SetPool { name: name.clone(), slots, include_deferred }).await?;
    Ok(Json(read(&may, &name).await?))
}
