//! Everything but `updraft test`.

use std::{fs, process::Command};

use serde_json::json;

use crate::program::{root, run, updraft, write};

#[test]
fn a_broken_file_is_explained_and_fails() {
    let written = write("a.yaml", "dag: a\ntasks:\n  x:\n    bahs: echo\n");
    let said = run(["validate", written.file.to_str().unwrap()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("did you mean `bash`?") && said.out.contains("a.yaml:4:5"), "{}", said.out);
    assert!(said.out.ends_with("0 DAGs in 1 file: 1 error, 0 warnings\n"), "{}", said.out);
    assert!(!said.out.contains('\u{1b}'), "no colours where nobody sees them: {}", said.out);

    let said = run(["validate", "--format", "json", written.file.to_str().unwrap()]);
    assert_eq!((said.code, said.json()["errors"].clone()), (Some(1), json!(1)));
    assert_eq!(said.json()["diagnostics"][0]["code"], "dag.unknown-key");
    assert_eq!(said.json()["diagnostics"][0]["labels"][0]["line"], 4);
}

#[test]
fn a_folder_is_searched_but_for_its_plugins_and_modules() {
    let lab = ["--set", "executors.local.slots=16", "--set", "executors.gpu-lab.kind=workers"];
    let said = run(["validate", "dags/examples"].iter().chain(&lab));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.out.ends_with(": 0 errors, 0 warnings\n"), "{}", said.out);

    let written = write("a.yaml", "dag: same\ntasks: { x: { empty: {} } }\n");
    fs::copy(&written.file, written.folder.path().join("b.yaml")).unwrap();
    let said = run(["validate", written.folder.path().to_str().unwrap()]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("defines a DAG named `same` already"), "{}", said.out);
}

