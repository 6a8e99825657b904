//! Tasks that a worker reports as done without running anything: what everything around a task's process costs.
//!
//! Each is dispatched over the broker, claimed at the task API with its context, reported over the broker, and confirmed.

use std::fmt::Write as _;

use anyhow::Context as _;
use dags::time::Timestamp;
use engine::rows::{RunRow, TaskRow};

use crate::{
    Size,
    clock::seconds,
    figures::{Figures, per_second, spread},
    place::{Place, Service},
};

/// What the worker holds at once.
const SLOTS: usize = 2_000;

pub(crate) async fn measure(size: Size) -> anyhow::Result<Figures> {
    let place = Place::new().await?;
    let service = place.serve(&["worker.noop=true".to_owned(), format!("worker.slots={SLOTS}")])?;
    place
        .load(&[
            file("noops", &wide("noops", size.tasks, size.runs)),
            file("parallel", &wide("parallel", size.wide, 1)),
            file("noop_chain", &chain("noop_chain", size.links)),
        ])
        .await?;
    let mut figures = Figures::default();
    throughput(&place, &service, &mut figures, "noops", (size.runs, size.tasks), "3,000/s").await?;
    throughput(&place, &service, &mut figures, "parallel", (1, size.wide), "-").await?;
    gaps(&place, &service, &mut figures, "noop_chain", "-").await?;
    service.end()?;
    place.close().await?;
    Ok(figures)
}

pub(crate) fn file(dag: &str, text: &str) -> (String, String) {
    (format!("{dag}.yaml"), text.to_owned())
}

/// Tasks side by side.
pub(crate) fn wide(dag: &str, tasks: usize, runs: usize) -> String {
    let mut text = format!("dag: {dag}\nmax_active_runs: {runs}\nmax_active_tasks: {tasks}\ntasks:\n");
    for task in 0..tasks {
        writeln!(text, "  step_{task:05}: {{ bash: 'true' }}").expect("invariant: text takes everything");
    }
    text
}

/// Tasks one after the other.
pub(crate) fn chain(dag: &str, links: usize) -> String {
    let mut text = format!("dag: {dag}\ntasks:\n  step_00000: {{ bash: 'true' }}\n");
    for task in 1..links {
        writeln!(text, "  step_{task:05}: {{ needs: step_{:05}, bash: 'true' }}", task - 1)
            .expect("invariant: text takes everything");
    }
    text
}

/// From the first request until the last run has ended.
pub(crate) async fn throughput(
    place: &Place,
    service: &Service,
    figures: &mut Figures,
    dag: &str,
    (runs, tasks): (usize, usize),
    aim: &str,
) -> anyhow::Result<()> {
    let before = service.spent()?;
    let mut began = None;
    for run in 0..runs {
        let asked = place.trigger(dag, &format!("r{run}")).await?;
        began.get_or_insert(asked);
    }
    let rows = place.ended(dag, runs).await?;
    let spent = service.since(&before)?;
    let took = seconds(began.context("no run")?, last_end(&rows)?);
    for row in &rows {
        place.tasks(row).await?;
    }
    let what = format!("{dag}: {runs} runs of {tasks} tasks");
    figures.add(&what, per_second(runs * tasks, took), aim, format!("{took:.2} s; {spent}"));
    Ok(())
}

pub(crate) fn last_end(runs: &[RunRow]) -> anyhow::Result<Timestamp> {
    runs.iter().filter_map(|run| run.ended_at).max().context("no run has ended")
}

/// From the end of each task of a chain to the start of the next one.
pub(crate) async fn gaps(
    place: &Place,
    service: &Service,
    figures: &mut Figures,
    dag: &str,
    aim: &str,
) -> anyhow::Result<()> {
    let before = service.steps_so_far()?;
    place.trigger(dag, "r").await?;
    let run = place.ended(dag, 1).await?.pop().context("a run")?;
    let rows = place.tasks(&run).await?;
    let gap = |pair: &[TaskRow]| Some(pair[1].started_at?.since(pair[0].ended_at?).0 as f64 / 1e3);
    let gaps: Option<Vec<f64>> = rows.windows(2).map(gap).collect();
    let what = format!("{dag}: from end to start over {} links", rows.len() - 1);
    let gaps = spread(gaps.context("a link without its times")?);
    figures.add(&what, gaps, aim, service.steps(&before)?);
    Ok(())
}
