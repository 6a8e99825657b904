//! `http` and `http_sensor` against a real server on loopback.

use std::io::{Read as _, Write as _};

use crate::attempt::{Attempt, connection, failed};
use crate::server::Server;
use dags::time::Span;
use plugins::{operator::Outcome, policy::Policy};
use serde_json::{Value, json};

fn http(args: &Value) -> Attempt {
    Attempt::of("http", args)
}

#[test]
fn the_answer_is_the_result() {
    let server = Server::json(&json!({"orders": [1, 2]}));
    let ended =
        http(&json!({"url": server.url("/orders?day={{ ds }}"), "query": {"region": "{{ params.odd }}"}}))
            .run();
    assert_eq!(ended.outcome, Outcome::Success);
    assert_eq!(ended.result, Some(json!({"orders": [1, 2]})));
    assert_eq!(server.seen()[0].line, "GET /orders?day=2026-01-02&region=a+b%3Bc HTTP/1.1");
    let text = Server::start(|_, _| (200, String::new(), b"plain".to_vec()));
    assert_eq!(http(&json!({"url": text.url("/")})).run().result, Some(json!("plain")));
    let nothing = Server::start(|_, _| (204, String::new(), Vec::new()));
    assert_eq!(http(&json!({"url": nothing.url("/")})).run().result, None);
}

