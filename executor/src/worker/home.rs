//! The folder of one worker's life, `run/<id>` in the data folder, which several workers may share.
//!
//! It is locked as long as its worker lives, so that whoever starts next removes only what the dead left.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use dags::ids::WorkerId;

/// The lock in a worker's folder.
const LOCK: &str = "lock";

/// A worker's folder.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    /// Locked until this is dropped, whatever ends the process.
    _lock: File,
}

impl Home {
    /// Makes a worker's folder, and removes those of workers that are dead: their attempts died with them.
    pub(super) fn open(data: &Path, worker: WorkerId) -> io::Result<Self> {
        let runs = data.join("run");
        for path in [&runs, &data.join("bundles")] {
            folder(path)?;
        }
        // Between making a folder and locking it, nobody may look at it.
        let turn = File::create(data.join("run.lock"))?;
        turn.lock()?;
        for entry in fs::read_dir(&runs)? {
            let path = entry?.path();
            match clean(&path) {
                Ok(true) => {}
                Ok(false) => tracing::info!(path = %path.display(), "another worker runs in this folder"),
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "what a former worker left can't be removed");
                }
            }
        }
        let path = runs.join(worker.to_string());
        folder(&path.join("objects"))?;
        let lock = File::create_new(path.join(LOCK))?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

/// Removes a worker's folder unless the worker lives; says whether it did.
fn clean(path: &Path) -> io::Result<bool> {
    match File::open(path.join(LOCK)) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::remove_dir_all(path).map(|()| true)
}

fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn who_starts_removes_only_what_the_dead_left() {
        let data = tempfile::tempdir().unwrap();
        let open = |n| Home::open(data.path(), WorkerId(Uuid::from_u128(n))).unwrap();
        let (first, second) = (open(1), open(2));
        let there = |home: &Home| home.path().join("objects").is_dir();
        assert!(there(&first) && there(&second));
        let left = first.path().to_owned();
        // Its process was killed.
        drop(first);
        let third = open(3);
        assert!(!left.exists() && there(&second) && there(&third));
        second.remove().unwrap();
        assert!(there(&third));
    }
}
