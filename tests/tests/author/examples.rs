//! The examples run to success as their reader would run them; the gate's own suite does so for all of them.

use serde_json::{Value, json};

use crate::program::run;

fn outputs(arguments: &[&str]) -> Value {
    let said = run(["test", "--format", "json"].iter().chain(arguments));
    assert_eq!(said.code, Some(0), "{said:?}");
    let report = said.json();
    let instances = report["task_instances"].as_array().unwrap();
    let output = |one: &Value| (one["task_id"].as_str().unwrap().to_owned(), one["output"].clone());
    Value::Object(instances.iter().map(output).collect())
}

#[test]
fn the_report_has_a_plot_of_what_was_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let dir = format!("report_dir={}", folder.path().display());
    let file = "dags/examples/co2_report.yaml";
    let outputs = outputs(&[file, "--conn", "warehouse=sqlite::temporary:", "--param", &dir]);
    assert_eq!((&outputs["load"]["rows"], &outputs["report"]["decades"]), (&json!(741), &json!(8)));
    let plot = std::fs::read_to_string(folder.path().join("co2.svg")).unwrap();
    assert!(plot.starts_with("<svg ") && plot.contains("polyline"), "{plot}");
}

#[test]
fn every_text_is_counted_on_its_own() {
    let total = &outputs(&["dags/examples/word_counts.yaml", "--param", "top=1"])["total"];
    assert_eq!((&total["top"], &total["words"]), (&json!([["the", 806]]), &json!(9060)));
}

#[test]
fn the_branch_depends_on_the_size() {
    let said = run(["test", "dags/examples/archive.yaml", "--param", "limit=5000", "--format", "json"]);
    let state = |task: &str| {
        let report = said.json();
        let all = report["task_instances"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["task_id"] == task).unwrap()["state"].clone()
    };
    assert_eq!(
        (state("whole"), state("pieces"), state("clean")),
        (json!("skipped"), json!("success"), json!("success"))
    );
}

#[test]
fn the_computed_dag_writes_a_report_per_region() {
    let file = "dags/examples/reports/reports.rhai";
    let outputs = outputs(&[file, "--date", "2026-01-05", "--conn", "warehouse=sqlite::temporary:"]);
    assert_eq!(
        outputs["report_eu"],
        json!([{"day": "2026-01-05", "region": "eu", "orders": 2, "amount": 24.9}])
    );
}

/// The data's publishers say about 2.4 ppm a year for this decade.
#[test]
fn the_trend_is_that_of_the_real_world() {
    let trend = &outputs(&["dags/examples/co2_trend.yaml", "--param", "years=10"])["trend"];
    assert_eq!((&trend["from"], &trend["to"]), (&json!("2010-05-01"), &json!("2020-04-01")));
    let slope = trend["ppm_per_year"].as_f64().unwrap();
    assert!((2.3..2.5).contains(&slope), "{slope}");
}
