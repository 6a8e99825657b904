//! A service of many processes: two schedulers, the API and two workers, on PostgreSQL and RabbitMQ. Each of them is replaced
//! while tasks run.

use std::{fmt::Write as _, fs, net::TcpListener};

use engine::state::{RunState, TaskState};
use rustix::process::Signal;

use crate::{
    broker::Vhost,
    history,
    monitoring::{matches_page, on_port, port, port_in},
    roles::{self, Fleet},
    site::{LATE, SOON, Service, Site},
    workers::{Worker, start_worker},
};

/// Chains of tasks, and how long each is.
const CHAINS: usize = 4;
const LINKS: usize = 12;

/// A service whose tasks run on workers.
struct Split {
    fleet: Fleet,
    vhost: Vhost,
    listen: String,
}

impl Split {
    async fn new() -> Self {
        // Free now, and nobody else's business in the moment until the API has it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { fleet: Fleet::new().await, vhost: Vhost::new(), listen: format!("127.0.0.1:{port}") }
    }

    /// Starts the API, or a scheduler.
    fn start(&self, role: &str, name: &str) -> Service {
        let settings = [
            "executors.workers.kind=workers".to_owned(),
            "scheduler.default_executor=workers".to_owned(),
            format!("broker.url={}", self.vhost.url()),
            format!("task_api.listen={}", self.listen),
            format!("api.socket={}", self.fleet.site.path("api.sock").display()),
            "monitoring.listen=127.0.0.1:0".to_owned(),
        ];
        self.fleet.start(role, name, &settings.each_ref().map(String::as_str))
    }

    async fn scheduler(&self, name: &str, says: &str) -> Service {
        let scheduler = self.start("scheduler", name);
        self.fleet.says(&scheduler, says).await;
        scheduler
    }

    fn worker(&self, name: &str) -> Worker {
        let more = ["--slots", "4", "--set", "monitoring.listen=127.0.0.1:0"];
        start_worker(&self.fleet.site, name, &self.listen, &self.vhost.url(), &more)
    }
}

/// Each task appends its name and try when it is done.
fn chains(site: &Site) -> String {
    let mut text = "dag: chains\ntasks:\n".to_owned();
    for chain in 0..CHAINS {
        for link in 0..LINKS {
            let needs = if link == 0 { String::new() } else { format!("needs: t{chain}_{}, ", link - 1) };
            writeln!(
                text,
                "  t{chain}_{link}: {{ {needs}bash: 'sleep 0.3; echo \"t{chain}_{link} {{{{ ti.try_number }}}}\" >> {}' }}",
                site.effects().display()
            )
            .unwrap();
        }
    }
    text
}

#[tokio::test]
async fn every_process_is_replaced_and_no_task_fails() {
    let split = Split::new().await;
    let site = &split.fleet.site;
    site.write_dag("chains.yaml", &chains(site));
    let mut owner = split.scheduler("scheduler1", "the shard is ours").await;
    let mut standby = split.scheduler("scheduler2", "standing by").await;
    let mut api = split.start("api", "api1");
    let mut workers = [split.worker("worker1"), split.worker("worker2")];
    site.dag_is_there("chains").await;
    site.trigger("chains", "rolling").await;

    let lines = |count: usize| {
        site.until(LATE, "tasks end", async move || {
            let lines = site.lines();
            if lines.len() >= count { Ok(()) } else { Err(format!("{lines:?}")) }
        })
    };
    for round in 1..=2 {
        lines(round * 8 - 4).await;
        owner.signal(Signal::TERM);
        split.fleet.says(&standby, "the shard is ours").await;
        let (status, log) = owner.exit(SOON).await;
        assert_eq!(status.code(), Some(0), "{log}");
        owner = std::mem::replace(
            &mut standby,
            split.scheduler(&format!("scheduler{}", round + 2), "standing by").await,
        );

        lines(round * 8).await;
        api.signal(Signal::TERM);
        let (status, log) = api.exit(SOON).await;
        assert_eq!(status.code(), Some(0), "{log}");
        api = split.start("api", &format!("api{}", round + 1));

        let place = &mut workers[round - 1];
        let new = split.worker(&format!("worker{}", round + 2));
        let old = std::mem::replace(place, new);
        old.signal(Signal::TERM);
        assert!(old.exit(site).await.success());
    }
    let run = site.ended("chains", "rolling").await;
    assert_eq!(run.state, RunState::Success);
    history::is_settled(site, &run).await;
    history::is_legal(site, &run).await;
    let tasks = site.tasks(&run).await;
    for row in &tasks {
        assert_eq!((row.state, row.try_number), (TaskState::Success, 1), "{}: {:?}", row.task, row.reason);
        assert!(row.worker.is_some(), "{} ran on a worker", row.task);
    }
    let mut ran = site.lines();
    ran.sort();
    let mut wanted: Vec<String> = tasks.iter().map(|row| format!("{} 1", row.task)).collect();
    wanted.sort();
    assert_eq!(ran, wanted, "every task had its effect once");
    drop(workers);
    for process in [owner, standby, api] {
        process.signal(Signal::TERM);
        let (status, log) = process.exit(SOON).await;
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[tokio::test]
async fn every_process_shows_the_metrics_that_the_page_promises_of_its_role() {
    let split = Split::new().await;
    let site = &split.fleet.site;
    site.write_dag("one.yaml", "dag: one\ntasks:\n  only: { bash: 'true' }\n");
    let owner = split.scheduler("scheduler1", "the shard is ours").await;
    let standby = split.scheduler("scheduler2", "standing by").await;
    let api = split.start("api", "api1");
    let worker = split.worker("worker1");
    site.dag_is_there("one").await;
    site.trigger("one", "first").await;
    assert_eq!(site.ended("one", "first").await.state, RunState::Success);
    roles::ask(&site.path("api.sock"), &["runs", "list", "one"]);
    let said = || fs::read_to_string(&worker.log).unwrap_or_default();
    // A scheduler that stands by has no fleet, and one that never owned the shard has counted nothing yet.
    for (role, address) in [
        ("scheduler", port(site, &owner).await),
        ("api", port(site, &api).await),
        ("worker", port_in(site, said).await),
    ] {
        site.until(SOON, "a process shows what is promised", async || {
            matches_page(role, &on_port(&address, "/metrics", "").1, &[])
        })
        .await;
    }
    let (_, text) = on_port(&port(site, &standby).await, "/metrics", "");
    assert!(text.contains("updraft_shard_owned 0") && !text.contains("updraft_workers"), "{text}");
}
