//! `updraft test`: one run, from the file to the exit code.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::program::{processes, updraft, write};

const CHAIN: &str = "
dag: chain
params: { name: { type: string, default: world } }
tasks:
  make:
    bash: |
      echo 'making it'
      echo '{\"n\": 3}' > $UPDRAFT_RESULT
  use: { needs: make, bash: 'echo {{ params.name }} {{ outputs.make.n }} {{ ds }}' }
  each: { needs: make, map: { x: [1, 2] }, bash: 'echo {{ map.x }} > $UPDRAFT_RESULT' }
";

fn instance<'v>(report: &'v Value, task: &str, index: i32) -> &'v Value {
    let all = report["task_instances"].as_array().unwrap();
    let found = all.iter().find(|one| one["task_id"] == task && one["map_index"] == index);
    found.unwrap_or_else(|| panic!("no {task}[{index}] in {report}"))
}

#[test]
fn one_object_says_how_it_went() {
    let said = write("chain.yaml", CHAIN).test(&["--format", "json", "--date", "2026-01-05"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let report = said.json();
    let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["run_id", "state", "task_instances"]);
    assert_eq!(report["state"], "success");
    assert!(report["run_id"].as_str().unwrap().starts_with("manual__"), "{report}");
    let make = instance(&report, "make", -1);
    let keys: Vec<&String> = make.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["end", "map_index", "output", "start", "state", "task_id", "try_number"]);
    assert_eq!(
        (&make["output"], &make["try_number"], &make["state"]),
        (&json!({"n": 3}), &json!(1), &json!("success"))
    );
    assert!(make["start"].as_str() <= make["end"].as_str() && make["end"].as_str().unwrap().ends_with('Z'));
    assert_eq!(instance(&report, "each", 1)["output"], json!(2));
    assert_eq!(instance(&report, "use", -1)["output"], Value::Null);
}

