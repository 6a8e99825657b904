//! `DELETE /variables/{variable_key}`

use axum::http::StatusCode;
use migrations::policy::{Action, Kind};
use migrations::store::variable;

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
    v2::variables::missing,
};

/// Deletes a variable.
pub(crate) async fn delete(access: Access, Named(key): Named<String>) -> Result<StatusCode, Error> {
    let may = access.authorize(Resource::named(Kind::Variable, &key), Action::Delete).await?;
    if variable::delete(may.db(), may.scope, &may.actor, &key).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing(&key))
    }
}
