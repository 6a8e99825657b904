//! Logs in the object store: how they grow, end and are read, always a bounded piece at a time.
//!
//! ```text
//! <member>                 a whole log, one line of JSON per line, in the order of their offsets
//! <member>.parts/<offset>  a piece of one that grows, as its worker sent it
//! <member>.parts/<offset>.run  many pieces made one, beginning at that offset
//! ```
//!
//! Pieces may overlap: a line is known by its offset, and the first one with an offset counts.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use dags::ids::DispatchId;
use executor::{
    fleet::StoredResult,
    log::{LogChunk, LogLine},
};

use super::{Beside, Objects};

/// The most bytes of a member's log, as JSON. Supervisors stop at 256 MiB of text.
const LOG_BYTES_MAX: u64 = 1 << 30;
/// No log is longer, so no offset is larger.
const OFFSET_MAX: u64 = 1 << 40;
/// About how many bytes are read at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// The longest line of JSON that is read: a record's text, all of it escaped.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Pieces that become one.
const PIECES_MAX: usize = 256;
/// A search for a place in a file ends with so many bytes, which are read through.
const SEARCHED_BYTES: u64 = 64 * 1024;

/// Why a piece of a log isn't stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It isn't what a log is made of, or there is too much of it. Sending it again doesn't help.
    #[error("{0}")]
    Refused(String),
    /// It can't be written now.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Objects {
    fn parts(&self, dispatch: DispatchId, member: u32) -> PathBuf {
        self.log(dispatch, member).with_extension("parts")
    }

    /// Stores a piece of a log that begins at `offset`; the same piece again replaces itself. With `last` the log is
    /// complete, and its pieces become one object.
    pub fn put_log(
        &self,
        dispatch: DispatchId,
        member: u32,
        offset: u64,
        lines: &[u8],
        last: bool,
    ) -> Result<(), PutError> {
        let (whole, parts) = (self.log(dispatch, member), self.parts(dispatch, member));
        if whole.exists() {
            return Ok(());
        }
        check(offset, lines).map_err(PutError::Refused)?;
        let pieces = pieces(&parts)?;
        let mut stored = lines.len() as u64;
        for piece in pieces.iter().filter(|piece| piece.from != offset) {
            stored += piece.bytes()?;
        }
        if stored > LOG_BYTES_MAX {
            return Err(PutError::Refused(format!("a log may have at most {LOG_BYTES_MAX} bytes")));
        }
        if !lines.is_empty() {
            Self::write(&parts.join(format!("{offset:020}")), lines)?;
        }
        if last {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.of(dispatch))?;
            join(&self::pieces(&parts)?, &whole)?;
            return match fs::remove_dir_all(&parts) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            };
        }
        let single: Vec<_> = pieces.into_iter().filter(|piece| !piece.is_run).collect();
        if single.len() >= PIECES_MAX {
            // The newest one may be sent again: it stays as it is.
            let old = &single[..single.len() - 1];
            let run = parts.join(format!("{:020}.run", old[0].from));
            let before = run.exists().then(|| Piece { from: old[0].from, is_run: true, path: run.clone() });
            join(before.iter().chain(old), &run)?;
            for piece in old {
                fs::remove_file(&piece.path)?;
            }
        }
        Ok(())
    }

    /// A piece of a log from `offset` on, as far as it is stored; none if nothing is.
    pub fn read_log(&self, dispatch: DispatchId, member: u32, offset: u64) -> io::Result<Option<LogChunk>> {
        let mut chunk = LogChunk { lines: Vec::new(), next: offset, complete: false };
        let mut room = CHUNK_BYTES;
        match File::open(self.log(dispatch, member)) {
            Ok(mut file) => {
                seek(&mut file, offset)?;
                chunk.complete = take(file, &mut chunk, &mut room)?;
                return Ok(Some(chunk));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let pieces = pieces(&self.parts(dispatch, member))?;
        if pieces.is_empty() {
            return Ok(None);
        }
        // What begins before another one that begins before the offset may still reach beyond it, if it is a run.
        let first = pieces.iter().rposition(|piece| piece.from <= offset).unwrap_or(0);
        let run = pieces[..first].iter().rposition(|piece| piece.is_run);
        for piece in run.map(|at| &pieces[at]).into_iter().chain(&pieces[first..]) {
            let read = File::open(&piece.path).and_then(|mut file| {
                seek(&mut file, offset)?;
                take(file, &mut chunk, &mut room)
            });
            match read {
                Ok(true) => {}
                Ok(false) => break,
                // The pieces have just become one: the next look finds it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Some(chunk))
    }
}

impl executor::fleet::Kept for Objects {
    fn log(&self, dispatch: DispatchId, member: u32, offset: u64) -> io::Result<Option<LogChunk>> {
        self.read_log(dispatch, member, offset)
    }

    fn result(&self, dispatch: DispatchId, digest: &str) -> io::Result<Option<StoredResult>> {
        self.stored_result(dispatch, digest)
    }
}

/// A piece of a log on disk.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    from: u64,
    is_run: bool,
    path: PathBuf,
}

impl Piece {
    fn bytes(&self) -> io::Result<u64> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(metadata.len()),
            // It has just become part of another.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// The pieces of a log, in order.
fn pieces(folder: &Path) -> io::Result<Vec<Piece>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // One that is being written has another name.
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let (number, is_run) = name.strip_suffix(".run").map_or((name, false), |number| (number, true));
        if let Ok(from) = number.parse() {
            found.push(Piece { from, is_run, path });
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether lines can be a piece of a log, and why not.
fn check(offset: u64, lines: &[u8]) -> Result<(), String> {
    if lines.last().is_some_and(|last| *last != b'\n') {
        return Err("a piece of a log ends with a line feed".to_owned());
    }
    let mut next = offset;
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: LogLine =
            serde_json::from_slice(line).map_err(|error| format!("a line can't be read: {error}"))?;
        if line.offset < next || line.offset > OFFSET_MAX {
            return Err(format!("a line has the offset {}, where {next} or more is expected", line.offset));
        }
        next = line.offset + 1;
    }
    Ok(())
}

/// Makes one file of pieces, each line once.
fn join<'a>(pieces: impl IntoIterator<Item = &'a Piece>, place: &Path) -> io::Result<()> {
    let mut beside = Beside::of(place)?;
    let mut out = io::BufWriter::new(&mut beside.file);
    let mut next = 0;
    for piece in pieces {
        let mut file = BufReader::new(File::open(&piece.path)?);
        let mut text = Vec::new();
        while let Some(line) = read_line(&mut file, &mut text)? {
            if line.offset >= next {
                next = line.offset + 1;
                out.write_all(&text)?;
            }
        }
    }
    out.flush()?;
    drop(out);
    beside.keep()
}

/// The next line and its text; none at the end. What was cut off by a crash is the end.
fn read_line(file: &mut impl io::BufRead, text: &mut Vec<u8>) -> io::Result<Option<LogLine>> {
    text.clear();
    file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', text)?;
    if text.last() != Some(&b'\n') {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(text)?))
}

/// Adds the lines from the chunk's end on until there is no more room; says whether all were added.
fn take(file: File, chunk: &mut LogChunk, room: &mut usize) -> io::Result<bool> {
    let mut file = BufReader::new(file);
    let mut text = Vec::new();
    while let Some(line) = read_line(&mut file, &mut text)? {
        if line.offset < chunk.next {
            continue;
        }
        if *room == 0 {
            return Ok(false);
        }
        *room = room.saturating_sub(text.len());
        chunk.next = line.offset + 1;
        chunk.lines.push(line);
    }
    Ok(true)
}

/// Goes near the first line at that offset or behind it, never beyond: the lines are in the order of their offsets.
fn seek(file: &mut File, offset: u64) -> io::Result<()> {
    let (mut low, mut high) = (0, file.metadata()?.len());
    while offset > 0 && high - low > SEARCHED_BYTES {
        let middle = low + (high - low) / 2;
        file.seek(SeekFrom::Start(middle))?;
        let mut reader = BufReader::new(&*file);
        // The middle is within a line, whose rest says nothing.
        let skipped = reader.skip_until(b'\n')? as u64;
        let start = middle + skipped;
        let mut text = Vec::new();
        match read_line(&mut reader, &mut text)? {
            Some(line) if start < high && line.offset < offset => low = start,
            _ => high = middle,
        }
    }
    file.seek(SeekFrom::Start(low)).map(drop)
}

#[cfg(test)]
mod tests {
    use dags::{ids::AttemptId, time::Span};
    use executor::log::Stream;

    use super::*;

    fn lines(offsets: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let mut content = Vec::new();
        for offset in offsets {
            let line = LogLine {
                offset,
                at: Span::ZERO,
                stream: Stream::Stdout,
                text: offset.to_string(),
                continues: false,
            };
            content.extend(serde_json::to_vec(&line).unwrap());
            content.push(b'\n');
        }
        content
    }

    fn id() -> DispatchId {
        let attempt: AttemptId = "00000000-0000-8000-8000-000000000001".parse().unwrap();
        DispatchId { attempt, n: 1 }
    }

    /// The offsets of all lines from one on, how many looks that took, and whether the log was complete.
    fn read(objects: &Objects, from: u64) -> (Vec<u64>, usize, bool) {
        let (mut offsets, mut next) = (Vec::new(), from);
        for looks in 1.. {
            let chunk = objects.read_log(id(), 0, next).unwrap().unwrap();
            let bytes: usize = chunk.lines.iter().map(|line| serde_json::to_vec(line).unwrap().len()).sum();
            assert!(bytes < 2 * CHUNK_BYTES, "{bytes}");
            offsets.extend(chunk.lines.iter().map(|line| line.offset));
            if chunk.complete || chunk.next == next {
                return (offsets, looks, chunk.complete);
            }
            next = chunk.next;
        }
        unreachable!()
    }

    #[test]
    fn a_log_is_read_while_its_pieces_come_and_after() {
        let data = tempfile::tempdir().unwrap();
        let objects = Objects::open(data.path()).unwrap();
        let read = |from| {
            let (offsets, _, complete) = read(&objects, from);
            (offsets, complete)
        };
        assert_eq!(objects.read_log(id(), 0, 0).unwrap(), None);
        objects.put_log(id(), 0, 0, &lines([0, 5]), false).unwrap();
        objects.put_log(id(), 0, 9, &lines([9]), false).unwrap();
        objects.put_log(id(), 0, 9, &lines([9]), false).unwrap();
        assert_eq!(read(0), (vec![0, 5, 9], false));
        assert_eq!(read(6), (vec![9], false));
        for _ in 0..2 {
            objects.put_log(id(), 0, 12, &lines([12]), true).unwrap();
            assert_eq!(read(5), (vec![5, 9, 12], true));
        }
        // A piece that comes late changes nothing.
        objects.put_log(id(), 0, 9, &lines([9]), false).unwrap();
        assert_eq!(read(0), (vec![0, 5, 9, 12], true));
    }

    #[test]
    fn a_long_log_is_read_bit_by_bit_from_anywhere() {
        let data = tempfile::tempdir().unwrap();
        let objects = Objects::open(data.path()).unwrap();
        let all: Vec<u64> = (0..20_000).map(|n| n * 7).collect();
        for piece in all.chunks(50) {
            objects.put_log(id(), 0, piece[0], &lines(piece.iter().copied()), false).unwrap();
        }
        // A piece that comes again, and one that overlaps others.
        objects.put_log(id(), 0, all[50], &lines(all[50..60].iter().copied()), false).unwrap();
        let left = fs::read_dir(objects.parts(id(), 0)).unwrap().count();
        assert!(left < PIECES_MAX + 10, "{left}");
        let check = |complete| {
            for from in [0, 1, 69_999, 70_000, 70_001, 139_993, 200_000] {
                let wanted: Vec<u64> = all.iter().copied().filter(|offset| *offset >= from).collect();
                let (found, looks, was_complete) = read(&objects, from);
                assert_eq!(found, wanted, "{from}");
                assert_eq!(was_complete, complete);
                assert!(from > 0 || looks > 4, "{looks}");
            }
        };
        check(false);
        objects.put_log(id(), 0, 200_000, b"", true).unwrap();
        check(true);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let objects = Objects::open(data.path()).unwrap();
        let cut = lines([1]);
        let cases = [
            (0, b"nonsense\n".to_vec()),
            (0, cut[..cut.len() - 1].to_vec()),
            (2, lines([1])),
            (0, lines([4, 4])),
            (0, lines([u64::MAX])),
        ];
        for (offset, piece) in cases {
            for last in [false, true] {
                let refused = objects.put_log(id(), 0, offset, &piece, last);
                assert!(matches!(refused, Err(PutError::Refused(_))), "{offset} {piece:?}");
            }
        }
        assert_eq!(objects.read_log(id(), 0, 0).unwrap(), None);
        // As many bytes as are allowed, and then one more line.
        objects.put_log(id(), 0, 0, &lines([0]), false).unwrap();
        let path = objects.parts(id(), 0).join(format!("{:020}", 0));
        File::options().write(true).open(path).unwrap().set_len(LOG_BYTES_MAX).unwrap();
        assert!(matches!(objects.put_log(id(), 0, 1, &lines([1]), false), Err(PutError::Refused(_))));
    }
}
