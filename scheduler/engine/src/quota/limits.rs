//! What a tenant may have at once and how it waits, whatever its quotas.

use std::collections::{BTreeMap, BTreeSet};

use dags::ids::TenantId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tenant_name;
use crate::{
    command::Refusal,
    engine::Engine,
    queue::Queue,
    rows::{QuotaNode, QuotaRow},
    run::TiRef,
    sharing::{Cap, CapKind, Labels, Name, Vector},
};

/// Limits of one tenant. All of them count task instances, a gang once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The most that may be handed over at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
    /// The most of runs that one user asked for, for each user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_per_user: Option<u32>,
    /// The same for certain users, in place of `tasks_per_user`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<Name, u32>,
    /// Users that share a limit, beside their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<Name, GroupLimit>,
    /// The most that may wait in the queue: while as many do, no run is made, by hand or by the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<u32>,
    /// Seconds after which what becomes free is kept for who waits; 300 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_after_s: Option<u32>,
    /// Nothing is ever kept for who waits: priorities are strict, and a large task may be passed for ever.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_hold: bool,
}

/// A limit that several users share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupLimit {
    /// The most that may be handed over at once of runs that one of them asked for.
    pub tasks: u32,
    /// Who.
    pub users: BTreeSet<Name>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many of a user may be handed over at once; none for no limit.
    fn of_user(&self, user: &Name) -> Option<u32> {
        self.users.get(user).copied().or(self.tasks_per_user)
    }

    /// Refused if they make no sense together.
    pub(super) fn fit(&self, node: &QuotaNode) -> Result<(), Refusal> {
        let refused = |code, message: &str| Err(Refusal::new(code, message.to_owned()));
        if matches!(node, QuotaNode::Cohort(_)) && !self.is_empty() {
            return refused("quota.limits", "a cohort has no limits of its own: set them for its tenants");
        }
        if self.no_hold && self.hold_after_s.is_some() {
            let message = "`no_hold` and `hold_after_s` contradict each other: leave one of them out";
            return refused("quota.limits", message);
        }
        if let Some((name, _)) = self.groups.iter().find(|(_, group)| group.users.is_empty()) {
            let message = format!("the group `{name}` has no users: name them, or leave it out");
            return refused("quota.limits", &message);
        }
        Ok(())
    }

    /// Microseconds after which somebody starves; never if none.
    pub(super) fn hold_after(&self, default: i64) -> Option<i64> {
        let own = self.hold_after_s.map(|seconds| i64::from(seconds) * 1_000_000);
        (!self.no_hold).then_some(own.unwrap_or(default))
    }

    /// By what a run that somebody asked for is counted.
    pub(super) fn label(&self, by: Option<&Name>, labels: &mut Labels) {
        let Some(user) = by else { return };
        labels.user = self.of_user(user).map(|_| user.clone());
        let groups = self.groups.iter().filter(|(_, group)| group.users.contains(user));
        labels.groups = groups.map(|(name, _)| name.clone()).collect();
    }

    /// The caps that are there whoever asks.
    pub(super) fn caps(&self, tenant: &Name) -> Vec<Cap> {
        let cap = |kind, key: Name, max: u32| Cap {
            kind,
            tenant: tenant.clone(),
            key,
            max: Some(i64::from(max)),
            resources: Vector::new(),
        };
        let mut caps: Vec<Cap> =
            self.groups.iter().map(|(name, group)| cap(CapKind::Group, name.clone(), group.tasks)).collect();
        caps.extend(self.tasks.map(|max| cap(CapKind::Tenant, "".into(), max)));
        caps
    }
}

impl Queue {
    /// The limits of a tenant, if it has any.
    pub(crate) fn limits(&self, tenant: TenantId) -> Option<&Limits> {
        self.quotas.get(&QuotaNode::Tenant(tenant)).map(|row| &row.limits)
    }

    /// How many of a tenant wait in the queue, and how many may, if that many do.
    pub(crate) fn is_full(&self, tenant: TenantId) -> Option<(u32, u32)> {
        let most = self.limits(tenant)?.queued?;
        let waiting = self.waiting_of(tenant);
        (waiting >= most).then_some((waiting, most))
    }
}

impl Engine {
    /// Limits that become caps when the first instance that they count is there.
    pub(super) fn own_caps(&self, labels: &Labels, at: TiRef) -> Vec<(CapKind, Name, Option<i64>)> {
        let run = self.run(at.run);
        let model = run.plan.model(run.tis[at.ti as usize].task);
        let limits = self.queue.limits(run.row.tenant);
        own(labels, model.max_active_per_run, model.max_active, limits)
    }

    /// Refused while as many instances of the tenant wait as may.
    pub(crate) fn room_in_queue(&self, tenant: TenantId) -> Result<(), Refusal> {
        let Some((waiting, most)) = self.queue.is_full(tenant) else { return Ok(()) };
        let message = format!(
            "{waiting} task instances of the tenant wait in the queue, and at most {most} may: try again when some have started"
        );
        Err(Refusal::new("tenant.queue_full", message))
    }
}

/// The limits of a task, of its own and of its user, that are named.
pub(super) fn own(
    labels: &Labels,
    per_run: Option<u32>,
    per_dag: Option<u32>,
    limits: Option<&Limits>,
) -> Vec<(CapKind, Name, Option<i64>)> {
    let of_user = |user: &Name| limits.and_then(|limits| limits.of_user(user));
    let of = [
        (CapKind::Run, &labels.run, per_run),
        (CapKind::Dag, &labels.dag, per_dag),
        (CapKind::User, &labels.user, labels.user.as_ref().and_then(of_user)),
    ];
    let named = of.into_iter().filter_map(|(kind, key, max)| Some((kind, key.clone()?, max)));
    named.map(|(kind, key, max)| (kind, key, max.map(i64::from))).collect()
}

/// The limits of all tenants as caps.
pub(super) fn caps<'a>(rows: impl Iterator<Item = &'a QuotaRow>) -> Vec<Cap> {
    let of = |row: &QuotaRow| match &row.node {
        QuotaNode::Tenant(tenant) => row.limits.caps(&tenant_name(*tenant)),
        QuotaNode::Cohort(_) => Vec::new(),
    };
    rows.flat_map(of).collect()
}
