//! The bundles of a machine: fetched once, used by every worker of its folder, and removed when room is needed.
//!
//! ```text
//! <address>                the unpacked bundle
//! <address>.ok             says that it is whole and on disk, and how many bytes it has; whoever uses it has a shared lock
//! <address>.<id>.part      one that is being fetched
//! ```
//!
//! A folder without its `.ok` was begun before a crash and is fetched anew.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::SystemTime,
};

use dags::ids::BundleId;
use tokio::sync::Mutex as Turn;
use uuid::Uuid;

use super::api::{Api, ApiError};

/// How many bytes of files are kept; those that weren't used for longest make room. What is in use stays.
const KEPT_BYTES_MAX: u64 = 4 << 30;

/// A bundle's folder, which stays as long as this does.
#[derive(Debug, Clone)]
pub(super) struct Used {
    pub(super) folder: PathBuf,
    pub(super) lock: Arc<File>,
}

/// The folder of bundles.
#[derive(Debug)]
pub(super) struct Bundles {
    root: PathBuf,
    bytes_max: u64,
    /// What this worker uses, so that a bundle costs one open file however many attempts use it.
    using: Mutex<BTreeMap<BundleId, Weak<File>>>,
    /// One fetch at a time for each bundle.
    fetching: Turn<BTreeMap<BundleId, Arc<Turn<()>>>>,
}

impl Bundles {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, bytes_max: KEPT_BYTES_MAX, using: Mutex::default(), fetching: Turn::default() }
    }

    /// The folder of a bundle, fetched if it isn't there.
    pub(super) async fn get(
        self: &Arc<Self>,
        api: &Api,
        token: &str,
        bundle: &BundleId,
    ) -> Result<Used, ApiError> {
        let plain = !bundle.0.is_empty() && bundle.0.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !plain {
            return Err(ApiError::Answer(format!("{bundle:?} is no bundle's address")));
        }
        if let Some(used) = self.find(bundle).await? {
            return Ok(used);
        }
        let turn = self.fetching.lock().await.entry(bundle.clone()).or_default().clone();
        let _turn = turn.lock().await;
        let used = match self.find(bundle).await? {
            Some(used) => used,
            None => {
                let beside = Beside(self.root.join(format!("{bundle}.{}.part", Uuid::now_v7())));
                api.bundle(token, bundle, &beside.0).await?;
                self.blocking(bundle, move |bundles, bundle| bundles.keep(bundle, &beside)).await?;
                let found = self.find(bundle).await?;
                found.ok_or_else(|| {
                    ApiError::Answer("the bundle vanished as soon as it was stored".to_owned())
                })?
            }
        };
        self.fetching.lock().await.remove(bundle);
        Ok(used)
    }

    async fn find(self: &Arc<Self>, bundle: &BundleId) -> Result<Option<Used>, ApiError> {
        self.blocking(bundle, Self::open).await
    }

    /// Work with files, in a thread that may block.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        bundle: &BundleId,
        work: impl FnOnce(&Self, &BundleId) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (bundles, bundle) = (self.clone(), bundle.clone());
        let done = tokio::task::spawn_blocking(move || work(&bundles, &bundle)).await;
        let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|error| ApiError::Answer(format!("the bundle can't be kept on this machine: {error}")))
    }

    fn ok(&self, bundle: &BundleId) -> PathBuf {
        self.root.join(format!("{bundle}.ok"))
    }

    /// The bundle, if it is whole.
    fn open(&self, bundle: &BundleId) -> io::Result<Option<Used>> {
        let folder = self.root.join(&*bundle.0);
        let mut using = self.using.lock().unwrap_or_else(PoisonError::into_inner);
        using.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = using.get(bundle).and_then(Weak::upgrade) {
            return Ok(Some(Used { folder, lock }));
        }
        let Some(lock) = shared(&self.ok(bundle))? else { return Ok(None) };
        if !folder.is_dir() {
            return Ok(None);
        }
        // Says when it was used last.
        lock.set_modified(now())?;
        let lock = Arc::new(lock);
        using.insert(bundle.clone(), Arc::downgrade(&lock));
        Ok(Some(Used { folder, lock }))
    }

    /// Makes what was fetched the bundle: all of it is on disk before anything says that it is there.
    fn keep(&self, bundle: &BundleId, beside: &Beside) -> io::Result<()> {
        let (folder, ok) = (self.root.join(&*bundle.0), self.ok(bundle));
        let bytes = size(&beside.0)?;
        rustix::fs::syncfs(File::open(&beside.0)?)?;
        if shared(&ok)?.is_some() && folder.is_dir() {
            // Another worker of this folder was quicker, with the same content.
            return Ok(());
        }
        remove(&folder)?;
        fs::rename(&beside.0, &folder)?;
        File::open(&self.root)?.sync_all()?;
        // Whole at once: others may look for it.
        let new = self.root.join(format!("{bundle}.{}.new", Uuid::now_v7()));
        let mut file = File::create_new(&new)?;
        file.write_all(bytes.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &ok)?;
        File::open(&self.root)?.sync_all()?;
        self.make_room(bundle)
    }

    /// Removes what wasn't used for longest until the rest is small enough, and what crashes left.
    fn make_room(&self, newest: &BundleId) -> io::Result<()> {
        let (mut found, mut total) = (Vec::new(), 0);
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "ok") {
                let (Ok(text), Ok(metadata)) = (fs::read_to_string(&path), fs::metadata(&path)) else {
                    continue;
                };
                let bytes: u64 = text.trim().parse().unwrap_or(0);
                total += bytes;
                found.push((metadata.modified()?, path, bytes));
            }
        }
        found.sort();
        for (_, ok, bytes) in found {
            if total <= self.bytes_max {
                break;
            }
            if ok == self.ok(newest) {
                continue;
            }
            let file = match File::open(&ok) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // Whoever uses it has a lock.
            if file.try_lock().is_ok() {
                fs::remove_file(&ok)?;
                remove(&ok.with_extension(""))?;
                total -= bytes;
            }
        }
        if total > self.bytes_max {
            tracing::warn!(
                bytes = total,
                most = self.bytes_max,
                "bundles in use take more room than they should"
            );
        }
        Ok(())
    }
}

