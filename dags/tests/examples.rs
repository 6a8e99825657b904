//! The example of the language compiles.

#![cfg(test)]

use std::{collections::BTreeMap, path::Path};

use dags::{
    canonical,
    compile::{Compiled, compile},
    diagnostic::{Source, render},
};
use sha2::{Digest as _, Sha256};

#[path = "fixture/catalog.rs"]
mod fixture;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("language")
}

fn files() -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, hex::encode(Sha256::digest(std::fs::read(path).unwrap())))
        })
        .collect()
}

fn daily_sales() -> Compiled {
    let text = std::fs::read_to_string(folder().join("daily_sales.yaml")).unwrap();
    let source = Source::new("daily_sales.yaml", text);
    let compiled = compile(&source, &fixture::catalog(), &files());
    for diagnostic in &compiled.diagnostics {
        println!("{}", render(diagnostic, &source, false));
    }
    compiled
}

#[test]
fn the_example_of_the_language_compiles() {
    let compiled = daily_sales();
    assert_eq!(compiled.diagnostics, []);
    insta::assert_json_snapshot!(compiled.dags);
    assert!(canonical::version(&compiled.dags[0]).to_string().starts_with("v1:"));
}

/// A tree as an editor's YAML reader sees it.
fn as_json(text: &str) -> serde_json::Value {
    let (documents, diagnostics) = dags::yaml::parse(&Source::new("x.yaml", text));
    assert_eq!(diagnostics, []);
    documents[0].tree.to_json()
}

#[test]
fn the_example_satisfies_the_json_schema() {
    let schema = dags::schema::of_dag(&fixture::catalog());
    let validator = dags::json_schema::compile(&schema).unwrap();
    let text = std::fs::read_to_string(folder().join("daily_sales.yaml")).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&as_json(&text)).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(errors, [""; 0]);
}

#[test]
fn the_json_schema_refuses_what_editors_can_see() {
    let schema = dags::schema::of_dag(&fixture::catalog());
    let validator = dags::json_schema::compile(&schema).unwrap();
    for bad in [
        "dag: a\ntasks: { b: { bash: x, needs: 1 } }",
        "dag: a\ntasks: { b: { bash: x, retires: 1 } }",
        "dag: a\ntasks: { b: { bash: x, python: y } }",
        "dag: a\ntasks: { b: { needs: c } }",
        "dag: a\ntasks: { b: { bash: { comand: x } } }",
        "dag: a\ntasks: { b: { bash: x, timeout: 30 } }",
        "dag: a\ntasks: { b: { bash: x, trigger_rule: some } }",
        "dag: a\nschedule: { every: 30 }\ntasks: { b: { bash: x } }",
        "dag: a",
        "tasks: { b: { bash: x } }",
    ] {
        assert!(!validator.is_valid(&as_json(bad)), "{bad}");
    }
    for good in [
        "dag: a\ntasks: { b: { empty: } }",
        "dag: a\ntasks: { b: { sleep: \"{{ params.x }}\" } }".replace("\"{{ params.x }}\"", "1h30m").as_str(),
        "dag: a\nschedule: { assets: { any: [x, { all: [y, z] }] } }\ntasks: { b: { bash: { command: x } } }",
        "dag: a\nschedule:\ntasks: { b: { http: { path: /x, headers: { a: \"{{ ds }}\" } } } }",
    ] {
        let errors: Vec<String> =
            validator.iter_errors(&as_json(good)).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(errors, [""; 0], "{good}");
    }
}
