//! The tree of quotas as the pool wants it, from rows and from what executors have.

use std::collections::{BTreeMap, BTreeSet};

use dags::ids::PoolName;

use super::{MEMBERS, ROOT, limits, tenant_name};
use crate::{
    command::Refusal,
    queue::{ExecutorState, Queue},
    rows::{QuotaNode, QuotaRow},
    sharing::{
        Cap, CapKind, Cohort, Flavor, Name, Quota, Quotas, Tenant, Vector, Weight,
        spec::{AMOUNT_MAX, ANY_HOST},
    },
};

/// What a pool is built of.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) flavors: Vec<Flavor>,
    pub(super) cohorts: Vec<Cohort>,
    pub(super) tenants: Vec<Tenant>,
    pub(super) caps: Vec<Cap>,
    pub(super) resources: BTreeSet<Name>,
}

type Rows = BTreeMap<QuotaNode, QuotaRow>;

/// Refused if the rows, with one of them changed, are no tree, or an amount is none.
pub(super) fn validate(rows: &Rows) -> Result<(), Refusal> {
    rows.values().try_for_each(|row| fits(row).and_then(|()| hangs(rows, row)))
}

/// Makes stored rows that somebody has damaged ones that hold, and says what is different: a row that can't hold is left
/// out, one whose cohort isn't there belongs to the cohort above all.
pub fn mend(found: Vec<QuotaRow>) -> (Vec<QuotaRow>, Vec<Refusal>) {
    let mut changed = Vec::new();
    let mut rows = Rows::new();
    for row in found {
        match fits(&row) {
            Ok(()) => drop(rows.insert(row.node.clone(), row)),
            Err(why) => changed.push(why),
        }
    }
    for node in rows.keys().cloned().collect::<Vec<_>>() {
        if let Err(why) = hangs(&rows, &rows[&node]) {
            changed.push(why);
            rows.entry(node).and_modify(|row| row.parent = None);
        }
    }
    (rows.into_values().collect(), changed)
}

/// Whether the row by itself can hold.
fn fits(row: &QuotaRow) -> Result<(), Refusal> {
    if let QuotaNode::Cohort(name) = &row.node {
        // A tenant is known to the pool by its id.
        let refused =
            |why: String| Err(Refusal::new("cohort.name", format!("the cohort's name {name:?} {why}")));
        if let Err(why) = PoolName::parse(name) {
            return refused(why.to_string());
        }
        if name.parse::<uuid::Uuid>().is_ok() {
            return refused("looks like a tenant's id; choose another".to_owned());
        }
        if &**name == ROOT && row.parent.is_some() {
            return Err(Refusal::new("cohort.root", "`root` is above all others and has no parent"));
        }
    }
    row.limits.fit(&row.node)?;
    for (executor, resource, quota) in entries(&row.quotas) {
        let amounts = [Some(quota.nominal), quota.borrow, quota.lend];
        if amounts.into_iter().flatten().any(|amount| !(0..=AMOUNT_MAX).contains(&amount)) {
            let message = format!("amounts of `{resource}` on `{executor}` must be from 0 to {AMOUNT_MAX}");
            return Err(Refusal::new("quota.amount", message));
        }
    }
    Ok(())
}

/// Whether the row's way up leads to the cohort above all.
fn hangs(rows: &Rows, row: &QuotaRow) -> Result<(), Refusal> {
    let mut above = row.parent.as_ref();
    let mut steps = 0;
    while let Some(name) = above.filter(|name| &***name != ROOT) {
        let Some(parent) = rows.get(&QuotaNode::Cohort(name.clone())) else {
            return Err(Refusal::new("cohort.not_found", format!("there is no cohort `{name}`")));
        };
        steps += 1;
        if steps > rows.len() {
            return Err(Refusal::new("cohort.cycle", format!("cohort `{name}` would lie below itself")));
        }
        above = parent.parent.as_ref();
    }
    Ok(())
}

fn entries(quotas: &Quotas) -> impl Iterator<Item = (&Name, &Name, &Quota)> {
    quotas.iter().flat_map(|(executor, of)| of.iter().map(move |(name, quota)| (executor, name, quota)))
}

/// What an executor has of a resource; without workers it is only known how many members it takes.
fn capacity(executor: &ExecutorState, resource: &str) -> i64 {
    let slots = i64::from(executor.slots.unwrap_or(0));
    let Some(fleet) = &executor.fleet else {
        return if resource == MEMBERS { slots } else { AMOUNT_MAX };
    };
    let specs = fleet.workers().filter_map(|(_, worker)| worker.spec.as_ref());
    let sum = specs.fold(0_u64, |sum, spec| {
        let of = match resource {
            MEMBERS => u64::from(spec.slots),
            "cpu" => spec.cpu_milli,
            "memory" => spec.memory_bytes,
            "gpu" => spec.gpus.values().map(|count| u64::from(*count)).sum(),
            other => match other.strip_prefix("gpu/") {
                Some(model) => spec.gpus.get(model).copied().map_or(0, u64::from),
                None => spec.custom.get(other).copied().unwrap_or(0),
            },
        };
        sum.saturating_add(of)
    });
    let sum = i64::try_from(sum).unwrap_or(AMOUNT_MAX).min(AMOUNT_MAX);
    if resource == MEMBERS { sum.min(slots) } else { sum }
}

