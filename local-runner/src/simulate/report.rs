//! What came of a simulation: for people, and as one object for programs and for the page.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use dags::time::{Span, Timestamp};
use engine::{explain::Limit, state::RunState};
use serde::Serialize;

use super::{
    Request,
    ledger::{Instance, Ledger, Waited},
    scenario::Scenario,
    usage::Usage,
};
use crate::terminal::{Tone, count, paint};

/// The most DAGs and causes that the text lists.
const LISTED: usize = 20;

/// What came of a simulation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// When it began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// What chance began with.
    pub seed: u64,
    /// All runs.
    pub runs: u64,
    /// Those that failed.
    pub failed_runs: u64,
    /// Those that weren't over at the end.
    pub unfinished_runs: u64,
    /// Task instances that ended.
    pub task_instances: u64,
    /// Their tries.
    pub attempts: u64,
    /// Each DAG, by tenant and name.
    pub dags: Vec<DagReport>,
    /// What waited and for what, the longest in all first.
    pub waits: Vec<WaitReport>,
    /// Executors and pools with a limit.
    pub usage: Vec<UsageReport>,
    /// Deadlines that were missed.
    pub deadlines: Vec<Missed>,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
    /// Every task instance that ended, in the order of their ends, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<Vec<Instance>>,
}

/// The runs of a DAG. Spans are seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DagReport {
    /// Its tenant's name.
    pub tenant: String,
    /// Its name.
    pub dag: String,
    /// How many runs.
    pub runs: u64,
    /// How many failed.
    pub failed: u64,
    /// How many weren't over at the end.
    pub unfinished: u64,
    /// How long they took from their start to their end.
    pub duration: Quantiles,
    /// How long after they were due they started.
    pub late: Quantiles,
    /// How often they missed a deadline.
    pub deadlines_missed: u64,
}

/// Seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The longest.
    pub max: f64,
}

/// What waited for something. Spans are seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaitReport {
    /// The tenant's name.
    pub tenant: String,
    /// The DAG.
    pub dag: String,
    /// For what.
    pub cause: Arc<str>,
    /// How often something waited, a second or longer.
    pub count: u64,
    /// How long in all.
    pub total: f64,
    /// The longest wait.
    pub longest: f64,
}

/// How much of an executor or pool was in use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UsageReport {
    /// `executor local`, `pool warehouse`.
    pub what: String,
    /// Its slots; none without a limit.
    pub slots: Option<i64>,
    /// The average.
    pub average: f64,
    /// The most at once.
    pub peak: i64,
    /// The average in equal parts of the span.
    pub averages: Vec<f64>,
    /// The most at once in each part.
    pub peaks: Vec<i64>,
}

/// A deadline that was missed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Missed {
    /// The DAG.
    pub dag: String,
    /// The run.
    pub run: String,
    /// When.
    pub at: Timestamp,
}

/// What a limit is called in a report.
pub(super) fn cause(limit: &Limit) -> Arc<str> {
    let value = serde_json::to_value(limit).unwrap_or_default();
    let kind = value["kind"].as_str().unwrap_or("unknown");
    match value["name"].as_str() {
        Some(name) => format!("{kind} {name}").into(),
        None => kind.into(),
    }
}

fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1e6
}

fn quantiles(mut spans: Vec<Span>) -> Quantiles {
    spans.sort_unstable();
    let at = |share: f64| {
        let place = (share * spans.len() as f64).ceil() as usize;
        spans.get(place.max(1) - 1).copied().map_or(0.0, |span| (seconds(span) * 10.0).round() / 10.0)
    };
    Quantiles { p50: at(0.5), p95: at(0.95), max: at(1.0) }
}

