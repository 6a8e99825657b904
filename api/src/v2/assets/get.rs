//! `GET /assets/{asset_id}`

use axum::Json;

use crate::{
    access::{Access, Action, Resource},
    error::Error,
    extract::Named,
    v2::assets::{Asset, find},
};

/// One asset.
pub(crate) async fn get(access: Access, Named(id): Named<u64>) -> Result<Json<Asset>, Error> {
    let may = access.authorize(Resource::Asset, Action::Read)?;
    Ok(Json(find(&may, id).await?))
}
