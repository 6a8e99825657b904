//! Attacks from outside: ids of another tenant in every position, tokens that aren't good here, fields that nobody may set,
//! paths that lead elsewhere, bodies and clients that cost more than they may. Credentials, cookies and hosts are in `sign_in`.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use api::{Api, RateSettings, client::Method};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use dags::{ids::TenantId, time::Span};
use migrations::store::{
    account,
    token::{self, NewToken, TokenKind},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    matrix::{self, Ids},
    wire::{Answer, ask, sign_in},
    world::World,
};

/// How long a client that sends nothing, or too little, is borne with; what it may take at most on a busy machine.
const BORNE: Duration = Duration::from_secs(90);

/// A world with one of everything in the default tenant, and somebody who administers the tenant `other` only.
async fn besieged() -> (World, Ids, SocketAddr, String) {
    let (mut world, ids) = matrix::world().await;
    let at = world.listen().await;
    world.person("mallory", None).await;
    let path = "/api/updraft/v1/tenants/other/admins/mallory";
    assert_eq!(world.call(Method::PUT, path, None).await.0, 204);
    let token = sign_in(at, "mallory").await;
    (world, ids, at, token)
}

/// What the default tenant has, but for what time changes.
async fn everything(world: &World) -> BTreeMap<&'static str, Value> {
    let paths = [
        "/dags/etl",
        "/dags/etl/dagRuns",
        "/dags/etl/dagRuns/r/taskInstances",
        "/pools/p1",
        "/variables/v1",
        "/connections/c1",
        "/assets/events",
        "/backfills",
        "/api/updraft/v1/grants",
        "/api/updraft/v1/groups",
        "/api/updraft/v1/roles",
        "/api/updraft/v1/service-accounts/svc/tokens",
        "/api/updraft/v1/bundles",
    ];
    let mut all = BTreeMap::new();
    for path in paths {
        let (status, answer) = world.get(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        all.insert(path, answer);
    }
    all
}

/// Operations that make something of that name in one's own tenant, whatever another one has.
fn makes_ones_own(method: &Method, path: &str) -> bool {
    let made = [
        ("POST", "/api/v2/pools"),
        ("POST", "/api/v2/variables"),
        ("POST", "/api/v2/connections"),
        ("POST", "/api/updraft/v1/service-accounts"),
        ("PUT", "/api/updraft/v1/groups/{name}"),
        ("PUT", "/api/updraft/v1/roles/{name}"),
        ("PUT", "/api/updraft/v1/bundles/{bundle}"),
        // People are the installation's, and their roles the tenant's.
        ("PUT", "/api/updraft/v1/grants/{kind}/{name}/{role}"),
        ("DELETE", "/api/updraft/v1/grants/{kind}/{name}/{role}"),
    ];
    made.contains(&(method.as_str(), path))
}

