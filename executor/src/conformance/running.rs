//! Starting, listing, confirming.

use std::{fs, os::unix::fs::PermissionsExt as _};

use dags::time::Span;
use engine::dispatch::{Outcome, ResultRef};
use serde_json::{Value, json};

use super::{Bench, Harness, bench::is_unknown};
use crate::{Error, Executor as _};

pub(super) async fn an_attempt_starts_and_succeeds<H: Harness>(mut bench: Bench<H>) {
    let id = bench.submit(bench.bash("true")).await;
    assert_eq!(bench.started(id).await.is_some(), bench.harness.tells_processes());
    let end = bench.ended(id).await;
    assert_eq!((end.outcome, end.exit_code, end.reason, end.result), (Outcome::Success, Some(0), None, None));
    assert!(end.duration.0 > 0);
}

pub(super) async fn a_dispatch_that_is_submitted_twice_starts_once<H: Harness>(mut bench: Bench<H>) {
    let pipe = bench.pipe("go");
    let work = bench.bash("echo run >> runs; read < go");
    let (id, executor) = (work.dispatch.id, bench.harness.executor());
    let (first, second) = tokio::join!(executor.submit(work.clone()), executor.submit(work.clone()));
    first.and(second).unwrap();
    bench.started(id).await;
    executor.submit(work.clone()).await.unwrap();
    bench.release(pipe).await;
    assert_eq!(bench.ended(id).await.outcome, Outcome::Success);
    executor.submit(work.clone()).await.unwrap();
    assert_eq!(fs::read_to_string(bench.file("runs")).unwrap(), "run\n");
    executor.confirm(id, 0).await.unwrap();
    // A repeat that was under way for long is refused.
    assert!(matches!(executor.submit(work).await, Err(Error::Refused(_))));
    assert_eq!(fs::read_to_string(bench.file("runs")).unwrap(), "run\n");
}

pub(super) async fn a_program_finds_its_folder_and_a_clean_environment<H: Harness>(mut bench: Bench<H>) {
    let script = bench.file("hello.sh");
    fs::write(&script, "#!/bin/bash\necho hello $1\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut work = bench.bash(
        "./hello.sh $WHO; echo $TZ $LANG; cd $HOME; pwd -P; touch mine; ls; umask; env; ulimit -c; cat",
    );
    work.context.task.env.insert("WHO".to_owned(), "world".to_owned());
    let id = bench.submit(work).await;
    assert_eq!(bench.ended(id).await.outcome, Outcome::Success);
    let lines = bench.texts(id).await;
    assert_eq!(lines[0], "hello world");
    assert!(lines[1].starts_with("UTC "), "{lines:?}");
    assert_ne!(lines[2], bench.harness.folder().to_str().unwrap());
    assert!(lines.contains(&"mine".to_owned()) && lines.contains(&"0077".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("UPDRAFT_RESULT=")), "{lines:?}");
    // The harness has this in its own environment.
    assert!(!lines.iter().any(|line| line.contains("CARGO")), "{lines:?}");
    assert!(!bench.file("mine").exists());
}

pub(super) async fn members_of_a_gang_are_apart<H: Harness>(mut bench: Bench<H>) {
    let work = bench.bash("echo member; exit $RANK");
    let id = work.dispatch.id;
    for member in 0..2 {
        let mut work = work.clone();
        work.dispatch.members = 2;
        (work.context.member, work.context.members) = (member, 2);
        bench.submit(work).await;
    }
    assert_eq!(bench.member_ended(id, 0).await.outcome, Outcome::Success);
    assert_eq!(bench.member_ended(id, 1).await.exit_code, Some(1));
    let executor = bench.harness.executor();
    for member in 0..2 {
        assert_eq!(executor.logs(id, member, 0).await.unwrap().lines.len(), 1);
    }
    executor.confirm(id, 0).await.unwrap();
    assert_eq!(is_unknown(&executor.logs(id, 0, 0).await), bench.harness.forgets_logs());
    assert!(executor.list().await.unwrap().iter().any(|held| held.member == 1));
    executor.confirm(id, 1).await.unwrap();
    bench.holds_nothing().await;
}

