//! What the supervisor knows: its attempts, its clients and what is due when.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::File,
    os::{fd::OwnedFd, unix::net::UnixListener},
    time::{Duration, Instant},
};

use dags::{
    ids::{DispatchId, TenantId},
    time::Timestamp,
};
use engine::dispatch::{End, News, Outcome, Report};
use plugins::context::AttemptContext;
use rustix::{event::epoll, process::Pid};

use super::{
    Error, Options,
    clients::Client,
    ending::Ending,
    machine,
    orphans::Orphan,
    output::Output,
    poll::{Poll, Source, Token},
    sweep::Sweeper,
};
use crate::{
    clock,
    folder::Folder,
    limits::{Cgroup, Limits},
    log,
    mask::Secrets,
};

/// A member of a dispatch.
pub(super) type Key = (DispatchId, u32);

/// How many members are remembered after they were forgotten, so that a late repeat doesn't start them again.
const FORGOTTEN_MAX: usize = 65_536;

/// How often the removal of a cgroup is tried whose last processes are still ending.
const CGROUP_RETRY: Duration = Duration::from_millis(50);

/// One attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) folder: Folder,
    pub(super) since: Timestamp,
    /// The process, if one was started.
    pub(super) pid: Option<u32>,
    pub(super) life: Life,
}

/// Whether an attempt runs.
#[derive(Debug)]
pub(super) enum Life {
    Running(Box<Running>),
    Ended(End),
}

/// What a running attempt has.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) token: Token,
    pub(super) outputs: Vec<Output>,
    pub(super) started: Instant,
    /// Until when it may run.
    pub(super) deadline: Option<(Instant, Duration)>,
    /// Why and since when it is being ended.
    pub(super) ending: Option<Ending>,
    /// How the process ended; its output may still be read.
    pub(super) exited: Option<Exited>,
    /// Processes of its group that outlive the main one and still have time.
    pub(super) lingering: BTreeSet<i32>,
    pub(super) log: log::Writer,
    /// The last line on standard error, for the reason of a failure.
    pub(super) last_words: String,
    pub(super) secrets: Secrets,
    /// Without connections and upstream results.
    pub(super) context: AttemptContext,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) memory_watch: Option<MemoryWatch>,
    /// When this attempt is in the list of timers.
    pub(super) armed: Option<Instant>,
}

/// A memory limit that no cgroup enforces.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemoryWatch {
    pub(super) bytes_max: u64,
    pub(super) next: Instant,
}

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exited {
    /// 128 + n for signal n.
    pub(super) code: i32,
    pub(super) at: Instant,
}

impl Attempt {
    pub(super) fn running(&mut self) -> Option<&mut Running> {
        match &mut self.life {
            Life::Running(running) => Some(running),
            Life::Ended(_) => None,
        }
    }

    pub(super) fn ended(&self) -> bool {
        matches!(self.life, Life::Ended(_))
    }

    /// Whether it was ended because we were asked, or is about to be.
    pub(super) fn killed(&self) -> bool {
        match &self.life {
            Life::Running(running) => running.ending.as_ref().is_some_and(Ending::is_kill),
            Life::Ended(end) => end.outcome == Outcome::Killed,
        }
    }

    /// The reports about it so far. Their numbers are fixed, so that a repeat is known as one.
    pub(super) fn reports(&self, key: Key, host: &str) -> Vec<Report> {
        let (dispatch, member) = key;
        let started = self.pid.map(|pid| News::Started { host: host.to_owned(), pid: Some(pid) });
        let ended = match &self.life {
            Life::Running(_) => None,
            Life::Ended(end) => Some(News::Ended(end.clone())),
        };
        [(1, started), (2, ended)]
            .into_iter()
            .filter_map(|(seq, news)| Some(Report::new(dispatch, member, seq, news?)))
            .collect()
    }
}

