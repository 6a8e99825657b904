//! The test programs that a build made, read from cargo's messages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// How a program reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestKind {
    /// By the closing line of Rust's test runner.
    Test,
    /// By its exit code, after running each benchmark once.
    Bench,
}

/// A program that tests something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The package's folder, relative to the checkout; empty for the root package.
    pub(crate) package: String,
    pub(crate) target: String,
    pub(crate) kind: TestKind,
    pub(crate) executable: PathBuf,
    /// Where cargo would start it: the package's folder.
    pub(crate) folder: PathBuf,
}

impl Program {
    pub(crate) fn label(&self) -> String {
        if self.package.is_empty() {
            format!("updraft {}", self.target)
        } else {
            format!("{} {}", self.package, self.target)
        }
    }
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// The programs named by the messages of `cargo build --message-format=json`, in a stable order.
pub(crate) fn parse(messages: &str, root: &Path) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: Message =
            serde_json::from_str(line).with_context(|| format!("failed to read cargo's message {line}"))?;
        if message.reason == "compiler-artifact"
            && let (Some(manifest), Some(target), Some(profile), Some(executable)) =
                (message.manifest_path, message.target, message.profile, message.executable)
            && profile.test
        {
            let folder = manifest.parent().context("a manifest lies in a folder")?.to_path_buf();
            let package = folder.strip_prefix(root).unwrap_or(&folder).to_string_lossy().into_owned();
            let bench = target.kind.iter().any(|kind| kind == "bench");
            let kind = if bench { TestKind::Bench } else { TestKind::Test };
            programs.push(Program { package, target: target.name, kind, executable, folder });
        }
    }
    programs
        .sort_by(|a, b| (&a.package, &a.target, &a.executable).cmp(&(&b.package, &b.target, &b.executable)));
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(folder: &str, kind: &str, test: bool, executable: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","manifest_path":"/c/{folder}Cargo.toml","target":{{"name":"t","kind":["{kind}"]}},"profile":{{"test":{test}}},"executable":{executable}}}"#
        )
    }

    #[test]
    fn only_test_programs_are_taken() {
        let messages = [
            r#"{"reason":"build-script-executed"}"#.to_owned(),
            artifact("dags/", "lib", false, "null"),
            artifact("dags/", "lib", true, r#""/t/dags-1""#),
            artifact("", "bin", false, r#""/t/updraft""#),
            artifact("", "bin", true, r#""/t/updraft-1""#),
            artifact("scheduler/engine/", "bench", true, r#""/t/steps-1""#),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ]
        .join("\n");
        let programs = parse(&messages, Path::new("/c")).unwrap();
        let seen: Vec<_> = programs.iter().map(|p| (p.label(), p.kind)).collect();
        assert_eq!(
            seen,
            [
                ("updraft t".to_owned(), TestKind::Test),
                ("dags t".to_owned(), TestKind::Test),
                ("scheduler/engine t".to_owned(), TestKind::Bench),
            ]
        );
        assert_eq!(programs[2].folder, Path::new("/c/scheduler/engine"));
    }

    #[test]
    fn a_line_that_is_no_message_is_an_error() {
        assert!(parse("warning: something", Path::new("/c")).is_err());
    }
}
