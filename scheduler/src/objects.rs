//! The object store of a single node: a folder for bundles, results and logs, every object written whole or not at all.
//!
//! ```text
//! bundles/<digest>/...         an unpacked bundle, read-only
//! results/<digest>             a result that is too large for the database
//! logs/<attempt>-<n>/<member>  the log of a member of a dispatch, one line of JSON per line
//! logs/<attempt>-<n>/<member>.parts/<offset>  a piece of one that grows, as its worker sent it
//! ```

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use dags::ids::{BundleId, DispatchId};
use executor::log::{LogChunk, LogLine};

/// The folder.
#[derive(Debug, Clone)]
pub struct Objects {
    root: PathBuf,
}

impl Objects {
    /// Opens the folder, making it if it isn't there.
    pub fn open(root: &Path) -> io::Result<Self> {
        for part in ["bundles", "results", "logs"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(part))?;
        }
        Ok(Self { root: root.canonicalize()? })
    }

    /// The folder of a bundle, whether or not it is there.
    pub fn bundle(&self, bundle: &BundleId) -> PathBuf {
        self.root.join("bundles").join(&*bundle.0)
    }

    /// Where results are.
    pub fn results(&self) -> PathBuf {
        self.root.join("results")
    }

    /// Reads a large result.
    pub fn result(&self, digest: &str) -> io::Result<Vec<u8>> {
        if digest.is_empty() || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a digest"));
        }
        fs::read(self.results().join(digest))
    }

    /// Where the log of a member of a dispatch is, once the dispatch has ended.
    pub fn log(&self, dispatch: DispatchId, member: u32) -> PathBuf {
        self.root.join("logs").join(dispatch.to_string()).join(member.to_string())
    }

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
    ) -> io::Result<()> {
        let (whole, parts) = (self.log(dispatch, member), self.parts(dispatch, member));
        if whole.exists() {
            return Ok(());
        }
        if !last {
            return Self::write(&parts.join(format!("{offset:020}")), lines);
        }
        let mut content = Vec::new();
        for (from, path) in pieces(&parts)? {
            if from < offset {
                content.extend(fs::read(path)?);
            }
        }
        content.extend_from_slice(lines);
        Self::write(&whole, &content)?;
        match fs::remove_dir_all(&parts) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// A log from `offset` on, as far as it is stored; none if nothing is.
    pub fn read_log(&self, dispatch: DispatchId, member: u32, offset: u64) -> io::Result<Option<LogChunk>> {
        let mut chunk = LogChunk { lines: Vec::new(), next: offset, complete: true };
        match fs::read(self.log(dispatch, member)) {
            Ok(content) => take_lines(&content, &mut chunk)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pieces = pieces(&self.parts(dispatch, member))?;
                if pieces.is_empty() {
                    return Ok(None);
                }
                chunk.complete = false;
                for (_, path) in pieces {
                    match fs::read(path) {
                        Ok(content) => take_lines(&content, &mut chunk)?,
                        // The pieces have just become one object: the next look finds it.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(Some(chunk))
    }

    /// Removes the logs of a dispatch, if there are any.
    pub fn remove_logs(&self, dispatch: DispatchId) -> io::Result<()> {
        match fs::remove_dir_all(self.root.join("logs").join(dispatch.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes a file whole: beside its place first, then moved there.
    pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let beside = path.with_extension("part");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }
}

impl executor::fleet::Logs for Objects {
    fn read(&self, dispatch: DispatchId, member: u32, offset: u64) -> io::Result<Option<LogChunk>> {
        self.read_log(dispatch, member, offset)
    }
}

/// The pieces of a log, in order.
fn pieces(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // One that is being written has another name.
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(offset) = name.and_then(|name| name.parse().ok()) {
            found.push((offset, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Adds the lines from the chunk's end on.
fn take_lines(content: &[u8], chunk: &mut LogChunk) -> io::Result<()> {
    for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: LogLine = serde_json::from_slice(line)?;
        if line.offset >= chunk.next {
            chunk.next = line.offset + 1;
            chunk.lines.push(line);
        }
    }
    Ok(())
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

    #[test]
    fn a_log_is_read_while_its_pieces_come_and_after() {
        let data = tempfile::tempdir().unwrap();
        let objects = Objects::open(data.path()).unwrap();
        let attempt: AttemptId = "00000000-0000-8000-8000-000000000001".parse().unwrap();
        let id = DispatchId { attempt, n: 1 };
        let read = |from| {
            let chunk = objects.read_log(id, 0, from).unwrap().unwrap();
            (chunk.lines.iter().map(|line| line.offset).collect::<Vec<_>>(), chunk.complete)
        };
        assert_eq!(objects.read_log(id, 0, 0).unwrap(), None);
        objects.put_log(id, 0, 0, &lines([0, 5]), false).unwrap();
        objects.put_log(id, 0, 9, &lines([9]), false).unwrap();
        objects.put_log(id, 0, 9, &lines([9]), false).unwrap();
        assert_eq!(read(0), (vec![0, 5, 9], false));
        assert_eq!(read(6), (vec![9], false));
        for _ in 0..2 {
            objects.put_log(id, 0, 12, &lines([12]), true).unwrap();
            assert_eq!(read(5), (vec![5, 9, 12], true));
        }
        // A piece that comes late changes nothing.
        objects.put_log(id, 0, 9, &lines([9]), false).unwrap();
        assert_eq!(read(0), (vec![0, 5, 9, 12], true));
    }
}
