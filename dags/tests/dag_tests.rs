//! Files of tests: the examples fit the schema, and what is wrong in one is said with its place.

#![cfg(test)]

use std::path::Path;

use dags::{dag_test, diagnostic::Source, json_schema};

fn examples() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tests");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let tests = paths.filter(|path| dag_test::is_test_file(path.to_str().unwrap()));
    tests.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn the_examples_are_read_and_satisfy_the_schema() {
    let validator = json_schema::compile(&dags::schema::of_test()).unwrap();
    let examples = examples();
    assert!(examples.len() >= 40);
    for (path, text) in examples {
        let source = Source::new(path.as_str(), text);
        let (tests, diagnostics) = dag_test::read(&source);
        assert_eq!((diagnostics, tests.len()), (Vec::new(), 1), "{path}");
        let (documents, _) = dags::yaml::parse(&source);
        let tree = documents[0].tree.to_json();
        let errors: Vec<String> =
            validator.iter_errors(&tree).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{path}: {errors:?}");
    }
}

#[test]
fn a_file_without_a_test_is_told_how_one_begins() {
    let (tests, diagnostics) = dag_test::read(&Source::new("a.test.yaml", "# nothing\n"));
    assert!(tests.is_empty());
    assert_eq!(diagnostics.iter().map(|found| found.code).collect::<Vec<_>>(), ["test.empty"]);
}