pub(super) fn make(
    ledger: &mut Ledger,
    scenario: &Scenario,
    request: &Request,
    assumptions: Vec<String>,
) -> Report {
    ledger.close(request.to);
    let tenant = |id| scenario.tenants.get(&id).cloned().unwrap_or_default();
    let mut by_dag: BTreeMap<u32, (u64, u64, Vec<Span>, Vec<Span>)> = BTreeMap::new();
    for run in &ledger.runs {
        let (failed, unfinished, durations, lates) = by_dag.entry(run.dag).or_default();
        *failed += u64::from(run.state == RunState::Failed);
        *unfinished += u64::from(!run.state.is_finished());
        if let Some(started) = run.started {
            lates.push(started.since(run.due).max(Span::ZERO));
            durations.extend(run.ended.map(|ended| ended.since(started)));
        }
    }
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    ledger.runs.iter().for_each(|run| *counts.entry(run.dag).or_default() += 1);
    let mut dags = Vec::with_capacity(scenario.dags.len());
    for (place, (owner, dag)) in scenario.dags.iter().enumerate() {
        let (failed, unfinished, durations, lates) = by_dag.remove(&(place as u32)).unwrap_or_default();
        let missed = ledger.deadlines.iter().filter(|(id, name, ..)| (id, name) == (owner, &dag.dag_id));
        dags.push(DagReport {
            tenant: tenant(*owner),
            dag: dag.dag_id.to_string(),
            runs: counts.get(&(place as u32)).copied().unwrap_or_default(),
            failed,
            unfinished,
            duration: quantiles(durations),
            late: quantiles(lates),
            deadlines_missed: missed.count() as u64,
        });
    }
    let mut waits: Vec<WaitReport> = ledger
        .waits
        .iter()
        .map(|((place, cause), Waited { count, total, longest })| {
            let (owner, dag) = &scenario.dags[*place as usize];
            let (tenant, dag, cause) = (tenant(*owner), dag.dag_id.to_string(), cause.clone());
            WaitReport {
                tenant,
                dag,
                cause,
                count: *count,
                total: seconds(*total).round(),
                longest: seconds(*longest).round(),
            }
        })
        .collect();
    waits.sort_by(|a, b| {
        b.total.total_cmp(&a.total).then_with(|| (&a.dag, &a.cause).cmp(&(&b.dag, &b.cause)))
    });
    let mut usage = Vec::new();
    for (name, slots) in &scenario.executors {
        if let Some(used) = ledger.executors.get(name) {
            usage.push(usage_of(format!("executor {name}"), Some(i64::from(*slots)), used));
        }
    }
    let several = scenario.tenants.len() > 1;
    for ((owner, name), slots) in &scenario.pools {
        let Some(used) = ledger.pools.get(&(*owner, name.clone())).filter(|used| used.peak() > 0) else {
            continue;
        };
        let of = if several { format!(" of {}", tenant(*owner)) } else { String::new() };
        let slots = (*slots >= 0).then_some(i64::from(*slots));
        usage.push(usage_of(format!("pool {name}{of}"), slots, used));
    }
    Report {
        from: request.from,
        to: request.to,
        seed: request.seed,
        runs: ledger.runs.len() as u64,
        failed_runs: dags.iter().map(|dag| dag.failed).sum(),
        unfinished_runs: dags.iter().map(|dag| dag.unfinished).sum(),
        task_instances: ledger.instances,
        attempts: ledger.attempts,
        dags,
        waits,
        usage,
        deadlines: ledger
            .deadlines
            .iter()
            .map(|(_, dag, run, at)| Missed { dag: dag.to_string(), run: run.to_string(), at: *at })
            .collect(),
        assumptions,
        instances: ledger.list.take(),
    }
}

fn usage_of(what: String, slots: Option<i64>, usage: &Usage) -> UsageReport {
    let averages = usage.averages().iter().map(|value| (value * 100.0).round() / 100.0).collect();
    let average = (usage.average() * 100.0).round() / 100.0;
    UsageReport { what, slots, average, peak: usage.peak(), averages, peaks: usage.peaks.clone() }
}

/// The report as one JSON object. Ends with a line feed.
pub fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("invariant: texts and numbers are JSON");
    text.push('\n');
    text
}

/// Seconds for people.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.round() as i64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h{:02}m", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// A column of the table of DAGs, beside their names.
pub(super) struct Column {
    /// The heading.
    pub(super) head: &'static str,
    /// How wide it is in text.
    width: usize,
    /// The value of a DAG.
    pub(super) value: fn(&DagReport) -> String,
}

