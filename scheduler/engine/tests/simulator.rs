//! The deterministic simulator: seeded random DAGs, requests, executors and faults around the engine and its driver, with
//! everything checked that must always hold.
//!
//! * `UPDRAFT_SIM_HISTORIES=500000` runs that many histories (20,000 by default).
//! * `UPDRAFT_SIM_SEED=17` replays one, with the timeline of all that happened.
//! * `UPDRAFT_SIM_QUOTAS=1` sets quotas in all of them; without it in every third.
//! * `UPDRAFT_SIM_FIRST=20000` begins with that seed; with a large number of histories it searches for hours.

#![expect(clippy::unwrap_used, reason = "a test that can't go on says so")]

#[path = "simulator/api.rs"]
mod api;
#[path = "simulator/carry.rs"]
mod carry;
#[path = "simulator/executor.rs"]
mod executor;
#[path = "simulator/facts.rs"]
mod facts;
#[path = "simulator/fleet.rs"]
mod fleet;
#[path = "simulator/graphs.rs"]
mod graphs;
#[path = "simulator/luck.rs"]
mod luck;
#[path = "support/dag.rs"]
mod models;
#[path = "simulator/owner.rs"]
mod owner;
#[path = "simulator/rng.rs"]
mod rng;
#[path = "simulator/tape.rs"]
mod tape;
#[path = "simulator/worker.rs"]
mod worker;
#[path = "simulator/world.rs"]
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use engine::{journal::Commit, memory::MemoryJournal};
use tape::{Step, normal};
use world::{Tally, World};

/// Histories in a normal run of the tests.
const HISTORIES: u64 = 20_000;
/// Threads that share them.
const THREADS: usize = 2;
/// Events of the timeline that a failure shows.
const SHOWN: usize = 120;

#[expect(clippy::disallowed_methods, clippy::panic, reason = "settings of a test come from its environment")]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// Runs one history; says what went wrong, with the timeline if it was kept.
fn history(seed: u64, events: u64, timeline: bool) -> Result<Tally, (String, Vec<String>)> {
    let mut world = World::new(seed, events, timeline);
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(Ok(())) => Ok(world.tally),
        Ok(Err(why)) => Err((why, world.take_timeline())),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            Err((format!("it panicked: {text}"), world.take_timeline()))
        }
    }
}

/// Halves the time in which faults happen as long as the history still fails, then tells the story.
fn report(seed: u64, shown: usize) -> String {
    let full = World::events(seed);
    let (mut events, mut shortest) = (full, full);
    while events > 1 {
        events /= 2;
        if history(seed, events, false).is_err() {
            shortest = events;
        }
    }
    let (why, timeline) = match history(seed, shortest, true) {
        Err(failure) => failure,
        Ok(_) => (
            "it doesn't fail when it is repeated: something in the engine isn't deterministic".to_owned(),
            Vec::new(),
        ),
    };
    let skipped = timeline.len().saturating_sub(shown);
    format!(
        "seed {seed} fails with {shortest} of {full} disturbed events: {why}\n\
         replay it with UPDRAFT_SIM_SEED={seed} cargo test -p engine --test simulator\n\
         ({skipped} earlier events left out)\n{}",
        timeline[skipped..].join("\n")
    )
}

#[test]
fn histories() {
    if let Some(seed) = setting("UPDRAFT_SIM_SEED") {
        let holds = history(seed, World::events(seed), false).is_ok();
        assert!(holds, "{}", report(seed, usize::MAX));
        return;
    }
    let (first, limit) =
        (setting("UPDRAFT_SIM_FIRST").unwrap_or(0), setting("UPDRAFT_SIM_HISTORIES").unwrap_or(HISTORIES));
    let (next, failed, total) = (AtomicU64::new(0), Mutex::new(None::<u64>), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut mine = Tally::default();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= limit || failed.lock().unwrap().is_some() {
                        break;
                    }
                    match history(first + n, World::events(first + n), false) {
                        Ok(tally) => mine.add(&tally),
                        Err(_) => *failed.lock().unwrap() = Some(first + n),
                    }
                }
                total.lock().unwrap().add(&mine);
            });
        }
    });
    let total = total.into_inner().unwrap();
    if let Some(seed) = failed.into_inner().unwrap() {
        panic!("{}", report(seed, SHOWN));
    }
    // A simulator in which nothing happens proves nothing.
    if limit >= HISTORIES {
        total.assert_eventful();
    }
}

/// What is done to the journal in a history, done again, leaves the same: the tape by which real databases are compared
/// lacks nothing.
#[test]
fn a_tape_leaves_the_same_rows() {
    for seed in 0..40 {
        let mut world = World::new(seed, World::events(seed), false);
        world.record();
        world.run().unwrap();
        let mut again = MemoryJournal::default();
        again.now = world::EPOCH;
        for step in world.tape.take().unwrap() {
            match step {
                Step::Version(version, model) => drop(again.versions.insert(version, model)),
                Step::Request(id, tenant, command) => {
                    assert_eq!(again.request(tenant, "someone", command), id);
                }
                Step::TakeOver(snapshot) => assert_eq!(normal(again.read()), normal(*snapshot)),
                Step::Inbox(skip, limit, inbox) => assert_eq!(again.requests(&skip, limit), inbox),
                Step::Load(load, loaded) => assert_eq!(again.find(load), *loaded),
                Step::Commit(batch) => assert_eq!(again.write(&batch), Commit::Done),
            }
        }
        assert!(again == world.store, "seed {seed}");
    }
}
