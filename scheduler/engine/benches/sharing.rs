//! Decisions of the resource pool per second of one core, and the memory of a workload that waits.
//!
//! 100,000 pending workloads of 1,000 tenants, a tree of depth 4, 2 flavors with 4 resources each; the quota is used up, and
//! what ends makes room for the next.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, prints figures and reads the clock"
)]

use std::{collections::BTreeMap, time::Instant};

use engine::sharing::{
    Cohort, Decision, Flavor, Group, Labels, Name, Pool, Quota, Quotas, Tenant, Vector, Weight, Workload,
};

const TENANTS: usize = 1_000;
const PENDING: u64 = 100_000;
const SLOTS: i64 = 10_000;
/// How many are measured.
const ADMISSIONS: u64 = 200_000;
const RESOURCES: [&str; 4] = ["cpu", "memory", "gpu/a", "gpu/b"];

fn main() {
    let quick = std::env::args().any(|argument| argument == "--test");
    for may_preempt in [false, true] {
        for at_once in [1, 100, 1_000] {
            settle(may_preempt, at_once, if quick { 1 } else { ADMISSIONS / at_once });
        }
    }
}

fn pool() -> Pool {
    let flavors: Vec<Flavor> = ["k/a", "k/b"]
        .iter()
        .map(|id| Flavor {
            id: Name::from(*id),
            cluster: "k".into(),
            hosts: BTreeMap::from([(
                Name::from("*"),
                RESOURCES.iter().map(|name| (Name::from(*name), SLOTS)).collect::<Vector>(),
            )]),
        })
        .collect();
    let half: BTreeMap<Name, Quota> = RESOURCES
        .iter()
        .map(|name| (Name::from(*name), Quota { nominal: SLOTS, ..Quota::default() }))
        .collect();
    let quotas: Quotas = flavors.iter().map(|flavor| (flavor.id.clone(), half.clone())).collect();
    let node = |id: String, parent: Option<&str>, quotas: Quotas| Cohort {
        id: id.into(),
        parent: parent.map(Name::from),
        weight: Weight::ONE,
        quotas,
    };
    let mut cohorts = vec![node("root".into(), None, quotas)];
    for division in 0..10 {
        let name = format!("division{division}");
        cohorts.push(node(name.clone(), Some("root"), Quotas::new()));
        for team in 0..10 {
            cohorts.push(node(format!("team{division}.{team}"), Some(&name), Quotas::new()));
        }
    }
    let tenants: Vec<Tenant> = (0..TENANTS)
        .map(|tenant| Tenant {
            id: format!("tenant{tenant}").into(),
            parent: format!("team{}.{}", tenant % 10, tenant / 10 % 10).into(),
            weight: Weight::ONE,
            quotas: Quotas::new(),
            max_queued: None,
            suspended: false,
            hold_after: None,
        })
        .collect();
    Pool::new(&flavors, &cohorts, &tenants, &[]).unwrap()
}

fn workload(tenant: usize, may_preempt: bool) -> Workload {
    Workload {
        tenant: format!("tenant{tenant}").into(),
        priority: 0,
        groups: vec![Group {
            name: "0".into(),
            count: 1,
            max: 1,
            request: RESOURCES.iter().map(|name| (Name::from(*name), 1)).collect(),
            flavors: None,
        }],
        span_clusters: false,
        labels: Labels { slots: 1, ..Labels::default() },
        preemptible: true,
        may_preempt,
    }
}

/// Lets `at_once` workloads end, submits as many, and settles, so often.
fn settle(may_preempt: bool, at_once: u64, times: u64) {
    let mut pool = pool();
    let works: Vec<Workload> = (0..TENANTS).map(|tenant| workload(tenant, may_preempt)).collect();
    let mut next = 0;
    let mut running = std::collections::VecDeque::new();
    let mut submit = |pool: &mut Pool, n: u64| {
        for _ in 0..n {
            pool.submit(0, next, &works[next as usize % TENANTS]).unwrap();
            next += 1;
        }
    };
    submit(&mut pool, 2 * SLOTS as u64);
    let admitted = |decisions: Vec<Decision<u64>>| {
        decisions.into_iter().filter_map(|decision| match decision {
            Decision::Admit { id, .. } => Some(id),
            _ => None,
        })
    };
    let start = Instant::now();
    running.extend(admitted(pool.settle(0)));
    let filled = start.elapsed();
    let first = running.len();
    let before = resident();
    submit(&mut pool, PENDING);
    let each = resident().saturating_sub(before) / PENDING;
    pool.settle(0);
    let before = (pool.attempts(), pool.passed());
    let start = Instant::now();
    let mut count = 0;
    for _ in 0..times {
        for _ in 0..at_once {
            let id = running.pop_front().unwrap();
            assert!(pool.end(0, id));
        }
        submit(&mut pool, at_once);
        let more: Vec<u64> = admitted(pool.settle(0)).collect();
        count += more.len();
        running.extend(more);
    }
    let took = start.elapsed().as_secs_f64();
    let (attempts, passed) = (pool.attempts() - before.0, pool.passed() - before.1);
    println!(
        "may preempt {may_preempt}, {at_once} at once: {first} admitted at first in {filled:?}; then {:.0} admissions and {:.0} \
         decisions per second, {:.1} µs, {:.1} looks and {:.1} passed over per settling; {each} bytes per pending workload",
        count as f64 / took,
        attempts as f64 / took,
        took * 1e6 / times as f64,
        attempts as f64 / times as f64,
        passed as f64 / times as f64
    );
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
