//! How many workloads a settling looks at: those for whom something became free, not all that wait.

use std::collections::{BTreeMap, VecDeque};

use engine::sharing::{
    Cohort, Decision, Flavor, Group, Labels, Name, Pool, Quota, Quotas, Tenant, Weight, Workload,
};

const TENANTS: usize = 300;
/// What each tenant runs when all is taken.
const EACH: i64 = 4;

fn quotas(amount: i64) -> Quotas {
    let quota = Quota { nominal: amount, ..Quota::default() };
    let of: BTreeMap<Name, Quota> = ["cpu", "gpu"].map(|name| (Name::from(name), quota)).into();
    Quotas::from([("k/f".into(), of)])
}

/// A full pool of tenants, flat or in a tree, guaranteed something or not.
fn pool(deep: bool, guaranteed: bool, hold_after: Option<i64>) -> Pool {
    let all = TENANTS as i64 * EACH;
    let hosts = ["cpu", "gpu"].map(|name| (Name::from(name), all)).into();
    let flavor = Flavor { id: "k/f".into(), cluster: "k".into(), hosts: [("*".into(), hosts)].into() };
    let cohort = |id: String, parent: Option<String>, quotas| Cohort {
        id: id.into(),
        parent: parent.map(Name::from),
        weight: Weight::ONE,
        quotas,
    };
    let own = if guaranteed { EACH } else { 0 };
    let mut cohorts = vec![cohort("root".into(), None, quotas(all - own * TENANTS as i64))];
    if deep {
        for n in 0..5 {
            cohorts.push(cohort(format!("division{n}"), Some("root".into()), Quotas::new()));
            for team in 0..6 {
                let parent = Some(format!("division{n}"));
                cohorts.push(cohort(format!("team{n}.{team}"), parent, Quotas::new()));
            }
        }
    }
    let tenant = |n: usize| Tenant {
        id: format!("t{n}").into(),
        parent: if deep { format!("team{}.{}", n % 5, n / 5 % 6) } else { "root".into() }.into(),
        weight: Weight::ONE,
        quotas: if guaranteed { quotas(own) } else { Quotas::new() },
        max_queued: None,
        suspended: false,
        hold_after,
    };
    let tenants: Vec<Tenant> = (0..TENANTS).map(tenant).collect();
    Pool::new(&[flavor], &cohorts, &tenants, &[]).unwrap()
}

fn workload(tenant: usize) -> Workload {
    let request = ["cpu", "gpu"].map(|name| (Name::from(name), 1)).into();
    Workload {
        tenant: format!("t{tenant}").into(),
        priority: 0,
        groups: vec![Group { name: "0".into(), count: 1, max: 1, request, flavors: None }],
        span_clusters: false,
        labels: Labels { slots: 1, ..Labels::default() },
        preemptible: true,
        may_preempt: true,
    }
}

#[test]
fn a_settling_that_admits_one_thing_looks_at_few() {
    for deep in [false, true] {
        for guaranteed in [false, true] {
            for hold_after in [None, Some(1_000_000), Some(0)] {
                let mut pool = pool(deep, guaranteed, hold_after);
                let mut next = 0;
                let mut submit = |pool: &mut Pool, n: usize| {
                    for _ in 0..n {
                        // Every tenant has something waiting, and not the one whose work ends is the one that asks.
                        pool.submit(0, next, &workload(next as usize * 7 % TENANTS)).unwrap();
                        next += 1;
                    }
                };
                let mut running = VecDeque::new();
                let settle = |pool: &mut Pool, running: &mut VecDeque<u64>| {
                    for decision in pool.settle(1) {
                        match decision {
                            Decision::Admit { id, .. } => running.push_back(id),
                            Decision::Hold { .. } | Decision::Drop { .. } => {}
                            Decision::Preempt { .. } | Decision::Reserve { .. } => panic!("{decision:?}"),
                        }
                    }
                };
                submit(&mut pool, TENANTS * 8);
                settle(&mut pool, &mut running);
                assert_eq!(running.len(), TENANTS * EACH as usize);
                let rounds = 60;
                let before = (pool.attempts(), pool.passed());
                for round in 0..rounds {
                    assert!(pool.end(1, running.pop_front().unwrap()));
                    submit(&mut pool, 1);
                    settle(&mut pool, &mut running);
                    if round % 20 == 0 {
                        pool.check();
                    }
                }
                assert_eq!(running.len(), TENANTS * EACH as usize, "each time one is admitted");
                let looks = (pool.attempts() - before.0, pool.passed() - before.1);
                let says =
                    format!("deep {deep}, guaranteed {guaranteed}, hold after {hold_after:?}: {looks:?}");
                assert!(looks.0 + looks.1 <= 20 * rounds, "{says} in {rounds} settlings");
            }
        }
    }
}