#[tokio::test]
async fn ids_of_another_tenant_lead_nowhere_in_paths_and_bodies() {
    let (world, ids, at, token) = besieged().await;
    let before = everything(&world).await;
    let mut asked = 0;
    for declared in api::routes() {
        let (path, body) = matrix::request(&declared, &ids);
        let own = ["/api/updraft/v1/me", "/api/updraft/v1/session", "/auth/"];
        let in_tenant = !own.iter().any(|own| path.starts_with(own));
        let names_something = declared.path.contains('{') || body.is_some();
        if !in_tenant || !names_something || makes_ones_own(&declared.method, &declared.path) {
            continue;
        }
        let mut request = ask(declared.method.as_str(), &format!("/t/other{path}")).bearer(&token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send(at).await;
        // Not found; no right over the platform; not there at all; a list that is empty.
        let empty = answer.body["total_entries"] == 0
            || answer.body["runs"] == json!([]) && answer.body["items"] == json!([]);
        let nothing = answer.status == 200 && empty;
        let refused = matches!(answer.status, 403 | 404 | 501);
        assert!(nothing || refused, "{} /t/other{path}: {answer:?}", declared.method);
        asked += 1;
    }
    assert!(asked > 80, "{asked} operations were asked");
    assert_eq!(everything(&world).await, before, "the other tenant's rows are as they were");
    world.close().await;
}

#[tokio::test]
async fn ids_of_another_tenant_lead_nowhere_in_queries() {
    let (world, ids, at, token) = besieged().await;
    let v1 = "/api/updraft/v1";
    let asset = &ids.asset;
    let queries = [
        "/api/v2/backfills?dag_id=etl".to_owned(),
        "/api/v2/dagStats?dag_ids=etl".to_owned(),
        "/api/v2/dags/~/dagRuns?backfill_id=1".to_owned(),
        "/api/v2/dags/~/dagRuns/~/hitlDetails".to_owned(),
        format!("/api/v2/assets/events?asset_id={asset}"),
        "/api/v2/assets?name_pattern=report".to_owned(),
        "/api/v2/dags?dag_id_pattern=etl".to_owned(),
        "/api/v2/dagTags?tag_name_pattern=sales".to_owned(),
        "/api/v2/pools?pool_name_pattern=p1".to_owned(),
        "/api/v2/variables?variable_key_pattern=v1".to_owned(),
        "/api/v2/connections?connection_id_pattern=c1".to_owned(),
        format!("{v1}/dags?after=a&name=etl"),
        format!("{v1}/allowed?dag=etl"),
        format!("{v1}/can?action=read&kind=dag&name=etl&user=target"),
        format!("{v1}/can?action=read&kind=dag&name=etl&user=svc"),
        format!("{v1}/events?dag=etl"),
        format!("{v1}/events?log=etl/r/extract/-1/1"),
        format!("{v1}/tasks?state=success"),
        format!("{v1}/home"),
    ];
    for path in queries {
        let asked = ask("GET", &format!("/t/other{path}")).bearer(&token);
        // A stream of what isn't there goes on for ever and says nothing.
        let is_stream = path.contains("/events?dag=") || path.contains("/events?log=");
        let answer = if is_stream { asked.read_until(at, "\r\n\r\n").await } else { asked.send(at).await };
        let text = answer.body.to_string();
        assert!(matches!(answer.status, 200 | 404), "{path}: {answer:?}");
        // What was asked for may be named; nothing that only its owner knows is.
        for theirs in ["extract", "sales", "\"report\"", "dag_run_id\":\"r\"", "\"p1\"", "\"v1\"", "\"c1\""] {
            assert!(answer.status == 404 || !text.contains(theirs), "{path}: {text}");
        }
    }
    world.close().await;
}

/// Makes a token that its owner was given by somebody who can write to the database.
async fn token_of(world: &World, name: &str, kind: TokenKind, life: Span) -> String {
    let random = "A".repeat(43);
    let text = format!("updraft_{}_{random}", kind.as_str());
    let sum = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()));
    let text = format!("{text}_{}", &sum[..6]);
    let (owner, _) = account::user(&world.db, name).await.unwrap().unwrap();
    let new = NewToken {
        hash: Sha256::digest(text.as_bytes()).into(),
        kind,
        tenant: None,
        name: "test".to_owned(),
        prefix: random[..8].to_owned(),
        scopes: None,
        life,
        idle: None,
        from: None,
    };
    token::insert(&world.db, None, "test", owner.id, new).await.unwrap();
    text
}

