//! `DELETE /pools/{pool_name}`

use dags::ids::PoolName;
use engine::command::Command;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    describe::Done,
    error::Error,
    extract::Named,
};

/// Deletes a pool. Tasks that name it wait until there is one of that name again.
pub(crate) async fn delete(access: Access, Named(name): Named<PoolName>) -> Result<Done, Error> {
    let may = access.authorize(Resource::named(Kind::Pool, name.as_str()), Action::Delete).await?;
    may.request(Command::DeletePool { name }).await?;
    Ok(Done)
}
