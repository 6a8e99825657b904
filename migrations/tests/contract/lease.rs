//! Who owns a shard.

use dags::{
    ids::ShardId,
    time::{Span, Timestamp},
};
use engine::journal::{Commit, Journal as _, Position};
use migrations::{Error, journal};

use crate::{
    fixture::{self, TTL, batch, clock, owned},
    support::{TestDb, on_both},
};

on_both!(
    a_second_owner_waits_for_the_lease_and_fences_the_first,
    the_same_owner_takes_over_at_once,
    a_lease_is_renewed_and_given_back,
    a_clock_that_differs_gets_no_lease,
    an_unknown_shard_is_an_error,
);

async fn a_second_owner_waits_for_the_lease_and_fences_the_first(test: TestDb) {
    let mut first = owned(&test.db, "one").await;
    assert_eq!(first.commit(&batch(1)).await, Commit::Done);
    let refused = journal::acquire(&test.db, ShardId::DEFAULT, "two", TTL, &clock).await.unwrap_err();
    let Error::Owned { owner, remaining, .. } = refused else { panic!("{refused}") };
    assert_eq!(owner, "one");
    assert!(remaining > Span::seconds(20) && remaining <= TTL, "{remaining}");

    // A lease of no length is over at once.
    first.lease().renew(Span::ZERO, &clock).await.unwrap();
    let mut second = owned(&test.db, "two").await;
    assert_eq!(second.fence().epoch, first.fence().epoch + 1);
    assert_eq!(second.snapshot().await.unwrap().batch, 1);
    assert_eq!(first.commit(&batch(2)).await, Commit::Fenced);
    assert_eq!(first.position().await.unwrap(), Position { ours: false, batch: 1 });
    assert!(matches!(first.lease().renew(TTL, &clock).await, Err(Error::Fenced { .. })));
    assert!(!first.lease().is_held().await.unwrap());
    assert!(!first.lease().release().await.unwrap());
    assert_eq!(second.commit(&batch(2)).await, Commit::Done);
    // What the first repeats is refused even though its number is there.
    assert_eq!(first.commit(&batch(2)).await, Commit::Fenced);
}

async fn the_same_owner_takes_over_at_once(test: TestDb) {
    let mut before_restart = owned(&test.db, "one").await;
    let mut after_restart = owned(&test.db, "one").await;
    assert_eq!(before_restart.commit(&batch(1)).await, Commit::Fenced);
    assert_eq!(after_restart.commit(&batch(1)).await, Commit::Done);
}

async fn a_lease_is_renewed_and_given_back(test: TestDb) {
    let mut first = owned(&test.db, "one").await;
    let lease = first.lease();
    lease.renew(TTL, &clock).await.unwrap();
    assert!(lease.is_held().await.unwrap());
    assert!(lease.release().await.unwrap());
    assert_eq!(first.commit(&batch(1)).await, Commit::Fenced);
    let mut second = owned(&test.db, "two").await;
    assert_eq!(second.commit(&batch(1)).await, Commit::Done);
}

async fn a_clock_that_differs_gets_no_lease(test: TestDb) {
    let ahead = || Timestamp(clock().0 + 2_000_000);
    let behind = || Timestamp(clock().0 - 2_000_000);
    let refused = journal::acquire(&test.db, ShardId::DEFAULT, "one", TTL, &ahead).await.unwrap_err();
    assert!(refused.to_string().contains("ahead of the database's"), "{refused}");
    let refused = journal::acquire(&test.db, ShardId::DEFAULT, "one", TTL, &behind).await.unwrap_err();
    assert!(refused.to_string().contains("behind the database's"), "{refused}");
    let journal = fixture::owned(&test.db, "one").await;
    assert!(matches!(journal.lease().renew(TTL, &ahead).await, Err(Error::Clock { .. })));
    let nearly = || Timestamp(clock().0 + 900_000);
    journal.lease().renew(TTL, &nearly).await.unwrap();
}

async fn an_unknown_shard_is_an_error(test: TestDb) {
    let unknown = ShardId(fixture::OTHER.0);
    let refused = journal::acquire(&test.db, unknown, "one", TTL, &clock).await.unwrap_err();
    assert!(matches!(refused, Error::NoShard { .. }), "{refused}");
}
