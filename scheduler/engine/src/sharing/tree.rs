//! The quota tree as dense arrays, and the ledgers that are charged against it.

use super::{
    share::{Fraction, Share, Weight},
    spec::{Name, Quotas},
};

/// An index of a flavor and resource: flavors by name, then resources by name.
pub(super) type Fr = u32;

/// What is wanted, by flavor and resource in rising order; no zeros.
pub(super) type Wanted = Vec<(Fr, i64)>;

/// The quota tree; nodes are numbered in any order, cohorts and tenants alike.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) ids: Vec<Name>,
    pub(super) parents: Vec<Option<u32>>,
    pub(super) children: Vec<Vec<u32>>,
    pub(super) weights: Vec<Weight>,
    pub(super) quotas: Vec<Quotas>,
    pub(super) root: u32,
    /// Flavors times resources.
    pub(super) width: usize,
    pub(super) resources: usize,
    nominal: Vec<i64>,
    subtree: Vec<i64>,
    local: Vec<i64>,
    /// Some node keeps a part of its quota to itself.
    pub(super) has_locals: bool,
    /// `i64::MAX` for none.
    limit: Vec<i64>,
    /// By resource: all nominals.
    totals: Vec<i128>,
    /// By node and resource: its subtree's quota.
    subtree_of: Vec<i128>,
}

impl Tree {
    /// Computes everything that follows from the quotas.
    pub(super) fn index(&mut self, flavors: &[Name], resources: &[Name]) {
        let nodes = self.ids.len();
        self.resources = resources.len();
        self.width = flavors.len() * resources.len();
        let size = nodes * self.width;
        self.nominal = vec![0; size];
        self.subtree = vec![0; size];
        self.local = vec![0; size];
        self.limit = vec![i64::MAX; size];
        let mut order = vec![self.root];
        let mut next = 0;
        while let Some(node) = order.get(next).copied() {
            order.extend(&self.children[node as usize]);
            next += 1;
        }
        for node in order.into_iter().rev() {
            for (f, flavor) in flavors.iter().enumerate() {
                for (r, resource) in resources.iter().enumerate() {
                    let fr = f * resources.len() + r;
                    let at = node as usize * self.width + fr;
                    let of = self.quotas[node as usize].get(flavor);
                    let quota = of.and_then(|of| of.get(resource)).copied().unwrap_or_default();
                    self.nominal[at] = quota.nominal;
                    self.subtree[at] += quota.nominal;
                    let all = self.subtree[at];
                    if let Some(parent) = self.parents[node as usize] {
                        self.local[at] = quota.lend.map_or(0, |lend| (all - lend).max(0));
                        self.limit[at] = quota.borrow.map_or(i64::MAX, |borrow| all.saturating_add(borrow));
                        let lent = quota.lend.map_or(all, |lend| all.min(lend));
                        self.subtree[parent as usize * self.width + fr] += lent;
                    } else {
                        self.limit[at] = all;
                    }
                }
            }
        }
        self.has_locals = self.local.iter().any(|amount| *amount > 0);
        self.totals = vec![0; self.resources];
        self.subtree_of = vec![0; nodes * self.resources];
        for node in 0..nodes {
            for fr in 0..self.width {
                let r = fr % self.resources;
                self.totals[r] += i128::from(self.nominal[node * self.width + fr]);
                self.subtree_of[node * self.resources + r] +=
                    i128::from(self.subtree[node * self.width + fr]);
            }
        }
    }

    fn at(&self, node: u32, fr: Fr) -> usize {
        node as usize * self.width + fr as usize
    }

    pub(super) fn nominal(&self, node: u32, fr: Fr) -> i64 {
        self.nominal[self.at(node, fr)]
    }

    /// What of it no other node can use.
    pub(super) fn local(&self, node: u32, fr: Fr) -> i64 {
        self.local[self.at(node, fr)]
    }

