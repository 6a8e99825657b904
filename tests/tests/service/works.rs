//! What a service is for: a DAG file becomes a run that succeeds, and everything about it is kept.

use dags::ids::{DispatchId, TaskId};
use engine::{
    command::Command,
    dispatch::ResultRef,
    rows::{RunRow, RunType, TaskRow},
    state::{RunState, TaskState},
};
use migrations::store;
use scheduler::objects::Objects;

use crate::{
    history, on_both,
    site::{LATE, SCOPE, SOON, Site},
};

on_both!(
    a_scheduled_dag_runs_to_success_and_all_of_it_is_kept,
    a_run_is_told_its_events_and_the_run_before_it,
);

const DAG: &str = r#"
dag: whole
schedule: "@hourly"
start_date: 2020-01-01
tasks:
  first:
    bash: |
      echo "a line of the log"
      echo '{"number": 42}' > "$UPDRAFT_RESULT"
  second:
    needs: first
    bash: |
      echo "got {{ outputs.first.number }}"
      echo '["a", "b", "c"]' > "$UPDRAFT_RESULT"
  each:
    needs: second
    map: { letter: { output: second } }
    bash: |
      echo '"{{ map.letter }}!"' > "$UPDRAFT_RESULT"
  choose:
    needs: [first, each]
    branch:
      - { when: "{{ outputs.first.number == 42 }}", run: taken }
      - { else: left_out }
  taken:
    needs: choose
    retries: 1
    retry_delay: 1s
    bash: |
      test {{ ti.try_number }} = 2
      printf '"%0100000d"' 7 > "$UPDRAFT_RESULT"
  left_out: { needs: choose, bash: "exit 1" }
  last:
    needs: [taken, left_out]
    trigger_rule: none_failed_min_one_success
    empty: {}
"#;

async fn a_scheduled_dag_runs_to_success_and_all_of_it_is_kept(site: Site) {
    site.write_dag("whole.yaml", DAG);
    let _service = site.start();
    let run = site
        .until(LATE, "the scheduled run ends", async || {
            let mut runs = site.runs("whole").await;
            match runs.pop() {
                Some(run) if run.ended_at.is_some() => Ok(run),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await;
    assert_eq!((run.run_type, run.state), (RunType::Scheduled, RunState::Success));
    assert_eq!(site.runs("whole").await.len(), 1, "only the last of the missed hours gets a run");

    let seen: Vec<_> = site.tasks(&run).await.into_iter().map(summary).collect();
    let wanted = [
        ("choose", -1, TaskState::Success, 1),
        ("each", 0, TaskState::Success, 1),
        ("each", 1, TaskState::Success, 1),
        ("each", 2, TaskState::Success, 1),
        ("first", -1, TaskState::Success, 1),
        ("last", -1, TaskState::Success, 1),
        ("left_out", -1, TaskState::Skipped, 0),
        ("second", -1, TaskState::Success, 1),
        ("taken", -1, TaskState::Success, 2),
    ];
    assert_eq!(seen, wanted.map(|(task, index, state, tries)| (task.to_owned(), index, state, tries)));

    let task = |name: &str| TaskId::parse(name).unwrap();
    let tries = store::task_instance::tries(&site.db, SCOPE, run.run, &task("taken"), -1).await.unwrap();
    let tries: Vec<_> = tries.iter().map(|try_| (try_.row.try_number, try_.row.exit_code)).collect();
    assert_eq!(tries, [(1, Some(1))]);

    let objects = Objects::open(&site.path("data/objects")).unwrap();
    let result = async |name: &str, index: i32| {
        let row = store::result::get(&site.db, SCOPE, run.run, &task(name), index).await.unwrap();
        row.expect("a result").value
    };
    assert_eq!(result("first", -1).await, ResultRef::Inline(serde_json::json!({ "number": 42 })));
    for (index, letter) in ["a!", "b!", "c!"].into_iter().enumerate() {
        assert_eq!(result("each", index as i32).await, ResultRef::Inline(letter.into()));
    }
    match result("taken", -1).await {
        ResultRef::Stored { digest, bytes, .. } => {
            assert_eq!((bytes, objects.result(&digest).unwrap().len()), (100_002, 100_002));
        }
        ResultRef::Inline(_) => panic!("100,000 digits are too long for the database"),
    }

    log_has(&site, &objects, &run, "first", "a line of the log").await;
    log_has(&site, &objects, &run, "second", "got 42").await;
    history::is_settled(&site, &run).await;
    history::is_legal(&site, &run).await;
}

fn summary(row: TaskRow) -> (String, i32, TaskState, u32) {
    (row.task.to_string(), row.map_index, row.state, row.try_number)
}

async fn log_has(site: &Site, objects: &Objects, run: &RunRow, task: &str, line: &str) {
    let row = site.task(run, task).await;
    let path = objects.log(DispatchId { attempt: row.attempt(), n: row.dispatch_n }, 0);
    site.until(SOON, &format!("the log of {task} is kept"), async || {
        let log = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if log.contains(line) { Ok(()) } else { Err(log) }
    })
    .await;
}

const MAKER: &str = r#"
dag: maker
tasks:
  make:
    outlets: [raw]
    bash: |
      echo "maker {{ prev_logical_date_success | ds if prev_logical_date_success else 'nothing' }}" >> EFFECTS
"#;

const TAKER: &str = r#"
dag: taker
schedule: { assets: { all: [raw, other] } }
tasks:
  take:
    env:
      COUNT: "{{ triggering_asset_events['raw'] | length }}"
      SOURCE: "{{ triggering_asset_events['raw'][0].source_dag_id }}/{{ triggering_asset_events['raw'][0].source_run_id }}"
    bash: echo "taker $COUNT of $SOURCE" >> EFFECTS
  look:
    python: |
      [sorted(triggering_asset_events), context["triggering_asset_events"]["other"][0]["extra"]]
"#;

async fn a_run_is_told_its_events_and_the_run_before_it(site: Site) {
    let effects = site.effects().display().to_string();
    site.write_dag("maker.yaml", &MAKER.replace("EFFECTS", &effects));
    site.write_dag("taker.yaml", &TAKER.replace("EFFECTS", &effects));
    let _service = site.start();
    site.dag_is_there("maker").await;
    site.dag_is_there("taker").await;
    for (run, date) in [("one", "2026-03-01T00:00:00Z"), ("two", "2026-03-02T00:00:00Z")] {
        site.trigger_for("maker", run, date).await;
        assert_eq!(site.ended("maker", run).await.state, RunState::Success);
    }
    let other = Command::AssetEvent {
        asset: "other".to_owned(),
        extra: serde_json::from_str(r#"{"by": "hand"}"#).unwrap(),
    };
    store::inbox::insert(&site.db, SCOPE, "test", &other, None).await.unwrap();
    let run = site
        .until(LATE, "the run by assets ends", async || match site.runs("taker").await.pop() {
            Some(run) if run.ended_at.is_some() => Ok(run),
            seen => Err(format!("{seen:?}")),
        })
        .await;
    assert_eq!((run.run_type, run.state), (RunType::AssetTriggered, RunState::Success));
    assert_eq!(site.lines(), ["maker nothing", "maker 2026-03-01", "taker 2 of maker/one"]);
    let look = TaskId::parse("look").unwrap();
    let seen = store::result::get(&site.db, SCOPE, run.run, &look, -1).await.unwrap().expect("a result");
    assert_eq!(seen.value, ResultRef::Inline(serde_json::json!([["other", "raw"], {"by": "hand"}])));
}
