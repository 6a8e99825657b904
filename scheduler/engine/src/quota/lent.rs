//! Who lends what. The ledger knows what a cohort's members borrow together, not from whom: each who leaves something idle lends
//! the same part of it.

use std::{collections::BTreeMap, sync::Arc};

use super::{ROOT, figures::QuotaFigures};
use crate::rows::QuotaNode;

/// An executor and a resource of it.
type Of = (Arc<str>, Arc<str>);

/// Says of each amount how much of it is lent.
pub(super) fn tell(figures: &mut [QuotaFigures]) {
    let mut members: BTreeMap<Option<Arc<str>>, Vec<usize>> = BTreeMap::new();
    for (at, it) in figures.iter().enumerate() {
        members.entry(it.cohort.clone()).or_default().push(at);
    }
    let mut cohorts: Vec<Arc<str>> = vec![ROOT.into()];
    while let Some(cohort) = cohorts.pop() {
        let Some(of) = members.get(&Some(cohort.clone())) else { continue };
        tell_members(figures, &cohort, of);
        cohorts.extend(of.iter().filter_map(|at| match &figures[*at].node {
            QuotaNode::Cohort(name) => Some(name.clone()),
            QuotaNode::Tenant(_) => None,
        }));
    }
}

fn tell_members(figures: &mut [QuotaFigures], cohort: &Arc<str>, members: &[usize]) {
    let whole = figures.iter().find(|it| matches!(&it.node, QuotaNode::Cohort(name) if name == cohort));
    let Some(whole) = whole else { return };
    let above: BTreeMap<Of, (i64, i64, i64)> = whole
        .amounts
        .iter()
        .map(|of| ((of.executor.clone(), of.resource.clone()), (of.guaranteed, of.borrowed, of.lent)))
        .collect();
    for ((executor, resource), (guaranteed, borrowed_above, lent_above)) in above {
        let mut idle: Vec<(usize, usize, i64)> = Vec::new();
        // What belongs to nobody in particular is used first.
        let (mut common, mut borrowed) = (guaranteed, 0);
        for member in members {
            for (n, of) in figures[*member].amounts.iter().enumerate() {
                if of.executor != executor || of.resource != resource {
                    continue;
                }
                let lends = of.quota.and_then(|quota| quota.lend);
                let most = lends.map_or(of.guaranteed, |lend| of.guaranteed.min(lend));
                common -= most;
                borrowed += of.borrowed;
                idle.push((*member, n, most.min(of.guaranteed - of.used).max(0)));
            }
        }
        let lendable: i64 = idle.iter().map(|(.., idle)| idle).sum();
        let mut left = (borrowed + lent_above - common.max(0) - borrowed_above).clamp(0, lendable);
        let mut rest = lendable;
        for (member, n, idle) in idle {
            if rest == 0 {
                break;
            }
            // The last one takes what rounding left.
            let part = i64::try_from(i128::from(left) * i128::from(idle) / i128::from(rest)).unwrap_or(left);
            figures[member].amounts[n].lent = part;
            (left, rest) = (left - part, rest - idle);
        }
    }
}
