//! What never reaches the engine: nobody there, nonsense, and routes that there aren't.

use std::time::Duration;

use api::client::{Client, ClientError, Method};
use dags::ids::TenantId;
use insta::assert_json_snapshot;
use migrations::{TenantScope, store::inbox};
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn nobody_takes_the_request_so_it_is_withdrawn() {
    let world = World::without_owner(Duration::from_millis(60)).await;
    let (status, refused) = world.post("/pools", json!({"name": "gpu", "slots": 4})).await;
    assert_eq!(status, 503);
    assert_json_snapshot!("no_owner", refused);
    // Nothing that was answered as failed happens later.
    let scope = TenantScope::new(TenantId::DEFAULT);
    assert_eq!(inbox::progress(&world.db, scope, 1).await.unwrap(), inbox::Progress::Gone);
    let (_, health) = world.get("/monitor/health").await;
    assert_eq!(health["scheduler"]["status"], "unhealthy");
    // What needs no engine works.
    assert_eq!(world.post("/variables", json!({"key": "a", "value": "b"})).await.0, 201);
    world.close().await;
}

#[tokio::test]
async fn malformed_bodies() {
    let world = World::new().await;
    let post = async |body: &str| world.call_text(Method::POST, "/pools", Some(body)).await;
    let (status, broken) = post("{\"name\": ").await;
    assert_eq!(status, 422);
    assert_json_snapshot!("broken_json", broken);
    let (status, wrong) = post(r#"{"name": "x", "slots": "many"}"#).await;
    assert_eq!(status, 422);
    assert_json_snapshot!("wrong_type", wrong);
    assert_eq!(post(r#"{"name": "x", "slots": 1} {}"#).await.0, 422);
    assert_eq!(post("").await.0, 422);
    assert_eq!(post("[]").await.0, 422);
    assert_eq!(post(r#"{"name": "a/b", "slots": 1}"#).await.0, 422);
    assert_eq!(post(r#"{"name": "x", "slots": 1, "team_name": "a"}"#).await.0, 400);
    assert_eq!(world.get("/pools?limit=-1").await.0, 422);
    assert_eq!(world.get("/dags?paused=maybe").await.0, 422);
    assert_eq!(world.get("/dags?color=red").await.0, 400);
    world.close().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let world = World::new().await;
    let (head, tail) = (r#"{"name": ""#, r#"", "slots": 1}"#);
    // One byte too many, so that all is sent when the service sees it.
    let name = "x".repeat((1 << 20) + 1 - head.len() - tail.len());
    let (status, refused) =
        world.call_text(Method::POST, "/pools", Some(&format!("{head}{name}{tail}"))).await;
    assert_eq!((status, refused), (413, json!({"detail": "the body has more than 1 MiB"})));
    world.close().await;
}

#[tokio::test]
async fn routes_that_there_are_not() {
    let world = World::new().await;
    let (status, none) = world.get("/nothing").await;
    assert_eq!((status, none), (404, json!({"detail": "Not Found"})));
    let (status, refused) = world.call(Method::PUT, "/pools", None).await;
    assert_eq!((status, refused), (405, json!({"detail": "Method Not Allowed"})));
    // A name that no DAG can have.
    assert_eq!(world.get("/dags/a%2Fb").await.0, 404);
    assert_eq!(world.get("/dags/~").await.0, 404);
    world.close().await;
}

#[tokio::test]
async fn a_client_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = Client::new(&folder.path().join("none.sock"));
    let error = nobody.version().await.unwrap_err();
    assert!(error.to_string().contains("start one with `updraft standalone`"), "{error}");
    let world = World::new().await;
    let error = world.client.dag("none").await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, .. }), "{error:?}");
    assert_eq!(error.to_string(), "the DAG `none` was not found");
    world.close().await;
}

#[tokio::test]
async fn a_service_that_stops_ends_what_waits() {
    let world = World::new().await;
    let body = json!({"logical_date": null, "dag_run_id": "r"});
    assert_eq!(world.post("/dags/endless/dagRuns", body).await.0, 200);
    let client = world.client.clone();
    let socket = std::path::PathBuf::from(client.place());
    let waiting =
        async { client.raw(Method::GET, "/dags/endless/dagRuns/r/wait?interval=3600", None).await.unwrap() };
    let closing = async {
        // The run is known, so the wait is under way or about to be; either way it must end.
        assert_eq!(world.get("/dags/endless/dagRuns/r").await.0, 200);
        world.close().await;
    };
    let ((status, _), ()) = tokio::join!(waiting, closing);
    assert_eq!(status, 200);
    assert!(!socket.exists());
}