impl Queue {
    /// What the pool is to be built of now.
    pub(super) fn ground(&self, hold_after: i64) -> Ground {
        let rows = &self.quotas;
        let mut resources: BTreeSet<Name> = BTreeSet::from([MEMBERS.into()]);
        resources.extend(rows.values().flat_map(|row| entries(&row.quotas)).map(|(_, name, _)| name.clone()));
        let flavor = |executor: &ExecutorState| {
            let id: Name = executor.name.as_str().into();
            let all: Vector = resources.iter().map(|name| (name.clone(), capacity(executor, name))).collect();
            Flavor { cluster: id.clone(), id, hosts: BTreeMap::from([(ANY_HOST.into(), all)]) }
        };
        let flavors: Vec<Flavor> = self.executors.iter().map(flavor).collect();
        let root = rows.get(&QuotaNode::Cohort(ROOT.into()));
        let mut quotas = root.map(|row| row.quotas.clone()).unwrap_or_default();
        for flavor in &flavors {
            for (resource, all) in &flavor.hosts[ANY_HOST] {
                // What nobody is guaranteed is for everybody.
                let given = given(rows, &flavor.id, resource);
                let of = quotas.entry(flavor.id.clone()).or_default().entry(resource.clone());
                of.or_insert(Quota { nominal: (all - given).max(0), ..Quota::default() });
            }
        }
        let mut cohorts = vec![Cohort { id: ROOT.into(), parent: None, weight: Weight::ONE, quotas }];
        let mut known: BTreeMap<Name, Tenant> = BTreeMap::new();
        let tenant = |id: Name| Tenant {
            id,
            parent: ROOT.into(),
            weight: Weight::ONE,
            quotas: Quotas::new(),
            max_queued: None,
            suspended: false,
            hold_after: Some(hold_after),
        };
        for state in &self.tenants {
            let id = tenant_name(state.id);
            known.insert(id.clone(), tenant(id));
        }
        for (node, QuotaRow { parent, weight, quotas, limits, .. }) in rows {
            let parent = parent.clone().unwrap_or_else(|| ROOT.into());
            match node {
                QuotaNode::Cohort(name) if &**name == ROOT => {}
                QuotaNode::Cohort(name) => cohorts.push(Cohort {
                    id: name.clone(),
                    parent: Some(parent),
                    weight: *weight,
                    quotas: quotas.clone(),
                }),
                QuotaNode::Tenant(id) => {
                    let id = tenant_name(*id);
                    let of = Tenant {
                        parent,
                        weight: *weight,
                        quotas: quotas.clone(),
                        hold_after: limits.hold_after(hold_after),
                        ..tenant(id.clone())
                    };
                    known.insert(id, of);
                }
            }
        }
        let caps = self.pools.iter().filter(|pool| pool.row.is_some()).map(|pool| Cap {
            kind: CapKind::Pool,
            tenant: tenant_name(pool.tenant),
            key: pool.name.as_str().into(),
            max: pool.most(),
            resources: Vector::new(),
        });
        let mut caps: Vec<Cap> = caps.collect();
        caps.extend(limits::caps(rows.values()));
        Ground { caps, flavors, cohorts, tenants: known.into_values().collect(), resources }
    }

    /// Brings limits of pools up to date; false if pools came or went.
    pub(super) fn tell_pools(&mut self) -> bool {
        let Self { sharing, pools, pools_moved, .. } = self;
        let Some(sharing) = sharing.as_deref_mut() else { return true };
        if !std::mem::take(pools_moved) {
            return true;
        }
        pools.iter().all(|pool| {
            let (tenant, key) = (tenant_name(pool.tenant), pool.name.as_str().into());
            if pool.row.is_none() {
                return !sharing.pool.has_cap(CapKind::Pool, &tenant, &key);
            }
            sharing.pool.set_cap(CapKind::Pool, &tenant, &key, pool.most())
        })
    }
}

/// What is guaranteed to tenants and cohorts.
fn given(rows: &Rows, executor: &Name, resource: &Name) -> i64 {
    let nominal = |row: &QuotaRow| {
        row.quotas.get(executor).and_then(|of| of.get(resource)).map_or(0, |quota| quota.nominal)
    };
    let below = rows.values().filter(|row| row.node != QuotaNode::Cohort(ROOT.into()));
    below.map(nominal).fold(0, i64::saturating_add)
}
