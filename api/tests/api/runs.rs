//! Runs and backfills.

use api::client::Method;
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::world::{World, stable};

fn names(page: &Value) -> Vec<&str> {
    page["dag_runs"].as_array().unwrap().iter().map(|run| run["dag_run_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_run_is_triggered_and_ends() {
    let world = World::new().await;
    let body = json!({
        "logical_date": "2026-03-01T03:00:00+00:00", "dag_run_id": "first", "conf": {"region": "us", "mine": 1},
        "note": "by hand",
    });
    let (status, run) = world.post("/dags/etl/dagRuns", body).await;
    assert_eq!(status, 200);
    assert_eq!((&run["dag_run_id"], &run["run_type"]), (&json!("first"), &json!("manual")));
    assert_eq!(run["conf"], json!({"region": "us", "mine": 1}));
    // The pool of `load` isn't there yet, so it waits.
    assert_eq!(world.post("/pools", json!({"name": "warehouse", "slots": 2})).await.0, 201);
    let (status, text) = world
        .client
        .raw(Method::GET, "/dags/etl/dagRuns/first/wait?interval=0.02&result=load", None)
        .await
        .unwrap();
    assert_eq!(status, 200);
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last, json!({"state": "success", "results": {"load": {"index": -1}}}));
    let (_, run) = world.get("/dags/etl/dagRuns/first").await;
    assert_json_snapshot!("run", stable(run));
    world.close().await;
}

#[tokio::test]
async fn what_makes_no_run() {
    let world = World::new().await;
    let trigger = async |body: Value| world.post("/dags/etl/dagRuns", body).await;
    let date = "2026-03-01T00:00:00Z";
    assert_eq!(trigger(json!({"logical_date": date, "dag_run_id": "a"})).await.0, 200);
    let (status, again) = trigger(json!({"logical_date": null, "dag_run_id": "a"})).await;
    assert_eq!((status, &again["code"]), (409, &json!("run.exists")));
    let (status, again) = trigger(json!({"logical_date": date, "dag_run_id": "b"})).await;
    assert_eq!((status, &again["code"]), (409, &json!("run.date_exists")));
    let (status, misfit) = trigger(json!({"logical_date": null, "conf": {"region": "mars"}})).await;
    assert_eq!(status, 400);
    assert!(misfit["detail"].as_str().unwrap().contains("`region`"), "{misfit}");
    let (status, missing) = trigger(json!({"conf": {}})).await;
    assert_eq!(status, 422);
    assert_json_snapshot!("trigger_without_date", missing);
    let (status, more) = trigger(json!({"logical_date": null, "color": "red"})).await;
    assert_eq!(status, 422);
    assert_json_snapshot!("trigger_with_more", more);
    assert_eq!(trigger(json!({"logical_date": null, "dag_run_id": "a/b"})).await.0, 422);
    assert_eq!(trigger(json!({"logical_date": null, "data_interval_start": date})).await.0, 400);
    assert_eq!(world.post("/dags/none/dagRuns", json!({"logical_date": null})).await.0, 404);
    let (_, page) = world.get("/dags/etl/dagRuns").await;
    assert_eq!(names(&page), ["a"]);
    world.close().await;
}

#[tokio::test]
async fn the_same_key_again_makes_no_second_run() {
    let world = World::new().await;
    let body = api::v2::dag_runs::TriggerBody::default();
    let first = world.client.trigger("fan", &body, Some("key-1")).await.unwrap();
    let again = world.client.trigger("fan", &body, Some("key-1")).await.unwrap();
    assert_eq!(first.dag_run_id, again.dag_run_id);
    let other = api::v2::dag_runs::TriggerBody { note: Some("other".to_owned()), ..body };
    let refused = world.client.trigger("fan", &other, Some("key-1")).await.unwrap_err();
    assert!(refused.to_string().contains("key"), "{refused}");
    let (_, page) = world.get("/dags/fan/dagRuns").await;
    assert_eq!(page["total_entries"], 1);
    world.close().await;
}

#[tokio::test]
async fn runs_are_listed_filtered_and_ordered() {
    let world = World::new().await;
    assert_eq!(world.run("fan", "one").await, "success");
    assert_eq!(world.run("broken", "two").await, "failed");
    assert_eq!(world.run("fan", "three").await, "success");
    let list = async |query: &str| {
        let (status, page) = world.get(&format!("/dags/~/dagRuns{query}")).await;
        assert_eq!(status, 200, "{page}");
        names(&page).join(" ")
    };
    assert_eq!(list("").await, "three two one");
    assert_eq!(list("?order_by=run_after").await, "one two three");
    assert_eq!(list("?order_by=-start_date&limit=1&offset=1").await, "two");
    assert_eq!(list("?state=failed&state=running").await, "two");
    assert_eq!(list("?run_type=scheduled").await, "");
    assert_eq!(list("?run_after_lte=2026-01-01T00:00:00Z").await, "");
    let (_, page) = world.get("/dags/fan/dagRuns").await;
    assert_eq!(names(&page), ["three", "one"]);
    assert_eq!(world.get("/dags/none/dagRuns").await.0, 404);
    assert_eq!(world.get("/dags/fan/dagRuns?state=odd").await.0, 422);
    assert_eq!(world.get("/dags/fan/dagRuns?order_by=conf").await.0, 400);
    assert_eq!(world.get("/dags/fan/dagRuns?conf_contains=x").await.0, 400);
    world.close().await;
}

#[tokio::test]
async fn a_run_is_cleared_marked_and_deleted() {
    let world = World::new().await;
    assert_eq!(world.run("broken", "r").await, "failed");
    let (status, dry) = world.post("/dags/broken/dagRuns/r/clear", json!({})).await;
    assert_eq!((status, &dry["total_entries"]), (200, &json!(2)));
    let (status, run) =
        world.post("/dags/broken/dagRuns/r/clear", json!({"dry_run": false, "only_failed": true})).await;
    assert_eq!((status, &run["clear_number"]), (200, &json!(1)));
    world.ended("broken", "r").await;
    let (status, run) = world.patch("/dags/broken/dagRuns/r", json!({"state": "success"})).await;
    assert_eq!((status, &run["state"]), (200, &json!("success")));
    assert_eq!(world.patch("/dags/broken/dagRuns/r", json!({"state": "running"})).await.0, 422);
    assert_eq!(world.patch("/dags/broken/dagRuns/r", json!({})).await.0, 400);
    assert_eq!(world.patch("/dags/broken/dagRuns/none", json!({"state": "success"})).await.0, 404);

    assert_eq!(world.delete("/dags/broken/dagRuns/r").await.0, 204);
    assert_eq!(world.get("/dags/broken/dagRuns/r").await.0, 404);
    assert_eq!(world.delete("/dags/broken/dagRuns/r").await.0, 404);
    let body = json!({"logical_date": null, "dag_run_id": "long"});
    assert_eq!(world.post("/dags/endless/dagRuns", body).await.0, 200);
    let (status, refused) = world.delete("/dags/endless/dagRuns/long").await;
    assert_eq!((status, &refused["code"]), (409, &json!("run.unfinished")));
    world.close().await;
}

#[tokio::test]
async fn backfills_are_made_paused_and_cancelled() {
    let world = World::new().await;
    let body = json!({
        "dag_id": "etl", "from_date": "2026-02-01T00:00:00Z", "to_date": "2026-02-05T00:00:00Z", "max_active_runs": 1,
    });
    let (status, made) = world.post("/backfills", body.clone()).await;
    assert_eq!(status, 200, "{made}");
    assert_json_snapshot!("backfill", stable(made));
    let (status, active) = world.post("/backfills", body).await;
    assert_eq!((status, &active["code"]), (409, &json!("backfill.active")));
    assert_eq!(world.put("/backfills/1/pause").await.1["is_paused"], true);
    // As `airflowctl` spells it.
    assert_eq!(world.post("/backfills/1/unpause", json!({})).await.1["is_paused"], false);
    let (_, runs) = world.get("/dags/etl/dagRuns?backfill_id=1").await;
    assert_eq!(runs["dag_runs"][0]["run_type"], "backfill");
    let (status, ended) = world.put("/backfills/1/cancel").await;
    assert_eq!((status, ended["completed_at"].is_string()), (200, true));
    assert_eq!(world.put("/backfills/1/cancel").await.0, 409);
    assert_eq!(world.put("/backfills/7/pause").await.0, 404);
    assert_eq!(world.get("/backfills/1").await.0, 200);
    let (_, page) = world.get("/backfills?dag_id=etl").await;
    assert_eq!(page["total_entries"], 1);
    let (_, page) = world.get("/backfills?dag_id=fan").await;
    assert_eq!(page["total_entries"], 0);
    let body =
        json!({"dag_id": "fan", "from_date": "2026-02-01T00:00:00Z", "to_date": "2026-02-02T00:00:00Z"});
    assert_eq!(world.post("/backfills", body).await.0, 400);
    world.close().await;
}
