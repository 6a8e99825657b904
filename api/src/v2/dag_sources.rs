//! `GET /dagSources/{dag_id}`: the file that a version of a DAG came from, as it was written.

use axum::{
    Json,
    http::{HeaderMap, header},
};
use dags::{
    bundle::Unusable,
    ids::{BundleId, DagId},
};
use migrations::{
    policy::{Action, Kind},
    store::{
        Window,
        bundle::{self, Numbered},
        dag::{self, DagFilter, DagWithModel},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    access::{Access, Permit, Resource},
    describe::{Describe, JSON, Shaped, Sketch},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
    v2::dags::find,
};

/// The most DAGs of a tenant that are looked at.
const DAGS_MAX: u64 = 100_000;

/// A file of DAGs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// A file as JSON or as it is, for the document.
pub(crate) struct InEither;

impl Describe for InEither {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.header("Accept", "`text/plain` for the text alone.");
        let schema = sketch.schemas.sent::<DagSource>();
        let kinds = vec![(JSON, schema), ("text/plain", json!({ "type": "string" }))];
        sketch.answers.insert(200, kinds);
    }
}

/// What may be asked.
pub(crate) struct OfWhich;

impl Parameters for OfWhich {
    const ALL: &'static [Parameter] =
        &[Parameter::one::<u32>("version_number", "Which version of the DAG, from 1; the newest if absent.")];
}

/// `GET /dagSources/{dag_id}?version_number=`: of the newest version, or of the one with that number; with `Accept: text/plain` the
/// text alone. The file is that of the bundle that had the version first; if that is gone, for the newest version that of the active bundle.
pub(crate) async fn get(
    access: Access,
    Named(dag_id): Named<DagId>,
    query: Asked<OfWhich>,
    headers: HeaderMap,
) -> Result<Shaped<InEither>, Error> {
    let may = access.authorize(Resource::dag(Kind::Code, &dag_id), Action::Read).await?;
    let row = find(&may, &dag_id).await?.row;
    let wanted: Option<u32> = query.read("version_number")?;
    let known = bundle::numbered(may.db(), may.scope, std::slice::from_ref(&dag_id)).await?;
    let newest = known.iter().find(|of| of.version == row.version);
    let of = wanted.map_or(newest, |number| known.iter().find(|of| of.number == number));
    let number = wanted.map_or_else(String::new, |number| format!(" {number}"));
    let Numbered { number, source, bundle: first, version, .. } =
        of.ok_or_else(|| Error::NotFound(format!("`{dag_id}` has no version{number}")))?;
    // The file of the newest version is in the active bundle as well, if the first one's time was over.
    let bundles: &[&BundleId] = if *version == row.version { &[first, &row.bundle] } else { &[first] };
    whole_file(&access, &may, source).await?;
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
        return Ok(Shaped::new(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], content)));
    }
    let source = DagSource {
        content: Some(content),
        dag_id: dag_id.to_string(),
        version_number: Some(*number),
        dag_display_name: dag_id.to_string(),
        file: source.clone(),
        bundle: bundle.to_string(),
    };
    Ok(Shaped::new(Json(source)))
}

/// A file may define several DAGs, and is shown only to who may read the code of all of them; of those that it defined in earlier
/// bundles nothing is known here, so whoever may read some DAGs' code only must be let see each that came from it.
async fn whole_file(access: &Access, may: &Permit, source: &str) -> Result<(), Error> {
    if access.seen(Kind::Code).is_all() {
        return Ok(());
    }
    let filter = DagFilter { with_stale: true, ..DagFilter::default() };
    let all = dag::list(may.db(), may.scope, &filter, Window { limit: DAGS_MAX, offset: 0 }).await?.rows;
    let hidden = |of: &&DagWithModel| {
        let name = of.row.dag_id.as_str();
        of.source == source && !access.may(Kind::Code, Action::Read, name, &of.tags())
    };
    match all.iter().find(hidden) {
        None => Ok(()),
        Some(_) => Err(Error::Forbidden(format!(
            "`{source}` defines other DAGs as well, whose code you may not read: the model of a DAG has nothing of them"
        ))),
    }
}
