//! A run whose changes the database refuses again and again is left alone; the service goes on with everything else.

use engine::{
    command::{Clear, Command, Selection},
    state::{RunState, TaskState},
};
use migrations::store::inbox::{self, Progress};

use crate::{
    on_both,
    site::{LATE, SCOPE, SOON, Site},
};

on_both!(
    a_run_that_breaks_every_batch_is_left_alone,
    a_run_over_which_the_engine_panics_is_left_alone,
    a_request_over_which_the_engine_panics_is_refused,
);

const DAGS: &str = "dag: good\ntasks:\n  fine:\n    bash: 'true'\n";
const BAD: &str = "dag: bad\ntasks:\n  bad:\n    bash: 'true'\n    retries: 1\n    retry_delay: 1s\n";

async fn a_run_that_breaks_every_batch_is_left_alone(site: Site) {
    site.write_dag("good.yaml", DAGS);
    site.write_dag("bad.yaml", BAD);
    let mut service = site.start();
    site.dag_is_there("good").await;
    site.dag_is_there("bad").await;
    site.forbid_success_of("bad").await;
    site.trigger("bad", "b1").await;
    site.until(LATE, "the run is quarantined", async || {
        let reason = site.find_run("bad", "b1").await.and_then(|run| run.reason);
        match reason {
            Some(reason) if reason.starts_with("quarantined: ") => Ok(()),
            reason => Err(format!("{reason:?}")),
        }
    })
    .await;
    site.until(SOON, "the service says so", async || {
        let log = service.log();
        if log.contains("quarantined: it is left alone") { Ok(()) } else { Err(log) }
    })
    .await;
    site.trigger("good", "g1").await;
    assert_eq!(site.ended("good", "g1").await.state, RunState::Success);
    assert!(service.is_running());

    site.allow_success().await;
    let release = Command::Release { dag_id: "bad".parse().unwrap(), run_name: Some("b1".parse().unwrap()) };
    inbox::insert(&site.db, SCOPE, "tests", &release, None).await.unwrap();
    assert_eq!(site.ended("bad", "b1").await.state, RunState::Success);
}

const NARROW: &str = "dag: bad\ntasks:\n  bad:\n    bash: 'true'\n    pool: narrow\n";

// The rows of these tests overflow a counter, which the service notices as it is built for tests.

async fn a_run_over_which_the_engine_panics_is_left_alone(site: Site) {
    site.write_dag("good.yaml", DAGS);
    site.write_dag("bad.yaml", NARROW);
    let service = site.start();
    site.dag_is_there("good").await;
    site.dag_is_there("bad").await;
    site.trigger("bad", "b1").await;
    site.until(SOON, "its task waits for a pool that isn't there", async || {
        let Some(run) = site.find_run("bad", "b1").await else { return Err("no run".to_owned()) };
        let states: Vec<TaskState> = site.tasks(&run).await.iter().map(|task| task.state).collect();
        if states == [TaskState::Scheduled] { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
    service.kill();
    let broken = "UPDATE task_instance SET dispatch_n = -1 WHERE task_id = 'bad'";
    site.sql(broken, broken).await;

    let mut service = site.start();
    service.ready(&site).await;
    let pool = Command::SetPool { name: "narrow".parse().unwrap(), slots: 1, include_deferred: false };
    inbox::insert(&site.db, SCOPE, "tests", &pool, None).await.unwrap();
    site.until(LATE, "the run is quarantined", async || {
        let reason = site.find_run("bad", "b1").await.and_then(|run| run.reason);
        match reason {
            Some(reason) if reason.starts_with("quarantined: ") && reason.contains("panicked") => Ok(()),
            reason => Err(format!("{reason:?}\n{}", service.log())),
        }
    })
    .await;
    site.trigger("good", "g1").await;
    assert_eq!(site.ended("good", "g1").await.state, RunState::Success);
    assert!(service.is_running());

    let mended = "UPDATE task_instance SET dispatch_n = 0 WHERE task_id = 'bad'";
    site.sql(mended, mended).await;
    let release = Command::Release { dag_id: "bad".parse().unwrap(), run_name: Some("b1".parse().unwrap()) };
    inbox::insert(&site.db, SCOPE, "tests", &release, None).await.unwrap();
    assert_eq!(site.ended("bad", "b1").await.state, RunState::Success);
}

async fn a_request_over_which_the_engine_panics_is_refused(site: Site) {
    site.write_dag("good.yaml", DAGS);
    let mut service = site.start();
    site.dag_is_there("good").await;
    site.trigger("good", "g1").await;
    assert_eq!(site.ended("good", "g1").await.state, RunState::Success);
    let broken = "UPDATE run SET clear_number = -1 WHERE run_name = 'g1'";
    site.sql(broken, broken).await;
    let select = Selection {
        dag_id: "good".parse().unwrap(),
        run_name: "g1".parse().unwrap(),
        tasks: Vec::new(),
        upstream: false,
        downstream: false,
    };
    let clear = Command::Clear(Clear {
        select,
        only_failed: false,
        only_running: false,
        run_on_latest_version: false,
    });
    let ticket = inbox::insert(&site.db, SCOPE, "tests", &clear, None).await.unwrap();
    let refusal = site
        .until(LATE, "the request is refused", async || {
            match inbox::progress(&site.db, SCOPE, ticket.id).await.unwrap() {
                Progress::Taken { outcome: Err(refusal), .. } => Ok(refusal),
                seen => Err(format!("{seen:?}\n{}", service.log())),
            }
        })
        .await;
    assert_eq!(refusal.code, "engine.panicked");
    assert!(refusal.message.contains("overflow"), "{refusal}");
    // The others don't notice.
    site.trigger("good", "g2").await;
    assert_eq!(site.ended("good", "g2").await.state, RunState::Success);
    assert!(service.is_running());
}
