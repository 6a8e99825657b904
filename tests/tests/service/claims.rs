//! A worker that is lost between the order to start a task and the report that it started: the same try never runs twice.

use std::net::SocketAddr;

use engine::state::{RunState, TaskState};
use tests::proxy::{Flow, Proxy};

use crate::{
    monitoring,
    site::{LATE, SOON, Service, Site},
    workers::{Fleet, Worker, start_worker},
};

/// A service with a worker that was ordered to start a task and hasn't asked for it yet, since its way to the task API is stalled.
pub(crate) struct Ordered {
    fleet: Fleet,
    service: Option<Service>,
    _worker: Worker,
    pub(crate) api: Proxy,
    broker: Proxy,
    /// Where the worker says how it is.
    monitoring: String,
}

async fn through(address: &str) -> Proxy {
    let target: SocketAddr = address.parse().unwrap();
    Proxy::open(vec![target]).await.unwrap()
}

impl Ordered {
    async fn new() -> Self {
        Self::with(|site| {
            format!(
                "dag: d\ndefaults: {{ executor: workers }}\ntasks:\n  a:\n    retries: 1\n    retry_delay: 0s\n    bash: |\n      \
                 echo try {{{{ ti.try_number }}}} >> {0}\n      until [ -e {1} ]; do sleep 0.05; done\n",
                site.effects().display(),
                site.path("go").display()
            )
        })
        .await
    }

    /// With a DAG `d` whose first task is ordered.
    pub(crate) async fn with(dag: impl FnOnce(&Site) -> String) -> Self {
        let fleet = Fleet::new().await;
        let site = &fleet.site;
        site.write_dag("d.yaml", &dag(site));
        let service = fleet.start();
        site.dag_is_there("d").await;
        let (before, rest) = fleet.broker.rsplit_once('@').unwrap();
        let (address, vhost) = rest.split_once('/').unwrap();
        let (api, broker) = (through(&fleet.listen).await, through(address).await);
        let url = format!("{before}@127.0.0.1:{}/{vhost}", broker.port());
        let more = ["--set", "log.format=json", "--set", "monitoring.listen=127.0.0.1:0"];
        let worker = start_worker(site, "worker1", &format!("127.0.0.1:{}", api.port()), &url, &more);
        let log = worker.log.clone();
        let read = || std::fs::read_to_string(&log).unwrap_or_default();
        let monitoring = monitoring::port_in(site, read).await;
        let ordered = Self { fleet, service: Some(service), _worker: worker, api, broker, monitoring };
        ordered.shows("updraft_broker_connected 1").await;
        ordered.api.set(Flow::Stalled);
        ordered.site().trigger("d", "r1").await;
        ordered.holds("taken", 1).await;
        ordered
    }

    /// Kills the service with -9 and starts another.
    pub(crate) fn restart_service(&mut self) {
        if let Some(service) = self.service.take() {
            service.kill();
        }
        self.service = Some(self.fleet.start());
    }

    pub(crate) fn site(&self) -> &Site {
        &self.fleet.site
    }

    /// Waits until the worker holds so many dispatches that are so far.
    async fn holds(&self, stage: &str, n: u32) {
        self.shows(&format!("updraft_worker_held{{stage=\"{stage}\"}} {n}")).await;
    }

    /// Waits until the worker's metrics have this line.
    async fn shows(&self, line: &str) {
        self.site()
            .until(SOON, line, async || {
                let (_, text) = monitoring::on_port(&self.monitoring, "/metrics", "");
                if text.lines().any(|shown| shown == line) { Ok(()) } else { Err(text) }
            })
            .await;
    }

    async fn lines(&self, wanted: &[&str]) {
        self.site()
            .until(LATE, "the task has started", async || {
                let lines = self.site().lines();
                if lines == wanted { Ok(()) } else { Err(format!("{lines:?}")) }
            })
            .await;
    }

    /// The task goes on, and its run ends with a success in that try and after so many dispatches.
    async fn ends(&self, try_number: u32, dispatch_n: u32) {
        std::fs::write(self.site().path("go"), "").unwrap();
        let run = self.site().ended("d", "r1").await;
        let task = self.site().task(&run, "a").await;
        assert_eq!(
            (run.state, task.state, task.try_number, task.dispatch_n),
            (RunState::Success, TaskState::Success, try_number, dispatch_n),
            "{:?}",
            task.reason
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_worker_had_claimed_is_a_lost_try() {
    let ordered = Ordered::new().await;
    // Its report that the task started reaches nobody.
    ordered.broker.set(Flow::Cut);
    ordered.api.set(Flow::Open);
    ordered.lines(&["try 1"]).await;
    let _second = ordered.fleet.worker("worker2", &[]);
    ordered.lines(&["try 1", "try 2"]).await;
    ordered.ends(2, 1).await;
    assert_eq!(ordered.site().lines(), ["try 1", "try 2"], "no try ran twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_worker_had_not_claimed_goes_elsewhere_in_the_same_try_and_is_refused_to_it() {
    let ordered = Ordered::new().await;
    ordered.broker.set(Flow::Cut);
    let _second = ordered.fleet.worker("worker2", &[]);
    ordered.lines(&["try 1"]).await;
    // It comes back, and asks for what it was sent.
    ordered.api.set(Flow::Open);
    ordered.holds("taken", 0).await;
    ordered.holds("started", 0).await;
    ordered.ends(1, 2).await;
    assert_eq!(ordered.site().lines(), ["try 1"], "only one worker ran it");
}
