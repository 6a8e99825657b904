//! Shapes: workloads of one tenant that are equal in everything but age.

use std::{borrow::Borrow, cmp::Ordering, collections::BTreeMap};

use super::{
    pool::Pool,
    spec::{CapKind, Group, Labels, Name, Vector, Workload},
    tree::{Ledger, Wanted},
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

/// What has the parts of a key, so that the shape of a workload is found without copying what it asks for.
trait Keyed {
    fn parts(&self) -> Parts<'_>;
}

/// In the order of the fields of [`ShapeKey`].
type Parts<'a> = (u32, i32, &'a [Group], bool, &'a Labels, bool, bool);

impl Keyed for ShapeKey {
    fn parts(&self) -> Parts<'_> {
        let Self { tenant, priority, groups, span_clusters, labels, preemptible, may_preempt } = self;
        (*tenant, *priority, groups, *span_clusters, labels, *preemptible, *may_preempt)
    }
}

/// A workload of that tenant.
struct Of<'a>(u32, &'a Workload);

impl Keyed for Of<'_> {
    fn parts(&self) -> Parts<'_> {
        let of = self.1;
        (self.0, of.priority, &of.groups, of.span_clusters, &of.labels, of.preemptible, of.may_preempt)
    }
}

impl<'a> Borrow<dyn Keyed + 'a> for ShapeKey {
    fn borrow(&self) -> &(dyn Keyed + 'a) {
        self
    }
}

impl PartialEq for dyn Keyed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Keyed + '_ {}

impl PartialOrd for dyn Keyed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Keyed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
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
    /// A bit for each flavor of a possible assignment; all bits if there are more flavors than bits.
    pub(super) flavors: u64,
    /// Workloads of this shape.
    pub(super) users: u32,
}

impl Shape {
    /// Indices of the possible assignments.
    pub(super) fn possible(&self) -> impl Iterator<Item = usize> + '_ {
        self.assignments.iter().enumerate().filter(|(_, it)| it.possible).map(|(index, _)| index)
    }
}

impl Pool {
    /// What a core needs in an assignment.
    pub(super) fn wanted(&self, key: &ShapeKey, flavors: &[u16]) -> Wanted {
        let mut wanted = BTreeMap::new();
        for (group, flavor) in key.groups.iter().zip(flavors) {
            for (name, amount) in group.request.iter().filter(|(_, amount)| **amount > 0) {
                if let Ok(r) = self.resources.binary_search(name) {
                    let fr = usize::from(*flavor) * self.resources.len() + r;
                    *wanted.entry(fr as u32).or_insert(0) += amount * i64::from(group.count);
                }
            }
        }
        wanted.into_iter().collect()
    }