#[tokio::test]
async fn expired_and_foreign_tokens_open_nothing() {
    let mut world = World::new().await;
    let at = world.listen().await;
    world.person("ana", Some("tenant_admin")).await;
    let dags = async |path: &str, token: &str| ask("GET", path).bearer(token).send(at).await.status;
    let good = token_of(&world, "ana", TokenKind::Session, Span::seconds(3600)).await;
    assert_eq!(dags("/api/v2/dags", &good).await, 200);
    let over = token_of(&world, "ana", TokenKind::Api, Span::seconds(0)).await;
    assert_eq!(dags("/api/v2/dags", &over).await, 401, "its time is over");
    // A token of another kind with the same random part is another token.
    let other_kind = good.replace("_session_", "_service_");
    assert_eq!(dags("/api/v2/dags", &other_kind).await, 401);
    for kind in ["attempt", "ticket", "enrolment", "worker"] {
        let text = good.replace("_session_", &format!("_{kind}_"));
        assert_eq!(dags("/api/v2/dags", &text).await, 401, "{kind}");
    }
    // A service account's token is good in its own tenant only, and a token for one tenant there only.
    let v1 = "/api/updraft/v1";
    for name in ["one", "two"] {
        let made = world.post(&format!("{v1}/tenants"), json!({"name": name})).await;
        assert_eq!(made.0, 201, "{made:?}");
        let put = world.call(Method::PUT, &format!("{v1}/tenants/{name}/admins/ana"), None).await;
        assert_eq!(put.0, 204, "{put:?}");
    }
    let session = sign_in(at, "ana").await;
    let post = async |path: &str, body: Value| {
        let made = ask("POST", path).bearer(&session).json(body).send(at).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.body
    };
    post(&format!("/t/one{v1}/service-accounts"), json!({"name": "robot"})).await;
    let path = format!("/t/one{v1}/grants/service/robot/viewer");
    assert_eq!(ask("PUT", &path).bearer(&session).send(at).await.status, 204);
    let robot = post(&format!("/t/one{v1}/service-accounts/robot/tokens"), json!({"name": "t"})).await;
    let narrow = post(&format!("{v1}/me/tokens"), json!({"name": "t", "tenant": "one"})).await;
    for token in [&robot["token"], &narrow["token"]] {
        let token = token.as_str().unwrap();
        assert_eq!(dags("/t/one/api/v2/dags", token).await, 200);
        for elsewhere in ["/t/two/api/v2/dags", "/api/v2/dags", "/t/nowhere/api/v2/dags"] {
            assert_eq!(dags(elsewhere, token).await, 404, "{elsewhere}");
        }
    }
    // Whoever loses their last role in a tenant is a stranger there at once.
    let path = format!("/t/one{v1}/grants/service/robot/viewer");
    assert_eq!(ask("DELETE", &path).bearer(&session).send(at).await.status, 204);
    assert_eq!(dags("/t/one/api/v2/dags", robot["token"].as_str().unwrap()).await, 404);
    world.close().await;
}

/// One of everything, and who may do everything: the world, what to call things in it, its address, the person's token.
async fn ruled() -> (World, Ids, SocketAddr, String) {
    let (mut world, ids) = matrix::world().await;
    let at = world.listen().await;
    world.person("root", Some("tenant_admin")).await;
    let admin = json!({"platform_admin": true});
    assert_eq!(world.patch("/api/updraft/v1/users/root", admin).await.0, 200);
    let token = sign_in(at, "root").await;
    (world, ids, at, token)
}

#[tokio::test]
async fn what_the_service_sets_itself_is_no_field_of_any_request() {
    let (world, ids, at, token) = ruled().await;
    let before = everything(&world).await;
    let fields = ["tenant_id", "tenant", "id", "owner", "created_by", "run_type", "triggered_by", "is_admin"];
    let mut asked = 0;
    for declared in api::routes() {
        let (path, Some(body)) = matrix::request(&declared, &ids) else { continue };
        for field in fields {
            // The one request that has a tenant narrows a token to it.
            if field == "tenant" && declared.path.ends_with("/tokens") {
                continue;
            }
            let mut body = body.clone();
            body[field] = "default".into();
            let answer = ask(declared.method.as_str(), &path).bearer(&token).json(body).send(at).await;
            assert!(
                matches!(answer.status, 422 | 501),
                "{} {path} with `{field}`: {answer:?}",
                declared.method
            );
            asked += 1;
        }
    }
    assert!(asked > 150, "{asked} bodies were sent");
    assert_eq!(everything(&world).await, before);
    world.close().await;
}