    /// What is guaranteed to a node and all below it.
    pub(super) fn guaranteed(&self, node: u32, fr: Fr) -> i64 {
        self.subtree[self.at(node, fr)]
    }

    /// The most that a node may use; none for no limit.
    pub(super) fn limit(&self, node: u32, fr: Fr) -> Option<i64> {
        Some(self.limit[self.at(node, fr)]).filter(|limit| *limit != i64::MAX)
    }

    /// From a node to the root.
    pub(super) fn path(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(Some(node), |node| self.parents[*node as usize])
    }

    /// Nodes from a tenant up to, not including, the nearest cohort above both.
    pub(super) fn side(&self, tenant: u32, other: u32) -> impl Iterator<Item = u32> + '_ {
        self.path(tenant).take_while(move |node| !self.path(other).any(|above| above == *node))
    }
}

/// A quota that doesn't suffice: the node, the flavor and resource, what is wanted, used, and the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) node: u32,
    pub(super) fr: Fr,
    pub(super) wanted: i64,
    pub(super) used: i64,
    pub(super) limit: i64,
}

/// Usage of all nodes and hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    nodes: Vec<i64>,
    /// Like `nodes`: what of it holds gave or keep, in plain sums. Of the planned ledger only.
    given: Vec<i64>,
    /// By flavor: hosts times resources.
    pub(super) hosts: Vec<Vec<i64>>,
}

impl Ledger {
    pub(super) fn new(tree: &Tree, hosts: impl Iterator<Item = usize>) -> Self {
        Self {
            nodes: vec![0; tree.ids.len() * tree.width],
            given: vec![0; tree.ids.len() * tree.width],
            hosts: hosts.map(|hosts| vec![0; hosts * tree.resources]).collect(),
        }
    }

    pub(super) fn used(&self, tree: &Tree, node: u32, fr: Fr) -> i64 {
        self.nodes[tree.at(node, fr)]
    }

    /// Charges a tenant and what is above it; negative amounts give back.
    pub(super) fn add(&mut self, tree: &Tree, tenant: u32, fr: Fr, amount: i64) {
        let mut more = amount;
        for node in tree.path(tenant) {
            let at = tree.at(node, fr);
            let before = (self.nodes[at] - tree.local[at]).max(0);
            self.nodes[at] += more;
            more = (self.nodes[at] - tree.local[at]).max(0) - before;
            if more == 0 {
                break;
            }
        }
    }

    /// Notes that a hold gave a tenant what was charged; negative amounts take the note away.
    pub(super) fn give(&mut self, tree: &Tree, tenant: u32, fr: Fr, amount: i64) {
        for node in tree.path(tenant) {
            self.given[tree.at(node, fr)] += amount;
        }
    }

    /// How much more a node may use, by every quota on its way up; less than nothing after a cut.
    pub(super) fn available(&self, tree: &Tree, node: u32, fr: Fr) -> i64 {
        let mut path: Vec<u32> = tree.path(node).collect();
        path.reverse();
        let left = |at: usize| tree.limit[at].saturating_sub(self.nodes[at]);
        let mut available = left(tree.at(tree.root, fr));
        for node in path.into_iter().skip(1) {
            let at = tree.at(node, fr);
            let own = (tree.local[at] - self.nodes[at]).max(0);
            available = left(at).min(own.saturating_add(available));
        }
        available
    }

    /// The first quota on the way up that an amount doesn't fit under.
    pub(super) fn short_of(&self, tree: &Tree, tenant: u32, fr: Fr, wanted: i64) -> Option<Shortage> {
        let mut more = wanted;
        for node in tree.path(tenant) {
            let at = tree.at(node, fr);
            let (used, limit) = (self.nodes[at], tree.limit[at]);
            if used + more > limit {
                return Some(Shortage { node, fr, wanted, used, limit });
            }
            more = (used + more - tree.local[at]).max(0) - (used - tree.local[at]).max(0);
            if more == 0 {
                break;
            }
        }
        None
    }

