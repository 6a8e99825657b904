//! What the service keeps itself: pools, variables, connections, assets, the audit log, its own health.

use api::client::Method;
use insta::assert_json_snapshot;
use migrations::store::{Window, audit};
use serde_json::{Value, json};

use crate::world::{World, stable};

#[tokio::test]
async fn a_tenants_runs_are_kept_as_the_platform_says() {
    let world = World::new().await;
    let path = "/api/updraft/v1/tenants/default/retention";
    let put = async |body| world.call(Method::PUT, path, Some(body)).await;
    assert_eq!(world.get(path).await, (200, json!({"run_days": null})));
    assert_eq!(put(json!({"run_days": 30})).await, (200, json!({"run_days": 30})));
    assert_eq!(world.get(path).await, (200, json!({"run_days": 30})));
    for wrong in [json!({"run_days": 36_501}), json!({"run_days": -1}), json!({"days": 1})] {
        let (status, said) = put(wrong.clone()).await;
        assert_eq!(status, 422, "{wrong}: {said}");
    }
    let (status, said) =
        world.call(Method::PUT, &path.replace("default", "nobody"), Some(json!({"run_days": 1}))).await;
    assert_eq!(status, 404, "{said}");
    assert_eq!(put(json!({"run_days": null})).await.0, 200);
    assert_eq!(world.get(path).await, (200, json!({"run_days": null})));
    let log = audit::list(&world.db, audit::PLATFORM, Window::default()).await.unwrap().rows;
    let days: Vec<_> = log
        .iter()
        .filter(|entry| entry.kind == "set_retention")
        .map(|entry| entry.payload["days"].clone())
        .collect();
    assert_eq!(days, [json!(null), json!(30)]);
    world.close().await;
}

#[tokio::test]
async fn pools_are_made_changed_and_deleted() {
    let world = World::new().await;
    let (_, page) = world.get("/pools").await;
    assert_eq!((&page["total_entries"], &page["pools"][0]["name"]), (&json!(1), &json!("default_pool")));
    let (status, pool) =
        world.post("/pools", json!({"name": "gpu", "slots": 4, "include_deferred": true})).await;
    assert_eq!(status, 201);
    assert_json_snapshot!("pool", pool);
    assert_eq!(world.post("/pools", json!({"name": "gpu", "slots": 4})).await.0, 409);
    let (status, pool) = world.patch("/pools/gpu?update_mask=slots", json!({"slots": -1})).await;
    assert_eq!((status, &pool["slots"], &pool["open_slots"]), (200, &json!(-1), &json!(-1)));
    assert_eq!(pool["include_deferred"], true);
    let (status, refused) = world.patch("/pools/gpu", json!({"slots": -2})).await;
    assert_eq!((status, &refused["code"]), (422, &json!("pool.slots")));
    assert_eq!(world.patch("/pools/none", json!({"slots": 2})).await.0, 404);
    assert_eq!(world.get("/pools?pool_name_pattern=gp&order_by=-name").await.1["total_entries"], 1);
    assert_eq!(world.delete("/pools/gpu").await.0, 204);
    assert_eq!(world.get("/pools/gpu").await.0, 404);
    assert_eq!(world.delete("/pools/default_pool").await.0, 400);

    let body = json!({"logical_date": null, "dag_run_id": "r"});
    assert_eq!(world.post("/dags/endless/dagRuns", body).await.0, 200);
    let pool = loop {
        let (_, pool) = world.get("/pools/default_pool").await;
        if pool["running_slots"] != 0 {
            break pool;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&pool["occupied_slots"], &pool["open_slots"]), (&json!(1), &json!(127)));
    world.close().await;
}

#[tokio::test]
async fn a_secret_variable_never_comes_back() {
    let world = World::new().await;
    let plain = json!({"key": "region", "value": {"a": 1}, "description": "where"});
    let (status, made) = world.post("/variables", plain.clone()).await;
    assert_eq!((status, &made["value"]), (201, &json!("{\"a\":1}")));
    assert_eq!(world.post("/variables", plain).await.0, 409);
    let secret = json!({"key": "token", "value": "s3cret", "secret": true});
    let (status, made) = world.post("/variables", secret).await;
    assert_eq!((status, &made["value"], &made["is_encrypted"]), (201, &Value::Null, &json!(true)));
    let (_, page) = world.get("/variables").await;
    assert_json_snapshot!("variables", page);
    // It stays secret when it is set again.
    let (status, again) = world.patch("/variables/token", json!({"key": "token", "value": "s3cret2"})).await;
    assert_eq!((status, &again["is_encrypted"]), (200, &json!(true)));
    let words = json!({"key": "token", "value": "", "description": "x"});
    assert_eq!(world.patch("/variables/token?update_mask=description", words).await.0, 400);
    let words = json!({"key": "region", "value": "", "description": "there"});
    let (_, described) = world.patch("/variables/region?update_mask=description", words).await;
    assert_eq!((&described["description"], &described["value"]), (&json!("there"), &json!("{\"a\":1}")));
    for path in ["/variables", "/variables/token", "/eventLogs"] {
        assert!(!world.get(path).await.1.to_string().contains("s3cret"), "{path}");
    }
    let (status, refused) = world.post("/variables", json!({"key": "x", "value": "s3cret", "odd": 1})).await;
    assert_eq!(status, 422);
    assert!(!refused.to_string().contains("s3cret"), "{refused}");
    assert_eq!(world.post("/variables", json!({"key": " ", "value": ""})).await.0, 422);
    assert_eq!(world.patch("/variables/none", json!({"key": "none", "value": ""})).await.0, 404);
    assert_eq!(world.delete("/variables/token").await.0, 204);
    assert_eq!(world.delete("/variables/token").await.0, 404);
    assert_eq!(world.get("/variables/token").await.0, 404);
    world.close().await;
}

