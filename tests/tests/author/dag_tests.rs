//! Tests of DAGs: those of the examples pass, and each fails when its DAG is broken on purpose.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::program::{root, run, write};

/// Test, file that is broken, what is taken out of it and what is put in.
const BROKEN: &[(&str, &str, &str, &str)] = &[
    ("archive_whole", "archive.yaml", "<= params.limit", "< params.limit"),
    ("archive_split", "archive.yaml", "--bytes={{ params.limit }}", "--bytes=1000"),
    ("archive_cleans_up", "archive.yaml", "    teardown_of: workspace\n", ""),
    ("archive_join", "archive.yaml", "    trigger_rule: none_failed_min_one_success\n", ""),
    ("archive_real", "archive.yaml", "grep -c '\\.txt$'", "grep -c 'a.*\\.txt$'"),
    ("archive_weekly", "archive.yaml", "\"@weekly\"", "\"@daily\""),
    ("archive_no_workspace", "archive.yaml", "  workspace:\n", "  workspace:\n    retries: 2\n"),
    ("archive_paths", "archive.yaml", "rm -r {{ outputs.workspace }}", "rm -r /tmp/updraft-archive-*"),
    ("co2_measured_asset", "co2_measured.yaml", "    outlets: [co2/mauna_loa]\n", ""),
    ("co2_measured_failure", "co2_measured.yaml", "    outlets:", "    retries: 2\n    outlets:"),
    (
        "co2_measured_real",
        "co2_measured.yaml",
        "data/co2_mauna_loa.csv\n      tail",
        "data/co2_hawaii.csv\n      tail",
    ),
    ("co2_measured_monthly", "co2_measured.yaml", "\"@monthly\"", "\"@yearly\""),
    ("co2_trend_real", "co2_trend.yaml", "    slope /= sum", "    slope *= sum"),
    ("co2_trend_years", "co2_trend.yaml", "-12 * params[\"years\"]", "-12 * 20"),
    ("co2_trend_no_clock", "co2_trend.yaml", "{ assets: co2/mauna_loa }", "\"@daily\""),
    (
        "co2_report_order",
        "co2_report.yaml",
        "  decades:\n    needs: [check_complete, check_plausible]",
        "  decades:\n    needs: check_complete",
    ),
    ("co2_report_implausible", "co2_report.yaml", "retries: 2", "retries: 1"),
    ("co2_report_real", "co2_report.yaml", "between 300 and 500", "between 300 and 400"),
    ("co2_report_missing_months", "co2_report.yaml", "\"<= 6\"", "\"<= 600\""),
    ("co2_report_schedule", "co2_report.yaml", "timezone: Pacific/Honolulu", "timezone: America/New_York"),
    ("co2_report_retry", "co2_report.yaml", "retry_delay: 30s", "retry_delay: 10m"),
    ("co2_report_timeout", "co2_report.yaml", "timeout: 5m", "timeout: 5h"),
    ("word_counts_fan_out", "word_counts.yaml", "{ output: texts }", "[one, two]"),
    (
        "word_counts_empty",
        "word_counts.yaml",
        "  total:\n    needs: count\n",
        "  total:\n    needs: count\n    trigger_rule: none_failed\n",
    ),
    ("word_counts_real", "word_counts.yaml", "total.total()", "len(total)"),
    ("word_counts_top", "word_counts.yaml", "params[\"top\"])", "3)"),
    (
        "word_counts_one_fails",
        "word_counts.yaml",
        "  total:\n    needs: count\n",
        "  total:\n    needs: count\n    trigger_rule: all_done\n",
    ),
    ("word_counts_folder", "word_counts.yaml", "Path(params[\"folder\"])", "Path(\"texts\")"),
    ("hello_text", "hello.yaml", "{{ ts }}", "{{ ds }}"),
    ("hello_minutes", "hello.yaml", "\"* * * * *\"", "\"*/2 * * * *\""),
    ("hello_real", "hello.yaml", "bash: echo", "bash: eco"),
    ("reports_order", "reports/reports.rhai", "fetch >> reports >> done;", "reports >> done;"),
    ("reports_regions", "reports/regions.rhai", "[\"eu\", \"us\"]", "[\"eu\"]"),
    ("reports_retries", "reports/reports.rhai", ".retries(3)", ".retries(2)"),
    ("reports_real", "reports/orders.sql", "'eu', 5.00", "'us', 5.00"),
    ("reports_one_fails", "reports/reports.rhai", "\"none_failed_min_one_success\"", "\"all_done\""),
    ("reports_schedule", "reports/reports.rhai", "0 6 * * 1-5", "0 6 * * *"),
    (
        "release_approved",
        "release.yaml",
        "{ when: \"{{ params.channel == 'stable' }}\", run",
        "{ when: \"{{ params.channel == 'preview' }}\", run",
    ),
    ("release_rejected", "release.yaml", "default: Reject", "default: Reject\n      fail_on_reject: true"),
    ("release_silence", "release.yaml", "respond_within: 2h", "respond_within: 3h"),
    ("release_late", "release.yaml", "within: 4h", "within: 5h"),
    ("release_preview", "release.yaml", "    when: \"{{ params.channel == 'stable' }}\"\n", ""),
    (
        "release_failed",
        "release.yaml",
        "on_failure: { notify: publishing }",
        "on_success: { notify: publishing }",
    ),
    ("feed_retries", "feed.yaml", "on: [failure, retry]", "on: [failure]"),
    ("feed_backoff", "feed.yaml", "retry_backoff: 2", "retry_backoff: 1"),
    ("feed_part_missing", "feed.yaml", "trigger_rule: all_done_min_one_success", "trigger_rule: all_success"),
    ("feed_nothing_good", "feed.yaml", "    trigger_rule: all_done\n", "    trigger_rule: all_success\n"),
    ("feed_interval", "feed.yaml", "timetable: interval", "timetable: trigger"),
    ("feed_summer_time", "feed.yaml", "timezone: Europe/Berlin", "timezone: Europe/London"),
];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn test_files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.to_str().unwrap().ends_with(".test.yaml")).collect();
    files.sort();
    files
}

