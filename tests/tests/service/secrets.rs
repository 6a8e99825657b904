//! Secrets don't get into anything that is stored or shown, in whatever form tasks print them.

use std::fmt::Write as _;

use api::{
    client::{Client, Slice},
    v2::{connections::ConnectionBody, variables::VariableBody},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use engine::state::{RunState, TaskState};

use crate::{
    on_both,
    site::{SOON, Site, program},
};

on_both!(
    what_tasks_do_with_secrets_is_masked_everywhere,
    another_master_key_stops_the_start_until_its_secrets_are_given_up,
);

const TOKEN: &str = "s3cr3t/'va lue+&\"7";
const PASSWORD: &str = "pass-w0rd-of-the-shop";
/// Part of a secret that is JSON.
const PART: &str = "inner-key-0815";

const DAG: &str = r#"
dag: leaky
on_failure: { notify: nobody }
tasks:
  say:
    retries: 1
    retry_delay: 1s
    env:
      TOKEN: "{{ var.value.token }}"
      PART: "{{ var.json.document.key }}"
      PASSWORD: "{{ conn.shop.password }}"
    bash: |
      cat > say.py <<'PYTHON'
      import base64, html, json, os, shlex, urllib.parse
      for secret in (os.environ[name] for name in ("TOKEN", "PART", "PASSWORD")):
          raw = secret.encode()
          print("raw", secret)
          print("base64", base64.b64encode(raw), base64.b64encode(b"a:" + raw), base64.urlsafe_b64encode(b"ab" + raw))
          print("hex", raw.hex(), raw.hex().upper())
          print("url", urllib.parse.quote(secret), urllib.parse.quote_plus(secret), urllib.parse.quote(secret, safe=""))
          print("json", json.dumps(secret), "shell", shlex.quote(secret), "html", html.escape(secret))
      secrets = {name: os.environ[name] for name in ("TOKEN", "PART", "PASSWORD")}
      json.dump({"all": secrets, secrets["PART"]: [secrets["TOKEN"]]}, open(os.environ["UPDRAFT_RESULT"], "w"))
      PYTHON
      python3 say.py
      python3 say.py >&2
      if [ {{ ti.try_number }} = 1 ]; then echo "it was $TOKEN with $PASSWORD" > "$UPDRAFT_REASON"; exit 1; fi
  program:
    python:
      variables: [token]
      code: |
        print(var["value"]["token"])
        raise Exception(var["value"]["token"])
  asked:
    when: "{{ var.value.token == 'x' }}"
    bash: "true"
  started:
    trigger_dag: { dag_id: leaky, conf: { token: "{{ var.value.token }}" } }
"#;

/// How a secret may look wherever it went.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let json = serde_json::to_string(secret).unwrap();
    let escaped = json.trim_matches('"').to_owned();
    let mut hex = String::new();
    for byte in secret.bytes() {
        write!(hex, "{byte:02x}").unwrap();
    }
    let base64 = BASE64_STANDARD.encode(secret);
    // The last digits depend on what follows.
    let base64 = base64[..base64.len() - 4].to_owned();
    [secret.to_owned(), escaped, hex.to_uppercase(), hex, base64].map(String::into_bytes).into()
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

async fn what_tasks_do_with_secrets_is_masked_everywhere(site: Site) {
    site.write_dag("leaky.yaml", DAG);
    let service = site.start();
    service.ready(&site).await;
    let client = Client::new(&site.path("data/updraft.sock"));
    for (key, value) in [("token", TOKEN.to_owned()), ("document", format!(r#"{{"key": "{PART}"}}"#))] {
        let body = VariableBody {
            key: key.to_owned(),
            value: value.into(),
            description: None,
            team_name: None,
            secret: Some(true),
        };
        client.make_variable(&body).await.unwrap();
    }
    let shop = ConnectionBody {
        connection_id: "shop".to_owned(),
        conn_type: "http".to_owned(),
        host: Some("shop.example".to_owned()),
        password: Some(PASSWORD.to_owned()),
        ..ConnectionBody::default()
    };
    client.make_connection(&shop).await.unwrap();
    site.trigger("leaky", "one").await;
    let run = site.ended("leaky", "one").await;
    assert_eq!(run.state, RunState::Failed);
    let say = site.task(&run, "say").await;
    assert_eq!((say.state, say.try_number), (TaskState::Success, 2), "{:?}", say.reason);
    for task in ["asked", "started"] {
        let row = site.task(&run, task).await;
        let reason = row.reason.as_deref().unwrap_or_default();
        assert!(reason.contains("it doesn't see `var.value.token`"), "{task}: {:?} {reason}", row.state);
    }
    let program = site.task(&run, "program").await;
    assert!(program.reason.as_deref().is_some_and(|reason| reason.contains("***")), "{:?}", program.reason);
    // Masked, and not merely absent.
    let log = site
        .until(SOON, "the log can be read", async || {
            let log =
                client.log("leaky", "one", ("say", -1), 2, None).await.map_err(|error| error.to_string())?;
            let text = serde_json::to_string(&log).unwrap();
            if text.contains("shell") { Ok(text) } else { Err(text) }
        })
        .await;
    assert!(log.contains("raw ***") && log.contains("hex *** ***"), "{log}");

    let mut shown = serde_json::to_string(&client.variables(Slice::default()).await.unwrap()).unwrap();
    shown += &serde_json::to_string(&client.connections(Slice::default()).await.unwrap()).unwrap();
    shown += &serde_json::to_string(&client.alerts(None, Slice::default()).await.unwrap()).unwrap();
    shown += &serde_json::to_string(&client.event_logs(Slice::default()).await.unwrap()).unwrap();
    shown += &log;
    shown += &service.log();
    // An attempt's own folder is the task's to write in, and gone when the attempt is.
    site.until(SOON, "what attempts wrote for themselves is gone", async || {
        let left = ["attempts", "trash"].map(|name| {
            std::fs::read_dir(site.path("data/supervisor").join(name)).map_or(0, Iterator::count)
        });
        if left == [0, 0] { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    let stored = site.everything_stored().await;
    assert!(stored.iter().any(|(_, bytes)| holds(bytes, b"leaky")), "the test looks at what is stored");
    for secret in [TOKEN, PASSWORD, PART] {
        for form in forms(secret) {
            let what = String::from_utf8_lossy(&form).into_owned();
            assert!(!holds(shown.as_bytes(), &form), "{what} is shown");
            for (place, bytes) in &stored {
                assert!(!holds(bytes, &form), "{what} is in {place}");
            }
        }
    }
}

fn token(value: &str) -> VariableBody {
    VariableBody {
        key: "token".to_owned(),
        value: value.into(),
        description: None,
        team_name: None,
        secret: Some(true),
    }
}

async fn another_master_key_stops_the_start_until_its_secrets_are_given_up(site: Site) {
    let text = format!(
        "dag: d\ntasks:\n  a:\n    env: {{ TOKEN: '{{{{ var.value.token }}}}' }}\n    bash: echo $TOKEN >> {}\n",
        site.effects().display()
    );
    site.write_dag("d.yaml", &text);
    let client = Client::new(&site.path("data/updraft.sock"));
    let service = site.start();
    service.ready(&site).await;
    client.make_variable(&token("first")).await.unwrap();
    service.kill();

    let (file, lost) = (site.path("data/master.key"), site.path("lost.key"));
    std::fs::rename(&file, &lost).unwrap();
    let (status, log) = site.start().exit(SOON).await;
    assert!(!status.success() && log.contains("isn't the one of this database"), "{status}: {log}");
    std::fs::rename(&lost, &file).unwrap();
    let service = site.start();
    service.ready(&site).await;
    site.trigger("d", "restored").await;
    assert_eq!(site.ended("d", "restored").await.state, RunState::Success);
    service.kill();

    std::fs::rename(&file, &lost).unwrap();
    let forget = |more: &[&str]| {
        let mut command = std::process::Command::new(program());
        command.args(["migrate", "forget-secrets", "--set"]);
        command.arg(format!("node.data={}", site.path("data").display()));
        if let Some(url) = site.url() {
            command.args(["--set", &format!("database.url={url}")]);
        }
        command.args(more).output().unwrap()
    };
    let asked = forget(&[]);
    assert!(!asked.status.success() && String::from_utf8_lossy(&asked.stderr).contains("--yes"), "{asked:?}");
    let done = forget(&["--yes"]);
    assert!(done.status.success(), "{done:?}");
    let service = site.start();
    service.ready(&site).await;
    site.trigger("d", "given_up").await;
    let run = site.ended("d", "given_up").await;
    let reason = site.task(&run, "a").await.reason;
    assert!(reason.as_deref().is_some_and(|reason| reason.contains("set the secret again")), "{reason:?}");
    client.change_variable(&token("second")).await.unwrap();
    site.trigger("d", "anew").await;
    assert_eq!(site.ended("d", "anew").await.state, RunState::Success);
    assert_eq!(site.lines(), ["first", "second"]);
    drop(service);
}
