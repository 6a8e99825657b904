//! Bundles of DAGs as the service takes them in: where they lie and how they are compiled is up to whoever starts the service.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use dags::{
    ids::{BundleId, DagId, DagVersion, ExecutorName, TenantId},
    model::Dag,
};
use tokio::sync::mpsc;

/// An archive on its way: read it in a thread that may block. It ends early if its sender does.
#[derive(Debug)]
pub struct Archive {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Archive {
    /// One, and where its pieces are put in.
    pub(crate) fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, pieces) = mpsc::channel(4);
        (sender, Self { pieces, piece: Bytes::new() })
    }
}

impl io::Read for Archive {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let bytes = self.piece.len().min(into.len());
        into[..bytes].copy_from_slice(&self.piece.split_to(bytes));
        Ok(bytes)
    }
}

/// A bundle that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The bytes of all files together.
    pub bytes: u64,
    /// How many files it has.
    pub files: u32,
}

/// What a bundle holds.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Its size.
    pub received: Received,
    /// Its DAGs, by name.
    pub dags: BTreeMap<DagId, Found>,
    /// What is wrong with its files: the path, and everything with the lines.
    pub broken: BTreeMap<String, String>,
    /// The executor of tasks that name none.
    pub default_executor: ExecutorName,
}

/// A DAG of a bundle.
#[derive(Debug, Clone)]
pub struct Found {
    /// The model.
    pub model: Arc<Dag>,
    /// Its hash.
    pub version: DagVersion,
    /// The path of its file.
    pub source: String,
    /// The connections that its tasks name.
    pub connections: BTreeSet<String>,
    /// The variables that its tasks name.
    pub variables: BTreeSet<String>,
}

/// Why a bundle can't be taken in or looked into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It isn't what it should be.
    #[error("{0}")]
    Refused(String),
    /// It isn't there.
    #[error("the bundle isn't stored here any more: send it again")]
    Missing,
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
}

/// Where bundles go.
pub trait Bundles: Send + Sync + 'static {
    /// Takes a bundle in that is to have that address, whole or not at all.
    fn receive(
        &self,
        bundle: BundleId,
        archive: Archive,
    ) -> impl Future<Output = Result<Received, BundleError>> + Send;

    /// Compiles a bundle for a tenant that has those notification routes.
    fn compile(
        &self,
        tenant: TenantId,
        bundle: BundleId,
        routes: BTreeSet<String>,
    ) -> impl Future<Output = Result<Contents, BundleError>> + Send;
}

type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, BundleError>> + Send + 'a>>;

/// [`Bundles`] without its type.
pub(crate) trait AnyBundles: Send + Sync {
    fn receive(&self, bundle: BundleId, archive: Archive) -> Later<'_, Received>;
    fn compile(&self, tenant: TenantId, bundle: BundleId, routes: BTreeSet<String>) -> Later<'_, Contents>;
}

impl<T: Bundles> AnyBundles for T {
    fn receive(&self, bundle: BundleId, archive: Archive) -> Later<'_, Received> {
        Box::pin(Bundles::receive(self, bundle, archive))
    }
    fn compile(&self, tenant: TenantId, bundle: BundleId, routes: BTreeSet<String>) -> Later<'_, Contents> {
        Box::pin(Bundles::compile(self, tenant, bundle, routes))
    }
}
