//! `GET /connections`

use axum::Json;
use migrations::policy::Kind;
use migrations::store::connection;

use crate::{
    access::{Access, NO_TAGS},
    error::Error,
    extract::{Asked, Parameter, Parameters},
    list::page,
    list::{ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
    v2::connections::{ConnectionCollection, view},
};

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        ORDER_BY,
        Parameter::one::<String>(
            "connection_id_pattern",
            "Text that it contains, in any case; `%` may stand at its ends.",
        ),
    ];
}

/// Connections by name, without their secrets.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<ConnectionCollection>, Error> {
    let may = access.list(Kind::Connection).await?;
    let orders = ["connection_id", "-connection_id", "conn_id", "id"];
    let descending = query.order(&orders)? == Some("-connection_id");
    let mut rows = connection::list(may.db(), may.scope).await?;
    rows.retain(|row| may.visible.covers(&row.name, &NO_TAGS));
    if let Some(text) = query.pattern("connection_id_pattern")? {
        rows.retain(|row| row.name.contains(&text));
    }
    let page = page(rows, query.window()?, descending);
    let connections = page.rows.into_iter().map(view).collect();
    Ok(Json(ConnectionCollection { connections, total_entries: page.total }))
}