    pub(super) fn compile(&self, key: ShapeKey) -> Shape {
        let mut found: Vec<Vec<u16>> = vec![Vec::new()];
        for group in &key.groups {
            let flavors: Vec<u16> = match &group.flavors {
                None => (0..self.flavors.len() as u16).collect(),
                Some(names) => names
                    .iter()
                    .filter_map(|name| self.flavors.binary_search(name).ok().map(|index| index as u16))
                    .collect(),
            };
            let longer = |prefix: &Vec<u16>| {
                let prefix = prefix.clone();
                flavors.iter().map(move |flavor| prefix.iter().copied().chain([*flavor]).collect())
            };
            found = found.iter().flat_map(longer).collect::<Vec<Vec<u16>>>();
        }
        let cluster = |flavor: &u16| &self.clusters[usize::from(*flavor)];
        found.retain(|flavors| {
            key.span_clusters || flavors.windows(2).all(|pair| cluster(&pair[0]) == cluster(&pair[1]))
        });
        let request = |of: &Vector| {
            self.resources
                .iter()
                .enumerate()
                .filter_map(|(r, name)| of.get(name).filter(|amount| **amount > 0).map(|amount| (r, *amount)))
                .collect()
        };
        let tenant = &self.tree.ids[key.tenant as usize];
        let labels = &key.labels;
        let mut groups = labels.groups.clone();
        groups.sort();
        groups.dedup();
        let mut keys: Vec<(CapKind, Name)> = Vec::new();
        keys.extend(labels.run.clone().map(|key| (CapKind::Run, key)));
        keys.extend(labels.dag.clone().map(|key| (CapKind::Dag, key)));
        keys.extend(labels.pool.clone().map(|key| (CapKind::Pool, key)));
        keys.extend(labels.user.clone().map(|key| (CapKind::User, key)));
        keys.extend(groups.into_iter().map(|key| (CapKind::Group, key)));
        let find = |kind, key| self.cap_of.get(&(kind, tenant.clone(), key)).copied();
        let mut caps: Vec<u32> = keys.into_iter().filter_map(|(kind, key)| find(kind, key)).collect();
        caps.extend(find(CapKind::Tenant, "".into()));
        let pool_missing =
            labels.pool.as_ref().is_some_and(|pool| find(CapKind::Pool, pool.clone()).is_none());
        let mut shape = Shape {
            tenant: key.tenant,
            priority: key.priority,
            groups: key.groups.clone(),
            requests: key.groups.iter().map(|group| request(&group.request)).collect(),
            members: key.groups.iter().map(|group| group.count).sum(),
            preemptible: key.preemptible,
            may_preempt: key.may_preempt,
            assignments: Vec::new(),
            caps,
            pool_missing,
            flavors: 0,
            users: 0,
            key,
        };
        let nothing = Ledger::new(&self.tree, self.hosts.iter().map(|hosts| hosts.names.len()));
        for flavors in found {
            let wanted = self.wanted(&shape.key, &flavors);
            let possible = nothing.short(&self.tree, shape.tenant, &wanted).is_none()
                && (shape.preemptible || nothing.over_nominal(&self.tree, shape.tenant, &wanted).is_none())
                && super::hosts::place(
                    &self.hosts,
                    &[&nothing],
                    &shape,
                    &flavors,
                    self.resources.len(),
                    false,
                )
                .is_some();
            if possible {
                shape.flavors |= self.flavor_bits(&flavors);
            }
            shape.assignments.push(Assignment { flavors, wanted, possible });
        }
        shape
    }

    /// A bit for each flavor.
    pub(super) fn flavor_bits(&self, flavors: &[u16]) -> u64 {
        if self.flavors.len() > 64 {
            return u64::MAX;
        }
        flavors.iter().fold(0, |bits, flavor| bits | 1 << flavor)
    }

    pub(super) fn learn(&mut self, workload: &Workload) {
        let mut new = false;
        for name in workload.groups.iter().flat_map(|group| group.request.keys()) {
            if let Err(at) = self.resources.binary_search(name) {
                self.resources.insert(at, name.clone());
                new = true;
            }
        }
        if new {
            self.index();
        }
    }

    pub(super) fn shape_for(&mut self, tenant: u32, workload: &Workload) -> u32 {
        self.learn(workload);
        if let Some(shape) = self.shape_of.get(&Of(tenant, workload) as &dyn Keyed) {
            return *shape;
        }
        let key = ShapeKey::new(tenant, workload);
        let compiled = Some(self.compile(key.clone()));
        let shape = if let Some(free) = self.free_shapes.pop() {
            self.shapes[free as usize] = compiled;
            free
        } else {
            self.shapes.push(compiled);
            self.shapes.len() as u32 - 1
        };
        self.shape_of.insert(key, shape);
        shape
    }

    pub(super) fn leave_shape(&mut self, shape: u32) {
        let of = self.shapes[shape as usize].as_mut().expect("invariant: a shape that is left is in use");
        of.users -= 1;
        if of.users == 0 {
            let (tenant, key) = (of.tenant, of.key.clone());
            for spent in [false, true] {
                self.drop_bucket((tenant, shape, spent));
            }
            self.shape_of.remove(&key);
            self.shapes[shape as usize] = None;
            self.free_shapes.push(shape);
        }
    }
}
