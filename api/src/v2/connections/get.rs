//! `GET /connections/{connection_id}`

use axum::Json;
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
    v2::connections::{Connection, find, view},
};

/// One connection, without its secrets.
pub(crate) async fn get(access: Access, Named(name): Named<String>) -> Result<Json<Connection>, Error> {
    let may = access.authorize(Resource::named(Kind::Connection, &name), Action::Read).await?;
    Ok(Json(view(find(&may, &name).await?)))
}
