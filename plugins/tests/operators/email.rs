//! `email` against a small SMTP server that keeps what it is told.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread::JoinHandle,
};

use crate::attempt::{Attempt, connection, failed};
use plugins::{context::Connection, operator::Outcome};
use serde_json::{Value, json};

/// Takes one session, refusing recipients at `refused.example`; gives everything that the client said.
fn server() -> (Connection, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut smtp = connection("smtp");
    smtp.host = Some("localhost".into());
    smtp.port = Some(listener.local_addr().unwrap().port());
    smtp.extra = json!({"from": "Updraft <up@x.example>", "tls": "none", "recipients": {"sales-data": ["ada@x.example", "bob@x.example"]}})
        .as_object()
        .unwrap()
        .clone();
    let session = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut data = false;
        stream.write_all(b"220 ready\r\n").unwrap();
        while let Some(Ok(line)) = lines.next() {
            said.push_str(&line);
            said.push('\n');
            let answer = match line.as_str() {
                "." if data => {
                    data = false;
                    "250 taken"
                }
                _ if data => continue,
                "DATA" => {
                    data = true;
                    "354 go on"
                }
                "QUIT" => "221 bye",
                line if line.contains("refused.example") => "550 no such user",
                line if line.starts_with("EHLO") => "250 localhost",
                _ => "250 fine",
            };
            // A client that gives up closes without waiting for our last word.
            if stream.write_all(format!("{answer}\r\n").as_bytes()).is_err() || answer.starts_with("221") {
                break;
            }
        }
        said
    });
    (smtp, session)
}

fn email(args: &Value, smtp: Connection) -> Attempt {
    Attempt::of("email", args).connection("smtp", smtp)
}

#[test]
fn a_mail_reaches_the_people_behind_a_name() {
    let (smtp, session) = server();
    let args = json!({"to": "sales-data", "cc": ["eve@x.example"], "subject": "Forecast of {{ ds }} is öff", "body": "Look.\n.\nBye."});
    let ended = email(&args, smtp).run();
    assert_eq!((ended.outcome, ended.result), (Outcome::Success, Some(json!({"recipients": 3}))));
    let said = session.join().unwrap();
    for part in [
        "MAIL FROM:<up@x.example>",
        "RCPT TO:<ada@x.example>",
        "RCPT TO:<eve@x.example>",
        "To: ada@x.example, bob@x.example",
        "Subject: Forecast of 2026-01-02 is =?utf-8?b?",
        "\nLook.\n..\nBye.\n",
    ] {
        assert!(said.contains(part), "{part:?} isn't in:\n{said}");
    }
}

#[test]
fn a_refusal_is_told() {
    let (smtp, session) = server();
    let ended = email(&json!({"to": "x@refused.example", "subject": "s"}), smtp).run();
    let Outcome::FailedForGood { reason } = ended.outcome else { panic!("{ended:?}") };
    assert!(reason.contains("no such user"), "{reason}");
    session.join().unwrap();
}

#[test]
fn what_cannot_be_a_mail_is_refused_before_it_is_sent() {
    let mut smtp = connection("smtp");
    smtp.host = Some("localhost".into());
    smtp.extra.insert("from".into(), "up@x.example".into());
    let error =
        |args: &Value, smtp: &Connection| email(args, smtp.clone()).prepare().unwrap_err().to_string();
    for (args, message) in [
        (json!({"to": "a@x.example", "subject": "a\r\nBcc: b@x.example"}), "`subject` must be one line"),
        (json!({"to": "a@x.example\r\nBcc: <b@x.example>", "subject": "s"}), "is no mail address"),
        (json!({"to": [], "subject": "s"}), "`to` names nobody"),
        (json!({"to": "sales", "subject": "s"}), "knows no recipients named `sales`"),
    ] {
        let found = error(&args, &smtp);
        assert!(found.contains(message), "{found}");
    }
    let good = json!({"to": "a@x.example", "subject": "s"});
    let mut plain = smtp.clone();
    plain.extra.insert("tls".into(), "none".into());
    plain.login = Some("up".into());
    assert!(error(&good, &plain).contains("isn't allowed with a login"));
    smtp.extra.insert("verify".into(), false.into());
    assert!(error(&good, &smtp).contains("`extra.verify`, which isn't known"));
    smtp.extra.remove("verify");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    smtp.port = Some(closed.port());
    assert_eq!(
        email(&good, smtp.clone()).run().outcome,
        failed("the connection to the mail server could not be made, or broke")
    );
    let mut attempt = email(&good, smtp);
    attempt.ctx.policy.loopback = false;
    let refused = "the mail server's address is not allowed: a platform admin can open it";
    assert_eq!(attempt.run().outcome, failed(refused));
}
