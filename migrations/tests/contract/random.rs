//! Random batches: what comes back is what a model in memory has, and both databases hold the same.

use engine::journal::{Commit, Journal as _};
use migrations::{
    Db, TenantScope,
    policy::Visible,
    store::{
        Window,
        asset::{self, EventFilter},
        backfill, dag, event,
        event::EventCursor,
        pool, result,
        run::{self, RunFilter},
        task_instance::{self, TaskFilter},
    },
};
use proptest::{prelude::*, test_runner::Config};

use crate::{
    batches::{self, DAGS, Random, TENANTS},
    fixture,
    model::Model,
    support::{self, TestDb},
};

const BATCHES: usize = 25;
const ALL: Window = Window { limit: 100_000, offset: 0 };

/// Commits the batches of a seed and compares what comes back now and then.
async fn follow(db: Db, seed: u64) {
    batches::prepare(&db).await;
    let mut journal = fixture::owned(&db, "one").await;
    let mut random = Random(seed);
    let mut model = Model::default();
    for n in 0..BATCHES {
        let batch = batches::next(&mut random, &model);
        assert_eq!(journal.commit(&batch).await, Commit::Done, "seed {seed}, batch {}", batch.number);
        model.apply(&batch);
        if n % 8 == 0 || n + 1 == BATCHES {
            assert_eq!(
                journal.snapshot().await.unwrap(),
                model.snapshot(),
                "seed {seed}, batch {}",
                batch.number
            );
        }
    }
}

/// Everything that the batches wrote, in words.
async fn dump(db: &Db) -> String {
    let mut out = Vec::new();
    for tenant in TENANTS {
        let scope = TenantScope::new(tenant);
        let runs = run::list(db, scope, &RunFilter::default(), ALL).await.unwrap();
        for run in &runs.rows {
            let tasks = task_instance::list(db, scope, run.run, &TaskFilter::default(), ALL).await.unwrap();
            for task in &tasks.rows {
                let key = (run.run, &task.task, task.map_index);
                out.push(format!(
                    "{:?}",
                    task_instance::tries(db, scope, key.0, key.1, key.2).await.unwrap()
                ));
                out.push(format!("{:?}", result::get(db, scope, key.0, key.1, key.2).await.unwrap()));
            }
            out.push(format!("{tasks:?} {:?}", event::of_run(db, scope, run.run).await.unwrap()));
        }
        out.push(format!("{runs:?} {:?}", pool::list(db, scope).await.unwrap()));
        out.push(format!(
            "{:?}",
            asset::events(db, scope, &Visible::all(), &EventFilter::default(), ALL).await.unwrap()
        ));
        out.push(format!("{:?}", backfill::list(db, scope, &Visible::all(), None, ALL).await.unwrap()));
        let filter = dag::DagFilter { with_stale: true, ..dag::DagFilter::default() };
        out.push(format!("{:?}", dag::list(db, scope, &filter, ALL).await.unwrap()));
        for name in DAGS {
            out.push(format!("{:?}", asset::pending(db, scope, &fixture::dag_id(name)).await.unwrap()));
        }
        let log = event::since(db, scope, dags::ids::ShardId::DEFAULT, EventCursor::default(), 100_000)
            .await
            .unwrap();
        out.push(format!("{log:?}"));
    }
    out.join("\n")
}

fn with_seeds(cases: u32, check: impl Fn(u64)) {
    let config = Config { failure_persistence: None, max_shrink_iters: 0, ..Config::with_cases(cases) };
    proptest!(config, |(seed in any::<u64>())| { check(seed) });
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

#[test]
fn sqlite_gives_back_what_was_committed() {
    with_seeds(8, |seed| block_on(support::sqlite(move |test: TestDb| follow(test.db, seed))));
}

#[test]
fn postgres_gives_back_what_was_committed() {
    with_seeds(4, |seed| block_on(support::postgres(move |test: TestDb| follow(test.db, seed))));
}

#[test]
fn both_databases_hold_the_same_rows() {
    with_seeds(3, |seed| {
        block_on(support::sqlite(move |here: TestDb| async move {
            follow(here.db.clone(), seed).await;
            let expected = dump(&here.db).await;
            assert!(expected.len() > 10_000, "a dump of {} bytes shows nothing", expected.len());
            support::postgres(move |there: TestDb| async move {
                follow(there.db.clone(), seed).await;
                let found = dump(&there.db).await;
                for (found, expected) in found.lines().zip(expected.lines()) {
                    assert_eq!(found, expected, "seed {seed}");
                }
                assert_eq!(found.len(), expected.len());
            })
            .await;
        }));
    });
}
