//! What DAG files become, and what their authors are told.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use updraft_script::{
    Host,
    fault::Fault,
    protocol::{Body, FORMAT, Hello, Limits, Reply, Words},
};

fn words() -> Words {
    let own = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    Words {
        operators: serde_json::from_value(json!([
            { "name": "bash", "doc": "Runs a command.", "main": "command", "schema": {}, "runner": "executor" },
            { "name": "sql", "doc": "Runs SQL.", "main": "query" },
            { "name": "empty", "doc": "Nothing." },
            { "name": "branch", "doc": "Chooses.", "main": "choices" },
        ]))
        .expect("the operators are well formed"),
        dag_keys: own(&["dag", "doc", "owner", "schedule", "timezone", "start_date", "tags", "tasks", "groups", "params"]),
        task_keys: own(&["doc", "needs", "retries", "pool", "trigger_rule", "map", "teardown_of", "when", "timeout", "env"]),
        group_keys: own(&["doc", "tasks", "map"]),
    }
}

fn host(modules: &[(&'static str, &'static str)]) -> Host {
    let modules: BTreeMap<&str, &str> = modules.iter().copied().collect();
    let hello = Hello { format: FORMAT, limits: Limits::default(), language: words() };
    Host::new(
        &hello,
        Box::new(move |name| {
            modules
                .get(name)
                .map(|text| (*text).to_owned())
                .ok_or_else(|| Fault::new(format!("no file `{name}.rhai`")))
        }),
    )
}

fn compile_with(modules: &[(&'static str, &'static str)], text: &str) -> Result<Vec<Value>, Fault> {
    match host(modules).answer(Body::Compile { path: "a.rhai".into(), text: text.into() }) {
        Reply::Trees { trees, .. } => {
            Ok(trees.iter().map(|tree| serde_json::to_value(tree).expect("a tree is JSON")).collect())
        }
        Reply::Fault(fault) => Err(fault),
        other => Err(Fault::new(format!("unexpected: {other:?}"))),
    }
}

fn compile(text: &str) -> Result<Vec<Value>, Fault> {
    compile_with(&[], text)
}

fn fault(text: &str) -> Fault {
    compile(text).expect_err("the script is at fault")
}

/// A tree without its spans.
fn plain(node: &Value) -> Value {
    match &node["kind"] {
        Value::String(_) => Value::Null,
        Value::Object(kind) => match kind.iter().next() {
            Some((name, Value::Array(items))) if name == "seq" => items.iter().map(plain).collect(),
            Some((name, Value::Array(items))) if name == "map" => items
                .iter()
                .map(|entry| {
                    (entry["key"]["text"].as_str().unwrap_or_default().to_owned(), plain(&entry["value"]))
                })
                .collect(),
            Some((_, value)) => value.clone(),
            None => Value::Null,
        },
        other => other.clone(),
    }
}

const REPORTS: &str = r#"
import "regions" as regions;                      // a module of the same folder

