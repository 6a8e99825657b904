//! How full the pool is, node by node, for people to look at.

use super::{
    pool::Pool,
    share::{Share, Weight},
    spec::Name,
};

/// One flavor and resource of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    /// The flavor.
    pub flavor: Name,
    /// The resource.
    pub resource: Name,
    /// What is guaranteed to the node and all below it.
    pub guaranteed: i64,
    /// What is used: admitted, and its end not confirmed.
    pub used: i64,
    /// The most that may be used; none for no limit of its own.
    pub limit: Option<i64>,
    /// How much more may be used now, by every quota on the way up; less than nothing after a quota was cut.
    pub available: i64,
}

/// A tenant or cohort.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFigures {
    /// Its name.
    pub id: Name,
    /// The cohort above it; none for the root.
    pub parent: Option<Name>,
    /// Its weight among its siblings.
    pub weight: Weight,
    /// How much it borrows, by its weight.
    pub share: Share,
    /// Workloads that wait, for a cohort those of all below it.
    pub pending: u64,
    /// Where something is guaranteed, used or limited.
    pub amounts: Vec<Amount>,
}

impl Pool {
    /// Every tenant and cohort, as numbered.
    pub fn figures(&self) -> Vec<NodeFigures> {
        let mut pending = vec![0; self.tree.ids.len()];
        for (node, state) in self.tenants.iter().enumerate() {
            let Some(state) = state else { continue };
            for above in self.tree.path(node as u32) {
                pending[above as usize] += u64::from(state.pending);
            }
        }
        let planned = self.seen(None);
        let nodes = 0..self.tree.ids.len() as u32;
        nodes
            .map(|node| {
                let at = node as usize;
                let parent = self.tree.parents[at];
                NodeFigures {
                    id: self.tree.ids[at].clone(),
                    parent: parent.map(|parent| self.tree.ids[parent as usize].clone()),
                    weight: self.tree.weights[at],
                    share: planned.share(&self.tree, node, node, &[]),
                    pending: pending[at],
                    amounts: self.amounts(node),
                }
            })
            .collect()
    }

    fn amounts(&self, node: u32) -> Vec<Amount> {
        let r = self.resources.len();
        let all = (0..self.tree.width).map(|fr| Amount {
            flavor: self.flavors[fr / r].clone(),
            resource: self.resources[fr % r].clone(),
            guaranteed: self.tree.guaranteed(node, fr as u32),
            used: self.held.used(&self.tree, node, fr as u32),
            limit: self.tree.limit(node, fr as u32),
            available: self.held.available(&self.tree, node, fr as u32),
        });
        all.filter(|it| it.guaranteed != 0 || it.used != 0 || it.limit.is_some_and(|limit| limit != 0))
            .collect()
    }
}
