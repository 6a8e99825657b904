//! What templates give and refuse, by the context of one attempt.

use serde_json::{Value, json};
use updraft_template::{PreviousRun, RunFacts, Templates, airflow_context, names};

fn context() -> Value {
    let object = |value: Value| value.as_object().cloned().expect("an object");
    airflow_context(&RunFacts {
        dag_id: "sales".into(),
        run_id: "scheduled__2026-01-31T06:00:00+00:00".into(),
        run_type: "scheduled".into(),
        logical_date: Some("2026-01-31T06:00:00Z".into()),
        data_interval_start: Some("2026-01-30T06:00:00Z".into()),
        data_interval_end: Some("2026-01-31T06:00:00Z".into()),
        run_after: Some("2026-01-31T06:00:00Z".into()),
        previous: Some(PreviousRun {
            logical_date: Some("2026-01-30T06:00:00Z".into()),
            ended_at: Some("2026-01-30T06:12:00Z".into()),
            ..PreviousRun::default()
        }),
        asset_events: object(json!({ "raw": [{ "source_dag_id": "maker", "extra": { "rows": 7 } }] })),
        sample: Some(100),
        task_id: "load".into(),
        try_number: 2,
        max_tries: 3,
        map_index: -1,
        params: object(json!({ "region": "eu", "evil": "x; rm -rf /", "n": 3 })),
        conf: object(json!({ "limit": 10, "text": "{{ ds }}" })),
        map: object(json!({ "store": "berlin" })),
        outputs: object(json!({ "train": { "error": 0.05 }, "stores": ["berlin", "paris"], "count": 7 })),
        variables: [("bucket".to_owned(), json!("b1")), ("limits".to_owned(), json!({ "a": 1 }))].into(),
        connections: object(
            json!({ "shop": { "host": "shop.example", "password": "s3cret", "extra": { "k": "v" } } }),
        ),
    })
}

fn render(source: &str) -> Value {
    Templates::new().render(source, &context(), false).expect(source)
}

