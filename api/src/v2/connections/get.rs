//! `GET /connections/{connection_id}`

use axum::Json;

use crate::{
    access::{Access, Action, Resource},
    error::Error,
    extract::Named,
    v2::connections::{Connection, find, view},
};

/// One connection, without its secrets.
pub(crate) async fn get(access: Access, Named(name): Named<String>) -> Result<Json<Connection>, Error> {
    let may = access.authorize(Resource::Connection, Action::Read)?;
    Ok(Json(view(find(&may, &name).await?)))
}
