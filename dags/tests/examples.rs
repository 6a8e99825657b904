//! The examples compile.

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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
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
