//! The deterministic simulator: seeded random DAGs, requests, executors and faults around the engine and its driver, with
//! everything checked that must always hold.
//!
//! * `UPDRAFT_SIM_HISTORIES=500000` runs that many histories (20,000 by default).
//! * `UPDRAFT_SIM_SEED=17` replays one, with the timeline of all that happened.
//! * `UPDRAFT_SIM_SECONDS=7200` runs for that long, from a seed that the clock gives.

#[path = "simulator/api.rs"]
mod api;
#[path = "simulator/executor.rs"]
mod executor;
#[path = "simulator/facts.rs"]
mod facts;
#[path = "simulator/graphs.rs"]
mod graphs;
#[path = "support/dag.rs"]
mod models;
#[path = "simulator/rng.rs"]
mod rng;
#[path = "simulator/world.rs"]
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use world::{Tally, World};

/// Histories in a normal run of the tests.
const HISTORIES: u64 = 20_000;
/// Threads that share them.
const THREADS: usize = 2;
/// Events of the timeline that a failure shows.
const SHOWN: usize = 120;

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
        if history(seed, World::events(seed), false).is_err() {
            panic!("{}", report(seed, usize::MAX));
        }
        return;
    }
    let (first, limit, deadline) = match setting("UPDRAFT_SIM_SECONDS") {
        Some(seconds) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            (now * 1_000_000, u64::MAX, Some(Instant::now() + Duration::from_secs(seconds)))
        }
        None => (0, setting("UPDRAFT_SIM_HISTORIES").unwrap_or(HISTORIES), None),
    };
    let (next, failed, total) = (AtomicU64::new(0), Mutex::new(None::<u64>), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut mine = Tally::default();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let over = n >= limit || deadline.is_some_and(|deadline| Instant::now() > deadline);
                    if over || failed.lock().unwrap().is_some() {
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
