//! What the process does to itself before it reads the first script.
//!
//! Limits on memory, processor time, files, descriptors and processes; a seccomp filter that lets through what
//! computing and two pipes need and ends the process otherwise; Landlock that allows no file and no port at all. It
//! reports what the kernel has really put in force, and the caller decides whether that is enough.

#[cfg(target_os = "linux")]
mod linux;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::protocol::Limits;

/// What confines the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// Whether files and ports are closed.
    pub landlock: Landlock,
    /// Which limits of the process are set.
    pub limits: Vec<String>,
    /// Why something isn't in force, for the log.
    #[serde(default)]
    pub missing: Vec<String>,
}

/// How much of Landlock the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Landlock {
    /// Everything that we ask for.
    Full,
    /// An older version of it.
    Partial,
    /// Nothing.
    None,
}

/// A limit that can't be set.
#[derive(Debug, thiserror::Error)]
#[error("{0}: {1}")]
pub struct Error(&'static str, #[source] rustix::io::Errno);

fn limit(name: &'static str, resource: Resource, soft: u64, hard: Option<u64>) -> Result<String, Error> {
    setrlimit(resource, Rlimit { current: Some(soft), maximum: hard }).map_err(|errno| Error(name, errno))?;
    Ok(name.to_owned())
}

/// Confines the process for the rest of its life.
pub fn enter(limits: &Limits) -> Result<InForce, Error> {
    let zero = Some(0);
    let mut set = vec![
        limit("memory", memory(), limits.memory_bytes, Some(limits.memory_bytes))?,
        limit("file_size", Resource::Fsize, 0, zero)?,
        limit("core", Resource::Core, 0, zero)?,
        limit("descriptors", Resource::Nofile, 16, Some(16))?,
        limit("processes", Resource::Nproc, 0, zero)?,
    ];
    start_request(limits)?;
    set.push("cpu".to_owned());
    #[cfg(target_os = "linux")]
    return Ok(linux::enter(set));
    #[cfg(not(target_os = "linux"))]
    Ok(InForce {
        seccomp: false,
        landlock: Landlock::None,
        limits: set,
        missing: vec!["seccomp and landlock exist on Linux only".to_owned()],
    })
}

#[cfg(target_os = "linux")]
fn memory() -> Resource {
    Resource::As
}

#[cfg(not(target_os = "linux"))]
fn memory() -> Resource {
    Resource::Data
}

/// Processor time of the process since its start, in microseconds.
pub fn cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}

/// Gives the next request its processor time; the kernel counts whole seconds of the whole life.
pub fn start_request(limits: &Limits) -> Result<(), Error> {
    let used = cpu_us().div_ceil(1_000_000);
    let hard = getrlimit(Resource::Cpu).maximum;
    let soft = (used + limits.cpu_seconds).min(hard.unwrap_or(u64::MAX));
    limit("cpu", Resource::Cpu, soft, hard).map(drop)
}