/// A folder that is removed unless it was moved to its place.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "what was fetched of a bundle can't be removed");
        }
    }
}

/// The file with a shared lock; none if it isn't there, or is being removed.
fn shared(path: &Path) -> io::Result<Option<File>> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    let there = file.metadata()?.nlink() > 0;
    Ok(there.then_some(file))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn size(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

#[expect(clippy::disallowed_methods, reason = "orders files of this folder by their last use")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(bundles: &Bundles, bundle: &BundleId, bytes: usize) {
        let beside = Beside(bundles.root.join(format!("{bundle}.part")));
        fs::create_dir(&beside.0).unwrap();
        fs::write(beside.0.join("file"), vec![b'x'; bytes]).unwrap();
        bundles.keep(bundle, &beside).unwrap();
        assert!(!beside.0.exists());
    }

    #[test]
    fn the_oldest_unused_bundle_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let bundles = Bundles { bytes_max: 250, ..Bundles::new(dir.path().to_owned()) };
        let [a, b, c, d] = ["aa", "bb", "cc", "dd"].map(|address| BundleId(address.into()));
        let at = |bundle: &BundleId, seconds: u64| {
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options().write(true).open(bundles.ok(bundle)).unwrap().set_modified(time).unwrap();
        };
        fetched(&bundles, &a, 100);
        fetched(&bundles, &b, 100);
        let in_use = bundles.open(&a).unwrap().unwrap();
        at(&a, 1);
        at(&b, 2);
        fetched(&bundles, &c, 100);
        at(&c, 3);
        assert!(bundles.open(&b).unwrap().is_none(), "it was used before `c`, and by nobody now");
        assert!(in_use.folder.join("file").exists());
        // Another worker of the same folder leaves it alone as well.
        let other = Bundles { bytes_max: 50, ..Bundles::new(dir.path().to_owned()) };
        fetched(&other, &d, 100);
        assert!(in_use.folder.join("file").exists());
        assert!(other.open(&c).unwrap().is_none());
        drop(in_use);
        fetched(&other, &b, 100);
        assert!(other.open(&a).unwrap().is_none());
    }

    #[test]
    fn a_bundle_without_its_mark_isnt_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let bundles = Bundles::new(dir.path().to_owned());
        let bundle = BundleId("ab".into());
        fs::create_dir(dir.path().join("ab")).unwrap();
        fs::write(dir.path().join("ab/half"), "").unwrap();
        assert!(bundles.open(&bundle).unwrap().is_none());
        fetched(&bundles, &bundle, 1);
        let used = bundles.open(&bundle).unwrap().unwrap();
        assert!(!used.folder.join("half").exists() && used.folder.join("file").exists());
    }
}