fn code(source: &str) -> Result<String, String> {
    match Templates::new().render(source, &context(), true) {
        Ok(value) => Ok(value.as_str().expect("code is text").to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

#[test]
fn airflow_names_give_what_airflow_gives() {
    let table = [
        ("{{ ds }}", json!("2026-01-31")),
        ("{{ ds_nodash }}", json!("20260131")),
        ("{{ ts }}", json!("2026-01-31T06:00:00+00:00")),
        ("{{ ts_nodash }}", json!("20260131T060000")),
        ("{{ logical_date }}", json!("2026-01-31T06:00:00+00:00")),
        ("at {{ logical_date }}", json!("at 2026-01-31T06:00:00+00:00")),
        ("{{ logical_date | ds_nodash }}", json!("20260131")),
        ("{{ data_interval_start | ds }}", json!("2026-01-30")),
        ("{{ logical_date.year }}", json!(2026)),
        ("{{ logical_date.strftime('%d.%m.%Y %H:%M:%S.%f') }}", json!("31.01.2026 06:00:00.000000")),
        ("{{ logical_date.add(months=1).subtract(days=1) | ds }}", json!("2026-02-27")),
        ("{{ logical_date.replace(day=1) | ds }}", json!("2026-01-01")),
        ("{{ logical_date.start_of('month') }}", json!("2026-01-01T00:00:00+00:00")),
        ("{{ logical_date > data_interval_start }}", json!(true)),
        ("{{ macros.ds_add(ds, 1) }}", json!("2026-02-01")),
        ("{{ macros.ds_format(ds, '%Y-%m-%d', '%d/%m/%y') }}", json!("31/01/26")),
        ("{{ dag_run.conf['limit'] }}", json!(10)),
        ("{{ dag_run.conf.get('missing', 'd') }}", json!("d")),
        ("{{ dag_run.run_type }} {{ dag.dag_id }} {{ task.task_id }}", json!("scheduled sales load")),
        ("{{ ti.try_number }}", json!(2)),
        ("{{ ti.xcom_pull(task_ids='count') }}", json!(7)),
        ("{{ task_instance.xcom_pull('train', key='error') }}", json!(0.05)),
        ("{{ ti.xcom_pull(task_ids=['count', 'stores']) }}", json!([7, ["berlin", "paris"]])),
        ("{{ var.value.bucket }}", json!("b1")),
        ("{{ var.json.limits.a }}", json!(1)),
        ("{{ var.value.get('none', 'x') }}", json!("x")),
        ("{{ conn.shop.host }}", json!("shop.example")),
        ("{{ conn.shop.extra.k }}", json!("v")),
        ("{{ params.region | upper }}", json!("EU")),
        ("{{ 'a-b'.split('-')[1] }}", json!("b")),
        ("{{ prev_start_date_success }}", Value::Null),
    ];
    for (source, expected) in table {
        assert_eq!(render(source), expected, "{source}");
    }
}

#[test]
fn a_whole_expression_keeps_its_type_and_a_mixed_text_is_text() {
    assert_eq!(render("{{ outputs.stores }}"), json!(["berlin", "paris"]));
    assert_eq!(render("{{ outputs.train }}"), json!({ "error": 0.05 }));
    assert_eq!(render(" {{ params.n + 1 }}\n"), json!(4));
    assert_eq!(render("n={{ params.n }}"), json!("n=3"));
    assert_eq!(render("a\n{% for s in outputs.stores %}{{ s }}\n{% endfor %}"), json!("a\nberlin\nparis\n"));
    assert_eq!(render("no expression"), json!("no expression"));
}

#[test]
fn expressions_with_and_without_braces_are_the_same() {
    let templates = Templates::new();
    for source in ["{{ outputs.train.error < 0.1 }}", "outputs.train.error < 0.1"] {
        assert_eq!(templates.eval(source, &context()), Ok(json!(true)));
    }
    assert!(templates.eval("is {{ ds }} late?", &context()).is_err());
}

#[test]
fn what_is_rendered_is_never_rendered_again() {
    assert_eq!(render("{{ dag_run.conf.text }}!"), json!("{{ ds }}!"));
}

#[test]
fn records_print_as_stars() {
    for source in [
        "{{ conn }}",
        "{{ conn.shop }}",
        "{{ var }}",
        "{{ var.value }}",
        "x{{ conn.shop }}",
        "{{ [conn] }}",
        "{{ conn | tojson }}",
        "{{ conn | list }}",
        "{{ conn.shop.items() }}",
        "{{ {'a': conn.shop} }}",
        "{{ conn.shop | dictsort }}",
        "{{ conn | string }}",
        "{{ conn ~ '' }}",
    ] {
        match Templates::new().render(source, &context(), false) {
            Ok(value) => assert!(
                !value.to_string().contains("s3cret") && !value.to_string().contains("b1"),
                "{source}: {value}"
            ),
            Err(e) => assert!(!e.to_string().contains("s3cret"), "{source}: {e}"),
        }
    }
    assert_eq!(render("{{ conn.shop }}"), json!("***"));
    assert_eq!(render("c={{ conn }}"), json!("c=***"));
}

#[test]
fn code_takes_harmless_values_and_quoted_ones_only() {
    assert_eq!(
        code("echo {{ ds }} {{ ts }} {{ params.region }}"),
        Ok("echo 2026-01-31 2026-01-31T06:00:00+00:00 eu".into())
    );
    assert_eq!(code("{{ params.n }}"), Ok("3".into()));
    let refused = code("echo {{ params.evil }}").unwrap_err();
    assert!(refused.contains("';'") && refused.contains("| sh"), "{refused}");
    assert_eq!(code("echo {{ params.evil | sh }}"), Ok("echo 'x; rm -rf /'".into()));
    assert_eq!(
        code("echo {{ \"it's\" | sh }} {{ ['a', 'b c'] | sh }}"),
        Ok(r"echo 'it'\''s' a 'b c'".into())
    );
    assert_eq!(
        code("select {{ \"o'neil\" | sql }}, {{ none | sql }}, {{ [1, 'a'] | sql }}"),
        Ok("select 'o''neil', NULL, 1, 'a'".into())
    );
    assert!(code(r#"select {{ "\\' or 1=1 --" | sql }}"#).unwrap_err().contains("backslash"));
    assert_eq!(code("from {{ 'a.b_1' | ident }}"), Ok("from a.b_1".into()));
    assert!(code("from {{ 'a; drop' | ident }}").is_err());
    assert_eq!(code("x = {{ outputs.train | json }}"), Ok(r#"x = {"error":0.05}"#.into()));
    assert_eq!(
        code("'{{ \"it's $HOME `x`\" | json }}'"),
        Ok(r#"'"it\u0027s \u0024HOME \u0060x\u0060"'"#.into())
    );
    assert_eq!(code("{{ params.evil | raw }}"), Ok("x; rm -rf /".into()));
    assert!(code("{{ (params.evil | sh) ~ params.evil }}").is_err(), "joining loses the mark");
    assert!(code("{{ (params.evil | raw) | replace('x', 'y') }}").is_err(), "editing loses the mark");
    assert!(code("{{ outputs.stores }}").is_err());
    assert!(code("{% set a = params.evil %}{{ a }}").is_err());
    assert!(code("{% set a %}{{ params.evil }}{% endset %}{{ a }}").is_err());
    assert!(code("{% filter upper %}{{ params.evil }}{% endfilter %}").is_err());
}

#[test]
fn errors_teach() {
    let error = Templates::new().render("a\n{{ outputs.nothing.x }} b", &context(), false).unwrap_err();
    assert_eq!(error.line, Some(2));
    assert!(error.hint.as_deref().unwrap_or_default().contains("default("), "{error}");
    let error = Templates::new().render("{{ missing }}", &context(), false).unwrap_err();
    assert!(error.message.contains("`missing`"), "{error}");
    let error = Templates::new()
        .render("{{ logical_date + macros.timedelta(days=1) }}", &context(), false)
        .unwrap_err();
    assert!(error.hint.as_deref().unwrap_or_default().contains("add(days=1)"), "{error}");
    let error = Templates::new().render("{{ ti.xcom_pull('other') }}", &context(), false).unwrap_err();
    assert!(error.message.contains("other"), "{error}");
    let error = Templates::new()
        .render_all(&json!({ "a": [{ "b": "{{ nope }} " }] }), &context(), false)
        .unwrap_err();
    assert!(error.message.starts_with("a[0].b: "), "{error}");
    for unknown in
        ["{{ debug() }}", "{{ ds | pprint }}", "{{ x is safe }}", "{{ ds | safe }}", "{{ lipsum() }}"]
    {
        assert!(Templates::new().render(unknown, &context(), false).is_err(), "{unknown}");
    }
}

#[test]
fn bombs_meet_a_limit() {
    let bombs = [
        ("{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}", "limit"),
        ("a{{ 'x' * 50000000 }}", "limit: output"),
        ("{{ 'x' * 50000000 }}", "limit: output"),
        ("{{ 'x' * 10**12 }}", "too large"),
        ("{{ ('x' * 1000000) | replace('x', 'y' * 1000000) }}", "limit: output"),
        ("{{ ('\n' * 100000) | indent(100000) }}", "limit: output"),
        ("{{ '%999999999d' | format(1) }}", "three digits"),
        ("{{ range(100000) | list | join('x' * 10000) }}", "limit: output"),
        ("{{ range(1000000000) | list }}", "range"),
    ];
    for (source, limit) in bombs {
        let error = Templates::new().render(source, &context(), false).unwrap_err();
        assert!(error.message.contains(limit), "{source}: {error}");
    }
    // The engine's own parser would overflow the stack.
    let minus = format!("{{{{ {}1 }}}}", "-".repeat(60_000));
    assert!(
        Templates::new().render(&minus, &context(), false).unwrap_err().message.contains("limit: nesting")
    );
    assert!(names(&minus).unwrap_err().message.contains("limit: nesting"));
    let long = format!("{{{{ ds }}}}{}", "x".repeat(65_000));
    assert!(names(&long).unwrap_err().message.contains("limit: source"));
    assert!(Templates::new().render(&long, &context(), false).unwrap_err().message.contains("limit: source"));
}

#[test]
fn the_run_before_and_the_events_of_assets_are_there() {
    assert_eq!(render("{{ prev_logical_date_success | ds }}"), json!("2026-01-30"));
    assert_eq!(render("{{ prev_end_date_success }}"), json!("2026-01-30T06:12:00+00:00"));
    assert_eq!(render("{{ prev_data_interval_start_success is none }}"), json!(true));
    assert_eq!(render("{{ triggering_asset_events['raw'][0].extra.rows }}"), json!(7));
    assert_eq!(render("{{ triggering_asset_events | length }}"), json!(1));
}
