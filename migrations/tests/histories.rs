//! The simulator's histories, done to real databases: every answer and in the end every row must be as in the journal in
//! memory, which the simulator trusts.
//!
//! * `UPDRAFT_SIM_DATABASE_HISTORIES=500` runs that many on each database (15 by default).
//! * `UPDRAFT_SIM_SEED=17` runs one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says so")]

#[path = "../../scheduler/engine/tests/simulator/api.rs"]
mod api;
#[path = "../../scheduler/engine/tests/simulator/carry.rs"]
mod carry;
#[path = "../../scheduler/engine/tests/simulator/executor.rs"]
mod executor;
#[path = "../../scheduler/engine/tests/simulator/facts.rs"]
mod facts;
#[path = "../../scheduler/engine/tests/simulator/fleet.rs"]
mod fleet;
#[path = "../../scheduler/engine/tests/simulator/graphs.rs"]
mod graphs;
#[path = "../../scheduler/engine/tests/simulator/luck.rs"]
mod luck;
#[path = "../../scheduler/engine/tests/support/dag.rs"]
mod models;
#[path = "../../scheduler/engine/tests/simulator/owner.rs"]
mod owner;
#[path = "../../scheduler/engine/tests/simulator/rng.rs"]
mod rng;
#[path = "contract/support.rs"]
#[expect(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "these tests run several histories on a database each"
)]
mod support;
#[path = "../../scheduler/engine/tests/simulator/tape.rs"]
mod tape;
#[path = "../../scheduler/engine/tests/simulator/worker.rs"]
mod worker;
#[path = "../../scheduler/engine/tests/simulator/world.rs"]
#[expect(dead_code, reason = "the simulator uses all of it")]
mod world;

use std::time::{SystemTime, UNIX_EPOCH};

use dags::{
    ids::{BundleId, ShardId},
    time::{Span, Timestamp},
};
use engine::{
    command::Command,
    journal::{Commit, Journal as _},
    memory::MemoryJournal,
    rows::MemberRow,
};
use migrations::{
    Db, TenantScope,
    journal::{self, DbJournal},
    policy::Visible,
    store::{
        Window,
        asset::{self, EventFilter},
        backfill,
        bundle::{self, NewBundle, NewVersion},
        event, inbox,
        inbox::Progress,
        pool, result,
        run::{self, RunFilter},
        task_instance, tenant,
    },
};
use support::TestDb;
use tape::{Step, normal};
use world::World;

/// Histories on each database in a normal run of the tests.
const HISTORIES: u64 = 15;
const ALL: Window = Window { limit: 1_000_000, offset: 0 };

#[expect(clippy::disallowed_methods, reason = "settings of a test come from its environment")]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[expect(clippy::disallowed_methods, reason = "the test is the shell")]
fn clock() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64)
}

/// Does to a database what a history did to its journal.
async fn follow(test: TestDb, seed: u64) {
    let mut world = World::new(seed, World::events(seed), false);
    world.record();
    if let Err(why) = world.run() {
        panic!("seed {seed} fails without a database: {why}");
    }
    let steps = world.tape.take().unwrap();
    let db = &test.db;
    for (n, id) in world.tenants.iter().enumerate() {
        tenant::insert(db, "test", *id, &format!("t{n}"), ShardId::DEFAULT).await.unwrap();
    }
    test.sql(&format!("UPDATE shard SET now = {}", world::EPOCH.0)).await;
    let mut journal: Option<DbJournal> = None;
    for (n, step) in steps.into_iter().enumerate() {
        let what = format!("seed {seed}, step {n}");
        match step {
            Step::Version(version, model) => {
                for tenant in &world.tenants {
                    let new = NewBundle {
                        digest: BundleId("b".into()),
                        bytes: 1,
                        files: 1,
                        created_by: None,
                        versions: vec![NewVersion {
                            version: version.clone(),
                            model: model.clone(),
                            source: "d.yaml".to_owned(),
                        }],
                    };
                    bundle::store(db, TenantScope::new(*tenant), &new).await.unwrap();
                }
            }
            Step::Request(id, tenant, command) => {
                let scope = TenantScope::new(tenant);
                if let Command::ActivateBundle { bundle, .. } = &command {
                    // Whoever asks for it has stored it.
                    let new = NewBundle {
                        digest: bundle.clone(),
                        bytes: 1,
                        files: 1,
                        created_by: None,
                        versions: Vec::new(),
                    };
                    bundle::store(db, scope, &new).await.unwrap();
                }
                let ticket = inbox::insert(db, scope, "someone", &command, None).await.unwrap();
                assert_eq!(ticket.id, id, "{what}");
            }
            Step::TakeOver(expected) => {
                let ours = journal::acquire(db, ShardId::DEFAULT, "one", Span::seconds(600), &clock);
                let ours = journal.insert(ours.await.unwrap());
                assert_eq!(normal(ours.snapshot().await.unwrap()), normal(*expected), "{what}");
            }
            Step::Inbox(skip, limit, expected) => {
                let found = journal.as_mut().unwrap().inbox(&skip, limit).await.unwrap();
                assert_eq!(found, expected, "{what}");
            }
            Step::Load(load, expected) => {
                let found = journal.as_mut().unwrap().load(load).await.unwrap();
                assert_eq!(found, *expected, "{what}");
            }
            Step::Commit(batch) => {
                let done = journal.as_mut().unwrap().commit(&batch).await;
                assert_eq!(done, Commit::Done, "{what}: {batch:?}");
            }
        }
    }
    let snapshot = journal.as_mut().unwrap().snapshot().await.unwrap();
    assert_eq!(normal(snapshot), normal(world.store.read()), "seed {seed}");
    same_rows(db, &world, seed).await;
}

