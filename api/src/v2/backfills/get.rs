//! `GET /backfills/{backfill_id}`

use axum::Json;
use migrations::policy::Kind;

use crate::{
    access::Access,
    error::Error,
    extract::Named,
    v2::backfills::{Backfill, find, view},
};

/// One backfill.
pub(crate) async fn get(access: Access, Named(id): Named<i64>) -> Result<Json<Backfill>, Error> {
    let may = access.list(Kind::Backfill).await?;
    Ok(Json(view(&find(&may, id).await?)))
}
