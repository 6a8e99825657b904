//! The object store of a single node: a folder for bundles, results and logs, every object written whole or not at all.
//!
//! ```text
//! bundles/<digest>/...         an unpacked bundle, read-only
//! results/<digest>             a result that is too large for the database
//! logs/<attempt>-<n>/<member>  the log of a member of a dispatch, one line of JSON per line
//! logs/<attempt>-<n>/<member>.end     how a member that a pod ran has ended, as the pod said it
//! logs/<attempt>-<n>/<member>.ending  why one is to be ended, for its pod
//! logs/<attempt>-<n>/<member>.waits   what its pod waits for, as its cluster says it
//! logs/<attempt>-<n>/<member>.parts/<offset>  a piece of one that grows, as its worker sent it
//! ```

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use dags::ids::{BundleId, DispatchId};
use uuid::Uuid;

use crate::clock;

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

    /// A folder that isn't there, beside the one of a bundle, for one that comes.
    pub(crate) fn beside_bundle(&self, bundle: &BundleId) -> PathBuf {
        self.bundle(bundle).with_extension(format!("{}.part", Uuid::now_v7().simple()))
    }

    /// Makes a folder the bundle, when all of it is on disk. One that is there already stays.
    pub(crate) fn keep_bundle(&self, beside: &Path, bundle: &BundleId) -> io::Result<()> {
        let place = self.bundle(bundle);
        rustix::fs::syncfs(fs::File::open(beside)?)?;
        match fs::rename(beside, &place) {
            // Somebody else was quicker, with the same content.
            Err(_) if self.touch_bundle(bundle)? => return Ok(()),
            renamed => renamed?,
        }
        fs::File::open(self.root.join("bundles"))?.sync_all()
    }

    /// Removes what bundles left that were begun that long ago and never became whole.
    pub(crate) fn sweep_bundles(&self, age: Duration) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join("bundles"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "part")
                && let Ok(metadata) = fs::metadata(&path)
                && metadata.modified()?.elapsed().is_ok_and(|old| old > age)
            {
                remove_folder(&path)?;
            }
        }
        Ok(())
    }

    /// Notes that a bundle is wanted, so that it isn't removed now. False if it isn't there.
    pub(crate) fn touch_bundle(&self, bundle: &BundleId) -> io::Result<bool> {
        match fs::File::open(self.bundle(bundle)) {
            Ok(folder) => folder.set_modified(clock::system()).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a bundle that nothing names, unless somebody stored it within `fresh`. Says whether it did.
    pub(crate) fn remove_bundle(&self, bundle: &BundleId, fresh: Duration) -> io::Result<bool> {
        let place = self.bundle(bundle);
        let aside = place.with_extension("gone");
        remove_folder(&aside)?;
        match fs::rename(&place, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            renamed => renamed?,
        }
        // Whoever stores it from now on makes it anew; whoever found it before has touched it.
        if fs::metadata(&aside)?.modified()?.elapsed().is_ok_and(|age| age > fresh) {
            self.remove_packed(bundle)?;
            remove_folder(&aside)?;
            return Ok(true);
        }
        match fs::rename(&aside, &place) {
            // Somebody has made it anew.
            Err(_) if place.is_dir() => remove_folder(&aside)?,
            renamed => renamed?,
        }
        Ok(false)
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
        remove_folder(&self.of(dispatch))
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

/// Removes a folder, if it is there, with all that it has.
pub(crate) fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_goes_unless_it_was_stored_again() {
        let data = tempfile::tempdir().unwrap();
        let objects = Objects::open(data.path()).unwrap();
        let bundle = BundleId("b1".into());
        assert!(!objects.touch_bundle(&bundle).unwrap());
        assert!(!objects.remove_bundle(&bundle, Duration::ZERO).unwrap(), "it isn't there");
        fs::create_dir_all(objects.bundle(&bundle).join("sql")).unwrap();
        fs::write(objects.bundle(&bundle).join("sql/a.sql"), "select 1").unwrap();
        drop(objects.pack(&bundle).unwrap().unwrap());
        let hour = Duration::from_hours(1);
        assert!(!objects.remove_bundle(&bundle, hour).unwrap(), "it is new");
        assert!(objects.bundle(&bundle).join("sql/a.sql").exists());
        let old = clock::system() - 2 * hour;
        fs::File::open(objects.bundle(&bundle)).unwrap().set_modified(old).unwrap();
        assert!(objects.touch_bundle(&bundle).unwrap());
        assert!(!objects.remove_bundle(&bundle, hour).unwrap(), "it was stored again");
        fs::File::open(objects.bundle(&bundle)).unwrap().set_modified(old).unwrap();
        // What a process left that was killed in the middle of it doesn't hinder.
        fs::create_dir_all(objects.bundle(&bundle).with_extension("gone").join("rest")).unwrap();
        assert!(objects.remove_bundle(&bundle, hour).unwrap());
        assert!(!objects.bundle(&bundle).exists() && objects.open_packed(&bundle).unwrap().is_none());
        assert_eq!(fs::read_dir(data.path().join("bundles")).unwrap().count(), 0);
    }
}
