//! `GET /assets`

use axum::Json;

use crate::{
    access::Access,
    error::Error,
    extract::{Asked, Parameter, Parameters},
    list::page,
    list::{ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
    v2::assets::{AssetCollection, Seen, all},
};

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        ORDER_BY,
        Parameter::one::<String>(
            "name_pattern",
            "Text that it contains, in any case; `%` may stand at its ends.",
        ),
        Parameter::one::<String>(
            "uri_pattern",
            "Text that it contains, in any case; `%` may stand at its ends.",
        ),
    ];
}

/// Assets that DAGs name, by name.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<AssetCollection>, Error> {
    let seen = Seen::of(&access).await?;
    let descending = query.order(&["name", "-name"])? == Some("-name");
    let mut assets = all(&seen).await?;
    for pattern in ["name_pattern", "uri_pattern"] {
        if let Some(text) = query.pattern(pattern)? {
            assets.retain(|name, _| name.contains(&text));
        }
    }
    let page = page(assets.into_values().collect(), query.window()?, descending);
    Ok(Json(AssetCollection { assets: page.rows, total_entries: page.total }))
}