#[test]
fn the_tests_of_the_examples_pass() {
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("junit.xml");
    let said = run(["test", "dags/examples", "--junit", junit.to_str().unwrap()]);
    let count = test_files(&root().join("dags/examples/tests")).len();
    assert!(count >= 40, "{count}");
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    assert!(said.out.contains(&format!("{count} passed, 0 failed in ")), "{}", said.out);
    let junit = fs::read_to_string(junit).unwrap();
    assert!(
        junit.contains(&format!("tests=\"{count}\" skipped=\"0\" failures=\"0\" errors=\"0\"")),
        "{junit}"
    );
}

/// Each DAG is broken in a folder of its own, with one test beside it; all are run at once.
#[test]
fn each_test_fails_when_its_dag_is_broken() {
    let examples = root().join("dags/examples");
    let names: Vec<String> = test_files(&examples.join("tests"))
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().replace(".test.yaml", ""))
        .collect();
    let mut listed: Vec<&str> = BROKEN.iter().map(|(test, ..)| *test).collect();
    listed.sort_unstable();
    assert_eq!(names, listed, "each test has its mutation");

    let folder = tempfile::tempdir().unwrap();
    for (test, file, find, put) in BROKEN {
        let place = folder.path().join(test);
        copy(&examples, &place);
        for path in test_files(&place.join("tests")) {
            if !path.ends_with(format!("{test}.test.yaml")) {
                fs::remove_file(path).unwrap();
            }
        }
        let text = fs::read_to_string(place.join(file)).unwrap();
        assert_eq!(text.matches(find).count(), 1, "{test}: `{find}` stands once in {file}");
        fs::write(place.join(file), text.replace(find, put)).unwrap();
    }
    let said = run(["test", folder.path().to_str().unwrap(), "--format", "json"]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{said:?}");
    let report = said.json();
    let verdicts: BTreeMap<&str, &str> = report["tests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|test| {
            let file = Path::new(test["file"].as_str().unwrap());
            let place = file.strip_prefix(folder.path()).unwrap().iter().next().unwrap();
            (place.to_str().unwrap(), test["verdict"].as_str().unwrap())
        })
        .collect();
    assert_eq!(verdicts.len(), BROKEN.len());
    let survived: Vec<_> = verdicts.iter().filter(|(_, verdict)| **verdict != "failed").collect();
    assert!(survived.is_empty(), "these don't fail: {survived:?}");
}

const DAG: &str = "dag: etl\nparams: { region: { type: string, default: eu } }\ntasks:\n  load: { bash: 'load {{ params.region }}', retries: 1, \
                   retry_delay: 1h, retry_jitter: full }\n  tell: { needs: load, bash: 'echo {{ outputs.load }}' }\n";

