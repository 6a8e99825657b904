//! Two tenants in one file, with the same names: nobody sees or changes anything of the other.

use api::Api;
use dags::ids::{ShardId, TenantId};
use migrations::store::tenant;
use serde_json::{Value, json};

use crate::world::World;

const OTHER: TenantId = TenantId(uuid::Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0077));

const THEIRS: &str = "
dag: etl
doc: theirs-only
tasks:
  extract: { bash: 'true', outlets: [theirs-asset] }
---
dag: hidden
tasks:
  list: { bash: 'true' }
";

#[tokio::test]
async fn a_tenant_sees_and_changes_its_own_rows_only() {
    let mut world = World::new().await;
    tenant::insert(&world.db, "test", OTHER, "other", ShardId::DEFAULT).await.unwrap();
    world.activate(OTHER, THEIRS).await;
    let ours = world.client.clone();
    world.serve(OTHER, "other.sock", Api::OWNER_WAIT);
    // The other tenant fills every table.
    assert_eq!(world.run("etl", "theirs-run").await, "success");
    assert_eq!(world.run("hidden", "theirs-run").await, "success");
    let made = [
        world.post("/pools", json!({"name": "theirs-pool", "slots": 1})).await,
        world.post("/variables", json!({"key": "theirs-variable", "value": "theirs-value"})).await,
        world.post("/connections", json!({"connection_id": "theirs-conn", "conn_type": "theirs-type"})).await,
    ];
    assert!(made.iter().all(|(status, _)| *status == 201), "{made:?}");

    world.client = ours;
    assert_eq!(world.run("fan", "r").await, "success");
    let lists = [
        "/dags?exclude_stale=false",
        "/dags/etl",
        "/dags/etl/details",
        "/dags/etl/tasks",
        "/dags/etl/dagVersions",
        "/dags/~/dagRuns",
        "/dags/etl/dagRuns",
        "/pools",
        "/variables",
        "/connections",
        "/backfills",
        "/assets",
        "/assets/events",
        "/eventLogs",
        "/monitor/health",
    ];
    for path in lists {
        let (status, answer) = world.get(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        let text = answer.to_string();
        assert!(!text.contains("theirs") && !text.contains("hidden"), "{path}: {text}");
    }
    let singles = [
        "/dags/hidden",
        "/dags/hidden/details",
        "/dags/hidden/tasks",
        "/dags/hidden/dagVersions",
        "/dags/hidden/dagRuns",
        "/dags/etl/dagRuns/theirs-run",
        "/dags/etl/dagRuns/theirs-run/wait?interval=1",
        "/dags/etl/dagRuns/theirs-run/taskInstances",
        "/dags/etl/dagRuns/theirs-run/taskInstances/extract",
        "/dags/etl/dagRuns/theirs-run/taskInstances/extract/tries",
        "/dags/etl/dagRuns/theirs-run/taskInstances/extract/logs/1",
        "/dags/etl/dagRuns/theirs-run/taskInstances/extract/xcomEntries",
        "/dags/etl/dagRuns/theirs-run/taskInstances/extract/xcomEntries/return_value",
        "/pools/theirs-pool",
        "/variables/theirs-variable",
        "/connections/theirs-conn",
    ];
    for path in singles {
        assert_eq!(world.get(path).await.0, 404, "{path}");
    }
    let changes: [(&str, Value); 5] = [
        ("/dags/hidden", json!({"is_paused": true})),
        ("/dags/etl/dagRuns/theirs-run", json!({"state": "failed"})),
        ("/pools/theirs-pool", json!({"slots": 9})),
        ("/variables/theirs-variable", json!({"key": "theirs-variable", "value": ""})),
        ("/connections/theirs-conn", json!({"connection_id": "theirs-conn", "conn_type": "x"})),
    ];
    for (path, body) in changes {
        assert_eq!(world.patch(path, body).await.0, 404, "{path}");
        assert_eq!(world.delete(path).await.0, 404, "{path}");
    }
    let clear = json!({"dag_run_id": "theirs-run", "only_failed": false, "dry_run": false});
    assert_eq!(world.post("/dags/etl/clearTaskInstances", clear).await.0, 404);
    let entry = world.get("/eventLogs").await.1["event_logs"][0]["event_log_id"].as_i64().unwrap();
    let (_, theirs) = {
        world.client = api::client::Client::new(&world.folder.path().join("other.sock"));
        world.get("/eventLogs").await
    };
    assert_eq!(world.get(&format!("/eventLogs/{entry}")).await.0, 404);
    // The other tenant's rows are as they were.
    assert_eq!(theirs["total_entries"], 6);
    assert_eq!(world.get("/dags/etl/dagRuns/theirs-run").await.1["clear_number"], 0);
    assert_eq!(world.get("/pools/theirs-pool").await.1["slots"], 1);
    world.close().await;
}
