//! `POST /pools`

use dags::ids::PoolName;
use engine::command::Command;
use migrations::policy::{Action, Kind};
use migrations::store::pool;

use crate::{
    access::{Access, Resource},
    describe::Created,
    error::Error,
    extract::Body,
    v2::pools::{Pool, PoolBody, plain, read},
};

/// Makes a pool.
pub(crate) async fn post(access: Access, Body(body): Body<PoolBody>) -> Result<Created<Pool>, Error> {
    let may = access.authorize(Resource::named(Kind::Pool, &body.name), Action::Create).await?;
    plain(body.description.as_ref(), body.team_name.as_ref())?;
    let name = PoolName::parse(&body.name)
        .map_err(|why| Error::value("body", "name", format!("{:?} {why}", body.name), body.name.as_str()))?;
    if pool::get(may.db(), may.scope, &name).await?.is_some() {
        return Err(Error::Conflict(format!("there is a pool `{name}` already")));
    }
    let PoolBody { slots, include_deferred, .. } = body;
    may.request(Command::SetPool { name: name.clone(), slots, include_deferred }).await?;
    Ok(Created(read(&may, &name).await?))
}