#[test]
fn people_see_what_happens_and_how_it_ended() {
    let said = write("chain.yaml", CHAIN).test(&["--date", "2026-01-05", "--param", "name=you", "--logs"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for expected in [
        "  make     running",
        "--- log of use, try 1\n  you 3 2026-01-05\n",
        "each[1]  success      1",
        " success in ",
    ] {
        assert!(said.out.contains(expected), "{expected:?} in {}", said.out);
    }
}

#[test]
fn a_failing_task_shows_its_log_and_fails() {
    let text = "
dag: bad
tasks:
  a: { bash: 'seq 1 50; echo the disk is full >&2; exit 7', retries: 1, retry_delay: 10m }
  b: { needs: a, empty: {} }
";
    let written = write("bad.yaml", text);
    let said = written.test(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    for expected in [
        "--- log of a, try 2, last 20 lines\n  32\n",
        "  the disk is full\n",
        "upstream_failed",
        "code 7",
        "--real-delays",
    ] {
        assert!(said.out.contains(expected), "{expected:?} in {}", said.out);
    }
    let kept = said.out.lines().find_map(|line| line.trim().strip_prefix("all of it: ")).unwrap();
    assert_eq!(std::fs::read_to_string(kept).unwrap().lines().count(), 51);
    std::fs::remove_dir_all(std::path::Path::new(kept).parent().unwrap()).unwrap();

    let said = written.test(&["--format", "json"]);
    assert_eq!((said.code, said.json()["state"].clone()), (Some(1), json!("failed")));
    assert_eq!(instance(&said.json(), "a", -1)["try_number"], 2);
    assert!(said.err.contains("the disk is full"), "{}", said.err);
    let kept = said.err.lines().find_map(|line| line.trim().strip_prefix("all of it: ")).unwrap();
    std::fs::remove_dir_all(std::path::Path::new(kept).parent().unwrap()).unwrap();
}

#[test]
fn some_tasks_run_and_others_end_as_told() {
    let text = "
dag: parts
tasks:
  list: { bash: 'exit 1' }
  each: { needs: list, map: { x: { output: list } }, bash: 'echo \"{{ map.x }}\" > $UPDRAFT_RESULT' }
  size: { needs: [each, list], branch: [ { when: '{{ outputs.list | length > 5 }}', run: big }, { else: small } ] }
  big: { needs: size, bash: 'exit 1' }
  small: { needs: size, bash: 'exit 1' }
";
    let written = write("parts.yaml", text);
    let said = written.test(&["--format", "json", "--task", "each", "--mock", "list=[10, 20]"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let report = said.json();
    assert_eq!(instance(&report, "each", 1)["output"], json!(20));
    assert_eq!(instance(&report, "list", -1)["output"], json!([10, 20]));
    assert_eq!(instance(&report, "small", -1)["state"], "success");

    let said = written.test(&["--format", "json", "--task", "each", "--mock", "list=failed"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(instance(&said.json(), "each", -1)["state"], "upstream_failed");

    let said = written.test(&[
        "--format",
        "json",
        "--mock",
        "*=success",
        "--mock",
        "list=[1]",
        "--mock",
        "small=skipped",
    ]);
    assert_eq!(instance(&said.json(), "small", -1)["state"], "skipped", "{said:?}");
}

#[test]
fn variables_connections_and_executors_of_the_service_are_not_needed() {
    let text = "
dag: reach
schedule: { every: 1s }
tasks:
  make: { sql: { connection: db, query: 'create table t as select 7 as n' }, pool: narrow, executor: gpu-lab }
  read: { needs: make, sql: { connection: db, query: 'select n from t' } }
  word: { needs: read, bash: 'echo {{ var.value.word }} > $UPDRAFT_RESULT.tmp; echo \"\\\"{{ var.value.word }}\\\"\" > $UPDRAFT_RESULT' }
";
    let written = write("reach.yaml", text);
    let said = written.test(&["--format", "json", "--conn", "db=sqlite::temporary:", "--var", "word=hey"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(instance(&said.json(), "read", -1)["output"], json!([{"n": 7}]));
    assert_eq!(instance(&said.json(), "word", -1)["output"], "hey");
}

#[test]
fn one_small_task_is_done_well_under_a_second() {
    let written = write("one.yaml", "dag: one\ntasks: { a: { bash: 'true' } }\n");
    let best = (0..3).map(|_| {
        let start = Instant::now();
        assert_eq!(written.test(&["--format", "json"]).code, Some(0));
        start.elapsed()
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_millis(900), "{best:?}");
}

#[test]
fn an_interrupted_run_ends_its_processes() {
    let marker = format!("31{}", std::process::id());
    let text = format!(
        "dag: slow\ntasks:\n  a: {{ bash: 'sleep {marker}1 & sleep {marker}2' }}\n  b: {{ needs: a, bash: 'true' }}\n"
    );
    let written = write("slow.yaml", &text);
    let mut child = updraft().arg("test").arg(&written.file).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("running")));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("interrupted")), "{rest:?}");
    assert_eq!(processes(&format!("sleep {marker}")), [] as [i32; 0]);
    let supervisors = processes("supervise --dir");
    let ours: Vec<i32> = supervisors
        .into_iter()
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| stat.contains(&format!(" {} ", child.id())))
        })
        .collect();
    assert_eq!(ours, [] as [i32; 0]);
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    let marker = format!("32{}", std::process::id());
    let written =
        write("slow.yaml", &format!("dag: slow\ntasks: {{ a: {{ bash: 'exec sleep {marker}' }} }}\n"));
    let said = written.test(&["--timeout", "300ms"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("ended by its `--timeout`"), "{said:?}");
    assert_eq!(processes(&format!("sleep {marker}")), [] as [i32; 0]);
}

const RECORDED: &str = "
dag: pipeline
tasks:
  load: { bash: 'touch MARK; echo 7 > $UPDRAFT_RESULT', executor: local }
  list: { needs: load, bash: 'touch MARK; echo [1,2,3] > $UPDRAFT_RESULT' }
  each: { needs: list, map: { x: { output: list } }, bash: 'touch MARK; echo $(( {{ map.x }} * 10 )) > $UPDRAFT_RESULT' }
  size: { needs: load, branch: [ { when: '{{ outputs.load > 5 }}', run: big }, { else: small } ] }
  big: { needs: size, bash: 'touch MARK; echo big' }
  small: { needs: size, bash: 'touch MARK; echo small' }
  sum: { needs: each, bash: 'echo \"{{ outputs.each | sum }}\" > $UPDRAFT_RESULT' }
";

#[test]
fn what_was_recorded_needn_t_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mark, kept) = (folder.path().join("ran"), folder.path().join("kept.json"));
    let text = RECORDED.replace("MARK", mark.to_str().unwrap());
    let written = write("pipeline.yaml", &text);
    let kept = kept.to_str().unwrap();
    let said = written.test(&["--format", "json", "--record", kept]);
    assert_eq!((said.code, instance(&said.json(), "sum", -1)["output"].clone()), (Some(0), json!(60)));
    std::fs::remove_file(&mark).unwrap();

    // A part is run, with the results of what comes before it.
    let said = written.test(&["--format", "json", "--from", "sum", "--replay", kept]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let report = said.json();
    assert_eq!(instance(&report, "sum", -1)["output"], json!(60));
    assert_eq!(instance(&report, "each", 2)["output"], json!(30));
    assert_eq!(instance(&report, "small", -1)["state"], "skipped", "the branch decides as it did");
    assert!(!mark.exists(), "nothing that is recorded ran");

    // Without a wish nothing that is recorded runs, and what isn't recorded does.
    let more = write(
        "pipeline.yaml",
        &format!(
            "{text}  more: {{ needs: sum, bash: 'echo {{{{ outputs.sum + 1 }}}} > $UPDRAFT_RESULT' }}\n"
        ),
    );
    let said = more.test(&["--format", "json", "--replay", kept]);
    assert_eq!((said.code, instance(&said.json(), "more", -1)["output"].clone()), (Some(0), json!(61)));
    assert!(!mark.exists());

    // Another element has no recorded end.
    let said = written.test(&["--format", "json", "--mock", "list=[1, 2, 3, 4]", "--replay", kept]);
    assert_eq!(instance(&said.json(), "each", 3)["output"], json!(40));
    assert!(mark.exists());
    std::fs::remove_file(&mark).unwrap();

    let said = written.test(&["--from", "each", "--until", "each", "--replay", kept]);
    assert!(said.out.contains("each[1]") && mark.exists(), "{said:?}");
    assert!(said.out.contains("recorded"), "{said:?}");
}

#[test]
fn a_recording_that_can_t_be_used_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kept.json");
    let kept = file.to_str().unwrap();
    let written = write("chain.yaml", CHAIN);
    let replay = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let said = written.test(&["--replay", kept]);
        assert_eq!(said.code, Some(2), "{said:?}");
        said.err
    };
    let said = replay("{}");
    assert!(
        said.contains("kept.json is no recording: missing field `format`") && said.contains("--record"),
        "{said}"
    );
    let said = replay(r#"{"format": 9, "dag": "chain", "date": null, "conf": {}, "tasks": {}}"#);
    assert!(said.contains("its format is 9"), "{said}");
    let said = replay(r#"{"format": 1, "dag": "other", "date": null, "conf": {}, "tasks": {}}"#);
    assert!(said.contains("the recording is of `other`, and this is `chain`"), "{said}");
    let text = r#"{"format": 1, "dag": "chain", "date": null, "conf": {}, "tasks": {"old": [{"state": "success"}]}}"#;
    std::fs::write(&file, text).unwrap();
    let said = written.test(&["--replay", kept]);
    assert!(said.out.contains("the recording has `old`, which the DAG doesn't have"), "{said:?}");
}

#[test]
fn a_part_from_here_to_there_runs() {
    let text = "
dag: parts
tasks:
  a: { bash: 'exit 1' }
  b: { needs: a, bash: 'true' }
  c: { needs: b, bash: 'true' }
  d: { needs: c, bash: 'exit 1' }
  beside: { needs: a, bash: 'exit 1' }
";
    let written = write("parts.yaml", text);
    let said = written.test(&["--from", "b", "--until", "c"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("3 tasks that were left out count as successful"), "{said:?}");
    assert_eq!(written.test(&["--from", "c"]).code, Some(1));
    assert_eq!(written.test(&["--until", "c"]).code, Some(1));
    let said = written.test(&["--from", "d", "--until", "b"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("no task of `parts` lies between `--from d` and `--until b`"), "{said:?}");
    let said = written.test(&["--from", "dd"]);
    assert!(said.err.contains("`--from dd` fits no task of `parts`"), "{said:?}");
}

#[test]
fn an_executor_can_be_a_stub() {
    let text = "
dag: far
tasks:
  near: { bash: 'echo 1 > $UPDRAFT_RESULT' }
  far: { needs: near, executor: k8s, bash: 'exit 1' }
";
    let written = write("far.yaml", text);
    assert_eq!(written.test(&["--executor", "k8s=process"]).code, Some(1));
    let said = written.test(&["--executor", "k8s=stub"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("stubbed"), "{said:?}");
    let said = written.test(&["--executor", "k9s=stub"]);
    assert!(
        said.err.contains("no task of `far` is for the executor `k9s`") && said.err.contains("`k8s`"),
        "{said:?}"
    );
    let said = written.test(&["--executor", "k8s=docker"]);
    assert!(said.code == Some(2) && said.err.contains("`process` runs them on this machine"), "{said:?}");
}

#[test]
fn tasks_are_told_the_size_of_the_sample() {
    let text = "
dag: part
tasks:
  shell: { bash: 'echo \"{{ sample or 0 }}\" > $UPDRAFT_RESULT' }
  env: { bash: 'echo \"${UPDRAFT_SAMPLE:-0}\" > $UPDRAFT_RESULT' }
  code: { python: 'sample' }
";
    let written = write("part.yaml", text);
    for (arguments, expected) in [(vec!["--sample", "100"], json!(100)), (vec![], json!(0))] {
        let said = written.test(&[&["--format", "json"], &arguments[..]].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        for task in ["shell", "env"] {
            assert_eq!(instance(&said.json(), task, -1)["output"], expected);
        }
        let code = &said.json()["task_instances"];
        let code =
            code.as_array().unwrap().iter().find(|one| one["task_id"] == "code").unwrap()["output"].clone();
        assert_eq!(code, if expected == 0 { Value::Null } else { expected });
    }
}

fn policies(change: impl FnOnce(&mut Value)) -> Value {
    let mut policies = json!({
        "format": 1,
        "tenant": "vision",
        "user": "ann",
        "taken_at": "2026-01-05T00:00:00Z",
        "rules": [{
            "role": "author",
            "rule": {
                "effect": "allow",
                "kinds": ["dag", "run"],
                "objects": { "name": "*" },
                "actions": ["create", "read"]
            }
        }],
        "installation": {
            "default_executor": "local",
            "executors": { "local": { "kind": "local", "slots": 16, "gangs": true, "gpus": false, "custom": false } },
            "routes": []
        },
        "room": {
            "default_executor": "local",
            "pools": { "default_pool": 128, "narrow": 1 },
            "variables": ["day"],
            "connections": []
        }
    });
    change(&mut policies);
    policies
}

#[test]
fn what_a_service_would_refuse_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ann.json");
    let named = file.to_str().unwrap();
    let text = "dag: etl\ntasks:\n  a: { bash: 'echo {{ var.value.day }}', pool: narrow }\n";
    let written = write("etl.yaml", text);
    let said = |text: &str, change: &dyn Fn(&mut Value)| {
        std::fs::write(&file, policies(|policies| change(policies)).to_string()).unwrap();
        let said = write("etl.yaml", text).test(&["--policies", named, "--var", "day=1"]);
        format!("{}\n{}{}", said.code.unwrap(), said.out, said.err)
    };
    let good = said(text, &|_| {});
    assert!(good.starts_with("0\n"), "{good}");
    assert!(good.contains("run as `ann` in `vision`, with its pools of 2026-01-05T00:00:00Z"), "{good}");

    let deny = |policies: &mut Value| {
        let rule =
            json!({"effect": "deny", "kinds": ["run"], "objects": {"name": "et*"}, "actions": ["create"]});
        policies["rules"].as_array_mut().unwrap().push(json!({"role": "careful", "rule": rule}));
    };
    let refused = said(text, &deny);
    assert!(refused.starts_with("2\n") && refused.contains("`ann` may not trigger `etl`"), "{refused}");
    assert!(!refused.contains("may not deploy"), "{refused}");
    let refused = said(text, &|policies| policies["rules"] = json!([]));
    assert!(refused.contains("`ann` may not deploy `etl`; `ann` may not trigger `etl`"), "{refused}");

    for (text, expected) in [
        (text.replace("narrow", "wide"), "`etl.a` waits for the pool `wide`, which isn't there"),
        (
            text.replace("narrow", "narrow, pool_slots: 2"),
            "`etl.a` wants 2 slots of the pool `narrow`, which has 1",
        ),
        (text.replace("value.day", "value.night"), "`etl` names the variable `night`, which isn't there"),
        (text.replace("pool: narrow", "executor: k8s"), "`k8s`"),
    ] {
        let refused = said(&text, &|_| {});
        assert!(!refused.starts_with("0\n") && refused.contains(expected), "{expected}: {refused}");
    }
    // What whoever asked may not see is missed by nobody, and that is said.
    let unknown = said(&text.replace("narrow", "wide"), &|policies| policies["room"]["pools"] = Value::Null);
    assert!(unknown.starts_with("0\n") && unknown.contains("may not see all `pools`"), "{unknown}");
    let never = said(text, &|policies| policies["limits"] = json!({"tasks_per_user": 0}));
    assert!(never.contains("`ann` may have no task at once there"), "{never}");

    for (arguments, expected) in [
        (vec!["--policies", named, "--as", "bob"], "is about `ann`, and not about `bob`"),
        (vec!["--as", "bob"], "`--as bob` says nothing without a service"),
    ] {
        let said = written.test(&arguments);
        assert!(said.code == Some(2) && said.err.contains(expected), "{said:?}");
    }
    std::fs::write(&file, "{}").unwrap();
    assert!(written.test(&["--policies", named]).err.contains("holds no policies: missing field"));
}

#[test]
fn a_service_s_pools_and_limits_hold_here_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ann.json");
    let text = "
dag: two
tasks:
  a: { bash: 'touch HERE/a; for i in $(seq ROUNDS); do if [ -e HERE/b ]; then echo 1 > $UPDRAFT_RESULT; exit; fi; sleep 0.05; done; rm HERE/a; echo 0 > $UPDRAFT_RESULT', pool: POOL }
  b: { bash: 'touch HERE/b; for i in $(seq ROUNDS); do if [ -e HERE/a ]; then echo 1 > $UPDRAFT_RESULT; exit; fi; sleep 0.05; done; rm HERE/b; echo 0 > $UPDRAFT_RESULT', pool: POOL }
";
    // Each waits for the other to be there, and for long only where it must come.
    let met = |pool: &str, limits: Value, rounds: u32| {
        let here = tempfile::tempdir().unwrap();
        std::fs::write(&file, policies(|policies| policies["limits"] = limits).to_string()).unwrap();
        let text = text.replace("HERE", here.path().to_str().unwrap());
        let text = text.replace("POOL", pool).replace("ROUNDS", &rounds.to_string());
        let written = write("two.yaml", &text);
        let said = written.test(&["--format", "json", "--policies", file.to_str().unwrap()]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let report = said.json();
        (instance(&report, "a", -1)["output"].clone(), instance(&report, "b", -1)["output"].clone())
    };
    let (both, none) = ((json!(1), json!(1)), (json!(0), json!(0)));
    assert_eq!(met("default_pool", json!({}), 400), both);
    assert_eq!(met("narrow", json!({}), 5), none, "the pool has one slot");
    assert_eq!(
        met("default_pool", json!({"users": {"ann": 1}}), 5),
        none,
        "its user may have one task at once"
    );
    assert_eq!(met("default_pool", json!({"users": {"bob": 1}}), 400), both);
}
