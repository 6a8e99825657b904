//! Bundles as workers get them: packed once and read from a file, so that a slow reader holds no thread.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use dags::ids::BundleId;

use super::{Beside, Objects};
use crate::clock;

/// How many are kept; those that nobody asked for longest make room. An open one can be read to its end all the same.
const KEPT: usize = 16;

impl Objects {
    fn packed(&self, bundle: &BundleId) -> PathBuf {
        self.root.join("packed").join(format!("{bundle}.tar"))
    }

    /// A bundle that was packed before.
    pub(crate) fn open_packed(&self, bundle: &BundleId) -> io::Result<Option<File>> {
        match File::options().read(true).write(true).open(self.packed(bundle)) {
            Ok(file) => {
                // Says when it was asked for last.
                file.set_modified(clock::system())?;
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn remove_packed(&self, bundle: &BundleId) -> io::Result<()> {
        match fs::remove_file(self.packed(bundle)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Packs a bundle. None if it isn't there.
    pub(crate) fn pack(&self, bundle: &BundleId) -> io::Result<Option<File>> {
        let (folder, place) = (self.bundle(bundle), self.packed(bundle));
        if !folder.is_dir() {
            return Ok(None);
        }
        let mut beside = Beside::of(&place)?;
        let out = io::BufWriter::with_capacity(64 * 1024, &mut beside.file);
        executor::archive::pack(&folder, out).map_err(io::Error::other)?;
        beside.keep()?;
        make_room(&self.root.join("packed"))?;
        self.open_packed(bundle)
    }
}

fn make_room(folder: &Path) -> io::Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tar")
            && let Ok(metadata) = fs::metadata(&path)
        {
            found.push((metadata.modified()?, path));
        }
    }
    found.sort();
    let too_many = found.len().saturating_sub(KEPT);
    for (_, path) in found.into_iter().take(too_many) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_few_packed_bundles_are_kept() {
        let data = tempfile::tempdir().unwrap();
        let objects = Objects::open(data.path()).unwrap();
        let bundle = |n: usize| BundleId(format!("{n:02}").into());
        assert!(objects.pack(&bundle(0)).unwrap().is_none(), "nobody has it");
        for n in 0..KEPT + 2 {
            let folder = objects.bundle(&bundle(n));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("a.yaml"), "dag: a").unwrap();
            let mut packed = Vec::new();
            objects.pack(&bundle(n)).unwrap().unwrap().read_to_end(&mut packed).unwrap();
            assert!(!packed.is_empty());
        }
        assert_eq!(fs::read_dir(data.path().join("packed")).unwrap().count(), KEPT);
        assert!(objects.open_packed(&bundle(0)).unwrap().is_none());
        assert!(objects.open_packed(&bundle(KEPT + 1)).unwrap().is_some());
    }
}
