//! The catalog: what authors get when they write something that an operator doesn't take.

use std::collections::BTreeMap;

use dags::{
    catalog::Catalog,
    compile::{NoFiles, compile},
    diagnostic::Source,
};

/// The errors of a DAG with this one task.
fn errors(task: &str) -> Vec<String> {
    let text = format!("dag: d\ntasks:\n  t:\n    {task}\n");
    let compiled = compile(&Source::new("d.yaml", text), &plugins::catalog(), &NoFiles);
    compiled.diagnostics.into_iter().map(|d| d.message).collect()
}

#[test]
fn the_catalog_survives_its_json_form() {
    let text = serde_json::to_string(&plugins::catalog()).unwrap();
    assert_eq!(serde_json::from_str::<Catalog>(&text).unwrap(), plugins::catalog());
}

#[test]
fn what_fits_has_no_errors() {
    for task in [
        "bash: echo hello",
        "bash: { command: 'echo {{ ds }}', strict: false, skip_on_exit_code: [3, 4] }",
        "python: 1 + 1",
        "http: https://shop.example/orders",
        "http: { connection: shop, path: /x, json: { a: [1] }, expect: [200, 404], timeout: 30s }",
        "sql: { connection: w, query: select 1, parameters: [1, a] }",
        "sql_check: { connection: w, query: select 1, expect: between 1 and 5 }",
        "sql_check: { connection: w, query: select 1, expect: '> {{ params.x | default(3) }}' }",
        "http_sensor: { url: 'https://x.example/', until: status == 200, mode: poke, interval: 5s }",
        "file_sensor: /data/in/*.csv",
        "sleep: '{{ params.x | default(3) }}s'",
        "empty:",
        "fail:",
        "time_sensor: '06:30'",
        "time_sensor: { after: 90m }",
        "task_sensor: { dag_id: other, task_id: [a, b], offset: 1d }",
        "trigger_dag: { dag_id: other, conf: { a: '{{ ds }}' }, wait: true, if_exists: skip }",
        "short_circuit: '{{ 1 > 2 }}'",
    ] {
        let found: Vec<_> = errors(task).into_iter().filter(|e| !e.contains("params")).collect();
        assert!(found.is_empty(), "{task}: {found:#?}");
    }
}

#[test]
fn what_does_not_fit_is_explained() {
    for (task, error) in [
        ("bash: { comand: x }", "`bash` has no parameter `comand`"),
        (
            "bash: { command: x, strict: maybe }",
            "`bash.strict` must be `true` or `false`, but is the text `maybe`",
        ),
        ("python: { args: [1] }", "`python` needs exactly one of `code` or `file`"),
        ("python: { code: x, file: y.py }", "`python` needs exactly one of `code` or `file`"),
        ("sql: { connection: w, query: a, limit: 0 }", "`sql.limit` must be at least 1, but is `0`"),
        ("sleep: 30", "`sleep.duration` must be a text, but is `30`"),
        ("sleep: '30'", "`sleep.duration` isn't a duration, but the text `30`"),
        (
            "http_sensor: { url: 'https://x.example/', mode: reshedule }",
            "`http_sensor.mode` must be one of `reschedule` or `poke`, but is the text `reshedule`; did you mean `reschedule`?",
        ),
        (
            "http: { url: 'https://x.example/', method: get }",
            "`http.method` must be one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`, but is the text `get`; did you mean `GET`?",
        ),
    ] {
        let found = errors(task);
        assert!(found.iter().any(|e| e == error), "{task}: {found:#?}");
    }
}

/// `UPDATE=1 cargo test -p plugins` writes the page instead of comparing it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a switch for the person who runs the test")]
fn the_reference_page_is_current() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operators.md");
    let page = plugins::reference::markdown(&plugins::catalog());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "docs/operators.md is out of date: run `UPDATE=1 cargo test -p plugins`");
}

#[test]
fn the_example_of_the_language_compiles_with_the_real_operators() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dags/language");
    let text = std::fs::read_to_string(folder.join("daily_sales.yaml")).unwrap();
    let files: BTreeMap<String, String> = folder
        .read_dir()
        .unwrap()
        .map(|entry| (entry.unwrap().file_name().into_string().unwrap(), "0".repeat(64)))
        .collect();
    let compiled = compile(&Source::new("daily_sales.yaml", text), &plugins::catalog(), &files);
    assert_eq!(compiled.diagnostics, []);
}
