//! The tree of quotas as people see it: what is set, what of it is used, and who borrows.

use std::sync::Arc;

use dags::ids::TenantId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Limits, lent};
use crate::{
    engine::Engine,
    rows::{QuotaNode, QuotaRow},
    sharing::{Quota, Weight, figures::NodeFigures},
};

/// A tenant or cohort with its quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaFigures {
    /// Who.
    pub node: QuotaNode,
    /// Whether somebody set it. A tenant without a quota has a place below the cohort above all, and so has that cohort.
    pub set: bool,
    /// The cohort that it belongs to; none for the one above all.
    pub cohort: Option<Arc<str>>,
    /// Its weight among its siblings.
    pub weight: Weight,
    /// How much it borrows, in thousandths of all quotas of the resource of which it borrows most, divided by its weight.
    /// None if it borrows with weight 0, or what nobody is guaranteed: then everybody else goes first.
    pub share_per_mille: Option<u64>,
    /// Task instances that wait in the queue, for a cohort those of all its tenants.
    pub waiting: u64,
    /// What it may have at once, whatever its quotas.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// By executor and resource: what is set, used or follows from quotas below it.
    pub amounts: Vec<AmountFigures>,
}

/// An executor's resource: what a tenant or cohort has of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AmountFigures {
    /// The executor.
    pub executor: Arc<str>,
    /// What is counted: `members`, `cpu` in thousandths, `memory` in bytes, `gpu`, `gpu/MODEL`, or a resource of workers.
    pub resource: Arc<str>,
    /// The quota that is set; none if it has none of its own.
    pub quota: Option<Quota>,
    /// What is guaranteed to it and all below it.
    pub guaranteed: i64,
    /// What is used: handed over, and its end not confirmed.
    pub used: i64,
    /// What of it is borrowed.
    pub borrowed: i64,
    /// What of the guaranteed room others use now. What is borrowed together is taken from all who lend, by what each leaves idle.
    #[serde(default)]
    pub lent: i64,
    /// The most that may be used; none without a limit of its own.
    pub limit: Option<i64>,
    /// How much more may be used now, by every quota above it too; less than nothing after a quota was cut.
    pub available: i64,
}

impl Engine {
    /// Every tenant and cohort in the tree of quotas: cohorts first, by name. Empty while no quota is set.
    pub(crate) fn quota_figures(&mut self) -> Vec<QuotaFigures> {
        // What is admitted and not told yet is known to the old pool only.
        if self.queue.sharing.as_ref().is_some_and(|sharing| sharing.stale && sharing.admitted.is_empty()) {
            self.build_sharing(None);
        }
        let Some(sharing) = &self.queue.sharing else { return Vec::new() };
        let mut found: Vec<QuotaFigures> =
            sharing.pool.figures().into_iter().map(|node| self.figures_of(node)).collect();
        found.sort_by(|a, b| a.node.cmp(&b.node));
        lent::tell(&mut found);
        found
    }

    /// A tenant, then the cohorts above it: what others use is seen as a sum.
    pub(crate) fn quota_figures_of(&mut self, tenant: TenantId) -> Vec<QuotaFigures> {
        let mut all = self.quota_figures();
        let mut wanted = Some(QuotaNode::Tenant(tenant));
        let mut found = Vec::new();
        while let Some(node) = wanted.take() {
            let Some(at) = all.iter().position(|figures| figures.node == node) else { break };
            let figures = all.swap_remove(at);
            wanted = figures.cohort.clone().map(QuotaNode::Cohort);
            found.push(figures);
        }
        found
    }

    fn figures_of(&self, figures: NodeFigures) -> QuotaFigures {
        let NodeFigures { id, parent, weight, share, pending, amounts } = figures;
        // No cohort's name looks like a tenant's id.
        let node = match id.parse() {
            Ok(tenant) => QuotaNode::Tenant(TenantId(tenant)),
            Err(_) => QuotaNode::Cohort(id),
        };
        let row: Option<&QuotaRow> = self.queue.quotas.get(&node);
        let amounts = amounts.into_iter().map(|amount| AmountFigures {
            quota: row.and_then(|row| row.quotas.get(&amount.flavor)?.get(&amount.resource)).copied(),
            borrowed: (amount.used - amount.guaranteed).max(0),
            lent: 0,
            executor: amount.flavor,
            resource: amount.resource,
            guaranteed: amount.guaranteed,
            used: amount.used,
            limit: amount.limit,
            available: amount.available,
        });
        let mut amounts: Vec<AmountFigures> = amounts.collect();
        // An executor that isn't there has nothing to give, whatever was set for it.
        let set = row.into_iter().flat_map(|row| row.quotas.iter());
        for (executor, resource, quota) in
            set.flat_map(|(executor, of)| of.iter().map(move |(resource, quota)| (executor, resource, quota)))
        {
            if !amounts.iter().any(|of| (&of.executor, &of.resource) == (executor, resource)) {
                amounts.push(AmountFigures {
                    executor: executor.clone(),
                    resource: resource.clone(),
                    quota: Some(*quota),
                    guaranteed: 0,
                    used: 0,
                    borrowed: 0,
                    lent: 0,
                    limit: None,
                    available: 0,
                });
            }
        }
        QuotaFigures {
            limits: row.map(|row| row.limits.clone()).unwrap_or_default(),
            set: row.is_some(),
            cohort: parent,
            weight,
            share_per_mille: share.per_mille(),
            waiting: pending,
            amounts,
            node,
        }
    }
}
