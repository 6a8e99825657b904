//! `DELETE /pools/{pool_name}`

use axum::http::StatusCode;
use dags::ids::PoolName;
use engine::command::Command;

use crate::{
    access::{Access, Action, Resource},
    error::Error,
    extract::Named,
};

/// Deletes a pool. Tasks that name it wait until there is one of that name again.
pub(crate) async fn delete(access: Access, Named(name): Named<PoolName>) -> Result<StatusCode, Error> {
    let may = access.authorize(Resource::Pool, Action::Delete)?;
    may.request(Command::DeletePool { name }).await?;
    Ok(StatusCode::NO_CONTENT)
}
