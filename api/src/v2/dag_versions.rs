//! Versions of DAGs.

use axum::Json;
use dags::{
    ids::{self, DagId},
    time::Timestamp,
};
use migrations::policy::{Action, Kind};
use migrations::store::bundle::{self, Numbered};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    access::{Access, Permit, Resource},
    error::Error,
    extract::{Asked, Named},
    list::Paged,
    list::page,
    v2::dags::find,
};

/// A version of a DAG.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DagVersion {
    /// Derived from DAG and hash.
    pub id: Uuid,
    /// Which version it is in the order in which they came, from 1.
    pub version_number: u32,
    /// The DAG.
    pub dag_id: String,
    /// Bundles have no names.
    pub bundle_name: Option<String>,
    /// The bundle that had it first.
    pub bundle_version: Option<String>,
    /// When it came.
    pub created_at: Timestamp,
    /// The same as `dag_id`.
    pub dag_display_name: String,
    /// None.
    pub bundle_url: Option<String>,
    /// The hash of the model: our addition.
    #[serde(default)]
    pub version: String,
}

/// A page of versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DagVersionCollection {
    /// The versions.
    pub dag_versions: Vec<DagVersion>,
    /// How many there are on all pages.
    pub total_entries: u64,
}

/// The versions of some DAGs.
pub(crate) struct Versions(Vec<Numbered>);

impl Versions {
    pub(crate) async fn of(may: &Permit, dags: &[DagId]) -> Result<Self, Error> {
        Ok(Self(bundle::numbered(may.db(), may.scope, dags).await?))
    }

    pub(crate) fn view(&self, dag: &DagId, version: &ids::DagVersion) -> Option<DagVersion> {
        self.0.iter().find(|known| known.dag_id == *dag && known.version == *version).map(view)
    }
}

fn view(known: &Numbered) -> DagVersion {
    let name = format!("{}/{}", known.dag_id, known.version);
    DagVersion {
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()),
        version_number: known.number,
        dag_id: known.dag_id.to_string(),
        bundle_name: None,
        bundle_version: Some(known.bundle.to_string()),
        created_at: known.created_at,
        dag_display_name: known.dag_id.to_string(),
        bundle_url: None,
        version: known.version.to_string(),
    }
}

/// `GET /dags/{dag_id}/dagVersions`: the oldest first.
pub(crate) async fn list(
    access: Access,
    Named(dag_id): Named<DagId>,
    query: Asked<Paged>,
) -> Result<Json<DagVersionCollection>, Error> {
    let may = access.authorize(Resource::dag(Kind::Dag, &dag_id), Action::Read).await?;
    let descending = query.order(&["version_number", "-version_number"])? == Some("-version_number");
    find(&may, &dag_id).await?;
    let versions = Versions::of(&may, &[dag_id]).await?;
    let page = page(versions.0, query.window()?, descending);
    Ok(Json(DagVersionCollection {
        dag_versions: page.rows.iter().map(view).collect(),
        total_entries: page.total,
    }))
}

/// `GET /dags/{dag_id}/dagVersions/{version_number}`
pub(crate) async fn get(
    access: Access,
    Named((dag_id, number)): Named<(DagId, u32)>,
) -> Result<Json<DagVersion>, Error> {
    let may = access.authorize(Resource::dag(Kind::Dag, &dag_id), Action::Read).await?;
    let versions = Versions::of(&may, std::slice::from_ref(&dag_id)).await?;
    let found = versions.0.iter().find(|known| known.number == number).map(view);
    found.map(Json).ok_or_else(|| Error::NotFound(format!("`{dag_id}` has no version {number}")))
}
