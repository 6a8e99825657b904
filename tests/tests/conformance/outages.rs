//! What is particular to a fleet: the broker between the scheduler and the worker is lost at each step of an attempt, and workers join
//! and leave.

use engine::dispatch::Outcome;
use executor::{
    Executor as _,
    conformance::{Bench, Harness as _, Run},
};
use tests::proxy::Flow;

use crate::fleet::Fleet;

type Case = (&'static str, fn(Bench<Fleet>) -> Run);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        ("the_broker_may_be_lost_at_each_step", |bench| Box::pin(the_broker_may_be_lost_at_each_step(bench))),
        ("capacity_follows_workers", |bench| Box::pin(capacity_follows_workers(bench))),
    ]
}

/// When the way to the broker is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    BeforeTheOrder,
    AfterTheOrder,
    AfterTheStart,
    BeforeTheEnd,
    AfterTheEnd,
}

async fn the_broker_may_be_lost_at_each_step(mut bench: Bench<Fleet>) {
    for when in [
        When::BeforeTheOrder,
        When::AfterTheOrder,
        When::AfterTheStart,
        When::BeforeTheEnd,
        When::AfterTheEnd,
    ] {
        let name = format!("{when:?}");
        let pipe = bench.pipe(&name);
        let work = bench.bash(&format!("echo run >> runs-{name}; read < {name}; echo over > over-{name}"));
        let id = work.dispatch.id;
        let cut = |bench: &Bench<Fleet>, now: When| {
            if now == when {
                bench.harness.way.set(Flow::Cut);
            }
        };
        let open = |bench: &Bench<Fleet>| bench.harness.way.set(Flow::Open);
        cut(&bench, When::BeforeTheOrder);
        bench.submit(work.clone()).await;
        cut(&bench, When::AfterTheOrder);
        open(&bench);
        // An order may be lost with its connection; the engine sends it again as it finds out.
        bench.submit(work.clone()).await;
        let executor = bench.harness.executor();
        while executor.list().await.is_ok_and(|held| held.iter().all(|held| held.id != id)) {
            bench.submit(work.clone()).await;
        }
        bench.started(id).await;
        cut(&bench, When::AfterTheStart);
        open(&bench);
        cut(&bench, When::BeforeTheEnd);
        bench.release(pipe).await;
        let over = bench.file(&format!("over-{name}"));
        bench.wait_for("the attempt's end", || over.exists()).await;
        open(&bench);
        assert_eq!(bench.ended(id).await.outcome, Outcome::Success, "{when:?}");
        cut(&bench, When::AfterTheEnd);
        executor.confirm(id, 0).await.unwrap();
        open(&bench);
        assert_eq!(std::fs::read_to_string(bench.file(&format!("runs-{name}"))).unwrap(), "run\n");
    }
    bench.holds_nothing().await;
}

async fn capacity_follows_workers(mut bench: Bench<Fleet>) {
    let alone = bench.harness.executor().capacity().await.unwrap();
    let first = bench.harness.workers();
    let drain = bench.harness.join("worker2", 7).await;
    has_workers(&bench, 2).await;
    let both = bench.harness.executor().capacity().await.unwrap();
    assert_eq!((both.slots, both.memory_bytes), (alone.slots + 7, 2 * alone.memory_bytes));

    // One that is drained counts until what it runs has ended.
    let second = bench.harness.workers().difference(&first).copied().next().unwrap();
    let pipe = bench.pipe("go");
    let work = bench.bash("read < go; exit 3");
    let id = work.dispatch.id;
    bench.harness.on(second).submit(work).await.unwrap();
    bench.started(id).await;
    drain.cancel();
    let (_, end) = bench.run("true").await;
    assert_eq!(end.outcome, Outcome::Success, "the other one works on");
    assert_eq!(bench.harness.executor().capacity().await.unwrap(), both);
    bench.release(pipe).await;
    let end = bench.ended(id).await;
    assert_eq!((end.outcome, end.exit_code), (Outcome::Failed, Some(3)));
    bench.harness.on(second).confirm(id, 0).await.unwrap();
    has_workers(&bench, 1).await;
    assert_eq!(bench.harness.executor().capacity().await.unwrap(), alone);

    // One that is lost doesn't count, until it is heard again.
    bench.harness.lose(*first.first().unwrap()).await;
    has_workers(&bench, 0).await;
    assert_eq!(bench.harness.executor().capacity().await.unwrap().slots, 0);
    bench.harness.admit();
    has_workers(&bench, 1).await;
    assert_eq!(bench.harness.executor().capacity().await.unwrap(), alone);
    let (_, end) = bench.run("true").await;
    assert_eq!(end.outcome, Outcome::Success);
}

async fn has_workers(bench: &Bench<Fleet>, count: usize) {
    bench.wait_for("workers to come or go", || bench.harness.workers().len() == count).await;
}
