//! Transitions per second of one core, the rows of each batch included, and the memory of an instance that waits.
//!
//! `cargo bench -p engine` runs all; the cost of a transition must not depend on how many instances wait.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints figures"
)]

#[expect(dead_code, reason = "tests use more of it")]
#[path = "../tests/support/builder.rs"]
mod builder;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use builder::{bash, dag, over};
use dags::{
    canonical,
    ids::{BundleId, ExecutorName, TenantId},
    model::Dag,
    time::Timestamp,
};
use engine::{
    Config, Engine,
    command::{ActivatedDag, Base, Command, InboxRow, Trigger},
    dispatch::{Dispatch, End, News, Outcome, Report},
    quota::Limits,
    sharing::{Quotas, Weight},
};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler<Jemalloc> = divan::AllocProfiler::new(Jemalloc);

const TASKS: usize = 10_000;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("--memory=slot") => waits_for_a_slot(),
        Some("--memory=other") => waits_for_another(),
        _ => {
            // A process of its own each: pages that were used before would be counted as free.
            for figure in ["--memory=slot", "--memory=other"] {
                let this = std::env::current_exe().unwrap();
                let done = std::process::Command::new(this).arg(figure).status().unwrap();
                assert!(done.success(), "{figure}: {done}");
            }
            divan::main();
        }
    }
}

/// An engine and the number of its last batch.
struct Bench {
    engine: Engine,
    batch: u64,
    requests: i64,
    seconds: i64,
}

impl Bench {
    fn new(executor_slots: u32) -> Self {
        let local = ExecutorName::parse("local").unwrap();
        let mut config = Config::new(local.clone());
        config.default_pool_slots = -1;
        config.map_length_max = 1_000_000;
        let mut engine = Engine::new(config);
        engine.set_executor(&local, Some(executor_slots));
        let mut bench = Self { engine, batch: 0, requests: 0, seconds: 1_767_225_600 };
        bench.tick();
        bench
    }

    fn tick(&mut self) {
        self.seconds += 1;
        self.engine.advance(Timestamp(self.seconds * 1_000_000));
    }

    fn request(&mut self, command: Command, model: Option<&Arc<Dag>>) {
        self.requests += 1;
        let versions = model.map(|model| (canonical::version(model), model.clone()));
        let row = InboxRow { id: self.requests, tenant: TenantId::DEFAULT, actor: "ann".to_owned(), command };
        self.engine.request(row, &versions.into_iter().collect::<BTreeMap<_, _>>());
    }

    /// Activates the DAG and makes a run of it.
    fn start(&mut self, model: &Arc<Dag>) {
        let dags = vec![ActivatedDag {
            dag_id: model.dag_id.clone(),
            version: canonical::version(model),
            bundle: None,
            paused_upon_creation: false,
        }];
        let bundle = BundleId(format!("{:064}", self.requests).into());
        self.request(Command::ActivateBundle { bundle, base: Base::Any, dags }, Some(model));
        self.again(model);
    }

    fn again(&mut self, model: &Arc<Dag>) {
        self.request(
            Command::Trigger(Trigger {
                dag_id: model.dag_id.clone(),
                run_name: None,
                logical_date: None,
                run_after: None,
                conf: serde_json::Map::new(),
                note: None,
                chain_depth: 0,
            }),
            None,
        );
    }

    /// Steps and cuts until nothing is left to do; what is to be dispatched goes to the list.
    fn settle(&mut self, dispatched: &mut Vec<Dispatch>) {
        while self.engine.has_work() || self.engine.has_changes() {
            self.engine.step();
            self.batch += 1;
            let (batch, effects) = self.engine.cut(self.batch);
            divan::black_box(&batch);
            dispatched.extend(effects.dispatches);
        }
    }

    /// Lets everything that is handed over succeed, until all runs are over. Says how many transitions that took.
    fn drain(&mut self) -> u64 {
        let before = self.engine.transitions();
        let mut dispatched = Vec::new();
        self.settle(&mut dispatched);
        while !dispatched.is_empty() {
            for dispatch in std::mem::take(&mut dispatched) {
                for (seq, news) in [(1, started()), (2, News::Ended(success()))] {
                    self.engine.report(&Report::new(dispatch.id, 0, seq, news));
                }
            }
            self.settle(&mut dispatched);
        }
        self.engine.transitions() - before
    }
}

fn started() -> News {
    News::Started { host: String::new(), pid: None }
}

fn success() -> End {
    End {
        outcome: Outcome::Success,
        duration: dags::time::Span::seconds(1),
        exit_code: Some(0),
        reason: None,
        result: None,
        mapped_length: None,
    }
}

fn name(n: usize) -> String {
    format!("task_{n:05}")
}