/// The table of DAGs.
pub(super) const COLUMNS: [Column; 8] = [
    Column { head: "Runs", width: 7, value: |dag| dag.runs.to_string() },
    Column { head: "Failed", width: 6, value: |dag| dag.failed.to_string() },
    Column { head: "Takes", width: 8, value: |dag| span(dag.duration.p50) },
    Column { head: "95%", width: 8, value: |dag| span(dag.duration.p95) },
    Column { head: "Longest", width: 8, value: |dag| span(dag.duration.max) },
    Column { head: "Late 95%", width: 8, value: |dag| span(dag.late.p95) },
    Column { head: "Latest", width: 8, value: |dag| span(dag.late.max) },
    Column { head: "Missed", width: 6, value: |dag| dag.deadlines_missed.to_string() },
];

/// The DAGs, those first whose runs started late or took long.
pub(super) fn by_lateness(report: &Report) -> Vec<&DagReport> {
    let mut dags: Vec<&DagReport> = report.dags.iter().collect();
    dags.sort_by(|a, b| {
        b.late.max.total_cmp(&a.late.max).then_with(|| b.duration.max.total_cmp(&a.duration.max))
    });
    dags
}

/// The report for people.
pub fn text(report: &Report, colour: bool) -> String {
    let mut out = String::new();
    let title = |text: &str| paint(text, Tone::Strong, colour);
    let several = report.dags.iter().any(|dag| dag.tenant != report.dags[0].tenant);
    let name = |tenant: &str, dag: &str| if several { format!("{tenant}/{dag}") } else { dag.to_owned() };
    let _ = writeln!(
        out,
        "{} to {}: {} of {}, {} with {}",
        report.from,
        report.to,
        count(report.runs as usize, "run"),
        count(report.dags.len(), "DAG"),
        count(report.task_instances as usize, "task instance"),
        count(report.attempts as usize, "attempt"),
    );
    let _ = writeln!(
        out,
        "{} failed, {} unfinished at the end",
        count(report.failed_runs as usize, "run"),
        report.unfinished_runs
    );
    let dags = by_lateness(report);
    let width =
        dags.iter().take(LISTED).map(|dag| name(&dag.tenant, &dag.dag).len()).max().unwrap_or(3).max(3);
    let line = |name: &str, value: &dyn Fn(&Column) -> String| {
        let cells = COLUMNS.iter().map(|column| format!("  {:>1$}", value(column), column.width));
        format!("{name:width$}{}", cells.collect::<String>())
    };
    let heads = line("DAG", &|column| column.head.to_uppercase());
    let _ = writeln!(out, "\n{}", title(&heads));
    for dag in dags.iter().take(LISTED) {
        let _ = writeln!(out, "{}", line(&name(&dag.tenant, &dag.dag), &|column| (column.value)(dag)));
    }
    if dags.len() > LISTED {
        let _ = writeln!(out, "and {}", count(dags.len() - LISTED, "more DAG"));
    }
    if report.waits.is_empty() {
        let _ = writeln!(out, "\nnothing waited for a second or longer");
    } else {
        let _ = writeln!(out, "\n{}", title("WAITS"));
        for wait in report.waits.iter().take(LISTED) {
            let _ = writeln!(
                out,
                "{:width$}  {} of {} in all, the longest {}, for {}",
                name(&wait.tenant, &wait.dag),
                count(wait.count as usize, "wait"),
                span(wait.total),
                span(wait.longest),
                wait.cause,
            );
        }
        if report.waits.len() > LISTED {
            let _ = writeln!(out, "and {}", count(report.waits.len() - LISTED, "more cause"));
        }
    }
    let _ = writeln!(out, "\n{}", title("IN USE"));
    for usage in &report.usage {
        let slots = usage.slots.map_or("no limit".to_owned(), |slots| format!("{slots} slots"));
        let _ =
            writeln!(out, "{}: {:.1} on average, {} at most, {slots}", usage.what, usage.average, usage.peak);
    }
    if !report.deadlines.is_empty() {
        let _ = writeln!(out, "\n{}", title("MISSED DEADLINES"));
        for missed in report.deadlines.iter().take(LISTED) {
            let _ = writeln!(out, "{} {} at {}", missed.dag, missed.run, missed.at);
        }
        if report.deadlines.len() > LISTED {
            let _ = writeln!(out, "and {} more", report.deadlines.len() - LISTED);
        }
    }
    if !report.assumptions.is_empty() {
        let _ = writeln!(out, "\n{}", title("TAKEN FOR GRANTED"));
        for assumption in &report.assumptions {
            let _ = writeln!(out, "{assumption}");
        }
    }
    out
}