/// Texts that lead elsewhere where a path is made of them.
const ASTRAY: [&str; 12] = [
    "..%2f..%2f..%2fetc%2fpasswd",
    "..%252f..%252fetc%252fpasswd",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2fmaster.key",
    "..",
    "....%2f%2fupdraft.db",
    "%2fetc%2fpasswd",
    "..%5c..%5cmaster.key",
    "ab12%00.log",
    "r%0d%0aSet-Cookie:%20x=y",
    "%ff%fe",
    "{{%20conf%20}}",
];

#[tokio::test]
async fn no_name_in_a_path_becomes_a_file_s() {
    let (mut world, _) = matrix::world().await;
    let at = world.listen().await;
    world.person("ana", Some("tenant_admin")).await;
    let token = sign_in(at, "ana").await;
    // What lies in the service's own folder, and what it says.
    let secret = std::fs::read(world.folder.path().join("master.key")).unwrap();
    let secret = String::from_utf8_lossy(&secret).trim().to_owned();
    for astray in ASTRAY {
        let run = "/api/v2/dags/etl/dagRuns";
        let paths = [
            format!("/api/v2/dags/{astray}"),
            format!("{run}/{astray}/taskInstances/extract/logs/1"),
            format!("{run}/r/taskInstances/{astray}/logs/1"),
            format!("{run}/r/taskInstances/extract/logs/{astray}"),
            format!("{run}/r/taskInstances/extract/logs/1?token={astray}"),
            format!("{run}/r/taskInstances/extract/logs/1?map_index={astray}"),
            format!("{run}/r/taskInstances/extract/xcomEntries/{astray}"),
            format!("/api/v2/pools/{astray}"),
            format!("/api/v2/variables/{astray}"),
            format!("/api/v2/connections/{astray}"),
            format!("/api/updraft/v1/bundles/{astray}/plan"),
            format!("/api/updraft/v1/events?log=etl/{astray}/extract/-1/1"),
            format!("/t/{astray}/api/v2/dags"),
            format!("/assets/{astray}"),
            format!("/{astray}"),
        ];
        for path in paths {
            let method = if path.ends_with("/plan") { "POST" } else { "GET" };
            let answer = ask(method, &path).bearer(&token).send(at).await;
            let fine = matches!(answer.status, 400 | 404 | 405 | 422);
            assert!(fine, "{path}: {answer:?}");
            let said = answer.body.to_string();
            assert!(!said.contains("root:") && !said.contains(&secret), "{path}: {said}");
            assert_eq!(answer.header("set-cookie"), None, "{path}");
        }
    }
    world.close().await;
}

