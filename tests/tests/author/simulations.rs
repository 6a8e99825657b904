//! `updraft simulate`, run as its users run it.

use std::fs;

use serde_json::Value;

use crate::program::{run, write};

const SPAN: [&str; 4] = ["--from", "2026-03-02", "--to", "2026-03-09"];

fn simulate(folder: &str, more: &[&str]) -> Value {
    let said = run([&["simulate", folder, "--format", "json"], &SPAN[..], more].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    said.json()
}

#[test]
fn a_week_of_a_daily_dag_is_seven_runs() {
    let dag = write(
        "a.yaml",
        "dag: a\nschedule: '0 6 * * *'\ntasks: { x: { bash: x }, y: { needs: x, bash: y } }\n",
    );
    let report = simulate(dag.folder.path().to_str().unwrap(), &["--durations", "10m"]);
    assert_eq!((&report["runs"], &report["task_instances"]), (&7.into(), &14.into()), "{report}");
    assert_eq!(report["dags"][0]["duration"]["p50"], 1200.0);
    assert_eq!(report["waits"], Value::Array(Vec::new()));
    assert_eq!(report["usage"][0]["peak"], 1);
}

#[test]
fn a_small_pool_makes_tasks_wait_and_a_larger_one_doesnt() {
    let text =
        "dag: a\nschedule: '0 6 * * *'\ntasks:\n  x: { map: { n: [1, 2, 3, 4] }, bash: x, pool: small }\n";
    let dag = write("a.yaml", text);
    let folder = dag.folder.path().to_str().unwrap();
    let report = simulate(folder, &["--durations", "10m", "--pool", "small=1"]);
    assert_eq!(report["dags"][0]["duration"]["max"], 2400.0, "{report}");
    let wait = &report["waits"][0];
    assert_eq!(
        (&wait["cause"], &wait["count"], &wait["longest"]),
        (&"pool small".into(), &21.into(), &1800.0.into())
    );
    let report = simulate(folder, &["--durations", "10m", "--pool", "small=4"]);
    assert_eq!(
        (&report["waits"], &report["dags"][0]["duration"]["max"]),
        (&Value::Array(Vec::new()), &600.0.into())
    );
}

#[test]
fn runs_that_overlap_wait_for_each_other_and_miss_their_deadline() {
    let text = "dag: a\nschedule: '0 */6 * * *'\nmax_active_runs: 1\ndeadline: { from: scheduled, within: 7h, notify: b }\n\
                tasks: { x: { bash: x } }\n";
    let dag = write("a.yaml", text);
    let folder = dag.folder.path().to_str().unwrap();
    let late = simulate(folder, &["--durations", "8h"]);
    assert_eq!(late["waits"][0]["cause"], "max_active_runs", "{late}");
    assert!(late["dags"][0]["deadlines_missed"].as_u64().unwrap() > 10, "{late}");
    let fine = simulate(folder, &["--durations", "8h", "--cron", "a=0 0,12 * * *"]);
    assert_eq!((&fine["waits"], &fine["runs"]), (&Value::Array(Vec::new()), &14.into()), "{fine}");
    let fine = simulate(folder, &["--durations", "8h", "--max-active-runs", "a=2"]);
    assert_eq!(fine["waits"], Value::Array(Vec::new()), "{fine}");
}

#[test]
fn rules_for_tasks_and_the_seed_decide_what_chance_does() {
    let text = "dag: a\nschedule: '@hourly'\ntasks:\n  x: { bash: x, retries: 3, retry_delay: 1m }\n  y: { needs: x, map: { n: { output: x } }, bash: y }\n";
    let dag = write("a.yaml", text);
    let folder = dag.folder.path().to_str().unwrap();
    let rules = dag.folder.path().join("takes.txt");
    fs::write(&rules, "\"a.x\": { takes: \"2m,p95=10m\", fails: 0.5, length: 5 }\n\"*\": 10s..1m\n").unwrap();
    let with = |seed: &str| simulate(folder, &["--durations", rules.to_str().unwrap(), "--seed", seed]);
    let (one, again, other) = (with("1"), with("1"), with("2"));
    assert_eq!(one, again);
    assert_ne!(one["dags"], other["dags"]);
    // Half of the tries fail, so two in sixteen of four in a row do.
    let runs = one["runs"].as_u64().unwrap();
    let failed = one["failed_runs"].as_u64().unwrap();
    assert!(runs == 168 && (2..=25).contains(&failed), "{failed} of {runs}");
    let instances = one["task_instances"].as_u64().unwrap();
    assert!(instances > 160 + (runs - failed - 2) * 5, "{instances}");
}

#[test]
fn a_tenant_over_its_quota_waits_for_it() {
    let text = "dag: NAME\nschedule: '0 6 * * *'\ntasks: { x: { map: { n: [1, 2, 3, 4] }, bash: x } }\n";
    let dag = write("a.yaml", &text.replace("NAME", "sales_load"));
    let folder = dag.folder.path();
    fs::write(folder.join("b.yaml"), text.replace("NAME", "ops_sweep")).unwrap();
    let quotas = folder.join("quotas.txt");
    let written = "executors: { local: 4 }\ntenants:\n  sales: { dags: ['sales_*'], quotas: { local: { members: { nominal: 1, borrow: 0 } } } }\n  \
                   ops: { dags: ['ops_*'], quotas: { local: { members: { nominal: 3 } } } }\n";
    fs::write(&quotas, written).unwrap();
    let arguments = ["--durations", "10m", "--quotas", quotas.to_str().unwrap()];
    let report = simulate(folder.to_str().unwrap(), &arguments);
    let longest = |tenant: &str| {
        let of = report["dags"].as_array().unwrap().iter().find(|dag| dag["tenant"] == tenant).unwrap();
        of["duration"]["max"].as_f64().unwrap() as i64
    };
    assert_eq!(longest("sales"), 2400, "{report}");
    assert!(longest("ops") <= 1200, "{report}");
}

#[test]
fn the_page_needs_nothing_else() {
    let dag = write("a.yaml", "dag: a\nschedule: '@hourly'\ntasks: { x: { bash: x } }\n");
    let page = dag.folder.path().join("report.html");
    let folder = dag.folder.path().to_str().unwrap();
    let said = run([&["simulate", folder, "--html", page.to_str().unwrap()], &SPAN[..]].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.out.contains("168 runs of 1 DAG") && said.out.contains("executor local:"), "{}", said.out);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("executor local"));
    for outside in ["http://", "https://", "<script", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn what_cant_be_simulated_says_why() {
    let dag = write("a.yaml", "dag: a\nschedule: '@hourly'\ntasks: { x: { bash: x } }\n");
    let folder = dag.folder.path().to_str().unwrap();
    for (arguments, why) in [
        (&["--from", "2026-03-02", "--to", "2026-03-01"][..], "isn't later than"),
        (&["--from", "soon", "--to", "2026-03-01"][..], "`--from soon`"),
        (&[&SPAN[..], &["--pool", "smal=1"]].concat(), "no task of these DAGs names the pool `smal`"),
        (&[&SPAN[..], &["--cron", "b=@daily"]].concat(), "`--cron b` fits no DAG"),
        (&[&SPAN[..], &["--cron", "a=61 * * * *"]].concat(), "`--cron a=61 * * * *`"),
        (&[&SPAN[..], &["--durations", "soon"]].concat(), "no duration such as"),
    ] {
        let said = run([&["simulate", folder], arguments].concat());
        assert!(said.code == Some(2) && said.err.contains(why), "{why}: {said:?}");
    }
    fs::write(&dag.file, "dag: a\ntasks: {}\n").unwrap();
    let said = run([&["simulate", folder], &SPAN[..]].concat());
    assert!(said.code == Some(2) && said.err.contains("no DAG that could be simulated"), "{said:?}");
}

#[test]
fn limits_of_tenants_and_the_size_of_a_cluster_bound_what_runs() {
    let text = "dag: a\nschedule: '0 6 * * *'\ntasks:\n  x: { map: { n: [1, 2, 3, 4] }, bash: x, resources: { cpu: 1 } }\n";
    let dag = write("a.yaml", text);
    let quotas = dag.folder.path().join("quotas.txt");
    let longest = |written: &str| {
        fs::write(&quotas, written).unwrap();
        let arguments = ["--durations", "10m", "--quotas", quotas.to_str().unwrap()];
        simulate(dag.folder.path().to_str().unwrap(), &arguments)["dags"][0]["duration"]["max"].clone()
    };
    assert_eq!(longest("executors: { local: 8 }\n"), 600.0);
    assert_eq!(longest("tenants: { sales: { dags: ['*'], limits: { tasks: 2 } } }\n"), 1200.0);
    let cluster = |cpus: u32| {
        longest(&format!(
            "cohorts: {{ root: {{ quotas: {{ local: {{ cpu: {{ nominal: {cpus}000 }} }} }} }} }}\n"
        ))
    };
    assert_eq!((cluster(1), cluster(2), cluster(4)), (2400.0.into(), 1200.0.into(), 600.0.into()));
}
