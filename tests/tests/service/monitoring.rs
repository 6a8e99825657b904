//! How a process is, seen from outside: probes, metrics with the names of their page, the engine's state, and who may see what.

use std::{collections::BTreeSet, net::TcpStream, os::unix::net::UnixStream, path::Path, process::Command};

use serde_json::Value;

use crate::{
    broker::Vhost,
    roles,
    site::{LATE, SOON, Service, Site, program},
};

/// A status and a body.
fn answer(mut stream: impl std::io::Read + std::io::Write, path: &str, headers: &str) -> (u16, String) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (status, if chunked { unchunk(body) } else { body.to_owned() })
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        if length == 0 {
            break;
        }
        body.push_str(&after[..length]);
        rest = &after[length + 2..];
    }
    body
}

pub(crate) fn on_socket(socket: &Path, path: &str) -> (u16, String) {
    answer(UnixStream::connect(socket).unwrap(), path, "")
}

pub(crate) fn on_port(address: &str, path: &str, headers: &str) -> (u16, String) {
    answer(TcpStream::connect(address).unwrap(), path, headers)
}

/// The address of a process's monitoring port, as it says in its log.
pub(crate) async fn port(site: &Site, service: &Service) -> String {
    port_in(site, || service.log()).await
}

/// The same, for a process with that log.
pub(crate) async fn port_in(site: &Site, log: impl Fn() -> String) -> String {
    site.until(SOON, "a process says where its monitoring port is", async || {
        let log = log();
        let line = log.lines().find(|line| line.contains("how this process is: /livez"));
        let line: Value = serde_json::from_str(line.ok_or_else(|| log.clone())?).map_err(|_| log.clone())?;
        Ok(line["fields"]["address"].as_str().unwrap().to_owned())
    })
    .await
}

/// The names of metrics that a process shows, those of the parts of a histogram taken together.
fn shown(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The names of metrics on the page, with the roles that have them.
fn page() -> Vec<(String, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].trim_matches('`').to_owned(), cells[4].to_owned())).collect()
}

/// Whether a process shows what the page promises of its role, and nothing else; how they differ if not.
pub(crate) fn matches_page(role: &str, text: &str, absent: &[&str]) -> Result<(), String> {
    let page = page();
    let promised: BTreeSet<String> = page
        .iter()
        .filter(|(_, roles)| roles == "all" || roles.split(", ").any(|of| of == role))
        .map(|(name, _)| name.clone())
        .filter(|name| !absent.contains(&name.as_str()))
        .collect();
    let shown = shown(text);
    if shown == promised {
        return Ok(());
    }
    let (more, less): (Vec<_>, Vec<_>) =
        (shown.difference(&promised).collect(), promised.difference(&shown).collect());
    Err(format!("{role} shows {more:?}, of which docs/metrics.md knows nothing, and doesn't show {less:?}"))
}

fn value(text: &str, line: &str) -> f64 {
    let found = text.lines().find_map(|shown| shown.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {line} in:\n{text}"))
}

/// Fails unless a metric has a value.
fn is(text: &str, line: &str) {
    assert!(text.lines().any(|shown| shown == line), "no {line} in:\n{text}");
}

fn check<'a>(ready: &'a Value, name: &str) -> &'a Value {
    ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
}

const DAG: &str =
    "dag: seen\ntasks:\n  one: { bash: 'true' }\n  two: { needs: one, pool: narrow, bash: 'true' }\n";

#[tokio::test]
async fn a_single_node_shows_all_of_it_on_its_socket_and_little_on_its_port() {
    let site = Site::sqlite().await;
    site.write_dag("seen.yaml", DAG);
    let service = site.start_with(&["--log-format", "json"]);
    service.ready(&site).await;
    let socket = site.path("data/updraft.sock");
    assert_eq!(on_socket(&socket, "/livez"), (200, "ok\n".to_owned()));
    let (status, body) = on_socket(&socket, "/readyz");
    let ready: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &ready["ready"]), (200, &Value::Bool(true)), "{body}");
    for name in ["database", "migrations", "lease"] {
        assert_eq!(check(&ready, name)["ok"], true, "{body}");
    }

    site.dag_is_there("seen").await;
    site.trigger("seen", "first").await;
    let text = site
        .until(LATE, "the second task waits for its pool", async || {
            let (_, text) = on_socket(&socket, "/metrics");
            let waits = text.contains("updraft_queue_depth{cause=\"pool_missing\"} 1");
            if waits { Ok(text) } else { Err(text) }
        })
        .await;
    for phase in ["queued", "handed_over", "running"] {
        assert!(value(&text, &format!("updraft_scheduling_delay_seconds_count{{phase=\"{phase}\"}}")) >= 1.0);
    }
    assert!(value(&text, "updraft_commits_total{outcome=\"done\"}") >= 1.0);
    assert!(value(&text, "updraft_commit_rows_sum") >= value(&text, "updraft_commit_rows_count"));
    is(&text, "updraft_shard_owned 1");
    is(&text, "updraft_ready 1");
    assert!(value(&text, "process_resident_memory_bytes") > 1e6);
    assert!(!text.contains("seen") && !text.contains("narrow"), "no label names what people made:\n{text}");
    let text = site
        .until(SOON, "the lease was renewed", async || {
            let (_, text) = on_socket(&socket, "/metrics");
            if text.contains("updraft_lease_renewals_total") { Ok(text) } else { Err(text) }
        })
        .await;
    // There are no workers.
    matches_page("standalone", &text, &["updraft_broker_connected"]).unwrap();

    let (status, state) = on_socket(&socket, "/debug/state");
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!((status, &state["role"]), (200, &Value::from("standalone")));
    assert_eq!(state["engine"]["dags"], 1, "{state:#}");

    // The API's port belongs to everybody.
    let log = service.log();
    let mut url = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let url = url.find_map(|line| line["fields"]["url"].as_str().map(str::to_owned)).unwrap();
    let address = url.strip_prefix("http://").unwrap();
    assert_eq!(on_port(address, "/livez", "").0, 200);
    let (status, body) = on_port(address, "/readyz", "");
    assert!(status == 200 && !body.contains("says"), "{body}");
    assert_eq!(on_port(address, "/metrics", "").0, 404);
    assert_eq!(on_port(address, "/debug/state", "").0, 404);
}

