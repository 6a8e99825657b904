//! What attempts write: read, masked, cut into lines, stamped, stored.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use super::{
    poll::Token,
    span,
    state::{Attempt, Key, Running, Supervisor},
};
use crate::{
    clock,
    log::{self, Splitter, Stream},
    mask::Masker,
};

/// How long a byte that could begin a secret is held back.
const MASK_HOLD: Duration = Duration::from_secs(5);

/// How long a line that has begun waits for its end.
const LINE_HOLD: Duration = Duration::from_secs(1);

/// How much is read at once, the size of a pipe.
const READ_BYTES: usize = 64 * 1024;

/// How much of a line may become part of a reason.
const LAST_WORDS_CHARS_MAX: usize = 200;

/// One output stream of a running attempt.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) pipe: OwnedFd,
    pub(super) token: Token,
    pub(super) stream: Stream,
    pub(super) masker: Masker,
    pub(super) splitter: Splitter,
    /// Since when the masker holds something back.
    pub(super) mask_since: Option<Instant>,
    /// Since when a line has begun.
    pub(super) line_since: Option<Instant>,
}

impl Output {
    /// When something held back is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let mask = self.mask_since.map(|since| since + MASK_HOLD);
        mask.into_iter().chain(self.line_since.map(|since| since + LINE_HOLD)).min()
    }
}

/// Where the lines of a running attempt go.
struct Sink<'a> {
    log: &'a mut log::Writer,
    last_words: &'a mut String,
    started: Instant,
    stream: Stream,
}

impl Sink<'_> {
    fn line(&mut self, text: &[u8], continues: bool, now: Instant) {
        self.log.record(span(now.duration_since(self.started)), self.stream, text, continues);
        if self.stream == Stream::Stderr && !text.trim_ascii().is_empty() {
            let text = String::from_utf8_lossy(&text[..text.len().min(4 * LAST_WORDS_CHARS_MAX)]);
            *self.last_words = text.trim().chars().take(LAST_WORDS_CHARS_MAX).collect();
        }
    }
}

impl Running {
    /// The supervisor's own word in the log.
    pub(super) fn note(&mut self, text: &str) {
        let at = span(self.started.elapsed());
        self.log.record(at, Stream::Supervisor, self.secrets.mask(text).as_bytes(), false);
        self.log.flush();
    }

    fn take(&mut self, index: usize, bytes: &[u8], now: Instant) {
        let output = &mut self.outputs[index];
        let mut sink = Sink {
            log: &mut self.log,
            last_words: &mut self.last_words,
            started: self.started,
            stream: output.stream,
        };
        let mut masked = Vec::with_capacity(bytes.len());
        output.masker.push(bytes, &mut masked);
        output.splitter.push(&masked, |line, continues| sink.line(line, continues, now));
        output.mask_since = output.masker.holds().then_some(now);
        output.line_since = output.splitter.holds().then(|| output.line_since.unwrap_or(now));
        self.log.flush();
    }

    /// Stores what has been held back for long enough.
    pub(super) fn flush_held(&mut self, now: Instant) {
        for output in &mut self.outputs {
            let mut sink = Sink {
                log: &mut self.log,
                last_words: &mut self.last_words,
                started: self.started,
                stream: output.stream,
            };
            if output.mask_since.is_some_and(|since| since + MASK_HOLD <= now) {
                let mut masked = Vec::new();
                output.masker.flush(&mut masked);
                output.splitter.push(&masked, |line, continues| sink.line(line, continues, now));
                output.mask_since = None;
                output.line_since = output.line_since.or(Some(now));
            }
            if output.line_since.is_some_and(|since| since + LINE_HOLD <= now) {
                output.splitter.flush(true, |line, continues| sink.line(line, continues, now));
                output.line_since = None;
            }
        }
        self.log.flush();
    }

    /// Stores everything that an output holds back and takes the output away: it has ended.
    pub(super) fn close_output(&mut self, index: usize, now: Instant) -> Output {
        let mut output = self.outputs.swap_remove(index);
        let mut sink = Sink {
            log: &mut self.log,
            last_words: &mut self.last_words,
            started: self.started,
            stream: output.stream,
        };
        let mut masked = Vec::new();
        output.masker.flush(&mut masked);
        output.splitter.push(&masked, |line, continues| sink.line(line, continues, now));
        output.splitter.flush(false, |line, continues| sink.line(line, continues, now));
        self.log.flush();
        output
    }
}

impl Supervisor {
    /// Reads once from an output that has something or has ended.
    pub(super) fn read_output(&mut self, key: Key, stream: Stream) {
        let Some(running) = self.attempts.get_mut(&key).and_then(Attempt::running) else { return };
        let Some(index) = running.outputs.iter().position(|output| output.stream == stream) else { return };
        let now = clock::monotonic();
        let mut buffer = Vec::with_capacity(READ_BYTES);
        let pipe = &running.outputs[index].pipe;
        match rustix::io::read(pipe, rustix::buffer::spare_capacity(&mut buffer)) {
            Ok(0) => {
                let output = running.close_output(index, now);
                self.poll.remove(&output.pipe, output.token);
                self.to_finish.push(key);
            }
            Ok(_) => running.take(index, &buffer, now),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => {
                running.note(&format!("the rest of the output can't be read: {error}"));
                let output = running.close_output(index, now);
                self.poll.remove(&output.pipe, output.token);
                self.to_finish.push(key);
            }
        }
        self.arm(key);
    }
}
