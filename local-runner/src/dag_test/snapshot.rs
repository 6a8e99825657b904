//! Everything that came of a test, kept in a file beside it: `x.test.yaml` has `x.snap.json`, an object by test.

use std::path::{Path, PathBuf};

use dags::dag_test::{DagTest, SUFFIXES};
use serde_json::{Map, Value};

use super::{judge::Difference, seen::Seen};
use crate::Error;

/// What to do if a snapshot doesn't fit.
const UPDATE: &str = "`updraft test --update-snapshots` writes it anew";

fn beside(file: &Path) -> PathBuf {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
    file.with_file_name(format!("{stem}.snap.json"))
}

fn read(path: &Path) -> Result<Map<String, Value>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            serde_json::from_str(&text).map_err(|error| format!("{} isn't JSON: {error}", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(format!("{} can't be read: {error}", path.display())),
    }
}

/// Where it differs from what was kept.
pub(super) fn compare(file: &Path, test: &DagTest, seen: &Seen) -> Option<Difference> {
    let path = beside(file);
    let pretty =
        |value: &Value| serde_json::to_string_pretty(value).expect("invariant: a JSON value is JSON");
    let came = seen.to_json();
    let expected = match read(&path) {
        Ok(kept) => match kept.get(&test.name.value) {
            Some(kept) if *kept == came => return None,
            Some(kept) => pretty(kept),
            None => format!("nothing is kept in {} yet", path.display()),
        },
        Err(why) => why,
    };
    let mut difference = Difference::new(test.expect.state.span, "snapshot", expected, pretty(&came));
    difference.why = Some(UPDATE.to_owned());
    Some(difference)
}

/// Keeps what came of tests of one file, and leaves what is kept of others. Gives the name of the file if it was changed.
pub(super) fn write(file: &Path, seen: &[(&str, &Seen)]) -> Result<Option<String>, Error> {
    let path = beside(file);
    let shown = path.display().to_string();
    let mut kept = read(&path).map_err(|why| Error::usage(why, "mend or remove the file"))?;
    let before = kept.clone();
    for (name, seen) in seen {
        kept.insert((*name).to_owned(), seen.to_json());
    }
    if kept == before {
        return Ok(None);
    }
    let mut text = serde_json::to_string_pretty(&kept).expect("invariant: a JSON value is JSON");
    text.push('\n');
    std::fs::write(&path, text).map_err(Error::path("write", path))?;
    Ok(Some(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_lie_beside_their_tests() {
        assert_eq!(beside(Path::new("dags/tests/etl.test.yaml")), Path::new("dags/tests/etl.snap.json"));
    }
}
