//! A run whose changes the database refuses again and again is left alone; the service goes on with everything else.

use engine::{command::Command, state::RunState};
use migrations::store::inbox;

use crate::{
    on_both,
    site::{LATE, SCOPE, SOON, Site},
};

on_both!(a_run_that_breaks_every_batch_is_left_alone);

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
