//! What would happen to a DAG in a tenant of a service, by the tenant's policies.

use std::collections::BTreeSet;

use api::v1::policies::Policies;
use dags::{
    ids::TenantId,
    model::{Dag, Runner},
};
use engine::{command::Command, memory::MemoryJournal, rows::PoolRow, sharing::Weight};
use plugins::needs;

use crate::Error;

/// Complains about whatever would be refused there, or would wait for ever.
pub(super) fn check(
    policies: &Policies,
    dag: &Dag,
    read: impl Fn(&str) -> Option<String>,
) -> Result<(), Error> {
    let Policies { tenant, user, .. } = policies;
    let name = dag.dag_id.as_str();
    let mut wrong = Vec::new();
    if !policies.may_deploy(dag) {
        wrong.push(format!("`{user}` may not deploy `{name}`"));
    }
    if !policies.may_trigger(dag) {
        wrong.push(format!("`{user}` may not trigger `{name}`"));
    }
    let (mut connections, mut variables) = (BTreeSet::new(), BTreeSet::new());
    for task in &dag.tasks {
        // A template that can't be read is reported by the attempt.
        let Ok(needs) = needs::of(task, &read) else { continue };
        connections.extend(needs.connections);
        variables.extend(needs.variables);
    }
    wrong.extend(policies.room.lacks(dag, &connections, &variables));
    let runs = dag.tasks.iter().any(|task| task.runner == Runner::Executor);
    let own = policies.limits.users.get(user.as_str()).copied().or(policies.limits.tasks_per_user);
    if runs && (policies.limits.tasks == Some(0) || own == Some(0)) {
        wrong.push(format!("`{user}` may have no task at once there: `{name}` would wait for ever"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::Usage {
        message: format!("the tenant `{tenant}` wouldn't take it: {}", wrong.join("; ")),
        help: Some(format!(
            "that is how it was at {}: see to it there, or run without its policies",
            policies.taken_at
        )),
    })
}

/// Gives the run the pools and limits that it would have there.
pub(super) fn limit(policies: &Policies, tenant: TenantId, journal: &mut MemoryJournal) {
    for (name, slots) in policies.room.pools.iter().flatten() {
        // The service's own names; one that this program can't read is no pool of this DAG.
        let Ok(name) = name.parse::<dags::ids::PoolName>() else { continue };
        let row = PoolRow { tenant, name: name.clone(), slots: *slots, include_deferred: false };
        journal.pools.insert((tenant, name), row);
    }
    if !policies.limits.is_empty() {
        let quota = Command::SetQuota {
            cohort: None,
            weight: Weight::ONE,
            quotas: Default::default(),
            limits: policies.limits.clone(),
        };
        journal.request(tenant, &policies.user, quota);
    }
}

/// What the run was held to, for people.
pub(super) fn note(policies: &Policies) -> String {
    let Policies { tenant, user, taken_at, room, limits, .. } = policies;
    let unknown: Vec<&str> = [
        ("pools", room.pools.is_none()),
        ("variables", room.variables.is_none()),
        ("connections", room.connections.is_none()),
    ]
    .into_iter()
    .filter_map(|(what, hidden)| hidden.then_some(what))
    .collect();
    let mut note = format!("run as `{user}` in `{tenant}`, with its pools");
    if !limits.is_empty() {
        note.push_str(" and limits");
    }
    note.push_str(&format!(" of {taken_at}"));
    if !room.quotas.is_empty() {
        note.push_str("; what its quota gives at most was compared, its neighbours play no part");
    }
    if !unknown.is_empty() {
        let list = dags::suggest::list(unknown.iter().copied(), "and");
        note.push_str(&format!("; whoever asked may not see all {list}, so these weren't compared"));
    }
    note
}
