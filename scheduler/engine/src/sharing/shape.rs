//! Shapes: workloads of one tenant that are equal in everything but age.

use super::{
    spec::{Group, Labels, Workload},
    tree::Wanted,
};

/// What makes two workloads equal for every decision but their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ShapeKey {
    pub(super) tenant: u32,
    pub(super) priority: i32,
    pub(super) groups: Vec<Group>,
    pub(super) span_clusters: bool,
    pub(super) labels: Labels,
    pub(super) preemptible: bool,
    pub(super) may_preempt: bool,
}

impl ShapeKey {
    pub(super) fn new(tenant: u32, workload: &Workload) -> Self {
        Self {
            tenant,
            priority: workload.priority,
            groups: workload.groups.clone(),
            span_clusters: workload.span_clusters,
            labels: workload.labels.clone(),
            preemptible: workload.preemptible,
            may_preempt: workload.may_preempt,
        }
    }
}

/// A flavor for each group, and what the core needs then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) flavors: Vec<u16>,
    pub(super) wanted: Wanted,
    /// It fits where nothing else runs.
    pub(super) possible: bool,
}

/// A shape, compiled.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) tenant: u32,
    pub(super) priority: i32,
    pub(super) groups: Vec<Group>,
    /// By group: what a member needs, by resource; no zeros.
    pub(super) requests: Vec<Vec<(usize, i64)>>,
    pub(super) key: ShapeKey,
    /// Members of the core.
    pub(super) members: u32,
    pub(super) preemptible: bool,
    pub(super) may_preempt: bool,
    /// All, those tried first in front.
    pub(super) assignments: Vec<Assignment>,
    /// Numbers of the caps that count it, in their order.
    pub(super) caps: Vec<u32>,
    pub(super) pool_missing: bool,
    /// Workloads of this shape.
    pub(super) users: u32,
}

impl Shape {
    /// Indices of the possible assignments.
    pub(super) fn possible(&self) -> impl Iterator<Item = usize> + '_ {
        self.assignments.iter().enumerate().filter(|(_, it)| it.possible).map(|(index, _)| index)
    }
}
