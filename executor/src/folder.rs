//! The folder of one attempt, and of a supervisor: which file is where, and how each is read and written.
//!
//! | file | written by | content |
//! | --- | --- | --- |
//! | `log` | supervisor | see [`crate::log`] |
//! | `work/` | task | its own folder, empty at the start |
//! | `result.json` | task | its result |
//! | `verdict.json` | `updraft attempt` | the outcome of an operator that has no program of its own |
//! | `exit.json` | supervisor | the end; once it is there, the attempt is over |

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use dags::{ids::DispatchId, time::Timestamp};
use engine::{dispatch::End, format::Format};
use plugins::operator::Dirs;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::clock;

/// The format of `exit.json`.
pub(crate) type ExitFormat = Format<1>;

/// The end of an attempt, as `exit.json` keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exit {
    pub(crate) format: ExitFormat,
    /// The process that ran, if one did.
    pub(crate) pid: Option<u32>,
    pub(crate) end: End,
}

/// The folder of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// The folder of a member of a dispatch. Its name is made of a UUID and numbers, never of names that people chose.
    pub(crate) fn of(attempts: &Path, dispatch: DispatchId, member: u32) -> Self {
        Self(attempts.join(format!("{dispatch}-{member}")))
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    pub(crate) fn result(&self) -> PathBuf {
        self.0.join("result.json")
    }

    pub(crate) fn verdict(&self) -> PathBuf {
        self.0.join("verdict.json")
    }

    pub(crate) fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    /// The folders as operators know them.
    pub(crate) fn dirs(&self) -> Dirs {
        Dirs { work: self.work(), result_file: self.result() }
    }

    /// Makes the folder. Fails if it is there.
    pub(crate) fn create(&self) -> io::Result<()> {
        make_private(&self.0)?;
        make_private(&self.work())
    }

    /// When it was made. For people, and for the age of what is listed.
    pub(crate) fn since(&self) -> io::Result<Timestamp> {
        let metadata = fs::metadata(&self.0)?;
        // Not every file system knows when a folder was made; the last change comes close.
        Ok(clock::timestamp(metadata.created().or_else(|_| metadata.modified())?))
    }

    /// Writes `exit.json`, whole or not at all; `durable` so that it survives a crash of the machine.
    pub(crate) fn write_exit(&self, exit: &Exit, durable: bool) -> io::Result<()> {
        let temporary = self.0.join("exit.json.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        io::Write::write_all(&mut file, &serde_json::to_vec(exit)?)?;
        if durable {
            file.sync_data()?;
        }
        fs::rename(&temporary, self.exit())
    }
}

/// Makes a folder that only its owner may enter.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// Reads a document; none if the file isn't there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let bytes_max = 4 * crate::result::RESULT_BYTES_MAX;
    Ok(match read_regular(path, bytes_max)? {
        Some(Content::Bytes(bytes)) => Some(serde_json::from_slice(&bytes)?),
        Some(Content::TooLong(bytes)) => {
            return Err(io::Error::other(format!(
                "{} has {bytes} bytes; at most {bytes_max} are allowed",
                path.display()
            )));
        }
        None => None,
    })
}

/// What a file has.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of it.
    Bytes(Vec<u8>),
    /// More than was allowed.
    TooLong(u64),
}

/// Reads a file that a task may have put there: no link is followed, and a pipe or device isn't waited for.
pub(crate) fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Option<Content>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.len() > bytes_max {
        return Ok(Some(Content::TooLong(metadata.len())));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    io::Read::read_to_end(&mut io::Read::take(file, bytes_max), &mut bytes)?;
    Ok(Some(Content::Bytes(bytes)))
}
