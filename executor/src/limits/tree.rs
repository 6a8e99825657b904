//! The processes below another one, read from `/proc`.

use std::{fs, io};

use rustix::process::Pid;

/// The direct children of a process. One that is gone has none.
pub(crate) fn children(pid: Pid) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    let threads = match fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(threads) => threads,
        Err(error) if gone(&error) => return Ok(found),
        Err(error) => return Err(error),
    };
    for thread in threads {
        let text = match thread.and_then(|thread| fs::read_to_string(thread.path().join("children"))) {
            Ok(text) => text,
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(error),
        };
        found.extend(text.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)));
    }
    Ok(found)
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// A process and everything below it.
pub(crate) fn with_descendants(pid: Pid) -> io::Result<Vec<Pid>> {
    let (mut all, mut at) = (vec![pid], 0);
    while let Some(pid) = all.get(at) {
        let children = children(*pid)?;
        all.extend(children);
        at += 1;
    }
    Ok(all)
}

/// The memory of its own that a process holds, in bytes: resident, without what it shares with files and others.
pub(crate) fn memory(pid: Pid) -> u64 {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/statm")) else { return 0 };
    let mut pages = text.split(' ').skip(1).map(|pages| pages.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_its_children_are_found() {
        let pid = rustix::process::getpid();
        assert!(memory(pid) > 4096);
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let child_pid = Pid::from_child(&child);
        assert!(children(pid).unwrap().contains(&child_pid));
        assert!(with_descendants(pid).unwrap().contains(&child_pid));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!children(pid).unwrap().contains(&child_pid));
    }
}
