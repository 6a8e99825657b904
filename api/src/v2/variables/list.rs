//! `GET /variables`

use axum::Json;
use migrations::policy::Kind;
use migrations::store::variable;

use crate::{
    access::{Access, NO_TAGS},
    error::Error,
    extract::{Asked, Parameter, Parameters},
    list::page,
    list::{ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
    v2::variables::{VariableCollection, view},
};

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        ORDER_BY,
        Parameter::one::<String>(
            "variable_key_pattern",
            "Text that it contains, in any case; `%` may stand at its ends.",
        ),
    ];
}

/// Variables by name, secret ones without their values.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<VariableCollection>, Error> {
    let may = access.list(Kind::Variable).await?;
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
