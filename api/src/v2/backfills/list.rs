//! `GET /backfills`

use axum::Json;
use dags::ids::DagId;
use migrations::policy::Kind;
use migrations::store::backfill;

use crate::{
    access::Access,
    error::Error,
    extract::{Asked, Parameter, Parameters},
    list::{ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
    v2::backfills::{BackfillCollection, view},
};

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] =
        &[PAGE_LIMIT, PAGE_OFFSET, ORDER_BY, Parameter::one::<DagId>("dag_id", "Only those of that DAG.")];
}

/// Backfills of one DAG or of all, the newest first.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<BackfillCollection>, Error> {
    let may = access.list(Kind::Backfill).await?;
    query.order(&["-id"])?;
    let dag = query.words("dag_id", |text| DagId::parse(text).ok())?.pop();
    let page = backfill::list(may.db(), may.scope, &may.visible, dag.as_ref(), query.window()?).await?;
    let backfills = page.rows.iter().map(view).collect();
    Ok(Json(BackfillCollection { backfills, total_entries: page.total }))
}
