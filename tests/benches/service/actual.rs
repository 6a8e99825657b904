//! Tasks that start processes on a worker.

use anyhow::Context as _;

use crate::{
    Size,
    clock::seconds,
    figures::{Figures, spread},
    load::{chain, file, gaps, throughput, wide},
    place::{Place, Service},
};

/// What the worker runs at once: enough to keep two cores busy.
const SLOTS: usize = 16;

pub(crate) async fn measure(size: Size) -> anyhow::Result<Figures> {
    let place = Place::new().await?;
    let service = place.serve(&[format!("worker.slots={SLOTS}")])?;
    let runs = size.processes.div_ceil(1_000);
    let tasks = size.processes / runs;
    place
        .load(&[
            file("bash", &wide("bash", tasks, runs)),
            file("bash_chain", &chain("bash_chain", size.links)),
            file("single", &wide("single", 1, 1)),
        ])
        .await?;
    let mut figures = Figures::default();
    triggers(&place, &service, &mut figures, size).await?;
    gaps(&place, &service, &mut figures, "bash_chain", "p50 10 ms, p99 50 ms").await?;
    throughput(&place, &service, &mut figures, "bash", (runs, tasks), "1,000/s").await?;
    service.end()?;
    place.close().await?;
    Ok(figures)
}

/// From a request to the start of the run's only task, one after the other.
async fn triggers(place: &Place, service: &Service, figures: &mut Figures, size: Size) -> anyhow::Result<()> {
    let before = service.steps_so_far()?;
    let mut waits = Vec::new();
    for n in 0..size.triggers {
        let name = format!("r{n}");
        let asked = place.trigger("single", &name).await?;
        let runs = place.ended("single", n + 1).await?;
        let run = runs.iter().find(|run| run.run_name.as_str() == name).context("the run")?;
        let task = place.tasks(run).await?.pop().context("a task")?;
        waits.push(seconds(asked, task.started_at.context("it started")?) * 1e3);
    }
    figures.add(
        "from a request to the API to its task running",
        spread(waits),
        "p50 15 ms",
        service.steps(&before)?,
    );
    Ok(())
}
