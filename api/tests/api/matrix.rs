//! Every route as every role, and as a member of another tenant. What each is answered is in the snapshot; a route that
//! `request` doesn't know, or that the snapshot doesn't have, fails.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use api::{Declared, client::Method};
use serde_json::{Value, json};

use crate::{
    wire::{PASSWORD, ask, sign_in},
    world::{DAGS, World, address},
};

/// How long one answer may take, with every role asking at once on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// Who asks. A stranger administers another tenant.
const ROLES: [&str; 7] =
    ["anonymous", "stranger", "viewer", "operator", "author", "tenant_admin", "platform_admin"];

pub(crate) struct Ids {
    pub(crate) asset: String,
    entry: String,
    token: String,
    bundle: String,
}

/// What a path's parameter stands for.
fn parameter(path: &str, name: &str, ids: &Ids) -> Option<String> {
    let word = match name {
        "dag_id" => "etl",
        "dag_run_id" => "r",
        "task_id" => "extract",
        "map_index" => "-1",
        "try_number" | "task_try_number" | "version_number" | "backfill_id" => "1",
        "xcom_key" => "return_value",
        "pool_name" => "p1",
        "variable_key" => "v1",
        "connection_id" => "c1",
        "asset_id" => &ids.asset,
        "event_log_id" => &ids.entry,
        "token_id" => &ids.token,
        "asset_alias_id" | "import_error_id" | "file_token" => "1",
        "group_id" | "key" | "section" | "option" => "x",
        "kind" if path.contains("/quotas/") => "tenant",
        "kind" => "user",
        "role" => "viewer",
        "user" => "target",
        "name" if path.contains("/tenants/") => "spare",
        "name" if path.contains("/quotas/") => "other",
        "name" if path.contains("/groups/") => "grp",
        "name" if path.contains("/roles/") => "own",
        "name" if path.contains("/service-accounts/") => "svc",
        "name" => "target",
        "bundle" => &ids.bundle,
        _ => return None,
    };
    Some(word.to_owned())
}

/// A body that is right for the route, if it takes one.
fn body(method: &Method, path: &str) -> Option<Value> {
    let login = json!({"username": "visitor", "password": PASSWORD});
    let body = match (method.as_str(), path) {
        ("POST", "/auth/token" | "/auth/token/cli" | "/api/updraft/v1/session") => login,
        ("PATCH", "/api/v2/dags/{dag_id}") => json!({"is_paused": false}),
        ("POST", "/api/v2/dags/{dag_id}/dagRuns") => json!({"logical_date": null, "dag_run_id": "new"}),
        ("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}") => json!({}),
        ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}") => json!({"state": "success"}),
        ("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear") => json!({"dry_run": true}),
        ("POST", "/api/v2/dags/{dag_id}/clearTaskInstances") => json!({"dry_run": true, "dag_run_id": "r"}),
        (
            "PATCH",
            "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}"
            | "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}",
        ) => json!({"new_state": "success"}),
        ("POST", "/api/v2/pools") => json!({"name": "p2", "slots": 1}),
        ("PATCH", "/api/v2/pools/{pool_name}") => json!({"slots": 2}),
        ("POST", "/api/v2/variables") => json!({"key": "v2", "value": "x"}),
        ("PATCH", "/api/v2/variables/{variable_key}") => json!({"key": "v1", "value": "y"}),
        ("POST", "/api/v2/connections") => json!({"connection_id": "c2", "conn_type": "http"}),
        ("PATCH", "/api/v2/connections/{connection_id}") => {
            json!({"connection_id": "c1", "conn_type": "http"})
        }
        // It has no schedule, which is said to who may ask: whether the DAG with one has a backfill by then is a matter of time.
        ("POST", "/api/v2/backfills/dry_run") => json!({
            "dag_id": "fan", "from_date": "2026-02-02T03:00:00Z", "to_date": "2026-02-02T03:00:00Z",
        }),
        ("POST", "/api/v2/backfills") => json!({
            "dag_id": "etl", "from_date": "2026-02-02T03:00:00Z", "to_date": "2026-02-02T03:00:00Z",
            "max_active_runs": 1,
        }),
        (
            "PATCH",
            "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails",
        ) => {
            json!({"chosen_options": ["Approve"]})
        }
        ("POST", "/api/updraft/v1/me/password") => json!({"old": PASSWORD, "new": "short"}),
        ("POST", "/api/updraft/v1/me/tokens") => json!({"name": "t"}),
        ("POST", "/api/updraft/v1/users") => json!({"name": "fresh"}),
        ("PATCH", "/api/updraft/v1/users/{name}") => json!({}),
        ("POST", "/api/updraft/v1/tenants") => json!({"name": "fresh"}),
        ("PATCH", "/api/updraft/v1/tenants/{name}") => json!({"suspended": true}),
        ("PUT", "/api/updraft/v1/quotas/{kind}/{name}") => {
            json!({"quotas": {"local": {"members": {"nominal": 1}}}})
        }
        ("PUT", "/api/updraft/v1/tenants/{name}/retention") => json!({"run_days": 30}),
        // The world's DAGs came from a folder.
        ("POST", "/api/updraft/v1/bundles/{bundle}/activate") => {
            json!({"base": "b".repeat(64), "despite_missing": true, "take_over": true})
        }
        ("PUT", "/api/updraft/v1/groups/{name}") => json!({"users": ["target"]}),
        ("PUT", "/api/updraft/v1/roles/{name}") => json!({"rules": []}),
        ("POST", "/api/updraft/v1/service-accounts") => json!({"name": "fresh"}),
        ("POST", "/api/updraft/v1/service-accounts/{name}/tokens") => json!({"name": "t"}),
        _ => return None,
    };
    Some(body)
}

