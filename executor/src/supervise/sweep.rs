//! Deletes the folders of forgotten attempts, however large, without holding up the supervisor.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
};

use super::{Error, machine};

/// Moves folders out of the way at once and has a thread delete them.
#[derive(Debug)]
pub(super) struct Sweeper {
    trash: PathBuf,
    next: u64,
    sender: mpsc::Sender<PathBuf>,
}

impl Sweeper {
    /// Starts the thread; it begins with what a former supervisor left.
    pub(super) fn start(trash: PathBuf) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel::<PathBuf>();
        let entries = fs::read_dir(&trash).map_err(machine("read the folder of deleted attempts"))?;
        let left = entries
            .collect::<io::Result<Vec<_>>>()
            .map_err(machine("read the folder of deleted attempts"))?;
        let sweep = move || {
            for path in left.into_iter().map(|entry| entry.path()).chain(receiver) {
                if let Err(error) = fs::remove_dir_all(&path) {
                    tracing::warn!(path = %path.display(), %error, "a deleted attempt's folder couldn't be removed");
                }
            }
        };
        let thread = std::thread::Builder::new().name("sweep".to_owned()).spawn(sweep);
        thread.map_err(machine("start the thread that deletes folders"))?;
        Ok(Self { trash, next: 0, sender })
    }

    /// Deletes a folder; when this returns, it is no longer where it was.
    pub(super) fn sweep(&mut self, path: &Path) -> io::Result<()> {
        self.next += 1;
        let target = self.trash.join(format!("{}-{}", std::process::id(), self.next));
        match fs::rename(path, &target) {
            Ok(()) => self
                .sender
                .send(target)
                .map_err(|_| io::Error::other("the thread that deletes folders is gone")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