/// The supervisor.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) options: Options,
    pub(super) poll: Poll,
    pub(super) listener: UnixListener,
    pub(super) limits: Limits,
    /// The soft limit of open files that programs get.
    pub(super) open_files: Option<u64>,
    /// The small program that attempts of some operators begin as.
    pub(super) attempt_program: Option<File>,
    pub(super) host: String,
    /// Whose attempts run here: those of the first that came.
    pub(super) tenant: Option<TenantId>,
    pub(super) clients: BTreeMap<u64, Client>,
    pub(super) next_client: u64,
    pub(super) attempts: BTreeMap<Key, Attempt>,
    /// The main processes of running attempts that aren't reaped.
    pub(super) processes: BTreeMap<i32, Key>,
    pub(super) orphans: BTreeMap<i32, Orphan>,
    /// Whether a process has ended, which may have left others behind.
    pub(super) look_for_orphans: bool,
    /// Attempts that may be over.
    pub(super) to_finish: Vec<Key>,
    pub(super) timers: BTreeSet<(Instant, Key)>,
    pub(super) old_cgroups: Vec<Cgroup>,
    pub(super) sweeper: Sweeper,
    forgotten: BTreeSet<Key>,
    forgotten_order: VecDeque<Key>,
    pub(super) retired: bool,
}

impl Supervisor {
    pub(super) fn new(
        options: Options,
        poll: Poll,
        listener: UnixListener,
        limits: Limits,
        (open_files, attempt_program): (Option<u64>, Option<File>),
        attempts: BTreeMap<Key, Attempt>,
    ) -> Result<Self, Error> {
        let host =
            std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(machine("read the host's name"))?;
        let sweeper = Sweeper::start(options.dir.join("trash"))?;
        Ok(Self {
            options,
            poll,
            listener,
            limits,
            open_files,
            attempt_program,
            host: host.trim().to_owned(),
            tenant: None,
            clients: BTreeMap::new(),
            next_client: 0,
            attempts,
            processes: BTreeMap::new(),
            orphans: BTreeMap::new(),
            look_for_orphans: false,
            to_finish: Vec::new(),
            timers: BTreeSet::new(),
            old_cgroups: Vec::new(),
            sweeper,
            forgotten: BTreeSet::new(),
            forgotten_order: VecDeque::new(),
            retired: false,
        })
    }

    /// When something is due, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|timer| timer.0);
        let cgroups = (!self.old_cgroups.is_empty()).then(|| clock::monotonic() + CGROUP_RETRY);
        timer.into_iter().chain(cgroups).min()
    }

    /// Handles one event.
    pub(super) fn handle(&mut self, source: Source, flags: epoll::EventFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Client(id) => self.serve(id, flags),
            Source::Exit(key) => self.process_ended(key),
            Source::Output(key, stream) => self.read_output(key, stream),
            Source::Orphan(pid) => self.orphan_ended(pid),
        }
    }

    /// What is left to do when all events of one wait are handled.
    pub(super) fn after_events(&mut self, now: Instant) {
        while let Some((due, key)) = self.timers.first().copied().filter(|timer| timer.0 <= now) {
            self.timers.remove(&(due, key));
            self.attend(key, now);
        }
        if std::mem::take(&mut self.look_for_orphans) {
            self.find_orphans();
        }
        for key in std::mem::take(&mut self.to_finish) {
            self.finish_if_over(key);
        }
        self.old_cgroups.retain_mut(|cgroup| !cgroup.remove());
        self.flush_clients();
    }

    /// Does what is due for an attempt by now.
    fn attend(&mut self, key: Key, now: Instant) {
        let Some(running) = self.attempts.get_mut(&key).and_then(Attempt::running) else { return };
        running.armed = None;
        running.flush_held(now);
        self.enforce(key, now);
        self.to_finish.push(key);
        self.arm(key);
    }

    /// Puts the attempt's next due instant into the list of timers.
    pub(super) fn arm(&mut self, key: Key) {
        let Some(running) = self.attempts.get_mut(&key).and_then(Attempt::running) else { return };
        let due = running.next_due();
        if running.armed != due {
            running.armed.map(|armed| self.timers.remove(&(armed, key)));
            due.map(|due| self.timers.insert((due, key)));
            running.armed = due;
        }
    }

    /// Whether the member was forgotten not long ago.
    pub(super) fn was_forgotten(&self, key: Key) -> bool {
        self.forgotten.contains(&key)
    }

    /// Remembers that a member was forgotten.
    pub(super) fn remember_forgotten(&mut self, key: Key) {
        if self.forgotten.insert(key) {
            self.forgotten_order.push_back(key);
        }
        if self.forgotten_order.len() > FORGOTTEN_MAX
            && let Some(oldest) = self.forgotten_order.pop_front()
        {
            self.forgotten.remove(&oldest);
        }
    }
}
