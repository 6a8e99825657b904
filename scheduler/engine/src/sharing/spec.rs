//! What the pool is told: flavors, the quota tree, caps and workloads.

use std::{collections::BTreeMap, sync::Arc};

use super::share::Weight;

/// A name: of a flavor, a host, a resource, a node of the tree, a group.
pub type Name = Arc<str>;

/// Amounts by resource: milli-CPU, bytes, devices. At most [`AMOUNT_MAX`] each; what is absent is zero.
pub type Vector = BTreeMap<Name, i64>;

/// The largest amount of anything, so that sums of thousands of such amounts stay in 64 bits.
pub const AMOUNT_MAX: i64 = 1 << 50;

/// The host of a flavor whose cluster places by itself.
pub const ANY_HOST: &str = "*";

/// A kind of capacity in one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flavor {
    /// Its name.
    pub id: Name,
    /// The cluster it belongs to: a workload stays in one, unless it may span.
    pub cluster: Name,
    /// Capacity by host; one host `*` where the cluster places by itself.
    pub hosts: BTreeMap<Name, Vector>,
}

/// A quota of one node for one flavor and resource.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// What is guaranteed.
    #[serde(default)]
    pub nominal: i64,
    /// The most that may be used beyond the subtree's quota; none for no limit. Ignored at the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub borrow: Option<i64>,
    /// The most of the subtree's quota that others may use; none for no limit. Ignored at the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lend: Option<i64>,
}

/// Quotas of one node by flavor and resource; what is absent has nominal 0 and no limits.
pub type Quotas = BTreeMap<Name, BTreeMap<Name, Quota>>;

/// An inner node of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cohort {
    /// Its name; tenants and cohorts share one space of names.
    pub id: Name,
    /// The cohort above it; none for the root, of which there is exactly one.
    pub parent: Option<Name>,
    /// Its weight among its siblings.
    pub weight: Weight,
    /// Its own quotas.
    pub quotas: Quotas,
}

/// A leaf of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub id: Name,
    /// The cohort it belongs to.
    pub parent: Name,
    /// Its weight among its siblings.
    pub weight: Weight,
    /// Its own quotas.
    pub quotas: Quotas,
    /// A submission that finds that many pending is refused.
    pub max_queued: Option<u32>,
    /// Nothing of it is admitted.
    pub suspended: bool,
    /// After waiting that long a workload gets a hold; never if none.
    pub hold_after: Option<i64>,
}

/// What a cap counts over. The order is the one in which caps are checked.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CapKind {
    /// One run.
    Run,
    /// One DAG (or one task of it) over all its runs.
    Dag,
    /// A pool, in slots.
    Pool,
    /// One user.
    User,
    /// One group of users.
    Group,
    /// The whole tenant.
    Tenant,
}

/// A limit on what is held at once, whatever the quotas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// What it counts over.
    pub kind: CapKind,
    /// Whose it is.
    pub tenant: Name,
    /// Which run, DAG, pool, user or group; empty for the tenant.
    pub key: Name,
    /// Members at once, for a pool members times slots; none for no limit.
    pub max: Option<i64>,
    /// Amounts at once, over all flavors.
    pub resources: Vector,
}

/// Equal members of a workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Its name.
    pub name: Name,
    /// Members that it can't do without, at least one.
    pub count: u32,
    /// Members that it can use, at least `count`.
    pub max: u32,
    /// What one member needs.
    pub request: Vector,
    /// Flavors that it may run on, the preferred one first; none for all, in order of their names.
    pub flavors: Option<Vec<Name>>,
}

/// By what a workload is counted against caps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Labels {
    /// Its run.
    pub run: Option<Name>,
    /// Its DAG.
    pub dag: Option<Name>,
    /// Its pool: must exist.
    pub pool: Option<Name>,
    /// Slots of the pool that a member takes.
    pub slots: i64,
    /// Who started it.
    pub user: Option<Name>,
    /// Groups of who started it.
    pub groups: Vec<Name>,
    /// What a gate goes by: those of one number are alike to it.
    pub gate: u32,
    /// How many members count as one against caps; one by one if 0.
    pub together: u32,
}

impl Labels {
    /// What so many members count against a cap on members.
    pub(super) fn counted(&self, members: usize) -> i64 {
        members.div_ceil(self.together.max(1) as usize) as i64
    }
}

/// By what workloads of one tenant and priority are ordered: the smallest goes first. Equal ones go by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Age {
    /// The date that it stands for.
    pub date: i64,
    /// The number of its run.
    pub run: u64,
    /// Its place there.
    pub index: i64,
}

/// What wants to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Whose it is.
    pub tenant: Name,
    /// Higher goes first, inside the tenant only.
    pub priority: i32,
    /// Groups, in order; more than one, or one of several members, is a gang.
    pub groups: Vec<Group>,
    /// The groups may lie in several clusters.
    pub span_clusters: bool,
    /// By what it is counted.
    pub labels: Labels,
    /// It may be ended for others. What may not is never lent anything.
    pub preemptible: bool,
    /// Others may be ended for it.
    pub may_preempt: bool,
}
