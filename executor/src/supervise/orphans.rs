//! Processes that attempts leave behind.
//!
//! While an attempt's main process lives, it adopts whatever its descendants leave; when it ends, they fall to the
//! supervisor. So a child of the supervisor that isn't a main process belongs to an attempt that is over, and is ended:
//! at once, or when the grace period is over if the attempt is being ended and the process is in its group.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::{
    poll::{READABLE, Source, Token},
    state::{Attempt, Key, Supervisor},
};
use crate::{clock, limits::tree};

/// A process that an attempt left behind.
#[derive(Debug)]
pub(super) struct Orphan {
    pidfd: OwnedFd,
    token: Token,
    /// The attempt that waits for it.
    of: Option<Key>,
}

impl Supervisor {
    /// Looks at the children: unknown ones are orphans.
    pub(super) fn find_orphans(&mut self) {
        let children = match tree::children(rustix::process::getpid()) {
            Ok(children) => children,
            Err(error) => {
                tracing::error!(%error, "child processes can't be listed; daemons of tasks may survive them");
                return;
            }
        };
        for pid in children {
            let raw = pid.as_raw_pid();
            if !self.processes.contains_key(&raw) && !self.orphans.contains_key(&raw) {
                self.adopt(pid);
            }
        }
    }

    fn adopt(&mut self, pid: Pid) {
        let raw = pid.as_raw_pid();
        let of = self.attempt_in_grace(pid);
        if of.is_none() {
            kill(pid, Signal::KILL);
        }
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                tracing::error!(pid = raw, %error, "a process that a task left behind can't be watched");
                return;
            }
        };
        match self.poll.add(&pidfd, Source::Orphan(raw), READABLE) {
            Ok(token) => {
                if let Some(running) =
                    of.and_then(|key| self.attempts.get_mut(&key)).and_then(Attempt::running)
                {
                    running.lingering.insert(raw);
                }
                self.orphans.insert(raw, Orphan { pidfd, token, of });
            }
            Err(error) => {
                tracing::error!(pid = raw, %error, "a process that a task left behind can't be watched");
            }
        }
    }

    /// The attempt that is being ended, still has time, and whose group the process is in.
    fn attempt_in_grace(&mut self, pid: Pid) -> Option<Key> {
        let group = rustix::process::getpgid(Some(pid)).ok()?;
        let now = clock::monotonic();
        let fits = |(key, attempt): (&Key, &mut Attempt)| {
            let running = attempt.running()?;
            let in_grace = running.ending.as_ref().is_some_and(|ending| ending.has_time(now));
            (in_grace && running.process == group).then_some(*key)
        };
        // Rare: only what is being ended can be asked about, and only when something was left behind.
        self.attempts.iter_mut().find_map(fits)
    }

    /// Reaps an orphan that has ended; what it leaves behind is found next.
    pub(super) fn orphan_ended(&mut self, pid: i32) {
        let Some(orphan) = self.orphans.remove(&pid) else { return };
        self.poll.remove(&orphan.pidfd, orphan.token);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        if let Err(error) = rustix::process::waitid(WaitId::PidFd(orphan.pidfd.as_fd()), options) {
            tracing::error!(pid, %error, "a process that a task left behind can't be reaped");
        }
        self.look_for_orphans = true;
        if let Some(key) = orphan.of {
            if let Some(running) = self.attempts.get_mut(&key).and_then(Attempt::running) {
                running.lingering.remove(&pid);
            }
            self.to_finish.push(key);
        }
    }
}

/// Signals a process; one that is gone is fine.
pub(super) fn kill(pid: Pid, signal: Signal) {
    match rustix::process::kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => tracing::error!(pid = pid.as_raw_pid(), %error, "a process can't be signalled"),
    }
}

/// Signals a process group; one that is gone is fine.
pub(super) fn kill_group(group: Pid, signal: Signal) {
    match rustix::process::kill_process_group(group, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => {
            tracing::error!(group = group.as_raw_pid(), %error, "a process group can't be signalled");
        }
    }
}
