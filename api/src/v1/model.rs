//! `GET /dags/{dag_id}/model`: a DAG in its canonical form, as the engine reads it.

use std::sync::Arc;

use axum::Json;
use dags::{
    ids::{DagId, DagVersion},
    model::Dag,
};
use migrations::{
    policy::{Action, Kind},
    store::bundle,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::{Access, Resource},
    error::Error,
    extract::{Asked, Named, Parameter, Parameters},
    v2::dags::find,
};

/// A version of a DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Versioned {
    /// The hash of the model and of all that it names.
    pub version: String,
    /// The model.
    pub model: Dag,
}

/// What may be asked.
pub(crate) struct Wanted;

impl Parameters for Wanted {
    const ALL: &'static [Parameter] =
        &[Parameter::one::<String>("version", "The hash of a version; the newest one if absent.")];
}

/// `GET /dags/{dag_id}/model?version=`: the newest version, or the one with that hash.
pub(crate) async fn get(
    access: Access,
    Named(dag_id): Named<DagId>,
    query: Asked<Wanted>,
) -> Result<Json<Versioned>, Error> {
    let may = access.authorize(Resource::dag(Kind::Code, &dag_id), Action::Read).await?;
    let found = find(&may, &dag_id).await?;
    let Some(hash) = query.text("version") else {
        let version = found.row.version.to_string();
        return Ok(Json(Versioned { version, model: Dag::clone(found.model()?) }));
    };
    let version = bundle::version(may.db(), may.scope, &dag_id, &DagVersion(Arc::from(hash))).await?;
    let version = version
        .ok_or_else(|| Error::NotFound(format!("`{dag_id}` has no version with the hash `{hash}`")))?;
    Ok(Json(Versioned { version: hash.to_owned(), model: Dag::clone(&version.model) }))
}
