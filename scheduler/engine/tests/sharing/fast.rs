//! The engine's pool, as scenarios run it.

use std::collections::BTreeMap;

use engine::sharing::{Blocker, Decision, Name, Part, Quotas, Vector, Weight, Workload};

use crate::scenario::{Pool, Setup};

pub(crate) struct Fast {
    pool: engine::sharing::Pool,
    /// What the pool is built of, as it is now.
    setup: Setup,
    now: i64,
    /// All that were submitted.
    ids: Vec<u64>,
}

impl Pool for Fast {
    fn build(setup: &Setup) -> Self {
        let pool =
            engine::sharing::Pool::new(&setup.flavors, &setup.cohorts, &setup.tenants, &setup.caps).unwrap();
        Self { pool, setup: setup.clone(), now: 0, ids: Vec::new() }
    }

    fn submit(&mut self, now: i64, id: u64, workload: &Workload) -> bool {
        self.now = now;
        self.ids.push(id);
        self.pool.submit(now, id, workload).is_ok()
    }

    fn end(&mut self, now: i64, id: u64) -> bool {
        self.now = now;
        self.pool.end(now, id)
    }

    fn confirm(&mut self, now: i64, id: u64, part: (Part, u32)) -> bool {
        self.now = now;
        self.pool.confirm(now, id, part)
    }

    fn set_quota(&mut self, node: &Name, quotas: &Quotas, weight: Option<Weight>) {
        self.pool.set_quota(self.now, node, quotas, weight).unwrap();
        let of_cohorts = self.setup.cohorts.iter_mut().map(|it| (&it.id, &mut it.quotas, &mut it.weight));
        let of_tenants = self.setup.tenants.iter_mut().map(|it| (&it.id, &mut it.quotas, &mut it.weight));
        for (_, known, known_weight) in of_cohorts.chain(of_tenants).filter(|(id, ..)| *id == node) {
            known.clone_from(quotas);
            *known_weight = weight.unwrap_or(*known_weight);
        }
    }

    fn set_capacity(&mut self, flavor: &Name, hosts: &BTreeMap<Name, Vector>) {
        self.pool.set_capacity(self.now, flavor, hosts).unwrap();
        for known in self.setup.flavors.iter_mut().filter(|known| known.id == *flavor) {
            known.hosts.clone_from(hosts);
        }
    }

    fn suspend(&mut self, tenant: &Name, suspended: bool) {
        self.pool.suspend(self.now, tenant, suspended).unwrap();
        for known in self.setup.tenants.iter_mut().filter(|known| known.id == *tenant) {
            known.suspended = suspended;
        }
    }

    fn settle(&mut self, now: i64) -> Vec<Decision<u64>> {
        self.now = now;
        self.pool.settle(now)
    }

    fn is_held(&self, id: u64) -> bool {
        self.pool.is_held(id)
    }

    fn next_starving(&self, now: i64) -> Option<i64> {
        self.pool.deadline(now)
    }

    fn usage(&self) -> BTreeMap<Name, BTreeMap<String, i64>> {
        let mut usage: BTreeMap<Name, BTreeMap<String, i64>> = BTreeMap::new();
        for (node, flavor, resource, amount) in self.pool.usage() {
            usage.entry(node.clone()).or_default().insert(format!("{flavor} {resource}"), amount);
        }
        usage
    }

    fn waiting(&mut self, _now: i64) -> Vec<(u64, Blocker<u64>)> {
        let ids = self.ids.clone();
        ids.into_iter()
            .filter_map(|id| Some((id, self.pool.standing(id)?.blockers.into_iter().next()?)))
            .collect()
    }

    fn check(&self, _now: i64) {
        self.pool.check();
    }

    fn crash(&mut self) {
        let Setup { flavors, cohorts, tenants, caps } = &self.setup;
        let facts = self.pool.facts();
        let again = engine::sharing::Pool::restore(flavors, cohorts, tenants, caps, &facts).unwrap();
        assert_eq!(again.facts(), facts, "what was kept is there again");
        self.pool = again;
    }
}
