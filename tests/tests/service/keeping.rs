//! What is kept and what isn't, and what `updraft doctor` says of it: with the real service on both databases.

use std::{
    fs,
    process::{Command, Output},
    time::{Duration, SystemTime},
};

use dags::ids::{DagId, DagVersion};
use serde_json::Value;

use crate::{
    on_both,
    site::{LATE, SCOPE, SOON, Site, program},
};

on_both!(
    old_runs_go_with_all_of_theirs_and_the_next_run_still_knows_its_past,
    bundles_that_nothing_names_go_and_may_come_back,
    old_months_of_a_log_go,
    the_doctor_finds_what_is_broken
);

const DAG: &str = r#"
dag: kept
tasks:
  first:
    depends_on_past: true
    retries: 1
    retry_delay: 1s
    bash: |
      echo "a line of the log"
      test "{{ run_id }}" != bad
  second:
    bash: |
      printf '"%0100000d"' 7 > "$UPDRAFT_RESULT"
"#;

fn call(site: &Site, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).env("UPDRAFT__NODE__DATA", site.path("data"));
    if let Some(url) = site.url() {
        command.env("UPDRAFT__DATABASE__URL", url);
    }
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn count(site: &Site, folder: &str) -> usize {
    fs::read_dir(site.path("data/objects").join(folder)).unwrap().count()
}

/// Makes everything that is stored look as if it had been written long ago.
fn age(site: &Site, folder: &str) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for entry in fs::read_dir(site.path("data/objects").join(folder)).unwrap() {
        let path = entry.unwrap().path();
        fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }
}

async fn old_runs_go_with_all_of_theirs_and_the_next_run_still_knows_its_past(site: Site) {
    site.write_dag("kept.yaml", DAG);
    let service = site.start();
    service.ready(&site).await;
    site.dag_is_there("kept").await;
    for (run, date) in [("good", "2020-01-01T00:00:00Z"), ("bad", "2020-01-02T00:00:00Z")] {
        site.trigger_for("kept", run, date).await;
        site.ended("kept", run).await;
    }
    site.until(SOON, "the logs are kept", async || match count(&site, "logs") {
        5 => Ok(()),
        n => Err(format!("{n} logs")),
    })
    .await;
    assert_eq!(count(&site, "results"), 1, "both runs have the same large result");
    let said_now = said(&call(&site, &["retention", "set", "default", "--days", "90"]));
    assert!(said_now.contains("`default` keeps its finished runs for 90 days"), "{said_now}");

    // A year passes.
    let year = 365 * 24 * 3_600 * 1_000_000_i64;
    let text = format!(
        "UPDATE run SET run_after = run_after - {year}, ended_at = ended_at - {year}, created_at = created_at - {year}"
    );
    site.sql(&text, &text).await;
    age(&site, "results");
    // A new owner looks at once.
    service.kill();
    let service = site.start();
    service.ready(&site).await;
    site.until(LATE, "the older run is gone", async || match site.find_run("kept", "good").await {
        None => Ok(()),
        Some(run) => Err(format!("{run:?}")),
    })
    .await;
    let bad = site.find_run("kept", "bad").await.expect("the newest run stays: the next one depends on it");
    assert_eq!(site.tasks(&bad).await.len(), 2);
    assert_eq!(count(&site, "logs"), 3, "those of the run that is gone are gone");
    assert_eq!(count(&site, "results"), 1, "a result that another run has stays");
    assert!(migrations::store::event::of_run(&site.db, SCOPE, bad.run).await.unwrap().len() > 1);

    // What the next run depends on survived: the task failed in the run before.
    site.trigger_for("kept", "next", "2020-01-03T00:00:00Z").await;
    let next = site.find_run("kept", "next").await.unwrap();
    site.until(SOON, "the next run waits for the one before", async || {
        let why = site.tasks(&next).await;
        let first = why.iter().find(|task| task.task.as_str() == "first").map(|task| task.state);
        if first == Some(engine::state::TaskState::None) { Ok(()) } else { Err(format!("{why:?}")) }
    })
    .await;
    let doctor = call(&site, &["doctor"]);
    assert!(doctor.status.success(), "{}", said(&doctor));
}

const SMALL: &str = "dag: small\ntasks:\n  only: { bash: 'true' }\n";

/// Another version of the same DAG.
fn small(doc: &str) -> String {
    format!("{SMALL}doc: {doc}\n")
}

/// Waits until the DAG has another version than those.
async fn has_new_version(site: &Site, known: &[DagVersion]) -> DagVersion {
    site.until(SOON, "the DAG has a new version", async || {
        let version = site.dag("small").await.map(|dag| dag.row.version);
        version.clone().filter(|version| !known.contains(version)).ok_or_else(|| format!("{version:?}"))
    })
    .await
}

