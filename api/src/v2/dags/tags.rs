//! `GET /dagTags`

use axum::Json;
use migrations::{policy::Kind, store::dag};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    access::Access,
    error::Error,
    extract::{Asked, Parameter, Parameters},
    list::page,
    list::{ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
};

/// A page of tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct TagCollection {
    /// The tags, each once.
    pub(crate) tags: Vec<String>,
    /// How many there are on all pages.
    pub(crate) total_entries: u64,
}

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        ORDER_BY,
        Parameter::one::<String>(
            "tag_name_pattern",
            "Text that it contains, in any case; `%` may stand at its ends.",
        ),
        Parameter::one::<String>("tag_name_prefix_pattern", "Text that it begins with."),
    ];
}

/// The tags of DAGs that one may see, by name.
pub(crate) async fn tags(access: Access, query: Asked<Filter>) -> Result<Json<TagCollection>, Error> {
    let may = access.list(Kind::Dag).await?;
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
