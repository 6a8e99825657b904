//! `DELETE /variables/{variable_key}`

use migrations::policy::{Action, Kind};
use migrations::store::variable;

use crate::{
    access::{Access, Resource},
    describe::Done,
    error::Error,
    extract::Named,
    v2::variables::missing,
};

/// Deletes a variable.
pub(crate) async fn delete(access: Access, Named(key): Named<String>) -> Result<Done, Error> {
    let may = access.authorize(Resource::named(Kind::Variable, &key), Action::Delete).await?;
    if variable::delete(may.db(), may.scope, &may.actor, &key).await? { Ok(Done) } else { Err(missing(&key)) }
}
