//! `GET /backfills`

use axum::Json;
use dags::ids::DagId;
use migrations::policy::Kind;
use migrations::store::backfill;

use crate::{
    access::Access,
    error::Error,
    extract::Params,
    v2::backfills::{BackfillCollection, view},
};

/// Backfills of one DAG or of all, the newest first.
pub(crate) async fn list(access: Access, query: Params) -> Result<Json<BackfillCollection>, Error> {
    let may = access.list(Kind::Backfill).await?;
    query.only(&["limit", "offset", "order_by", "dag_id"])?;
    query.order(&["-id"])?;
    let dag = query.words("dag_id", |text| DagId::parse(text).ok())?.pop();
    let page = backfill::list(may.db(), may.scope, &may.visible, dag.as_ref(), query.window()?).await?;
    let backfills = page.rows.iter().map(view).collect();
    Ok(Json(BackfillCollection { backfills, total_entries: page.total }))
}
