//! Traces of runs, as a collector gets them: from the API's request to the report that a task has ended.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use engine::state::RunState;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message as _;

use crate::{
    roles,
    site::{SOON, Site},
};

/// A stand-in for a collector of OpenTelemetry: a server that takes OTLP over HTTP in protobuf and keeps the spans.
struct Collector {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Each span with the service that sent it.
    spans: Vec<(String, Span)>,
    /// The heads of requests.
    heads: Vec<String>,
    /// How many requests are to be answered with 503 from now on.
    refuse: usize,
}

impl Collector {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let kept = seen.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let kept = kept.clone();
                std::thread::spawn(move || answer(stream, &kept));
            }
        });
        Self { url, seen }
    }

    fn setting(&self) -> String {
        format!("tracing.endpoint={}", self.url)
    }

    /// Waits until a span of that name has come, and gives all of the name.
    async fn named(&self, site: &Site, name: &str) -> Vec<(String, Span)> {
        site.until(SOON, &format!("a span {name} comes"), async || {
            let seen = self.seen.lock().unwrap();
            let found: Vec<_> = seen.spans.iter().filter(|(_, span)| span.name == name).cloned().collect();
            let names =
                || seen.spans.iter().map(|(_, span)| span.name.as_str()).collect::<Vec<_>>().join(" ");
            if found.is_empty() { Err(names()) } else { Ok(found) }
        })
        .await
    }
}

/// Answers requests of one connection.
fn answer(stream: TcpStream, seen: &Mutex<Seen>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(1..) => {}
                _ => return,
            }
        }
        let length = head.to_ascii_lowercase();
        let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.trim().parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let mut seen = seen.lock().unwrap();
        seen.heads.push(head);
        let status = if seen.refuse > 0 {
            seen.refuse -= 1;
            "503 Service Unavailable"
        } else {
            for of_process in ExportTraceServiceRequest::decode(&*body).unwrap().resource_spans {
                let resource = of_process.resource.unwrap();
                let service = resource.attributes.into_iter().find(|a| a.key == "service.name").unwrap();
                let Some(Value::StringValue(service)) = service.value.unwrap().value else {
                    panic!("a text")
                };
                let spans = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
                seen.spans.extend(spans.map(|span| (service.clone(), span)));
            }
            "200 OK"
        };
        drop(seen);
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).unwrap();
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("no {key} in {span:?}: {other:?}"),
    }
}

