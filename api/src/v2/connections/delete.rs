//! `DELETE /connections/{connection_id}`

use migrations::policy::{Action, Kind};
use migrations::store::connection;

use crate::{
    access::{Access, Resource},
    describe::Done,
    error::Error,
    extract::Named,
    v2::connections::missing,
};

/// Deletes a connection.
pub(crate) async fn delete(access: Access, Named(name): Named<String>) -> Result<Done, Error> {
    let may = access.authorize(Resource::named(Kind::Connection, &name), Action::Delete).await?;
    if connection::delete(may.db(), may.scope, &may.actor, &name).await? {
        Ok(Done)
    } else {
        Err(missing(&name))
    }
}
