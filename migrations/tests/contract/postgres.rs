//! What only a server can do to us: end our backend, make us wait for a lock.

use dags::{ids::ShardId, time::Timestamp};
use engine::{
    journal::{Commit, Journal as _},
    rows::{Batch, EventRow},
    state::TaskState,
};
use migrations::{
    journal,
    store::log::{self, Log, Month},
};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    fixture::{self, TTL, batch, clock, first_batch, owned, scope, to},
    support::{self, TestDb},
};

/// The backend that waits for a lock, as soon as there is one in this test's schema.
async fn waiting_backend(admin: &mut PgConnection, table: &str) -> i32 {
    loop {
        let text = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = $1::regclass";
        let found: Option<i32> =
            sqlx::query_scalar(text).bind(table).fetch_optional(&mut *admin).await.unwrap();
        if let Some(pid) = found {
            return pid;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_backend_that_dies_in_mid_transaction_leaves_nothing() {
    support::postgres(|test: TestDb| async move {
        fixture::store_version(&test.db, scope(), "d", "one").await;
        let mut journal = owned(&test.db, "one").await;
        let (first, _, task) = first_batch();
        assert_eq!(journal.commit(&first).await, Commit::Done);
        let before = journal.snapshot().await.unwrap();

        let mut admin = PgConnection::connect(&test.url).await.unwrap();
        let mut blocker = PgConnection::connect(&test.url).await.unwrap();
        blocker.execute("BEGIN; LOCK TABLE task_instance IN EXCLUSIVE MODE").await.unwrap();
        let second = Batch {
            dags: vec![fixture::dag(first.dags[0].tenant, "e", "one")],
            tasks: vec![to(&task, TaskState::Queued)],
            ..batch(2)
        };
        let killed = async {
            let pid = waiting_backend(&mut admin, "task_instance").await;
            sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&mut admin).await.unwrap();
        };
        let (commit, ()) = tokio::join!(journal.commit(&second), killed);
        assert!(matches!(commit, Commit::Failed(_)), "{commit:?}");
        assert_eq!(journal.snapshot().await.unwrap(), before);
        assert_eq!(journal.position().await.unwrap().batch, 1);
        blocker.execute("ROLLBACK").await.unwrap();
        // The same batch again, over a new connection, which is on record for a successor.
        let second = Batch { dags: Vec::new(), ..second };
        assert_eq!(journal.commit(&second).await, Commit::Done);
        assert_eq!(journal.snapshot().await.unwrap().runs[0].1[0].state, TaskState::Queued);
    })
    .await;
}

#[tokio::test]
async fn a_lock_that_is_not_to_be_had_is_a_failure_and_writes_nothing() {
    support::postgres(|test: TestDb| async move {
        let mut journal = owned(&test.db, "one").await;
        let mut blocker = PgConnection::connect(&test.url).await.unwrap();
        blocker.execute("BEGIN; LOCK TABLE run IN EXCLUSIVE MODE").await.unwrap();
        let (first, ..) = first_batch();
        let commit = journal.commit(&first).await;
        assert!(matches!(&commit, Commit::Failed(why) if why.contains("lock timeout")), "{commit:?}");
        assert_eq!(journal.position().await.unwrap().batch, 0);
        blocker.execute("ROLLBACK").await.unwrap();
        assert_eq!(journal.commit(&first).await, Commit::Done);
    })
    .await;
}

#[tokio::test]
async fn a_paused_owner_does_not_hold_up_its_successor() {
    support::postgres(|test: TestDb| async move {
        let first = owned(&test.db, "one").await;
        // The owner's process was stopped in the middle of a transaction, and its server waits longer than ours does.
        let options: sqlx::postgres::PgConnectOptions = test.url.parse().unwrap();
        let mut paused =
            PgConnection::connect_with(&options.application_name("updraft owner")).await.unwrap();
        paused.execute("UPDATE shard SET backend_pid = pg_backend_pid()").await.unwrap();
        first.lease().renew(dags::time::Span::ZERO, &clock).await.unwrap();
        paused.execute("BEGIN; UPDATE shard SET batch = batch + 1").await.unwrap();
        let mut second = journal::acquire(&test.db, ShardId::DEFAULT, "two", TTL, &clock).await.unwrap();
        assert_eq!(second.commit(&batch(1)).await, Commit::Done);
        assert!(paused.execute("COMMIT").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_month_that_is_read_is_dropped_later_and_nobody_who_writes_waits_for_it() {
    support::postgres(|test: TestDb| async move {
        let mut journal = owned(&test.db, "one").await;
        let (first, run, _) = first_batch();
        assert_eq!(journal.commit(&first).await, Commit::Done);
        let far = Timestamp(clock().0 + 70 * 24 * 3_600 * 1_000_000);
        let mut reader = PgConnection::connect(&test.url).await.unwrap();
        reader.execute("BEGIN; SELECT COUNT(*) FROM event").await.unwrap();
        assert_eq!(log::drop_month(&test.db, Log::Events, far).await.unwrap(), Month::Held);
        let event = EventRow {
            tenant: run.tenant,
            run: run.run,
            dag_id: run.dag_id.clone(),
            at: clock(),
            transitions: Vec::new(),
        };
        // The owner gives up after 2 s: it would see it as a failure.
        let dropping = async {
            for _ in 0..5 {
                assert_eq!(log::drop_month(&test.db, Log::Events, far).await.unwrap(), Month::Held);
            }
        };
        let committing = async {
            for number in 2..40 {
                let batch = Batch { events: vec![event.clone()], ..batch(number) };
                assert_eq!(journal.commit(&batch).await, Commit::Done);
            }
        };
        tokio::join!(dropping, committing);
        reader.execute("COMMIT").await.unwrap();
        assert_eq!(log::drop_month(&test.db, Log::Events, far).await.unwrap(), Month::Dropped);
    })
    .await;
}

#[tokio::test]
async fn updates_of_task_instances_stay_on_their_page() {
    support::postgres(|test: TestDb| async move {
        let mut journal = owned(&test.db, "one").await;
        let (mut first, run, _) = first_batch();
        first.new_tasks = (0..200).map(|n| fixture::task(&run, "a", n)).collect();
        assert_eq!(journal.commit(&first).await, Commit::Done);
        // Every fourth row, twice: what fillfactor leaves room for even if nothing can be pruned meanwhile.
        let mut rows: Vec<_> = first.new_tasks.into_iter().step_by(4).collect();
        for (number, state) in [(2, TaskState::Scheduled), (3, TaskState::Running)] {
            let tasks: Vec<_> = rows.iter().map(|row| to(row, state)).collect();
            rows = tasks.iter().map(|changed| changed.row.clone()).collect();
            assert_eq!(journal.commit(&Batch { tasks, ..batch(number) }).await, Commit::Done);
        }
        // The server counts what a backend did when that backend ends.
        drop(journal);
        let counted = async |what: &str| {
            let text =
                format!("SELECT {what} FROM pg_stat_all_tables WHERE relid = 'task_instance'::regclass");
            test.number(&text).await
        };
        while counted("n_tup_upd").await < 100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(counted("n_tup_hot_upd").await, 100);
    })
    .await;
}
