//! What the pages of the console read, and that nobody sees there what they may not see elsewhere.

use std::{net::SocketAddr, time::Duration};

use api::client::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    wire::{ask, sign_in},
    world::World,
};

const V1: &str = "/api/updraft/v1";
/// How long a stream may take to say something.
const DEADLINE: Duration = Duration::from_secs(30);

fn names(list: &Value, key: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

/// Runs `etl`, with the pool that a task of it waits for.
async fn etl(world: &World, run: &str) {
    let made = world.post("/pools", json!({"name": "warehouse", "slots": 1})).await;
    assert!(matches!(made.0, 201 | 409), "{made:?}");
    assert_eq!(world.run("etl", run).await, "success");
}

/// Somebody who may read one DAG, with its runs and tasks, and nothing else.
async fn reader(world: &mut World) -> (SocketAddr, String) {
    let rules = json!([{
        "effect": "allow", "kinds": ["dag", "run", "task"], "objects": {"name": "etl"}, "actions": ["read"],
    }]);
    let made =
        world.call(Method::PUT, &format!("{V1}/roles/etl-reader"), Some(json!({"rules": rules}))).await;
    assert_eq!(made.0, 204, "{made:?}");
    world.person("ana", Some("etl-reader")).await;
    let at = world.listen().await;
    let token = sign_in(at, "ana").await;
    (at, token)
}

#[tokio::test]
async fn a_grid_has_a_byte_for_each_run_and_task() {
    let world = World::new().await;
    assert_eq!(world.run("broken", "one").await, "failed");
    assert_eq!(world.run("broken", "two").await, "failed");
    let (status, grid) = world.get(&format!("{V1}/dags/broken/grid")).await;
    assert_eq!(status, 200, "{grid}");
    assert_eq!(names(&grid["structure"]["rows"], "id"), ["boom", "after"]);
    assert_eq!(grid["structure"]["rows"][1]["needs"], json!(["boom"]));
    assert_eq!(names(&grid["runs"], "id"), ["two", "one"]);
    let cells = STANDARD.decode(grid["cells"].as_str().unwrap()).unwrap();
    let states = grid["states"].as_array().unwrap();
    let said: Vec<&str> =
        cells.iter().map(|byte| states[usize::from(byte & 15) - 1].as_str().unwrap()).collect();
    assert_eq!(said, ["failed", "upstream_failed", "failed", "upstream_failed"]);
    let (_, one) = world.get(&format!("{V1}/dags/broken/grid?run=one")).await;
    assert_eq!(names(&one["runs"], "id"), ["one"]);
    let (_, first) = world.get(&format!("{V1}/dags/broken/grid?runs=1")).await;
    assert_eq!((names(&first["runs"], "id"), first["before"].is_string()), (vec!["two".to_owned()], true));
    for wrong in ["runs=0", "runs=101", "state=odd", "page=1"] {
        let (status, answer) = world.get(&format!("{V1}/dags/broken/grid?{wrong}")).await;
        assert!(matches!(status, 400 | 422), "{wrong}: {answer}");
    }
    world.close().await;
}

#[tokio::test]
async fn repeated_tasks_are_counted_by_state() {
    let world = World::new().await;
    world.run("fan", "f").await;
    let (_, grid) = world.get(&format!("{V1}/dags/fan/grid")).await;
    assert_eq!(grid["structure"]["rows"][1]["kind"], "mapped");
    let detail = grid["detail"].as_object().unwrap();
    assert!(detail.keys().all(|place| place.starts_with("0,")), "{detail:?}");
    world.close().await;
}

#[tokio::test]
async fn dags_are_listed_with_their_last_runs_page_by_page() {
    let world = World::new().await;
    world.run("broken", "b").await;
    let (status, page) = world.get(&format!("{V1}/dags?limit=2")).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(
        (names(&page["items"], "dag_id"), &page["total"], &page["next"]),
        (vec!["big".into(), "broken".into()], &json!(6), &json!("broken"))
    );
    assert_eq!(page["items"][1]["runs"][0]["state"], "failed");
    assert_eq!(page["items"][1]["allowed"]["trigger"], json!({"allowed": true}));
    let (_, rest) = world.get(&format!("{V1}/dags?limit=100&after=broken")).await;
    assert_eq!((names(&rest["items"], "dag_id")[0].as_str(), &rest["next"]), ("endless", &Value::Null));
    let (_, tagged) = world.get(&format!("{V1}/dags?tag=sales")).await;
    assert_eq!(names(&tagged["items"], "dag_id"), ["etl"]);
    let (_, named) = world.get(&format!("{V1}/dags?name=ea")).await;
    assert_eq!(names(&named["items"], "dag_id"), ["reader"]);
    world.close().await;
}

#[tokio::test]
async fn home_names_what_failed_until_a_later_run_made_up_for_it() {
    let world = World::new().await;
    world.run("broken", "b").await;
    let stuck = world.post("/dags/endless/dagRuns", json!({"logical_date": null, "dag_run_id": "s"})).await;
    assert_eq!(stuck.0, 200);
    let (status, home) = world.get(&format!("{V1}/home")).await;
    assert_eq!(status, 200, "{home}");
    assert_eq!(home["failed"][0]["dag_id"], "broken");
    assert_eq!(home["failed"][0]["task"]["task_id"], "boom");
    assert_eq!(names(&home["running"], "run_id"), ["s"]);
    assert_eq!(names(&home["coming"], "dag_id"), ["etl"]);
    assert_eq!(home["scheduler"]["owned"], true);
    let (_, open) = world.get(&format!("{V1}/tasks")).await;
    assert_eq!(names(&open["items"], "task_id"), ["stuck"]);
    let later = json!({"logical_date": null, "dag_run_id": "later"});
    assert_eq!(world.post("/dags/broken/dagRuns", later).await.0, 200);
    world.ended("broken", "later").await;
    let marked = world.patch("/dags/broken/dagRuns/later", json!({"state": "success"})).await;
    assert_eq!(marked.0, 200, "{marked:?}");
    let (_, home) = world.get(&format!("{V1}/home")).await;
    assert_eq!(home["failed"], json!([]));
    world.close().await;
}

#[tokio::test]
async fn schedule_and_calendar_say_what_comes_and_what_was() {
    let world = World::new().await;
    etl(&world, "r").await;
    let (status, next) = world.get(&format!("{V1}/dags/etl/schedule?runs=3")).await;
    assert_eq!(status, 200, "{next}");
    let due = names(&next["runs"], "run_after");
    assert_eq!(due.len(), 3);
    assert!(due.iter().all(|at| at.contains("T03:00:00")), "{due:?}");
    let (_, never) = world.get(&format!("{V1}/dags/fan/schedule")).await;
    assert_eq!(never["runs"], json!([]));
    let (_, calendar) = world.get(&format!("{V1}/dags/etl/calendar")).await;
    assert_eq!(calendar["days"][0]["runs"], json!({"success": 1}));
    let (status, _) = world.get(&format!("{V1}/dags/etl/calendar?from=2020-01-01T00:00:00Z")).await;
    assert_eq!(status, 422);
    let (_, model) = world.get(&format!("{V1}/dags/etl/model")).await;
    assert_eq!(model["model"]["dag_id"], "etl");
    let hash = model["version"].as_str().unwrap();
    let (_, same) = world.get(&format!("{V1}/dags/etl/model?version={hash}")).await;
    assert_eq!(same, model);
    world.close().await;
}

#[tokio::test]
async fn who_may_read_one_dag_sees_that_one_only() {
    let mut world = World::new().await;
    world.run("broken", "b").await;
    etl(&world, "e").await;
    let stuck = world.post("/dags/endless/dagRuns", json!({"logical_date": null, "dag_run_id": "s"})).await;
    assert_eq!(stuck.0, 200);
    let (at, token) = reader(&mut world).await;
    let get = async |path: &str| ask("GET", &format!("{V1}{path}")).bearer(&token).send(at).await;
    let page = get("/dags").await;
    assert_eq!((names(&page.body["items"], "dag_id"), &page.body["total"]), (vec!["etl".into()], &json!(1)));
    assert_eq!(page.body["items"][0]["allowed"]["trigger"]["reason"], "needs run:create on etl");
    let home = get("/home").await.body;
    assert_eq!(
        (&home["failed"], &home["failed_total"], &home["running"], &home["open"]),
        (&json!([]), &json!(0), &json!([]), &json!({}))
    );
    assert_eq!(get("/tasks").await.body["items"], json!([]));
    assert_eq!(get("/dags/broken/grid").await.status, 404);
    assert_eq!(get("/dags/broken/calendar").await.status, 404);
    assert_eq!(get("/dags/broken/schedule").await.status, 404);
    assert_eq!(get("/allowed?dag=broken").await.status, 404);
    assert_eq!(get("/events?dag=broken").await.status, 404);
    // They may see the DAG, and none of its logs and code.
    assert_eq!(get("/events?log=etl/e/extract/-1/1").await.status, 403);
    assert_eq!(get("/dags/etl/model").await.status, 403);
    let allowed = get("/allowed").await.body;
    assert_eq!((&allowed["dags"]["allowed"], &allowed["pools"]["allowed"]), (&json!(true), &json!(false)));
    world.close().await;
}

#[tokio::test]
async fn events_tell_what_happens_and_go_on_where_one_stopped() {
    let mut world = World::new().await;
    let (at, token) = reader(&mut world).await;
    let listen = async |query: &str, text: &str| {
        let asked = ask("GET", &format!("{V1}/events{query}")).bearer(&token);
        tokio::time::timeout(DEADLINE, asked.read_until(at, text)).await.expect("the stream says nothing")
    };
    let hello = listen("", "event: hello").await;
    assert_eq!(hello.header("content-type").as_deref(), Some("text/event-stream"));
    let text = hello.body.as_str().unwrap();
    let id = text.split("id: ").nth(1).and_then(|rest| rest.split('\n').next()).unwrap().to_owned();
    // What nobody listens to is told to whoever comes back; other DAGs aren't.
    world.run("broken", "unseen").await;
    etl(&world, "seen").await;
    let told = listen(&format!("?dag=etl&after={id}"), "\"success\"").await;
    let text = told.body.as_str().unwrap();
    assert!(text.contains("\"id\":\"seen\"") && text.contains("[\"extract\","), "{text}");
    assert!(!text.contains("unseen") && !text.contains("broken"), "{text}");
    // A place that the log doesn't have yet is somebody else's.
    listen("?after=999999999.0", "event: resync").await;
    world.close().await;
}
