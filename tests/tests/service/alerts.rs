//! What happens reaches the people of a route: by a webhook, by mail, by a run of a DAG, once for each cause.

use std::{collections::BTreeMap, sync::Arc};

use api::{
    client::{Client, Slice},
    v1::alerts::Alert,
    v2::connections::ConnectionBody,
};
use engine::state::RunState;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use crate::{
    on_both,
    site::{LATE, SOON, Site},
};

on_both!(
    a_failure_reaches_a_webhook_until_it_is_taken,
    a_missed_deadline_is_told_once_also_after_a_crash,
    a_route_can_be_a_dag,
);

const DAG: &str = r#"
dag: sad
on_failure: { notify: oncall }
tasks:
  good: { bash: "true", notify: { on: success, notify: oncall } }
  bad: { needs: good, bash: "exit 3", retries: 1, retry_delay: 1s, notify: [{ on: retry, notify: oncall }, { on: failure, notify: nobody }] }
"#;

/// A request that a listener got.
#[derive(Debug, Clone)]
struct Got {
    headers: BTreeMap<String, String>,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// An HTTP server that keeps what it is sent, and says no to the first requests.
struct Listener {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Listener {
    async fn new(refuses: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let kept = got.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let request = read(stream).await;
                let mut kept = kept.lock().await;
                let status = if kept.len() < refuses { "503 Busy" } else { "204 Fine" };
                let (mut stream, got) = request;
                kept.push(got);
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { port, got }
    }

