//! Bundles: an immutable, content-addressed copy of a folder of DAGs.
//!
//! The address is the SHA-256 over every file's path, mode and content hash, so the same folder is the same bundle on
//! every machine. What `.gitignore` and `.updraftignore` name and what is hidden isn't part of it. Links aren't followed
//! and aren't part of it either.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

pub use dags::bundle::File;
use dags::ids::BundleId;
use ignore::WalkBuilder;
use sha2::{Digest as _, Sha256};

use crate::objects::Objects;

/// The most files of a bundle.
pub const FILES_MAX: usize = 20_000;
/// The largest file in bytes.
pub const FILE_BYTES_MAX: u64 = 32 << 20;
/// The most bytes of all files together.
pub const BYTES_MAX: u64 = 100 << 20;
/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 512;
/// The file with more patterns of what to leave out.
pub const IGNORE_FILE: &str = ".updraftignore";

/// Why a folder can't become a bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read.
    #[error("failed to read {path}")]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It can't be walked.
    #[error("failed to walk the folder: {0}")]
    Walk(String),
    /// It is too large.
    #[error("the folder is too large for a bundle: {0}; leave files out by naming them in `{IGNORE_FILE}`")]
    TooLarge(String),
    /// A path that can't be stored everywhere.
    #[error(
        "the path {0:?} can't be part of a bundle: it isn't UTF-8, or longer than {PATH_BYTES_MAX} bytes"
    )]
    Path(PathBuf),
    /// The copy can't be written.
    #[error("failed to store the bundle in {path}")]
    Store {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file changed while it was copied; scanning again will do.
    #[error("{0} changed while the bundle was made")]
    Changed(String),
}

/// A folder as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The folder.
    pub root: PathBuf,
    /// Its files, by path.
    pub files: Vec<File>,
    /// Paths and bytes of what is larger than [`FILE_BYTES_MAX`] and so isn't part of it.
    pub left_out: Vec<(String, u64)>,
    /// The bundle's address.
    pub digest: BundleId,
}

impl Scan {
    /// The bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

fn walk(root: &Path) -> impl Iterator<Item = Result<(PathBuf, fs::Metadata), Error>> {
    walk_where(root, |_| true)
}

fn walk_where(
    root: &Path,
    wanted: impl Fn(&ignore::DirEntry) -> bool + Send + Sync + 'static,
) -> impl Iterator<Item = Result<(PathBuf, fs::Metadata), Error>> {
    let mut builder = WalkBuilder::new(root);
    builder.follow_links(false).git_global(false).git_exclude(false).require_git(false).parents(false);
    builder.add_custom_ignore_filename(IGNORE_FILE);
    builder.filter_entry(move |entry| entry.file_name() != "__pycache__" && wanted(entry));
    builder.build().filter_map(|entry| {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return Some(Err(Error::Walk(error.to_string()))),
        };
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            return None;
        }
        let path = entry.path().to_owned();
        match entry.metadata() {
            Ok(metadata) => Some(Ok((path, metadata))),
            // It was there a moment ago: an editor's temporary file.
            Err(_) => None,
        }
    })
}

/// The paths of a folder's files, without a look into them.
pub fn paths(root: &Path) -> Vec<String> {
    let found = walk(root).filter_map(|entry| {
        let (full, _) = entry.ok()?;
        Some(full.strip_prefix(root).ok()?.to_str()?.to_owned())
    });
    let mut paths: Vec<String> = found.take(FILES_MAX).collect();
    paths.sort();
    paths
}

/// Whether a bundle of the folder would hold a file that is there. Only the folders on the way to it are looked at.
pub fn holds(root: &Path, path: &str) -> bool {
    let full = root.join(path);
    let on_the_way = {
        let full = full.clone();
        move |entry: &ignore::DirEntry| full.starts_with(entry.path())
    };
    walk_where(root, on_the_way).any(|entry| entry.is_ok_and(|(found, _)| found == full))
}

/// A short value that changes when a file of the folder does, as far as names, sizes and times tell.
pub fn fingerprint(root: &Path) -> Result<[u8; 32], Error> {
    let mut entries = Vec::new();
    for entry in walk(root) {
        let (path, metadata) = entry?;
        let modified = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        entries.push((path, metadata.len(), modified.unwrap_or_default().as_nanos()));
    }
    entries.sort();
    let mut hash = Sha256::new();
    for (path, bytes, modified) in entries {
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(bytes.to_be_bytes());
        hash.update(modified.to_be_bytes());
    }
    Ok(hash.finalize().into())
}

