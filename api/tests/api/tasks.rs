//! Task instances, tries, logs and results.

use api::client::Method;
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::world::{World, stable};

fn states(page: &Value) -> Vec<String> {
    let list = page["task_instances"].as_array().unwrap().iter();
    list.map(|t| format!("{}[{}]={}", t["task_id"].as_str().unwrap(), t["map_index"], t["state"])).collect()
}

#[tokio::test]
async fn task_instances_are_listed_and_shown() {
    let world = World::new().await;
    assert_eq!(world.run("fan", "r").await, "success");
    let (status, page) = world.get("/dags/fan/dagRuns/r/taskInstances").await;
    assert_eq!(status, 200);
    assert_eq!(states(&page), ["each[0]=\"success\"", "each[1]=\"success\"", "list[-1]=\"success\""]);
    let (_, page) = world.get("/dags/fan/dagRuns/r/taskInstances?task_id=each&state=success&limit=1").await;
    assert_eq!((states(&page).len(), &page["total_entries"]), (1, &json!(2)));
    let (_, page) = world.get("/dags/fan/dagRuns/r/taskInstances/each/listMapped").await;
    assert_eq!(page["total_entries"], 2);
    let (status, task) = world.get("/dags/fan/dagRuns/r/taskInstances/list").await;
    assert_eq!(status, 200);
    assert_json_snapshot!("task_instance", stable(task));
    assert_eq!(world.get("/dags/fan/dagRuns/r/taskInstances/each/1").await.1["rendered_map_index"], "1");
    let (status, mapped) = world.get("/dags/fan/dagRuns/r/taskInstances/each").await;
    assert_eq!(status, 404);
    assert!(mapped["detail"].as_str().unwrap().ends_with("such as `each[0]`"), "{mapped}");
    assert_eq!(world.get("/dags/fan/dagRuns/r/taskInstances/each/2").await.0, 404);
    assert_eq!(world.get("/dags/fan/dagRuns/none/taskInstances").await.0, 404);
    world.close().await;
}

