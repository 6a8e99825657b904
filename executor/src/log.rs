//! The log of one attempt: a file of records, one per line.
//!
//! A record is `<microseconds since the start> <stream><continues> <text>\n`: the stream is `o` (stdout), `e` (stderr)
//! or `s` (the supervisor itself), followed by `+` if the next record of the stream continues the same line. A line is
//! split every [`LINE_BYTES_MAX`] bytes, or where its writer paused in the middle. The text is the masked bytes as they
//! were written; no text can hold a line feed, so none can forge a record, its time or its stream.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use dags::time::Span;
use serde::{Deserialize, Serialize};

/// The longest text of one record.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// The smallest piece of a log that may be asked for: one record always fits.
pub const CHUNK_BYTES_MIN: usize = 2 * LINE_BYTES_MAX;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The task's standard output.
    Stdout,
    /// The task's standard error.
    Stderr,
    /// The supervisor.
    Supervisor,
}

impl Stream {
    fn letter(self) -> u8 {
        match self {
            Self::Stdout => b'o',
            Self::Stderr => b'e',
            Self::Supervisor => b's',
        }
    }

    fn of(letter: u8) -> Option<Self> {
        [Self::Stdout, Self::Stderr, Self::Supervisor].into_iter().find(|stream| stream.letter() == letter)
    }
}

/// One line of a log, or a part of a long one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLine {
    /// Where its record starts in the log, in bytes.
    pub offset: u64,
    /// How long after the attempt's start it was read.
    pub at: Span,
    /// Where it came from.
    pub stream: Stream,
    /// What it says; bytes that aren't UTF-8 are shown as U+FFFD.
    pub text: String,
    /// Whether the stream's next record continues this line.
    pub continues: bool,
}

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogChunk {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// Where to go on reading.
    pub next: u64,
    /// Whether nothing will follow `next`: the attempt has ended and its log was read to the end.
    pub complete: bool,
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Takes bytes and hands out the lines that they complete; the flag says whether the line continues.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8], bool)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.fill(&bytes[..end], &mut line);
            line(&self.partial, false);
            self.partial.clear();
            bytes = &bytes[end + 1..];
        }
        self.fill(bytes, &mut line);
    }

    fn fill(&mut self, mut bytes: &[u8], line: &mut impl FnMut(&[u8], bool)) {
        while self.partial.len() + bytes.len() > LINE_BYTES_MAX {
            let (head, tail) = bytes.split_at(LINE_BYTES_MAX - self.partial.len());
            self.partial.extend_from_slice(head);
            line(&self.partial, true);
            self.partial.clear();
            bytes = tail;
        }
        self.partial.extend_from_slice(bytes);
    }

    /// Whether a line has begun that isn't complete.
    pub(crate) fn holds(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Hands out the line that has begun.
    pub(crate) fn flush(&mut self, continues: bool, mut line: impl FnMut(&[u8], bool)) {
        if self.holds() {
            line(&self.partial, continues);
            self.partial.clear();
        }
    }
}

/// Writes the log of one attempt, up to a limit.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    /// Made with the first record: many attempts write none.
    file: Option<File>,
    buffer: Vec<u8>,
    bytes: u64,
    bytes_max: u64,
    full: bool,
    failed: Option<io::Error>,
}

impl Writer {
    pub(crate) fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, file: None, buffer: Vec::new(), bytes: 0, bytes_max, full: false, failed: None }
    }

    /// Appends a record. The last one of a full log says that it is full.
    pub(crate) fn record(&mut self, at: Span, stream: Stream, text: &[u8], continues: bool) {
        if self.full {
            return;
        }
        self.put(at, stream, text, continues);
        if self.bytes >= self.bytes_max {
            self.full = true;
            let note = format!(
                "this log has reached its limit of {} bytes; what follows isn't kept",
                self.bytes_max
            );
            self.put(at, Stream::Supervisor, note.as_bytes(), false);
        }
    }

    fn put(&mut self, at: Span, stream: Stream, text: &[u8], continues: bool) {
        let before = self.buffer.len();
        self.buffer.extend_from_slice(at.0.to_string().as_bytes());
        self.buffer.extend_from_slice(&[b' ', stream.letter()]);
        self.buffer.extend_from_slice(if continues { b"+ " } else { b" " });
        self.buffer.extend_from_slice(text);
        self.buffer.push(b'\n');
        self.bytes += (self.buffer.len() - before) as u64;
    }

    /// Hands the records to the operating system. The first error ends the log; [`Writer::failure`] tells.
    pub(crate) fn flush(&mut self) {
        if self.failed.is_none()
            && !self.buffer.is_empty()
            && let Err(error) = self.write()
        {
            self.failed = Some(error);
            self.full = true;
        }
        self.buffer.clear();
    }

    fn write(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::options().append(true).create(true).mode(0o600).open(&self.path)?),
        };
        file.write_all(&self.buffer)
    }

    /// Why the log is incomplete.
    pub(crate) fn failure(&self) -> Option<&io::Error> {
        self.failed.as_ref()
    }
}

