//! How many short attempts per second the local executor carries: `throughput [COUNT [COMMAND]]`.
//!
//! This program is also the supervisor and the attempt, as the `updraft` binary is in production.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "it measures time, and awaits the one task that it spawns")]

use std::{collections::BTreeMap, process::ExitCode, time::Instant};

use engine::dispatch::{News, Outcome};
use executor::{Executor as _, conformance, local, supervise};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("attempt") => Ok(executor::attempt::run()),
        Some("supervise") => {
            supervise::run(supervise::Options::new(arguments[1].clone().into()))?;
            Ok(ExitCode::SUCCESS)
        }
        count => {
            let count = count.map_or(Ok(2000), str::parse)?;
            let command = arguments.get(1).map_or("true", String::as_str);
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(measure(count, command))
        }
    }
}

async fn measure(count: usize, command: &str) -> Result<ExitCode, Box<dyn std::error::Error>> {
    /// How many run at once.
    const AT_ONCE: usize = 16;
    let root = tempfile::tempdir()?;
    let dir = root.path().join("supervisor");
    let arguments = ["supervise".into(), dir.clone().into()].into();
    let (sender, mut reports) = mpsc::channel(1024);
    let options = local::Options { dir, program: std::env::current_exe()?, arguments, slots: 100 };
    let (executor, service) = local::open(options, sender);
    let service = tokio::spawn(service.run(CancellationToken::new()));
    let (supervisor, _) = executor.supervisor().await?;
    let before = cpu(supervisor)?;
    let begun = Instant::now();
    let mut works = (0..count).map(|_| conformance::work(root.path().to_owned(), command));
    let mut submitted = BTreeMap::new();
    let (mut latency, mut outcomes) = (Vec::new(), BTreeMap::<String, usize>::new());
    let mut pending = tokio::task::JoinSet::new();
    let mut submit = |submitted: &mut BTreeMap<_, _>, pending: &mut tokio::task::JoinSet<_>| {
        if let Some(work) = works.next() {
            submitted.insert(work.dispatch.id, Instant::now());
            let executor = executor.clone();
            pending.spawn(async move { executor.submit(work).await });
        }
    };
    (0..AT_ONCE).for_each(|_| submit(&mut submitted, &mut pending));
    while latency.len() < count {
        let report = reports.recv().await.ok_or("the executor has stopped")?;
        let News::Ended(end) = report.news else { continue };
        latency.extend(submitted.remove(&report.dispatch).map(|begun| begun.elapsed()));
        *outcomes
            .entry(if end.outcome == Outcome::Success { "success".into() } else { format!("{end:?}") })
            .or_default() += 1;
        let executor = executor.clone();
        pending.spawn(async move { executor.confirm(report.dispatch, report.member).await });
        submit(&mut submitted, &mut pending);
    }
    pending.join_all().await.into_iter().collect::<Result<(), _>>()?;
    let took = begun.elapsed();
    latency.sort_unstable();
    println!(
        "{count} x `{command}` in {took:.2?}: {:.0} per second; {outcomes:?}",
        count as f64 / took.as_secs_f64()
    );
    println!("from submit to end: median {:.2?}, p99 {:.2?}", latency[count / 2], latency[count * 99 / 100]);
    println!("CPU of the supervisor: {:.3} ms per attempt", (cpu(supervisor)? - before) / count as f64);
    executor.close().await?;
    service.await?;
    Ok(ExitCode::SUCCESS)
}

/// The CPU time that a process has used, without its children, in milliseconds.
fn cpu(pid: u32) -> Result<f64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(") ").ok_or("an odd /proc/stat")?.1;
    let ticks: f64 =
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap_or(0.0)).sum();
    Ok(ticks * 10.0)
}
