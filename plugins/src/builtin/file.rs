//! `file_sensor`: waits for a file on the machine that runs the task.

use std::path::{Path, PathBuf};

use dags::time::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{
    Operator,
    sensor::{Look, Mode, Wait, minute, week},
};
use crate::operator::{Failure, Job, Step};

/// How many files are listed in the result.
const FILES_MAX: usize = 10_000;

/// Waits until a file, or files that match a pattern, are there.
///
/// The path is one of the machine that runs the task: on a fleet of workers it should lie on storage that they share. The
/// result is the sorted list of the files found.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSensor {
    /// The absolute path; its last part may contain `*` (anything) and `?` (one character).
    path: String,
    /// Files smaller than this many bytes don't count: 1 leaves out empty ones.
    #[serde(default)]
    min_bytes: u64,
    /// How to wait between two looks.
    #[serde(default)]
    mode: Mode,
    /// The time between two looks.
    #[serde(default = "minute")]
    #[schemars(schema_with = "crate::schema::duration")]
    interval: Span,
    /// How long to wait before the sensor fails, without retries, counted from the try's first start.
    #[serde(default = "week")]
    #[schemars(schema_with = "crate::schema::duration")]
    timeout: Span,
    /// Be skipped instead of failed when the time is over.
    #[serde(default)]
    soft_fail: bool,
}

impl Operator for FileSensor {
    const NAME: &'static str = "file_sensor";
    const MAIN: Option<&'static str> = Some("path");
    const TEMPLATED: &'static [&'static str] = &["path"];

    fn step(self, job: &Job<'_>) -> Result<Step, Failure> {
        let path = Path::new(&self.path);
        let invalid = |why: String| Failure::Invalid { operator: Self::NAME.to_owned(), why };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
            return Err(invalid(format!("`path: {}` names no file", self.path)));
        };
        if !path.is_absolute() {
            return Err(invalid(format!("`path: {}` must be absolute", self.path)));
        }
        if folder.to_string_lossy().contains(['*', '?']) {
            return Err(invalid(format!("`path: {}` may have `*` and `?` in its last part only", self.path)));
        }
        let wait = Wait {
            mode: self.mode,
            interval: self.interval,
            timeout: self.timeout,
            soft_fail: self.soft_fail,
        };
        wait.run(job, || {
            let mut found = find(folder, name, self.min_bytes)
                .map_err(|source| Failure::File { path: self.path.clone(), source })?;
            found.sort();
            if found.is_empty() {
                return Ok(Look::NotYet(format!("nothing matches {}", self.path)));
            }
            if found.len() > FILES_MAX {
                return Ok(Look::Never(format!("more than {FILES_MAX} files match {}", self.path)));
            }
            Ok(Look::There(Some(json!(found))))
        })
    }
}

/// The files of the folder that match; none if there is no such folder.
fn find(folder: &Path, pattern: &str, min_bytes: u64) -> std::io::Result<Vec<PathBuf>> {
    let absent = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    let large = |path: &Path| match path.metadata() {
        Ok(meta) => Ok(meta.is_file() && meta.len() >= min_bytes),
        // It went away since it was listed.
        Err(e) if absent(&e) => Ok(false),
        Err(e) => Err(e),
    };
    if !pattern.contains(['*', '?']) {
        let path = folder.join(pattern);
        return Ok(if large(&path)? { vec![path] } else { Vec::new() });
    }
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(e) if absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str());
        if name.is_some_and(|name| matches(pattern, name)) && large(&path)? {
            found.push(path);
        }
    }
    Ok(found)
}

/// Whether a name matches; a leading dot is matched by a dot only.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stands, and how far it has reached.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match &mut star {
                Some((at, reached)) => {
                    *reached += 1;
                    (p, n) = (*at + 1, *reached);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv.tmp", false),
            ("*.csv", ".a.csv", false),
            (".*", ".a", true),
            ("a?c*", "abcd", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*ab*ab", "abab", true),
            ("*", "", true),
            ("ab", "abc", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
