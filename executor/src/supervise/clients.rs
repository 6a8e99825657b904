//! The clients on the socket: their asks, their answers, the reports.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
};

use engine::dispatch::Report;
use rustix::event::epoll::EventFlags;

use super::{
    ending::Cause,
    poll::{READABLE, Source, Token},
    state::{Attempt, Key, Supervisor},
};
use crate::{
    log,
    wire::{self, Answer, Ask, FORMAT, Frames, Listed, Message, Request},
};

/// What may wait for a client that doesn't read. One that falls further behind is cut off; when it comes back it asks
/// for everything again.
const OUT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The most of a log that is sent at once.
const LOG_BYTES_MAX: u64 = 1024 * 1024;

/// How much is read from a client at once.
const READ_BYTES: usize = 64 * 1024;

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    token: Token,
    frames: Frames,
    out: Vec<u8>,
    subscribed: bool,
    waits_to_write: bool,
}

/// Why a client is let go.
#[derive(Debug, thiserror::Error)]
enum Gone {
    #[error("it has closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Wire(#[from] wire::Error),
    #[error("it doesn't read: {0} bytes are waiting")]
    Behind(usize),
}

impl Client {
    fn send(&mut self, message: &Message) {
        if let Err(error) = wire::encode(message, &mut self.out) {
            tracing::error!(%error, "a message can't be sent");
        }
    }