#[test]
fn what_the_installation_lacks_is_an_error_of_the_file() {
    let written = write("a.yaml", "dag: a\ntasks:\n  x:\n    executor: lab\n    gang: 20\n    bash: echo\n");
    let file = written.file.to_str().unwrap();
    let said = run(["validate", file]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("no executor `lab`") && said.out.contains("a.yaml:4:15"), "{}", said.out);
    assert!(said.out.ends_with("`--config FILE` names the settings of another.\n"), "{}", said.out);

    // The settings of another installation, in which the gang is too large, and of a third, which has all of it.
    let settings = written.folder.path().join("other.toml");
    let lab = "[executors.local]\nslots = 16\n[executors.lab]\nkind = \"workers\"\n";
    fs::write(&settings, format!("{lab}slots = 8\n")).unwrap();
    let said = run(["validate", file, "--config", settings.to_str().unwrap()]);
    assert!(said.out.contains("20 members") && said.out.contains("a.yaml:5:11"), "{}", said.out);
    fs::write(&settings, lab).unwrap();
    let said = run(["validate", file, "--config", settings.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");

    let said = run(["validate", file, "--set", "executors.lab.kind=workers"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("`scheduler.default_executor` is `local`"), "{}", said.err);
    // Everything runs on this machine in a test, whatever a DAG asks for.
    let said = run(["show", file]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn of_one_file_only_what_it_names_is_looked_at() {
    let dag = "dag: a\ntasks:\n  x: { bash: { command: cat x.sql } }\n  y: { sql: { connection: w, file: x.sql } }\n";
    let written = write("a.yaml", dag);
    let folder = written.folder.path();
    fs::write(folder.join("x.sql"), "select 1").unwrap();
    fs::write(folder.join("broken.yaml"), "dag: [\n").unwrap();
    // More than a bundle may hold, and what can't be read at all.
    for n in 0..5 {
        fs::File::create(folder.join(format!("{n}.bin"))).unwrap().set_len(31 << 20).unwrap();
    }
    let said = run(["validate", written.file.to_str().unwrap()]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "1 DAG in 1 file: 0 errors, 0 warnings\n"),
        "{said:?}"
    );
    assert_eq!(run(["validate", folder.to_str().unwrap()]).code, Some(1));

    fs::write(folder.join(".updraftignore"), "*.sql\n").unwrap();
    let said = run(["validate", written.file.to_str().unwrap()]);
    assert!(said.out.contains("the file `x.sql` is left out of the bundle"), "{}", said.out);
    fs::remove_file(folder.join("x.sql")).unwrap();
    fs::remove_file(folder.join(".updraftignore")).unwrap();
    fs::write(folder.join("y.sql"), "select 1").unwrap();
    let said = run(["validate", written.file.to_str().unwrap()]);
    assert!(said.out.contains("did you mean `y.sql`?"), "{}", said.out);
}

#[test]
fn wrong_command_lines_end_with_two() {
    for (arguments, expected) in [
        (&["validate"][..], "PATH"),
        (&["nonsense"], "nonsense"),
        (&["test", "dags/examples/hello.yaml", "--date", "tomorrow"], "`--date tomorrow`"),
        (&["test", "dags/examples/hello.yaml", "--task", "greeet"], "did you mean `greet`?"),
        (&["test", "dags/examples/hello.yaml", "--mock", "greet=done"], "neither a state nor JSON"),
        (&["test", "dags/examples/hello.yaml", "--dag", "bye"], "it defines `hello`"),
        (&["test", "dags/examples/word_counts.yaml", "--param", "tpo=1"], "did you mean `top`?"),
        (&["test", "dags/examples/word_counts.yaml", "--param", "top=0"], "param `top`"),
        (&["test", "dags/examples/co2_report.yaml"], "--conn warehouse=URL"),
        (&["test", "dags/examples/texts"], "no `*.test.yaml`"),
        (&["test", "dags/examples", "--date", "2026-01-05"], "`--date` is for the run of one DAG"),
        (&["test", "dags/examples/hello.yaml", "--junit", "x.xml"], "`--junit` is for files of tests"),
        (&["test", "dags/examples", "dags/examples/hello.yaml"], "hello.yaml is no file of tests"),
        (&["schedule", "--cron", "99 * * * *"], "99"),
        (&["schedule"], "--cron"),
    ] {
        let said = run(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(said.err.contains("error:") && said.err.contains(expected), "{arguments:?}: {}", said.err);
        assert_eq!(said.out, "", "{arguments:?}");
    }
    let said = run(["validate", "no/such/file.yaml"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("error: failed to find no/such/file.yaml: No such file"), "{}", said.err);
}

#[test]
fn a_dag_is_shown_in_every_format() {
    let file = "dags/examples/word_counts.yaml";
    for (format, expected) in [
        ("text", "count"),
        ("dot", "digraph \"word_counts\""),
        ("mermaid", "flowchart"),
        ("json", "\"dag_id\""),
    ] {
        let said = run(["show", file, "--format", format]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains(expected), "{format}: {}", said.out);
    }
    assert_eq!(run(["show", file, "--format", "json"]).json()["format"], 1);
}

#[test]
fn the_schema_of_the_examples_is_current() {
    let said = run(["schema"]);
    let kept = fs::read_to_string(root().join("dags/examples/dag.schema.json")).unwrap();
    assert_eq!(said.code, Some(0));
    assert!(said.out == kept, "run `updraft schema -o dags/examples/dag.schema.json`");
    let kept = fs::read_to_string(root().join("dags/examples/tests/test.schema.json")).unwrap();
    let said = run(["schema", "--tests"]);
    assert!(said.out == kept, "run `updraft schema --tests -o dags/examples/tests/test.schema.json`");
}

#[test]
fn the_next_runs_of_an_expression_and_of_a_file() {
    let arguments = ["schedule", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin"];
    let more = ["--now", "2026-03-28T12:00:00Z", "-n", "2", "--format", "json"];
    let said = run(arguments.iter().chain(&more));
    let due = |at: &str| json!({"logical_date": at, "data_interval_start": at, "data_interval_end": at, "run_after": at});
    // On the 29th 02:30 doesn't exist, so the run moves forward by the hour that is missing.
    assert_eq!(said.json(), json!([due("2026-03-29T01:30:00Z"), due("2026-03-30T00:30:00Z")]));

    let said = run([
        "schedule",
        "dags/examples/co2_report.yaml",
        "--now",
        "2026-02-01",
        "-n",
        "1",
        "--format",
        "json",
    ]);
    assert_eq!(said.json()[0]["data_interval_end"], "2026-01-31T14:15:00Z", "{said:?}");
    let said = run(["schedule", "dags/examples/co2_trend.yaml"]);
    assert!(said.out.contains("runs are made when assets are updated"), "{said:?}");
}

#[test]
fn the_machine_is_described() {
    let said = run(["config", "check"]);
    assert!(said.out.contains("Limits of tasks:\n  memory by "), "{said:?}");
    assert!(said.out.contains("Confinement of scripts:"), "{said:?}");
}

#[test]
fn completions_and_help_come_from_the_same_arguments() {
    let said = run(["completions", "bash"]);
    assert!(said.code == Some(0) && said.out.contains("--real-delays"), "{said:?}");
    let said = run(["test", "--help"]);
    assert!(said.out.contains("--real-delays") && said.out.contains("Examples:"), "{said:?}");
}

#[test]
fn whoever_stops_reading_is_no_error() {
    let program = updraft();
    let script = format!("'{}' schema | head -n 1", program.get_program().display());
    let output = Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