    pub(super) fn short(&self, tree: &Tree, tenant: u32, wanted: &[(Fr, i64)]) -> Option<Shortage> {
        wanted.iter().find_map(|(fr, amount)| self.short_of(tree, tenant, *fr, *amount))
    }

    /// Where the tenant's nominal quota doesn't cover it.
    pub(super) fn over_nominal(&self, tree: &Tree, tenant: u32, wanted: &[(Fr, i64)]) -> Option<Shortage> {
        wanted.iter().find_map(|(fr, amount)| {
            let (used, limit) = (self.used(tree, tenant, *fr), tree.nominal(tenant, *fr));
            (used + amount > limit).then_some(Shortage {
                node: tenant,
                fr: *fr,
                wanted: *amount,
                used,
                limit,
            })
        })
    }

    /// How much more a node would use with that amount added at a tenant below it.
    fn reaches(&self, tree: &Tree, node: u32, tenant: u32, fr: Fr, amount: i64) -> i64 {
        let mut more = amount;
        for below in tree.path(tenant) {
            if below == node || more == 0 {
                break;
            }
            let at = tree.at(below, fr);
            let (used, local) = (self.nodes[at], tree.local[at]);
            more = (used + more - local).max(0) - (used - local).max(0);
        }
        more
    }

    /// Whether adding it leaves the node within its subtree's quota, where something is wanted.
    pub(super) fn inside(&self, tree: &Tree, node: u32, tenant: u32, wanted: &[(Fr, i64)]) -> bool {
        wanted.iter().all(|(fr, amount)| {
            let at = tree.at(node, *fr);
            self.nodes[at] + self.reaches(tree, node, tenant, *fr, *amount) <= tree.subtree[at]
        })
    }

    pub(super) fn borrows(&self, tree: &Tree, node: u32, fr: Fr) -> bool {
        let at = tree.at(node, fr);
        self.nodes[at] > tree.subtree[at]
    }

    /// The share of a node with that added at a tenant below it.
    pub(super) fn share(&self, tree: &Tree, node: u32, tenant: u32, wanted: &[(Fr, i64)]) -> Share {
        Self::share_of(tree, node, |at, fr| {
            let amount = wanted.iter().find(|(of, _)| *of == fr).map_or(0, |(_, amount)| *amount);
            let more = if amount == 0 { 0 } else { self.reaches(tree, node, tenant, fr, amount) };
            self.nodes[at] + more
        })
    }

    /// The share of a node without what holds gave to it.
    pub(super) fn earned(&self, tree: &Tree, node: u32) -> Share {
        Self::share_of(tree, node, |at, _| self.nodes[at] - self.given[at])
    }

    fn share_of(tree: &Tree, node: u32, used: impl Fn(usize, Fr) -> i64) -> Share {
        let flavors = tree.width.checked_div(tree.resources).unwrap_or(0);
        let by_resource = (0..tree.resources).map(|r| {
            let mut borrowed = 0;
            for flavor in 0..flavors {
                let fr = (flavor * tree.resources + r) as Fr;
                let at = tree.at(node, fr);
                borrowed += i128::from((used(at, fr) - tree.subtree[at]).max(0));
            }
            (borrowed, tree.totals[r])
        });
        Share::of(tree.weights[node as usize], by_resource)
    }

    /// The largest part of a node's quota that is used.
    pub(super) fn fill(&self, tree: &Tree, node: u32) -> Fraction {
        let flavors = tree.width.checked_div(tree.resources).unwrap_or(0);
        let mut fill = Fraction::ZERO;
        for r in 0..tree.resources {
            let quota = tree.subtree_of[node as usize * tree.resources + r];
            if quota > 0 {
                let used = |flavor: usize| {
                    i128::from(self.nodes[tree.at(node, (flavor * tree.resources + r) as Fr)])
                };
                let used: i128 = (0..flavors).map(used).sum();
                fill = fill.max(Fraction::new(used.unsigned_abs(), quota.unsigned_abs()));
            }
        }
        fill
    }
}
