//! `sql`, `sql_check` and `sql_sensor` on real SQLite files.

use crate::attempt::{Attempt, Ended, connection, failed};
use plugins::operator::Outcome;
use serde_json::{Value, json};

/// An attempt with the connection `w`, a database in the attempt's own folder.
fn attempt(operator: &str, args: &Value) -> Attempt {
    let mut w = connection("sqlite");
    w.schema = Some("w.db".into());
    Attempt::of(operator, args).connection("w", w)
}

fn sql(query: &str) -> Attempt {
    attempt("sql", &json!({"connection": "w", "query": query}))
}

fn result(ended: Ended) -> Value {
    assert_eq!(ended.outcome, Outcome::Success);
    ended.result.unwrap()
}

const SALES: &str = "create table sales (day text, amount real, n integer, raw blob);
insert into sales values ('2026-01-01', 1.5, 1, x'0102'), ('2026-01-02', 2, null, null);";

#[test]
fn a_script_gives_the_rows_of_its_last_query() {
    let rows = result(
        sql(&format!("{SALES} select 1; select * from sales where day <= '{{{{ ds }}}}' order by day")).run(),
    );
    assert_eq!(
        rows,
        json!([
            {"day": "2026-01-01", "amount": 1.5, "n": 1, "raw": "AQI="},
            {"day": "2026-01-02", "amount": 2.0, "n": null, "raw": null},
        ])
    );
    assert_eq!(result(sql("create table t (a)").run()), json!([]));
}

#[test]
fn parameters_are_bound_and_never_pasted() {
    let args = json!({
        "connection": "w",
        "query": "select $1 as a, $2 as b, $3 as c, $4 as d, $5 as e",
        "parameters": ["'; drop table x; --", "{{ params.odd }}", 3, null, {"k": [1]}],
    });
    let rows = result(attempt("sql", &args).run());
    assert_eq!(
        rows,
        json!([{"a": "'; drop table x; --", "b": "a b;c", "c": 3, "d": null, "e": "{\"k\":[1]}"}])
    );
    let two = json!({"connection": "w", "query": "select $1; select $1", "parameters": [1]});
    assert!(attempt("sql", &two).prepare().unwrap_err().to_string().contains("exactly one statement"));
    let unsafe_value = sql("select '{{ params.odd }}'").prepare().unwrap_err();
    assert_eq!(unsafe_value.code(), "template.render");
    assert_eq!(result(sql("select {{ params.odd | sql }} as v").run()), json!([{"v": "a b;c"}]));
}

#[test]
fn a_failed_script_leaves_nothing_behind() {
    let first = attempt("sql", &json!({"connection": "w", "query": format!("{SALES} select nonsense")}));
    assert!(
        matches!(first.run().outcome, Outcome::Failed { reason } if reason.contains("no such column: nonsense"))
    );
    let mut again = first;
    again.ctx.task.args.insert("query".into(), "select count(*) as n from sqlite_master".into());
    assert_eq!(result(again.run()), json!([{"n": 0}]));
}

#[test]
fn a_file_beside_the_dag_is_rendered() {
    let args = json!({"connection": "w", "file": "load.sql"});
    let attempt = attempt("sql", &args)
        .file("load.sql", "select '{{ ds }}' as day, {{ params.region | sql }} as region");
    assert_eq!(result(attempt.run()), json!([{"day": "2026-01-02", "region": "eu"}]));
}

#[test]
fn rows_are_saved_as_csv_or_lines() {
    let query = format!(
        "{SALES} insert into sales values ('a \"b\", c', 0, 7, null); select day, n from sales order by n"
    );
    for (path, text) in [
        ("out/s.csv", "day,n\n2026-01-02,\n2026-01-01,1\n\"a \"\"b\"\", c\",7\n"),
        (
            "s.jsonl",
            "{\"day\":\"2026-01-02\",\"n\":null}\n{\"day\":\"2026-01-01\",\"n\":1}\n{\"day\":\"a \\\"b\\\", c\",\"n\":7}\n",
        ),
    ] {
        let attempt = attempt("sql", &json!({"connection": "w", "query": query, "save": path}));
        let saved = result(attempt.run());
        assert_eq!((saved["rows"].clone(), saved["bytes"].clone()), (json!(3), json!(text.len())));
        assert_eq!(std::fs::read_to_string(attempt.dirs.work.join(path)).unwrap(), text);
    }
    let odd = attempt("sql", &json!({"connection": "w", "query": "select 1", "save": "x.parquet"}));
    assert!(odd.prepare().unwrap_err().to_string().contains("must end with"));
}

#[test]
fn limits_end_what_is_too_much() {
    let endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select";
    let many =
        attempt("sql", &json!({"connection": "w", "query": format!("{endless} x from c"), "limit": 5}));
    assert_eq!(
        many.run().outcome,
        failed("the query returned more than 5 rows: raise `limit`, or use `save`")
    );
    let slow = attempt(
        "sql",
        &json!({"connection": "w", "query": format!("{endless} count(*) from c"), "timeout": "50ms"}),
    );
    assert_eq!(slow.run().outcome, failed("the query took longer than its timeout and was ended"));
    let large = sql("select hex(zeroblob(700000)) as v");
    assert_eq!(
        large.run().outcome,
        failed("the rows are larger than 1048576 bytes: select less, or use `save`")
    );
    let twice = sql("select 1 as a, 2 as a");
    assert_eq!(
        twice.run().outcome,
        failed("two columns are named `a`: give one of them another name with `as`")
    );
}