let d = dag("reports", #{ schedule: "0 6 * * 1-5", timezone: "Asia/Shanghai", start_date: "2026-01-01" });
let fetch = d.task("fetch", bash("./fetch.sh {{ ds }}"));
let done = d.task("done", empty()).trigger_rule("none_failed_min_one_success");

for region in regions::active() {
    let report = d.task("report_" + region, sql(#{ connection: "warehouse", file: `report_${region}.sql` }))
        .retries(3)
        .pool("warehouse");
    fetch >> report >> done;
}
d
"#;

#[test]
fn the_example_of_the_language_becomes_a_tree() {
    let trees = compile_with(&[("regions", r#"fn active() { ["eu", "us"] }"#)], REPORTS).unwrap();
    assert_eq!(
        plain(&trees[0]),
        json!({
            "dag": "reports",
            "schedule": "0 6 * * 1-5",
            "timezone": "Asia/Shanghai",
            "start_date": "2026-01-01",
            "tasks": {
                "fetch": { "bash": "./fetch.sh {{ ds }}" },
                "done": { "empty": {}, "needs": ["report_eu", "report_us"], "trigger_rule": "none_failed_min_one_success" },
                "report_eu": { "sql": { "connection": "warehouse", "file": "report_eu.sql" }, "needs": ["fetch"], "retries": 3, "pool": "warehouse" },
                "report_us": { "sql": { "connection": "warehouse", "file": "report_us.sql" }, "needs": ["fetch"], "retries": 3, "pool": "warehouse" },
            },
        })
    );
}

#[test]
fn spans_point_at_the_call() {
    let text = "let d = dag(\"x\");\nlet a = d.task(\"a\", bash(\"ls\")).retries(\"many\");\nlet b = d.task(\"b\", empty());\na >> b;\nd";
    let tree = &compile(text).unwrap()[0];
    let word = |span: &Value| {
        let at = |i: usize| usize::try_from(span[i].as_u64().unwrap()).unwrap();
        &text[at(0)..at(1)]
    };
    assert_eq!(word(&tree["span"]), "dag");
    let tasks = &tree["kind"]["map"][1]["value"]["kind"]["map"];
    assert_eq!(word(&tasks[0]["key"]["span"]), "task");
    let keys = &tasks[0]["value"]["kind"]["map"];
    assert_eq!(word(&keys[0]["key"]["span"]), "bash");
    assert_eq!(word(&keys[1]["value"]["span"]), "retries");
    let needs = &tasks[1]["value"]["kind"]["map"][1]["value"]["kind"]["seq"][0];
    assert_eq!((word(&needs["span"]), &needs["kind"]["str"]), (">>".get(..1).unwrap(), &json!("a")));
}

#[test]
fn literals_keep_their_type_and_tasks_are_their_names() {
    let trees = compile(
        r#"
        let d = dag("x").tags(["a"]).params(#{ n: 1, f: 1.0, s: "1", b: true, none: () });
        let up = d.task("up", empty());
        let down = d.task("down", bash(#{ command: "rm", n: 2.5 })).teardown_of(up).map(#{ s: #{ output: up } }).needs([up, "up"]);
        let g = d.group("g", [up, down]).doc("both");
        d.doc("after the group " + g.name + down.name);
        d
        "#,
    )
    .unwrap();
    let tree = plain(&trees[0]);
    assert_eq!(tree["params"], json!({ "n": 1, "f": 1.0, "s": "1", "b": true, "none": null }));
    assert!(tree["params"]["n"].is_i64() && tree["params"]["f"].is_f64());
    assert_eq!(
        tree["tasks"]["down"],
        json!({ "bash": { "command": "rm", "n": 2.5 }, "needs": ["up"], "teardown_of": "up", "map": { "s": { "output": "up" } } })
    );
    assert_eq!(tree["groups"], json!({ "g": { "tasks": ["up", "down"], "doc": "both" } }));
    assert_eq!(tree["doc"], json!("after the group gdown"));
}

#[test]
fn arrows_take_lists() {
    let trees = compile(
        r#"
        let d = dag("x");
        let t = |n| d.task(n, empty());
        let a = d.task("a", empty()); let b = d.task("b", empty());
        let c = d.task("c", empty()); let e = d.task("e", empty());
        [a, b] >> [c] >> e;
        a >> [c, e];
        d
        "#,
    )
    .unwrap();
    let tasks = &plain(&trees[0])["tasks"];
    assert_eq!(tasks["c"]["needs"], json!(["a", "b"]));
    assert_eq!(tasks["e"]["needs"], json!(["c", "a"]));
}

#[test]
fn several_dags_come_as_a_list() {
    let trees = compile(r#"let all = []; for n in ["a", "b"] { all.push(dag("d_" + n)); } all"#).unwrap();
    assert_eq!(
        trees.iter().map(|t| plain(t)["dag"].clone()).collect::<Vec<_>>(),
        [json!("d_a"), json!("d_b")]
    );
}

#[test]
fn functions_alone_are_a_module() {
    assert_eq!(compile("fn active() { [\"eu\"] }").unwrap(), Vec::<Value>::new());
}

/// The keys of the language as it is today: none may be a word that the script language reserves.
const KEYS: &str = "doc owner tags schedule start_date end_date params defaults max_active_runs max_active_tasks fail_fast \
    run_timeout on_failure on_success deadline needs trigger_rule retries retry_delay retry_backoff retry_jitter \
    max_retry_delay timeout pool pool_slots priority weight_rule depends_on_past wait_for_downstream max_active \
    max_active_per_run executor queue resources pod gang preemptible env when outlets map teardown_of \
    on_failure_fail_run notify parent";

#[test]
fn every_key_can_be_a_method() {
    let keys: Vec<String> = KEYS.split_whitespace().map(str::to_owned).collect();
    let words =
        Words { dag_keys: keys.clone(), task_keys: keys.clone(), group_keys: keys.clone(), ..words() };
    let hello = Hello { format: FORMAT, limits: Limits::default(), language: words };
    let host = Host::new(&hello, Box::new(|_| Err(Fault::new("none"))));
    for key in &keys {
        let text = format!(
            "let d = dag(\"x\"); let t = d.task(\"t\", empty()).{key}(1); d.group(\"g\", [t]).{key}(1); d.{key}(1)"
        );
        let reply = host.answer(Body::Compile { path: "a.rhai".into(), text });
        assert!(matches!(reply, Reply::Trees { .. }), "{key}: {reply:?}");
    }
}

#[test]
fn errors_teach_and_point() {
    let table = [
        (
            "let d = dag(\"x\");\nd.task(\"a\", empty()).retrys(3);\nd",
            "a task has no method `retrys`",
            "`retries`",
            2,
        ),
        ("let d = dag(\"x\");\nd.shedule(\"@daily\");\nd", "a DAG has no method `shedule`", "`schedule`", 2),
        ("let d = dag(\"x\");\nd.task(\"a\", bahs(\"ls\"));\nd", "no function `bahs`", "`bash`", 2),
        ("let d = dag(\"x\");\nd.task(\"a\", \"ls\");\nd", "second argument", "bash(", 2),
        (
            "let d = dag(\"x\");\nd.task(\"a\", bash(\"ls\").retries(3));\nd",
            "operator has no method",
            "follow the task",
            2,
        ),
        (
            "let d = dag(\"x\");\nd.task(\"a\", empty());\nd.task(\"a\", empty());\nd",
            "already a task `a`",
            "name",
            3,
        ),
        (
            "let d = dag(\"x\");\nlet a = d.task(\"a\", empty());\na >> \"b\";\nd",
            "`>>` joins tasks",
            "needs",
            3,
        ),
        ("let d = dag(\"x\");\nlet e = d;", "DAG `x` is made but not handed over", "end the script", 1),
        ("let d = dag(\"x\");\n1", "ends with i64", "without a semicolon", 0),
        ("let d = dag(\"x\");\nlet e = dag(\"y\");\nd", "DAG `y` is made but not handed over", "[a, b]", 2),
        ("let d = dag(\"x\");\nd.params(#{ a: #{ default: 1 } });\nd", "reserved word", "\"default\": ", 2),
        ("let d = dag(\"x\", #{ tasks: [] });\nd", "`tasks` isn't a key", "d.task", 1),
        ("let d = dag(\"x\");\nd.doc(|| 1);\nd", "function can't be used as a value", "call it", 2),
        ("let d = dag(\"x\");\nd.params(#{ a: 1.0 / 0.0 });\nd", "isn't finite", "", 2),
    ];
    for (text, message, hint, line) in table {
        let fault = fault(text);
        assert!(fault.message.contains(message), "{text}: {fault:?}");
        assert!(fault.hint.as_deref().unwrap_or_default().contains(hint), "{text}: {fault:?}");
        assert_eq!(fault.line.unwrap_or(0), line, "{text}: {fault:?}");
        assert_eq!(fault.file.as_deref(), Some("a.rhai"), "{text}");
    }
    let unknown = fault("let d = dag(\"x\");\nd.retrys(3);\nd");
    assert_eq!(unknown.span, Some((20, 26)), "{unknown:?}");
    let undefined = fault("let d = dag(\"x\");\ndd");
    assert!(undefined.message.contains("`dd`") && undefined.line == Some(2), "{undefined:?}");
    let syntax = fault("let d = dag(\"x\"\nd");
    assert!(syntax.line.is_some() && syntax.span.is_some(), "{syntax:?}");
}

#[test]
fn imports_are_plain_names_of_the_same_folder() {
    for name in ["../../etc/passwd", "/etc/passwd", "a/b", "a.rhai", ""] {
        let fault = fault(&format!("import {name:?} as x;\ndag(\"x\")"));
        assert!(fault.message.contains("isn't the name of a module"), "{fault:?}");
        assert_eq!(fault.line, Some(1));
    }
    let missing = fault("import \"nope\" as x;\ndag(\"x\")");
    assert!(missing.message.contains("nope"), "{missing:?}");
    let ring = compile_with(
        &[("a", "import \"b\" as b; fn f() { 1 }"), ("b", "import \"a\" as a; fn f() { 1 }")],
        "import \"a\" as a;\ndag(\"x\")",
    )
    .unwrap_err();
    assert!(ring.message.contains("import each other"), "{ring:?}");
}

#[test]
fn faults_inside_of_modules_name_the_module_and_point_at_the_import() {
    let text = "import \"m\" as m;\nlet d = dag(\"x\");\nm::fill(d);\nd";
    let fault =
        compile_with(&[("m", "fn fill(d) {\n  d.task(\"a\", empty()).retrys(1);\n}")], text).unwrap_err();
    assert_eq!((fault.file.as_deref(), fault.line), (Some("m.rhai"), Some(2)), "{fault:?}");
    assert_eq!(fault.span, Some((7, 10)));
    let syntax = compile_with(&[("m", "fn fill(d {\n}")], text).unwrap_err();
    assert_eq!((syntax.file.as_deref(), syntax.line), (Some("m.rhai"), Some(1)), "{syntax:?}");
    let fine = compile_with(&[("m", "fn fill(d) { d.task(\"a\", empty()); }")], text).unwrap();
    let span = &fine[0]["kind"]["map"][1]["value"]["kind"]["map"][0]["key"]["span"];
    assert_eq!(span, &json!([7, 10]), "a call inside of a module is placed at its import");
}

#[test]
fn runaways_meet_a_limit_that_is_named() {
    let table = [
        ("loop {}", "operations"),
        ("while true { let x = 1; }", "operations"),
        ("fn f(n) { f(n + 1) + 1 } f(0)", "call_depth"),
        ("let s = \"x\"; loop { s += s; }", "size"),
        ("let a = [1]; loop { a += a; }", "size"),
        ("let a = []; a.pad(100000000, 1); a", "size"),
        ("let s = \"x\"; s.pad(1000000000, \"y\"); s", "size"),
        ("try { loop {} } catch { 1 }", "operations"),
        ("for i in 0..9223372036854775807 { let x = i; }", "operations"),
        ("let d = dag(\"d\"); let i = 0; loop { d.task(\"t\" + i, empty()); i += 1; }", "tasks"),
        ("let i = 0; loop { dag(\"d\" + i); i += 1; }", "tasks"),
    ];
    for (text, limit) in table {
        let fault = fault(text);
        assert_eq!(fault.limit.as_deref(), Some(limit), "{text}: {fault:?}");
    }
    let deep = format!("let x = {}1{};", "(".repeat(500), ")".repeat(500));
    assert_eq!(fault(&deep).limit.as_deref(), Some("expression_depth"));
    let modules = compile_with(&[("m", "loop {}")], "import \"m\" as m;\ndag(\"x\")").unwrap_err();
    assert_eq!(modules.limit.as_deref(), Some("operations"), "{modules:?}");
}

#[test]
fn time_is_a_limit_too() {
    let hello = Hello {
        format: FORMAT,
        limits: Limits { time_ms: 20, operations: 0, ..Limits::default() },
        language: words(),
    };
    let host = Host::new(&hello, Box::new(|_| Err(Fault::new("none"))));
    let Reply::Fault(fault) = host.answer(Body::Compile { path: "a.rhai".into(), text: "loop {}".into() })
    else {
        unreachable!("the script never ends")
    };
    assert_eq!(fault.limit.as_deref(), Some("time"));
}

#[test]
fn what_could_leave_the_engine_does_not_exist() {
    for text in [
        "eval(\"1\")",
        "sleep(1)",
        "timestamp()",
        "exit()",
        "open(\"/etc/passwd\")",
        "import \"/etc/passwd\" as p; 1",
    ] {
        let fault = fault(text);
        assert!(fault.limit.is_none(), "{text}: {fault:?}");
    }
}

#[test]
fn one_script_leaves_nothing_to_the_next() {
    let host = host(&[("m", "fn f() { 1 }")]);
    let compile = |text: &str| host.answer(Body::Compile { path: "a.rhai".into(), text: text.into() });
    assert!(matches!(compile("import \"m\" as m; let d = dag(\"x\"); print(1); d"), Reply::Trees { .. }));
    let Reply::Trees { trees, printed } = compile("let d = dag(\"x\"); d") else {
        unreachable!("it compiles")
    };
    assert_eq!((trees.len(), printed.len()), (1, 0));
    assert!(matches!(compile("m::f(); d"), Reply::Fault(_)));
}

#[test]
fn a_task_is_a_script_with_variables() {
    let host = host(&[]);
    let run =
        |text: &str, context: Value| host.answer(Body::Run { path: "t".into(), text: text.into(), context });
    let Reply::Value { value, printed } = run(
        "print(\"rows: \" + outputs.load.rows); #{ half: outputs.load.rows / 2, big: outputs.load.rows > 5, list: [1, 2.5, ()] }",
        json!({ "outputs": { "load": { "rows": 10 } } }),
    ) else {
        unreachable!("it runs")
    };
    assert_eq!(value, json!({ "half": 5, "big": true, "list": [1, 2.5, null] }));
    assert_eq!(printed, ["rows: 10"]);
    let Reply::Fault(fault) = run("1;\noutputs.nope.rows", json!({ "outputs": {} })) else {
        unreachable!("no such key")
    };
    assert_eq!(fault.line, Some(2), "{fault:?}");
    let Reply::Fault(fault) = run("params = 1", json!({ "params": {} })) else { unreachable!("constants") };
    assert!(!fault.message.is_empty());
    let Reply::Fault(fault) = run("import \"m\" as m; 1", json!({})) else { unreachable!("no modules") };
    assert!(!fault.message.is_empty(), "{fault:?}");
}
