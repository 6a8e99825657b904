//! `GET /importErrors` and `GET /importErrors/{import_error_id}`: files of DAGs that can't be used as they are now.

use axum::Json;
use dags::time::Timestamp;
use migrations::{policy::Kind, store::import_error};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
    list::page,
    list::{ORDER_BY, PAGE_LIMIT, PAGE_OFFSET},
    v2::assets::id,
};

/// A file that can't be used as it is now. The DAGs that it had when it was last in order go on as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportError {
    /// Its number, made of the file's name.
    pub import_error_id: u64,
    /// Since when it has been broken in this way.
    pub timestamp: Timestamp,
    /// The file's path in the folder of DAGs.
    pub filename: String,
    /// None: there is one folder.
    pub bundle_name: Option<String>,
    /// Everything that is wrong, with the lines.
    pub stack_trace: String,
}

/// A page of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportErrorCollection {
    /// The files.
    pub import_errors: Vec<ImportError>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// What may be asked.
pub(crate) struct Filter;

impl Parameters for Filter {
    const ALL: &'static [Parameter] = &[
        PAGE_LIMIT,
        PAGE_OFFSET,
        ORDER_BY,
        Parameter::one::<String>(
            "filename_pattern",
            "Text that it contains, in any case; `%` may stand at its ends.",
        ),
    ];
}

/// Those that may be seen, by file. `filename_pattern` is a text that the path contains, with `%` around it or not.
pub(crate) async fn list(access: Access, query: Asked<Filter>) -> Result<Json<ImportErrorCollection>, Error> {
    let descending = query.order(&["filename", "-filename", "id"])? == Some("-filename");
    let mut seen = seen(&access).await?;
    if let Some(text) = query.pattern("filename_pattern")? {
        seen.retain(|error| error.filename.contains(&text));
    }
    let page = page(seen, query.window()?, descending);
    Ok(Json(ImportErrorCollection { import_errors: page.rows, total_entries: page.total }))
}

/// One of them.
pub(crate) async fn get(access: Access, Named(number): Named<u64>) -> Result<Json<ImportError>, Error> {
    let found = seen(&access).await?.into_iter().find(|error| error.import_error_id == number);
    found
        .map(Json)
        .ok_or_else(|| Error::NotFound(format!("no file has an import error with the number {number}")))
}

/// A report shows lines of its file. So whoever may not see all DAGs sees those of files whose DAGs they may see; which DAGs
/// a file has that was never in order isn't known.
async fn seen(access: &Access) -> Result<Vec<ImportError>, Error> {
    let may = access.list(Kind::Dag).await?;
    let mut seen = Vec::new();
    for error in import_error::list(may.db(), may.scope).await? {
        let mut shown = may.visible.is_all() || !error.dags.is_empty();
        for dag_id in &error.dags {
            shown = shown && may.sees(dag_id.as_str()).await?;
        }
        if shown {
            seen.push(ImportError {
                import_error_id: id(&error.file),
                timestamp: error.since,
                filename: error.file,
                bundle_name: None,
                stack_trace: error.report,
            });
        }
    }
    Ok(seen)
}