#[test]
fn a_connection_gives_host_and_credentials() {
    let server = Server::json(&json!(1));
    let mut shop = connection("http");
    shop.host = Some("127.0.0.1".into());
    shop.port = Some(server.address.port());
    shop.schema = Some("http".into());
    shop.login = Some("ada".into());
    shop.password = Some("lovelace".into());
    shop.extra.insert("headers".into(), json!({"X-Shop": "7"}));
    let args = json!({"connection": "shop", "path": "/v1", "method": "POST", "json": {"n": "{{ 1 + 1 }}"}});
    let ended = http(&args).connection("shop", shop.clone()).run();
    assert_eq!(ended.outcome, Outcome::Success);
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /v1 HTTP/1.1");
    assert_eq!(seen.header("authorization"), Some("Basic YWRhOmxvdmVsYWNl"));
    assert_eq!((seen.header("x-shop"), seen.header("content-type")), (Some("7"), Some("application/json")));
    assert_eq!(seen.body, r#"{"n":2}"#);

    let error = http(&json!({"connection": "shop", "path": "@evil.example/"}))
        .connection("shop", shop.clone())
        .prepare();
    assert!(error.unwrap_err().to_string().contains("must start with `/`"));
    shop.extra.insert("verify".into(), json!(false));
    let error = http(&json!({"connection": "shop"})).connection("shop", shop).prepare().unwrap_err();
    assert_eq!(
        error.to_string(),
        "connection `shop` has `extra.verify`, which isn't known: `headers` and `bearer_token` are"
    );
    let error = http(&json!({"connection": "shop"})).prepare().unwrap_err();
    assert_eq!(error.code(), "connection.missing");
}

#[test]
fn a_status_outside_of_the_expected_fails() {
    let server = Server::start(|_, _| (404, String::new(), b"no such order".to_vec()));
    assert_eq!(http(&json!({"url": server.url("/")})).run().outcome, failed("the answer has status 404"));
    assert_eq!(http(&json!({"url": server.url("/"), "expect": [404]})).run().outcome, Outcome::Success);
}

#[test]
fn a_body_is_saved_in_the_attempts_folder_only() {
    let server = Server::start(|_, _| (200, String::new(), vec![255; 3_000_000]));
    let attempt = http(&json!({"url": server.url("/"), "save": "in/orders.bin"}));
    let ended = attempt.run();
    assert_eq!(ended.outcome, Outcome::Success);
    assert_eq!(ended.result.unwrap()["bytes"], 3_000_000);
    assert_eq!(std::fs::metadata(attempt.dirs.work.join("in/orders.bin")).unwrap().len(), 3_000_000);
    for path in ["../x", "/tmp/x", ""] {
        let error = http(&json!({"url": server.url("/"), "save": path})).prepare().unwrap_err();
        assert_eq!(error.code(), "file.outside");
    }
    let large = http(&json!({"url": server.url("/")})).run();
    assert_eq!(large.outcome, failed("the body is larger than 1048576 bytes"));
}

#[test]
fn credentials_stay_with_their_origin() {
    let target = Server::json(&json!("there"));
    let elsewhere = target.url("/b");
    let first = Server::start(move |seen, _| match seen.line.as_str() {
        "POST /a HTTP/1.1" => (303, "location: /c\r\n".into(), Vec::new()),
        _ => (302, format!("location: {elsewhere}\r\n"), Vec::new()),
    });
    let args = json!({"url": first.url("/a"), "method": "POST", "body": "x", "headers": {"X-Api-Key": "s", "Accept": "a/b"}});
    assert_eq!(http(&args).run().result, Some(json!("there")));
    let (first, target) = (first.seen(), target.seen());
    assert_eq!((first[1].line.as_str(), first[1].header("x-api-key")), ("GET /c HTTP/1.1", Some("s")));
    assert_eq!((target[0].header("x-api-key"), target[0].header("accept")), (None, Some("a/b")));

    let round = Server::start(|_, _| (307, "location: /\r\n".into(), Vec::new()));
    assert_eq!(http(&json!({"url": round.url("/")})).run().outcome, failed("more than 3 redirects"));
    assert_eq!(round.seen().len(), 4);
}

#[test]
fn a_redirect_cannot_leave_the_policy() {
    let inner = Server::json(&json!(1));
    let location = format!("location: http://localhost:{}/\r\n", inner.address.port());
    let open = Server::start(move |_, _| (302, location.clone(), Vec::new()));
    let mut attempt = http(&json!({"url": open.url("/")}));
    attempt.ctx.policy.loopback = false;
    attempt.ctx.policy.allow.push(plugins::policy::Opening {
        network: "127.0.0.1".parse().unwrap(),
        ports: vec![open.address.port()],
    });
    assert_eq!(
        attempt.run().outcome,
        failed("the host's address is not allowed: a platform admin can open it")
    );
    assert_eq!((open.seen().len(), inner.seen().len()), (1, 0));
}

#[test]
fn addresses_and_urls_are_judged() {
    let server = Server::json(&json!(1));
    for url in [
        server.url("/"),
        format!("http://localhost:{}/", server.address.port()),
        "http://169.254.169.254/".into(),
        "http://2852039166/".into(),
        "http://0xa9fea9fe/".into(),
    ] {
        let mut attempt = http(&json!({"url": url}));
        attempt.ctx.policy = Policy { plain_http: true, ..Policy::shared() };
        let outcome = attempt.run().outcome;
        assert_eq!(
            outcome,
            failed("the host's address is not allowed: a platform admin can open it"),
            "{url}"
        );
    }
    assert!(server.seen().is_empty());
    for url in ["ftp://x/", "http://u:p@127.0.0.1/", "file:///etc/passwd", "x"] {
        assert!(http(&json!({"url": url})).prepare().unwrap_err().for_good(), "{url}");
    }
    let mut attempt = http(&json!({"url": "http://127.0.0.1/"}));
    attempt.ctx.policy = Policy::shared();
    assert!(attempt.prepare().unwrap_err().to_string().contains("use `https`"));
}

#[test]
fn errors_name_a_category_and_no_address() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    let url = |scheme: &str| json!({"url": format!("{scheme}://127.0.0.1:{port}/"), "timeout": "300ms"});
    // Bound and never accepted: connected by the kernel, answered by nobody.
    assert_eq!(http(&url("http")).run().outcome, failed("the request timed out"));
    drop(closed);
    assert_eq!(http(&url("http")).run().outcome, failed("the connection could not be made"));
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = json!({"url": format!("https://{}/", plain.local_addr().unwrap())});
    let server = std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        stream.read_exact(&mut [0; 64]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let Outcome::Failed { reason } = http(&tls).run().outcome else { panic!() };
    assert!(reason.starts_with("the TLS handshake failed"), "{reason}");
    server.join().unwrap();
    assert_eq!(
        http(&json!({"url": "http://no-such-host.invalid/"})).run().outcome,
        failed("the host's name could not be resolved")
    );
}

#[test]
fn a_sensor_pokes_until_the_answer_is_right() {
    let server = Server::start(|_, n| match n {
        0 => (503, String::new(), Vec::new()),
        n => (200, "content-type: application/json\r\n".into(), json!({"n": n}).to_string().into_bytes()),
    });
    let args = json!({
        "url": server.url("/"), "until": "response.n >= 2 and status == 200", "mode": "poke", "interval": "10ms",
    });
    let ended = Attempt::of("http_sensor", &args).run();
    assert_eq!((ended.outcome, ended.result), (Outcome::Success, Some(json!({"n": 2}))));
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_sensor_gives_its_slot_back_and_gives_up_in_time() {
    let server = Server::start(|_, _| (503, String::new(), Vec::new()));
    let args = json!({"url": server.url("/"), "interval": "5m", "timeout": "1h"});
    let mut attempt = Attempt::of("http_sensor", &args);
    assert_eq!(attempt.run().outcome, Outcome::Reschedule { after: Span::seconds(300) });
    attempt.ctx.task.waited = Span::seconds(3_600);
    let reason = "gave up after 1h: the answer has status 503".to_owned();
    assert_eq!(attempt.run().outcome, Outcome::FailedForGood { reason: reason.clone() });
    let mut soft = args;
    soft["soft_fail"] = true.into();
    let mut attempt = Attempt::of("http_sensor", &soft);
    attempt.ctx.task.waited = Span::seconds(3_600);
    assert_eq!(attempt.run().outcome, Outcome::Skipped { reason });
}
