//! Rules about manifests and folders.

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::tidy::{Finding, TextFile};

/// What `changelog.d/<slug>.<kind>.md` may be of.
const CHANGE_KINDS: &[&str] = &["added", "changed", "fixed", "removed", "security"];

pub(super) fn check(files: &[TextFile]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files {
        if file.path.ends_with("Cargo.toml") {
            findings.extend(manifest(&file.path, &file.text)?);
        }
        findings.extend(change(&file.path));
        findings.extend(pending(&file.path));
    }
    Ok(findings)
}

/// Members take lints and versions from the root, so that there is one place to change them.
fn manifest(path: &str, text: &str) -> Result<Vec<Finding>> {
    let table: Table = text.parse().with_context(|| format!("failed to read {path}"))?;
    let mut findings = Vec::new();
    if !table.contains_key("package") || is_outside_the_workspace(path) {
        return Ok(findings);
    }
    let takes_lints = table.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool);
    if takes_lints != Some(true) {
        findings.push(Finding::new(path, 0, "lints", "add [lints] workspace = true"));
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (name, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
            // A package may name itself, to have a feature in its own tests only.
            let is_itself = value.get("path").and_then(Value::as_str) == Some(".");
            if !is_itself && value.get("workspace").and_then(Value::as_bool) != Some(true) {
                let message = format!("{name}: name the version in the root's [workspace.dependencies]");
                findings.push(Finding::new(path, 0, "dependency", message));
            }
        }
    }
    Ok(findings)
}

/// Packages of other workspaces can't take anything from the root's.
fn is_outside_the_workspace(path: &str) -> bool {
    ["dags/script-host/", "dags/fuzz/"].iter().any(|folder| path.starts_with(folder))
}

fn change(path: &str) -> Option<Finding> {
    let name = path.strip_prefix("changelog.d/")?;
    if name == "README.md" {
        return None;
    }
    let mut parts = name.rsplit('.');
    let good = parts.next() == Some("md")
        && parts.next().is_some_and(|kind| CHANGE_KINDS.contains(&kind))
        && parts.next().is_some_and(|slug| !slug.is_empty())
        && parts.next().is_none();
    (!good).then(|| {
        let message = format!("name it <slug>.<kind>.md with a kind of {}", CHANGE_KINDS.join(", "));
        Finding::new(path, 0, "changelog", message)
    })
}

/// A snapshot that nobody has looked at yet.
fn pending(path: &str) -> Option<Finding> {
    let left = path.ends_with(".snap.new") || path.ends_with(".pending-snap");
    left.then(|| Finding::new(path, 0, "snapshot", "review it: accept it as the snapshot, or fix the code"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        manifest(path, text).unwrap().into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn members_take_lints_and_versions_from_the_root() {
        let good = "[package]\nname = \"a\"\n[dependencies]\nserde.workspace = true\n\
toml = { workspace = true, features = [\"x\"] }\n[lints]\nworkspace = true\n";
        assert_eq!(rules("dags/Cargo.toml", good), [""; 0]);
        let bad = "[package]\nname = \"a\"\n[dependencies]\nserde = \"1\"\n\
                   [dev-dependencies]\ntoml = { version = \"1\" }\na = { path = \".\", features = [\"x\"] }\n";
        assert_eq!(rules("dags/Cargo.toml", bad), ["lints", "dependency", "dependency"]);
        assert_eq!(rules("dags/script-host/Cargo.toml", bad), [""; 0]);
        assert_eq!(rules("Cargo.toml", "[workspace]\nmembers = []\n"), [""; 0]);
    }

    #[test]
    fn a_snapshot_is_reviewed() {
        assert!(pending("dags/tests/snapshots/a.snap.new").is_some());
        assert!(pending("dags/src/.model.rs.pending-snap").is_some());
        assert_eq!(pending("dags/tests/snapshots/a.snap"), None);
    }

    #[test]
    fn changes_have_a_kind() {
        for good in ["changelog.d/README.md", "changelog.d/cron-dst.fixed.md", "CHANGELOG.md"] {
            assert_eq!(change(good), None, "{good}");
        }
        for bad in [
            "changelog.d/cron.md",
            "changelog.d/cron.better.md",
            "changelog.d/.fixed.md",
            "changelog.d/a.b.fixed.md",
        ] {
            assert!(change(bad).is_some(), "{bad}");
        }
    }
}
