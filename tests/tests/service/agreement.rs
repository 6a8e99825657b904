//! The simulator and the service agree about one folder: the same task instances and tries, the same causes of waits, starts
//! at about the same time.

use std::{collections::BTreeMap, fs, process::Command};

use engine::{
    rows::{RunRow, TaskRow},
    state::{RunState, TaskState},
};
use serde_json::{Value, json};

use crate::site::{LATE, Site, program};

/// A pool of one slot, a first try that fails, and runs of the same DAG that overlap.
const WORK: &str = "dag: work
schedule: '* * * * * */6'
tasks:
  first: { bash: sleep 0.7 }
  narrow: { needs: first, map: { n: [1, 2, 3] }, pool: narrow, bash: sleep 0.7 }
  again:
    needs: first
    retries: 1
    retry_delay: 1s
    bash: 'test {{ ti.try_number }} = 2'
  last: { needs: [narrow, again], trigger_rule: all_done, bash: sleep 0.7 }
";
const ALONE: &str = "dag: alone
schedule: '* * * * * */6'
max_active_runs: 1
tasks: { long: { bash: sleep 7.4 } }
";
const TAKES: &str = "\"work.again\": { takes: 1s, failed_tries: 1 }\n\"alone.long\": 8s\n\"*\": 1s\n";

/// How many runs of each are compared.
const RUNS: usize = 3;
/// How far starts may be apart, in seconds: this is a machine with other work.
const APART: f64 = 2.0;

type Key = (String, String, String, i64);

