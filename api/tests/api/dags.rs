//! DAGs, their versions and tasks.

use insta::assert_json_snapshot;
use serde_json::json;

use crate::world::{World, stable};

#[tokio::test]
async fn dags_are_listed_shown_and_filtered() {
    let world = World::new().await;
    let (status, page) = world.get("/dags").await;
    assert_eq!((status, page["total_entries"].as_u64()), (200, Some(6)));
    let names: Vec<&str> =
        page["dags"].as_array().unwrap().iter().map(|d| d["dag_id"].as_str().unwrap()).collect();
    assert_eq!(names, ["big", "broken", "endless", "etl", "fan", "reader"]);

    let (_, page) = world.get("/dags?limit=2&offset=1&order_by=dag_id").await;
    assert_eq!((page["dags"].as_array().unwrap().len(), page["total_entries"].as_u64()), (2, Some(6)));
    let (_, page) = world.get("/dags?dag_id_pattern=%25e%25&paused=false").await;
    assert_eq!(page["total_entries"], 4);
    let (_, page) = world.get("/dags?limit=100000").await;
    assert_eq!(page["dags"].as_array().unwrap().len(), 6);

    let (status, dag) = world.get("/dags/etl").await;
    assert_eq!(status, 200);
    assert_json_snapshot!("dag", stable(dag));
    let (status, details) = world.get("/dags/etl/details").await;
    assert_eq!(status, 200);
    assert_json_snapshot!("dag_details", stable(details));
    let (_, reader) = world.get("/dags/reader/details").await;
    assert_eq!(
        reader["asset_expression"],
        json!({"all": [{"asset": {"uri": "report", "name": "report", "group": "asset"}}]})
    );
    world.close().await;
}

#[tokio::test]
async fn tasks_and_versions_of_a_dag() {
    let world = World::new().await;
    let (status, tasks) = world.get("/dags/etl/tasks").await;
    assert_eq!(status, 200);
    assert_json_snapshot!("tasks", stable(tasks));
    let (status, task) = world.get("/dags/etl/tasks/load").await;
    assert_eq!((status, &task["retries"]), (200, &json!(1.0)));
    assert_eq!(world.get("/dags/etl/tasks/none").await.0, 404);

    let (status, versions) = world.get("/dags/etl/dagVersions").await;
    assert_eq!(status, 200);
    assert_json_snapshot!("dag_versions", stable(versions));
    assert_eq!(world.get("/dags/etl/dagVersions/1").await.0, 200);
    assert_eq!(world.get("/dags/etl/dagVersions/2").await.0, 404);
    world.close().await;
}

#[tokio::test]
async fn a_dag_is_paused_and_goes_on() {
    let world = World::new().await;
    let (status, dag) = world.patch("/dags/etl", json!({"is_paused": true})).await;
    assert_eq!((status, &dag["is_paused"]), (200, &json!(true)));
    assert_eq!(dag["next_dagrun_run_after"], json!(null));
    let (_, page) = world.get("/dags?paused=true").await;
    assert_eq!(page["total_entries"], 1);
    let (status, dag) = world.patch("/dags/etl?update_mask=is_paused", json!({"is_paused": false})).await;
    assert_eq!((status, &dag["is_paused"]), (200, &json!(false)));
    assert_eq!(world.patch("/dags/none", json!({"is_paused": false})).await.0, 404);
    world.close().await;
}

#[tokio::test]
async fn a_dag_is_deleted_once_nothing_runs() {
    let world = World::new().await;
    let body = json!({"logical_date": null, "dag_run_id": "r"});
    assert_eq!(world.post("/dags/endless/dagRuns", body).await.0, 200);
    let (status, refused) = world.delete("/dags/endless").await;
    assert_eq!((status, &refused["code"]), (409, &json!("dag.has_runs")));
    assert_eq!(world.patch("/dags/endless/dagRuns/r", json!({"state": "failed"})).await.0, 200);
    assert_eq!(world.delete("/dags/fan").await.0, 200);
    assert_eq!(world.get("/dags/fan").await.0, 404);
    assert_eq!(world.delete("/dags/fan").await.0, 404);
    world.close().await;
}