#[test]
fn a_database_stays_where_it_may_be() {
    let at = |path: &str| {
        let mut w = connection("sqlite");
        w.schema = Some(path.to_owned());
        sql("create table if not exists t (a)").connection("w", w)
    };
    for path in ["/etc/x.db", "../x.db", "a/../../x.db"] {
        assert_eq!(at(path).prepare().unwrap_err().code(), "connection.invalid", "{path}");
    }
    let outside = sql("select 1");
    let folder = outside.outside().join("shared");
    std::fs::create_dir(&folder).unwrap();
    let shared = folder.join("w.db").to_str().unwrap().to_owned();
    let mut open = at(&shared);
    open.ctx.policy.data_dirs.push(folder);
    assert_eq!(result(open.run()), json!([]));
    assert!(std::path::Path::new(&shared).exists());

    let attach = sql("attach '/tmp/other.db' as o").prepare().unwrap_err();
    assert_eq!(attach.to_string(), "`sql` can't run: `ATTACH` isn't allowed: a task works with one database");

    let bundled = at("data.db");
    let made = std::process::Command::new("sqlite3")
        .arg(bundled.ctx.bundle_dir.join("data.db"))
        .arg("create table u (a)")
        .status();
    assert!(made.unwrap().success());
    assert_eq!(bundled.run().outcome, failed("attempt to write a readonly database (code 8)"));
}

#[test]
fn connections_are_checked_and_never_shown() {
    let mut mysql = connection("mysql");
    mysql.password = Some("hunter2".into());
    let error = sql("select 1").connection("w", mysql).prepare().unwrap_err();
    assert_eq!(
        error.to_string(),
        "connection `w` is of type `mysql`: SQL operators know `postgres` and `sqlite`"
    );

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut postgres = connection("postgres");
    postgres.host = Some("127.0.0.1".into());
    postgres.port = Some(closed.port());
    postgres.password = Some("hunter2".into());
    assert_eq!(
        sql("select 1").connection("w", postgres.clone()).run().outcome,
        failed("failed to connect: the connection broke: connection refused")
    );
    let mut attempt = sql("select 1").connection("w", postgres.clone());
    attempt.ctx.policy.loopback = false;
    let refused = "failed to connect: the host's address is not allowed: a platform admin can open it";
    assert_eq!(attempt.run().outcome, failed(refused));
    postgres.extra.insert("sslkey".into(), "/etc/shadow".into());
    let error = sql("select 1").connection("w", postgres.clone()).prepare().unwrap_err();
    assert_eq!(error.to_string(), "connection `w` has `extra.sslkey`, which isn't known: `sslmode` is");
    postgres.extra.clear();
    postgres.host = Some("/var/run/postgresql".into());
    assert_eq!(sql("select 1").connection("w", postgres).prepare().unwrap_err().code(), "connection.invalid");
}

#[test]
fn a_check_says_what_it_found() {
    let check = |query: &str, expect: Option<&str>| {
        let mut args = json!({"connection": "w", "query": query});
        if let Some(expect) = expect {
            args["expect"] = expect.into();
        }
        attempt("sql_check", &args).run().outcome
    };
    assert_eq!(check("select 3", Some("> 0")), Outcome::Success);
    assert_eq!(check("select 0", Some("> 0")), failed("the query gave 0, expected > 0"));
    assert_eq!(check("select 1 where 0", Some("> 0")), failed("the query returned no row"));
    assert_eq!(check("select 1, 'x'", None), Outcome::Success);
    assert_eq!(
        check("select 1 as a, 0 as b", None),
        failed("the query gave 0 for `b`, expected something that is neither null, zero, false nor empty")
    );
    let bad = attempt("sql_check", &json!({"connection": "w", "query": "select 1", "expect": "many"}));
    assert!(bad.prepare().unwrap_err().to_string().contains("isn't a condition"));
}

#[test]
fn a_sensor_waits_for_its_row() {
    let args = json!({"connection": "w", "query": "select 1 as n where 0"});
    assert!(matches!(attempt("sql_sensor", &args).run().outcome, Outcome::Reschedule { .. }));
    let there =
        attempt("sql_sensor", &json!({"connection": "w", "query": "select 5 as n", "expect": ">= 5"})).run();
    assert_eq!((there.outcome, there.result), (Outcome::Success, Some(json!({"n": 5}))));
    // Each look counts itself, so that the third one finds what is expected.
    let look =
        "create table if not exists looks (n); insert into looks values (1); select count(*) as n from looks";
    let args = json!({"connection": "w", "query": look, "expect": "= 3", "mode": "poke", "interval": "10ms"});
    let poked = attempt("sql_sensor", &args).run();
    assert_eq!((poked.outcome, poked.result), (Outcome::Success, Some(json!({"n": 3}))));
    let wrong = attempt("sql_sensor", &json!({"connection": "w", "query": "select nonsense"})).run();
    assert!(matches!(wrong.outcome, Outcome::FailedForGood { .. }));
}