/// Ten thousand tasks side by side.
fn wide() -> Arc<Dag> {
    let tasks = (0..TASKS).map(|n| bash(&name(n)));
    Arc::new(dag("wide").max_active_tasks(2_000).tasks(tasks).build())
}

/// Ten thousand tasks one after the other.
fn chain() -> Arc<Dag> {
    let tasks = (0..TASKS).map(|n| match n {
        0 => bash(&name(0)),
        n => bash(&name(n)).needs([&name(n - 1)]),
    });
    Arc::new(dag("chain").max_active_tasks(2_000).tasks(tasks).build())
}

/// A hundred layers of a hundred tasks, each of which needs four of the layer before.
fn layered() -> Arc<Dag> {
    let tasks = (0..TASKS).map(|n| match n / 100 {
        0 => bash(&name(n)),
        layer => {
            let up = |k: usize| name((layer - 1) * 100 + (n + k * 7) % 100);
            bash(&name(n)).needs([&up(0), &up(1), &up(2), &up(3)])
        }
    });
    Arc::new(dag("layered").max_active_tasks(2_000).tasks(tasks).build())
}

/// Task instances that wait for a slot that never comes.
fn with_waiting(instances: usize) -> Bench {
    let mut bench = Bench::new(2_000);
    let repeated = bash("m").needs(["src"]).map(over("src")).executor("full");
    bench
        .start(&Arc::new(dag("waiting").max_active_tasks(u32::MAX).task(bash("src")).task(repeated).build()));
    let mut dispatched = Vec::new();
    bench.settle(&mut dispatched);
    let news = News::Ended(End { mapped_length: Some(instances as u32), ..success() });
    bench.engine.report(&Report::new(dispatched[0].id, 0, 1, news));
    bench.settle(&mut dispatched);
    bench
}

fn transitions(bencher: divan::Bencher, model: &Arc<Dag>, waiting: usize) {
    let prepare = || {
        let mut bench = if waiting == 0 { Bench::new(2_000) } else { with_waiting(waiting) };
        // The first run of each engine takes its memory from the system, which costs more the more of it others have.
        bench.start(model);
        bench.drain();
        bench.again(model);
        bench
    };
    // Scheduled, queued, running, success.
    let count = divan::counter::ItemsCount::new(TASKS * 4);
    bencher.counter(count).with_inputs(prepare).bench_local_values(|mut bench| {
        assert_eq!(bench.drain(), TASKS as u64 * 4);
        bench
    });
}

#[divan::bench(args = ["wide", "chain", "layered"], sample_count = 10)]
fn a_run_of_10_000_tasks(bencher: divan::Bencher, shape: &str) {
    let model = match shape {
        "wide" => wide(),
        "chain" => chain(),
        _ => layered(),
    };
    transitions(bencher, &model, 0);
}

/// The same with a quota: the resource pool decides about every admission. Without one it must cost what it did before there
/// were quotas.
#[divan::bench(args = ["wide", "layered"], sample_count = 3)]
fn a_run_of_10_000_tasks_with_a_quota(bencher: divan::Bencher, shape: &str) {
    let model = if shape == "wide" { wide() } else { layered() };
    let prepare = || {
        let mut bench = Bench::new(2_000);
        let (quotas, limits) = (Quotas::new(), Limits::default());
        bench.request(Command::SetQuota { cohort: None, weight: Weight::ONE, quotas, limits }, None);
        bench.start(&model);
        bench
    };
    let count = divan::counter::ItemsCount::new(TASKS * 4);
    bencher.counter(count).with_inputs(prepare).bench_local_values(|mut bench| {
        assert_eq!(bench.drain(), TASKS as u64 * 4);
        bench
    });
}

#[divan::bench(args = [0, 10_000, 1_000_000], sample_count = 3)]
fn a_layered_run_while_others_wait(bencher: divan::Bencher, waiting: usize) {
    transitions(bencher, &layered(), waiting);
}

/// The process's resident memory in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4_096
}

/// Bytes per instance that waits for a slot.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn waits_for_a_slot() {
    const WAITING: usize = 1_000_000;
    let (before, start) = (resident(), Instant::now());
    let bench = with_waiting(WAITING);
    let (bytes, took) = (resident() - before, start.elapsed());
    println!("an instance that waits for a slot: {} bytes ({took:?} to get there)", bytes / WAITING as u64);
    drop(bench);
}

/// Bytes per instance that waits for something upstream: 100 runs of a chain.
fn waits_for_another() {
    const RUNS: usize = 100;
    let model = Arc::new(Dag { max_active_runs: 1_000, ..Dag::clone(&chain()) });
    let before = resident();
    let mut bench = Bench::new(0);
    bench.start(&model);
    for _ in 1..RUNS {
        bench.again(&model);
    }
    bench.settle(&mut Vec::new());
    let bytes = resident() - before;
    println!("an instance that waits for another: {} bytes", bytes / (RUNS * TASKS) as u64);
}
