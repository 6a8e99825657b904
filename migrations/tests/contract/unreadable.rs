//! Rows that can't be read: they are left out, and everything else comes.

use dags::{ids::TenantId, time::Timestamp};
use engine::{
    command::{Backfill, Reprocess},
    journal::{Commit, Journal as _},
    rows::{BackfillRow, Batch, PendingAssetRow, PoolRow, QuarantineRow, Subject},
};
use migrations::{
    policy::Visible,
    store::{
        Window, asset, backfill, dag,
        dag::DagFilter,
        event, pool,
        run::{self, RunFilter},
        task_instance::{self, TaskFilter},
    },
};

use crate::{
    fixture::{self, batch, dag_id, first_batch, owned, scope},
    support::{TestDb, on_both},
};

on_both!(
    what_cant_be_read_beside_runs_stops_nobody,
    lists_come_without_what_cant_be_read,
    a_dag_is_shown_without_its_model,
);

fn pool_row(name: &str) -> PoolRow {
    PoolRow { tenant: TenantId::DEFAULT, name: name.parse().unwrap(), slots: 3, include_deferred: false }
}

fn pending(dag: &str) -> PendingAssetRow {
    PendingAssetRow { tenant: TenantId::DEFAULT, dag_id: dag_id(dag), asset: "a".into(), at: Timestamp(7) }
}

fn backfill_row(id: i64) -> BackfillRow {
    let (from, to, conf) = (Timestamp(7), Timestamp(7), serde_json::Map::new());
    let (reprocess, reverse, max_active_runs) = (Reprocess::None, false, 1);
    let spec = Backfill { dag_id: dag_id("d"), from, to, reprocess, reverse, max_active_runs, conf };
    BackfillRow {
        tenant: TenantId::DEFAULT,
        id,
        spec: spec.into(),
        paused: false,
        created_at: Timestamp(7),
        ended_at: None,
        next_date: None,
        made: 0,
    }
}

async fn what_cant_be_read_beside_runs_stops_nobody(test: TestDb) {
    fixture::store_version(&test.db, scope(), "d", "one").await;
    let mut journal = owned(&test.db, "one").await;
    let (first, run, _) = first_batch();
    let pools = vec![pool_row("good"), pool_row("odd")];
    let pending_assets = vec![pending("d"), pending("e")];
    let backfills = vec![backfill_row(1), backfill_row(2)];
    let continuations = vec![engine::rows::ContinuationRow::new(9, serde_json::json!({}))];
    let first = Batch { pools, pending_assets, backfills, continuations, ..first };
    assert_eq!(journal.commit(&first).await, Commit::Done);
    match test.db {
        migrations::Db::Sqlite(_) => {
            test.sql("PRAGMA ignore_check_constraints = 1; UPDATE pool SET slots = -7 WHERE name = 'odd'")
                .await;
        }
        migrations::Db::Postgres(_) => {
            test.sql("ALTER TABLE pool DROP CONSTRAINT pool_slots_check").await;
            test.sql("UPDATE pool SET slots = -7 WHERE name = 'odd'").await;
        }
    }
    test.sql("UPDATE pending_asset SET dag_id = '' WHERE dag_id = 'e'").await;
    test.sql("UPDATE backfill SET format = 9 WHERE id = 2").await;
    test.sql("UPDATE continuation SET work = '{'").await;
    let snapshot = journal.snapshot().await.unwrap();
    assert_eq!(snapshot.runs.iter().map(|(run, _)| run).collect::<Vec<_>>(), [&run]);
    assert!(snapshot.broken.is_empty(), "{:?}", snapshot.broken);
    assert_eq!(snapshot.pools, [pool_row("good")]);
    let why = &snapshot.unreadable_pools[&(TenantId::DEFAULT, "odd".parse().unwrap())];
    assert!(why.contains("slots -7"), "{why}");
    assert_eq!(snapshot.pending_assets, [pending("d")]);
    assert_eq!(snapshot.backfills, [backfill_row(1)]);
    let why = &snapshot.unreadable_backfills[&(TenantId::DEFAULT, 2)];
    assert!(why.contains("format 9"), "{why}");
    let [work] = &snapshot.continuations[..] else { panic!("its number is free") };
    assert_eq!((work.id, &work.work), (9, &None));

    let db = &test.db;
    assert_eq!(pool::list(db, scope()).await.unwrap(), [pool_row("good")]);
    let listed = backfill::list(db, scope(), &Visible::all(), None, Window::default()).await.unwrap();
    assert_eq!((listed.rows, listed.total), (vec![backfill_row(1)], 2));
    assert_eq!(asset::pending(db, scope(), &dag_id("d")).await.unwrap(), [pending("d")]);

    let mark = QuarantineRow { subject: Subject::Run(run.tenant, run.run), reason: Some("odd".into()) };
    assert_eq!(journal.commit(&Batch { quarantine: vec![mark], ..batch(2) }).await, Commit::Done);
    let left_alone = journal.snapshot().await.unwrap().left_alone;
    assert_eq!(left_alone.into_iter().collect::<Vec<_>>(), [run.run]);
    let dag = Subject::Dag(run.tenant, run.dag_id.clone());
    let marks = vec![
        QuarantineRow { subject: Subject::Run(run.tenant, run.run), reason: None },
        QuarantineRow { subject: dag, reason: Some("odd".into()) },
    ];
    assert_eq!(journal.commit(&Batch { quarantine: marks, ..batch(3) }).await, Commit::Done);
    let left_alone = journal.snapshot().await.unwrap().left_alone;
    assert_eq!(left_alone.into_iter().collect::<Vec<_>>(), [run.run], "with its DAG");
}

