//! What people look into before they do something: quotas, sources, backfills on trial, permissions, logs as files.

use std::time::Duration;

use api::client::Method;
use serde_json::{Value, json};

use crate::{
    wire::{ask, sign_in},
    world::World,
};

const V1: &str = "/api/updraft/v1";
/// How long a stream may take to say something.
const DEADLINE: Duration = Duration::from_secs(30);

async fn put(world: &World, path: &str, body: Value) {
    let made = world.call(Method::PUT, &format!("{V1}{path}"), Some(body)).await;
    assert_eq!(made.0, 204, "{path}: {made:?}");
}

#[tokio::test]
async fn a_tenant_sees_its_own_quota_and_the_rest_as_a_sum() {
    let mut world = World::new().await;
    assert_eq!(world.post(&format!("{V1}/tenants"), json!({"name": "other"})).await.0, 201);
    let quota = |nominal: i64, cohort: &str| json!({"cohort": cohort, "quotas": {"local": {"members": {"nominal": nominal}}}});
    put(&world, "/quotas/cohort/team", quota(1, "root")).await;
    put(&world, "/quotas/tenant/default", quota(4, "team")).await;
    put(&world, "/quotas/tenant/other", quota(2, "team")).await;
    world.person("vic", Some("viewer")).await;
    world.person("adm", None).await;
    let platform = json!({"platform_admin": true});
    assert_eq!(world.patch(&format!("{V1}/users/adm"), platform).await.0, 200);
    let at = world.listen().await;
    let (viewer, admin) = (sign_in(at, "vic").await, sign_in(at, "adm").await);
    let own = ask("GET", &format!("{V1}/quota")).bearer(&viewer).send(at).await;
    let told = |body: &Value| -> Vec<String> {
        let items = body["items"].as_array().unwrap().iter();
        items.map(|it| format!("{} {}", it["kind"].as_str().unwrap(), it["name"].as_str().unwrap())).collect()
    };
    assert_eq!(told(&own.body), ["tenant default", "cohort team", "cohort root"]);
    assert_eq!(own.body["items"][0]["amounts"][0]["quota"]["nominal"], 4);
    assert_eq!(own.body["items"][1]["amounts"][0]["guaranteed"], 7);
    // Nor does what is kept of the question tell of others.
    let (_, log) = world.get("/eventLogs?limit=100").await;
    let of_reading: Vec<&Value> =
        log["event_logs"].as_array().unwrap().iter().filter(|it| it["event"] == "read_quotas").collect();
    assert!(!of_reading.is_empty(), "{log}");
    assert!(of_reading.iter().all(|it| !it["extra"].to_string().contains("nominal")), "{of_reading:?}");
    // Who administers the platform belongs to no tenant by that.
    assert_eq!(ask("GET", &format!("{V1}/quota")).bearer(&admin).send(at).await.status, 404);

    let listen = async |whose: &str, token: &str, text: &str| {
        let asked = ask("GET", &format!("{V1}/events?quotas={whose}")).bearer(token);
        tokio::time::timeout(DEADLINE, asked.read_until(at, text)).await.expect("the stream says nothing")
    };
    let first = listen("own", &viewer, "event: quotas").await.body;
    let first = first.as_str().unwrap().to_owned();
    assert!(!first.contains("other"), "{first}");
    assert_eq!(listen("all", &viewer, "\r\n\r\n").await.status, 403);
    assert_eq!(listen("mine", &viewer, "\r\n\r\n").await.status, 422);
    // A run that takes its place is told to who listens.
    let stuck = async {
        let run = json!({"logical_date": null, "dag_run_id": "s"});
        assert_eq!(world.post("/dags/endless/dagRuns", run).await.0, 200);
    };
    let (heard, ()) = tokio::join!(listen("own", &viewer, "\"used\":1"), stuck);
    assert_eq!(heard.status, 200);
    world.close().await;
}