async fn bundles_that_nothing_names_go_and_may_come_back(site: Site) {
    site.write_dag("small.yaml", &small("one"));
    let service = site.start();
    service.ready(&site).await;
    let mut versions = vec![has_new_version(&site, &[]).await];
    site.trigger("small", "first").await;
    site.ended("small", "first").await;
    for doc in ["two", "three"] {
        site.write_dag("small.yaml", &small(doc));
        versions.push(has_new_version(&site, &versions).await);
    }
    assert_eq!(count(&site, "bundles"), 3);
    // A month passes.
    let month = 30 * 24 * 3_600 * 1_000_000_i64;
    for text in [
        format!("UPDATE bundle SET stored_at = stored_at - {month}, activated_at = activated_at - {month}"),
        format!("UPDATE dag_version SET stored_at = stored_at - {month}"),
    ] {
        site.sql(&text, &text).await;
    }
    age(&site, "bundles");
    service.kill();
    let service = site.start();
    service.ready(&site).await;
    site.until(LATE, "the second bundle is gone", async || match count(&site, "bundles") {
        2 => Ok(()),
        n => Err(format!("{n} bundles")),
    })
    .await;
    let numbers = async || -> Vec<(DagVersion, u32)> {
        let dags = [DagId::parse("small").unwrap()];
        let known = migrations::store::bundle::numbered(&site.db, SCOPE, &dags).await.unwrap();
        known.into_iter().map(|known| (known.version, known.number)).collect()
    };
    assert_eq!(numbers().await, [(versions[0].clone(), 1), (versions[2].clone(), 3)]);
    let doctor = call(&site, &["doctor"]);
    assert!(doctor.status.success(), "{}", said(&doctor));

    site.write_dag("small.yaml", &small("two"));
    let again = has_new_version(&site, &[versions[0].clone(), versions[2].clone()]).await;
    assert_eq!(again, versions[1]);
    assert!(numbers().await.contains(&(again, 4)), "{:?}", numbers().await);
    site.trigger("small", "second").await;
    let run = site.ended("small", "second").await;
    assert_eq!(run.state, engine::state::RunState::Success);
}

async fn old_months_of_a_log_go(site: Site) {
    let entry = "INSERT INTO audit (at, tenant_id, actor, kind, payload, outcome)
        SELECT 5, id, 'ann', 'x', '{}', '{\"format\":1,\"outcome\":{\"ok\":null}}' FROM tenant";
    // On PostgreSQL what was there before there were months is one that is over.
    let over = format!(
        "ALTER TABLE audit DETACH PARTITION audit_before;
         ALTER TABLE audit ATTACH PARTITION audit_before FOR VALUES FROM (MINVALUE) TO (1000);
         {entry}"
    );
    site.sql(entry, &over).await;
    let old = async || {
        let all = migrations::store::Window { limit: 1_000, offset: 0 };
        let page = migrations::store::audit::list(&site.db, SCOPE, all).await.unwrap();
        page.rows.iter().filter(|entry| entry.kind == "x").count()
    };
    assert_eq!(old().await, 1);
    site.write_dag("small.yaml", SMALL);
    let service = site.start_with(&["--set", "retention.audit_days=30"]);
    service.ready(&site).await;
    site.until(LATE, "the old entry is gone", async || match old().await {
        0 => Ok(()),
        n => Err(format!("{n} entries")),
    })
    .await;
    site.dag_is_there("small").await;
    let all = migrations::store::Window { limit: 1_000, offset: 0 };
    let kept = migrations::store::audit::list(&site.db, SCOPE, all).await.unwrap().rows;
    assert!(kept.iter().any(|entry| entry.kind == "activate_bundle"), "{kept:?}");
}

async fn the_doctor_finds_what_is_broken(site: Site) {
    site.write_dag("kept.yaml", DAG);
    let service = site.start();
    service.ready(&site).await;
    site.dag_is_there("kept").await;
    site.trigger_for("kept", "good", "2020-01-01T00:00:00Z").await;
    site.ended("kept", "good").await;
    let healthy = call(&site, &["doctor"]);
    assert!(healthy.status.success(), "{}", said(&healthy));
    for words in ["owns the shard", "every reference, state and format", "0 wrong"] {
        assert!(said(&healthy).contains(words), "{words}: {}", said(&healthy));
    }

    // A log and a result that nobody names, a result that is gone, and rows that belong to nobody.
    fs::create_dir(site.path("data/objects/logs/0190aaaa-0000-7000-8000-000000000000-1")).unwrap();
    fs::write(site.path("data/objects/results").join("ab".repeat(32)), "1").unwrap();
    age(&site, "logs");
    age(&site, "results");
    let lost = fs::read_dir(site.path("data/objects/results")).unwrap().map(|entry| entry.unwrap().path());
    let lost: Vec<_> = lost.filter(|path| !path.ends_with("ab".repeat(32))).collect();
    lost.iter().for_each(|path| fs::remove_file(path).unwrap());
    let text = "INSERT INTO attempt_claim (attempt_id, n, member, tenant_id, run_id, claimant, claimed_at, task_id, map_index)
        SELECT id, 1, 0, id, id, 'w', 0, 'a', -1 FROM tenant";
    site.sql(text, text).await;
    let ill = call(&site, &["doctor", "--format", "json"]);
    assert_eq!(ill.status.code(), Some(1), "{}", said(&ill));
    let findings: Vec<Value> = serde_json::from_slice(&ill.stdout).unwrap();
    let says = |severity: &str| -> Vec<String> {
        let of = findings.iter().filter(|finding| finding["severity"] == severity);
        of.map(|finding| finding["says"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(says("wrong"), ["claims of attempts belong to no run", "1 large results are gone"]);
    assert_eq!(says("note"), ["1 large results that no row names", "1 logs of attempts that no row names"]);
    let bad = findings.iter().filter(|finding| finding["severity"] != "ok");
    assert!(
        bad.clone().all(|finding| finding["todo"].is_string() && finding["places"].is_array()),
        "{findings:#?}"
    );
    drop(service);

    let away = Command::new(program())
        .args(["doctor", "--set", "database.url=postgres://nobody@127.0.0.1:1/none"])
        .env("UPDRAFT__NODE__DATA", site.path("data"))
        .output()
        .unwrap();
    assert!(
        away.status.code() == Some(1) && said(&away).contains("see that the server runs"),
        "{}",
        said(&away)
    );
}