#[tokio::test]
async fn a_connections_secrets_never_come_back_and_never_go_elsewhere() {
    let world = World::new().await;
    let body = json!({
        "connection_id": "warehouse", "conn_type": "postgres", "host": "db.example", "port": 5432, "login": "etl",
        "password": "s3cret", "extra": "{\"sslmode\": \"s3cret\"}",
    });
    let (status, made) = world.post("/connections", body.clone()).await;
    assert_eq!(status, 201);
    assert_json_snapshot!("connection", made);
    assert_eq!(world.post("/connections", body).await.0, 409);
    let change = async |mask: &str, body: Value| {
        world.patch(&format!("/connections/warehouse?update_mask={mask}"), body).await
    };
    let base =
        json!({"connection_id": "warehouse", "conn_type": "postgres", "schema": "sales", "password": "new"});
    let (status, changed) = change("schema", base.clone()).await;
    assert_eq!((status, &changed["schema"], &changed["has_secrets"]), (200, &json!("sales"), &json!(true)));
    assert_eq!(changed["host"], "db.example");
    assert_eq!(change("password", base.clone()).await.0, 200);
    let sealer = migrations::seal::Sealer::new(
        migrations::seal::MasterKey::load(&world.folder.path().join("master.key")).unwrap(),
    );
    let scope = migrations::TenantScope::new(dags::ids::TenantId::DEFAULT);
    let open = async || {
        let found = migrations::store::connection::open(&world.db, scope, &sealer, "warehouse").await;
        found.unwrap().unwrap().1
    };
    let secrets = open().await;
    assert_eq!((secrets.password.as_deref(), &secrets.extra["sslmode"]), (Some("new"), &json!("s3cret")));
    let moved = json!({"connection_id": "warehouse", "conn_type": "postgres", "host": "evil.example"});
    let (_, changed) = change("host", moved).await;
    assert_eq!((&changed["host"], &changed["has_secrets"]), (&json!("evil.example"), &json!(false)));
    assert_eq!(open().await.password, None);

    for path in ["/connections", "/connections/warehouse", "/eventLogs"] {
        assert!(!world.get(path).await.1.to_string().contains("s3cret"), "{path}");
    }
    let wrong = json!({"connection_id": "x", "conn_type": "http", "extra": "s3cret"});
    let (status, refused) = world.post("/connections", wrong).await;
    assert_eq!(status, 422);
    assert!(!refused.to_string().contains("s3cret"), "{refused}");
    assert_eq!(world.get("/connections?connection_id_pattern=ware").await.1["total_entries"], 1);
    assert_eq!(world.delete("/connections/warehouse").await.0, 204);
    assert_eq!(world.delete("/connections/warehouse").await.0, 404);
    world.close().await;
}

#[tokio::test]
async fn assets_and_their_events() {
    let world = World::new().await;
    let (status, page) = world.get("/assets?name_pattern=rep").await;
    assert_eq!(status, 200);
    assert_json_snapshot!("assets", stable(page.clone()));
    let id = page["assets"][0]["id"].as_u64().unwrap();
    assert_eq!(world.get(&format!("/assets/{id}")).await.1["name"], "report");
    assert_eq!(world.get("/assets/7").await.0, 404);
    assert_eq!(world.run("big", "r").await, "success");
    let (_, events) = world.get(&format!("/assets/events?asset_id={id}")).await;
    assert_eq!(
        (&events["total_entries"], &events["asset_events"][0]["source_run_id"]),
        (&json!(1), &json!("r"))
    );
    let (status, event) = world.post("/assets/events", json!({"asset_id": id, "extra": {"rows": 3}})).await;
    assert_eq!(status, 200);
    assert_eq!((&event["extra"], &event["source_task_id"]), (&json!({"rows": 3}), &Value::Null));
    assert_eq!(world.get("/assets/events").await.1["total_entries"], 2);
    assert_eq!(world.post("/assets/events", json!({"asset_id": 7})).await.0, 404);
    world.close().await;
}

#[tokio::test]
async fn every_change_is_in_the_audit_log() {
    let world = World::new().await;
    assert_eq!(world.run("broken", "r").await, "failed");
    let path = "/dags/broken/dagRuns/r/taskInstances/boom";
    assert_eq!(world.patch(path, json!({"new_state": "success"})).await.0, 200);
    assert_eq!(world.post("/variables", json!({"key": "region", "value": "eu"})).await.0, 201);
    let (status, page) = world.get("/eventLogs").await;
    assert_eq!(status, 200);
    let events: Vec<&str> =
        page["event_logs"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["set_variable", "mark_tasks", "trigger", "activate_bundle"]);
    let id = &page["event_logs"][1]["event_log_id"];
    let (status, entry) = world.get(&format!("/eventLogs/{id}")).await;
    assert_eq!(status, 200);
    assert_json_snapshot!("event_log", stable(entry));
    assert_eq!(page["event_logs"][2]["run_id"], "r");
    assert_eq!(world.get("/eventLogs/99999").await.0, 404);
    world.close().await;
}

#[tokio::test]
async fn version_and_health() {
    let world = World::new().await;
    assert_eq!(world.get("/version").await.1["version"], env!("CARGO_PKG_VERSION"));
    let (status, health) = world.get("/monitor/health").await;
    assert_eq!((status, &health["scheduler"]["status"]), (200, &json!("healthy")));
    assert_eq!(health["metadatabase"]["status"], "healthy");
    world.close().await;
}