/// Reads no more than a file may have and one byte: one that grows as it is read would never end.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut content = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// Looks at a folder: what a bundle of it would hold.
pub fn scan(root: &Path) -> Result<Scan, Error> {
    let root = root.canonicalize().map_err(|source| Error::Read { path: root.to_owned(), source })?;
    let (mut files, mut left_out) = (Vec::new(), Vec::new());
    let mut total = 0;
    for entry in walk(&root) {
        let (full, metadata) = entry?;
        let relative = full.strip_prefix(&root).map_err(|_| Error::Path(full.clone()))?;
        let path = relative.to_str().filter(|path| path.len() <= PATH_BYTES_MAX);
        let path = path.ok_or_else(|| Error::Path(relative.to_owned()))?.to_owned();
        if metadata.len() > FILE_BYTES_MAX {
            left_out.push((path, metadata.len()));
            continue;
        }
        let content = match read_bounded(&full) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::Read { path: full, source }),
        };
        let bytes = content.len() as u64;
        if bytes > FILE_BYTES_MAX {
            return Err(Error::Changed(path));
        }
        total += bytes;
        if total > BYTES_MAX || files.len() >= FILES_MAX {
            return Err(Error::TooLarge(format!("more than {FILES_MAX} files or {BYTES_MAX} bytes")));
        }
        let executable = metadata.permissions().mode() & 0o111 != 0;
        files.push(File { path, executable, sha256: Sha256::digest(&content).into(), bytes });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let digest = dags::bundle::address(&files);
    left_out.sort();
    Ok(Scan { root, files, left_out, digest })
}

/// Copies a folder into the object store, whole or not at all. A bundle that is there already is left as it is.
pub fn store(scan: &Scan, objects: &Objects) -> Result<PathBuf, Error> {
    let place = objects.bundle(&scan.digest);
    let touched = objects.touch_bundle(&scan.digest);
    if touched.map_err(|source| Error::Store { path: place.clone(), source })? {
        return Ok(place);
    }
    let beside = place.with_extension("part");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Store { path, source }
    };
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(failed(&beside))?;
    }
    fs::DirBuilder::new().mode(0o700).create(&beside).map_err(failed(&beside))?;
    for file in &scan.files {
        let from = scan.root.join(&file.path);
        let to = beside.join(&file.path);
        if let Some(folder) = to.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
        }
        let content = fs::read(&from).map_err(|source| Error::Read { path: from, source })?;
        if <[u8; 32]>::from(Sha256::digest(&content)) != file.sha256 {
            return Err(Error::Changed(file.path.clone()));
        }
        fs::write(&to, content).map_err(failed(&to))?;
        let mode = if file.executable { 0o500 } else { 0o400 };
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).map_err(failed(&to))?;
    }
    match fs::rename(&beside, &place) {
        Ok(()) => Ok(place),
        // Somebody else was quicker, with the same content.
        Err(_) if place.is_dir() => Ok(place),
        Err(source) => Err(Error::Store { path: place, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "dag: a").unwrap();
        fs::create_dir(folder.path().join("sql")).unwrap();
        fs::write(folder.path().join("sql/load.sql"), "select 1").unwrap();
        folder
    }

    #[test]
    fn the_address_depends_on_content_only() {
        let (one, two) = (folder(), folder());
        assert_eq!(scan(one.path()).unwrap().digest, scan(two.path()).unwrap().digest);
        fs::write(two.path().join("sql/load.sql"), "select 2").unwrap();
        assert_ne!(scan(one.path()).unwrap().digest, scan(two.path()).unwrap().digest);
    }

    #[test]
    fn what_is_ignored_isnt_part_of_it() {
        let folder = folder();
        let before = scan(folder.path()).unwrap();
        fs::write(folder.path().join(IGNORE_FILE), "*.csv\n").unwrap();
        fs::write(folder.path().join("big.csv"), "1,2").unwrap();
        fs::write(folder.path().join(".hidden"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.yaml")).unwrap();
        let after = scan(folder.path()).unwrap();
        assert_eq!(before.digest, after.digest);
        assert_eq!(
            after.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            ["a.yaml", "sql/load.sql"]
        );
        assert_eq!(paths(folder.path()), ["a.yaml", "sql/load.sql"]);
        assert!(holds(folder.path(), "sql/load.sql"));
        for left_out in ["big.csv", ".hidden", "link.yaml", "sql/none.sql", "sql"] {
            assert!(!holds(folder.path(), left_out), "{left_out}");
        }
    }

    #[test]
    fn what_is_too_large_is_left_out_and_the_rest_is_not() {
        let folder = folder();
        let before = scan(folder.path()).unwrap();
        fs::File::create(folder.path().join("huge.csv")).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let after = scan(folder.path()).unwrap();
        assert_eq!(after.left_out, [("huge.csv".to_owned(), FILE_BYTES_MAX + 1)]);
        assert_eq!((before.files, before.digest), (after.files, after.digest));
    }

    #[test]
    fn a_stored_bundle_is_a_copy() {
        let (folder, data) = (folder(), tempfile::tempdir().unwrap());
        let objects = Objects::open(&data.path().join("objects")).unwrap();
        let scan = scan(folder.path()).unwrap();
        let place = store(&scan, &objects).unwrap();
        fs::write(folder.path().join("a.yaml"), "dag: b").unwrap();
        assert_eq!(fs::read_to_string(place.join("a.yaml")).unwrap(), "dag: a");
        assert_eq!(store(&scan, &objects).unwrap(), place);
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_noticed() {
        let (folder, data) = (folder(), tempfile::tempdir().unwrap());
        let objects = Objects::open(&data.path().join("objects")).unwrap();
        let scan = scan(folder.path()).unwrap();
        fs::write(folder.path().join("a.yaml"), "dag: b").unwrap();
        assert!(matches!(store(&scan, &objects), Err(Error::Changed(path)) if path == "a.yaml"));
    }
}
