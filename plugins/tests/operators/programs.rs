//! `bash` and `python` with the real programs.

use crate::attempt::{Attempt, connection, failed};
use plugins::operator::{Outcome, Step};
use serde_json::{Value, json};

fn bash(command: &str) -> Attempt {
    Attempt::of("bash", &json!({"command": command}))
}

fn python(code: &str) -> Attempt {
    Attempt::of("python", &json!({"code": code}))
}

#[test]
fn a_command_runs_beside_the_dag_and_leaves_its_result() {
    let attempt = bash("./hello.sh {{ ds }} && echo '{\"rows\": 3}' > \"$UPDRAFT_RESULT\"")
        .file("hello.sh", "echo \"$1 $UPDRAFT_TASK_ID $AIRFLOW_CTX_DAG_ID\"");
    std::fs::set_permissions(
        attempt.ctx.bundle_dir.join("hello.sh"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let ended = attempt.run();
    assert_eq!(ended.outcome, Outcome::Success, "{}", ended.stderr);
    assert_eq!(ended.stdout, "2026-01-02 load daily\n");
    assert_eq!(ended.result, Some(json!({"rows": 3})));
}

#[test]
fn a_command_stops_at_the_first_failure_also_in_a_pipe() {
    assert_eq!(bash("false | cat\necho on").run().outcome, failed("exited with code 1"));
    let lax = Attempt::of("bash", &json!({"command": "false | cat\necho on", "strict": false})).run();
    assert_eq!((lax.outcome, lax.stdout.as_str()), (Outcome::Success, "on\n"));
}

#[test]
fn exit_codes_say_skip_and_why() {
    assert!(matches!(bash("exit 99").run().outcome, Outcome::Skipped { .. }));
    let other = Attempt::of("bash", &json!({"command": "exit 7", "skip_on_exit_code": [7]})).run();
    assert!(matches!(other.outcome, Outcome::Skipped { .. }));
    assert_eq!(
        Attempt::of("bash", &json!({"command": "exit 99", "skip_on_exit_code": []})).run().outcome,
        failed("exited with code 99")
    );
    assert_eq!(bash("nonsense").run().outcome, failed("exited with code 127: the command was not found"));
    assert_eq!(bash("echo 'disk full' > $UPDRAFT_REASON; exit 3").run().outcome, failed("disk full"));
}

#[test]
fn the_last_expression_is_the_result() {
    let ended = python(
        "import datetime\nx = params.region\n{'x': x, 'n': [1, 2.5, None], 'd': datetime.date(2026, 1, 2)}",
    )
    .run();
    assert_eq!(ended.outcome, Outcome::Success, "{}", ended.stderr);
    assert_eq!(ended.result, Some(json!({"x": "eu", "n": [1, 2.5, null], "d": "2026-01-02"})));
    assert_eq!(python("x = 1").run().result, None);
    assert_eq!(python("None").run().result, None);
}

#[test]
fn code_sees_the_run() {
    let code = "[ds, outputs.stores, list(map(len, outputs.stores)), context.params['region'], '{{ ds }}']";
    let ended = python(code).run();
    assert_eq!(
        ended.result,
        Some(json!(["2026-01-02", ["berlin", "paris"], [6, 5], "eu", "{{ ds }}"])),
        "{}",
        ended.stderr
    );
}

#[test]
fn mapped_variables_and_the_builtin_share_the_name_map() {
    let mut attempt = python("[map.store, map['store'], list(map(str.upper, ['a']))]");
    attempt.ctx.task.map_index = 0;
    attempt.ctx.map.insert("store".into(), "rome".into());
    let ended = attempt.run();
    assert_eq!(ended.result, Some(json!(["rome", "rome", ["A"]])), "{}", ended.stderr);
}

#[test]
fn a_traceback_shows_the_authors_lines_only() {
    let ended = python("def divide(a, b):\n    return a / b\n\ndivide(1, 0)\n").run();
    assert_eq!(ended.outcome, failed("ZeroDivisionError: division by zero"));
    assert!(
        ended.stderr.contains("File \"task load\", line 2, in divide\n    return a / b"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("line 4, in <module>\n    divide(1, 0)"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("run.py"), "{}", ended.stderr);
    let ended = python("x = (1,\ny = 2").run();
    assert!(ended.stderr.contains("File \"task load\", line 1"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("run.py"), "{}", ended.stderr);
}

#[test]
fn a_value_that_is_not_json_is_explained() {
    for (code, hint) in [
        ("{'a': [{1, 2}]}", "result['a'][0] is a set; write sorted(...) or list(...)"),
        ("float('nan')", "result is nan, which JSON doesn't have"),
        ("{1: 2}", "result has the key 1; keys must be texts: write str(key)"),
        ("(x for x in [1])", "result is a generator; write list(...)"),
        ("print", "result is a builtin_function_or_method; end with None if there is no result"),
    ] {
        let reason = format!("the value of the last expression is not JSON: {hint}");
        assert_eq!(python(code).run().outcome, failed(&reason));
    }
}

#[test]
fn code_can_skip_and_give_up() {
    assert_eq!(
        python("raise updraft.Skip('nothing new')").run().outcome,
        Outcome::Skipped { reason: "nothing new".into() }
    );
    assert_eq!(
        python("raise updraft.Fail('no such table')").run().outcome,
        Outcome::FailedForGood { reason: "Fail: no such table".into() }
    );
    let airflow =
        python("class AirflowSkipException(Exception): pass\nraise AirflowSkipException('x')").run();
    assert_eq!(airflow.outcome, Outcome::Skipped { reason: "x".into() });
}

#[test]
fn a_file_runs_with_its_neighbours_and_arguments() {
    let attempt = Attempt::of("python", &json!({"file": "jobs/train.py", "args": ["--day", "{{ ds }}", 3]}))
        .file("jobs/train.py", "import sys, helper, shared\nfrom updraft import context\n[sys.argv[1:], helper.V, shared.V, __name__, context.ds]\n")
        .file("jobs/helper.py", "V = 'h'")
        .file("shared.py", "V = 's'");
    let ended = attempt.run();
    assert_eq!(
        ended.result,
        Some(json!([["--day", "2026-01-02", "3"], "h", "s", "__main__", "2026-01-02"])),
        "{}",
        ended.stderr
    );
    let outside = Attempt::of("python", &json!({"file": "../x.py"})).prepare().unwrap_err();
    assert_eq!(outside.code(), "file.outside");
}

#[test]
fn the_request_with_its_secrets_is_gone_when_the_code_runs() {
    let mut warehouse = connection("postgres");
    warehouse.password = Some("hunter2".to_owned());
    let code = "import os\n[updraft.connection('warehouse').password, sorted(os.listdir(os.environ['UPDRAFT_WORK'] + '/.updraft'))]";
    let attempt = Attempt::of("python", &json!({"code": code, "connections": ["warehouse"]}))
        .connection("warehouse", warehouse);
    let ended = attempt.run();
    assert_eq!(ended.result, Some(json!(["hunter2", ["run.py", "seldom.py"]])), "{}", ended.stderr);
    let ended = python("updraft.connection('warehouse')").run();
    assert!(matches!(ended.outcome, Outcome::FailedForGood { .. }), "{ended:?}");
}

#[test]
fn a_virtual_environment_is_used() {
    let attempt = Attempt::of("python", &json!({"code": "import sys\nsys.prefix", "venv": "env"}));
    let venv = attempt.ctx.bundle_dir.join("env");
    let made = std::process::Command::new("python3")
        .args(["-m", "venv", "--without-pip"])
        .arg(&venv)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    assert_eq!(attempt.run().result, Some(json!(venv.canonicalize().unwrap())));
    let missing = Attempt::of("python", &json!({"code": "1", "venv": "/nowhere"})).prepare().unwrap_err();
    assert!(missing.to_string().contains("has no `bin/python`"), "{missing}");
}

#[test]
fn parameters_that_do_not_fit_are_named() {
    let error = Attempt::of("bash", &json!({"command": 3})).prepare().unwrap_err();
    assert!(error.to_string().contains("invalid type: integer `3`, expected a string"), "{error}");
    assert!(error.for_good());
    let error = Attempt::of("bsh", &json!({})).prepare().unwrap_err();
    assert_eq!(error.code(), "operator.unknown");
    let error = Attempt::of("empty", &json!({})).prepare().unwrap_err();
    assert_eq!(error.code(), "operator.engine");
}

#[test]
fn the_tasks_environment_is_rendered() {
    let mut attempt = bash("echo $DAY $UPDRAFT_RUN_ID");
    attempt.ctx.task.env.insert("DAY".into(), "{{ ds }}".into());
    assert_eq!(attempt.run().stdout, "2026-01-02 scheduled__2026-01-02T03:00:00+00:00\n");
    let Ok(Step::Exec(exec)) = attempt.prepare() else { panic!() };
    assert!(!exec.env.contains_key("RANK"));
    attempt.ctx.members = 4;
    attempt.ctx.member = 2;
    let Ok(Step::Exec(exec)) = attempt.prepare() else { panic!() };
    let names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR"];
    assert_eq!(names.map(|name| exec.env[name].as_str()), ["2", "4", "2", "4", "127.0.0.1"]);
    let port = exec.env["MASTER_PORT"].clone();
    assert!((20_000..32_000).contains(&port.parse::<u16>().unwrap()), "{port}");
    attempt.ctx.member = 3;
    let Ok(Step::Exec(exec)) = attempt.prepare() else { panic!() };
    assert_eq!((exec.env["RANK"].as_str(), &exec.env["MASTER_PORT"]), ("3", &port), "they agree on it");
}

#[test]
fn fail_fails_and_sleep_sleeps() {
    assert_eq!(Attempt::of("fail", &json!({"reason": "as asked"})).run().outcome, failed("as asked"));
    let for_good = Attempt::of("fail", &json!({"for_good": true})).run().outcome;
    assert!(matches!(for_good, Outcome::FailedForGood { .. }));
    assert_eq!(Attempt::of("sleep", &json!({"duration": "1ms"})).run().outcome, Outcome::Success);
    assert_eq!(Attempt::of("sleep", &json!({"duration": "1ms"})).run().result, None::<Value>);
}
