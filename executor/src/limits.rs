//! How memory and CPU limits of attempts are enforced on this machine.
//!
//! A cgroup is made only for an attempt that has a limit: joining one takes a lock of the whole machine for
//! milliseconds, which a thousand short tasks per second can't pay.

use std::{fmt, io, path::PathBuf};

pub(crate) use cgroup::Cgroup;

mod cgroup;
pub(crate) mod tree;

/// How limits are enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub(crate) memory: Memory,
    pub(crate) cpu: Cpu,
}

/// How memory limits are enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Memory {
    /// By the kernel, in a folder of cgroup version 2 that is ours.
    V2(PathBuf),
    /// By the kernel, in a folder of the memory controller of cgroup version 1.
    V1(PathBuf),
    /// By looking at the memory of the attempt's processes every 200 ms.
    Watch,
}

/// How CPU limits are enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cpu {
    /// By the kernel, in a folder of cgroup version 2 that is ours.
    V2(PathBuf),
    /// By the kernel, in a folder of the CPU controller of cgroup version 1.
    V1(PathBuf),
    /// Not at all.
    None,
}

/// Finds out what this machine and this user may do. Makes and removes a cgroup to be sure.
pub fn detect() -> Limits {
    let mounts = read("/proc/self/mountinfo");
    let own = read("/proc/self/cgroup");
    let v2 = cgroup::find_v2(&mounts, &own);
    let memory = v2
        .as_ref()
        .filter(|found| found.controls("memory"))
        .map(|found| Memory::V2(found.folder.clone()))
        .or_else(|| cgroup::find_v1(&mounts, &own, "memory").map(Memory::V1))
        .unwrap_or(Memory::Watch);
    let cpu = v2
        .as_ref()
        .filter(|found| found.controls("cpu"))
        .map(|found| Cpu::V2(found.folder.clone()))
        .or_else(|| cgroup::find_v1(&mounts, &own, "cpu").map(Cpu::V1))
        .unwrap_or(Cpu::None);
    Limits { memory, cpu }
}

/// A file of the kernel, empty where this kernel doesn't have it: then what it would offer isn't there either.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

impl Limits {
    /// What is left without cgroups.
    pub(crate) fn without_cgroups() -> Self {
        Self { memory: Memory::Watch, cpu: Cpu::None }
    }

    /// Makes the cgroup of an attempt with limits (0 is none), if there is to be one.
    pub(crate) fn cgroup(&self, name: &str, memory_bytes: u64, cpu_milli: u64) -> io::Result<Option<Cgroup>> {
        let memory = (memory_bytes > 0).then_some(&self.memory);
        let cpu = (cpu_milli > 0).then_some(&self.cpu);
        let mut cgroup = Cgroup::default();
        match memory {
            Some(Memory::V2(parent)) => cgroup.add(
                &parent.join(name),
                &[("memory.max", memory_bytes.to_string())],
                &[("memory.swap.max", "0".to_owned()), ("memory.oom.group", "1".to_owned())],
            )?,
            Some(Memory::V1(parent)) => cgroup.add(
                &parent.join(name),
                &[("memory.limit_in_bytes", memory_bytes.to_string())],
                &[("memory.memsw.limit_in_bytes", memory_bytes.to_string())],
            )?,
            Some(Memory::Watch) | None => {}
        }
        match cpu {
            Some(Cpu::V2(parent)) => {
                cgroup.add(&parent.join(name), &[("cpu.max", format!("{} 100000", cpu_milli * 100))], &[])?;
            }
            Some(Cpu::V1(parent)) => {
                let quota = ("cpu.cfs_quota_us", (cpu_milli * 100).max(1_000).to_string());
                cgroup.add(&parent.join(name), &[("cpu.cfs_period_us", "100000".to_owned()), quota], &[])?;
            }
            Some(Cpu::None) | None => {}
        }
        Ok(Some(cgroup).filter(|cgroup| !cgroup.is_empty()))
    }

    /// Whether the supervisor has to watch the memory of an attempt with a limit.
    pub(crate) fn watches_memory(&self) -> bool {
        self.memory == Memory::Watch
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.memory {
            Memory::V2(folder) => write!(f, "memory by the kernel (cgroup v2, {})", folder.display())?,
            Memory::V1(folder) => write!(f, "memory by the kernel (cgroup v1, {})", folder.display())?,
            Memory::Watch => f.write_str("memory by looking every 200 ms")?,
        }
        match &self.cpu {
            Cpu::V2(folder) => write!(f, "; CPU by the kernel (cgroup v2, {})", folder.display()),
            Cpu::V1(folder) => write!(f, "; CPU by the kernel (cgroup v1, {})", folder.display()),
            Cpu::None => f.write_str("; CPU not limited (this needs a cgroup that this user may write to)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_said_in_words() {
        assert_eq!(
            Limits::without_cgroups().to_string(),
            "memory by looking every 200 ms; CPU not limited (this needs a cgroup that this user may write to)"
        );
        let mixed = Limits { memory: Memory::V1("/m".into()), cpu: Cpu::V2("/c".into()) };
        assert_eq!(
            mixed.to_string(),
            "memory by the kernel (cgroup v1, /m); CPU by the kernel (cgroup v2, /c)"
        );
    }

    #[test]
    fn a_cgroup_is_made_for_an_attempt_with_a_limit_only_and_leaves_nothing() {
        let limits = detect();
        let name = format!("test-{}", std::process::id());
        assert!(limits.cgroup(&name, 0, 0).unwrap().is_none());
        if let Some(mut cgroup) = limits.cgroup(&name, 64 << 20, 500).unwrap() {
            assert!(cgroup.processes().is_empty() && cgroup.out_of_memory_kills() == 0);
            let doors = cgroup.doors();
            assert!(!doors.is_empty() && doors.iter().all(|door| door.exists()));
            assert!(cgroup.remove() && !doors.iter().any(|door| door.exists()));
        } else {
            assert_eq!(limits, Limits::without_cgroups(), "only a machine without cgroups makes none");
        }
    }
}
