//! How a running attempt comes to its end: by itself, by its timeout, by a kill, by its memory limit.

use std::{
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::{
    orphans::{kill, kill_group},
    state::{Attempt, Exited, Key, Running, Supervisor},
};
use crate::{clock, limits::tree};

/// How often the memory of an attempt is looked at where no cgroup limits it.
pub(super) const MEMORY_LOOK: Duration = Duration::from_millis(200);

/// How long the output of an attempt whose processes are gone is waited for.
const DRAIN: Duration = Duration::from_secs(2);

/// Why an attempt is being ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody asked.
    Killed { reason: String },
    /// It ran longer than it may.
    TimedOut { after: Duration },
    /// It held more memory than it may.
    OutOfMemory { bytes: u64, bytes_max: u64 },
}

/// An attempt's way to its end.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) cause: Cause,
    kill_at: Instant,
    kill_sent: bool,
}

impl Ending {
    pub(super) fn is_kill(&self) -> bool {
        matches!(self.cause, Cause::Killed { .. })
    }

    /// Whether KILL isn't due yet.
    pub(super) fn has_time(&self, now: Instant) -> bool {
        !self.kill_sent && now < self.kill_at
    }
}

impl Running {
    /// When something is due for this attempt, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let deadline = self
            .deadline
            .filter(|_| self.ending.is_none() && self.exited.is_none())
            .map(|deadline| deadline.0);
        let kill = self.ending.as_ref().filter(|ending| !ending.kill_sent).map(|ending| ending.kill_at);
        let look = self.memory_watch.filter(|_| self.exited.is_none()).map(|watch| watch.next);
        let held = self.outputs.iter().filter_map(super::output::Output::next_due);
        deadline.into_iter().chain(kill).chain(look).chain(self.drained_at()).chain(held).min()
    }

    /// When its outputs are closed, whoever still holds them.
    fn drained_at(&self) -> Option<Instant> {
        let over = self.exited.filter(|_| !self.outputs.is_empty() && self.lingering.is_empty());
        over.map(|exited| exited.at + DRAIN)
    }

    /// Signals every process of the attempt that can be found.
    fn signal(&self, signal: Signal) {
        if self.exited.is_none() || !self.lingering.is_empty() {
            kill_group(self.process, signal);
        }
        let roots = self.lingering.iter().copied().filter_map(Pid::from_raw);
        let roots: Vec<_> = roots.chain(self.exited.is_none().then_some(self.process)).collect();
        for root in roots {
            match tree::with_descendants(root) {
                Ok(pids) => {
                    pids.into_iter().filter(|pid| !self.in_group(*pid)).for_each(|pid| kill(pid, signal));
                }
                Err(error) => tracing::error!(%error, "the processes of an attempt can't be listed"),
            }
        }
        if signal == Signal::KILL {
            self.cgroup.iter().flat_map(crate::limits::Cgroup::processes).for_each(|pid| kill(pid, signal));
        }
    }

    fn in_group(&self, pid: Pid) -> bool {
        rustix::process::getpgid(Some(pid)).is_ok_and(|group| group == self.process)
    }

    /// The memory of all its processes, in bytes.
    fn memory(&self) -> u64 {
        tree::with_descendants(self.process).map_or(0, |pids| pids.into_iter().map(tree::memory).sum())
    }
}

impl Supervisor {
    /// Begins to end an attempt, unless that has begun: TERM now, KILL after the grace period.
    pub(super) fn end(&mut self, key: Key, cause: Cause, grace: Duration) {
        let now = clock::monotonic();
        let Some(running) = self.attempts.get_mut(&key).and_then(Attempt::running) else { return };
        match &mut running.ending {
            Some(ending) => ending.kill_at = ending.kill_at.min(now + grace),
            None if running.exited.is_some() => return,
            None => {
                running.note(&match &cause {
                    Cause::Killed { reason } => format!("ending this attempt: {reason}"),
                    Cause::TimedOut { after } => {
                        format!("ending this attempt: it has run for {}", super::span(*after))
                    }
                    Cause::OutOfMemory { bytes, bytes_max } => {
                        format!(
                            "ending this attempt: it holds {bytes} bytes of memory; its limit is {bytes_max}"
                        )
                    }
                });
                running.ending = Some(Ending { cause, kill_at: now + grace, kill_sent: false });
                if !grace.is_zero() {
                    running.signal(Signal::TERM);
                }
            }
        }
        self.enforce(key, now);
        self.arm(key);
    }

    /// Ends what is over its time or memory, and closes outputs that nobody should hold any more.
    pub(super) fn enforce(&mut self, key: Key, now: Instant) {
        let Some(running) = self.attempts.get_mut(&key).and_then(Attempt::running) else { return };
        if let Some(ending) =
            running.ending.as_mut().filter(|ending| !ending.kill_sent && ending.kill_at <= now)
        {
            ending.kill_sent = true;
            running.signal(Signal::KILL);
            self.look_for_orphans = true;
        }
        if running.drained_at().is_some_and(|due| due <= now) {
            running.note("a process that this attempt left behind held its output open; the rest isn't read");
            while !running.outputs.is_empty() {
                let output = running.close_output(0, now);
                self.poll.remove(&output.pipe, output.token);
            }
        }
        if running.ending.is_some() || running.exited.is_some() {
            return;
        }
        if let Some((_, after)) = running.deadline.filter(|deadline| deadline.0 <= now) {
            self.end(key, Cause::TimedOut { after }, crate::contract::TIMEOUT_GRACE.to_std());
        } else if let Some(watch) = running.memory_watch.filter(|watch| watch.next <= now) {
            let bytes = running.memory();
            running.memory_watch = Some(super::state::MemoryWatch { next: now + MEMORY_LOOK, ..watch });
            if bytes > watch.bytes_max {
                self.end(key, Cause::OutOfMemory { bytes, bytes_max: watch.bytes_max }, Duration::ZERO);
            }
        }
    }

    /// The main process of an attempt has ended: ends what it left in its group, then reaps it.
    pub(super) fn process_ended(&mut self, key: Key) {
        let now = clock::monotonic();
        let Some(running) = self.attempts.get_mut(&key).and_then(Attempt::running) else { return };
        // While the process isn't reaped, its number and group can't be given to another.
        if running.ending.as_ref().is_none_or(|ending| !ending.has_time(now)) {
            kill_group(running.process, Signal::KILL);
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let code = match rustix::process::waitid(WaitId::PidFd(running.pidfd.as_fd()), options) {
            Ok(Some(status)) => {
                status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal))
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!(attempt = %key.0.attempt, dispatch = %key.0, member = key.1, %error, "an attempt can't be reaped");
                None
            }
        };
        running.exited = Some(Exited { code: code.unwrap_or(-1), at: now });
        let (token, process) = (running.token, running.process.as_raw_pid());
        self.poll.remove(&running.pidfd, token);
        self.processes.remove(&process);
        self.look_for_orphans = true;
        self.to_finish.push(key);
        self.arm(key);
    }
}