    fn read(&mut self) -> Result<(), Gone> {
        let mut buffer = vec![0; READ_BYTES];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(Gone::Closed),
            Ok(n) => {
                self.frames.push(&buffer[..n]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what the socket takes.
    fn write(&mut self) -> Result<(), Gone> {
        let mut done = 0;
        while done < self.out.len() {
            match self.stream.write(&self.out[done..]) {
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.drain(..done);
        if self.out.len() > OUT_BYTES_MAX { Err(Gone::Behind(self.out.len())) } else { Ok(()) }
    }
}

impl Supervisor {
    /// Takes a new client.
    pub(super) fn accept(&mut self) {
        let accepted = self.listener.accept().and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            let id = self.next_client + 1;
            let token = self.poll.add(&stream, Source::Client(id), READABLE)?;
            Ok((
                id,
                Client {
                    stream,
                    token,
                    frames: Frames::default(),
                    out: Vec::new(),
                    subscribed: false,
                    waits_to_write: false,
                },
            ))
        });
        match accepted {
            Ok((id, client)) => {
                self.next_client = id;
                self.clients.insert(id, client);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => tracing::warn!(%error, "a client couldn't be accepted"),
        }
    }

    /// Answers what a client asks.
    pub(super) fn serve(&mut self, id: u64, flags: EventFlags) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if self.retired || !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        let mut outcome = client.read();
        // Once it has retired, nobody is there for what it would start: what isn't answered is asked of the next supervisor.
        while outcome.is_ok() && !self.retired {
            let Some(client) = self.clients.get_mut(&id) else { return };
            match client.frames.next::<Request>() {
                Ok(Some(request)) => {
                    let answer = self.answer(id, request.format, request.ask);
                    if let Some(client) = self.clients.get_mut(&id) {
                        client.send(&Message::Answer { id: request.id, answer });
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    // A client of another release learns why, before it is let go.
                    if let Some(head) = client.frames.head().filter(|head| head.format != FORMAT) {
                        client.send(&Message::Answer { id: head.id, answer: other_format(head.format) });
                        client.write().ok();
                    }
                    outcome = Err(error.into());
                }
            }
        }
        if let Err(gone) = outcome {
            self.let_go(id, &gone);
        }
    }

    fn let_go(&mut self, id: u64, gone: &Gone) {
        let Some(client) = self.clients.remove(&id) else { return };
        self.poll.remove(&client.stream, client.token);
        match gone {
            Gone::Closed => {}
            Gone::Io(_) | Gone::Wire(_) | Gone::Behind(_) => {
                tracing::warn!(reason = %gone, "a client was let go");
            }
        }
    }

    fn answer(&mut self, client: u64, format: u32, ask: Ask) -> Answer {
        if format != FORMAT {
            return other_format(format);
        }
        match ask {
            Ask::Hello => {
                let pid = rustix::process::getpid().as_raw_pid() as u32;
                Answer::Hello { format: FORMAT, release: env!("CARGO_PKG_VERSION").to_owned(), pid }
            }
            Ask::Start(work) => self.start(*work),
            Ask::Kill { dispatch, members, grace, reason } => {
                for key in (0..members).map(|member| (dispatch, member)) {
                    if !self.attempts.contains_key(&key) && !self.was_forgotten(key) {
                        self.kill_unseen(key, &reason);
                    }
                }
                let running: Vec<Key> = self.members(dispatch).map(|(key, _)| *key).collect();
                for key in running {
                    self.end(key, Cause::Killed { reason: reason.clone() }, grace.to_std());
                }
                Answer::Done
            }
            Ask::List => {
                let listed = |((dispatch, member), attempt): (&Key, &Attempt)| Listed {
                    dispatch: *dispatch,
                    member: *member,
                    since: attempt.since,
                    ended: attempt.ended(),
                };
                Answer::List(self.attempts.iter().map(listed).collect())
            }
            Ask::Forget { dispatch, member } => self.forget((dispatch, member)),
            Ask::Subscribe => self.subscribe(client),
            Ask::Logs { dispatch, member, offset, bytes } => {
                let Some(attempt) = self.attempts.get(&(dispatch, member)) else { return Answer::Unknown };
                match log::read(
                    &attempt.folder.log(),
                    offset,
                    bytes.min(LOG_BYTES_MAX) as usize,
                    attempt.ended(),
                ) {
                    Ok(chunk) => Answer::Logs(chunk),
                    Err(error) => Answer::Refused { reason: format!("the log can't be read: {error}") },
                }
            }
            Ask::Retire if self.processes.is_empty() => {
                self.retired = true;
                Answer::Done
            }
            Ask::Retire => {
                Answer::Refused { reason: format!("{} attempts are running", self.processes.len()) }
            }
        }
    }

    fn forget(&mut self, key: Key) -> Answer {
        match self.attempts.get(&key) {
            None => return Answer::Done,
            Some(attempt) if !attempt.ended() => {
                return Answer::Refused {
                    reason: format!("member {} of dispatch {} is running", key.1, key.0),
                };
            }
            Some(attempt) => {
                if let Err(error) = self.sweeper.sweep(attempt.folder.path()) {
                    return Answer::Refused {
                        reason: format!("the attempt's folder can't be removed: {error}"),
                    };
                }
            }
        }
        self.attempts.remove(&key);
        self.remember_forgotten(key);
        Answer::Done
    }

    fn subscribe(&mut self, client: u64) -> Answer {
        let Some(client) = self.clients.get_mut(&client) else { return Answer::Unknown };
        client.subscribed = true;
        for (key, attempt) in &self.attempts {
            for report in attempt.reports(*key, &self.host) {
                client.send(&Message::Report(report));
            }
        }
        Answer::Done
    }

    /// Tells a report to everyone who has subscribed.
    pub(super) fn publish(&mut self, report: &Report) {
        let message = Message::Report(report.clone());
        self.clients.values_mut().filter(|client| client.subscribed).for_each(|client| client.send(&message));
    }

    /// Writes what is waiting for the clients.
    pub(super) fn flush_clients(&mut self) {
        let mut gone = Vec::new();
        for (id, client) in self.clients.iter_mut().filter(|(_, client)| !client.out.is_empty()) {
            let written = client.write().and_then(|()| {
                let waits = !client.out.is_empty();
                if waits != client.waits_to_write {
                    client.waits_to_write = waits;
                    let flags = if waits { READABLE | EventFlags::OUT } else { READABLE };
                    self.poll.modify(&client.stream, client.token, flags)?;
                }
                Ok(())
            });
            gone.extend(written.err().map(|error| (*id, error)));
        }
        for (id, error) in gone {
            self.let_go(id, &error);
        }
    }
}

fn other_format(format: u32) -> Answer {
    let reason =
        format!("this supervisor speaks format {FORMAT} of the protocol, the client speaks {format}");
    Answer::Refused { reason }
}
