//! Where the API puts bundles that are sent to it: into the object folder.

use std::collections::BTreeSet;

use api::{Archive, BundleError, Contents, Found, Received};
use dags::ids::{BundleId, TenantId};
use scheduler::deploy::{self, Deployments};

/// The bundles of this node.
#[derive(Debug, Clone)]
pub(crate) struct NodeBundles(pub(crate) Deployments);

fn said(error: deploy::Error) -> BundleError {
    match error {
        deploy::Error::Refused(why) => BundleError::Refused(why),
        deploy::Error::Missing => BundleError::Missing,
        deploy::Error::Unavailable(why) => BundleError::Unavailable(why),
    }
}

fn size(deploy::Received { bytes, files }: deploy::Received) -> Received {
    Received { bytes, files }
}

impl api::Bundles for NodeBundles {
    async fn receive(&self, bundle: BundleId, archive: Archive) -> Result<Received, BundleError> {
        self.0.receive(bundle, archive).await.map(size).map_err(said)
    }

    async fn compile(
        &self,
        tenant: TenantId,
        bundle: BundleId,
        routes: BTreeSet<String>,
    ) -> Result<Contents, BundleError> {
        let found = self.0.compile(tenant, bundle, routes).await.map_err(said)?;
        let deploy::Contents { received, dags, broken, default_executor } = found;
        let dags = dags.into_iter().map(|(name, dag)| {
            let deploy::Compiled { model, version, source, connections, variables } = dag;
            (name, Found { model, version, source, connections, variables })
        });
        Ok(Contents { received: size(received), dags: dags.collect(), broken, default_executor })
    }
}
