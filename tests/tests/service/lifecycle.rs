//! Beginning and end of a service, and two of them at once.

use std::time::Duration;

use engine::state::{RunState, TaskState};

use crate::{
    history, on_both,
    site::{LATE, SOON, Site, alive},
};

on_both!(
    ctrl_c_lets_what_runs_end_and_starts_nothing_more,
    a_second_ctrl_c_leaves_at_once_and_the_next_start_finds_what_runs,
    a_second_service_is_refused_while_the_first_has_the_lease,
);

/// Two tasks in a row; each waits until the file of its name is there.
fn gated(site: &Site) -> String {
    let folder = site.path("effects");
    let task = |name: &str| {
        format!(
            "touch {folder}/{name}.began; until test -e {folder}/{name}; do sleep 0.02; done; echo {name} >> {effects}",
            folder = folder.display(),
            effects = site.effects().display()
        )
    };
    format!(
        "dag: gated\ntasks:\n  one:\n    bash: {}\n  two:\n    needs: one\n    bash: {}\n",
        task("one"),
        task("two")
    )
}

fn open(site: &Site, gate: &str) {
    std::fs::write(site.path("effects").join(gate), "").unwrap();
}

async fn began(site: &Site, task: &str) {
    let file = site.path("effects").join(format!("{task}.began"));
    site.until(SOON, &format!("{task} begins"), async || {
        if file.exists() { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

async fn ctrl_c_lets_what_runs_end_and_starts_nothing_more(site: Site) {
    site.write_dag("gated.yaml", &gated(&site));
    let mut service = site.start();
    site.dag_is_there("gated").await;
    site.trigger("gated", "one").await;
    began(&site, "one").await;
    let supervisor = site.supervisor().expect("a supervisor runs");
    service.interrupt();
    site.until(SOON, "the service says that it drains", async || {
        if service.log().contains("draining") { Ok(()) } else { Err(service.log()) }
    })
    .await;
    assert!(service.is_running(), "it waits for what runs");
    open(&site, "one");
    let (status, log) = service.exit(SOON).await;
    assert_eq!(status.code(), Some(0), "{log}");
    site.until(SOON, "the supervisor has ended too", async || {
        if alive(supervisor) { Err(format!("it runs; the service said:\n{log}")) } else { Ok(()) }
    })
    .await;
    let run = site.find_run("gated", "one").await.unwrap();
    assert_eq!(site.task(&run, "one").await.state, TaskState::Success);
    let two = site.task(&run, "two").await;
    assert!(matches!(two.state, TaskState::None | TaskState::Scheduled), "nothing new starts: {two:?}");
    assert_eq!(site.lines(), ["one"]);

    let _service = site.start();
    open(&site, "two");
    assert_eq!(site.ended("gated", "one").await.state, RunState::Success);
    assert_eq!(site.lines(), ["one", "two"]);
    history::is_legal(&site, &run).await;
}

async fn a_second_ctrl_c_leaves_at_once_and_the_next_start_finds_what_runs(site: Site) {
    site.write_dag("gated.yaml", &gated(&site));
    let service = site.start();
    site.dag_is_there("gated").await;
    site.trigger("gated", "one").await;
    began(&site, "one").await;
    let supervisor = site.supervisor().expect("a supervisor runs");
    service.interrupt();
    site.until(SOON, "the service says that it drains", async || {
        if service.log().contains("draining") { Ok(()) } else { Err(service.log()) }
    })
    .await;
    service.interrupt();
    let (_, log) = service.exit(Duration::from_secs(5)).await;
    assert!(alive(supervisor), "its task still runs:\n{log}");
    let run = site.find_run("gated", "one").await.unwrap();
    assert_eq!(site.task(&run, "one").await.state, TaskState::Running);

    // It ends while no service is there.
    open(&site, "one");
    site.until(SOON, "the task has ended", async || {
        if site.lines() == ["one"] { Ok(()) } else { Err(format!("{:?}", site.lines())) }
    })
    .await;
    let _service = site.start();
    open(&site, "two");
    assert_eq!(site.ended("gated", "one").await.state, RunState::Success);
    assert_eq!(site.lines(), ["one", "two"]);
    assert_eq!(site.task(&run, "one").await.try_number, 1, "it was found again, not tried again");
    history::is_legal(&site, &run).await;
}

async fn a_second_service_is_refused_while_the_first_has_the_lease(site: Site) {
    site.write_dag("gated.yaml", &gated(&site));
    let mut first = site.start();
    site.dag_is_there("gated").await;

    let (status, log) = site.start_on("second").exit(SOON).await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("is owned by") && log.contains("standalone:"), "it says who owns the shard: {log}");

    let (status, log) = site.start().exit(SOON).await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("updraft.sock"), "{log}");

    assert!(first.is_running());
    open(&site, "one");
    open(&site, "two");
    site.trigger("gated", "one").await;
    assert_eq!(site.ended("gated", "one").await.state, RunState::Success);
    first.kill();

    // The lease of one that was killed runs out; its name is the other's no more.
    let second = site.start_on("second");
    let (status, _) = second.exit(SOON).await;
    assert_eq!(status.code(), Some(1));
    let start = std::time::Instant::now();
    let mut second = loop {
        let mut second = site.start_on("second");
        let owns = site
            .until(SOON, "it has the shard or ends", async || match second.log() {
                log if log.contains("the shard is ours") => Ok(true),
                _ if !second.is_running() => Ok(false),
                log => Err(log),
            })
            .await;
        if owns {
            break second;
        }
        assert!(start.elapsed() < LATE, "the lease doesn't run out");
    };
    site.trigger("gated", "two").await;
    assert_eq!(site.ended("gated", "two").await.state, RunState::Success);
    assert!(second.is_running());
}