    async fn all(&self) -> Vec<Got> {
        self.got.lock().await.clone()
    }
}

async fn read(stream: TcpStream) -> (TcpStream, Got) {
    let mut reader = BufReader::new(stream);
    let mut headers = BTreeMap::new();
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    headers.insert("request".to_owned(), line.trim().to_owned());
    loop {
        line.clear();
        reader.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.unwrap();
    (reader.into_inner(), Got { headers, body: String::from_utf8(body).unwrap() })
}

fn client(site: &Site) -> Client {
    Client::new(&site.path("data/updraft.sock"))
}

async fn webhook(site: &Site, name: &str, port: u16) {
    let body = ConnectionBody {
        connection_id: name.to_owned(),
        conn_type: "notify_http".to_owned(),
        host: Some("127.0.0.1".to_owned()),
        port: Some(port),
        schema: Some("http".to_owned()),
        password: Some("hush-hush".to_owned()),
        extra: Some(r#"{"path": "/hook", "headers": {"x-team": "sales"}}"#.to_owned()),
        ..ConnectionBody::default()
    };
    client(site).make_connection(&body).await.unwrap();
}

async fn alerts(site: &Site) -> Vec<Alert> {
    client(site).alerts(None, Slice::default()).await.unwrap().alerts
}

async fn a_failure_reaches_a_webhook_until_it_is_taken(site: Site) {
    let listener = Listener::new(1).await;
    site.write_dag("sad.yaml", DAG);
    let service = site.start();
    service.ready(&site).await;
    webhook(&site, "oncall", listener.port).await;
    site.trigger("sad", "one").await;
    assert_eq!(site.ended("sad", "one").await.state, RunState::Failed);
    let sent = site
        .until(LATE, "three alerts are sent", async || {
            let all = alerts(&site).await;
            let sent = all.iter().filter(|alert| alert.route == "oncall" && alert.ended_at.is_some()).count();
            if sent == 3 { Ok(all) } else { Err(format!("{all:?}")) }
        })
        .await;
    let got = listener.all().await;
    assert_eq!(got.len(), 4, "one was refused and came again");
    let mut what: Vec<String> = got[1..]
        .iter()
        .map(|got| {
            let body = got.json();
            format!("{} {}", body["what"].as_str().unwrap(), body["task_id"])
        })
        .collect();
    what.sort();
    assert_eq!(what, ["failure null", "retry \"bad\"", "success \"good\""]);
    for got in &got {
        assert_eq!(got.headers["request"], "POST /hook HTTP/1.1");
        assert_eq!(got.headers["x-team"], "sales");
        let body = got.json();
        assert_eq!(got.headers["webhook-id"], body["id"].as_str().unwrap());
        assert_eq!((&body["dag_id"], &body["run_id"]), (&"sad".into(), &"one".into()));
        assert!(got.headers["webhook-signature"].starts_with("v1,"), "{got:?}");
        assert!(!got.body.contains("hush-hush"), "{got:?}");
    }
    let refused = &got[0].headers["webhook-id"];
    assert!(got[1..].iter().any(|got| got.headers["webhook-id"] == *refused), "it has the same identity");
    // A route that nobody made says so, and waits until somebody does.
    let lost = sent.iter().find(|alert| alert.route == "nobody").unwrap();
    assert!(lost.error.as_deref().unwrap().contains("there is no route `nobody`"), "{lost:?}");
    webhook(&site, "nobody", listener.port).await;
    site.until(LATE, "the alert finds its route", async || {
        let all = alerts(&site).await;
        if all.iter().all(|alert| alert.ended_at.is_some()) { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
    assert_eq!(listener.all().await.len(), 5);
    assert!(!service.log().contains("hush-hush"));
}

async fn a_missed_deadline_is_told_once_also_after_a_crash(site: Site) {
    let listener = Listener::new(0).await;
    site.write_dag(
        "slow.yaml",
        r"
dag: slow
deadline: { from: started, within: 1s, notify: oncall }
tasks:
  wait: { sleep: 8s }
",
    );
    let service = site.start();
    service.ready(&site).await;
    webhook(&site, "oncall", listener.port).await;
    site.trigger("slow", "one").await;
    site.until(SOON, "the deadline is told", async || match listener.all().await.as_slice() {
        [got] if got.json()["reason"] == "not done within 1s of when it was started" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // Its deadline is over when the next service loads the run, and was told.
    service.kill();
    let _service = site.start();
    assert_eq!(site.ended("slow", "one").await.state, RunState::Success);
    site.until(SOON, "the service answers", async || {
        client(&site).health().await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(alerts(&site).await.len(), 1);
    assert_eq!(listener.all().await.len(), 1);
}

async fn a_route_can_be_a_dag(site: Site) {
    site.write_dag("sad.yaml", "dag: sad\non_failure: { notify: oncall }\ntasks: { bad: { fail: {} } }\n");
    site.write_dag(
        "tell.yaml",
        r#"
dag: tell
on_failure: { notify: oncall }
tasks:
  say: { bash: "echo {{ dag_run.conf.what }} of {{ dag_run.conf.dag_id }} >> {{ var.value.effects }}; exit 1" }
"#,
    );
    let service = site.start();
    service.ready(&site).await;
    let effects = api::v2::variables::VariableBody {
        key: "effects".to_owned(),
        value: site.effects().to_string_lossy().into_owned().into(),
        description: None,
        team_name: None,
        secret: None,
    };
    client(&site).make_variable(&effects).await.unwrap();
    let body = ConnectionBody {
        connection_id: "oncall".to_owned(),
        conn_type: "notify_dag".to_owned(),
        extra: Some(r#"{"dag_id": "tell"}"#.to_owned()),
        ..ConnectionBody::default()
    };
    client(&site).make_connection(&body).await.unwrap();
    site.trigger("sad", "one").await;
    // The route's own DAG fails and alerts in turn, until the chain is long enough.
    let stuck = site
        .until(LATE, "the chain of alerts stops", async || {
            let all = alerts(&site).await;
            let stuck = all.iter().find(|alert| alert.error.is_some()).cloned();
            stuck.ok_or_else(|| format!("{all:?}"))
        })
        .await;
    assert!(stuck.error.unwrap().contains("10 runs that started each other"));
    let lines = site.lines();
    assert_eq!(
        (lines.len(), lines[0].as_str(), lines[1].as_str()),
        (10, "failure of sad", "failure of tell")
    );
}
