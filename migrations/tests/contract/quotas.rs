//! Quotas of tenants and cohorts, written and read back.

use std::{collections::BTreeMap, sync::Arc};

use dags::ids::{ShardId, TenantId};
use engine::{
    journal::{Commit, Journal as _},
    quota::{GroupLimit, Limits},
    rows::{Batch, QuotaNode, QuotaRow},
    sharing::{Quota, Quotas},
};

use migrations::store::tenant;

use crate::{
    fixture::{self, batch, owned},
    support::{TestDb, on_both},
};

on_both!(
    suspended_tenants_are_read,
    quotas_come_back_as_they_were_set,
    what_is_damaged_of_quotas_keeps_no_other_back
);

fn quotas(nominal: i64, borrow: Option<i64>, lend: Option<i64>) -> Quotas {
    let of = BTreeMap::from([
        (Arc::from("members"), Quota { nominal, borrow, lend }),
        (Arc::from("memory"), Quota { nominal: 1 << 50, ..Quota::default() }),
    ]);
    BTreeMap::from([(Arc::from("local"), of), (Arc::from("gpu-ü"), BTreeMap::new())])
}

fn row(node: QuotaNode, parent: Option<&str>) -> QuotaRow {
    QuotaRow {
        node,
        parent: parent.map(Into::into),
        weight: "0.25".parse().unwrap(),
        quotas: quotas(3, Some(0), None),
        limits: Limits::default(),
    }
}

fn cohort(name: &str) -> QuotaNode {
    QuotaNode::Cohort(name.into())
}

fn set(rows: &[&QuotaRow]) -> Vec<(QuotaNode, Option<QuotaRow>)> {
    rows.iter().map(|row| (row.node.clone(), Some((*row).clone()))).collect()
}

async fn quotas_come_back_as_they_were_set(test: TestDb) {
    let mut journal = owned(&test.db, "one").await;
    let (root, team) = (row(cohort("root"), None), row(cohort("team"), None));
    let mut own = row(QuotaNode::Tenant(TenantId::DEFAULT), Some("team"));
    let other = row(QuotaNode::Tenant(fixture::OTHER), None);
    let all = set(&[&root, &team, &own, &other]);
    assert_eq!(journal.commit(&Batch { quotas: all, ..batch(1) }).await, Commit::Done);
    let mut expected = vec![root, team, own.clone(), other];
    expected.sort_by(|a, b| a.node.cmp(&b.node));
    assert_eq!(journal.snapshot().await.unwrap().quotas, expected);

    let group = GroupLimit { tasks: 2, users: ["ann".into(), "bö".into()].into() };
    own.limits = Limits {
        tasks: Some(7),
        tasks_per_user: Some(0),
        users: [("ann".into(), 3)].into(),
        groups: [("interns".into(), group)].into(),
        queued: Some(100),
        hold_after_s: None,
        no_hold: true,
    };
    (own.parent, own.weight, own.quotas) = (None, "3".parse().unwrap(), quotas(0, None, Some(7)));
    let mut change = set(&[&own]);
    change.extend([
        (cohort("team"), None),
        (cohort("never"), None),
        (QuotaNode::Tenant(fixture::OTHER), None),
    ]);
    assert_eq!(journal.commit(&Batch { quotas: change, ..batch(2) }).await, Commit::Done);
    let expected = [row(cohort("root"), None), own];
    assert_eq!(journal.snapshot().await.unwrap().quotas, expected);
}

async fn what_is_damaged_of_quotas_keeps_no_other_back(test: TestDb) {
    let mut journal = owned(&test.db, "one").await;
    let own = row(QuotaNode::Tenant(TenantId::DEFAULT), Some("a"));
    let other = row(QuotaNode::Tenant(fixture::OTHER), Some("b"));
    let (a, b, c) = (row(cohort("a"), None), row(cohort("b"), None), row(cohort("c"), Some("b")));
    let all = set(&[&a, &b, &c, &own, &other]);
    assert_eq!(journal.commit(&Batch { quotas: all, ..batch(1) }).await, Commit::Done);
    test.sql("UPDATE quota SET format = 9 WHERE name = 'a'").await;
    test.sql("UPDATE quota SET parent = 'c' WHERE name = 'b'").await;
    test.sql("INSERT INTO quota SELECT shard_id, kind, 'odd', parent, 'heavy', format, quotas FROM quota WHERE name = 'b'")
        .await;
    test.sql("INSERT INTO quota SELECT shard_id, kind, 'no name', parent, weight, format, quotas FROM quota WHERE name = 'b'")
        .await;
    let found = journal.snapshot().await.unwrap().quotas;
    // Of two that lie below each other the first is put on top.
    assert_eq!(found, [b, c, QuotaRow { parent: None, ..own }, other]);
}

async fn suspended_tenants_are_read(test: TestDb) {
    let mut journal = owned(&test.db, "one").await;
    tenant::insert(&test.db, "test", fixture::OTHER, "other", ShardId::DEFAULT).await.unwrap();
    assert!(journal.snapshot().await.unwrap().suspended.is_empty());
    tenant::set_suspended(&test.db, "ann", fixture::OTHER, true).await.unwrap();
    assert_eq!(journal.snapshot().await.unwrap().suspended, [fixture::OTHER].into());
    tenant::set_suspended(&test.db, "ann", fixture::OTHER, false).await.unwrap();
    assert!(journal.snapshot().await.unwrap().suspended.is_empty());
}