#[tokio::test]
async fn the_source_of_each_version_is_as_it_was_written() {
    let mut world = World::new().await;
    let (status, source) = world.get("/dagSources/etl").await;
    assert_eq!((status, &source["version_number"], &source["file"]), (200, &json!(1), &json!("dags.yaml")));
    assert!(source["content"].as_str().unwrap().contains("Loads things."), "{source}");
    assert_eq!(world.get("/dagSources/etl?version_number=1").await.1, source);
    assert_eq!(world.get("/dagSources/etl?version_number=2").await.0, 404);
    assert_eq!(world.get("/dagSources/nothing").await.0, 404);
    world.person("vic", Some("viewer")).await;
    world.person("ops", Some("operator")).await;
    let at = world.listen().await;
    let (viewer, operator) = (sign_in(at, "vic").await, sign_in(at, "ops").await);
    // A viewer may see the DAG, and not its code.
    assert_eq!(ask("GET", "/api/v2/dagSources/etl").bearer(&viewer).send(at).await.status, 403);
    let text =
        ask("GET", "/api/v2/dagSources/etl").bearer(&operator).with("Accept", "text/plain").send(at).await;
    assert_eq!(text.header("content-type").as_deref(), Some("text/plain; charset=utf-8"));
    // The file defines other DAGs as well, so one's own isn't enough.
    let rule = |object: &str| json!({"rules": [{"effect": "allow", "kinds": ["dag", "code"], "objects": {"name": object}, "actions": ["read"]}]});
    for (name, object, status) in [("one", "etl", 403), ("all", "*", 200)] {
        let role = format!("reader-{name}");
        let made = world.call(Method::PUT, &format!("{V1}/roles/{role}"), Some(rule(object))).await;
        assert!(made.0 < 300, "{made:?}");
        world.person(name, Some(&role)).await;
        let token = sign_in(at, name).await;
        let asked = ask("GET", "/api/v2/dagSources/etl").bearer(&token).send(at).await;
        assert_eq!(asked.status, status, "{asked:?}");
    }
    world.close().await;
}

#[tokio::test]
async fn a_backfill_on_trial_says_what_becomes_of_each_date() {
    let world = World::new().await;
    assert_eq!(world.post("/pools", json!({"name": "warehouse", "slots": 1})).await.0, 201);
    let run = json!({"logical_date": "2026-02-02T03:00:00Z", "dag_run_id": "there"});
    assert_eq!(world.post("/dags/etl/dagRuns", run).await.0, 200);
    assert_eq!(world.ended("etl", "there").await, "success");
    let body = |reprocess: &str, reverse: bool| {
        json!({
            "dag_id": "etl", "from_date": "2026-02-01T00:00:00Z", "to_date": "2026-02-03T23:00:00Z", "max_active_runs": 1,
            "reprocess_behavior": reprocess, "run_backwards": reverse,
        })
    };
    let told = async |body: Value| -> Vec<String> {
        let (status, answer) = world.post("/backfills/dry_run", body).await;
        assert_eq!((status, &answer["truncated"]), (200, &json!(false)), "{answer}");
        let dates = answer["backfills"].as_array().unwrap().iter();
        dates
            .map(|it| {
                format!(
                    "{} {} {}",
                    &it["logical_date"].as_str().unwrap()[8..13],
                    it["effect"],
                    it["dag_run_id"]
                )
            })
            .collect()
    };
    let (create, there) = ("\"create\" null", "\"there\"");
    assert_eq!(
        told(body("none", false)).await,
        [format!("01T03 {create}"), format!("02T03 \"skip\" {there}"), format!("03T03 {create}")]
    );
    assert_eq!(
        told(body("completed", true)).await,
        [format!("03T03 {create}"), format!("02T03 \"rerun\" {there}"), format!("01T03 {create}")]
    );
    assert_eq!(told(body("failed", false)).await[1], format!("02T03 \"skip\" {there}"));
    // What couldn't be made is refused as it would be, and nothing was made.
    let (status, why) = world
        .post(
            "/backfills/dry_run",
            json!({
                "dag_id": "broken", "from_date": "2026-02-01T00:00:00Z", "to_date": "2026-02-03T23:00:00Z",
            }),
        )
        .await;
    assert_eq!(status, 400, "{why}");
    assert!(why["detail"].to_string().contains("no periodic schedule"), "{why}");
    assert_eq!(world.get("/backfills?dag_id=etl").await.1["total_entries"], 0);
    world.close().await;
}