#[tokio::test]
async fn every_role_says_how_it_is_and_why_it_is_not_ready() {
    let fleet = roles::Fleet::new().await;
    let site = &fleet.site;
    site.write_dag("seen.yaml", "dag: seen\ntasks:\n  one: { bash: 'true' }\n");
    std::fs::write(site.path("token"), "a token of sixteen bytes\n").unwrap();
    let token = format!("monitoring.token_file={}", site.path("token").display());
    let listen = "monitoring.listen=127.0.0.1:0";
    let owner = fleet.owner("owner", &[listen]).await;
    let standby = fleet.standby("standby", &[listen]).await;
    let api = fleet.start("api", "api", &[listen, &token]);

    let (first, second) = (port(site, &owner).await, port(site, &standby).await);
    let (_, body) = on_port(&first, "/readyz", "");
    assert!(body.contains("this process owns the shard, epoch 1"), "{body}");
    let (status, body) = on_port(&second, "/readyz", "");
    assert!(status == 200 && body.contains("standing by"), "{body}");
    is(&on_port(&first, "/metrics", "").1, "updraft_shard_owned 1");
    is(&on_port(&second, "/metrics", "").1, "updraft_shard_owned 0");

    let guarded = port(site, &api).await;
    assert_eq!(on_port(&guarded, "/metrics", "").0, 401);
    assert_eq!(on_port(&guarded, "/debug/state", "Authorization: Bearer wrong\r\n").0, 401);
    let (status, text) = on_port(&guarded, "/metrics", "Authorization: Bearer a token of sixteen bytes\r\n");
    assert_eq!(status, 200);
    assert!(text.contains("role=\"api\""), "{text}");

    // A step that nobody has applied: the schema isn't what this release needs.
    let done = fleet.call(&["migrate", "down", "--steps", "1", "--yes"]);
    assert!(done.status.success(), "{done:?}");
    let body = site
        .until(SOON, "the standby isn't ready", async || match on_port(&second, "/readyz", "") {
            (503, body) => Ok(body),
            seen => Err(format!("{seen:?}")),
        })
        .await;
    let ready: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(check(&ready, "migrations")["ok"], false, "{body}");
    assert!(check(&ready, "migrations")["says"].as_str().unwrap().contains("updraft migrate"), "{body}");
    assert_eq!(check(&ready, "database")["ok"], true, "{body}");
    assert_eq!(on_port(&second, "/livez", "").0, 200);
}

#[tokio::test]
async fn a_broker_that_is_away_makes_its_process_unready() {
    let site = Site::postgres().await;
    site.write_dag("seen.yaml", "dag: seen\ntasks:\n  one: { bash: 'true' }\n");
    let vhost = Vhost::new();
    let url = vhost.url();
    let broker = format!("broker.url={url}");
    let arguments = [
        "--log-format",
        "json",
        "--set",
        "executors.workers.kind=workers",
        "--set",
        "executors.local.slots=4",
        "--set",
        &*broker,
        "--set",
        "task_api.listen=127.0.0.1:0",
        "--set",
        "monitoring.listen=127.0.0.1:0",
    ];
    let service = site.start_with(&arguments);
    let address = port(&site, &service).await;
    site.until(SOON, "the process is ready", async || match on_port(&address, "/readyz", "") {
        (200, body) => Ok(body),
        seen => Err(format!("{seen:?}")),
    })
    .await;
    is(&on_port(&address, "/metrics", "").1, "updraft_broker_connected 1");
    service.kill();
    drop(vhost);
    let service = site.start_with(&arguments);
    let address = port(&site, &service).await;
    site.until(LATE, "the process isn't ready because of the broker", async || {
        let (status, body) = on_port(&address, "/readyz", "");
        let ready: Value = serde_json::from_str(&body).map_err(|_| body.clone())?;
        let broker = check(&ready, "broker");
        if status == 503 && broker["ok"] == false && broker["needed"] == true { Ok(()) } else { Err(body) }
    })
    .await;
    is(&on_port(&address, "/metrics", "").1, "updraft_ready 0");
}

#[test]
fn wrong_settings_of_monitoring_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "short").unwrap();
    let output = Command::new(program())
        .args(["standalone", "--dags"])
        .arg(folder.path())
        .arg("--data")
        .arg(folder.path().join("data"))
        .args(["--listen", "127.0.0.1:0", "--set", "monitoring.listen=127.0.0.1:0", "--set"])
        .arg(format!("monitoring.token_file={}", token.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("openssl rand -hex 32"), "{said}");
}
