//! Processes that start, or take over, while what they need isn't there: they wait, say so, and go on.

use std::{net::SocketAddr, path::Path, time::Duration};

use engine::state::RunState;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _};
use tests::proxy::{Flow, Proxy};

use crate::{
    monitoring::{on_port, on_socket, port, port_in},
    roles,
    site::{SOON, Service, Site},
    workers::{self, start_worker},
};

const DAG: &str = "dag: d\ntasks:\n  one: { bash: 'true' }\n";
const LISTEN: &str = "monitoring.listen=127.0.0.1:0";

// What blocks a thread here must not hold up the proxy: each test has several.

/// The database's URL over a way that can be cut.
async fn with_a_way(site: &Site) -> (String, Proxy) {
    let url = site.url().unwrap();
    let (before, database) = url.rsplit_once('/').unwrap();
    let (user, address) = before.rsplit_once('@').unwrap();
    let target: SocketAddr = address.parse().unwrap();
    let proxy = Proxy::open(vec![target]).await.unwrap();
    (format!("database.url={user}@127.0.0.1:{}/{database}", proxy.port()), proxy)
}

/// Waits until a process isn't ready and one of its checks says that.
async fn unready(site: &Site, address: &str, name: &str, says: &str) {
    site.until(SOON, &format!("{name} isn't ready: {says}"), async || {
        let (status, body) = on_port(address, "/readyz", "");
        let ready: Value = serde_json::from_str(&body).map_err(|_| body.clone())?;
        let checks = ready["checks"].as_array().unwrap();
        let found = checks.iter().any(|check| {
            check["name"] == name && check["ok"] == false && check["says"].as_str().unwrap().contains(says)
        });
        if status == 503 && found { Ok(()) } else { Err(body) }
    })
    .await;
    assert_eq!(on_port(address, "/livez", "").0, 200);
}

