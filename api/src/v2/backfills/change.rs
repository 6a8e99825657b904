//! `PUT /backfills/{backfill_id}/pause`, `.../unpause`, `.../cancel`

use axum::Json;
use engine::command::{BackfillChange, Command};
use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Named,
    v2::backfills::{Backfill, find, view},
};

/// Starts no more runs.
pub(crate) async fn pause(access: Access, Named(id): Named<i64>) -> Result<Json<Backfill>, Error> {
    change(access, id, BackfillChange::Pause).await
}

/// Goes on.
pub(crate) async fn unpause(access: Access, Named(id): Named<i64>) -> Result<Json<Backfill>, Error> {
    change(access, id, BackfillChange::Unpause).await
}

/// Fails queued runs and lets running ones end.
pub(crate) async fn cancel(access: Access, Named(id): Named<i64>) -> Result<Json<Backfill>, Error> {
    change(access, id, BackfillChange::Cancel).await
}

async fn change(access: Access, id: i64, change: BackfillChange) -> Result<Json<Backfill>, Error> {
    let seen = find(&access.list(Kind::Backfill).await?, id).await?;
    let may = access.authorize(Resource::dag(Kind::Backfill, &seen.spec.dag_id), Action::Change).await?;
    if seen.ended_at.is_some() {
        return Err(Error::Conflict(format!("backfill {id} has ended")));
    }
    may.request(Command::ChangeBackfill { id, change }).await?;
    Ok(Json(view(&find(&may, id).await?)))
}
