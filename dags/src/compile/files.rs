//! Files beside the DAG: they must exist inside of the bundle, and their content is part of the version.

use std::collections::BTreeMap;

use super::Context;
use crate::{
    diagnostic::{Draft, code},
    suggest, template,
    tree::Node,
};

/// Why a file can't be part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// There is none.
    #[error("doesn't exist")]
    NotFound,
    /// A folder, a link, a device.
    #[error("isn't a regular file")]
    NotAFile,
    /// It is there, but no bundle would hold it.
    #[error("is left out of the bundle, by `.gitignore`, by `.updraftignore` or because it is hidden")]
    LeftOut,
    /// It can't be read.
    #[error("can't be read: {0}")]
    Unreadable(String),
}

/// How the compiler learns about files. Paths are relative to the root of the bundle, with `/`, without `.` and `..`.
pub trait FileLookup {
    /// The SHA-256 of a file's content, hexadecimal.
    fn sha256(&self, path: &str) -> Result<String, FileProblem>;

    /// Paths that exist, for suggestions; may be empty.
    fn paths(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A bundle without files.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl FileLookup for NoFiles {
    fn sha256(&self, _path: &str) -> Result<String, FileProblem> {
        Err(FileProblem::NotFound)
    }
}

/// Files that are already known: path to SHA-256.
impl FileLookup for BTreeMap<String, String> {
    fn sha256(&self, path: &str) -> Result<String, FileProblem> {
        self.get(path).cloned().ok_or(FileProblem::NotFound)
    }

    fn paths(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

impl Context<'_, '_> {
    /// Looks a file up and yields its path from the root of the bundle and its hash.
    /// What is written is relative to the folder of the DAG's own file.
    pub(super) fn file(&mut self, node: &Node, what: &str) -> Option<(String, String)> {
        let written = self.text(node, what)?;
        let error = |message: String| Draft::error(code::DAG_FILE, message).at(node.span, "this path");
        if template::has_expression(written) {
            let help =
                "a file belongs to the version of the DAG, so its name must be known beforehand".to_owned();
            self.push(error(format!("`{what}` can't be computed")).help(help));
            return None;
        }
        let path = match resolve(&self.reporter.source().path, written) {
            Ok(path) => path,
            Err(why) => {
                let help = "name a file beside the DAG, such as `load.sql` or `sql/load.sql`".to_owned();
                self.push(error(format!("`{what}` {why}")).help(help));
                return None;
            }
        };
        match self.files.sha256(&path) {
            Ok(digest) => Some((path, digest)),
            Err(problem) => {
                let mut paths = self.files.paths();
                paths.retain(|path| !path.ends_with(".yaml") && !path.ends_with(".yml"));
                let meant =
                    self.reporter.did_you_mean(&path, paths.iter().map(String::as_str)).or_else(|| {
                        let name = path.rsplit('/').next()?;
                        let same = |other: &&String| other.rsplit('/').next() == Some(name);
                        paths.iter().find(same).map(|path| format!("did you mean `{path}`?"))
                    });
                let help = meant.unwrap_or_else(|| match paths.as_slice() {
                    [] => "the path is relative to the folder of this file".to_owned(),
                    [one] => format!("the path is relative to the folder of this file; there is `{one}`"),
                    some => format!(
                        "the path is relative to the folder of this file; there are {}{}",
                        suggest::list(some.iter().take(5).map(String::as_str), "and"),
                        if some.len() > 5 { " and more" } else { "" }
                    ),
                });
                self.push(error(format!("the file `{path}` {problem}")).help(help));
                None
            }
        }
    }
}

/// The path from the root of the bundle.
fn resolve(source: &str, written: &str) -> Result<String, &'static str> {
    if written.is_empty() {
        return Err("is empty");
    }
    if written.starts_with(['/', '~']) || written.as_bytes().get(1) == Some(&b':') {
        return Err("may not be an absolute path");
    }
    if written.contains('\\') {
        return Err("must use `/` between folders");
    }
    if written.chars().any(char::is_control) {
        return Err("contains a control character");
    }
    let folder = source.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    for part in written.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("may not lead out of the folder of the DAG with `..`"),
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    if path.is_empty() || path.len() > 512 { Err("isn't the path of a file") } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn paths_stay_inside_of_the_bundle() {
        assert_eq!(resolve("a.yaml", "load.sql"), Ok("load.sql".into()));
        assert_eq!(resolve("sales/a.yaml", "./sql/load.sql"), Ok("sales/sql/load.sql".into()));
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "C:/x", "a\\b", "~/x", "a\nb", ".", "./"] {
            assert!(resolve("sales/a.yaml", bad).is_err() || bad == "." || bad == "./", "{bad}");
        }
    }
}
