//! House rules that neither the compiler nor clippy knows.
//!
//! [`source`] looks at the text of Rust files, [`words`] at all text files, [`graph`] at who depends on
//! whom, [`layout`] at manifests and folders. A rule's exception goes into [`EXEMPT`] with its reason; an
//! exception that nothing needs any more is a finding itself.
//!
//! The patterns are put together from pieces, so that this code does not find itself.

mod graph;
mod layout;
mod source;
mod words;

use std::fmt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::say;
use crate::workspace::Workspace;

/// Files that may break one rule: path, rule, reason.
const EXEMPT: &[(&str, &str, &str)] = &[];

/// A broken rule and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Relative to the checkout.
    path: String,
    /// From 1; 0 when the whole file or folder is meant.
    line: usize,
    rule: &'static str,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, rule: &'static str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, message } = self;
        if *line == 0 {
            write!(f, "{path}: {message} [{rule}]")
        } else {
            write!(f, "{path}:{line}: {message} [{rule}]")
        }
    }
}

/// A text file of the checkout.
struct TextFile {
    path: String,
    text: String,
}

/// `cargo xtask tidy`, with a closing line.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let findings = findings(workspace)?;
    for finding in &findings {
        say(&finding.to_string());
    }
    say(&format!("tidy: {} findings", findings.len()));
    Ok(findings.is_empty())
}

/// Everything that breaks a rule, in the order of the files.
pub(crate) fn findings(workspace: &Workspace) -> Result<Vec<Finding>> {
    let files = text_files(workspace)?;
    let mut findings: Vec<_> = files
        .iter()
        .flat_map(|file| {
            source::check(&file.path, &file.text).into_iter().chain(words::check(&file.path, &file.text))
        })
        .collect();
    findings.extend(layout::check(&files)?);
    findings.extend(graph::check(workspace)?);
    Ok(without_exempt(findings, EXEMPT))
}

fn without_exempt(findings: Vec<Finding>, exempt: &[(&str, &str, &str)]) -> Vec<Finding> {
    let covers =
        |finding: &Finding, entry: &(&str, &str, &str)| finding.path == entry.0 && finding.rule == entry.1;
    let unused: Vec<_> = exempt
        .iter()
        .filter(|entry| !findings.iter().any(|finding| covers(finding, entry)))
        .map(|(path, rule, _)| {
            Finding::new(path, 0, "exempt", format!("the exception from {rule} is not needed any more"))
        })
        .collect();
    let mut left: Vec<_> =
        findings.into_iter().filter(|finding| !exempt.iter().any(|entry| covers(finding, entry))).collect();
    left.extend(unused);
    left
}

/// Files that git tracks or would track, as far as they are text.
fn text_files(workspace: &Workspace) -> Result<Vec<TextFile>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(&workspace.root)
        .output()
        .context("failed to start git")?;
    ensure!(output.status.success(), "git ls-files failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let listing = String::from_utf8(output.stdout).context("a path in the checkout is not UTF-8")?;
    let mut files = Vec::new();
    for path in listing.split_terminator('\0') {
        let full = workspace.path(path);
        // A deleted file stays listed until its removal is committed; a link is looked at where it leads.
        if !std::fs::symlink_metadata(&full).is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        let bytes = std::fs::read(&full).with_context(|| format!("failed to read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes)
            && !text.contains('\0')
        {
            files.push(TextFile { path: path.to_owned(), text });
        }
    }
    ensure!(!files.is_empty(), "git lists no file in {}", workspace.root.display());
    Ok(files)
}

/// Whether a file holds tests or benchmarks only.
fn is_test_file(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or(path);
    name == "tests.rs"
        || name.ends_with("_tests.rs")
        || parts.any(|part| part == "tests" || part == "benches")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_files_are_known_by_their_place_or_name() {
        for path in [
            "tests/src/lib.rs",
            "dags/tests/golden.rs",
            "dags/src/yaml/tests.rs",
            "a/benches/b.rs",
            "a/src/x_tests.rs",
        ] {
            assert!(is_test_file(path), "{path}");
        }
        for path in ["dags/src/lib.rs", "src/main.rs", "dags/src/tests_of_zones.rs"] {
            assert!(!is_test_file(path), "{path}");
        }
    }

    #[test]
    fn an_exception_covers_one_rule_of_one_file_and_must_be_needed() {
        let findings = vec![Finding::new("a.rs", 1, "size", "long"), Finding::new("b.rs", 1, "size", "long")];
        let left = without_exempt(findings, &[("a.rs", "size", "a table"), ("a.rs", "module-doc", "gone")]);
        let seen: Vec<_> = left.iter().map(ToString::to_string).collect();
        assert_eq!(
            seen,
            ["b.rs:1: long [size]", "a.rs: the exception from module-doc is not needed any more [exempt]"]
        );
    }
}
