//! `rhai` and plugins that are scripts, with the real script host.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use plugins::operator::Outcome;
use serde_json::{Value, json};

use crate::attempt::{Attempt, connection, failed};

/// The program that `UPDRAFT_SCRIPT` names, or the one that is built here from its own workspace.
#[expect(clippy::disallowed_methods, reason = "the gate builds the program once and names it")]
fn program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        if let Some(path) = std::env::var_os("UPDRAFT_SCRIPT") {
            return path.into();
        }
        let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dags/script-host");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--bin", "updraft-script"])
            .current_dir(&host)
            .env_remove("CARGO_TARGET_DIR")
            .status();
        assert!(status.unwrap().success(), "the script host builds");
        host.join("target/debug/updraft-script")
    };
    BUILT.get_or_init(build).clone()
}

fn with_host(operator: &str, args: &Value) -> Attempt {
    let mut attempt = Attempt::of(operator, args);
    attempt.ctx.policy.script_program = Some(program());
    attempt
}

fn rhai(code: &str) -> Attempt {
    with_host("rhai", &json!({"code": code}))
}

#[test]
fn the_last_expression_is_the_result() {
    let ended = rhai("print(ds); let n = outputs.stores.len(); #{ n: n, region: params.region }").run();
    assert_eq!((ended.outcome, ended.result), (Outcome::Success, Some(json!({"n": 2, "region": "eu"}))));
    assert_eq!(rhai("let a = 1;").run().result, None);
    let file = with_host("rhai", &json!({"file": "a.rhai"})).file("a.rhai", "run_id");
    assert_eq!(file.run().result, Some(json!("scheduled__2026-01-02T03:00:00+00:00")));
}

#[test]
fn a_script_that_fails_or_runs_away_is_told() {
    let reason = |code: &str| match rhai(code).run().outcome {
        Outcome::Failed { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason("let a = 1;\nthrow \"no orders\"").contains("no orders"));
    assert!(reason("let a = 1;\nb + 1").contains("<task load>:2"));
    assert!(reason("loop {}").contains("[limit: operations]"));
    let mut none = rhai("1");
    none.ctx.policy.script_program = Some("/nowhere/updraft-script".into());
    assert_eq!(
        none.run().outcome,
        failed(
            "the program `updraft-script` isn't at \"/nowhere/updraft-script\": install it beside `updraft`, or set its path"
        )
    );
}

#[test]
fn a_plugin_that_is_a_script_says_what_to_run() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dags/examples/plugins");
    let copy = |from: &str, columns: &Value| {
        let mut w = connection("sqlite");
        w.schema = Some("w.db".into());
        let args = json!({"connection": "w", "from": from, "into": "b", "columns": columns});
        let mut attempt = with_host("copy_columns", &args).connection("w", w);
        for name in ["copy_columns.yaml", "copy_columns.rhai"] {
            attempt = attempt
                .file(&format!("plugins/{name}"), &std::fs::read_to_string(examples.join(name)).unwrap());
        }
        let made = Command::new("sqlite3")
            .arg(attempt.dirs.work.join("w.db"))
            .arg("create table a (x, y); insert into a values (1, 2); create table b (x, y)")
            .status();
        assert!(made.unwrap().success());
        attempt
    };
    let mut attempt = copy("a", &json!(["x", "y"]));
    assert_eq!(attempt.run().outcome, Outcome::Success);
    attempt.ctx.task.operator = "sql".to_owned();
    attempt.ctx.task.args =
        json!({"connection": "w", "query": "select * from b"}).as_object().unwrap().clone();
    assert_eq!(attempt.run().result, Some(json!([{"x": 1, "y": 2}])));

    let same = copy("b", &json!(["x"])).run();
    assert_eq!(same.outcome, Outcome::Skipped { reason: "both tables are the same".into() });
    let Outcome::Failed { reason } = copy("a", &json!(["x; drop table a"])).run().outcome else { panic!() };
    assert!(reason.contains("is no name of a table or column"), "{reason}");
}

#[test]
fn the_answer_of_a_script_is_checked() {
    let answer = |script: &str| {
        with_host("p", &json!({}))
            .file("plugins/p.yaml", "operator: p\ndoc: x\nrhai: p.rhai\n")
            .file("plugins/p.rhai", script)
            .prepare()
            .unwrap_err()
            .to_string()
    };
    assert!(answer("1").contains("must end with an object"));
    assert!(answer("#{ uses: \"rm\" }").contains("its script uses \"rm\", which isn't a built-in operator"));
    assert!(answer("#{ outcome: \"fine\" }").contains("isn't an outcome"));
    assert!(answer("#{ uses: \"bash\", \"with\": #{ comand: 1 } }").contains("unknown field `comand`"));
}