pub(super) async fn what_is_held_is_listed_until_it_is_confirmed<H: Harness>(mut bench: Bench<H>) {
    let pipe = bench.pipe("go");
    let executor = bench.harness.executor();
    assert_eq!(executor.list().await.unwrap(), []);
    // A log without a line is kept by nobody.
    let id = bench.submit(bench.bash("read < go; echo on")).await;
    let held = executor.list().await.unwrap();
    assert_eq!(held.iter().map(|held| (held.id, held.ended)).collect::<Vec<_>>(), [(id, false)]);
    let confirmed = executor.confirm(id, 0).await;
    assert!(matches!(confirmed, Ok(()) | Err(Error::Refused(_))), "{confirmed:?}");
    assert_eq!(executor.list().await.unwrap().len(), 1, "what runs isn't forgotten");
    bench.release(pipe).await;
    bench.ended(id).await;
    assert!(executor.list().await.unwrap()[0].ended);
    executor.confirm(id, 0).await.unwrap();
    executor.confirm(id, 0).await.unwrap();
    bench.holds_nothing().await;
    assert_eq!(is_unknown(&executor.logs(id, 0, 0).await), bench.harness.forgets_logs());
}

pub(super) async fn hundreds_of_short_attempts_all_end<H: Harness>(mut bench: Bench<H>) {
    let works: Vec<_> =
        (0..bench.harness.many()).map(|i| bench.bash(&format!("echo {i}; exit {}", i % 3))).collect();
    let ids: Vec<_> = works.iter().map(|work| work.dispatch.id).collect();
    let mut submits = tokio::task::JoinSet::new();
    for work in works {
        let executor = bench.harness.executor();
        submits.spawn(async move { executor.submit(work).await });
    }
    submits.join_all().await.into_iter().collect::<Result<(), _>>().unwrap();
    for (i, id) in ids.into_iter().enumerate() {
        assert_eq!(bench.ended(id).await.exit_code, Some((i % 3) as i32));
        assert_eq!(bench.texts(id).await, [i.to_string()]);
        bench.harness.executor().confirm(id, 0).await.unwrap();
    }
    bench.holds_nothing().await;
}

pub(super) async fn the_capacity_is_that_of_a_machine<H: Harness>(bench: Bench<H>) {
    let capacity = bench.harness.executor().capacity().await.unwrap();
    assert!(
        capacity.cpu_milli >= 1000 && capacity.memory_bytes > 1 << 28 && capacity.slots > 0,
        "{capacity:?}"
    );
}

pub(super) async fn operators_without_a_program_run_in_the_attempt<H: Harness>(mut bench: Bench<H>) {
    let with = |operator: &str, args: Value| {
        let mut work = bench.bash("");
        operator.clone_into(&mut work.context.task.operator);
        work.context.task.args = args.as_object().cloned().unwrap_or_default();
        work
    };
    let path = bench.file("awaited");
    let sensor = json!({ "path": path, "mode": "reschedule", "interval": "3s", "timeout": "1h" });
    let works = [
        with("fail", json!({ "reason": "no such luck", "for_good": true })),
        with("file_sensor", sensor.clone()),
        with("sleep", json!({ "duration": "1h" })),
        with("file_sensor", sensor),
    ];
    let [fail, early, sleep, late] = works;
    let id = bench.submit(fail).await;
    let end = bench.ended(id).await;
    assert_eq!((end.outcome, end.reason.as_deref()), (Outcome::FailedForGood, Some("no such luck")));
    let id = bench.submit(early).await;
    assert_eq!(bench.ended(id).await.outcome, Outcome::Reschedule { after: Span::seconds(3) });
    assert!(bench.texts(id).await.iter().any(|line| line.contains("not yet")));
    std::fs::write(&path, "").unwrap();
    let id = bench.submit(late).await;
    let end = bench.ended(id).await;
    assert_eq!((end.outcome, end.result), (Outcome::Success, Some(ResultRef::Inline(json!([path])))));
    let id = bench.submit(sleep).await;
    bench.started(id).await;
    bench.kill(id, Span::seconds(60)).await;
    assert_eq!(bench.ended(id).await.outcome, Outcome::Killed);
}