/// Routes that change something and take no body.
fn takes_none(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::DELETE)
        || ["/pause", "/unpause", "/cancel"].iter().any(|end| path.ends_with(end))
        || path == "/api/updraft/v1/users/{name}/password"
        || path == "/api/updraft/v1/tenants/{name}/admins/{user}"
        || path == "/api/updraft/v1/grants/{kind}/{name}/{role}"
        || path == "/api/updraft/v1/bundles/{bundle}/plan"
}

/// The route's path with real names, and its body.
pub(crate) fn request(declared: &Declared, ids: &Ids) -> (String, Option<Value>) {
    let Declared { method, path, .. } = declared;
    let lists = *method == Method::POST && path == "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}";
    if lists {
        return ("/api/v2/dags/~/dagRuns/list".to_owned(), body(method, path));
    }
    let mut real = String::new();
    for part in path.split('/').skip(1) {
        let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        let word = match name {
            None => part.to_owned(),
            Some(name) => {
                parameter(path, name, ids).unwrap_or_else(|| panic!("what is {{{name}}} of {path}?"))
            }
        };
        write!(real, "/{word}").unwrap();
    }
    let query = match path.as_str() {
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/wait" => "?interval=0.01",
        "/api/updraft/v1/permissions" => "?user=target",
        "/api/updraft/v1/can" => "?action=read&kind=dag&name=etl&user=target",
        _ => "",
    };
    let mut body = body(method, path);
    if path == "/api/v2/assets/events" && *method == Method::POST {
        body = Some(json!({"asset_id": ids.asset.parse::<u64>().unwrap()}));
    }
    (real + query, body)
}

/// A world with one of everything, and what its numbers are.
pub(crate) async fn world() -> (World, Ids) {
    let world = World::new().await;
    // A task of `etl` waits for this pool.
    let pool = world.post("/pools", json!({"name": "warehouse", "slots": 1})).await;
    assert_eq!(pool.0, 201, "{pool:?}");
    assert_eq!(world.run("etl", "r").await, "success");
    let v1 = "/api/updraft/v1";
    let made = [
        world.post("/pools", json!({"name": "p1", "slots": 1})).await,
        world.post("/variables", json!({"key": "v1", "value": "x"})).await,
        world.post("/connections", json!({"connection_id": "c1", "conn_type": "http"})).await,
        world.post(&format!("{v1}/tenants"), json!({"name": "other"})).await,
        world.post(&format!("{v1}/tenants"), json!({"name": "spare"})).await,
        world.post(&format!("{v1}/service-accounts"), json!({"name": "svc"})).await,
    ];
    assert!(made.iter().all(|(status, _)| *status == 201), "{made:?}");
    let backfill = body(&Method::POST, "/api/v2/backfills").unwrap();
    let made = world.post("/backfills", backfill).await;
    assert_eq!(made.0, 200, "{made:?}");
    world.person("target", Some("viewer")).await;
    world.person("visitor", None).await;
    let put = async |path: &str, body: Value| {
        let made = world.call(Method::PUT, &format!("{v1}{path}"), Some(body)).await;
        assert_eq!(made.0, 204, "{made:?}");
    };
    put("/groups/grp", json!({"users": ["target"]})).await;
    put("/roles/own", json!({"rules": []})).await;
    put("/quotas/tenant/other", json!({})).await;
    let token = world.post(&format!("{v1}/service-accounts/svc/tokens"), json!({"name": "t"})).await.1;
    let assets = world.get("/assets").await.1;
    let entries = world.get("/eventLogs").await.1;
    let ids = Ids {
        asset: assets["assets"][0]["asset_id"]
            .as_u64()
            .or(assets["assets"][0]["id"].as_u64())
            .unwrap()
            .to_string(),
        entry: entries["event_logs"][0]["event_log_id"].to_string(),
        token: token["id"].as_str().unwrap().to_owned(),
        bundle: address(DAGS).to_string(),
    };
    (world, ids)
}

/// Reads first, deletes last, and what ends one's own session after everything else.
fn rank(declared: &Declared) -> u8 {
    match declared.method.as_str() {
        "GET" => 0,
        "DELETE" if declared.path.ends_with("/session") => 3,
        "DELETE" => 2,
        _ => 1,
    }
}

