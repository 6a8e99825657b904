//! The object store of a single node: a folder for bundles, results and logs, every object written whole or not at all.
//!
//! ```text
//! bundles/<digest>/...         an unpacked bundle, read-only
//! results/<digest>             a result that is too large for the database
//! logs/<attempt>-<n>/<member>  the log of a member of a dispatch, one line of JSON per line
//! logs/<attempt>-<n>/<member>.end     how a member that a pod ran has ended, as the pod said it
//! logs/<attempt>-<n>/<member>.ending  why one is to be ended, for its pod
//! logs/<attempt>-<n>/<member>.parts/<offset>  a piece of one that grows, as its worker sent it
//! ```

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use dags::ids::{BundleId, DispatchId};
use uuid::Uuid;

mod logs;
mod packed;
mod pods;
mod results;

pub use logs::PutError;

/// The folder.
#[derive(Debug, Clone)]
pub struct Objects {
    root: PathBuf,
}

impl Objects {
    /// Opens the folder, making it if it isn't there.
    pub fn open(root: &Path) -> io::Result<Self> {
        for part in ["bundles", "packed", "results", "logs"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(part))?;
        }
        Ok(Self { root: root.canonicalize()? })
    }

    /// The folder of a bundle, whether or not it is there.
    pub fn bundle(&self, bundle: &BundleId) -> PathBuf {
        self.root.join("bundles").join(&*bundle.0)
    }

    /// Where results are.
    pub fn results(&self) -> PathBuf {
        self.root.join("results")
    }

    /// Reads a large result.
    pub fn result(&self, digest: &str) -> io::Result<Vec<u8>> {
        if digest.is_empty() || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a digest"));
        }
        fs::read(self.results().join(digest))
    }

    /// What is kept of a dispatch beside its rows.
    fn of(&self, dispatch: DispatchId) -> PathBuf {
        self.root.join("logs").join(dispatch.to_string())
    }

    /// Where the log of a member of a dispatch is, once the dispatch has ended.
    pub fn log(&self, dispatch: DispatchId, member: u32) -> PathBuf {
        self.of(dispatch).join(member.to_string())
    }

    /// Removes the logs of a dispatch, if there are any.
    pub fn remove_logs(&self, dispatch: DispatchId) -> io::Result<()> {
        match fs::remove_dir_all(self.root.join("logs").join(dispatch.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes a file whole: beside its place first, then moved there.
    pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut beside = Beside::of(path)?;
        beside.file.write_all(content)?;
        beside.keep()
    }
}

/// A file that isn't at its place yet; it is removed unless it is moved there.
struct Beside<'a> {
    place: &'a Path,
    path: PathBuf,
    file: fs::File,
}

impl<'a> Beside<'a> {
    /// One beside its place, under a name that nobody else uses.
    fn of(place: &'a Path) -> io::Result<Self> {
        let path = place.with_extension(format!("{}.part", Uuid::now_v7().simple()));
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { place, path, file })
    }

    /// Moves it to its place, when all of it is on disk.
    fn keep(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, self.place)
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "a file that was begun can't be removed");
        }
    }
}
