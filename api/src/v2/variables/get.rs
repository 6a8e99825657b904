//! `GET /variables/{variable_key}`

use axum::Json;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
    v2::variables::{Variable, find, view},
};

/// One variable, without its value if it is secret.
pub(crate) async fn get(access: Access, Named(key): Named<String>) -> Result<Json<Variable>, Error> {
    let may = access.authorize(Resource::named(Kind::Variable, &key), Action::Read).await?;
    Ok(Json(view(find(&may, &key).await?)))
}