#[test]
fn what_differs_is_shown_where_it_was_expected() {
    let dag = write("etl.yaml", DAG);
    let test = dag.folder.path().join("etl.test.yaml");
    let text = "test: it loads\ndag: etl.yaml\nmock: { load: { result: 7 } }\nexpect:\n  tasks:\n    load: skipped\n    tell:\n      \
                rendered: { bash: echo 8 }\n";
    fs::write(&test, text).unwrap();
    let said = run(["test", test.to_str().unwrap()]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{said:?}");
    for part in [
        "FAILED it loads",
        "tasks.load.state  ",
        "etl.test.yaml:6:11",
        "    - skipped\n    + success\n",
        "etl.test.yaml:8:25",
        "    - echo 8\n    + echo 7\n",
        "0 passed, 1 failed in ",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
}

#[test]
fn a_test_that_cant_be_run_says_why_and_where() {
    let dag = write("etl.yaml", DAG);
    let test = dag.folder.path().join("etl.test.yaml");
    let path = test.to_str().unwrap();
    let cases = [
        ("test: t\ndag: etl.yaml\nmock: { laod: success }\n", "did you mean `load`?", ":3:9"),
        ("test: t\ndag: elt.yaml\n", "can't be used", ":2:6"),
        ("test: t\ndag: etl.yaml\nid: other\n", "defines no DAG `other`", ":3:5"),
        ("test: t\ndag: etl.yaml\nexpect: { tasks: { load: succes } }\n", "did you mean `success`?", ":3:26"),
        ("test: t\ndag: etl.yaml\nexpct: {}\n", "did you mean `expect`?", ":3:1"),
        ("dag: etl.yaml\n", "a test needs `test`", ":1:1"),
        ("test: t\ndag: etl.yaml\ngiven: { params: { regoin: us } }\n", "did you mean `region`?", ":3:18"),
        (
            "test: t\ndag: etl.yaml\nexpect: { tasks: { tell: { rendered: { comand: x } } } }\n",
            "no parameter `comand`",
            ":3:48",
        ),
        ("test: t\ndag: etl.yaml\n---\ntest: t\ndag: etl.yaml\n", "two tests are named `t`", ":4:7"),
    ];
    for (text, message, place) in cases {
        fs::write(&test, text).unwrap();
        let said = run(["test", path]);
        assert_eq!(said.code, Some(1), "{text}: {said:?}");
        assert!(
            said.err.contains(message) && said.err.contains(&format!("etl.test.yaml{place}")),
            "{text}: {said:?}"
        );
    }
}

#[test]
fn a_run_that_goes_no_further_says_what_it_waits_for() {
    let dag = write("ask.yaml", "dag: ask\ntasks: { ok: { approval: { subject: 'Go on?' } } }\n");
    let test = dag.folder.path().join("ask.test.yaml");
    fs::write(&test, "test: t\ndag: ask.yaml\n").unwrap();
    let said = run(["test", test.to_str().unwrap()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("Go on?") && said.out.contains("+ running"), "{}", said.out);
    fs::write(&test, "test: t\ndag: ask.yaml\nexpect: { state: running, tasks: { ok: awaiting_input } }\n")
        .unwrap();
    assert_eq!(run(["test", test.to_str().unwrap()]).code, Some(0));
}

#[test]
fn a_snapshot_is_written_when_asked_for_and_compared_otherwise() {
    let dag = write("etl.yaml", DAG);
    let folder = dag.folder.path();
    let test = folder.join("etl.test.yaml");
    let path = test.to_str().unwrap();
    fs::write(
        &test,
        "test: t\ndag: etl.yaml\nmock: { load: [failed, success] }\nexpect: { snapshot: true }\n",
    )
    .unwrap();
    let said = run(["test", path]);
    assert!(said.code == Some(1) && said.out.contains("--update-snapshots"), "{said:?}");
    let said = run(["test", path, "--update-snapshots"]);
    assert!(said.code == Some(0) && said.out.contains("etl.snap.json"), "{said:?}");
    assert_eq!(run(["test", path]).code, Some(0));
    let kept: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("etl.snap.json")).unwrap()).unwrap();
    assert_eq!(kept["t"]["tasks"]["load"]["tries"], 2);
    assert_eq!(kept["t"]["tasks"]["load"]["rendered"]["command"], "load eu");
    fs::write(&dag.file, DAG.replace("load {{", "load --now {{")).unwrap();
    let said = run(["test", path]);
    assert!(said.code == Some(1) && said.out.contains("load --now eu"), "{said:?}");
}

#[test]
fn a_task_that_is_run_for_real_and_fails_shows_what_it_wrote() {
    let dag = write("etl.yaml", "dag: etl\ntasks: { x: { bash: 'echo here it is; exit 3' } }\n");
    let test = dag.folder.path().join("etl.test.yaml");
    fs::write(&test, "test: t\ndag: etl.yaml\nrun: x\n").unwrap();
    let said = run(["test", test.to_str().unwrap()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("| here it is"), "{}", said.out);
}
