//! A live service against its own OpenAPI documents, with schemathesis: no answer that they don't describe, nothing that breaks.

use std::{process::Command, time::Duration};

use crate::site::Site;

/// How many examples each operation is tried with; the environment variable is for deeper runs.
const EXAMPLES: &str = "4";
const EXAMPLES_VARIABLE: &str = "UPDRAFT_TEST_OPENAPI_EXAMPLES";
/// How long all of it may take.
const DEADLINE: Duration = Duration::from_hours(1);

const DAGS: &str = r#"
dag: etl
schedule: { cron: "0 3 * * *", missed: none }
start_date: 2026-01-01
params:
  region: { type: string, enum: [eu, us], default: eu }
tasks:
  extract: { bash: 'echo "hello"; echo "{\"rows\": 3}" > "$UPDRAFT_RESULT"' }
  load: { needs: extract, bash: "true", outlets: [report] }
---
dag: reader
schedule: { assets: [report] }
tasks:
  read: { bash: "true" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_as_the_documents_say() {
    let python = std::env::var("UPDRAFT_TEST_SCHEMATHESIS").expect(
        "UPDRAFT_TEST_SCHEMATHESIS isn't set: it names a Python that has schemathesis; `make test` makes one, as does \
         `cargo xtask services clients`",
    );
    let site = Site::sqlite().await;
    site.write_dag("dags.yaml", DAGS);
    // More requests than one account may make.
    let service =
        site.start_with(&["--set", "api.requests_per_account=0", "--set", "api.requests_per_tenant=0"]);
    for dag in ["etl", "reader"] {
        site.dag_is_there(dag).await;
    }
    let address = site.address(&service).await;
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/openapi.py");
    let home = site.path("home");
    std::fs::create_dir(&home).unwrap();
    let mut driver = Command::new(python);
    driver.arg(script).arg(&address).arg(site.path("data/admin-password")).arg(home);
    driver.arg(std::env::var(EXAMPLES_VARIABLE).unwrap_or_else(|_| EXAMPLES.to_owned()));
    let driven = tokio::task::spawn_blocking(move || driver.output().unwrap());
    let output = tokio::time::timeout(DEADLINE, driven).await.expect("schemathesis ends").unwrap();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{errors}\n{}", service.log());
}