/// What each route answers somebody.
async fn statuses(role: &'static str, routes: &[Declared]) -> Vec<u16> {
    let (mut world, ids) = world().await;
    let at = world.listen().await;
    let token = match role {
        "anonymous" => None,
        "stranger" => {
            world.person(role, None).await;
            let path = "/api/updraft/v1/tenants/other/admins/stranger";
            assert_eq!(world.call(Method::PUT, path, None).await.0, 204);
            Some(sign_in(at, role).await)
        }
        "platform_admin" => {
            world.person(role, None).await;
            let patch = json!({"platform_admin": true});
            assert_eq!(world.patch("/api/updraft/v1/users/platform_admin", patch).await.0, 200);
            Some(sign_in(at, role).await)
        }
        role => {
            let name = role.replace('_', "-");
            world.person(&name, Some(role)).await;
            Some(sign_in(at, &name).await)
        }
    };
    let mut statuses = Vec::new();
    for declared in routes {
        let (path, body) = request(declared, &ids);
        let mut asked = ask(declared.method.as_str(), &path);
        if let Some(token) = &token {
            asked = asked.bearer(token);
        }
        if let Some(body) = body {
            asked = asked.json(body);
        }
        if declared.method == Method::PUT && declared.path == "/api/updraft/v1/bundles/{bundle}" {
            asked = asked.text("application/x-tar", DAGS);
        }
        // A stream goes on for ever: its head says what it answers.
        let is_stream = declared.path == "/api/updraft/v1/events";
        let answer =
            async { if is_stream { asked.read_until(at, "\r\n\r\n").await } else { asked.send(at).await } };
        let answer = tokio::time::timeout(DEADLINE, answer).await;
        let answer = answer.unwrap_or_else(|_| panic!("{role} waits for {} {path}", declared.method));
        assert!(answer.status != 500, "{role} {}: {answer:?}", declared.path);
        let is_there = answer.status != 501;
        let known = takes_none(&declared.method, &declared.path) || !is_there;
        // A route that takes a body must be asked with one that it likes, or nothing is said about the role.
        assert!(known || answer.status != 415, "no body is known for {} {}", declared.method, declared.path);
        statuses.push(answer.status);
    }
    world.close().await;
    statuses
}

#[tokio::test]
async fn every_route_answers_every_role_as_the_table_says() {
    let mut routes = api::routes();
    routes.sort_by_key(|declared| (rank(declared), declared.path.clone(), declared.method.to_string()));
    // What belongs to something is deleted before it.
    let deletes = routes.partition_point(|declared| rank(declared) < 2);
    routes[deletes..].sort_by_key(|declared| (rank(declared), Reverse(declared.path.clone())));
    let mut lines: Vec<String> =
        routes.iter().map(|declared| format!("{:6} {}", declared.method, declared.path)).collect();
    // Each role has a world of its own, all at once: writing to disk is what takes long.
    let asked = ROLES.map(|role| Box::pin(statuses(role, &routes)));
    for answers in futures::future::join_all(asked).await {
        for (line, status) in lines.iter_mut().zip(answers) {
            write!(line, " {status}").unwrap();
        }
    }
    let heads = format!("roles: {}", ROLES.join(" "));
    insta::assert_snapshot!(format!("{heads}\n{}", lines.join("\n")));
}

/// Methods that a route may not have been made for.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

#[tokio::test]
async fn every_other_method_of_every_route_is_refused_and_head_is_get_without_a_body() {
    let (mut world, ids) = world().await;
    let at = world.listen().await;
    world.person("ana", Some("tenant_admin")).await;
    let token = sign_in(at, "ana").await;
    let mut paths: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for declared in api::routes() {
        // The words that a parameter stands for are tried as they are.
        let path = request(&declared, &ids).0;
        let (_, methods) = paths.entry(declared.path.clone()).or_insert((path, BTreeSet::new()));
        methods.insert(declared.method.to_string());
    }
    for (template, (path, declared)) in paths {
        for method in METHODS {
            if declared.contains(method) {
                continue;
            }
            for asked in [ask(method, &path), ask(method, &path).bearer(&token)] {
                let answer = asked.send(at).await;
                assert_eq!(answer.status, 405, "{method} {template}: {answer:?}");
                let allowed = answer.header("allow").unwrap_or_default();
                let allowed: BTreeSet<&str> = allowed.split(',').map(str::trim).collect();
                assert!(declared.iter().all(|one| allowed.contains(one.as_str())), "{template}: {answer:?}");
            }
        }
        if !declared.contains("GET") || template == "/api/updraft/v1/events" {
            continue;
        }
        for (signed_in, asked) in [(false, ask("HEAD", &path)), (true, ask("HEAD", &path).bearer(&token))] {
            let get = if signed_in { ask("GET", &path).bearer(&token) } else { ask("GET", &path) };
            let (head, get) = (asked.send(at).await, get.send(at).await);
            assert_eq!(head.status, get.status, "HEAD {template}: {head:?}");
            assert_eq!(head.body, "", "HEAD {template}: {head:?}");
        }
    }
    // How the process is, is for its own socket.
    for method in METHODS {
        for path in ["/metrics", "/debug/state"] {
            let answer = ask(method, path).bearer(&token).send(at).await;
            assert!(matches!(answer.status, 404 | 405), "{method} {path}: {answer:?}");
        }
    }
    world.close().await;
}
