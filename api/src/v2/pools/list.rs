//! `GET /pools`

use axum::Json;
use migrations::policy::Kind;
use migrations::store::pool;

use crate::{
    access::{Access, NO_TAGS},
    error::Error,
    extract::{Asked, Parameter, Parameters},
    list::page,
    list::{ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
    v2::pools::{PoolCollection, all, view},
};

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        ORDER_BY,
        Parameter::one::<String>(
            "pool_name_pattern",
            "Text that it contains, in any case; `%` may stand at its ends.",
        ),
    ];
}

/// Pools by name.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<PoolCollection>, Error> {
    let may = access.list(Kind::Pool).await?;
    let descending = query.order(&["name", "-name", "id"])? == Some("-name");
    let mut rows = all(&may).await?;
    rows.retain(|row| may.visible.covers(row.name.as_str(), &NO_TAGS));
    if let Some(text) = query.pattern("pool_name_pattern")? {
        rows.retain(|row| row.name.as_str().contains(&text));
    }
    let page = page(rows, query.window()?, descending);
    let usage = pool::usage(may.db(), may.scope).await?;
    let pools = page.rows.iter().map(|row| view(row, &usage)).collect();
    Ok(Json(PoolCollection { pools, total_entries: page.total }))
}
