//! How long a year of 1,000 daily DAGs with 20 tasks each takes to simulate, on one core.
//!
//! `--days N` and `--dags N` make it smaller; `--test` is one day of a few DAGs.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, prints figures and reads the clock"
)]

use std::time::Instant;

use dags::{
    compile::{NoFiles, compile},
    diagnostic::Source,
    model::Dag,
    time::{Span, Timestamp},
};
use local_runner::simulate::{Changes, Request, simulate};

const TASKS: usize = 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, otherwise: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.map_or(otherwise, |at| arguments[at + 1].parse().unwrap())
    };
    let quick = arguments.iter().any(|argument| argument == "--test");
    let days = number("--days", if quick { 1 } else { 365 });
    let count = number("--dags", if quick { 20 } else { 1_000 });

    let start = Instant::now();
    let dags: Vec<Dag> = (0..count).map(dag).collect();
    println!("{count} DAGs compiled in {:.2?}", start.elapsed());
    let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let request = Request {
        folder: "-".into(),
        from,
        to: from.after(Span::seconds(86_400 * days as i64)),
        changes: Changes {
            executors: vec![("local".to_owned(), 2_000)],
            pools: vec![("default_pool".to_owned(), -1)],
            ..Changes::default()
        },
        seed: 1,
        instances: false,
    };
    let start = Instant::now();
    let report = simulate(dags, &request, &"2m,p95=10m".parse().unwrap()).unwrap();
    let elapsed = start.elapsed();
    let per_second = report.task_instances as f64 / elapsed.as_secs_f64();
    println!(
        "{days} days: {} runs, {} task instances in {elapsed:.2?}, {per_second:.0} task instances per second, {} MiB at most",
        report.runs,
        report.task_instances,
        peak_mib()
    );
    assert!(report.runs + 1 >= count * days, "{}", report.runs);
}

/// Four layers of five, at any minute of the night.
fn dag(n: u64) -> Dag {
    let mut text =
        format!("dag: d{n}\nschedule: '{} {} * * *'\nstart_date: 2026-01-01\ntasks:\n", n * 7 % 60, n % 6);
    for task in 0..TASKS {
        let (layer, place) = (task / 5, task % 5);
        text += &format!("  t{task:02}:\n    bash: echo\n    retries: 1\n");
        if layer > 0 {
            let above = (layer - 1) * 5;
            text += &format!("    needs: [t{:02}, t{:02}]\n", above + place, above + (place + 1) % 5);
        }
    }
    let source = Source::new("bench.yaml", text);
    let mut compiled = compile(&source, &plugins::catalog(), &NoFiles);
    assert_eq!(compiled.diagnostics, []);
    compiled.dags.remove(0)
}

/// The most memory that the process had.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
