//! The result of an attempt: read from its file, checked, masked, and kept inline or stored by content.

use std::{fs, io, os::unix::fs::OpenOptionsExt as _, path::Path};

use engine::dispatch::ResultRef;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    folder::{Content, read_regular},
    mask::Secrets,
};

/// The longest result, in bytes of JSON.
pub(crate) const RESULT_BYTES_MAX: u64 = 1024 * 1024;

/// The longest result that travels inside a report, in bytes of JSON.
pub(crate) const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Why a result can't be used. The task's author reads it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the result in $UPDRAFT_RESULT is {0} bytes long; at most {RESULT_BYTES_MAX} are allowed")]
    TooLong(u64),
    #[error("the result in $UPDRAFT_RESULT is not JSON: {0}")]
    Syntax(serde_json::Error),
    #[error("the result in $UPDRAFT_RESULT can't be read: {0}")]
    Read(io::Error),
    #[error("the result can't be stored: {0}")]
    Store(io::Error),
}

/// A result that was read.
#[derive(Debug, PartialEq)]
pub(crate) struct Read {
    pub(crate) result: ResultRef,
    pub(crate) mapped_length: Option<u32>,
}

/// Reads the result file, if there is one with anything in it; stores the value in `objects` if it is long.
pub(crate) fn read(file: &Path, objects: &Path, secrets: &Secrets) -> Result<Option<Read>, Error> {
    let bytes = match read_regular(file, RESULT_BYTES_MAX).map_err(Error::Read)? {
        None => return Ok(None),
        Some(Content::TooLong(bytes)) => return Err(Error::TooLong(bytes)),
        Some(Content::Bytes(bytes)) => bytes,
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let mut value: Value = serde_json::from_slice(&bytes).map_err(Error::Syntax)?;
    secrets.mask_json(&mut value);
    let mapped_length = match &value {
        Value::Array(elements) => Some(elements.len() as u32),
        Value::Object(fields) => Some(fields.len() as u32),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    let text = serde_json::to_vec(&value).map_err(Error::Syntax)?;
    let result =
        if text.len() <= INLINE_BYTES_MAX { ResultRef::Inline(value) } else { store(&text, objects)? };
    Ok(Some(Read { result, mapped_length }))
}

/// Makes a file as new as if it had just been written.
#[expect(clippy::disallowed_methods, reason = "a file's time, which decides nothing about tasks")]
pub fn touch(path: &Path) -> io::Result<()> {
    fs::File::options().write(true).open(path)?.set_modified(std::time::SystemTime::now())
}

/// Stores a text under its hash. One that is there already has the same content.
fn store(text: &[u8], objects: &Path) -> Result<ResultRef, Error> {
    let digest = hex::encode(Sha256::digest(text));
    let path = objects.join(&digest);
    if path.exists() {
        // Whoever deletes results of old runs leaves those that were written lately.
        touch(&path).map_err(Error::Store)?;
    } else {
        let temporary = objects.join(format!("{digest}.{}.new", std::process::id()));
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            io::Write::write_all(&mut file, text)?;
            file.sync_data()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(Error::Store)?;
    }
    Ok(ResultRef::Stored { digest, bytes: text.len() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Option<Read>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("result.json");
        fs::write(&file, text).unwrap();
        read(&file, folder.path(), &Secrets::new(["hunter2!"])).map_err(|error| error.to_string())
    }

    #[test]
    fn results_are_read_measured_and_masked() {
        let inline = |text: &str| read_text(text).unwrap().map(|read| (read.result, read.mapped_length));
        assert_eq!(inline(""), None);
        assert_eq!(inline(" \n"), None);
        assert_eq!(inline("7"), Some((ResultRef::Inline(7.into()), None)));
        assert_eq!(inline("[1,2]"), Some((ResultRef::Inline(serde_json::json!([1, 2])), Some(2))));
        assert_eq!(
            inline("{\"a\":\"hunter2!\"}"),
            Some((ResultRef::Inline(serde_json::json!({ "a": "***" })), Some(1)))
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let syntax = read_text("{\"a\": 1,\n \"b\": oops}").unwrap_err();
        assert!(syntax.contains("not JSON") && syntax.contains("line 2 column 7"), "{syntax}");
        let long = read_text(&format!("\"{}\"", "x".repeat(RESULT_BYTES_MAX as usize))).unwrap_err();
        assert!(long.contains("1048578 bytes"), "{long}");
    }

    #[test]
    fn a_long_result_is_stored_by_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("result.json");
        let text = format!("\"{}\"", "x".repeat(INLINE_BYTES_MAX));
        fs::write(&file, &text).unwrap();
        let read = read(&file, folder.path(), &Secrets::new([])).unwrap().unwrap();
        let ResultRef::Stored { digest, bytes } = read.result else { panic!("{read:?}") };
        assert_eq!(bytes as usize, text.len());
        assert_eq!(fs::read_to_string(folder.path().join(digest)).unwrap(), text);
    }

    #[test]
    fn a_pipe_or_a_link_is_no_result() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        assert!(read(&link, folder.path(), &Secrets::new([])).is_err());
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        assert!(read(&pipe, folder.path(), &Secrets::new([])).is_err());
    }
}
