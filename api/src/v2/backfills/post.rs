//! `POST /backfills`

use axum::Json;
use engine::command::{self, Command, Reprocess};
use serde_json::Value;

use migrations::policy::{Action, Kind};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::Body,
    v2::backfills::{Backfill, BackfillBody, find, view},
};

/// Makes runs for past dates.
pub(crate) async fn post(access: Access, Body(body): Body<BackfillBody>) -> Result<Json<Backfill>, Error> {
    let may = access.authorize(Resource::dag(Kind::Backfill, &body.dag_id), Action::Create).await?;
    let made = may.request(Command::Backfill(command(body)?)).await?;
    let id = made.get("id").and_then(Value::as_i64);
    let id = id.ok_or_else(|| Error::Internal(format!("a backfill was made without a number: {made}")))?;
    Ok(Json(view(&find(&may, id).await?)))
}

/// What the engine is asked for.
pub(crate) fn command(body: BackfillBody) -> Result<command::Backfill, Error> {
    if body.run_on_latest_version == Some(true) && body.reprocess_behavior != Reprocess::None {
        let instead = "new runs are of the newest version, runs that are there keep theirs";
        return Err(Error::unsupported("`run_on_latest_version` for runs that are there", instead));
    }
    Ok(command::Backfill {
        dag_id: body.dag_id,
        from: body.from_date,
        to: body.to_date,
        reprocess: body.reprocess_behavior,
        reverse: body.run_backwards,
        max_active_runs: body.max_active_runs,
        conf: body.dag_run_conf.unwrap_or_default(),
    })
}
