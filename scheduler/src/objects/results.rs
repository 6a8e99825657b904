//! Results that attempts on workers stored, so that what a worker reports can be held against it.
//!
//! Results of all tenants lie in one folder and are read by digest, so nobody's word that a digest is theirs is enough:
//! `logs/<attempt>-<n>/results/<digest>` says that this dispatch stored it, with its length and its number of elements.

use std::{collections::BTreeMap, fs, io};

use dags::ids::DispatchId;
use executor::fleet::StoredResult;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use super::Objects;

impl Objects {
    /// Stores a result of a dispatch, of which it may have `most`, and gives its SHA-256. None if it has more.
    pub fn put_result(&self, dispatch: DispatchId, most: usize, text: &[u8]) -> io::Result<Option<String>> {
        let digest = hex::encode(Sha256::digest(text));
        let folder = self.of(dispatch).join("results");
        let mark = folder.join(&digest);
        let path = self.results().join(&digest);
        let is_there = path.exists();
        if is_there {
            // Whoever deletes results of old runs leaves those that were written lately.
            executor::touch(&path)?;
        }
        if is_there && mark.exists() {
            return Ok(Some(digest));
        }
        let stored = match fs::read_dir(&folder) {
            Ok(entries) => entries.count(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if stored >= most {
            return Ok(None);
        }
        if !is_there {
            Self::write(&path, text)?;
        }
        let result = StoredResult { bytes: text.len() as u64, mapped_length: length(text)? };
        Self::write(&mark, &serde_json::to_vec(&result)?)?;
        Ok(Some(digest))
    }

    /// What is known of a result that this dispatch stored; none if it stored no such result.
    pub fn stored_result(&self, dispatch: DispatchId, digest: &str) -> io::Result<Option<StoredResult>> {
        if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        match fs::read(self.of(dispatch).join("results").join(digest)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The number of elements of a list or an object, counted without keeping them.
#[expect(clippy::zero_sized_map_values, reason = "serde reads an object as a map")]
fn length(text: &[u8]) -> io::Result<Option<u32>> {
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    let count = match first {
        Some(b'[') => serde_json::from_slice::<Vec<IgnoredAny>>(text)?.len(),
        // The last of two equal names counts, as everywhere.
        Some(b'{') => serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(text)?.len(),
        _ => return Ok(None),
    };
    Ok(Some(u32::try_from(count).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use dags::ids::AttemptId;

    use super::*;

    #[test]
    fn a_result_belongs_to_who_stored_it() {
        let data = tempfile::tempdir().unwrap();
        let objects = Objects::open(data.path()).unwrap();
        let attempt: AttemptId = "00000000-0000-8000-8000-000000000001".parse().unwrap();
        let (own, other) = (DispatchId { attempt, n: 1 }, DispatchId { attempt, n: 2 });
        let digest = objects.put_result(own, 2, b"[1, [2], {}]").unwrap().unwrap();
        let stored = StoredResult { bytes: 12, mapped_length: Some(3) };
        assert_eq!(objects.stored_result(own, &digest).unwrap(), Some(stored));
        assert_eq!(objects.stored_result(other, &digest).unwrap(), None);
        for nonsense in ["", "..", "../0", "zz"] {
            assert_eq!(objects.stored_result(own, nonsense).unwrap(), None);
        }
        let second = objects.put_result(own, 2, b"{\"a\": 1, \"a\": 2}").unwrap().unwrap();
        assert_eq!(objects.stored_result(own, &second).unwrap().unwrap().mapped_length, Some(1));
        assert_eq!(objects.put_result(own, 2, b"3").unwrap(), None, "it has as many as it may");
        assert_eq!(
            objects.put_result(own, 2, b"[1, [2], {}]").unwrap(),
            Some(digest),
            "but may send one again"
        );
        assert_eq!(objects.result(&second).unwrap(), b"{\"a\": 1, \"a\": 2}");
    }
}
