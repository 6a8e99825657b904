//! Bundles on their way to a worker: packed as a tar archive, unpacked with distrust, and checked against their address.

use std::{
    fs,
    io::{self, Read as _, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use dags::{
    bundle::{self, File},
    ids::BundleId,
};
use sha2::{Digest as _, Sha256};

/// The most files of a bundle.
const FILES_MAX: usize = 20_000;
/// The most bytes of all files together.
const BYTES_MAX: u64 = 100 << 20;
/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 512;

/// Why an archive can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read or written.
    #[error("failed to {0}")]
    Io(&'static str, #[source] io::Error),
    /// It holds something that no bundle has.
    #[error("the archive holds what no bundle has: {0}")]
    Strange(String),
    /// A file isn't as it was when the folder was looked at.
    #[error("{0} changed while the bundle was packed")]
    Changed(String),
    /// It is another bundle.
    #[error("the archive has the address {found}, not {expected}")]
    Address {
        /// What was asked for.
        expected: BundleId,
        /// What came.
        found: BundleId,
    },
}

fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io(doing, source)
}

/// Packs the folder of a stored bundle.
pub fn pack(folder: &Path, out: impl Write) -> Result<(), Error> {
    let mut files = Vec::new();
    list(folder, folder, &mut files)?;
    files.sort();
    let mut archive = tar::Builder::new(out);
    for path in files {
        let mut file = fs::File::open(folder.join(&path)).map_err(io_error("open a file of the bundle"))?;
        let metadata = file.metadata().map_err(io_error("read a file of the bundle"))?;
        let executable = metadata.permissions().mode() & 0o100 != 0;
        append(&mut archive, &path, executable, metadata.len(), &mut file)?;
    }
    finish(archive)
}

/// Packs those files of a folder that was looked at. One that has changed since then is an error.
pub fn pack_files(folder: &Path, files: &[File], out: impl Write) -> Result<(), Error> {
    let mut archive = tar::Builder::new(out);
    for file in files {
        let content = fs::read(folder.join(&file.path)).map_err(io_error("read a file of the folder"))?;
        if <[u8; 32]>::from(Sha256::digest(&content)) != file.sha256 {
            return Err(Error::Changed(file.path.clone()));
        }
        let bytes = content.len() as u64;
        append(&mut archive, Path::new(&file.path), file.executable, bytes, &content[..])?;
    }
    finish(archive)
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    path: &Path,
    executable: bool,
    bytes: u64,
    content: impl io::Read,
) -> Result<(), Error> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, path, content).map_err(io_error("pack a file of the bundle"))
}

fn finish(archive: tar::Builder<impl Write>) -> Result<(), Error> {
    archive.into_inner().and_then(|mut out| out.flush()).map_err(io_error("finish the archive"))
}

fn list(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let read = io_error("list the bundle");
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(io_error("list the bundle"))?;
        let kind = entry.file_type().map_err(io_error("list the bundle"))?;
        let path = entry.path();
        if kind.is_dir() {
            list(root, &path, files)?;
        } else if kind.is_file()
            && let Ok(relative) = path.strip_prefix(root)
        {
            files.push(relative.to_owned());
        }
    }
    Ok(())
}

