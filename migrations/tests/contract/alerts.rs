//! Alerts: inserted by batches, delivered by whoever takes them.

use dags::{
    ids::{AlertId, TenantId},
    time::{Span, Timestamp},
};
use engine::{
    journal::{Commit, Journal as _},
    rows::{AlertKind, AlertRow, Batch},
};
use migrations::{
    TenantScope,
    store::{
        Window,
        alert::{self, Delivery, DeliveryState},
    },
};

use crate::{
    fixture::{self, OTHER, batch, first_batch, owned, scope, task_id},
    support::{TestDb, on_both},
};

on_both!(
    a_cause_is_one_alert,
    an_alert_is_taken_by_one_and_comes_back_if_nothing_is_noted,
    a_failed_delivery_is_due_again_later,
    a_shard_delivers_the_alerts_of_its_tenants_only,
    one_notice_stands_for_those_that_are_held_back,
    an_alert_that_cant_be_read_keeps_no_other_back,
);

const ALL: Window = Window { limit: 100, offset: 0 };
const MINUTE: Span = Span::seconds(60);

fn alert(cause: &str, tenant: TenantId) -> AlertRow {
    let run = fixture::run(tenant, "d", "r1");
    AlertRow {
        tenant,
        id: AlertId::derive(run.run, cause, "oncall"),
        route: "oncall".into(),
        what: AlertKind::Failure,
        dag_id: run.dag_id,
        run: run.run,
        run_name: run.run_name,
        task: Some((task_id("a"), -1, 2)),
        reason: Some("exit code 1\u{0}".into()),
        at: Timestamp(7),
        chain_depth: 4,
    }
}

async fn a_cause_is_one_alert(test: TestDb) {
    let db = &test.db;
    let mut journal = owned(db, "one").await;
    let (first, ..) = first_batch();
    let twice = vec![alert("one", TenantId::DEFAULT), alert("one", TenantId::DEFAULT)];
    assert_eq!(journal.commit(&Batch { alerts: twice, ..first }).await, Commit::Done);
    let taken = alert::take_due(db, journal.scope(), MINUTE, 10).await.unwrap();
    assert!(alert::note(db, &taken[0], &Delivery::Sent).await.unwrap());
    let again = AlertRow { at: Timestamp(9), ..alert("one", TenantId::DEFAULT) };
    let run = AlertRow { task: None, reason: None, ..alert("two", TenantId::DEFAULT) };
    assert_eq!(journal.commit(&Batch { alerts: vec![again, run.clone()], ..batch(2) }).await, Commit::Done);
    let page = alert::list(db, scope(), None, ALL).await.unwrap();
    assert_eq!(page.total, 2);
    let sent = page.rows.iter().find(|alert| alert.state == DeliveryState::Sent).unwrap();
    let stored = AlertRow { reason: Some("exit code 1\u{fffd}".into()), ..alert("one", TenantId::DEFAULT) };
    assert_eq!((&sent.row, sent.tries), (&stored, 1));
    assert!(sent.ended_at.is_some());
    let pending = alert::list(db, scope(), Some(DeliveryState::Pending), ALL).await.unwrap();
    assert_eq!((pending.total, &pending.rows[0].row), (1, &run));
    assert_eq!(alert::list(db, TenantScope::new(OTHER), None, ALL).await.unwrap().total, 0);
}

async fn an_alert_is_taken_by_one_and_comes_back_if_nothing_is_noted(test: TestDb) {
    let db = &test.db;
    let mut journal = owned(db, "one").await;
    let alerts: Vec<_> = ["one", "two", "three"].map(|cause| alert(cause, TenantId::DEFAULT)).into();
    assert_eq!(journal.commit(&Batch { alerts, ..batch(1) }).await, Commit::Done);
    let shard = journal.scope();
    let (one, two) =
        tokio::join!(alert::take_due(db, shard, MINUTE, 2), alert::take_due(db, shard, MINUTE, 2));
    assert_eq!(one.unwrap().len() + two.unwrap().len(), 3, "nobody takes what another has taken");
    assert!(alert::take_due(db, shard, MINUTE, 10).await.unwrap().is_empty());

    let alerts = vec![alert("four", TenantId::DEFAULT)];
    assert_eq!(journal.commit(&Batch { alerts, ..batch(2) }).await, Commit::Done);
    let first = alert::take_due(db, shard, Span::ZERO, 10).await.unwrap().remove(0);
    // Whoever took it is too late: it is taken again, and what the first one notes counts no more.
    let again = alert::take_due(db, shard, MINUTE, 10).await.unwrap().remove(0);
    assert_eq!((again.row.id, first.tries, again.tries), (first.row.id, 1, 2));
    assert!(!alert::note(db, &first, &Delivery::Sent).await.unwrap());
    assert!(alert::note(db, &again, &Delivery::Sent).await.unwrap());
    assert!(!alert::note(db, &again, &Delivery::Sent).await.unwrap(), "it is noted once");
}