#[tokio::test]
async fn what_authors_and_callers_write_stays_text() {
    let mut world = World::new().await;
    let at = world.listen().await;
    world.person("ana", Some("tenant_admin")).await;
    let token = sign_in(at, "ana").await;
    let evil = "{{ range(1000000000) }}${7*7}<script>alert(1)</script>'; DROP TABLE run; --";
    let body = json!({"logical_date": null, "dag_run_id": "evil", "note": evil, "conf": {"x": evil}});
    let made = ask("POST", "/api/v2/dags/fan/dagRuns").bearer(&token).json(body).send(at).await;
    assert_eq!(made.status, 200, "{made:?}");
    let read = ask("GET", "/api/v2/dags/fan/dagRuns/evil").bearer(&token).send(at).await;
    assert_eq!((&read.body["note"], &read.body["conf"]["x"]), (&json!(evil), &json!(evil)));
    assert_eq!(read.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(read.header("x-content-type-options").as_deref(), Some("nosniff"));
    // In filters and orders it is a value, or nothing that is known.
    let quoted = "%27%20OR%201%3D1%20--";
    for query in [
        format!("/api/v2/dags?dag_id_pattern={quoted}"),
        format!("/api/v2/variables?variable_key_pattern={quoted}"),
        format!("/api/updraft/v1/dags?name={quoted}&tag={quoted}"),
    ] {
        let answer = ask("GET", &query).bearer(&token).send(at).await;
        let found = answer.body["total_entries"].as_u64().or(answer.body["total"].as_u64());
        assert_eq!((answer.status, found), (200, Some(0)), "{query}: {answer:?}");
    }
    for query in ["order_by=password", "order_by=id;drop", "state=%27", "limit=-1", "limit=1e9", "offset=x"] {
        let answer = ask("GET", &format!("/api/v2/dags/~/dagRuns?{query}")).bearer(&token).send(at).await;
        assert!(matches!(answer.status, 400 | 422), "{query}: {answer:?}");
    }
    world.close().await;
}

#[tokio::test]
async fn a_bundle_brings_no_names_that_lead_elsewhere() {
    let mut world = World::new().await;
    let at = world.listen().await;
    world.person("ana", Some("tenant_admin")).await;
    let token = sign_in(at, "ana").await;
    for text in [
        "dag: ../../etc\ntasks:\n  t: { bash: 'true' }\n",
        "dag: fine\ntasks:\n  ../up: { bash: 'true' }\n",
        "dag: fine\ntasks:\n  t: { bash: 'true', pool: '../p' }\n",
        "dag: fine\ntasks:\n  t: { bash: '{% include \"/etc/passwd\" %}' }\n",
        "dag: fine\ntasks:\n  t: { bash: '{{ debug() }}' }\n",
        "dag: fine\ntasks:\n  t: { bash: !!python/object/apply:os.system ['id'] }\n",
    ] {
        let address = crate::world::address(text);
        let path = format!("/api/updraft/v1/bundles/{address}");
        let sent = ask("PUT", &path).bearer(&token).text("application/x-tar", text).send(at).await;
        assert_eq!(sent.status, 201, "{sent:?}");
        let plan = ask("POST", &format!("{path}/plan")).bearer(&token).send(at).await;
        assert_eq!(plan.status, 200, "{plan:?}");
        let causes: Vec<&str> = plan.body["troubles"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["cause"].as_str().unwrap())
            .collect();
        assert!(causes.contains(&"file"), "{text}: {plan:?}");
        let body = json!({"base": plan.body["base"], "despite_missing": true, "take_over": true});
        let activated = ask("POST", &format!("{path}/activate")).bearer(&token).json(body).send(at).await;
        assert_eq!(activated.status, 409, "{text}: {activated:?}");
    }
    world.close().await;
}

#[tokio::test]
async fn what_costs_more_than_it_may_is_refused_before_it_is_read() {
    let (world, ids, at, token) = ruled().await;
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(1 << 20));
    let deep = format!("{{\"x\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for declared in api::routes() {
        let (path, Some(_)) = matrix::request(&declared, &ids) else { continue };
        for (text, expected) in [(&large, 413), (&deep, 422)] {
            let request = ask(declared.method.as_str(), &path).bearer(&token);
            let answer = request.text("application/json", text).send(at).await;
            assert!(
                answer.status == expected || answer.status == 501,
                "{} {path}: {answer:?}",
                declared.method
            );
        }
    }
    // Lines, headers and queries without bound.
    let long = format!("/api/v2/dags?dag_id_pattern={}", "x".repeat(100_000));
    let answer = ask("GET", &long).bearer(&token).send(at).await;
    assert!(matches!(answer.status, 414 | 431), "{answer:?}");
    let mut many = ask("GET", "/api/v2/dags").bearer(&token);
    for n in 0..200 {
        many = many.with(&format!("X-{n}"), "x");
    }
    assert_eq!(many.send(at).await.status, 431);
    // What says that it is longer than it may be is refused without being read.
    let mut stream = TcpStream::connect(at).await.unwrap();
    let head = format!(
        "POST /api/v2/variables HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {token}\r\nContent-Type: \
         application/json\r\nContent-Length: 99999999999\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(BORNE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    world.close().await;
}

/// Sends that and no more; says what came until the other end closed.
async fn stall(at: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(BORNE, stream.read_to_end(&mut answer)).await.expect("it is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn slow_clients_are_closed_and_nobody_waits_for_them() {
    let mut world = World::new().await;
    let at = world.listen().await;
    world.person("ana", Some("tenant_admin")).await;
    let token = sign_in(at, "ana").await;
    let body = format!(
        "POST /api/v2/variables HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {token}\r\nContent-Type: \
         application/json\r\nContent-Length: 100\r\n\r\n{{\"key\":"
    );
    let stalled = [String::new(), "GET /api/v2/dags HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_owned(), body];
    let stalled = futures::future::join_all(stalled.iter().map(|text| stall(at, text)));
    // Meanwhile everybody else is answered.
    let others = async {
        for _ in 0..20 {
            let answer: Answer = ask("GET", "/api/v2/dags").bearer(&token).send(at).await;
            assert_eq!(answer.status, 200);
        }
    };
    let (answers, ()) = tokio::join!(stalled, others);
    for early in &answers[..2] {
        assert!(early.is_empty() || early.starts_with("HTTP/1.1 408"), "{early}");
    }
    assert!(answers[2].starts_with("HTTP/1.1 408"), "{}", answers[2]);
    world.close().await;
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_no_more() {
    let mut world = World::new().await;
    let at = world.listen().await;
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(at).await.unwrap();
        // An answer on it shows that it was taken, and it stays open.
        stream.write_all(format!("GET /livez HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        held.push(stream);
    }
    let mut one_more = TcpStream::connect(at).await.unwrap();
    let _ = one_more.write_all(format!("GET /livez HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).await;
    let mut answer = Vec::new();
    let _ = one_more.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    // The socket of the service's own user has nothing to do with it, and a place that is given back is taken again.
    assert_eq!(world.get("/version").await.0, 200);
    drop(held);
    let again = async {
        loop {
            let mut stream = TcpStream::connect(at).await.unwrap();
            let _ = stream.write_all(format!("GET /livez HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).await;
            let mut answer = [0; 12];
            if stream.read_exact(&mut answer).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(BORNE, again).await.expect("places are given back");
    world.close().await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back_and_nobody_else_is() {
    let mut world = World::new().await;
    world.rates = RateSettings { account: 5, tenant: 15 };
    world.serve(TenantId::DEFAULT, "limited.sock", Api::OWNER_WAIT);
    let at = world.listen().await;
    for name in ["ana", "bo", "cy", "di"] {
        world.person(name, Some("viewer")).await;
    }
    let mut tokens = Vec::new();
    for name in ["ana", "bo", "cy", "di"] {
        tokens.push(sign_in(at, name).await);
    }
    let refused = async |path: &str, token: &str, times: usize| {
        let mut refused = Vec::new();
        for _ in 0..times {
            let answer = ask("GET", path).bearer(token).send(at).await;
            if answer.status != 200 {
                refused.push(answer);
            }
        }
        refused
    };
    // There is nobody else yet.
    assert_eq!(refused("/api/v2/version", &tokens[0], 50).await.len(), 0);
    assert_eq!(refused("/api/v2/dags", &tokens[0], 50).await.len(), 0);
    let made = world.post("/api/updraft/v1/tenants", json!({"name": "other"})).await;
    assert_eq!(made.0, 201, "{made:?}");
    let limited = async {
        loop {
            if let Some(answer) = refused("/api/v2/dags", &tokens[0], 20).await.pop() {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(BORNE, limited).await.expect("the second tenant is noticed");
    assert_eq!(answer.status, 429, "{answer:?}");
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&after), "{answer:?}");
    assert!(answer.body["detail"].as_str().unwrap().contains("try again in"), "{answer:?}");
    // Others of the tenant aren't refused for it, and the host's operator never is.
    assert_eq!(ask("GET", "/api/v2/dags").bearer(&tokens[1]).send(at).await.status, 200);
    for _ in 0..50 {
        assert_eq!(world.get("/dags").await.0, 200);
    }
    world.close().await;
}
