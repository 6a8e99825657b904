//! The DAGs of `dags/examples` run to success by `updraft test`, as their reader would run them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::gate::Tally;
use crate::process::{self, Ending, say};
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_mins(5);

/// The DAG that shows the language, which no machine at hand could run, with the executors that it names.
const LANGUAGE: [&str; 6] = [
    "validate",
    "dags/language/daily_sales.yaml",
    "--set",
    "executors.local.slots=16",
    "--set",
    "executors.gpu-lab.kind=workers",
];

/// A comment that gives the arguments an example is to be tried with, after the file's name.
const TRY: &str = "updraft test ";

pub(crate) fn run(workspace: &Workspace, tally: &mut Tally, log: &Path) -> Result<()> {
    let folder = workspace.path("dags/examples");
    let mut files = Vec::new();
    if folder.is_dir() {
        collect(&folder, &mut files)?;
    }
    files.sort();
    for file in files {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
        if !is_dag(&file, &text) {
            continue;
        }
        let name = file.strip_prefix(&workspace.root).unwrap_or(&file).to_string_lossy().into_owned();
        say(&format!("==> {name}"));
        match succeeds(workspace, &name, &text, log)? {
            Ok(()) => tally.count(&name, true),
            Err(why) => tally.count(&format!("{name}: {why}"), false),
        }
    }
    let language = process::stream(&mut updraft(workspace, &LANGUAGE), log, None, LIMIT)?;
    tally.count(LANGUAGE[1], language == Ending::Success);
    Ok(())
}

/// Exit code 0 is not enough: the result must say that the run succeeded and name its tasks.
fn succeeds(
    workspace: &Workspace,
    name: &str,
    text: &str,
    log: &Path,
) -> Result<std::result::Result<(), String>> {
    let result = log.with_extension("json");
    let mut command = updraft(workspace, &["test", name]);
    command.args(try_arguments(text, name)).args(["--format", "json"]);
    let ending = process::stream(&mut command, log, Some(&result), LIMIT)?;
    let printed =
        std::fs::read_to_string(&result).with_context(|| format!("failed to read {}", result.display()))?;
    Ok(judge(ending, &printed))
}

fn judge(ending: Ending, printed: &str) -> std::result::Result<(), String> {
    if ending != Ending::Success {
        return Err(format!("updraft test ended with {ending:?}: {printed}"));
    }
    let result: Value = serde_json::from_str(printed)
        .map_err(|error| format!("updraft test printed no JSON object: {error}"))?;
    if result["state"] != "success" {
        return Err(format!("the run's state is {}", result["state"]));
    }
    if result["task_instances"].as_array().is_none_or(Vec::is_empty) {
        return Err("the run had no task instance".to_owned());
    }
    Ok(())
}

fn updraft(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = Command::new(workspace.binary("updraft"));
    command.args(arguments).current_dir(&workspace.root);
    command
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let describe = || format!("failed to list {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(describe)? {
        let path = entry.with_context(describe)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "rhai") {
            files.push(path);
        }
    }
    Ok(())
}

/// Modules, plugin files, tests and data lie beside DAGs. A DAG file names its DAG.
fn is_dag(path: &Path, text: &str) -> bool {
    if path.to_string_lossy().ends_with(".test.yaml") {
        return false;
    }
    let script = path.extension().is_some_and(|extension| extension == "rhai");
    text.lines().any(|line| {
        if script {
            !line.trim_start().starts_with("//") && line.contains("dag(\"")
        } else {
            line.starts_with("dag:")
        }
    })
}

/// The arguments after the file's name in a comment such as
/// `# updraft test dags/examples/etl.yaml --date 2026-01-05`; none when there is no such comment.
fn try_arguments(text: &str, name: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix('#').or_else(|| line.strip_prefix("//")))
        .filter_map(|comment| comment.trim().strip_prefix(TRY)?.trim().strip_prefix(name))
        .flat_map(|arguments| arguments.split_whitespace().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_only_when_it_says_so() {
        let good = r#"{"run_id":"r","state":"success","task_instances":[{"task_id":"a"}]}"#;
        assert_eq!(judge(Ending::Success, good), Ok(()));
        assert!(judge(Ending::Failure, good).is_err());
        assert!(judge(Ending::TimedOut, good).is_err());
        for bad in [
            "",
            "[]",
            r#"{"state":"failed"}"#,
            r#"{"state":"success"}"#,
            r#"{"state":"success","task_instances":[]}"#,
        ] {
            assert!(judge(Ending::Success, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn data_and_modules_are_no_dags() {
        assert!(is_dag(Path::new("a.yaml"), "# first\ndag: a\ntasks: {}\n"));
        assert!(!is_dag(Path::new("a.yaml"), "name: greet\nparameters:\n  dag: string\n"));
        assert!(is_dag(Path::new("a.rhai"), "let d = dag(\"a\", #{});\nd\n"));
        assert!(!is_dag(Path::new("a.rhai"), "// dag(\"a\")\nfn regions() { [] }\n"));
    }

    #[test]
    fn an_example_says_how_to_try_it() {
        let text = "# Loads orders.\n# updraft test dags/examples/etl.yaml --date 2026-01-05\ndag: etl\n";
        assert_eq!(try_arguments(text, "dags/examples/etl.yaml"), ["--date", "2026-01-05"]);
        assert!(try_arguments(text, "dags/examples/other.yaml").is_empty());
    }
}