#[tokio::test]
async fn a_run_is_one_trace_from_the_request_to_the_last_report() {
    let fleet = roles::Fleet::new().await;
    let site = &fleet.site;
    let collector = Collector::open();
    std::fs::write(site.path("headers"), "Authorization: Bearer of the collector\n").unwrap();
    let headers = format!("tracing.headers_file={}", site.path("headers").display());
    let effects = site.effects();
    site.write_dag(
        "traced.yaml",
        &format!(
            "dag: traced\ntasks:\n  first: {{ bash: 'echo $TRACEPARENT >> {}' }}\n  second:\n    needs: first\n    \
             retries: 1\n    retry_delay: 0s\n    bash: 'test {{{{ ti.try_number }}}} = 2'\n",
            effects.display()
        ),
    );
    let tracing = collector.setting();
    let scheduler = fleet.owner("scheduler", &[&tracing, &headers]).await;
    let api = fleet.start("api", "api", &[&tracing, &headers]);
    site.dag_is_there("traced").await;
    // A collector that has no room for now loses nothing.
    collector.seen.lock().unwrap().refuse = 1;
    let socket = site.path("data/updraft.sock");
    site.until(SOON, "the API answers", async || socket.exists().then_some(()).ok_or("no socket".to_owned()))
        .await;
    roles::ask(&socket, &["runs", "trigger", "traced", "--run", "by_hand"]);
    let run = site.ended("traced", "by_hand").await;
    assert_eq!(run.state, RunState::Success);

    let whole = collector.named(site, "run.execute").await;
    let [(service, whole)] = &whole[..] else { panic!("{whole:?}") };
    assert_eq!((service.as_str(), &whole.parent_span_id[..]), ("updraft-scheduler", &[][..]));
    assert_eq!(whole.trace_id, run.run.0.as_bytes(), "the trace's id is the run's");
    assert_eq!(attribute(whole, "run.name"), "by_hand");
    assert_eq!(attribute(whole, "run.state"), "success");
    let micros = |nanos: u64| (nanos / 1_000) as i64;
    assert_eq!(micros(whole.start_time_unix_nano), run.created_at.0);
    assert_eq!(Some(micros(whole.end_time_unix_nano)), run.ended_at.map(|at| at.0));

    let requests = collector.named(site, "api.request").await;
    let [(service, request)] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(service, "updraft-api");
    assert_eq!(attribute(request, "http.path"), "/api/v2/dags/traced/dagRuns");
    let (_, wait) = &collector.named(site, "inbox.wait").await[0];
    assert_eq!(wait.parent_span_id, request.span_id);

    let attempts = collector.named(site, "task.attempt").await;
    let tries: Vec<_> = attempts
        .iter()
        .map(|(_, span)| (attribute(span, "task.id"), attribute(span, "try_number"), span.status.is_some()))
        .collect();
    let tried = |task: &str, n: &str, failed: bool| (task.to_owned(), n.to_owned(), failed);
    assert_eq!(tries, [tried("first", "1", false), tried("second", "1", true), tried("second", "2", false)]);
    assert_eq!(attempts[2].1.links[0].span_id, attempts[1].1.span_id, "a try is linked to the one before");
    assert_eq!(attempts[1].1.status.as_ref().map(|status| status.code), Some(2), "it failed");
    assert_eq!(attribute(&attempts[1].1, "exit_code"), "1");
    for name in ["task.wait", "task.dispatch", "task.run", "task.report"] {
        let parts = collector.named(site, name).await;
        let of: Vec<_> = parts.iter().map(|(_, part)| part.parent_span_id.clone()).collect();
        let wanted: Vec<_> = attempts.iter().map(|(_, attempt)| attempt.span_id.clone()).collect();
        assert_eq!(of, wanted, "{name}");
    }
    assert!(collector.named(site, "batch.commit").await.len() >= 3);
    {
        let seen = collector.seen.lock().unwrap();
        for (_, span) in &seen.spans {
            assert_eq!(span.trace_id, whole.trace_id, "{span:?}");
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
            assert_eq!(attribute(span, "run.id"), run.run.to_string());
            assert_eq!(attribute(span, "dag.id"), "traced");
            assert_eq!(attribute(span, "tenant.id"), run.tenant.to_string());
        }
        let mut ids: Vec<_> = seen.spans.iter().map(|(_, span)| span.span_id.clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), seen.spans.len(), "no span came twice");
        for head in &seen.heads {
            assert!(
                head.starts_with("POST /v1/traces ") && head.contains("Bearer of the collector"),
                "{head}"
            );
        }
    }
    // The program could go on with the trace.
    let (_, first) = collector.named(site, "task.run").await.remove(0);
    let trace = u128::from_be_bytes(first.trace_id.try_into().unwrap());
    let id = u64::from_be_bytes(first.span_id.try_into().unwrap());
    assert_eq!(site.lines(), [format!("00-{trace:032x}-{id:016x}-01")]);
    drop((scheduler, api));
}

#[tokio::test]
async fn without_a_collector_nothing_is_held_up() {
    let site = Site::sqlite().await;
    site.write_dag("d.yaml", "dag: d\ntasks:\n  one: { bash: 'echo \"${TRACEPARENT-none}\"' }\n");
    // Nobody listens there any more.
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let service = site.start_with(&["--set", &format!("tracing.endpoint=http://{nowhere}")]);
    site.dag_is_there("d").await;
    site.trigger("d", "r1").await;
    assert_eq!(site.ended("d", "r1").await.state, RunState::Success);
    service.interrupt();
    let (status, log) = service.exit(SOON).await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn wrong_settings_of_tracing_stop_the_start() {
    let site = Site::sqlite().await;
    let secret = site.path("headers");
    std::fs::write(&secret, "Authorization: a secret\n").unwrap();
    let headers = format!("tracing.headers_file={}", secret.display());
    for (wrong, says) in [
        (vec!["tracing.endpoint=collector:4318"], "`tracing.endpoint`"),
        (vec!["tracing.endpoint=http://collector:4318", &headers], "in the clear"),
        (vec!["tracing.sample_percent=101"], "tracing.sample_percent"),
    ] {
        let settings: Vec<&str> = wrong.iter().flat_map(|setting| ["--set", setting]).collect();
        let (status, log) = site.start_with(&settings).exit(SOON).await;
        assert_ne!(status.code(), Some(0), "{wrong:?}");
        assert!(log.contains(says) && !log.contains("a secret"), "{wrong:?}: {log}");
    }
}
