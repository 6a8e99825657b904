//! `GET /assets/{asset_id}`

use axum::Json;

use crate::{
    access::Access,
    error::Error,
    extract::Named,
    v2::assets::{Asset, Seen, find},
};

/// One asset.
pub(crate) async fn get(access: Access, Named(id): Named<u64>) -> Result<Json<Asset>, Error> {
    Ok(Json(find(&Seen::of(&access).await?, id).await?))
}
