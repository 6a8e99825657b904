//! What this machine has.

use std::io;

use crate::contract::Capacity;

/// The machine's size, with that many slots.
pub fn capacity(slots: u32) -> io::Result<Capacity> {
    let cpus = std::thread::available_parallelism()?.get() as u64;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let total = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let kilobytes = total.ok_or_else(|| io::Error::other("/proc/meminfo has no MemTotal"))?;
    Ok(Capacity { cpu_milli: cpus * 1000, memory_bytes: kilobytes * 1024, slots })
}
