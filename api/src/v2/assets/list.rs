//! `GET /assets`

use axum::Json;

use crate::{
    access::Access,
    error::Error,
    extract::Params,
    list::page,
    v2::assets::{AssetCollection, Seen, all},
};

/// Assets that DAGs name, by name.
pub(crate) async fn list(access: Access, query: Params) -> Result<Json<AssetCollection>, Error> {
    let seen = Seen::of(&access).await?;
    query.only(&["limit", "offset", "order_by", "name_pattern", "uri_pattern"])?;
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
