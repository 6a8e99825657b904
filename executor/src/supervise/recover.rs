//! What a former supervisor left: its ended attempts are ours, its unfinished ones are lost.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::{Duration, Instant},
};

use dags::ids::DispatchId;
use engine::{dispatch::Outcome, format::Format};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, PidfdFlags, Signal},
};

use super::{
    Error,
    finish::never_ran,
    machine,
    state::{Attempt, Key},
};
use crate::{
    attempt::MARK,
    clock,
    folder::{self, Exit, Folder},
};

/// How long processes of lost attempts may take to die after a KILL.
const DEATH_MAX: Duration = Duration::from_secs(10);

/// Reads the folders of all attempts, after ending whatever still runs of them.
pub(super) fn recover(attempts: &Path) -> Result<BTreeMap<Key, Attempt>, Error> {
    end_processes(attempts)?;
    let mut recovered = BTreeMap::new();
    for entry in fs::read_dir(attempts).map_err(machine("read the folder of attempts"))? {
        let path = entry.map_err(machine("read the folder of attempts"))?.path();
        let Some(key) = path.file_name().and_then(OsStr::to_str).and_then(key_of) else {
            tracing::warn!(path = %path.display(), "this is no folder of an attempt and is left alone");
            continue;
        };
        let attempt = recover_one(Folder::at(path)).map_err(machine("read the folder of an attempt"))?;
        recovered.insert(key, attempt);
    }
    Ok(recovered)
}

fn key_of(name: &str) -> Option<Key> {
    let (dispatch, member) = name.rsplit_once('-')?;
    Some((dispatch.parse::<DispatchId>().ok()?, member.parse().ok()?))
}

fn recover_one(folder: Folder) -> io::Result<Attempt> {
    let since = folder.since()?;
    let reason = match folder::read::<Exit>(&folder.exit()) {
        Ok(Some(exit)) => return Ok(Attempt::over(folder, since, exit.pid, exit.end)),
        Ok(None) => "its supervisor ended before it did, and its processes were ended with it".to_owned(),
        Err(error) => format!("its exit.json can't be read: {error}"),
    };
    let end = never_ran(Outcome::Lost, reason);
    folder.write_exit(&Exit { format: Format, pid: None, end: end.clone() }, true)?;
    Ok(Attempt::over(folder, since, None, end))
}

/// Ends every process that carries the mark of an attempt of this folder, until there is none. The main processes have
/// died with their supervisor; this is about what they had started.
fn end_processes(attempts: &Path) -> Result<(), Error> {
    let mut mark = format!("{MARK}=").into_bytes();
    mark.extend_from_slice(attempts.as_os_str().as_bytes());
    mark.push(b'/');
    let until = clock::monotonic() + DEATH_MAX;
    loop {
        let found = marked(&mark).map_err(machine("look for processes of lost attempts"))?;
        if found.is_empty() {
            return Ok(());
        }
        if clock::monotonic() >= until {
            tracing::error!(processes = ?found, "these processes of lost attempts don't die");
            return Ok(());
        }
        for pid in found {
            end_process(pid, until).map_err(machine("end a process of a lost attempt"))?;
        }
    }
}

fn marked(mark: &[u8]) -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else { continue };
        // Processes of other users, and ones that have just ended, can't be read and aren't ours.
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark)) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn end_process(pid: Pid, until: Instant) -> io::Result<()> {
    let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        pidfd => pidfd?,
    };
    match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        sent => sent?,
    }
    let left = until.saturating_duration_since(clock::monotonic());
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    match rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