/// Unpacks an archive into a folder that isn't there yet, and checks that it is that bundle.
pub fn unpack(archive: impl io::Read, folder: &Path, expected: &BundleId) -> Result<(), Error> {
    private(folder).map_err(io_error("make the bundle's folder"))?;
    let mut archive = tar::Archive::new(archive);
    let (mut files, mut total) = (Vec::new(), 0);
    for entry in archive.entries().map_err(io_error("read the archive"))? {
        let mut entry = entry.map_err(io_error("read the archive"))?;
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(Error::Strange("something that isn't a regular file".to_owned()));
        }
        let path = entry.path().map_err(io_error("read the archive"))?.into_owned();
        let name = checked(&path)?;
        if files.len() >= FILES_MAX {
            return Err(Error::Strange(format!("more than {FILES_MAX} files")));
        }
        let mode = entry.header().mode().map_err(io_error("read the archive"))?;
        let mut content = Vec::new();
        entry
            .by_ref()
            .take(BYTES_MAX - total + 1)
            .read_to_end(&mut content)
            .map_err(io_error("read the archive"))?;
        total += content.len() as u64;
        if total > BYTES_MAX {
            return Err(Error::Strange(format!("more than {BYTES_MAX} bytes")));
        }
        let executable = mode & 0o100 != 0;
        put(folder, &name, &content, executable)?;
        let (sha256, bytes) = (Sha256::digest(&content).into(), content.len() as u64);
        files.push(File { path: name, executable, sha256, bytes });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let found = bundle::address(&files);
    if found == *expected { Ok(()) } else { Err(Error::Address { expected: expected.clone(), found }) }
}

/// The path as text, if it stays within its folder.
fn checked(path: &Path) -> Result<String, Error> {
    let strange = || Error::Strange(format!("the path {}", path.display()));
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let text = path.to_str().filter(|text| plain && !text.is_empty() && text.len() <= PATH_BYTES_MAX);
    let text = text.ok_or_else(strange)?;
    if text.contains('\\') || text.chars().any(char::is_control) {
        Err(strange())
    } else {
        Ok(text.to_owned())
    }
}

fn put(folder: &Path, name: &str, content: &[u8], executable: bool) -> Result<(), Error> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        private(parent).map_err(io_error("make a folder of the bundle"))?;
    }
    let mode = if executable { 0o500 } else { 0o400 };
    // Fails if the archive names a file twice.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(io_error("write a file of the bundle"))?;
    file.write_all(content).map_err(io_error("write a file of the bundle"))
}

fn private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &str, executable: bool) -> File {
        let (sha256, bytes) = (Sha256::digest(content).into(), content.len() as u64);
        File { path: path.to_owned(), executable, sha256, bytes }
    }

    #[test]
    fn a_bundle_survives_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        put(&from, "a.yaml", b"dag: a", false).unwrap();
        put(&from, "bin/run.sh", b"#!/bin/sh", true).unwrap();
        let address =
            bundle::address(&[file("a.yaml", "dag: a", false), file("bin/run.sh", "#!/bin/sh", true)]);
        let mut packed = Vec::new();
        pack(&from, &mut packed).unwrap();
        unpack(&packed[..], &dir.path().join("to"), &address).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("to/a.yaml")).unwrap(), "dag: a");
        assert_eq!(
            fs::metadata(dir.path().join("to/bin/run.sh")).unwrap().permissions().mode() & 0o777,
            0o500
        );
        let other = BundleId("0".into());
        let refused = unpack(&packed[..], &dir.path().join("other"), &other);
        assert!(matches!(refused, Err(Error::Address { found, .. }) if found == address));
        let mut again = Vec::new();
        let files = [file("a.yaml", "dag: a", false), file("bin/run.sh", "#!/bin/sh", true)];
        pack_files(&from, &files, &mut again).unwrap();
        assert!(again == packed, "the same files are the same archive");
        let changed = pack_files(&from, &[file("a.yaml", "dag: b", false)], &mut again);
        assert!(matches!(changed, Err(Error::Changed(path)) if path == "a.yaml"));
        for cut in [1, 511, 600, packed.len() / 2] {
            let place = dir.path().join(format!("cut{cut}"));
            assert!(unpack(&packed[..cut], &place, &address).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_would_leave_its_folder_is_refused() {
        for path in ["../a", "/a", "a/../../b", "a\\b", "a\nb", ""] {
            assert!(checked(Path::new(path)).is_err(), "{path:?}");
        }
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, "a", "/etc/passwd").unwrap();
        let packed = archive.into_inner().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let refused = unpack(&packed[..], &dir.path().join("to"), &BundleId("0".into()));
        assert!(matches!(refused, Err(Error::Strange(_))));
    }
}
