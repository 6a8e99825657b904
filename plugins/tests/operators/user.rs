//! Operators that users bring: the examples, and what goes wrong with others.

use std::path::{Path, PathBuf};

use crate::attempt::{Attempt, connection, failed};
use crate::server::Server;
use dags::{
    compile::{NoFiles, compile},
    diagnostic::Source,
    time::Span,
};
use plugins::operator::Outcome;
use serde_json::{Value, json};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dags/examples")
}

/// An attempt in a bundle that has the examples' plugins.
fn attempt(operator: &str, args: &Value) -> Attempt {
    let attempt = Attempt::of(operator, args);
    let folder = attempt.ctx.bundle_dir.join("plugins");
    std::fs::create_dir(&folder).unwrap();
    for entry in examples().join("plugins").read_dir().unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    attempt
}

#[test]
fn the_examples_are_operators_like_others() {
    let (catalog, diagnostics) = plugins::user::catalog(&examples());
    assert_eq!(diagnostics, []);
    assert_eq!(catalog.get("chat_message").unwrap().doc, "Posts a message to a chat channel.");
    assert_eq!(catalog.get("row_count").unwrap().plugin.as_ref().unwrap().len(), 64);
    assert!(catalog.get("bash").is_some());
    let errors = |task: &str| {
        let text = format!("dag: d\ntasks:\n  t:\n    {task}\n");
        let compiled = compile(&Source::new("d.yaml", text), &catalog, &NoFiles);
        (compiled.diagnostics.into_iter().map(|d| d.message).collect::<Vec<_>>(), compiled.dags)
    };
    let (found, dags) = errors("chat_message: done with {{ ds }}");
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(dags[0].plugins.keys().collect::<Vec<_>>(), ["chat_message"]);
    assert_eq!(
        errors("row_count: { at_least: -1 }").0,
        ["`row_count` lacks the parameter `path`", "`row_count.at_least` must be at least 0, but is `-1`"]
    );
    assert_eq!(errors("chat_message: { txt: x, text: y }").0, ["`chat_message` has no parameter `txt`"]);
}

#[test]
fn a_filled_in_operator_runs_as_that_operator() {
    let server = Server::json(&json!({"id": 7}));
    let mut chat = connection("http");
    chat.host = Some(format!("http://{}", server.address));
    let args = json!({"text": "{{ params.odd }} {{ '{{ ds }}' }}", "channel": "a/b", "mention": ["ada"]});
    let ended = attempt("chat_message", &args).connection("chat", chat).run();
    assert_eq!((ended.outcome, ended.result), (Outcome::Success, Some(json!({"id": 7}))));
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /messages?channel=a%2Fb HTTP/1.1");
    // What the task's own parameters rendered to isn't rendered again.
    assert_eq!(seen.body, r#"{"run":"daily 2026-01-02","text":"@ada a b;c {{ ds }}"}"#);
}

#[test]
fn a_program_answers_in_its_protocol() {
    let start =
        |path: &str, at_least: u32| attempt("row_count", &json!({"path": path, "at_least": at_least}));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "a,b\n1,2\n3,4\n").unwrap();
    let path = path.to_str().unwrap();
    let ended = start(path, 1).run();
    assert_eq!(
        (ended.outcome, ended.result),
        (Outcome::Success, Some(json!({"rows": 2, "columns": ["a", "b"]})))
    );
    assert_eq!(start(path, 3).run().outcome, failed("2 rows, expected at least 3"));
    let mut waiting = start("/nowhere/a.csv", 1);
    assert_eq!(waiting.run().outcome, Outcome::Reschedule { after: Span::seconds(300) });
    waiting.ctx.task.waited = Span::seconds(4_000);
    assert_eq!(waiting.run().outcome, failed("the file didn't come within an hour"));
}

