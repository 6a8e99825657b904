//! What pods say and are told: what they wait for, how their attempts ended, and why they are to be ended.

use std::{fs, io, path::PathBuf};

use dags::ids::DispatchId;
use engine::{
    dispatch::End,
    execution::{Ending, Waits},
};
use serde::{Serialize, de::DeserializeOwned};

use super::Objects;

impl Objects {
    fn beside_log(&self, dispatch: DispatchId, member: u32, extension: &str) -> PathBuf {
        self.log(dispatch, member).with_extension(extension)
    }

    /// Stores how a member of a dispatch ended, unless that is stored already.
    pub fn put_end(&self, dispatch: DispatchId, member: u32, end: &End) -> io::Result<()> {
        let path = self.beside_log(dispatch, member, "end");
        if path.exists() { Ok(()) } else { put(&path, end) }
    }

    /// How a member of a dispatch ended, if its pod said it.
    pub fn end(&self, dispatch: DispatchId, member: u32) -> io::Result<Option<End>> {
        get(&self.beside_log(dispatch, member, "end"))
    }

    /// Says why a member of a dispatch is to be ended; a later word replaces an earlier one.
    pub fn put_ending(&self, dispatch: DispatchId, member: u32, ending: &Ending) -> io::Result<()> {
        put(&self.beside_log(dispatch, member, "ending"), ending)
    }

    /// Why a member of a dispatch is to be ended, if it is.
    pub fn ending(&self, dispatch: DispatchId, member: u32) -> io::Result<Option<Ending>> {
        get(&self.beside_log(dispatch, member, "ending"))
    }

    /// Says what a member of a dispatch waits for before it begins; none once nothing holds it any more.
    pub fn put_waits(&self, dispatch: DispatchId, member: u32, waits: Option<&Waits>) -> io::Result<()> {
        let path = self.beside_log(dispatch, member, "waits");
        match waits {
            Some(waits) => put(&path, waits),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// What a member of a dispatch waits for before it begins, if something holds it.
    pub fn waits(&self, dispatch: DispatchId, member: u32) -> io::Result<Option<Waits>> {
        get(&self.beside_log(dispatch, member, "waits"))
    }
}

fn put(path: &std::path::Path, document: &impl Serialize) -> io::Result<()> {
    Objects::write(path, &serde_json::to_vec(document)?)
}

fn get<T: DeserializeOwned>(path: &std::path::Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl executor::kubernetes::Kept for Objects {
    fn end(&self, dispatch: DispatchId, member: u32) -> io::Result<Option<End>> {
        Self::end(self, dispatch, member)
    }

    fn put_ending(&self, dispatch: DispatchId, member: u32, ending: &Ending) -> io::Result<()> {
        Self::put_ending(self, dispatch, member, ending)
    }

    fn ending(&self, dispatch: DispatchId, member: u32) -> io::Result<Option<Ending>> {
        Self::ending(self, dispatch, member)
    }

    fn put_waits(&self, dispatch: DispatchId, member: u32, waits: Option<&Waits>) -> io::Result<()> {
        Self::put_waits(self, dispatch, member, waits)
    }
}

#[cfg(test)]
mod tests {
    use dags::{ids::AttemptId, time::Span};

    use super::*;

    #[test]
    fn the_first_end_counts_and_the_last_of_everything_else() {
        let data = tempfile::tempdir().unwrap();
        let objects = Objects::open(data.path()).unwrap();
        let attempt: AttemptId = "00000000-0000-8000-8000-000000000001".parse().unwrap();
        let id = DispatchId { attempt, n: 1 };
        assert_eq!((objects.end(id, 0).unwrap(), objects.ending(id, 0).unwrap()), (None, None));
        let (first, second) = (End::success(None), End { exit_code: Some(1), ..End::success(None) });
        for end in [&first, &second] {
            objects.put_end(id, 0, end).unwrap();
            assert_eq!(objects.end(id, 0).unwrap().as_ref(), Some(&first));
        }
        for grace in [Span::seconds(60), Span::ZERO] {
            let ending = Ending { reason: "asked".to_owned(), grace };
            objects.put_ending(id, 0, &ending).unwrap();
            assert_eq!(objects.ending(id, 0).unwrap(), Some(ending));
        }
        assert_eq!(objects.end(id, 1).unwrap(), None);
        let waits = |says: &str| Some(Waits { says: says.to_owned(), frees: "room".to_owned() });
        for waits in [None, waits("no node"), waits("no image"), None, None] {
            objects.put_waits(id, 0, waits.as_ref()).unwrap();
            assert_eq!(objects.waits(id, 0).unwrap(), waits);
        }
        objects.remove_logs(id).unwrap();
        assert_eq!(objects.end(id, 0).unwrap(), None);
    }
}
