//! What the kernel says about processes.

use std::{collections::BTreeSet, fs};

use anyhow::Context as _;

/// A process with all of its descendants.
pub(crate) fn tree(root: u32) -> anyhow::Result<BTreeSet<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has ended meanwhile is nobody's child.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        parents.push((
            pid,
            fields(&stat)?.get(1).and_then(|field| field.parse::<u32>().ok()).context("a parent")?,
        ));
    }
    let mut tree = BTreeSet::from([root]);
    loop {
        let before = tree.len();
        tree.extend(
            parents
                .iter()
                .filter(|(_, parent)| tree.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if tree.len() == before {
            return Ok(tree);
        }
    }
}

/// The fields of a `stat` file after the command's name, which may hold anything: the state is the first.
fn fields(stat: &str) -> anyhow::Result<Vec<&str>> {
    let (_, rest) = stat.rsplit_once(") ").context("a line of /proc/PID/stat")?;
    Ok(rest.split(' ').collect())
}

/// The CPU time of a process, its descendants and those of them that were waited for, in seconds.
pub(crate) fn cpu(root: u32) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for pid in tree(root)? {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        sum += times(&stat, 4)?;
    }
    Ok(sum)
}

/// How long the threads of a process and its descendants have run, in seconds, by the scheduler's own clock. The times in `stat`
/// are whole ticks, charged to whoever runs when a tick comes: a process that is woken by timers, which come with ticks, is
/// charged about twice what it took. Threads that have ended don't count.
pub(crate) fn ran(root: u32) -> anyhow::Result<f64> {
    let mut nanoseconds = 0.0;
    for pid in tree(root)? {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let ran = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
            nanoseconds += ran.context("the time that a thread ran, in its schedstat")?;
        }
    }
    Ok(nanoseconds / 1e9)
}

/// The CPU time of all processes of a program, in seconds.
pub(crate) fn cpu_of_program(name: &str) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        // What isn't a process has no such file, and a process may have ended meanwhile.
        let Ok(own) = fs::read_to_string(folder.join("comm")) else { continue };
        if own.trim_end() == name
            && let Ok(stat) = fs::read_to_string(folder.join("stat"))
        {
            sum += times(&stat, 2)?;
        }
    }
    Ok(sum)
}

/// The first of the times in a `stat` file: user, system, and those of children that were waited for.
fn times(stat: &str, count: usize) -> anyhow::Result<f64> {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let times: Vec<f64> =
        fields(stat)?.iter().skip(11).take(count).map(|field| field.parse()).collect::<Result<_, _>>()?;
    Ok(times.iter().sum::<f64>() / ticks)
}

/// The CPU time of the whole machine, in seconds.
pub(crate) fn cpu_of_all() -> anyhow::Result<f64> {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let stat = fs::read_to_string("/proc/stat")?;
    let times = stat.lines().next().context("/proc/stat is empty")?.split_whitespace().skip(1);
    let times: Vec<f64> = times.map(str::parse).collect::<Result<_, _>>()?;
    // Neither idle nor waiting for the disk.
    Ok(times
        .iter()
        .enumerate()
        .filter(|(n, _)| !matches!(n, 3 | 4))
        .take(6)
        .map(|(_, time)| time / ticks)
        .sum())
}

/// Memory of a process and its descendants, in MiB: what it shares with others counts in parts (PSS).
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) all: f64,
    /// What is in no file: heaps and stacks.
    pub(crate) own: f64,
}

pub(crate) fn memory(root: u32) -> anyhow::Result<Memory> {
    let mut memory = Memory::default();
    for pid in tree(root)? {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read {path}: a supervisor's is for root only"))?;
        let mib = |name: &str| -> anyhow::Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let line = line.with_context(|| format!("no {name} in {path}"))?;
            Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
        };
        memory.all += mib("Pss:")?;
        memory.own += mib("Pss_Anon:")?;
    }
    Ok(memory)
}
