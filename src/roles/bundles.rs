//! Where the API puts bundles that are sent to it: into the object folder.

use std::{collections::BTreeSet, fs::File};

use api::Archive;
use dags::{
    bundle::{Contents, Size, Unusable},
    ids::{BundleId, TenantId},
    installation::Installation,
};
use scheduler::deploy::Deployments;

/// The bundles of this node.
#[derive(Debug, Clone)]
pub(crate) struct NodeBundles(pub(crate) Deployments);

impl api::Bundles for NodeBundles {
    async fn receive(&self, bundle: BundleId, archive: Archive) -> Result<Size, Unusable> {
        self.0.receive(bundle, archive).await
    }

    async fn pack(&self, bundle: BundleId) -> Result<File, Unusable> {
        self.0.pack(bundle).await
    }

    fn installation(&self) -> Installation {
        self.0.installation().clone()
    }

    async fn compile(
        &self,
        tenant: TenantId,
        bundle: BundleId,
        routes: BTreeSet<String>,
    ) -> Result<Contents, Unusable> {
        self.0.compile(tenant, bundle, routes).await
    }

    async fn file(&self, bundle: BundleId, path: String) -> Result<String, Unusable> {
        self.0.file(bundle, path).await
    }
}
