//! The connection to the supervisor, for as long as the service runs.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    process::Child,
    time::Duration,
};

use engine::dispatch::Report;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{Errand, Options, launch};
use crate::{
    contract::Error,
    wire::{self, Answer, Ask, FORMAT, Frames, Message, Request},
};

/// The first and the longest wait between two tries to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// After so many failed tries in a row those who wait are told; the tries go on.
const FAILURES_TOLERATED: u32 = 3;

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// Keeps the executor connected to its supervisor.
#[derive(Debug)]
pub struct Service {
    options: Options,
    reports: mpsc::Sender<Report>,
    errands: mpsc::Receiver<Errand>,
    /// Asks that aren't answered, by number; sent again on each new connection.
    open: BTreeMap<u64, Open>,
    next: u64,
    /// Reports that the receiver has no room for. There are two at most for each attempt that isn't confirmed.
    waiting: VecDeque<Report>,
    /// The supervisors that this process started and that haven't ended; kept to reap them.
    children: Vec<Child>,
    /// Whether the last ask is done.
    closed: bool,
}

#[derive(Debug)]
struct Open {
    frame: Vec<u8>,
    /// Whether the service ends once this is done.
    last: bool,
    /// None for the asks of the service itself.
    reply: Option<oneshot::Sender<Result<Answer, Error>>>,
}

/// What wakes the service.
enum Event<'a> {
    Stop,
    Errand(Errand),
    Written(usize),
    Read(usize),
    Room(mpsc::Permit<'a, Report>),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the supervisor closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Wire(#[from] wire::Error),
}

impl Service {
    pub(super) fn new(
        options: Options,
        reports: mpsc::Sender<Report>,
        errands: mpsc::Receiver<Errand>,
    ) -> Self {
        let (open, waiting) = (BTreeMap::new(), VecDeque::new());
        Self { options, reports, errands, open, next: 0, waiting, children: Vec::new(), closed: false }
    }

    /// Runs until it is cancelled, all handles are dropped, or nobody receives the reports any more. The supervisor and
    /// its attempts go on.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut failures = 0;
        while !cancel.is_cancelled() {
            self.reap();
            let connected = tokio::select! {
                () = cancel.cancelled() => return,
                connected = launch::connect(&self.options, &mut self.children) => connected,
            };
            match connected {
                Ok(stream) => {
                    failures = 0;
                    match self.converse(stream, &cancel).await {
                        Ok(()) => return,
                        Err(lost) => {
                            tracing::warn!(reason = %lost, "the connection to the supervisor is lost");
                        }
                    }
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, failures, "the supervisor can't be reached");
                    if failures >= FAILURES_TOLERATED {
                        self.refuse_all(&error.to_string());
                    }
                    let wait = BACKOFF.1.min(BACKOFF.0 * 2_u32.pow(failures.min(10)));
                    if tokio::time::timeout(wait, cancel.cancelled()).await.is_ok() {
                        return;
                    }
                }
            }
        }
    }

    /// Carries asks, answers and reports until the connection is lost (an error) or the service is to stop.
    async fn converse(&mut self, mut stream: UnixStream, cancel: &CancellationToken) -> Result<(), Lost> {
        let (mut reader, mut writer) = stream.split();
        let (mut frames, mut out, mut buffer) = (Frames::default(), Vec::new(), vec![0; READ_BYTES]);
        self.open.retain(|_, open| open.reply.is_some());
        self.ask(Ask::Subscribe, false, None, &mut Vec::new());
        // The subscription goes first, though its number is the highest.
        self.open.values().rev().take(1).for_each(|open| out.extend_from_slice(&open.frame));
        self.open.values().rev().skip(1).rev().for_each(|open| out.extend_from_slice(&open.frame));
        let reports = self.reports.clone();
        loop {
            let event = tokio::select! {
                () = cancel.cancelled() => Event::Stop,
                errand = self.errands.recv() => errand.map_or(Event::Stop, Event::Errand),
                written = writer.write(&out), if !out.is_empty() => Event::Written(written?),
                read = reader.read(&mut buffer) => Event::Read(read?),
                room = reports.reserve(), if !self.waiting.is_empty() => room.map_or(Event::Stop, Event::Room),
            };
            match event {
                Event::Stop => return Ok(()),
                Event::Errand(Errand { ask, last, reply }) => self.ask(ask, last, Some(reply), &mut out),
                Event::Written(n) => drop(out.drain(..n)),
                Event::Read(0) => return Err(Lost::Closed),
                Event::Read(n) => {
                    frames.push(&buffer[..n]);
                    while let Some(message) = frames.next()? {
                        self.hear(message);
                    }
                    if self.closed {
                        return Ok(());
                    }
                }
                Event::Room(room) => {
                    if let Some(report) = self.waiting.pop_front() {
                        room.send(report);
                    }
                }
            }
        }
    }

    /// Sends an ask, and keeps it until it is answered.
    fn ask(
        &mut self,
        ask: Ask,
        last: bool,
        reply: Option<oneshot::Sender<Result<Answer, Error>>>,
        out: &mut Vec<u8>,
    ) {
        self.next += 1;
        let (id, mut frame) = (self.next, Vec::new());
        match wire::encode(&Request { format: FORMAT, id, ask }, &mut frame) {
            Ok(()) => {
                out.extend_from_slice(&frame);
                self.open.insert(id, Open { frame, last, reply });
            }
            Err(error) => answer(reply, Err(Error::Refused(error.to_string()))),
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Report(report) => self.waiting.push_back(report),
            Message::Answer { id, answer: content } => {
                if let Some(open) = self.open.remove(&id) {
                    self.closed |= open.last && matches!(content, Answer::Done);
                    answer(open.reply, Ok(content));
                }
            }
        }
    }

    fn refuse_all(&mut self, reason: &str) {
        while let Ok(errand) = self.errands.try_recv() {
            answer(Some(errand.reply), Err(Error::Unavailable(reason.to_owned())));
        }
        for open in std::mem::take(&mut self.open).into_values() {
            answer(open.reply, Err(Error::Unavailable(reason.to_owned())));
        }
    }

    /// Takes note of the end of supervisors that this process started.
    fn reap(&mut self) {
        self.children.retain_mut(|child| match child.try_wait() {
            Ok(Some(status)) => {
                tracing::info!(%status, pid = child.id(), "a supervisor has ended");
                false
            }
            Ok(None) => true,
            Err(error) => {
                tracing::warn!(%error, "a supervisor can't be waited for");
                false
            }
        });
    }
}

/// Gives an answer to whoever still waits for it.
fn answer(reply: Option<oneshot::Sender<Result<Answer, Error>>>, content: Result<Answer, Error>) {
    if let Some(reply) = reply {
        // Nobody waits any more if the caller was cancelled; its ask was carried out all the same.
        let _ = reply.send(content);
    }
}
