//! The corpus of broken files: `broken/NAME.yaml` and, beside it, what its author is told.

#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use dags::{
    compile::compile,
    diagnostic::{CODES, Diagnostic, Source, render},
    installation::Installation,
};

#[path = "fixture/catalog.rs"]
mod fixture;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    files
}

/// An executor without GPUs, one with them, one without gangs, and one route.
fn installation() -> Installation {
    serde_json::from_value(serde_json::json!({
        "default_executor": "local",
        "executors": {
            "local": { "kind": "local", "slots": 16, "gangs": true, "gpus": false, "custom": false },
            "lab": { "kind": "workers", "slots": null, "gangs": true, "gpus": true, "custom": false },
            "cluster": {
                "kind": "kubernetes", "slots": 100, "gangs": false, "gpus": true, "custom": false,
                "gpu_models": ["h200", "b200"],
                "pods": {
                    "images": ["registry.example/tasks"], "service_accounts": ["trainer", "loader"],
                    "node_labels": [], "taints": ["batch"],
                },
            },
        },
        "routes": ["sales-oncall"],
    }))
    .unwrap()
}

fn diagnose(path: &Path) -> (Source, Vec<Diagnostic>) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let source = Source::new(name, std::fs::read_to_string(path).unwrap());
    let files = BTreeMap::from([
        ("load.sql".to_owned(), "00".repeat(32)),
        ("sql/old.sql".to_owned(), "00".repeat(32)),
    ]);
    let diagnostics = compile(&source, &fixture::catalog().on(installation()), &files).diagnostics;
    (source, diagnostics)
}

#[test]
fn every_broken_file_is_explained() {
    let files = files();
    assert!(files.len() >= 60);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("broken");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _guard = settings.bind_to_scope();
    for path in files {
        let (source, diagnostics) = diagnose(&path);
        assert!(!diagnostics.is_empty(), "{} has nothing wrong", path.display());
        let mut told = String::new();
        for diagnostic in &diagnostics {
            writeln!(told, "{}", render(diagnostic, &source, false)).unwrap();
        }
        insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), told);
    }
}

#[test]
fn every_code_is_met_by_the_corpus() {
    let met: BTreeSet<&str> =
        files().iter().flat_map(|path| diagnose(path).1).map(|diagnostic| diagnostic.code).collect();
    // Plugins and scripts are read elsewhere.
    let areas = ["yaml.", "dag.", "schedule.", "template.", "installation."];
    let here =
        CODES.iter().map(|(code, _)| *code).filter(|code| areas.iter().any(|area| code.starts_with(area)));
    let never: Vec<&str> = here.filter(|code| !met.contains(code)).collect();
    assert_eq!(never, [""; 0], "no broken file shows these codes");
}

#[test]
fn a_diagnostic_has_a_json_form() {
    let source = Source::new("a.yaml", "dag: a\ntasks:\n  b: { bash: x, needs: bb }\n");
    let diagnostics = compile(&source, &fixture::catalog(), &BTreeMap::new()).diagnostics;
    insta::assert_json_snapshot!("diagnostic_as_json", diagnostics);
}