async fn a_failed_delivery_is_due_again_later(test: TestDb) {
    let db = &test.db;
    let mut journal = owned(db, "one").await;
    let alerts = vec![alert("one", TenantId::DEFAULT)];
    assert_eq!(journal.commit(&Batch { alerts, ..batch(1) }).await, Commit::Done);
    let shard = journal.scope();
    assert_eq!(alert::next_due(db, shard).await.unwrap(), Some(Timestamp(7)));
    let taken = alert::take_due(db, shard, MINUTE, 10).await.unwrap();
    let again = Delivery::Again { error: "no answer".to_owned(), after: Span::seconds(3_600) };
    assert!(alert::note(db, &taken[0], &again).await.unwrap());
    assert!(alert::take_due(db, shard, MINUTE, 10).await.unwrap().is_empty());
    let due = alert::next_due(db, shard).await.unwrap().unwrap();
    assert!(due.since(fixture::clock()) > Span::seconds(3_500), "{due}");
    let row = alert::list(db, scope(), None, ALL).await.unwrap().rows.remove(0);
    assert_eq!((row.state, row.error.as_deref()), (DeliveryState::Pending, Some("no answer")));
    assert!(alert::note(db, &row, &Delivery::GivenUp { error: "never".to_owned() }).await.unwrap());
    let row = alert::list(db, scope(), Some(DeliveryState::Failed), ALL).await.unwrap().rows.remove(0);
    assert_eq!((row.error.as_deref(), row.ended_at.is_some()), (Some("never"), true));
    assert_eq!(alert::next_due(db, shard).await.unwrap(), None);
}

async fn a_shard_delivers_the_alerts_of_its_tenants_only(test: TestDb) {
    let db = &test.db;
    let mut journal = owned(db, "one").await;
    // No tenant of that identity belongs to the shard.
    let alerts = vec![alert("one", OTHER)];
    assert_eq!(journal.commit(&Batch { alerts, ..batch(1) }).await, Commit::Done);
    assert!(alert::take_due(db, journal.scope(), MINUTE, 10).await.unwrap().is_empty());
    assert_eq!(alert::next_due(db, journal.scope()).await.unwrap(), None);
}

async fn one_notice_stands_for_those_that_are_held_back(test: TestDb) {
    let db = &test.db;
    let mut journal = owned(db, "one").await;
    let shard = journal.scope();
    let mut alerts: Vec<_> =
        ["one", "two", "three", "four"].map(|cause| alert(cause, TenantId::DEFAULT)).into();
    (alerts[1].what, alerts[1].at) = (AlertKind::Retry, Timestamp(5));
    alerts[3].route = "other".into();
    assert_eq!(journal.commit(&Batch { alerts, ..batch(1) }).await, Commit::Done);
    for taken in alert::take_due(db, shard, MINUTE, 10).await.unwrap() {
        assert!(!taken.is_held());
        let held = Delivery::Again { error: alert::HELD.to_owned(), after: Span::ZERO };
        assert!(alert::note(db, &taken, &held).await.unwrap());
    }
    assert!(alert::take_due(db, shard, Span::ZERO, 10).await.unwrap().iter().all(alert::Alert::is_held));
    let held = alert::held_back(db, scope(), "oncall").await.unwrap();
    assert_eq!(held.kinds, [(AlertKind::Failure, 2), (AlertKind::Retry, 1)]);
    assert_eq!((held.total(), held.first, held.last), (3, Timestamp(5), Timestamp(7)));
    assert_eq!(alert::held_back(db, TenantScope::new(OTHER), "oncall").await.unwrap().total(), 0);

    let again = Delivery::Again { error: "no answer".to_owned(), after: Span::seconds(3_600) };
    assert_eq!(alert::note_held_back(db, scope(), "oncall", &again).await.unwrap(), 3);
    assert_eq!(alert::held_back(db, scope(), "oncall").await.unwrap(), held, "they wait together");
    assert_eq!(alert::take_due(db, shard, MINUTE, 10).await.unwrap().len(), 1);
    assert_eq!(alert::note_held_back(db, scope(), "oncall", &Delivery::Sent).await.unwrap(), 3);
    let failed = alert::list(db, scope(), Some(DeliveryState::Failed), ALL).await.unwrap();
    assert_eq!(failed.total, 3);
    assert!(failed.rows.iter().all(|row| row.error.as_deref().unwrap().starts_with("left out: ")));
    assert_eq!(alert::held_back(db, scope(), "oncall").await.unwrap().total(), 0);
    assert_eq!(alert::held_back(db, scope(), "other").await.unwrap().total(), 1);
}

async fn an_alert_that_cant_be_read_keeps_no_other_back(test: TestDb) {
    let db = &test.db;
    let mut journal = owned(db, "one").await;
    let shard = journal.scope();
    let alerts: Vec<_> = ["one", "two"].map(|cause| alert(cause, TenantId::DEFAULT)).into();
    assert_eq!(journal.commit(&Batch { alerts, ..batch(1) }).await, Commit::Done);
    let first = alert("one", TenantId::DEFAULT).id.0.simple().to_string();
    let of_one = match db {
        migrations::Db::Sqlite(_) => format!("hex(id) = upper('{first}')"),
        migrations::Db::Postgres(_) => format!("id = '{first}'"),
    };
    test.sql(&format!("UPDATE alert SET dag_id = '' WHERE {of_one}")).await;
    let taken = alert::take_due(db, shard, Span::ZERO, 10).await.unwrap();
    assert_eq!(
        taken.iter().map(|taken| taken.row.id).collect::<Vec<_>>(),
        [alert("two", TenantId::DEFAULT).id]
    );
    assert_eq!(
        test.number("SELECT COUNT(*) FROM alert WHERE state = 'failed' AND error LIKE '%can''t read%'").await,
        1
    );
    assert_eq!(alert::list(db, scope(), None, ALL).await.unwrap().rows.len(), 1);
}
