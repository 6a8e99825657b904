//! Cgroups, both versions: where one may be made, and the one of an attempt.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The folder, below the one that was found, which holds the cgroups of attempts.
const FOLDER: &str = "updraft";

/// A folder of cgroup version 2 in which attempts can have cgroups.
#[derive(Debug)]
pub(super) struct V2 {
    pub(super) folder: PathBuf,
    controllers: String,
}

impl V2 {
    pub(super) fn controls(&self, controller: &str) -> bool {
        self.controllers.split_ascii_whitespace().any(|name| name == controller)
    }
}

/// A cgroup with processes can't have children with controllers, so the place is beside our own cgroup, as with
/// systemd's `Delegate=yes` and `DelegateSubgroup=`, or the root of the mount.
pub(super) fn find_v2(mounts: &str, own: &str) -> Option<V2> {
    let mount = mount(mounts, "cgroup2", None)?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = mount.join(path);
    let parent = if path.is_empty() { own.as_path() } else { own.parent()? };
    if !path.is_empty() && !fs::read_to_string(parent.join("cgroup.procs")).is_ok_and(|pids| pids.is_empty())
    {
        return None;
    }
    let controllers = fs::read_to_string(parent.join("cgroup.controllers")).ok()?;
    if !controllers.split_ascii_whitespace().any(|name| matches!(name, "memory" | "cpu")) {
        return None;
    }
    let folder = parent.join(FOLDER);
    enable(parent);
    make(&folder)?;
    enable(&folder);
    let controllers = fs::read_to_string(folder.join("cgroup.subtree_control")).ok()?;
    usable(&folder).then_some(V2 { folder, controllers })
}

/// Passes on what the folder has. One by one, since one that isn't there fails them all; what came of it is read back.
fn enable(folder: &Path) {
    for controller in ["+memory", "+cpu"] {
        let _ = fs::write(folder.join("cgroup.subtree_control"), controller);
    }
}

/// The folder of a controller of version 1 below our own cgroup.
pub(super) fn find_v1(mounts: &str, own: &str, controller: &str) -> Option<PathBuf> {
    let mount = mount(mounts, "cgroup", Some(controller))?;
    let path = own.lines().find_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (names, path) = line.split_once(":/")?;
        names.split(',').any(|name| name == controller).then_some(path)
    })?;
    let folder = mount.join(path).join(FOLDER);
    make(&folder)?;
    usable(&folder).then_some(folder)
}

/// The mount point of a cgroup file system, with that controller where one is asked for.
fn mount(mounts: &str, kind: &str, controller: Option<&str>) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let (found, options) = (back.next()?, back.nth(1)?);
        let fits =
            found == kind && controller.is_none_or(|name| options.split(',').any(|option| option == name));
        fits.then(|| front.split(' ').nth(4).map(PathBuf::from))?
    })
}

fn make(folder: &Path) -> Option<()> {
    match fs::create_dir(folder) {
        Ok(()) => Some(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Some(()),
        Err(_) => None,
    }
}

/// Whether a cgroup can be made and removed there.
fn usable(folder: &Path) -> bool {
    let probe = folder.join(format!("probe-{}", std::process::id()));
    fs::create_dir(&probe).is_ok() && fs::remove_dir(&probe).is_ok()
}

/// The cgroup of one attempt: one folder, or one per controller.
#[derive(Debug, Default)]
pub(crate) struct Cgroup {
    folders: Vec<PathBuf>,
}

impl Cgroup {
    pub(super) fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    /// Makes a folder and writes its settings; those in `optional` may be unknown to the kernel.
    pub(super) fn add(
        &mut self,
        folder: &Path,
        settings: &[(&str, String)],
        optional: &[(&str, String)],
    ) -> io::Result<()> {
        if !self.folders.iter().any(|made| made == folder) {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => self.folders.push(folder.to_owned()),
            }
        }
        for (name, value) in settings {
            fs::write(folder.join(name), value)?;
        }
        for (name, value) in optional {
            let _ = fs::write(folder.join(name), value);
        }
        Ok(())
    }

    /// The files into which a process writes `0` to join.
    pub(crate) fn doors(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// How many processes the kernel has ended because of the memory limit.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        let count = |file: PathBuf| {
            let text = fs::read_to_string(file).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
        };
        self.folders
            .iter()
            .filter_map(|folder| {
                count(folder.join("memory.events")).or_else(|| count(folder.join("memory.oom_control")))
            })
            .sum()
    }

    /// Removes it; false while processes inside are still ending.
    pub(crate) fn remove(&mut self) -> bool {
        self.folders.retain(|folder| match fs::remove_dir(folder) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
        self.folders.is_empty()
    }

    /// The processes inside.
    pub(crate) fn processes(&self) -> Vec<rustix::process::Pid> {
        let texts = self.doors().into_iter().filter_map(|door| fs::read_to_string(door).ok());
        let pids =
            texts.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>());
        pids.filter_map(rustix::process::Pid::from_raw).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                          31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                          32 25 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn mount_points_are_found_by_kind_and_controller() {
        assert_eq!(mount(MOUNTS, "cgroup2", None), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount(MOUNTS, "cgroup", Some("cpu")), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(mount(MOUNTS, "cgroup", Some("pids")), None);
    }

    #[test]
    fn nothing_is_found_where_there_is_nothing() {
        assert!(find_v2("", "0::/\n").is_none());
        assert!(find_v1(MOUNTS, "4:memory:/no-such-cgroup/anywhere\n", "memory").is_none());
    }
}