#[tokio::test]
async fn permissions_say_by_which_role_and_group_they_come() {
    let mut world = World::new().await;
    world.person("ana", Some("viewer")).await;
    world.person("bo", Some("viewer")).await;
    let rules =
        json!([{"effect": "deny", "kinds": ["log"], "objects": {"tag": "sales"}, "actions": ["read"]}]);
    put(&world, "/roles/no-logs", json!({"rules": rules})).await;
    put(&world, "/groups/eng", json!({"users": ["ana"]})).await;
    for role in ["operator", "no-logs"] {
        assert_eq!(world.put(&format!("{V1}/grants/group/eng/{role}")).await.0, 204);
    }
    let (status, groups) = world.get(&format!("{V1}/groups")).await;
    assert_eq!(
        (status, &groups["items"][0]["members"], &groups["items"][0]["service_accounts"]),
        (200, &json!(["ana"]), &json!([]))
    );
    let (status, found) = world.get(&format!("{V1}/permissions?user=ana")).await;
    assert_eq!(status, 200, "{found}");
    let mut ways: Vec<String> = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} by {} {}", it["role"].as_str().unwrap(), it["group"], it["rule"]["effect"]))
        .collect();
    ways.sort();
    ways.dedup();
    assert_eq!(
        ways,
        ["no-logs by \"eng\" \"deny\"", "operator by \"eng\" \"allow\"", "viewer by null \"allow\""]
    );
    let at = world.listen().await;
    let bo = sign_in(at, "bo").await;
    let get = async |path: &str| ask("GET", &format!("{V1}{path}")).bearer(&bo).send(at).await;
    assert_eq!(get("/permissions").await.body["items"][0]["role"], "viewer");
    assert_eq!(get("/permissions?user=bo").await.status, 200);
    assert_eq!(get("/permissions?user=ana").await.status, 403);
    // Settings and workers are the platform's.
    assert_eq!((get("/config").await.status, get("/workers").await.status), (403, 403));
    assert_eq!(world.get(&format!("{V1}/config")).await.0, 200);
    assert_eq!(world.get(&format!("{V1}/workers")).await.1["items"], json!([]));
    assert_eq!(world.get(&format!("{V1}/permissions?user=nobody")).await.0, 404);
    world.close().await;
}

#[tokio::test]
async fn a_log_is_a_file_with_all_its_lines() {
    let mut world = World::new().await;
    assert_eq!(world.run("fan", "r").await, "success");
    let (_, task) = world.get("/dags/fan/dagRuns/r/taskInstances/list").await;
    let log = format!("{}-1", task["id"].as_str().unwrap());
    // Several pieces: two lines each.
    std::fs::write(world.folder.path().join(log), "one\ntwo\nthree\nfour\nfive\n").unwrap();
    world.person("vic", Some("viewer")).await;
    world.person("ops", Some("operator")).await;
    let at = world.listen().await;
    let (viewer, operator) = (sign_in(at, "vic").await, sign_in(at, "ops").await);
    let path = format!("{V1}/dags/fan/runs/r/tasks/list/log");
    let file = ask("GET", &path).bearer(&operator).send(at).await;
    assert_eq!(file.status, 200);
    assert_eq!(
        file.header("content-disposition").as_deref(),
        Some("attachment; filename=\"fan-r-list-1.log\"")
    );
    let text = file.body.as_str().unwrap();
    for line in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(ask("GET", &path).bearer(&viewer).send(at).await.status, 403);
    assert_eq!(ask("GET", &format!("{path}?try_number=2")).bearer(&operator).send(at).await.status, 404);
    world.close().await;
}

#[tokio::test]
async fn the_history_of_a_dag_has_the_steps_of_its_runs() {
    let mut world = World::new().await;
    assert_eq!(world.run("broken", "one").await, "failed");
    assert_eq!(world.run("broken", "two").await, "failed");
    let (status, all) = world.get(&format!("{V1}/dags/broken/history")).await;
    assert_eq!((status, &all["runs"], &all["truncated"]), (200, &json!(["two", "one"]), &json!(false)));
    let told = |of: &Value| -> Vec<String> {
        let items = of["items"].as_array().unwrap().iter();
        items
            .map(|it| {
                format!(
                    "{} {} {}",
                    it["run_id"].as_str().unwrap(),
                    it["task_id"],
                    it["state"].as_str().unwrap()
                )
            })
            .collect()
    };
    let steps = told(&all);
    // The latest is first.
    assert_eq!(steps[0], "two null failed");
    assert!(steps.contains(&"one \"boom\" failed".to_owned()), "{steps:?}");
    let (_, one) = world.get(&format!("{V1}/dags/broken/history?run=one")).await;
    assert!(told(&one).iter().all(|step| step.starts_with("one ")), "{one}");
    assert_eq!(world.get(&format!("{V1}/dags/broken/history?run=three")).await.0, 404);
    // Without the tasks' right there are the runs' own steps.
    let rules = json!([{"effect": "allow", "kinds": ["dag", "run"], "objects": {"name": "broken"}, "actions": ["read"]}]);
    put(&world, "/roles/runs-only", json!({"rules": rules})).await;
    world.person("ana", Some("runs-only")).await;
    let at = world.listen().await;
    let ana = sign_in(at, "ana").await;
    let seen = ask("GET", &format!("{V1}/dags/broken/history")).bearer(&ana).send(at).await;
    assert!(
        !told(&seen.body).is_empty() && told(&seen.body).iter().all(|step| step.contains(" null ")),
        "{}",
        seen.body
    );
    assert_eq!(ask("GET", &format!("{V1}/dags/etl/history")).bearer(&ana).send(at).await.status, 404);
    world.close().await;
}
