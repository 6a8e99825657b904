//! A service that has nothing to do: how fast it is there, what it costs to have it.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use crate::{
    Size,
    crowd::{self, settled},
    figures::{Figures, median},
    load::file,
    place::{Place, Service},
    proc,
};

/// Task instances of a run that waits.
const WAITING_AT_ONCE: usize = 10_000;

/// From the start of all processes, on a database with the present schema and a machine that is enrolled, until each says that
/// it is ready.
pub(crate) async fn starts(size: Size) -> anyhow::Result<Figures> {
    let place = Place::new().await?;
    place.serve(&[])?.end()?;
    let mut took = Vec::new();
    for _ in 0..size.starts {
        let started = Instant::now();
        let mut service = place.begin(&[])?;
        service.ready()?;
        took.push(started.elapsed().as_secs_f64());
        service.end()?;
    }
    place.close().await?;
    let mut figures = Figures::default();
    let each: Vec<String> = took.iter().map(|seconds| format!("{seconds:.2}")).collect();
    let note = format!("scheduler, API and worker at once: {} s", each.join(", "));
    figures.add("cold start to ready", format!("{:.2} s", median(took)), "1 s", note);
    Ok(figures)
}

/// Memory and CPU time without work: empty, with DAGs, with task instances that wait.
pub(crate) async fn idle(size: Size) -> anyhow::Result<Figures> {
    let place = Place::new().await?;
    let service = place.serve(&[])?;
    let mut figures = Figures::default();
    let rest = Duration::from_secs(size.idle_s);
    tokio::time::sleep(rest / 3).await;
    let empty = show_memory(&mut figures, &service, "memory, idle without DAGs", "60 MiB")?;
    show_cpu(&mut figures, &service, rest, "CPU, idle without DAGs", "-").await?;

    let loaded = Instant::now();
    place.load(&crowd::files(size.dags, "'0 0 1 1 *'")).await?;
    let seconds = loaded.elapsed().as_secs_f64();
    figures.add(&format!("{} new DAGs until active", size.dags), format!("{seconds:.1} s"), "-", "");
    settled(&service, rest).await?;
    let dags = show_memory(&mut figures, &service, &format!("memory with {} DAGs", size.dags), "-")?;
    let each = (dags - empty) / (size.dags as f64 / 1e3);
    figures.add("memory per 1,000 DAGs", format!("{each:.2} MiB"), "-", "");
    show_cpu(&mut figures, &service, rest, &format!("CPU, idle with {} DAGs", size.dags), "0.5 %").await?;

    let (runs, tasks) = (size.waiting.div_ceil(WAITING_AT_ONCE), size.waiting.min(WAITING_AT_ONCE));
    place.load(&[file("waiting", &waiting(tasks, runs))]).await?;
    settled(&service, rest).await?;
    let before = show_memory(&mut figures, &service, "memory before the next", "-")?;
    let start = Instant::now();
    for run in 0..runs {
        place.trigger("waiting", &format!("r{run}")).await?;
    }
    crowd::scheduled(&place, "waiting", runs * tasks).await?;
    let seconds = start.elapsed().as_secs_f64();
    figures.add(
        &format!("{} task instances until they wait", runs * tasks),
        format!("{seconds:.1} s"),
        "-",
        "",
    );
    settled(&service, rest).await?;
    let after = show_memory(&mut figures, &service, &format!("memory with {} of them", runs * tasks), "-")?;
    let each = (after - before) / ((runs * tasks) as f64 / 1e5);
    figures.add("memory per 100,000 active task instances", format!("{each:.1} MiB"), "-", "");
    show_cpu(&mut figures, &service, rest, "CPU while they wait", "-").await?;
    service.end()?;
    place.close().await?;
    Ok(figures)
}

/// Tasks for a queue that no worker serves.
fn waiting(tasks: usize, runs: usize) -> String {
    let mut text = format!(
        "dag: waiting\nmax_active_runs: {runs}\nmax_active_tasks: {tasks}\ndefaults: {{ queue: nobody }}\ntasks:\n"
    );
    for task in 0..tasks {
        writeln!(text, "  step_{task:05}: {{ bash: 'true' }}").expect("invariant: text takes everything");
    }
    text
}

fn show_memory(figures: &mut Figures, service: &Service, what: &str, aim: &str) -> anyhow::Result<f64> {
    let (mut sum, mut note) = (0.0, Vec::new());
    for process in &service.0 {
        let memory = proc::memory(process.pid())?;
        note.push(format!("{} {:.1} ({:.1})", process.name, memory.all, memory.own));
        sum += memory.all;
    }
    figures.add(
        what,
        format!("{sum:.1} MiB"),
        aim,
        format!("PSS by role, in brackets what is in no file: {}", note.join(", ")),
    );
    Ok(sum)
}

async fn show_cpu(
    figures: &mut Figures,
    service: &Service,
    time: Duration,
    what: &str,
    aim: &str,
) -> anyhow::Result<()> {
    let before = service.ran()?;
    tokio::time::sleep(time).await;
    let now = service.ran()?;
    let shares =
        before.iter().zip(&now).map(|((name, before), (_, now))| (name, (now - before) / time.as_secs_f64()));
    let shares: Vec<(&String, f64)> = shares.collect();
    let share = shares.iter().map(|(_, share)| share).sum::<f64>();
    let note: Vec<String> =
        shares.iter().map(|(name, share)| format!("{name} {:.2} %", share * 100.0)).collect();
    let note = note.join(", ");
    figures.add(what, format!("{:.2} % of a core", share * 100.0), aim, note);
    Ok(())
}