#[tokio::test]
async fn tries_are_kept() {
    let world = World::new().await;
    assert_eq!(world.run("broken", "r").await, "failed");
    let clear =
        json!({"dag_run_id": "r", "dry_run": false, "task_ids": ["boom"], "include_downstream": true});
    let (status, cleared) = world.post("/dags/broken/clearTaskInstances", clear).await;
    assert_eq!((status, &cleared["total_entries"]), (200, &json!(2)), "{cleared}");
    world.ended("broken", "r").await;
    let base = "/dags/broken/dagRuns/r/taskInstances/boom";
    let (status, tries) = world.get(&format!("{base}/tries")).await;
    assert_eq!((status, &tries["total_entries"]), (200, &json!(2)), "{tries}");
    let (status, first) = world.get(&format!("{base}/tries/1")).await;
    assert_eq!((status, &first["try_number"]), (200, &json!(1)));
    assert_eq!((&first["state"], &first["exit_code"]), (&json!("failed"), &json!(3)));
    assert_eq!(world.get(&format!("{base}/-1/tries")).await.1["total_entries"], 2);
    assert_eq!(world.get(&format!("{base}/-1/tries/2")).await.0, 200);
    assert_eq!(world.get(&format!("{base}/tries/3")).await.0, 404);
    world.close().await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_says_the_same() {
    let world = World::new().await;
    assert_eq!(world.run("fan", "r").await, "success");
    let clear = async |more: Value| {
        let mut body = json!({"dag_run_id": "r", "only_failed": false});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.post("/dags/fan/clearTaskInstances", body).await
    };
    let (status, dry) = clear(json!({"task_ids": [["each", 1]]})).await;
    assert_eq!((status, states(&dry)), (200, vec!["each[1]=\"success\"".to_owned()]));
    let (_, dry) = clear(json!({"task_ids": ["each"], "include_upstream": true})).await;
    assert_eq!(dry["total_entries"], 3);
    let (_, dry) = clear(json!({"only_failed": true})).await;
    assert_eq!(dry["total_entries"], 0);
    assert_eq!(world.get("/dags/fan/dagRuns/r").await.1["clear_number"], 0);

    assert_eq!(clear(json!({"task_ids": ["none"]})).await.0, 404);
    assert_eq!(clear(json!({"task_ids": [["each"]]})).await.0, 422);
    assert_eq!(clear(json!({"reset_dag_runs": false})).await.0, 400);
    assert_eq!(clear(json!({"include_past": true})).await.0, 400);
    let (status, done) = clear(json!({"task_ids": [["each", 1]], "dry_run": false})).await;
    assert_eq!((status, &done["total_entries"]), (200, &json!(1)));
    assert_eq!(world.get("/dags/fan/dagRuns/r").await.1["clear_number"], 1);
    world.close().await;
}

#[tokio::test]
async fn clears_over_several_runs_and_running_ones() {
    let world = World::new().await;
    for (name, date) in
        [("a", "2026-03-01T00:00:00Z"), ("b", "2026-03-02T00:00:00Z"), ("c", "2026-03-03T00:00:00Z")]
    {
        let body = json!({"logical_date": date, "dag_run_id": name});
        assert_eq!(world.post("/dags/broken/dagRuns", body).await.0, 200);
        world.ended("broken", name).await;
    }
    let clear = async |body: Value| world.post("/dags/broken/clearTaskInstances", body).await.1;
    let dates = json!({"start_date": "2026-03-02T00:00:00Z", "end_date": "2026-03-05T00:00:00Z"});
    assert_eq!(clear(dates).await["total_entries"], 4);
    assert_eq!(clear(json!({"dag_run_id": "b", "include_past": true})).await["total_entries"], 4);
    assert_eq!(clear(json!({"dag_run_id": "a", "include_future": true})).await["total_entries"], 6);

    let body = json!({"logical_date": null, "dag_run_id": "long"});
    assert_eq!(world.post("/dags/endless/dagRuns", body).await.0, 200);
    let body = json!({"dag_run_id": "long", "only_failed": false, "prevent_running_task": true});
    let wait = async || loop {
        let (_, task) = world.get("/dags/endless/dagRuns/long/taskInstances/stuck").await;
        if task["state"] == "running" {
            return;
        }
        tokio::task::yield_now().await;
    };
    wait().await;
    assert_eq!(world.post("/dags/endless/clearTaskInstances", body).await.0, 409);
    world.close().await;
}

#[tokio::test]
async fn tasks_are_marked() {
    let world = World::new().await;
    assert_eq!(world.run("broken", "r").await, "failed");
    let path = "/dags/broken/dagRuns/r/taskInstances/boom";
    let (status, marked) = world.patch(path, json!({"new_state": "success"})).await;
    assert_eq!((status, states(&marked)), (200, vec!["boom[-1]=\"success\"".to_owned()]));
    world.ended("broken", "r").await;
    assert_eq!(world.get("/dags/broken/dagRuns/r").await.1["state"], "success");
    let (status, skipped) = world.patch(&format!("{path}/-1"), json!({"new_state": "skipped"})).await;
    assert_eq!((status, states(&skipped)), (200, vec!["boom[-1]=\"skipped\"".to_owned()]));
    let (status, refused) = world.patch(path, json!({"new_state": "running"})).await;
    assert_eq!((status, &refused["code"]), (422, &json!("task.mark")));
    assert_eq!(world.patch(path, json!({"new_state": "odd"})).await.0, 422);
    assert_eq!(world.patch(path, json!({"note": "x"})).await.0, 400);
    assert_eq!(world.patch(&format!("{path}/3"), json!({"new_state": "success"})).await.0, 404);
    let none = "/dags/broken/dagRuns/r/taskInstances/none";
    assert_eq!(world.patch(none, json!({"new_state": "success"})).await.0, 404);
    world.close().await;
}

#[tokio::test]
async fn logs_come_in_pieces() {
    let world = World::new().await;
    assert_eq!(world.run("fan", "r").await, "success");
    let base = "/dags/fan/dagRuns/r/taskInstances";
    let (_, task) = world.get(&format!("{base}/list")).await;
    let log = format!("{}-1", task["id"].as_str().unwrap());
    std::fs::write(world.folder.path().join(log), "one\ntwo\nthree\n").unwrap();
    let (status, piece) = world.get(&format!("{base}/list/logs/1")).await;
    assert_eq!(status, 200);
    assert_json_snapshot!("log", stable(piece.clone()));
    let token = piece["continuation_token"].as_str().unwrap();
    let (_, rest) = world.get(&format!("{base}/list/logs/1?token={token}")).await;
    assert_eq!((&rest["content"][0]["event"], &rest["continuation_token"]), (&json!("three"), &Value::Null));
    let (_, whole) = world.get(&format!("{base}/list/logs/1?full_content=true")).await;
    assert_eq!((whole["content"].as_array().unwrap().len(), &whole["continuation_token"]), (3, &Value::Null));
    let (_, none) = world.get(&format!("{base}/each/logs/1?map_index=1")).await;
    assert_eq!(none, json!({"content": [], "continuation_token": null}));
    assert_eq!(world.get(&format!("{base}/list/logs/2")).await.0, 404);
    assert_eq!(world.get(&format!("{base}/list/logs/1?token=odd")).await.0, 422);
    assert_eq!(world.get(&format!("{base}/list/logs/1?token=1.9")).await.0, 400);
    world.close().await;
}

#[tokio::test]
async fn the_log_of_a_running_task_goes_on() {
    let world = World::new().await;
    let body = json!({"logical_date": null, "dag_run_id": "r"});
    assert_eq!(world.post("/dags/endless/dagRuns", body).await.0, 200);
    let task = loop {
        let (_, task) = world.get("/dags/endless/dagRuns/r/taskInstances/stuck").await;
        if task["state"] == "running" {
            break task;
        }
        tokio::task::yield_now().await;
    };
    let path = "/dags/endless/dagRuns/r/taskInstances/stuck/logs/1";
    let (_, begun) = world.get(&format!("{path}?full_content=true")).await;
    assert_eq!(begun, json!({"content": [], "continuation_token": "1.0"}));
    let log = world.folder.path().join(format!("{}-1", task["id"].as_str().unwrap()));
    std::fs::write(&log, "one\n").unwrap();
    let (_, more) = world.get(&format!("{path}?token=1.0")).await;
    assert_eq!((&more["content"][0]["event"], &more["continuation_token"]), (&json!("one"), &json!("1.1")));
    let (_, nothing) = world.get(&format!("{path}?token=1.1")).await;
    assert_eq!(nothing, json!({"content": [], "continuation_token": "1.1"}));
    world.close().await;
}

#[tokio::test]
async fn results_are_read() {
    let world = World::new().await;
    assert_eq!(world.run("fan", "r").await, "success");
    let base = "/dags/fan/dagRuns/r/taskInstances";
    let (status, list) = world.get(&format!("{base}/each/xcomEntries")).await;
    assert_eq!((status, &list["total_entries"]), (200, &json!(2)));
    assert_eq!(world.get(&format!("{base}/each/xcomEntries?map_index=1")).await.1["total_entries"], 1);
    let entry = format!("{base}/list/xcomEntries/return_value");
    let (status, value) = world.get(&format!("{entry}?stringify=false")).await;
    assert_eq!(status, 200);
    assert_json_snapshot!("xcom", stable(value));
    assert_eq!(world.get(&entry).await.1["value"], "[\"a\",\"b\"]");
    assert_eq!(world.get(&format!("{base}/list/xcomEntries/other")).await.0, 404);
    assert_eq!(world.get(&format!("{base}/each/xcomEntries/return_value")).await.0, 404);

    assert_eq!(world.run("big", "r").await, "success");
    let large = "/dags/big/dagRuns/r/taskInstances/large/xcomEntries/return_value?stringify=false";
    assert_eq!(world.get(large).await.1["value"], json!([1, 2, 3, 4]));
    let path = "/dags/fan/dagRuns/r/wait?interval=1&result=each&result=none";
    let (_, lines) = world.client.raw(Method::GET, path, None).await.unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["results"], json!({"each": [{"index": 0}, {"index": 1}], "none": null}));
    world.close().await;
}

