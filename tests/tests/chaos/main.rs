//! Chaos: thousands of tasks while schedulers, workers, the API, PostgreSQL and RabbitMQ are killed, paused and cut off.
//!
//! `UPDRAFT_TEST_SEED` repeats what was done; the processes' own timing differs all the same. `UPDRAFT_CHAOS_MINUTES` makes it
//! last longer. A failed test leaves `target/chaos/SEED`: every log, and `timeline.txt` with what was done to whom.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "the helpers of tests fail the test, and say what they did"
)]

mod faults;
mod load;
mod servers;
mod timeline;
mod verdict;
mod world;

use std::time::{Duration, Instant};

use crate::{faults::Faults, load::Asker, timeline::Timeline, world::World};

/// How long things go wrong if nobody says otherwise.
const LASTING: Duration = Duration::from_secs(75);
/// The fewest task instances.
const TASKS_MIN: u64 = 2_500;
/// How long the last runs may take to be asked for.
const ASKING_MAX: Duration = Duration::from_mins(2);
/// Between two runs of the same DAG.
const PAUSE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_happens_twice() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
    };
    let seed = number("UPDRAFT_TEST_SEED").unwrap_or_else(|| uuid::Uuid::now_v7().as_u128() as u64);
    let lasting =
        number("UPDRAFT_CHAOS_MINUTES").map_or(LASTING, |minutes| Duration::from_secs(60 * minutes));
    let timeline = Timeline::new();
    timeline.note(format!("UPDRAFT_TEST_SEED={seed}"));
    let mut world = World::new(timeline.clone()).await;
    let local = tokio::task::LocalSet::new();
    let outcome = local.run_until(Box::pin(trial(&mut world, seed, lasting))).await;
    if let Err(error) = outcome {
        timeline.note(format!("failed: {error:#}"));
        let folder = world::evidence(seed);
        timeline.write(&folder, &world.logs()).unwrap();
        panic!(
            "UPDRAFT_TEST_SEED={seed}: {error:#}\nwhat happened is in {}",
            folder.join("timeline.txt").display()
        );
    }
}

async fn trial(world: &mut World, seed: u64, lasting: Duration) -> anyhow::Result<()> {
    load::write_dags(world);
    world.begin().await;
    let until = Instant::now() + lasting;
    let asker = Asker {
        sockets: ["api1.sock", "api2.sock"].map(|name| world.path(name)).to_vec(),
        timeline: world.timeline.clone(),
        until,
        tasks_min: TASKS_MIN,
        pause: PAUSE,
    };
    let mut asking = tokio::task::spawn_local(asker.ask());
    let mut faults = Faults::new(seed);
    while Instant::now() < until && !asking.is_finished() {
        world.keep_running();
        faults.go_on(world).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    faults.end(world).await;
    world.heal().await;
    let deadline = Instant::now() + ASKING_MAX;
    let runs = loop {
        tokio::select! {
            runs = &mut asking => break runs?,
            () = tokio::time::sleep(Duration::from_millis(100)) => world.keep_running(),
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "not all runs can be asked for, {ASKING_MAX:?} after all was mended"
        );
    };
    world.timeline.note(format!("{} faults; {} runs were asked for", faults.count, runs.len()));
    let rows = verdict::all_end(world, &runs).await?;
    world.timeline.note("all runs have ended");
    let counts = verdict::all_is_right(world, &rows).await?;
    verdict::all_is_quiet(world).await?;
    verdict::nobody_complains(world)?;
    let verdict::Counts { tasks, tries, effects } = counts;
    world.timeline.note(format!(
        "{tasks} tasks took {tries} tries and had {effects} effects; processes ended {} times by themselves",
        world.restarts
    ));
    Ok(())
}
