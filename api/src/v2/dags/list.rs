//! `GET /dags`

use axum::Json;
use migrations::policy::Kind;
use migrations::store::dag::{self, DagFilter};

use crate::{
    access::Access,
    error::Error,
    extract::{Asked, Parameter, Parameters},
    list::{ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
    v2::dags::{DagCollection, view},
};

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        ORDER_BY,
        Parameter::one::<bool>("paused", "Only those that are, or are not, paused."),
        Parameter::one::<bool>(
            "exclude_stale",
            "Whether DAGs are left out that no bundle has any more; so they are if absent.",
        ),
        Parameter::one::<String>(
            "dag_id_pattern",
            "Text that it contains, in any case; `%` may stand at its ends.",
        ),
    ];
}

/// DAGs by name. `dag_id_pattern` is a text that the name contains, with `%` around it or not.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<DagCollection>, Error> {
    let may = access.list(Kind::Dag).await?;
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
