//! Templates: the look that validation takes, and rendering.

use serde_json::{Value, json};
use updraft_template::{OUTPUT_BYTES_MAX, RunFacts, Templates, airflow_context};

/// Everything that reads templates.
pub struct Template {
    templates: Templates,
    context: Value,
}

impl Default for Template {
    fn default() -> Self {
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        let facts = RunFacts {
            dag_id: "sales".to_owned(),
            run_id: "scheduled__2026-01-05T06:00:00+00:00".to_owned(),
            run_type: "scheduled".to_owned(),
            logical_date: Some("2026-01-05T06:00:00Z".to_owned()),
            data_interval_start: Some("2026-01-04T06:00:00Z".to_owned()),
            data_interval_end: Some("2026-01-05T06:00:00Z".to_owned()),
            run_after: Some("2026-01-05T06:00:00Z".to_owned()),
            task_id: "load".to_owned(),
            try_number: 1,
            max_tries: 3,
            map_index: -1,
            params: object(json!({ "n": 3, "name": "a; rm -rf /", "list": [1, 2.5, null, "é"] })),
            conf: object(json!({ "full": true })),
            map: object(json!({ "file": "a.csv" })),
            outputs: object(json!({ "load": { "rows": 10, "tables": ["a", "b"] } })),
            variables: [("bucket".to_owned(), json!("s3://x")), ("limits".to_owned(), json!({ "a": 1 }))]
                .into(),
            connections: object(
                json!({ "warehouse": { "host": "db", "password": "hunter2", "port": 5432 } }),
            ),
            ..RunFacts::default()
        };
        Self { templates: Templates::new(), context: airflow_context(&facts) }
    }
}

impl Template {
    pub(super) fn take(&self, text: &str) {
        let seen = dags::template::scan(text);
        for problem in &seen.problems {
            assert!(text.get(problem.at.clone()).is_some(), "{:?} lies in the text", problem.at);
        }
        // Each may fail, and must say why.
        let said = |message: &str| assert!(!message.is_empty(), "an error says what is wrong");
        if let Err(error) = updraft_template::names(text) {
            said(&error.message);
        }
        for code in [false, true] {
            match self.templates.render(text, &self.context, code) {
                Ok(Value::String(out)) if out != text => {
                    assert!(out.len() <= OUTPUT_BYTES_MAX, "{} bytes came out", out.len());
                }
                Ok(_) => {}
                Err(error) => said(&error.message),
            }
        }
        if let Err(error) = self.templates.eval(text, &self.context) {
            said(&error.message);
        }
    }
}
