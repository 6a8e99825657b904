//! `GET /dagSources/{dag_id}`: the file that a version of a DAG came from, as it was written.

use axum::{
    Json,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use dags::{
    bundle::Unusable,
    ids::{BundleId, DagId},
};
use migrations::{
    policy::{Action, Kind},
    store::bundle::{self, Numbered},
};
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Named, Params},
    v2::dags::find,
};

/// A file of DAGs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DagSource {
    /// The text. Other DAGs may be in the same file.
    pub content: Option<String>,
    /// The DAG.
    pub dag_id: String,
    /// Which version of the DAG it is, from 1.
    pub version_number: Option<u32>,
    /// The same as `dag_id`.
    pub dag_display_name: String,
    /// The path of the file within its bundle: our addition.
    #[serde(default)]
    pub file: String,
    /// The bundle: our addition.
    #[serde(default)]
    pub bundle: String,
}

/// `GET /dagSources/{dag_id}?version_number=`: of the newest version, or of the one with that number; with `Accept: text/plain` the
/// text alone. The file is that of the bundle that had the version first, for the newest version that of the active bundle.
pub(crate) async fn get(
    access: Access,
    Named(dag_id): Named<DagId>,
    query: Params,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let may = access.authorize(Resource::dag(Kind::Code, &dag_id), Action::Read).await?;
    query.only(&["version_number"])?;
    let row = find(&may, &dag_id).await?.row;
    let wanted: Option<u32> = query.read("version_number")?;
    let known = bundle::numbered(may.db(), may.scope, std::slice::from_ref(&dag_id)).await?;
    let newest = known.iter().find(|of| of.version == row.version);
    let of = wanted.map_or(newest, |number| known.iter().find(|of| of.number == number));
    let number = wanted.map_or_else(String::new, |number| format!(" {number}"));
    let Numbered { number, source, bundle: first, version, .. } =
        of.ok_or_else(|| Error::NotFound(format!("`{dag_id}` has no version{number}")))?;
    let bundles: &[&BundleId] = if *version == row.version { &[&row.bundle, first] } else { &[first] };
    let mut found = Err(Unusable::Missing);
    for bundle in bundles {
        found = may.state.bundles.file((*bundle).clone(), source.clone()).await.map(|text| (bundle, text));
        // Retention takes bundles that no run needs.
        if !matches!(found, Err(Unusable::Missing)) {
            break;
        }
    }
    let (bundle, content) = match found {
        Ok(found) => found,
        Err(Unusable::Missing) => {
            let why = format!(
                "the file of version {number} of `{dag_id}` isn't stored any more: its time was over"
            );
            return Err(Error::NotFound(why));
        }
        Err(error) => return Err(error.into()),
    };
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepted.contains("text/plain") && !accepted.contains("application/json") {
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], content).into_response());
    }
    let source = DagSource {
        content: Some(content),
        dag_id: dag_id.to_string(),
        version_number: Some(*number),
        dag_display_name: dag_id.to_string(),
        file: source.clone(),
        bundle: bundle.to_string(),
    };
    Ok(Json(source).into_response())
}
