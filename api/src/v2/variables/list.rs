//! `GET /variables`

use axum::Json;
use migrations::policy::Kind;
use migrations::store::variable;

use crate::{
    access::{Access, NO_TAGS},
    error::Error,
    extract::Params,
    list::page,
    v2::variables::{VariableCollection, view},
};

/// Variables by name, secret ones without their values.
pub(crate) async fn list(access: Access, query: Params) -> Result<Json<VariableCollection>, Error> {
    let may = access.list(Kind::Variable).await?;
    query.only(&["limit", "offset", "order_by", "variable_key_pattern"])?;
    let descending = query.order(&["key", "-key", "id"])? == Some("-key");
    let mut rows = variable::list(may.db(), may.scope).await?;
    rows.retain(|row| may.visible.covers(&row.name, &NO_TAGS));
    if let Some(text) = query.pattern("variable_key_pattern")? {
        rows.retain(|row| row.name.contains(&text));
    }
    let page = page(rows, query.window()?, descending);
    let variables = page.rows.into_iter().map(view).collect();
    Ok(Json(VariableCollection { variables, total_entries: page.total }))
}