/// Compares every table with the journal in memory.
async fn same_rows(db: &Db, world: &World, seed: u64) {
    let store: &MemoryJournal = &world.store;
    for tenant in &world.tenants {
        let scope = TenantScope::new(*tenant);
        let mut runs = run::list(db, scope, &RunFilter::default(), ALL).await.unwrap().rows;
        runs.sort_by_key(|row| row.run);
        let expected: Vec<_> = store.runs.values().filter(|row| row.tenant == *tenant).cloned().collect();
        assert_eq!(runs, expected, "seed {seed}");
        for run in &runs {
            let id = run.run;
            let tasks = task_instance::list(db, scope, id, &task_instance::TaskFilter::default(), ALL).await;
            let tasks = tasks.unwrap().rows;
            assert_eq!(tasks, store.tasks_of(id).cloned().collect::<Vec<_>>(), "seed {seed}");
            let expected: Vec<_> = store.events.iter().filter(|event| event.run == id).cloned().collect();
            assert_eq!(event::of_run(db, scope, id).await.unwrap(), expected, "seed {seed}");
            for task in &tasks {
                let key = (id, task.task.clone(), task.map_index);
                let tries = task_instance::tries(db, scope, id, &key.1, key.2).await.unwrap();
                let of = |row: &engine::rows::TaskRow| (row.run, row.task.clone(), row.map_index) == key;
                let mut expected: Vec<_> =
                    store.attempts.iter().filter(|attempt| of(&attempt.row)).cloned().collect();
                expected.sort_by_key(|attempt| attempt.row.try_number);
                assert_eq!(tries, expected, "seed {seed}");
                let found = result::get(db, scope, id, &key.1, key.2).await.unwrap();
                let expected = store.results.get(&key).filter(|row| row.attempt == task.attempt()).cloned();
                assert_eq!(found, expected, "seed {seed}");
                let found = task_instance::members(db, scope, id, &key.1, key.2).await.unwrap();
                let of = |row: &&MemberRow| (row.run, row.task.clone(), row.map_index) == key;
                let expected: Vec<_> = store.members.values().filter(of).cloned().collect();
                assert_eq!(found, expected, "seed {seed}");
            }
        }
        let pools = pool::list(db, scope).await.unwrap();
        let expected: Vec<_> = store.pools.values().filter(|row| row.tenant == *tenant).cloned().collect();
        assert_eq!(pools, expected, "seed {seed}");
        let mut found = backfill::list(db, scope, &Visible::all(), None, ALL).await.unwrap().rows;
        found.sort_by_key(|row| row.id);
        let expected: Vec<_> =
            store.backfills.values().filter(|row| row.tenant == *tenant).cloned().collect();
        assert_eq!(found, expected, "seed {seed}");
        let found =
            asset::events(db, scope, &Visible::all(), &EventFilter::default(), ALL).await.unwrap().rows;
        let found: Vec<_> = found.into_iter().rev().map(|(_, row)| row).collect();
        let mut expected: Vec<_> =
            store.asset_events.iter().filter(|row| row.tenant == *tenant).cloned().collect();
        expected.sort_by_key(|row| row.at);
        assert_eq!(found, expected, "seed {seed}");
        for (id, outcome) in &store.outcomes {
            if let Progress::Taken { outcome: found, .. } = inbox::progress(db, scope, *id).await.unwrap() {
                assert_eq!(found, *outcome, "seed {seed}, request {id}");
            }
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    match setting("UPDRAFT_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("UPDRAFT_SIM_DATABASE_HISTORIES").unwrap_or(HISTORIES),
    }
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

#[test]
fn sqlite_ends_up_like_the_journal_in_memory() {
    for seed in seeds() {
        block_on(support::sqlite(move |test| follow(test, seed)));
    }
}

#[test]
fn postgres_ends_up_like_the_journal_in_memory() {
    for seed in seeds() {
        block_on(support::postgres(move |test| follow(test, seed)));
    }
}
