//! Nothing is lost because we were away: a broker that is gone, paused or not there yet, a service or worker that is paused.

use std::{net::SocketAddr, time::Duration};

use engine::state::{RunState, TaskState};
use migrations::store;
use rustix::process::Signal;
use tests::proxy::{Flow, Proxy};

use crate::{
    broker::Vhost,
    site::{LATE, SOON, Site},
    workers::Fleet,
};

/// Longer than a worker may be silent.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(22);

/// A fleet whose processes reach the broker over a way that can be cut.
async fn with_a_way() -> (Fleet, Proxy) {
    let mut fleet = Fleet::new().await;
    let (before, rest) = fleet.broker.rsplit_once('@').unwrap();
    let (address, vhost) = rest.split_once('/').unwrap();
    let target: SocketAddr = address.parse().unwrap();
    let proxy = Proxy::open(vec![target]).await.unwrap();
    fleet.broker = format!("{before}@127.0.0.1:{}/{vhost}", proxy.port());
    (fleet, proxy)
}

/// A DAG with a task that says which try it is, waits for `go`, and a second one that follows.
fn write_dag(site: &Site) {
    let (effects, go) = (site.effects(), site.path("go"));
    let text = format!(
        "dag: d\ndefaults: {{ executor: workers }}\ntasks:\n  a:\n    retries: 3\n    retry_delay: 0s\n    bash: |\n      \
         echo a {{{{ ti.try_number }}}} >> {0}\n      until [ -e {1} ]; do sleep 0.05; done\n  \
         b:\n    needs: a\n    bash: echo b >> {0}\n",
        effects.display(),
        go.display()
    );
    site.write_dag("d.yaml", &text);
}

async fn has_started(site: &Site) {
    site.until(LATE, "the task has started", async || {
        let lines = site.lines();
        if lines.is_empty() { Err("nothing yet".to_owned()) } else { Ok(()) }
    })
    .await;
}

async fn ends_after_one_try(site: &Site) {
    let run = site.ended("d", "r1").await;
    assert_eq!(run.state, RunState::Success);
    assert_eq!(site.lines(), ["a 1", "b"]);
    let task = site.task(&run, "a").await;
    assert_eq!(
        (task.state, task.try_number, task.dispatch_n),
        (TaskState::Success, 1, 1),
        "{:?}",
        task.reason
    );
}

/// The way to the broker is as said for a while, and back again.
async fn an_outage(flow: Flow) {
    let (fleet, proxy) = with_a_way().await;
    let site = &fleet.site;
    write_dag(site);
    let service = fleet.start();
    site.dag_is_there("d").await;
    let _worker = fleet.worker("worker1", &[]);
    site.trigger("d", "r1").await;
    has_started(site).await;
    proxy.set(flow);
    tokio::time::sleep(LONGER_THAN_A_LEASE).await;
    // It ends while nobody can be told.
    std::fs::write(site.path("go"), "").unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxy.set(Flow::Open);
    ends_after_one_try(site).await;
    assert!(!service.log().contains("panicked"), "{}", service.log());
}

#[tokio::test]
async fn a_broker_that_is_gone_for_longer_than_a_lease_costs_no_try() {
    an_outage(Flow::Cut).await;
}

#[tokio::test]
async fn a_broker_that_is_paused_for_longer_than_a_lease_costs_no_try() {
    an_outage(Flow::Stalled).await;
}

#[tokio::test]
async fn tasks_wait_for_a_worker_however_late_the_broker_and_the_worker_come() {
    let (fleet, proxy) = with_a_way().await;
    let site = &fleet.site;
    proxy.set(Flow::Cut);
    write_dag(site);
    std::fs::write(site.path("go"), "").unwrap();
    let service = fleet.start();
    site.dag_is_there("d").await;
    site.trigger("d", "r1").await;
    let waits = async || {
        let run = site.find_run("d", "r1").await.ok_or("no such run")?;
        let tasks = site.tasks(&run).await;
        let a = tasks.iter().find(|task| task.task.as_str() == "a").ok_or("no such task")?;
        if a.state == TaskState::Scheduled { Ok(()) } else { Err(format!("{:?}", a.state)) }
    };
    site.until(SOON, "it waits for a worker", waits).await;
    service.kill();
    let service = fleet.start();
    site.until(SOON, "workers may ask", async || {
        let log = service.log();
        if log.contains("workers and pods may ask") { Ok(()) } else { Err(log) }
    })
    .await;
    site.until(SOON, "it still waits after a restart", waits).await;
    proxy.set(Flow::Open);
    let _worker = fleet.worker("worker1", &[]);
    ends_after_one_try(site).await;
}

#[tokio::test]
async fn a_service_that_was_paused_loses_nobody() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    write_dag(site);
    let service = fleet.start();
    site.dag_is_there("d").await;
    let _worker = fleet.worker("worker1", &[]);
    site.trigger("d", "r1").await;
    has_started(site).await;
    service.signal(Signal::STOP);
    tokio::time::sleep(LONGER_THAN_A_LEASE).await;
    service.signal(Signal::CONT);
    // Whoever is to be lost wrongly is within a lease.
    tokio::time::sleep(LONGER_THAN_A_LEASE).await;
    std::fs::write(site.path("go"), "").unwrap();
    ends_after_one_try(site).await;
}

#[tokio::test]
async fn a_worker_that_was_lost_is_no_longer_listed_and_may_come_back() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    write_dag(site);
    std::fs::write(site.path("go"), "").unwrap();
    let _service = fleet.start();
    site.dag_is_there("d").await;
    let worker = fleet.worker("worker1", &[]);
    site.trigger("d", "r1").await;
    ends_after_one_try(site).await;
    let listed = |n: usize| {
        let look = async move || {
            let there = store::worker::list(&site.db, false, 10).await.unwrap();
            if there.len() == n { Ok(()) } else { Err(format!("{there:?}")) }
        };
        site.until(LATE, "the list of workers changes", look)
    };
    listed(1).await;
    worker.signal(Signal::STOP);
    listed(0).await;
    worker.signal(Signal::CONT);
    listed(1).await;
    site.trigger("d", "r2").await;
    assert_eq!(site.ended("d", "r2").await.state, RunState::Success);
}

#[tokio::test]
async fn nobody_speaks_for_a_worker_but_itself() {
    let fleet = Fleet::new().await;
    let site = &fleet.site;
    write_dag(site);
    let _service = fleet.start();
    site.dag_is_there("d").await;
    let _worker = fleet.worker("worker1", &[]);
    site.trigger("d", "r1").await;
    has_started(site).await;
    let worker = store::worker::list(&site.db, false, 10).await.unwrap()[0].spec.worker;
    let forged = serde_json::json!({
        "format": 2, "worker": worker, "proof": "A".repeat(43),
        "news": { "beat": { "n": 1_000_000, "seen": { "epoch": 1, "n": 1_000 }, "held": [], "draining": false, "leaving": true } },
    });
    fleet.vhost.publish(&shard(), &forged.to_string());
    refused(&fleet.vhost, site, 1).await;
    std::fs::write(site.path("go"), "").unwrap();
    ends_after_one_try(site).await;
}

fn shard() -> String {
    format!("updraft.shard.{}", dags::ids::ShardId::DEFAULT)
}

async fn refused(vhost: &Vhost, site: &Site, n: u64) {
    site.until(SOON, "it is a dead letter", async || match vhost.messages("updraft.dead") {
        Some(dead) if dead == n => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
