//! Bundles of DAGs as the service takes them in: where they lie and how they are compiled is up to whoever starts the service.

use std::{collections::BTreeSet, fs::File, future::Future, io, pin::Pin};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use dags::{
    bundle::{Contents, Size, Unusable},
    ids::{BundleId, TenantId},
    installation::Installation,
};
use tokio::{io::AsyncReadExt as _, sync::mpsc};

/// What is read of a packed bundle at once.
const PIECE_BYTES: usize = 64 << 10;

/// A packed bundle as the body of an answer.
pub(crate) fn body(file: File) -> Body {
    let file = tokio::fs::File::from_std(file);
    Body::from_stream(futures::stream::try_unfold(file, |mut file| async move {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let read = file.read_buf(&mut piece).await?;
        Ok::<_, io::Error>((read > 0).then(|| (piece.freeze(), file)))
    }))
}

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

/// Where bundles go.
pub trait Bundles: Send + Sync + 'static {
    /// Takes a bundle in that is to have that address, whole or not at all.
    fn receive(
        &self,
        bundle: BundleId,
        archive: Archive,
    ) -> impl Future<Output = Result<Size, Unusable>> + Send;

    /// The packed bundle, to be read from its beginning.
    fn pack(&self, bundle: BundleId) -> impl Future<Output = Result<File, Unusable>> + Send;

    /// What DAGs find where they run.
    fn installation(&self) -> Installation;

    /// Compiles a bundle for a tenant that has those notification routes.
    fn compile(
        &self,
        tenant: TenantId,
        bundle: BundleId,
        routes: BTreeSet<String>,
    ) -> impl Future<Output = Result<Contents, Unusable>> + Send;

    /// The text of a file, by its path within a bundle. A file that isn't there is [`Unusable::Missing`], as is the bundle.
    fn file(&self, bundle: BundleId, path: String) -> impl Future<Output = Result<String, Unusable>> + Send;
}

type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unusable>> + Send + 'a>>;

/// [`Bundles`] without its type.
pub(crate) trait AnyBundles: Send + Sync {
    fn receive(&self, bundle: BundleId, archive: Archive) -> Later<'_, Size>;
    fn installation(&self) -> Installation;
    fn pack(&self, bundle: BundleId) -> Later<'_, File>;
    fn compile(&self, tenant: TenantId, bundle: BundleId, routes: BTreeSet<String>) -> Later<'_, Contents>;
    fn file(&self, bundle: BundleId, path: String) -> Later<'_, String>;
}

impl<T: Bundles> AnyBundles for T {
    fn installation(&self) -> Installation {
        Bundles::installation(self)
    }
    fn receive(&self, bundle: BundleId, archive: Archive) -> Later<'_, Size> {
        Box::pin(Bundles::receive(self, bundle, archive))
    }
    fn pack(&self, bundle: BundleId) -> Later<'_, File> {
        Box::pin(Bundles::pack(self, bundle))
    }
    fn compile(&self, tenant: TenantId, bundle: BundleId, routes: BTreeSet<String>) -> Later<'_, Contents> {
        Box::pin(Bundles::compile(self, tenant, bundle, routes))
    }
    fn file(&self, bundle: BundleId, path: String) -> Later<'_, String> {
        Box::pin(Bundles::file(self, bundle, path))
    }
}
