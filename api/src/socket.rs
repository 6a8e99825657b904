//! The Unix socket: mode 0600, one service at a time.

use std::{
    fs, io,
    os::unix::{
        fs::{OpenOptionsExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// The longest path that the operating system takes for a socket, on Linux and with some room.
const PATH_BYTES_MAX: usize = 100;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another service answers there.
    #[error("another service answers on {}: stop it, or choose another socket", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path doesn't fit.
    #[error("the path {} is longer than {PATH_BYTES_MAX} bytes, which a socket can't have: choose a shorter one", path.display())]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// What we were doing.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A socket that is ours until this is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    pub(crate) listener: Option<UnixListener>,
    /// Locked as long as we live: what nobody locks is dead.
    _lock: fs::File,
}

impl Socket {
    /// Takes the socket over: refuses if another service has it, replaces what a dead one left.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| SocketError::Io { doing, path, source }
        };
        let lock_path = beside(path, "lock");
        let new_path = beside(path, "new");
        if new_path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(SocketError::TooLong { path: path.to_owned() });
        }
        let lock =
            fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(io("open the lock file", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(SocketError::InUse { path: path.to_owned() }),
            Err(fs::TryLockError::Error(source)) => return Err(io("lock", &lock_path)(source)),
        }
        // Somebody who knows nothing of our lock file may have it.
        if UnixStream::connect(path).is_ok() {
            return Err(SocketError::InUse { path: path.to_owned() });
        }
        remove(&new_path).map_err(io("remove", &new_path))?;
        // Made beside its place and moved there with its mode: nobody else ever finds it open.
        let listener = UnixListener::bind(&new_path).map_err(io("make the socket", &new_path))?;
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&new_path, private).map_err(io("set the mode of", &new_path))?;
        fs::rename(&new_path, path).map_err(io("put the socket at", path))?;
        Ok(Self { path: path.to_owned(), listener: Some(listener), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "failed to remove the socket");
        }
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_living_service_is_left_alone_and_a_dead_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("updraft.sock");
        let first = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse { .. })));
        drop(first);
        assert!(!path.exists());
        // What a service leaves that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let again = Socket::bind(&path).unwrap();
        assert!(UnixStream::connect(again.path()).is_ok());
    }

    #[tokio::test]
    async fn a_socket_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("updraft.sock");
        let _theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse { .. })));
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_said_so() {
        let path = Path::new("/tmp").join("x".repeat(120));
        assert!(matches!(Socket::bind(&path), Err(SocketError::TooLong { .. })));
    }
}