async fn lists_come_without_what_cant_be_read(test: TestDb) {
    let db = &test.db;
    fixture::store_version(db, scope(), "d", "one").await;
    let mut journal = owned(db, "one").await;
    let (mut first, run, task) = first_batch();
    let other = fixture::run(TenantId::DEFAULT, "d", "r2");
    first.new_runs.push(other.clone());
    first.new_tasks.push(fixture::task(&run, "b", -1));
    assert_eq!(journal.commit(&first).await, Commit::Done);

    test.sql("UPDATE run SET conf = '{' WHERE run_name = 'r1'").await;
    let list = async || run::list(db, scope(), &RunFilter::default(), Window::default()).await.unwrap();
    let shown = list().await.rows;
    let broken = shown.iter().find(|row| row.run_name == run.run_name).unwrap();
    assert!(broken.conf.is_empty());
    assert!(broken.reason.as_deref().unwrap().starts_with("unreadable: table run"), "{:?}", broken.reason);
    assert!(shown.contains(&other));
    let found = run::by_name(db, scope(), &run.dag_id, &run.run_name).await.unwrap();
    assert_eq!(found.as_ref(), Some(broken));
    assert!(run::by_id(db, scope(), run.run).await.is_err(), "nobody works with half a run");

    test.sql("UPDATE run SET dag_id = '' WHERE run_name = 'r1'").await;
    let page = list().await;
    assert_eq!((page.rows, page.total), (vec![other], 2));
    let counts = run::counts(db, scope(), &[], &Visible::all()).await.unwrap();
    assert_eq!(counts.keys().collect::<Vec<_>>(), [&dag_id("d")]);

    test.sql("UPDATE task_instance SET pool = '' WHERE task_id = 'b'").await;
    let tasks = task_instance::list(db, scope(), run.run, &TaskFilter::default(), Window::default()).await;
    assert_eq!(tasks.unwrap().rows, [task]);
    test.sql("UPDATE event SET format = 9").await;
    assert_eq!(event::of_run(db, scope(), run.run).await.unwrap(), []);
}

async fn a_dag_is_shown_without_its_model(test: TestDb) {
    let db = &test.db;
    fixture::store_version(db, scope(), "d", "one").await;
    fixture::store_version(db, scope(), "e", "one").await;
    let mut journal = owned(db, "one").await;
    let dags = ["d", "e"].map(|name| fixture::dag(TenantId::DEFAULT, name, "one"));
    assert_eq!(journal.commit(&Batch { dags: dags.to_vec(), ..batch(1) }).await, Commit::Done);
    test.sql("UPDATE dag_version SET format = 9 WHERE dag_id = 'd'").await;
    let mark = Subject::Dag(TenantId::DEFAULT, dag_id("d"));
    let mark = QuarantineRow { subject: mark, reason: Some("no model".into()) };
    assert_eq!(journal.commit(&Batch { quarantine: vec![mark], ..batch(2) }).await, Commit::Done);
    let page = dag::list(db, scope(), &DagFilter::default(), Window::default()).await.unwrap();
    let [broken, good] = &page.rows[..] else { panic!("{:?}", page.rows) };
    assert_eq!((&broken.row, broken.quarantine.as_deref()), (&dags[0], Some("no model")));
    assert!(broken.model().unwrap_err().to_string().contains("format 9"));
    assert!(broken.tags().is_empty());
    assert_eq!((&good.row, good.model().unwrap()), (&dags[1], &fixture::model("e", "one")));
    assert_eq!(dag::get(db, scope(), &dag_id("d")).await.unwrap().as_ref(), Some(broken));
    test.sql("UPDATE dag_version SET model = 'x' WHERE dag_id = 'd'").await;
    assert!(dag::tags_of(db, scope(), &dag_id("d")).await.unwrap().is_empty());
}