async fn ready(site: &Site, address: &str) {
    site.until(SOON, "it is ready", async || match on_port(address, "/readyz", "") {
        (200, _) => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
}

fn ask(socket: &Path, path: &str) -> (u16, Value) {
    let (status, body) = on_socket(socket, path);
    (status, serde_json::from_str(&body).unwrap())
}

/// How often a process has said that.
fn said(service: &Service, what: &str) -> usize {
    service.log().matches(what).count()
}

/// Schedulers and the API start before their database, and go on when it is there.
async fn starts_before_its_database(flow: Flow, why: &str) {
    let fleet = roles::Fleet::new().await;
    let site = &fleet.site;
    site.write_dag("d.yaml", DAG);
    let (url, proxy) = with_a_way(site).await;
    proxy.set(flow);
    let scheduler = fleet.start("scheduler", "scheduler", &[LISTEN, &url]);
    let api = fleet.start("api", "api", &[LISTEN, &url]);
    let (first, second) = (port(site, &scheduler).await, port(site, &api).await);
    for address in [&first, &second] {
        unready(site, address, "database", why).await;
    }
    let socket = site.path("data/updraft.sock");
    assert_eq!(on_socket(&socket, "/livez").0, 200);
    let (status, body) = ask(&socket, "/api/v2/dags");
    assert_eq!((status, &body["code"]), (503, &Value::from("service.starting")), "{body}");
    // Some tries more say nothing more.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for service in [&scheduler, &api] {
        assert_eq!(said(service, "waiting for it"), 1, "{}", service.log());
    }
    proxy.set(Flow::Open);
    for (address, service) in [(&first, &scheduler), (&second, &api)] {
        ready(site, address).await;
        assert_eq!(said(service, "the database is there"), 1, "{}", service.log());
    }
    site.dag_is_there("d").await;
    assert_eq!(ask(&socket, "/api/v2/dags").1["total_entries"], 1);
    site.trigger("d", "r1").await;
    assert_eq!(site.ended("d", "r1").await.state, RunState::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_starts_before_its_database_can_be_reached() {
    starts_before_its_database(Flow::Cut, "waiting for it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_starts_while_its_database_does_not_answer() {
    starts_before_its_database(Flow::Stalled, "can't open the database").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_waits_for_its_database_and_ends_when_it_is_asked_to() {
    let site = Site::postgres_without_schema().await;
    site.write_dag("d.yaml", DAG);
    let (url, proxy) = with_a_way(&site).await;
    proxy.set(Flow::Cut);
    let arguments = ["--log-format", "json", "--set", LISTEN, "--set", &*url];
    let service = site.start_with_own_database(&arguments);
    let address = port(&site, &service).await;
    unready(&site, &address, "database", "waiting for it").await;
    service.interrupt();
    let (status, log) = service.exit(SOON).await;
    assert_eq!(status.code(), Some(0), "{log}");

    let service = site.start_with_own_database(&arguments);
    let address = port(&site, &service).await;
    unready(&site, &address, "database", "waiting for it").await;
    proxy.set(Flow::Open);
    ready(&site, &address).await;
    site.dag_is_there("d").await;
    site.trigger("d", "r1").await;
    assert_eq!(site.ended("d", "r1").await.state, RunState::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_waiting_mends_a_user_or_a_database_that_is_not_there() {
    let fleet = roles::Fleet::new().await;
    let url = fleet.site.url().unwrap();
    let (before, database) = url.rsplit_once('/').unwrap();
    let (_, address) = before.rsplit_once('@').unwrap();
    for wrong in [format!("{before}/nowhere"), format!("postgres://nobody@{address}/{database}")] {
        for role in ["scheduler", "api"] {
            let service = fleet.start(role, "wrong", &[&format!("database.url={wrong}")]);
            let (status, log) = service.exit(SOON).await;
            assert_ne!(status.code(), Some(0), "{log}");
            assert!(log.contains("`database.url`") && log.contains("check that"), "{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_fails_in_a_takeover_is_tried_again() {
    let fleet = roles::Fleet::new().await;
    let site = &fleet.site;
    site.write_dag("d.yaml", DAG);
    let owner = fleet.owner("owner", &[]).await;
    site.dag_is_there("d").await;
    let mut standby = fleet.standby("standby", &[LISTEN]).await;
    let address = port(site, &standby).await;
    // Runs can't be read while this is open: the standby gives up after its limit for locks.
    let mut connection = sqlx::PgConnection::connect(site.url().unwrap()).await.unwrap();
    let mut holding = connection.begin().await.unwrap();
    holding.execute("LOCK TABLE run IN ACCESS EXCLUSIVE MODE").await.unwrap();
    owner.kill();
    unready(site, &address, "lease", "couldn't be read").await;
    fleet.says(&standby, "what is stored couldn't be read; standing by").await;
    assert!(standby.is_running(), "{}", standby.log());
    holding.rollback().await.unwrap();
    ready(site, &address).await;
    site.trigger("d", "r1").await;
    assert_eq!(site.ended("d", "r1").await.state, RunState::Success);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_starts_before_the_service_that_it_asks() {
    let fleet = workers::Fleet::new().await;
    let site = &fleet.site;
    site.write_dag("d.yaml", "dag: d\ndefaults: { executor: workers }\ntasks:\n  one: { bash: 'true' }\n");
    let worker = fleet.worker("worker1", &["--set", "log.format=json", "--set", LISTEN]);
    let log = || std::fs::read_to_string(&worker.log).unwrap();
    let address = port_in(site, log).await;
    unready(site, &address, "registration", "the task API can't be reached").await;
    assert!(!site.path("worker1/worker.credential").exists(), "it isn't even enrolled");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(log().matches("failed to enrol; trying again").count(), 1, "{}", log());
    let _service = fleet.start();
    ready(site, &address).await;
    site.dag_is_there("d").await;
    site.trigger("d", "r1").await;
    assert_eq!(site.ended("d", "r1").await.state, RunState::Success);

    // A token that nobody made is no reason to wait.
    std::fs::write(site.path("worker2.token"), "updraft_enrol_nobody_made_this\n").unwrap();
    let refused = start_worker(site, "worker2", &fleet.listen, &fleet.broker, &[]);
    let log = refused.log.clone();
    assert_ne!(refused.exit(site).await.code(), Some(0));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("updraft workers enrol"), "{log}");
}
