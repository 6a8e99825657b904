//! The owner of the shard: the engine's driver over the database's journal. Executors are played by the task's name:
//! `boom` fails, `stuck` starts and goes on, everything else returns a value.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use dags::{
    ids::{ExecutorName, ShardId},
    time::{Span, Timestamp},
};
use engine::{
    Config,
    dispatch::{Dispatch, End, Kill, News, Outcome, Report, ResultRef},
    driver::{Action, Driver, Input},
    journal::{Commit, Journal as _},
};
use migrations::{Db, journal};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[expect(clippy::disallowed_methods, reason = "the clock of the tests")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(since.as_micros() as i64)
}

pub(crate) fn executor() -> ExecutorName {
    "local".parse().unwrap()
}

/// Owns the shard until it is cancelled.
pub(crate) async fn own(db: Db, wake: Arc<Notify>, settled: Arc<Notify>, cancel: CancellationToken) {
    let mut journal = journal::acquire(&db, ShardId::DEFAULT, "test", Span::seconds(60), &now).await.unwrap();
    let snapshot = journal.snapshot().await.unwrap();
    let mut driver = Driver::new(Config::new(executor()), snapshot).unwrap();
    let mut inputs = VecDeque::from([Input::Tick, Input::Executor(executor(), Some(16))]);
    while !cancel.is_cancelled() {
        let inbox = journal.inbox(&driver.taken(), 100).await.unwrap();
        if !inbox.rows.is_empty() {
            inputs.push_back(Input::Inbox(inbox));
        }
        while let Some(input) = inputs.pop_front() {
            for action in driver.next(now(), input) {
                match action {
                    Action::Commit(batch) => {
                        let done = journal.commit(&batch).await;
                        assert_eq!(done, Commit::Done);
                        inputs.push_back(Input::Committed(done));
                    }
                    Action::Load(load) => {
                        inputs.push_back(Input::Loaded(Box::new(journal.load(load).await.unwrap())));
                    }
                    Action::Dispatch(list) => {
                        inputs.push_back(Input::Reports(list.iter().flat_map(run).collect()));
                    }
                    Action::Kill(list) => {
                        inputs.push_back(Input::Reports(list.iter().map(killed).collect()));
                    }
                    Action::Answered(_) => settled.notify_waiters(),
                    Action::Confirm(_) | Action::Alert(_) => {}
                    other => panic!("unexpected: {other:?}"),
                }
            }
            if inputs.is_empty() && driver.is_busy() {
                inputs.push_back(Input::Tick);
            }
        }
        let due = driver.deadline().map_or(Span::seconds(1), |due| due.since(now()));
        tokio::select! {
            () = wake.notified() => {}
            () = cancel.cancelled() => {}
            _ = tokio::time::timeout(due.to_std().min(Duration::from_secs(1)), std::future::pending::<()>()) => {
                inputs.push_back(Input::Tick);
            }
        }
    }
}

fn report(dispatch: &Dispatch, seq: u32, news: News) -> Report {
    Report::new(dispatch.id, 0, seq, news)
}

fn end(outcome: Outcome) -> End {
    End {
        outcome,
        duration: Span::millis(5),
        exit_code: None,
        reason: None,
        result: None,
        mapped_length: None,
    }
}

fn run(dispatch: &Dispatch) -> Vec<Report> {
    let started = report(dispatch, 1, News::Started { host: "here".to_owned(), pid: Some(7) });
    let ended = match dispatch.task_id.as_str() {
        "stuck" => return vec![started],
        "boom" => End { exit_code: Some(3), reason: Some("exit code 3".to_owned()), ..end(Outcome::Failed) },
        "large" => End {
            result: Some(ResultRef::Stored { digest: "ab12".to_owned(), bytes: 9 }),
            ..end(Outcome::Success)
        },
        "list" => End {
            result: Some(ResultRef::Inline(json!(["a", "b"]))),
            mapped_length: Some(2),
            ..end(Outcome::Success)
        },
        _ => End {
            result: Some(ResultRef::Inline(json!({ "index": dispatch.map_index }))),
            exit_code: Some(0),
            ..end(Outcome::Success)
        },
    };
    vec![started, report(dispatch, 2, News::Ended(ended))]
}

fn killed(kill: &Kill) -> Report {
    Report::new(kill.id, 0, 2, News::Ended(end(Outcome::Killed)))
}