#[test]
fn a_program_that_breaks_its_protocol_fails() {
    let run = |script: &str, executable: bool| {
        let attempt = Attempt::of("odd", &json!({}))
            .file("plugins/odd.yaml", "operator: odd\ndoc: Odd.\nprogram: odd.sh\n")
            .file("plugins/odd.sh", script);
        if executable {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(attempt.ctx.bundle_dir.join("plugins/odd.sh"), mode).unwrap();
        }
        attempt
    };
    assert_eq!(
        run("#!/bin/sh\nexit 3\n", true).run().outcome,
        failed("the plugin's program ended without an outcome (exit status: 3)")
    );
    let Outcome::Failed { reason } =
        run("#!/bin/sh\necho '{\"outcome\": 1}'\nexec sleep 600\n", true).run().outcome
    else {
        panic!()
    };
    assert!(reason.starts_with("the plugin's program broke its protocol"), "{reason}");
    let error = run("#!/bin/sh\n", false).prepare().unwrap_err();
    assert!(error.to_string().contains("chmod +x"), "{error}");
    // Secrets reach it by its request only.
    let seen = run(
        "#!/bin/sh\nprintf '{\"outcome\": \"success\", \"result\": \"%s\"}' \"$CARGO_MANIFEST_DIR\"\n",
        true,
    )
    .run();
    assert_eq!(seen.result, Some(json!("")));
}

#[test]
fn exit_codes_of_a_filled_in_operator_are_that_operators() {
    let attempt = Attempt::of("quiet", &json!({})).file(
        "plugins/quiet.yaml",
        "operator: quiet\ndoc: Quiet.\nuses: bash\nwith: { command: exit 7, skip_on_exit_code: 7 }\n",
    );
    assert!(matches!(attempt.run().outcome, Outcome::Skipped { .. }));
}

#[test]
fn what_is_wrong_with_a_plugin_is_said_and_leaves_the_others() {
    for (text, message) in [
        ("operator: p\ndoc: x\n", "it needs exactly one of `uses`, `program` or `rhai`"),
        ("operator: p\ndoc: x\nuses: bsh\n", "`uses: bsh` isn't a built-in operator that runs as an attempt"),
        (
            "operator: p\ndoc: x\nuses: empty\n",
            "`uses: empty` isn't a built-in operator that runs as an attempt",
        ),
        (
            "operator: p\ndoc: x\nuses: bash\nwith: { comand: x }\n",
            "`with`: `bash` has no parameter `comand`",
        ),
        ("operator: p\ndoc: x\nuses: bash\n", "`with` lacks the parameter \"command\" of `bash`"),
        (
            "operator: p\ndoc: x\nprogram: ../x\n",
            "`../x` must be a relative path that stays inside of its folder",
        ),
        ("operator: q\ndoc: x\nprogram: p.yaml\n", "the plugin of operator `q` must be named `q.yaml`"),
        ("operator: bash\ndoc: x\nprogram: p.yaml\n", "an operator named `bash` is built in"),
        ("operator: p\ndoc: x\nprogram: p.yaml\nmain: y\n", "`y` isn't one of its `params`"),
        (
            "operator: p\ndoc: x\nprogram: p.yaml\nparams: { a: { type: strin } }\n",
            "the schema of operator `p` can't be used",
        ),
        ("operator: p\ndoc: x\ndox: y\n", "unknown field `dox`"),
        ("operator: [", ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        std::fs::write(plugins.join("p.yaml"), text).unwrap();
        std::fs::write(
            plugins.join("good.yaml"),
            "operator: good\ndoc: x\nuses: bash\nwith: { command: x }\n",
        )
        .unwrap();
        let (catalog, diagnostics) = plugins::user::catalog(folder.path());
        assert!(
            !diagnostics.is_empty() && diagnostics[0].message.contains(message),
            "{text}: {diagnostics:#?}"
        );
        assert_eq!(diagnostics[0].file, "plugins/p.yaml");
        assert!(catalog.get("good").is_some() && catalog.get("p").is_none());
    }
}