/// Reads whole records from `offset` on, about `bytes` (at least [`CHUNK_BYTES_MIN`]) of them.
pub(crate) fn read(path: &Path, offset: u64, bytes: usize, ended: bool) -> io::Result<LogChunk> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(LogChunk { lines: Vec::new(), next: offset, complete: ended });
        }
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(offset))?;
    let mut buffer = Vec::new();
    file.take(bytes.max(CHUNK_BYTES_MIN) as u64).read_to_end(&mut buffer)?;
    let (mut lines, mut next) = (Vec::new(), offset);
    while let Some(end) = buffer[(next - offset) as usize..].iter().position(|byte| *byte == b'\n') {
        let start = (next - offset) as usize;
        let line = parse(next, &buffer[start..start + end]).ok_or_else(|| {
            let message = format!(
                "{} has no record at byte {next}: ask for an offset that a line or chunk named",
                path.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        lines.push(line);
        next += end as u64 + 1;
    }
    Ok(LogChunk { lines, next, complete: ended && next >= length })
}

fn parse(offset: u64, record: &[u8]) -> Option<LogLine> {
    let mut parts = record.splitn(3, |byte| *byte == b' ');
    let at = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let (stream, continues) = match parts.next()? {
        [letter] => (Stream::of(*letter)?, false),
        [letter, b'+'] => (Stream::of(*letter)?, true),
        _ => return None,
    };
    let text = String::from_utf8_lossy(parts.next()?).into_owned();
    Some(LogLine { offset, at: Span(at), stream, text, continues })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<(usize, bool)> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.push(piece, |line, continues| lines.push((line.len(), continues)));
        }
        splitter.flush(false, |line, continues| lines.push((line.len(), continues)));
        lines
    }

    #[test]
    fn lines_are_split_at_the_limit_and_nothing_is_lost() {
        let max = LINE_BYTES_MAX;
        assert_eq!(split(&[b"a\n\nbc", b"d\ne"]), [(1, false), (0, false), (3, false), (1, false)]);
        assert_eq!(split(&[&vec![b'x'; max], b"\n"]), [(max, false)]);
        assert_eq!(split(&[&vec![b'x'; max + 1], b"\n"]), [(max, true), (1, false)]);
        assert_eq!(split(&[&vec![b'x'; 3 * max + 5]]), [(max, true), (max, true), (max, true), (5, false)]);
    }

    #[test]
    fn what_was_written_is_read_from_any_record_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut writer = Writer::new(path.clone(), 1 << 20);
        writer.record(Span(5), Stream::Stdout, b"first 1 o line", false);
        writer.record(Span(7), Stream::Stderr, b"\xff\x00half", true);
        writer.record(Span(9), Stream::Supervisor, b"", false);
        writer.flush();
        let whole = read(&path, 0, 0, true).unwrap();
        assert_eq!(whole.lines.len(), 3);
        assert_eq!(whole.lines[0].text, "first 1 o line");
        assert_eq!((whole.lines[1].text.as_str(), whole.lines[1].continues), ("\u{fffd}\0half", true));
        assert!(whole.complete);
        for (i, line) in whole.lines.iter().enumerate() {
            assert_eq!(read(&path, line.offset, 0, false).unwrap().lines, whole.lines[i..]);
        }
        assert!(read(&path, 1, 0, false).unwrap_err().to_string().contains("no record at byte 1"));
        assert_eq!(read(&path, whole.next, 0, false).unwrap().lines, []);
    }

    #[test]
    fn a_full_log_says_so_and_grows_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut writer = Writer::new(path.clone(), 100);
        for _ in 0..100 {
            writer.record(Span(1), Stream::Stdout, b"0123456789", false);
            writer.flush();
        }
        let log = read(&path, 0, 0, true).unwrap();
        let last = log.lines.last().unwrap();
        assert_eq!((last.stream, log.lines.len()), (Stream::Supervisor, 8));
        assert!(last.text.contains("limit of 100 bytes"), "{}", last.text);
    }
}