#[tokio::test]
async fn what_waits_says_what_holds_it() {
    let world = World::new().await;
    assert_eq!(world.patch("/pools/default_pool", json!({"slots": 0})).await.0, 200);
    let run = json!({ "logical_date": null, "dag_run_id": "r" });
    assert_eq!(world.post("/dags/broken/dagRuns", run).await.0, 200);
    let base = "/dags/broken/dagRuns/r/taskInstances";
    let (status, boom) = world.get(&format!("{base}/boom/-1/waiting")).await;
    assert_eq!((status, &boom["state"]), (200, &json!("scheduled")), "{boom}");
    let limit = &boom["waiting"]["holds"][0]["limit"];
    assert_eq!(
        (&limit["kind"], &limit["name"], &limit["total"]),
        (&json!("pool"), &json!("default_pool"), &json!(0))
    );
    let (_, after) = world.get(&format!("{base}/after/-1/waiting")).await;
    assert_eq!(after["waiting"]["holds"][0]["limit"]["waits_for"][0]["task"], "boom", "{after}");
    let (status, listed) = world.get(&format!("{base}/after/dependencies")).await;
    assert_eq!((status, &listed["dependencies"][0]["name"]), (200, &json!("upstream")), "{listed}");
    assert_eq!(world.get(&format!("{base}/none/-1/waiting")).await.0, 404);

    assert_eq!(world.patch("/pools/default_pool", json!({"slots": 8})).await.0, 200);
    assert_eq!(world.ended("broken", "r").await, "failed");
    let (status, over) = world.get(&format!("{base}/boom/-1/waiting")).await;
    assert_eq!((status, over), (200, json!({"state": "failed", "waiting": null})));
    let (_, listed) = world.get(&format!("{base}/boom/-1/dependencies")).await;
    assert_eq!(listed, json!({"dependencies": []}));
    world.close().await;
}
