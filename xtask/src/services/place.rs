//! A server's private folder below the temporary directory, and the lock that guards it.

use std::fs::{DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::workspace::Workspace;

/// One server's folder. It is locked for as long as this value lives; servers that are started
/// meanwhile do not inherit the lock, since files opened here are closed on exec.
pub(crate) struct Place {
    folder: PathBuf,
    _lock: File,
}

impl Place {
    /// Opens (and makes, if need be) the folder of the named server of this checkout.
    pub(crate) fn open(workspace: &Workspace, name: &str) -> Result<Self> {
        let uid = rustix::process::getuid().as_raw();
        let mut hasher = DefaultHasher::new();
        workspace.root.hash(&mut hasher);
        let base = std::env::temp_dir().join(format!("updraft-services-{uid}-{:016x}", hasher.finish()));
        make_private(&base, uid)?;
        let lock_path = base.join(format!("{name}.lock"));
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .with_context(|| format!("failed to open {}", lock_path.display()))?;
        lock.lock().with_context(|| format!("failed to lock {}", lock_path.display()))?;
        Ok(Self { folder: base.join(name), _lock: lock })
    }

    /// The folder that belongs to the server's own user. It may not exist yet.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The server's data.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The server's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Where the URL for the tests is kept, next to the folder and readable by us only: it holds a
    /// password, and its presence says that the server was started completely.
    pub(crate) fn url_file(&self) -> PathBuf {
        self.folder.with_extension("url")
    }

    /// Makes the folder anew, owned by `uid`.
    pub(crate) fn make_for(&self, uid: u32) -> Result<()> {
        self.remove()?;
        make_private(&self.folder, rustix::process::getuid().as_raw())?;
        std::os::unix::fs::chown(&self.folder, Some(uid), None)
            .with_context(|| format!("failed to give {} to user {uid}", self.folder.display()))
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
        let describe = || format!("failed to write {}", path.display());
        std::fs::write(path, "").with_context(describe)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).with_context(describe)?;
        std::fs::write(path, text).with_context(describe)
    }

    /// Removes everything that the server left.
    pub(crate) fn remove(&self) -> Result<()> {
        for path in [self.url_file(), self.folder.clone()] {
            let result =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            match result {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("failed to remove {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Makes a folder that others may pass through but not list, and refuses one that somebody else made:
/// the temporary directory belongs to everyone.
fn make_private(folder: &Path, uid: u32) -> Result<()> {
    match DirBuilder::new().mode(0o711).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("failed to make {}", folder.display()));
        }
        _ => {}
    }
    let metadata = std::fs::symlink_metadata(folder)
        .with_context(|| format!("failed to look at {}", folder.display()))?;
    ensure!(
        metadata.is_dir() && metadata.uid() == uid && metadata.mode() & 0o022 == 0,
        "{} is not a folder of our own: remove it, or set TMPDIR to a private one",
        folder.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let uid = rustix::process::getuid().as_raw();
        let folder = temporary.path().join("services");
        make_private(&folder, uid).unwrap();
        make_private(&folder, uid).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o777)).unwrap();
        let error = make_private(&folder, uid).unwrap_err().to_string();
        assert!(error.contains("not a folder of our own"), "{error}");
    }

    #[test]
    fn a_link_in_place_of_the_folder_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let uid = rustix::process::getuid().as_raw();
        let folder = temporary.path().join("services");
        std::os::unix::fs::symlink(temporary.path(), &folder).unwrap();
        assert!(make_private(&folder, uid).is_err());
    }

    #[test]
    fn a_secret_is_readable_by_its_owner_only() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("url");
        Place::write_secret(&path, "postgres://").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "postgres://");
    }
}
