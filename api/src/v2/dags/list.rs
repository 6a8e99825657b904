//! `GET /dags`

use axum::Json;
use migrations::policy::Kind;
use migrations::store::dag::{self, DagFilter};

use crate::{
    access::Access,
    error::Error,
    extract::Params,
    v2::dags::{DagCollection, view},
};

/// DAGs by name. `dag_id_pattern` is a text that the name contains, with `%` around it or not.
pub(crate) async fn list(access: Access, query: Params) -> Result<Json<DagCollection>, Error> {
    let may = access.list(Kind::Dag).await?;
    query.only(&["limit", "offset", "order_by", "paused", "exclude_stale", "dag_id_pattern"])?;
    query.order(&["dag_id"])?;
    let filter = DagFilter {
        paused: query.flag("paused")?,
        with_stale: !query.flag("exclude_stale")?.unwrap_or(true),
        name_contains: query.pattern("dag_id_pattern")?,
        visible: Some(may.visible.clone()),
        ..DagFilter::default()
    };
    let page = dag::list(may.db(), may.scope, &filter, query.window()?).await?;
    Ok(Json(DagCollection { dags: page.rows.iter().map(view).collect(), total_entries: page.total }))
}
