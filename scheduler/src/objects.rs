//! The object store of a single node: a folder for bundles, results and logs, every object written whole or not at all.
//!
//! ```text
//! bundles/<digest>/...         an unpacked bundle, read-only
//! results/<digest>             a result that is too large for the database
//! logs/<attempt>-<n>/<member>  the log of a member of a dispatch, one line of JSON per line
//! ```

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use dags::ids::{BundleId, DispatchId};

/// The folder.
#[derive(Debug, Clone)]
pub struct Objects {
    root: PathBuf,
}

impl Objects {
    /// Opens the folder, making it if it isn't there.
    pub fn open(root: &Path) -> io::Result<Self> {
        for part in ["bundles", "results", "logs"] {
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

    /// Where the log of a member of a dispatch is, once the dispatch has ended.
    pub fn log(&self, dispatch: DispatchId, member: u32) -> PathBuf {
        self.root.join("logs").join(dispatch.to_string()).join(member.to_string())
    }

    /// Writes a file whole: beside its place first, then moved there.
    pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let beside = path.with_extension("part");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }
}
