//! Lists over many DAGs: by a body, numbers of runs, tags.

use serde_json::json;

use crate::{
    wire::{ask, sign_in},
    world::World,
};

#[tokio::test]
async fn runs_of_many_dags_are_listed_by_a_body() {
    let world = World::new().await;
    for (dag, run, ends) in [("big", "r1", "success"), ("big", "r2", "success"), ("broken", "r3", "failed")] {
        assert_eq!(world.run(dag, run).await, ends);
    }
    let path = "/dags/~/dagRuns/list";
    let names = async |body: serde_json::Value| {
        let (status, page) = world.post(path, body.clone()).await;
        assert_eq!(status, 200, "{body}: {page}");
        let runs = page["dag_runs"].as_array().unwrap().iter();
        let names: Vec<&str> = runs.map(|run| run["dag_run_id"].as_str().unwrap()).collect();
        (names.join(" "), page["total_entries"].as_u64().unwrap())
    };
    let of_big = json!(["big"]);
    assert_eq!(names(json!({"dag_ids": of_big, "order_by": "start_date"})).await, ("r1 r2".to_owned(), 2));
    assert_eq!(names(json!({"dag_ids": of_big, "page_limit": 1})).await, ("r2".to_owned(), 2));
    assert_eq!(names(json!({"dag_ids": ["big", "broken"], "states": ["failed"]})).await.0, "r3");
    assert_eq!(names(json!({"dag_ids": []})).await, (String::new(), 0));
    assert_eq!(names(json!({"dag_ids": null, "conf_contains": null, "states": ["failed"]})).await.0, "r3");
    // Bounds are those that they say.
    let started = world.get("/dags/big/dagRuns/r1").await.1["start_date"].clone();
    let with = |bound: &str| json!({"dag_ids": of_big, bound: started});
    assert_eq!(names(with("start_date_gte")).await.0, "r2 r1");
    assert_eq!(names(with("start_date_gt")).await.0, "r2");
    assert_eq!(names(with("start_date_lte")).await.0, "r1");
    assert_eq!(names(with("start_date_lt")).await.0, "");
    let query = format!("/dags/big/dagRuns?start_date_gt={}", started.as_str().unwrap().replace('+', "%2B"));
    assert_eq!(world.get(&query).await.1["total_entries"], 1);

    // What isn't supported or known is refused, not ignored; a run named `list` isn't in the way.
    assert_eq!(world.post(path, json!({"duration_gte": 1.0})).await.0, 400);
    assert_eq!(world.post(path, json!({"dag_id": "big"})).await.0, 422);
    assert_eq!(world.post(path, json!({"order_by": "colour"})).await.0, 400);
    assert_eq!(world.post("/dags/big/dagRuns/r1", json!({})).await.0, 404);
    assert_eq!(world.run("big", "list").await, "success");
    assert_eq!(world.get("/dags/big/dagRuns/list").await.1["dag_run_id"], "list");

    let (status, stats) = world.get("/dagStats?dag_ids=big&dag_ids=fan").await;
    assert_eq!((status, &stats["total_entries"]), (200, &json!(1)));
    let stats = &stats["dags"][0];
    assert_eq!(stats["dag_id"], "big");
    let count = |state: &str| {
        let all = stats["stats"].as_array().unwrap();
        all.iter().find(|one| one["state"] == state).map(|one| one["count"].as_u64().unwrap())
    };
    assert_eq!(
        (count("success"), count("running"), count("queued"), count("failed")),
        (Some(3), Some(0), Some(0), Some(0))
    );
    world.close().await;
}

#[tokio::test]
async fn lists_over_dags_show_what_one_may_see() {
    let mut world = World::new().await;
    for (dag, run) in [("big", "r1"), ("reader", "r2")] {
        assert_eq!(world.run(dag, run).await, "success");
    }
    let (status, tags) = world.get("/dagTags").await;
    assert_eq!((status, &tags), (200, &json!({"tags": ["daily", "sales"], "total_entries": 2})));
    assert_eq!(world.get("/dagTags?tag_name_pattern=%25AL%25").await.1["tags"], json!(["sales"]));
    assert_eq!(world.get("/dagTags?tag_name_prefix_pattern=S").await.1["tags"], json!([]));
    assert_eq!(world.get("/dagTags?order_by=-name&limit=1").await.1["tags"], json!(["sales"]));

    let rules = json!({"rules": [{
        "effect": "allow", "kinds": ["dag", "run"], "objects": {"name": "b*"}, "actions": ["read"],
    }]});
    let v1 = "/api/updraft/v1";
    let made = world.call(api::client::Method::PUT, &format!("{v1}/roles/some"), Some(rules)).await;
    assert_eq!(made.0, 204, "{made:?}");
    world.person("ann", Some("some")).await;
    let at = world.listen().await;
    let token = sign_in(at, "ann").await;
    let get = async |path: &str| ask("GET", path).bearer(&token).send(at).await.body;
    assert_eq!(get("/api/v2/dagTags").await["tags"], json!([]));
    assert_eq!(get("/api/v2/dagStats?dag_ids=reader").await["total_entries"], 0);
    assert_eq!(get("/api/v2/dagStats").await["dags"][0]["dag_id"], "big");
    let listed = ask("POST", "/api/v2/dags/~/dagRuns/list").bearer(&token).json(json!({})).send(at).await;
    let runs = listed.body["dag_runs"].as_array().unwrap();
    assert!(!runs.is_empty() && runs.iter().all(|run| run["dag_id"] == "big"), "{runs:?}");
    world.close().await;
}
