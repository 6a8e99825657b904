//! What the supervisor waits for.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::event::{Timespec, epoll};

use super::state::Key;
use crate::log::Stream;

/// Something that wakes the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A client connects.
    Listener,
    /// A client says something, or can be told more.
    Client(u64),
    /// The process of an attempt has ended.
    Exit(Key),
    /// An attempt has written.
    Output(Key, Stream),
    /// A process that an attempt left behind has ended.
    Orphan(i32),
}

/// Readable, or the other end is gone.
pub(super) const READABLE: epoll::EventFlags = epoll::EventFlags::IN;

/// The most events of one wait; the others come with the next.
const EVENTS_MAX: usize = 256;

/// An epoll with the meaning of each of its descriptors.
#[derive(Debug)]
pub(super) struct Poll {
    epoll: OwnedFd,
    sources: BTreeMap<u64, Source>,
    next: u64,
}

/// One registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(u64);

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, sources: BTreeMap::new(), next: 0 })
    }

    pub(super) fn add(
        &mut self,
        fd: impl AsFd,
        source: Source,
        flags: epoll::EventFlags,
    ) -> io::Result<Token> {
        self.next += 1;
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(self.next), flags)?;
        self.sources.insert(self.next, source);
        Ok(Token(self.next))
    }

    pub(super) fn modify(&self, fd: impl AsFd, token: Token, flags: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(token.0), flags)?)
    }

    /// Forgets a descriptor, which is then closed.
    pub(super) fn remove(&mut self, fd: impl AsFd, token: Token) {
        self.sources.remove(&token.0);
        if let Err(error) = epoll::delete(&self.epoll, fd) {
            tracing::error!(%error, "a descriptor couldn't be taken out of the epoll");
        }
    }

    /// Waits for events, at most that long.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<(Source, epoll::EventFlags)>> {
        // Rounded up to a millisecond, the unit of older kernels: waking early would be a busy loop.
        let timeout = timeout.map(|timeout| {
            let millis = i64::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
            Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
        });
        let mut events = Vec::with_capacity(EVENTS_MAX);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let known = |event: &epoll::Event| {
            let (data, flags) = (event.data, event.flags);
            self.sources.get(&data.u64()).map(|source| (*source, flags))
        };
        Ok(events.iter().filter_map(known).collect())
    }
}
