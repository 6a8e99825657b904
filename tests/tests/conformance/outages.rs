//! What is particular to a fleet: the broker between the scheduler and the worker is lost at each step of an attempt.

use engine::dispatch::Outcome;
use executor::{
    Executor as _,
    conformance::{Bench, Harness as _, Run},
};
use tests::proxy::Flow;

use crate::fleet::Fleet;

type Case = (&'static str, fn(Bench<Fleet>) -> Run);

pub(crate) fn cases() -> Vec<Case> {
    vec![("the_broker_may_be_lost_at_each_step", |bench| {
        Box::pin(the_broker_may_be_lost_at_each_step(bench))
    })]
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