fn updraft(site: &Site, arguments: &[&str]) -> String {
    let socket = site.path("data/updraft.sock");
    let output = Command::new(program()).args(arguments).arg("--socket").arg(&socket).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The scheduled runs of a DAG that have ended, the first ones, with their tasks.
async fn ended(site: &Site, dag: &str) -> Vec<(RunRow, Vec<TaskRow>)> {
    let mut runs = site.runs(dag).await;
    runs.sort_by_key(|run| run.run_after);
    let mut found = Vec::new();
    for run in runs.into_iter().take_while(|run| run.state.is_finished()).take(RUNS) {
        let tasks = site.tasks(&run).await;
        found.push((run, tasks));
    }
    found
}

/// Why the instances wait that do, unless it is known already.
async fn causes(site: &Site, known: &mut BTreeMap<Key, String>) {
    for run in site.runs("work").await.iter().filter(|run| run.state == RunState::Running) {
        for row in site.tasks(run).await.iter().filter(|row| row.state == TaskState::Scheduled) {
            let key = key(run, row);
            if known.contains_key(&key) {
                continue;
            }
            let task = format!("{}[{}]", row.task, row.map_index);
            let why =
                updraft(site, &["tasks", "why", "work", run.run_name.as_str(), &task, "--format", "json"]);
            let why: Value = serde_json::from_str(&why).unwrap();
            // It may have been admitted meanwhile.
            if let Some(limit) = why["waiting"]["holds"].get(0).map(|hold| &hold["limit"]) {
                let name = limit["name"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
                known.insert(key, format!("{}{name}", limit["kind"].as_str().unwrap()));
            }
        }
    }
}

fn key(run: &RunRow, row: &TaskRow) -> Key {
    (run.dag_id.to_string(), run.run_after.to_string(), row.task.to_string(), row.map_index.into())
}

#[tokio::test]
async fn the_simulator_agrees_with_the_service() {
    let site = Site::sqlite().await;
    let service = site.start();
    service.ready(&site).await;
    updraft(&site, &["pools", "set", "narrow", "1"]);
    site.write_dag("alone.yaml", ALONE);
    site.write_dag("work.yaml", WORK);
    let mut why = BTreeMap::new();
    let (work, alone) = site
        .until(LATE, "runs of both have ended", async || {
            causes(&site, &mut why).await;
            let (work, alone) = (ended(&site, "work").await, ended(&site, "alone").await);
            if work.len() == RUNS && alone.len() == RUNS {
                Ok((work, alone))
            } else {
                Err(format!("{} {}", work.len(), alone.len()))
            }
        })
        .await;
    drop(service);

    let rules = site.path("takes.txt");
    fs::write(&rules, TAKES).unwrap();
    let mut simulated: BTreeMap<Key, Value> = BTreeMap::new();
    for runs in [&work, &alone] {
        let (from, to) = (runs[0].0.run_after, runs[RUNS - 1].0.ended_at.unwrap());
        let output = Command::new(program())
            .arg("simulate")
            .arg(site.path("dags"))
            .args(["--from", &from.to_string(), "--to", &to.after(dags::time::Span::seconds(60)).to_string()])
            .args(["--pool", "narrow=1", "--instances", "--format", "json", "--durations"])
            .arg(&rules)
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        for one in report["instances"].as_array().unwrap() {
            let text = |name: &str| one[name].as_str().unwrap().to_owned();
            if text("dag") == runs[0].0.dag_id.as_str() {
                simulated.insert(
                    (text("dag"), text("due"), text("task"), one["index"].as_i64().unwrap()),
                    one.clone(),
                );
            }
        }
    }

    let mut compared = 0;
    for (run, tasks) in work.iter().chain(&alone) {
        for row in tasks {
            let key = key(run, row);
            let one = simulated.get(&key).unwrap_or_else(|| panic!("{key:?} isn't simulated"));
            assert_eq!(
                (&one["state"], &one["tries"]),
                (&row.state.as_str().into(), &row.try_number.into()),
                "{key:?}"
            );
            let start: dags::time::Timestamp = one["starts"].as_str().unwrap().parse().unwrap();
            let apart = start.since(row.started_at.unwrap()).0 as f64 / 1e6;
            assert!(apart.abs() <= APART, "{key:?} starts {apart} s apart");
            if let Some(seen) = why.get(&key).filter(|_| !one["waited_for"].is_null()) {
                assert_eq!(one["waited_for"].as_str(), Some(seen.as_str()), "{key:?}");
                compared += 1;
            }
            compared += 1;
        }
        let of_run = simulated
            .iter()
            .filter(|((dag, due, ..), _)| *dag == run.dag_id.as_str() && *due == run.run_after.to_string());
        assert_eq!(of_run.count(), tasks.len(), "{}", run.run_name);
        in_order(run, tasks, &simulated);
    }
    let waited = why.values().filter(|cause| *cause == "pool narrow").count();
    assert!(waited >= RUNS && compared > RUNS * 7, "{waited} waits were seen, {compared} things compared");
}

/// What clearly came after something else in the service comes after it in the simulation.
fn in_order(run: &RunRow, tasks: &[TaskRow], simulated: &BTreeMap<Key, Value>) {
    let time = |row: &TaskRow, what: &str| -> dags::time::Timestamp {
        simulated[&key(run, row)][what].as_str().unwrap().parse().unwrap()
    };
    for before in tasks {
        for after in tasks {
            if before.ended_at.unwrap() <= after.started_at.unwrap() && before.task != after.task {
                assert!(
                    time(before, "ends") <= time(after, "starts").after(dags::time::Span::seconds(1)),
                    "{} comes before {} in {}",
                    before.task,
                    after.task,
                    run.run_name
                );
            }
        }
    }
}

#[tokio::test]
async fn tasks_take_as_long_as_a_service_remembers() {
    let site = Site::sqlite().await;
    let text = "schedule: '0 3 * * *'\ntasks:\n  quick: { bash: sleep 2 }\n  broken: { bash: exit 1 }\n";
    site.write_dag("seen.yaml", &format!("dag: seen\n{text}"));
    let service = site.start();
    site.dag_is_there("seen").await;
    let socket = site.path("data/updraft.sock");
    let simulate = || {
        let mut command = Command::new(program());
        command.arg("simulate").arg(site.path("dags")).args(["--from", "2026-03-01", "--to", "2026-03-08"]);
        command.args(["--durations", "history", "--days", "1", "--format", "json"]);
        command.arg("--socket").arg(&socket).output().unwrap()
    };
    let nothing = simulate();
    let said = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert!(nothing.status.code() == Some(2) && said.contains("no finished run of these DAGs"), "{said}");
    for run in ["one", "two"] {
        site.trigger("seen", run).await;
        site.ended("seen", run).await;
    }
    site.write_dag("never.yaml", &format!("dag: never\n{text}"));
    let done = simulate();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let takes = |dag: &str| {
        let of = report["dags"].as_array().unwrap().iter().find(|one| one["dag"] == dag).unwrap();
        (of["runs"].clone(), of["duration"]["p50"].clone())
    };
    // What broke is no measure of how long it takes: it takes what is taken for granted.
    assert_eq!(takes("never"), (json!(7), json!(60.0)));
    assert_eq!(takes("seen").1, json!(60.0));
    let assumed = report["assumptions"].to_string();
    assert!(assumed.contains("nothing is known about"), "{assumed}");
    // Without the task that broke only the one that was seen is left.
    let rest = "dag: seen\nschedule: '0 3 * * *'\ntasks:\n  quick: { bash: sleep 2 }\n";
    site.write_dag("seen.yaml", rest);
    let report: Value = serde_json::from_slice(&simulate().stdout).unwrap();
    let seen =
        &report["dags"].as_array().unwrap().iter().find(|one| one["dag"] == "seen").unwrap()["duration"];
    let (least, most) = (seen["p50"].as_f64().unwrap(), seen["max"].as_f64().unwrap());
    assert!((1.0..30.0).contains(&least) && (1.0..30.0).contains(&most), "{seen}");
    drop(service);
}
