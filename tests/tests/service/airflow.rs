//! Airflow's own clients, unmodified: the generated one and `airflowctl`, against a live service.

use std::process::Command;

use crate::site::{LATE, Site};

const DAGS: &str = r#"
dag: etl
schedule: { cron: "0 3 * * *", missed: none }
start_date: 2026-01-01
tags: [nightly]
tasks:
  extract: { bash: 'echo "hello from the task"; echo "{\"rows\": 3}" > "$UPDRAFT_RESULT"' }
  load: { needs: extract, bash: "true", outlets: [report] }
---
dag: reader
schedule: { assets: [report] }
tasks:
  read: { bash: "true" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn airflow_s_clients_work_as_they_are() {
    let python = std::env::var("UPDRAFT_TEST_AIRFLOW").expect(
        "UPDRAFT_TEST_AIRFLOW isn't set: it names a Python that has apache-airflow-client and apache-airflow-ctl; \
         `make test` makes one, as does `cargo xtask services clients`",
    );
    let site = Site::sqlite().await;
    site.write_dag("dags.yaml", DAGS);
    let service = site.start();
    for dag in ["etl", "reader"] {
        site.dag_is_there(dag).await;
    }
    let address = site.address(&service).await;
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/airflow.py");
    let home = site.path("home");
    std::fs::create_dir(&home).unwrap();
    let mut driver = Command::new(python);
    driver.arg(script).arg(&address).arg(site.path("data/admin-password")).arg(home);
    let driven = tokio::task::spawn_blocking(move || driver.output().unwrap());
    let output = tokio::time::timeout(2 * LATE, driven).await.expect("the clients end").unwrap();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{errors}\n{}", service.log());
    // Neither passwords nor tokens are in the log.
    let log = service.log();
    assert!(!log.contains("a long enough phrase") && !log.contains("updraft_session_"), "{log}");
}
