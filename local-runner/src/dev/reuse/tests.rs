//! What of a run is reused, told by small DAGs.

use std::sync::Arc;

use dags::{
    compile::{NoFiles, compile},
    diagnostic::Source,
    ids::{RunId, TenantId},
    time::Timestamp,
};

use super::*;

const PAIR: &str = "dag: pair\ntasks:\n  one: { bash: echo 1 }\n  two: { needs: one, bash: echo 2 }\n  alone: { bash: echo 3 }\n";

fn dag(text: &str) -> Dag {
    let mut compiled = compile(&Source::new("pair.yaml", text), &plugins::catalog(), &NoFiles);
    assert!(!compiled.has_errors(), "{:?}", compiled.diagnostics);
    compiled.dags.remove(0)
}

fn file(path: &str, content: u8) -> File {
    File { path: path.to_owned(), executable: false, sha256: [content; 32], bytes: 1 }
}

fn key_of(dag: &Dag, files: &[File]) -> Keys {
    keys(dag, &Map::new(), &Shared::of([dag], files, &BTreeSet::new()))
}

/// The tasks whose keys differ.
fn changed(a: &Keys, b: &Keys) -> Vec<String> {
    a.iter().filter(|(task, key)| b.get(*task) != Some(key)).map(|(task, _)| task.to_string()).collect()
}

fn row(task: &str, state: TaskState) -> TaskRow {
    TaskRow {
        tenant: TenantId::DEFAULT,
        run: RunId(Default::default()),
        task: task.parse().unwrap(),
        map_index: -1,
        state,
        try_number: 1,
        max_tries: 1,
        dispatch_n: 1,
        preempted: 0,
        requeued: 0,
        scheduled_at: None,
        queued_at: None,
        started_at: Some(Timestamp(1)),
        ended_at: None,
        wake_at: None,
        executor: None,
        members: 1,
        host: None,
        worker: None,
        pool: "default_pool".parse().unwrap(),
        pool_slots: 1,
        weight: 1,
        reason: None,
        exit_code: Some(0),
        mapped_length: None,
        skips: None,
        marked_by: None,
    }
}

fn planned(plan: &Plan) -> Vec<&str> {
    plan.tasks.iter().map(TaskId::as_str).collect()
}

#[test]
fn a_changed_task_changes_what_depends_on_it() {
    let (before, after) = (dag(PAIR), dag(&PAIR.replace("echo 1", "echo 9")));
    assert_eq!(changed(&key_of(&before, &[]), &key_of(&after, &[])), ["one", "two"]);
}

#[test]
fn what_makes_no_difference_to_a_result_changes_no_key() {
    let text = PAIR.replace("bash: echo 2", "bash: echo 2, retries: 3, doc: says more, priority: 7");
    assert_eq!(changed(&key_of(&dag(PAIR), &[]), &key_of(&dag(&text), &[])), [""; 0]);
}

#[test]
fn a_file_that_no_task_names_counts_for_all_and_dag_files_for_none() {
    let dag = dag(PAIR);
    let files = |helper, other| [file("helper.py", helper), file("other.yaml", other)];
    let keys = key_of(&dag, &files(1, 1));
    assert_eq!(changed(&keys, &key_of(&dag, &files(2, 1))), ["alone", "one", "two"]);
    assert_eq!(changed(&keys, &key_of(&dag, &files(1, 2))), [""; 0]);
}

#[test]
fn parameters_count_for_all() {
    let (dag, conf) = (dag(PAIR), Map::from_iter([("n".to_owned(), json!(1))]));
    let shared = Shared::of([&dag], &[], &BTreeSet::new());
    assert_eq!(changed(&keys(&dag, &Map::new(), &shared), &keys(&dag, &conf, &shared)).len(), 3);
}

#[test]
fn only_what_ended_well_and_all_before_it_is_reused() {
    let (mut memory, dag) = (Memory::default(), dag(PAIR));
    let keys = key_of(&dag, &[]);
    assert_eq!(memory.plan(&dag, &keys), Plan::default(), "nothing ran yet");
    let rows =
        [row("one", TaskState::Failed), row("two", TaskState::Success), row("alone", TaskState::Success)];
    memory.learn(&dag, &keys, &rows, &[]);
    assert_eq!(planned(&memory.plan(&dag, &keys)), ["alone"], "`two` has to see what `one` does now");
    memory.learn(&dag, &keys, &[row("one", TaskState::Success)], &[]);
    assert_eq!(planned(&memory.plan(&dag, &keys)), ["alone", "one", "two"]);
    memory.forget(&dag.dag_id);
    assert_eq!(memory.plan(&dag, &keys), Plan::default());
}

#[test]
fn an_edit_that_is_taken_back_runs_again() {
    let (mut memory, before, after) = (Memory::default(), dag(PAIR), dag(&PAIR.replace("echo 3", "echo 4")));
    let (old, new) = (key_of(&before, &[]), key_of(&after, &[]));
    memory.learn(&before, &old, &[row("alone", TaskState::Success)], &[]);
    memory.learn(&after, &new, &[row("alone", TaskState::Success)], &[]);
    assert_eq!(planned(&memory.plan(&before, &old)), [""; 0], "what it left outside is that of the other");
}

#[test]
fn what_was_marked_by_hand_is_no_result() {
    let (mut memory, dag) = (Memory::default(), dag(PAIR));
    let keys = key_of(&dag, &[]);
    let marked = TaskRow { marked_by: Some(Arc::from("ana")), ..row("alone", TaskState::Success) };
    memory.learn(&dag, &keys, &[marked], &[]);
    assert!(memory.plan(&dag, &keys).ends.is_empty());
}

#[test]
fn what_tasks_write_is_neither_a_change_nor_the_end_of_reuse() {
    let (mut memory, dag) = (Memory::default(), dag(PAIR));
    let (before, after) = ([file("a.py", 1)], [file("a.py", 1), file("out.csv", 1)]);
    let old = key_of(&dag, &before);
    memory.learn(&dag, &old, &[row("alone", TaskState::Success)], &[]);
    assert_eq!(perhaps_written([&dag], &before, &after), ["out.csv"]);
    let written = BTreeSet::from(["out.csv".to_owned()]);
    let new = keys(&dag, &Map::new(), &Shared::of([&dag], &after, &written));
    assert_eq!(old, new);

    // If it was there when the task ran, its old content is in the key.
    let old = key_of(&dag, &after);
    memory.learn(&dag, &old, &[row("alone", TaskState::Success)], &[]);
    assert_eq!(planned(&memory.plan(&dag, &new)), [""; 0]);
    memory.rekey(&dag.dag_id, &old, &new);
    assert_eq!(planned(&memory.plan(&dag, &new)), ["alone"]);
}

#[test]
fn code_isn_t_taken_for_what_tasks_write() {
    let dag = dag(PAIR);
    let now = [file("a.py", 1), file("pair.yaml", 1), file("plugins/x.bin", 1), file("q.sql", 1)];
    assert_eq!(perhaps_written([&dag], &[], &now), [""; 0]);
}
