//! Why the pool doesn't let something in.

use dags::{ids::TenantId, time::Timestamp};

use super::{ROOT, tenant_name};
use crate::{
    engine::Engine,
    explain::{HeldBy, Hold, Limit, max_active},
    rows::QuotaNode,
    run::TiRef,
    sharing::{Blocker, CapKind, Name, decision::Short},
};

fn tasks(of: CapKind, key: &Name, active: i64, limit: i64) -> Hold {
    let whose = match of {
        CapKind::User => format!("of user `{key}`"),
        CapKind::Group => format!("of group `{key}`"),
        CapKind::Run | CapKind::Dag | CapKind::Pool | CapKind::Tenant => "of the tenant".to_owned(),
    };
    let name = (!key.is_empty()).then(|| key.to_string());
    Hold {
        limit: Limit::Tasks { of, name, active, limit },
        says: format!("{active} of at most {limit} tasks {whose} are handed over"),
        frees: "some of them end, or the limit is raised".to_owned(),
    }
}

fn victims(count: usize) -> Hold {
    let (who, frees) = if count == 1 {
        ("1 running task is".to_owned(), "its executor confirms that it has ended")
    } else {
        (format!("{count} running tasks are"), "their executors confirm that they have ended")
    };
    Hold {
        limit: Limit::Victims { count },
        says: format!("{who} being ended so that it can run"),
        frees: frees.to_owned(),
    }
}

impl Engine {
    /// What quotas and reservations hold an instance that waits in the queue, and from when on something will be kept for it.
    /// Names of other tenants' work are left out.
    pub(crate) fn hold_of_quotas(&self, tenant: TenantId, at: TiRef) -> (Vec<Hold>, Option<Timestamp>) {
        let nothing = (Vec::new(), None);
        let Some(sharing) = &self.queue.sharing else { return nothing };
        let standing = sharing.waiting.get(&at).and_then(|id| sharing.pool.standing(*id));
        let Some(standing) = standing else { return nothing };
        let mut holds = Vec::new();
        for (index, blocker) in standing.blockers.iter().enumerate() {
            match blocker {
                // What the root lacks without a quota of its own, the executor lacks.
                Blocker::Quota(short) | Blocker::ExceedsQuota(short) if self.is_capacity(short) => {}
                Blocker::Quota(short) => {
                    let held_by = if index == 0 { &standing.held_by[..] } else { &[] };
                    holds.push(self.short_of(tenant, short, false, held_by));
                }
                Blocker::ExceedsQuota(short) => holds.push(self.short_of(tenant, short, true, &[])),
                Blocker::Reserved { by } => {
                    let of = sharing.works.get(by).map(|known| &known.workload.tenant);
                    let own = of.is_some_and(|of| *of == tenant_name(tenant));
                    let whose = if own { "another task of the tenant" } else { "a task of another tenant" };
                    holds.push(Hold {
                        limit: Limit::Reserved { own },
                        says: format!("what is free, or becomes free, is kept for {whose}"),
                        frees: "that task is admitted".to_owned(),
                    });
                }
                Blocker::Victims { of } => holds.push(victims(of.len())),
                Blocker::Cap { kind: kind @ (CapKind::Run | CapKind::Dag), used, limit, .. } => {
                    let count = |amount: i64| u32::try_from(amount).unwrap_or(u32::MAX);
                    let all_runs = *kind == CapKind::Dag;
                    holds.push(max_active(count(*used), count(*limit), all_runs));
                }
                Blocker::Cap {
                    kind: kind @ (CapKind::User | CapKind::Group | CapKind::Tenant),
                    key,
                    used,
                    limit,
                    ..
                } => {
                    holds.push(tasks(*kind, key, *used, *limit));
                }
                // The queue says these itself, with what it knows of pools, executors and workers.
                Blocker::Cap { .. }
                | Blocker::PoolMissing { .. }
                | Blocker::Capacity { .. }
                | Blocker::Fragmented { .. }
                | Blocker::ExceedsCapacity { .. }
                | Blocker::NoFlavor
                | Blocker::Suspended { .. } => {}
            }
        }
        (holds, standing.starves_at.map(Timestamp))
    }

    fn is_capacity(&self, short: &Short) -> bool {
        let root = self.queue.quotas.get(&QuotaNode::Cohort(ROOT.into()));
        let own = root.and_then(|row| row.quotas.get(&short.flavor)).and_then(|of| of.get(&short.resource));
        &*short.node == ROOT && own.is_none()
    }

    fn short_of(&self, tenant: TenantId, short: &Short, never: bool, held_by: &[(u64, i64)]) -> Hold {
        let Short { node, flavor, resource, wanted, used, limit } = short;
        let whose =
            if **node == *tenant_name(tenant) { "the tenant".to_owned() } else { format!("cohort `{node}`") };
        let mut own = Vec::new();
        let mut others = 0;
        for (id, amount) in held_by {
            let known = self.queue.sharing.as_ref().and_then(|sharing| sharing.works.get(id));
            let at = known.map(|known| known.pending.at);
            let run = at.and_then(|at| self.runs.get(at.run as usize)).and_then(Option::as_deref);
            match (at, run) {
                (Some(at), Some(run)) if run.row.tenant == tenant && (at.ti as usize) < run.tis.len() => {
                    let ti = &run.tis[at.ti as usize];
                    own.push(HeldBy {
                        dag_id: run.row.dag_id.clone(),
                        run_name: run.row.run_name.clone(),
                        task_id: run.plan.model(ti.task).task_id.clone(),
                        map_index: ti.map_index,
                        amount: *amount,
                    });
                }
                _ => others += amount,
            }
        }
        let says = if never {
            format!(
                "it asks for {wanted} `{resource}` of `{flavor}`, and {whose} may never use more than {limit}"
            )
        } else {
            format!(
                "{whose} uses {used} of at most {limit} `{resource}` of `{flavor}`, and it asks for {wanted}"
            )
        };
        let frees =
            if never { "the quota is raised" } else { "tasks that use it end, or the quota is raised" };
        Hold {
            limit: Limit::Quota {
                node: node.to_string(),
                executor: flavor.to_string(),
                resource: resource.to_string(),
                wanted: *wanted,
                used: *used,
                limit: *limit,
                held_by: own,
                others,
            },
            says,
            frees: frees.to_owned(),
        }
    }
}
