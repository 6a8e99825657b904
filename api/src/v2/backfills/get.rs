//! `GET /backfills/{backfill_id}`

use axum::Json;

use crate::{
    access::{Access, Action, Resource},
    error::Error,
    extract::Named,
    v2::backfills::{Backfill, find, view},
};

/// One backfill.
pub(crate) async fn get(access: Access, Named(id): Named<i64>) -> Result<Json<Backfill>, Error> {
    let may = access.authorize(Resource::Backfill, Action::Read)?;
    Ok(Json(view(&find(&may, id).await?)))
}
