//! What must be true when all has been mended and nothing is under way.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use dags::ids::{AttemptId, DagId, RunName};
use engine::{
    rows::RunRow,
    state::{RunState, TaskState},
};
use migrations::store::{self, Window};
use tests::history;

use crate::world::{SCOPE, World};

/// No run that ends for this long means that something hangs.
const PROGRESS_MAX: Duration = Duration::from_secs(100);
/// How long the last messages and processes may take.
const SETTLE_MAX: Duration = Duration::from_mins(1);

const EVERYTHING: Window = Window { limit: 1_000_000, offset: 0 };

/// Waits until all of these runs have ended.
pub(crate) async fn all_end(world: &mut World, runs: &[(&str, String)]) -> anyhow::Result<Vec<RunRow>> {
    let (mut open, mut since) = (usize::MAX, Instant::now());
    loop {
        world.keep_running();
        let filter = store::run::RunFilter::default();
        let rows =
            store::run::list(&world.db, SCOPE, &filter, EVERYTHING).await.context("list the runs")?.rows;
        let left: Vec<_> = rows.iter().filter(|row| row.ended_at.is_none()).collect();
        if left.is_empty() {
            for (dag, run) in runs {
                let (dag, run) = (DagId::parse(dag)?, RunName::parse(run)?);
                ensure!(
                    rows.iter().any(|row| row.dag_id == dag && row.run_name == run),
                    "{run} of {dag}, which the API said exists, is lost"
                );
            }
            ensure!(
                rows.len() == runs.len(),
                "{} runs were asked for, and there are {}",
                runs.len(),
                rows.len()
            );
            return Ok(rows);
        }
        if left.len() < open {
            (open, since) = (left.len(), Instant::now());
        }
        if since.elapsed() > PROGRESS_MAX {
            let mut text = String::new();
            for run in left {
                for row in history::tasks(&world.db, SCOPE, run).await? {
                    if !row.state.is_finished() {
                        text += &format!(
                            "\n  {} {}[{}]: {} in try {}, dispatch {} ({}) on {:?}: {:?}",
                            run.run_name,
                            row.task,
                            row.map_index,
                            row.state,
                            row.try_number,
                            row.dispatch_n,
                            row.attempt(),
                            row.worker,
                            row.reason
                        );
                    }
                }
            }
            bail!("no run has ended for {PROGRESS_MAX:?}, and {open} are open:{text}");
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Every run succeeded, by legal steps, and every effect is there once.
pub(crate) async fn all_is_right(world: &World, runs: &[RunRow]) -> anyhow::Result<Counts> {
    let mut effects: BTreeMap<String, u32> = BTreeMap::new();
    for line in fs::read_to_string(world.path("effects"))?.lines() {
        *effects.entry(line.to_owned()).or_default() += 1;
    }
    let mut counts = Counts { effects: effects.values().map(|n| *n as usize).sum(), ..Counts::default() };
    let mut wrong = Vec::new();
    for run in runs {
        if let Err(error) = history::is_legal(&world.db, SCOPE, run).await {
            wrong.push(format!("{error:#}"));
        }
        if run.state != RunState::Success {
            wrong.push(format!("{} is {:?}", run.run_name, run.state));
        }
        for row in history::tasks(&world.db, SCOPE, run).await? {
            counts.tasks += 1;
            counts.tries += row.try_number as usize;
            let of = |n: u32| AttemptId::derive(row.run, &row.task, row.map_index, n).to_string();
            let name = format!("{} {}[{}]", run.run_name, row.task, row.map_index);
            if row.state != TaskState::Success {
                wrong.push(format!("{name} is {}: {:?}", row.state, row.reason));
            }
            if run.dag_id.as_str() != "effects" {
                continue;
            }
            for n in 1..=row.try_number {
                let had = effects.remove(&of(n)).unwrap_or(0);
                if had > 1 {
                    wrong.push(format!("try {n} of {name} ({}) had its effect {had} times", of(n)));
                }
                if n == row.try_number && had == 0 {
                    wrong.push(format!("{name} succeeded without its effect"));
                }
            }
        }
    }
    wrong.extend(effects.keys().map(|attempt| format!("attempt {attempt} had an effect and isn't known")));
    ensure!(wrong.is_empty(), "{} things are wrong:\n  {}", wrong.len(), wrong.join("\n  "));
    Ok(counts)
}

/// What there was.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) tasks: usize,
    pub(crate) tries: usize,
    pub(crate) effects: usize,
}

/// Nothing waits in the broker, every process ends when it is asked to, and none is left.
pub(crate) async fn all_is_quiet(world: &mut World) -> anyhow::Result<()> {
    let start = Instant::now();
    let queue = format!("updraft.shard.{}", dags::ids::ShardId::DEFAULT);
    loop {
        world.keep_running();
        let management = world.servers.management.clone();
        let queue = queue.clone();
        let left = tokio::task::spawn_blocking(move || {
            anyhow::Ok((management.messages("%2F", &queue)?, management.messages("%2F", "updraft.dead")?))
        })
        .await?;
        match left {
            Ok((Some(0), Some(0))) => break,
            seen if start.elapsed() > SETTLE_MAX => {
                bail!("messages are left, of reports and dead ones: {seen:?}")
            }
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
    for process in &mut world.processes {
        process.ask_to_end(false);
    }
    let start = Instant::now();
    let mut ended = BTreeMap::new();
    while ended.len() < world.processes.len() {
        for process in &mut world.processes {
            if let Some(status) = process.ended() {
                ensure!(status.success(), "{} ended with {status}", process.name);
                ended.insert(process.name, status);
            }
        }
        let slow =
            || world.processes.iter().map(|process| process.name).filter(|name| !ended.contains_key(name));
        ensure!(start.elapsed() < SETTLE_MAX, "these don't end: {:?}", slow().collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let start = Instant::now();
    while !world.supervisors("").is_empty() {
        ensure!(start.elapsed() < SETTLE_MAX, "supervisors are left: {:?}", world.supervisors(""));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// No process wrote that something happened which never may.
pub(crate) fn nobody_complains(world: &World) -> anyhow::Result<()> {
    const NEVER: [&str; 6] = [
        "panicked at",
        "the engine refused a transition",
        "quarantined:",
        "is built again from the database",
        "goes to the dead-letter queue",
        "aren't its own",
    ];
    let mut found = Vec::new();
    for log in world.logs() {
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        let lines = text.lines().filter(|line| NEVER.iter().any(|never| line.contains(never)));
        found.extend(lines.map(|line| format!("{}: {line}", log.file_stem().unwrap_or_default().display())));
    }
    ensure!(found.is_empty(), "processes complain:\n  {}", found.join("\n  "));
    Ok(())
}
