//! `GET /dagTags`

use axum::Json;
use migrations::{policy::Kind, store::dag};
use serde::Serialize;

use crate::{access::Access, error::Error, extract::Params, list::page};

/// A page of tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TagCollection {
    /// The tags, each once.
    pub(crate) tags: Vec<String>,
    /// How many there are on all pages.
    pub(crate) total_entries: u64,
}

/// The tags of DAGs that one may see, by name.
pub(crate) async fn tags(access: Access, query: Params) -> Result<Json<TagCollection>, Error> {
    let may = access.list(Kind::Dag).await?;
    query.only(&["limit", "offset", "order_by", "tag_name_pattern", "tag_name_prefix_pattern"])?;
    let reversed = query.order(&["name", "-name"])? == Some("-name");
    let pattern = query.pattern("tag_name_pattern")?.map(|text| text.to_lowercase());
    let prefix = query.text("tag_name_prefix_pattern").filter(|text| *text != "~");
    let all = dag::tags(may.db(), may.scope, &may.visible).await?;
    let fitting = all.into_iter().filter(|tag| {
        pattern.as_ref().is_none_or(|text| tag.to_lowercase().contains(text))
            && prefix.is_none_or(|prefix| tag.starts_with(prefix))
    });
    let found = page(fitting.collect(), query.window()?, reversed);
    Ok(Json(TagCollection { tags: found.rows, total_entries: found.total }))
}
